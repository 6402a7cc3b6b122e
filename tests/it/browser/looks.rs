//! How the page is read and operated: by keyboard, by screen reader, in three languages, two themes, two sizes.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;
use thirtyfour::prelude::*;

use super::rig::Tab;

/// What has the focus: itself, its name for a screen reader, and whether it can be seen.
const FOCUSED: &str = "
    const one = document.activeElement;
    if (!one || one === document.body) return { what: '', name: '', seen: true };
    const box = one.getBoundingClientRect();
    const labelled = one.getAttribute('aria-label') || one.innerText || one.placeholder || one.value || '';
    const ringed = getComputedStyle(one).outlineStyle !== 'none';
    return { what: one.id || `${one.tagName} ${labelled}`, name: labelled.trim(), seen: box.width > 0 && ringed };";

#[derive(Debug, Deserialize)]
struct Focused {
    what: String,
    name: String,
    seen: bool,
}

/// Every text whose contrast with what is behind it is below AA: 4.5, or 3 for large ones.
const FAINT: &str = "
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

async fn press(tab: &Tab, key: Key) {
    tab.driver.action_chain().send_keys(key + "").perform().await.unwrap();
}

pub(super) async fn everything_is_done_with_the_keyboard_and_nothing_traps_it(tab: &Tab) {
    tab.newcomer().await;
    tab.asks("hello").await;
    tab.sees("#messages .theirs", "hello").await;

    tab.visit().await;
    tab.sees("#messages .theirs", "hello").await;
    let mut stops = Vec::new();
    loop {
        press(tab, Key::Tab).await;
        let focused: Focused = tab.run(FOCUSED, vec![]).await;
        if focused.what.is_empty() || stops.first() == Some(&focused.what) {
            break;
        }
        assert!(!focused.name.is_empty(), "{focused:?} has no name");
        assert!(focused.seen, "{focused:?} cannot be seen to have the focus");
        stops.push(focused.what);
        assert!(stops.len() < 80, "the focus goes round without end: {stops:?}");
    }
    let reached: BTreeSet<&str> = stops.iter().map(String::as_str).collect();
    for place in ["phone-text", "more", "follow", "calls", "conversations", "desk-text", "language", "theme"]
    {
        assert!(reached.contains(place), "{place} is not reached: {stops:?}");
    }

    let focus = "document.querySelector(arguments[0]).focus()";
    tab.run::<()>(focus, vec![json!("#calls")]).await;
    press(tab, Key::Up).await;
    tab.has("#call:not([hidden])").await;
    let last: Option<String> =
        tab.run("return document.querySelector('#call-title').innerText", vec![]).await;
    press(tab, Key::Home).await;
    tab.has("#calls [aria-posinset='1'][aria-selected=true]").await;
    assert!(last.is_some());
    press(tab, Key::Escape).await;
    tab.has("#call[hidden]").await;

    tab.run::<()>(focus, vec![json!("#new-customer")]).await;
    let known = tab.texts("#customers [role=tab]").await.len();
    press(tab, Key::Enter).await;
    tab.has(&format!("#customers [role=tab]:nth-child({})[aria-selected=true]", known + 1)).await;
    tab.run::<()>(focus, vec![json!("#customers [aria-selected=true]")]).await;
    press(tab, Key::Left).await;
    tab.has("#customers [role=tab]:nth-last-child(2)[aria-selected=true]:focus").await;
}

pub(super) async fn three_languages_are_complete_and_remembered(tab: &Tab) {
    for (name, tag, send) in [("ko", "ko", "보내기"), ("zh", "zh-Hans", "发送"), ("en", "en", "Send")] {
        tab.run::<()>(
            "const list = document.querySelector('#language'); list.value = arguments[0]; \
             list.dispatchEvent(new Event('change'))",
            vec![json!(name)],
        )
        .await;
        tab.sees("#phone-form .send", send).await;
        let about = "return document.querySelector('#commands button').title";
        let turned = tab.run::<String>(about, vec![]).await;
        tab.visit().await;
        tab.sees("#phone-form .send", send).await;
        assert_eq!(tab.run::<String>("return document.documentElement.lang", vec![]).await, tag);
        tab.has("#commands button").await;
        assert_eq!(tab.run::<String>(about, vec![]).await, turned, "told in the language before");
        let bare: Vec<String> = tab
            .run(
                "return [...document.querySelectorAll('[data-text], [aria-label]')] \
                   .flatMap((one) => [one.dataset.text ? one.textContent : '-', one.getAttribute('aria-label') ?? '-']) \
                   .filter((text) => !text || /^[a-z]+(\\.[a-z_]+)+$/.test(text))",
                vec![],
            )
            .await;
        assert!(bare.is_empty(), "{name}: texts are missing: {bare:?}");
    }
}

pub(super) async fn both_themes_are_remembered_and_can_be_read(tab: &Tab) {
    for _ in 0..2 {
        let before: Option<String> =
            tab.run("return document.documentElement.dataset.theme ?? null", vec![]).await;
        tab.click("#theme").await;
        let turned = format!("return (document.documentElement.dataset.theme ?? null) !== {}", json!(before));
        tab.until(&turned, "the other theme").await;
        let theme: String = tab.run("return document.documentElement.dataset.theme", vec![]).await;
        tab.visit().await;
        tab.sees("#messages .theirs", "hello").await;
        assert_eq!(tab.run::<String>("return document.documentElement.dataset.theme", vec![]).await, theme);
        let faint: Vec<String> = tab.run(FAINT, vec![]).await;
        assert!(faint.is_empty(), "{theme}: too faint to read: {faint:#?}");
    }
}

pub(super) async fn it_fits_a_desktop_and_a_phone(tab: &Tab) {
    for (width, height) in [(1280, 800), (390, 844)] {
        tab.size(width, height).await;
        tab.visit().await;
        let (wide, high): (u32, u32) = tab
            .run(
                "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]",
                vec![],
            )
            .await;
        assert_eq!((wide, high), (width, height), "the page does not fit");
    }
    for (at, view) in ["phone", "wire", "desk", "drills"].into_iter().enumerate() {
        tab.click(&format!("#views button:nth-child({})", at + 1)).await;
        let alone = format!(
            "return [...document.querySelectorAll('main > section')].filter((one) => one.checkVisibility()) \
               .map((one) => one.id).join() === '{view}'"
        );
        tab.until(&alone, view).await;
    }
    // A call that is shown wide takes the place of the phone and the desk only where they stand beside it.
    let seen = "document.body.dataset.wide = 'true'; document.querySelector('#views button').click(); \
                return getComputedStyle(document.querySelector('#phone')).visibility";
    assert_eq!(tab.run::<String>(seen, vec![]).await, "visible");
    tab.size(1280, 800).await;
    tab.visit().await;
}
