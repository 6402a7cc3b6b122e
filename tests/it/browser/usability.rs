//! The page with a keyboard and a screen reader, in three languages, two themes and two sizes.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;
use thirtyfour::prelude::*;

use super::rig::Tab;
use crate::child;

/// The element that has the focus: its id, its name for a screen reader, and whether its focus ring is
/// visible.
const FOCUSED: &str = "
    const one = document.activeElement;
    if (!one || one === document.body) return { id: '', name: '', visible: true };
    const box = one.getBoundingClientRect();
    const labelled = one.getAttribute('aria-label') || one.innerText || one.placeholder || one.value || '';
    const ringed = getComputedStyle(one).outlineStyle !== 'none';
    return { id: one.id || `${one.tagName} ${labelled}`, name: labelled.trim(), visible: box.width > 0 && ringed };";

#[derive(Debug, Deserialize)]
struct Focused {
    id: String,
    name: String,
    visible: bool,
}

/// Every text whose contrast with its background is below the level AA of WCAG: 4.5, or 3 for large text.
const FAINT_TEXTS: &str = "
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (colour) => {
      canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = (rgb) => {
      const [r, g, b] = rgb.map((part) => part / 255).map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
      for (let at = node; at; at = at.parentElement) {
        const [r, g, b, a] = rgba(getComputedStyle(at).backgroundColor);
        if (a === 255) return [r, g, b];
      }
      return [255, 255, 255];
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode.parentElement;
      if (!walker.currentNode.textContent.trim() || !node.checkVisibility({ visibilityProperty: true })) continue;
      if (node.closest('noscript, option, [data-pending]')) continue;
      const style = getComputedStyle(node);
      const [front, back] = [light(rgba(style.color).slice(0, 3)), light(behind(node))];
      const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
      const isLarge = parseFloat(style.fontSize) >= 24;
      if (ratio < (isLarge ? 3 : 4.5)) faint.push(`${walker.currentNode.textContent.trim()} ${ratio.toFixed(2)}`);
    }
    return faint;";

/// Where `npm ci --prefix .ci/page` puts axe.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/page/node_modules/axe-core/axe.min.js");

/// Fails if axe finds a fault in what the page shows now.
async fn expect_accessible(tab: &Tab, what: &str) {
    let Ok(axe) = std::fs::read_to_string(AXE) else {
        child::report_skip("axe on the sandbox's page", "axe-core", "npm && npm ci --prefix .ci/page");
        return;
    };
    tab.run::<()>(&axe, vec![]).await;
    tab.run::<()>(
        "window.faults = null; \
         const nodes = (one) => one.nodes.map((node) => `${one.id}: ${node.target.join(' ')}`); \
         axe.run().then(({ violations }) => { window.faults = violations.flatMap(nodes); })",
        vec![],
    )
    .await;
    tab.await_true("return window.faults !== null", "axe's result").await;
    let faults: Vec<String> = tab.run("return window.faults", vec![]).await;
    assert!(faults.is_empty(), "{what}: {faults:#?}");
}

async fn press(tab: &Tab, key: Key) {
    tab.driver.action_chain().send_keys(key + "").perform().await.unwrap();
}

pub(super) async fn the_keyboard_reaches_every_control_and_no_control_traps_it(tab: &Tab) {
    tab.add_customer().await;
    tab.ask_first_question("hello").await;
    tab.await_text("#messages .theirs", "hello").await;

    tab.visit().await;
    tab.await_text("#messages .theirs", "hello").await;
    let mut stops = Vec::new();
    loop {
        press(tab, Key::Tab).await;
        let focused: Focused = tab.run(FOCUSED, vec![]).await;
        if focused.id.is_empty() || stops.first() == Some(&focused.id) {
            break;
        }
        assert!(!focused.name.is_empty(), "{focused:?} has no name");
        assert!(focused.visible, "{focused:?} has the focus without a visible ring");
        stops.push(focused.id);
        assert!(stops.len() < 100, "the focus does not return to the first element: {stops:?}");
    }
    let reached: BTreeSet<&str> = stops.iter().map(String::as_str).collect();
    for control in
        ["phone-text", "more", "follow", "calls", "conversations", "desk-text", "language", "theme"]
    {
        assert!(reached.contains(control), "the keyboard does not reach {control}: {stops:?}");
    }

    let focus = "document.querySelector(arguments[0]).focus()";
    tab.run::<()>(focus, vec![json!("#calls")]).await;
    press(tab, Key::Up).await;
    tab.await_element("#call:not([hidden])").await;
    let last: Option<String> =
        tab.run("return document.querySelector('#call-title').innerText", vec![]).await;
    press(tab, Key::Home).await;
    tab.await_element("#calls [aria-posinset='1'][aria-selected=true]").await;
    assert!(last.is_some());
    press(tab, Key::Escape).await;
    tab.await_element("#call[hidden]").await;

    tab.run::<()>(focus, vec![json!("#new-customer")]).await;
    let known = tab.texts("#customers [role=tab]").await.len();
    press(tab, Key::Enter).await;
    tab.await_element(&format!("#customers [role=tab]:nth-child({})[aria-selected=true]", known + 1)).await;
    tab.run::<()>(focus, vec![json!("#customers [aria-selected=true]")]).await;
    press(tab, Key::Left).await;
    tab.await_element("#customers [role=tab]:nth-last-child(2)[aria-selected=true]:focus").await;
}

pub(super) async fn three_languages_are_complete_and_remembered(tab: &Tab) {
    for (name, tag, send) in [("ko", "ko", "보내기"), ("zh", "zh-Hans", "发送"), ("en", "en", "Send")] {
        tab.run::<()>(
            "const list = document.querySelector('#language'); list.value = arguments[0]; \
             list.dispatchEvent(new Event('change'))",
            vec![json!(name)],
        )
        .await;
        tab.await_text("#phone-form .send", send).await;
        let title_script = "return document.querySelector('#commands button').title";
        let title = tab.run::<String>(title_script, vec![]).await;
        tab.visit().await;
        tab.await_text("#phone-form .send", send).await;
        assert_eq!(tab.run::<String>("return document.documentElement.lang", vec![]).await, tag);
        tab.await_element("#commands button").await;
        assert_eq!(
            tab.run::<String>(title_script, vec![]).await,
            title,
            "the title is in another language after a reload"
        );
        let missing: Vec<String> = tab
            .run(
                "return [...document.querySelectorAll('[data-text], [aria-label]')] \
                   .flatMap((one) => [one.dataset.text ? one.textContent : '-', one.getAttribute('aria-label') ?? '-']) \
                   .filter((text) => !text || /^[a-z]+(\\.[a-z_]+)+$/.test(text))",
                vec![],
            )
            .await;
        assert!(missing.is_empty(), "{name}: texts are missing: {missing:?}");
    }
}

pub(super) async fn both_themes_are_remembered_and_legible(tab: &Tab) {
    for _ in 0..2 {
        let before: Option<String> =
            tab.run("return document.documentElement.dataset.theme ?? null", vec![]).await;
        tab.click("#theme").await;
        let has_changed =
            format!("return (document.documentElement.dataset.theme ?? null) !== {}", json!(before));
        tab.await_true(&has_changed, "the other theme").await;
        let theme: String = tab.run("return document.documentElement.dataset.theme", vec![]).await;
        tab.visit().await;
        tab.await_text("#messages .theirs", "hello").await;
        assert_eq!(tab.run::<String>("return document.documentElement.dataset.theme", vec![]).await, theme);
        let faint: Vec<String> = tab.run(FAINT_TEXTS, vec![]).await;
        assert!(faint.is_empty(), "{theme}: not enough contrast: {faint:#?}");
        expect_accessible(tab, &theme).await;
    }
}

pub(super) async fn the_page_fits_a_desktop_and_a_phone(tab: &Tab) {
    for (width, height) in [(1920, 1080), (1280, 800), (1024, 768), (390, 844)] {
        tab.resize(width, height).await;
        tab.visit().await;
        let (wide, high): (u32, u32) = tab
            .run(
                "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]",
                vec![],
            )
            .await;
        assert_eq!((wide, high), (width, height), "the page does not fit");
        expect_accessible(tab, &format!("{width}×{height}")).await;
        if width < 1000 {
            continue;
        }
        // All parts stand side by side, and each drill's outcome is within the window.
        tab.await_element("#drill-list .detail").await;
        let hidden: Vec<String> = tab
            .run(
                "const isSeen = (one) => one.checkVisibility() && one.getBoundingClientRect().height > 0; \
                 const parts = [...document.querySelectorAll('main > section')].filter((one) => !isSeen(one)); \
                 const low = [...document.querySelectorAll('.detail p:has(.outcome)')].filter((one) => { \
                   const end = one.getBoundingClientRect().bottom; \
                   return end > innerHeight || end > one.closest('.detail').getBoundingClientRect().bottom; }); \
                 return [...parts, ...low].map((one) => one.id || one.innerText)",
                vec![],
            )
            .await;
        assert!(hidden.is_empty(), "not in view at {width}×{height}: {hidden:?}");
    }
    for (index, view) in ["phone", "wire", "desk", "drills"].into_iter().enumerate() {
        tab.click(&format!("#views button:nth-child({})", index + 1)).await;
        let is_alone = format!(
            "return [...document.querySelectorAll('main > section')].filter((one) => one.checkVisibility()) \
               .map((one) => one.id).join() === '{view}'"
        );
        tab.await_true(&is_alone, view).await;
    }
    // A widened call covers the phone and the desk only on a desktop, where they stand beside it.
    let visibility = "document.body.dataset.wide = 'true'; document.querySelector('#views button').click(); \
                return getComputedStyle(document.querySelector('#phone')).visibility";
    assert_eq!(tab.run::<String>(visibility, vec![]).await, "visible");
    tab.resize(1280, 800).await;
    tab.visit().await;
}
