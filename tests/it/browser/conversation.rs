//! The documents' conversation, by hand; and that the page holds no state of its own.

use serde_json::json;

use super::rig::Tab;

const QUESTION: &str = "when are you getting new children clothing?";
const ANSWER: &str = "We are getting new arrivals in May. Please follow our updates.";

/// Not the wire: the bridge looks through histories by itself, and so makes calls in between.
const PARTS: &str = "#screen .bubble, #messages .bubble, #ends, #accepted, [data-drill] .outcome";

pub(super) async fn a_customer_and_an_agent_talk_by_clicking_and_typing(tab: &Tab) {
    let before: u32 = tab.run("return Number(document.querySelector('#accepted').textContent)", vec![]).await;
    tab.newcomer().await;
    tab.asks(QUESTION).await;
    tab.sees("#screen .mine", QUESTION).await;
    tab.sees("#screen .theirs", "Transferring you to a customer service agent, please wait.").await;
    tab.sees("#messages .theirs", &format!("Inquiry from a WeChat subscription account: {QUESTION}")).await;
    tab.say("#desk-text", ANSWER).await;
    tab.sees("#messages .mine", ANSWER).await;
    tab.sees("#screen .theirs", ANSWER).await;

    tab.click("#more").await;
    tab.click("#tray [data-do=image]").await;
    let shown = "return document.querySelector('#screen .mine img')?.naturalWidth > 0";
    tab.until(shown, "the customer's picture on the phone").await;
    tab.counts("#messages .theirs", 2).await;
    tab.click("#tray [data-do=voice]").await;
    tab.has("#screen .mine .sound").await;
    tab.counts("#messages .theirs", 3).await;
    tab.click("#tray [data-do=location]").await;
    tab.counts("#messages .theirs", 4).await;
    let shown = tab.texts("#screen .theirs").await.len();
    tab.click("#desk-image").await;
    tab.counts("#messages .mine", 2).await;
    tab.counts("#screen .theirs", shown + 1).await;
    let counted = format!("return Number(document.querySelector('#accepted').textContent) >= {before} + 6");
    tab.until(&counted, "what was accepted").await;
}

pub(super) async fn a_reload_and_a_second_tab_show_the_same(tab: &Tab) {
    tab.newcomer().await;
    tab.asks(QUESTION).await;
    tab.sees("#messages .theirs", QUESTION).await;
    tab.say("#desk-text", ANSWER).await;
    tab.sees("#screen .theirs", ANSWER).await;
    tab.click("[data-drill=forged_push] button").await;
    tab.has("[data-drill=forged_push][data-state=passed]").await;
    let quiet = "const now = document.querySelector('.ledger').textContent; \
                 if (window.tally !== now) { window.tally = now; window.since = performance.now(); } \
                 return performance.now() - window.since > 2500";
    tab.until(quiet, "figures that have come to rest").await;
    let before = tab.texts(PARTS).await;
    assert!(before.iter().any(|text| text == ANSWER), "{before:?}");
    tab.visit().await;
    tab.sees("#screen .theirs", ANSWER).await;
    assert_eq!(tab.texts(PARTS).await, before, "after a reload");

    let first = tab.driver.window().await.unwrap();
    let second = tab.driver.new_tab().await.unwrap();
    tab.driver.switch_to_window(second.clone()).await.unwrap();
    tab.visit().await;
    tab.sees("#screen .theirs", ANSWER).await;
    assert_eq!(tab.texts(PARTS).await, before, "in a second tab");
    tab.say("#phone-text", "And in size 110?").await;
    tab.sees("#messages .theirs", "And in size 110?").await;
    tab.driver.switch_to_window(first).await.unwrap();
    tab.sees("#screen .mine", "And in size 110?").await;
}

pub(super) async fn what_somebody_writes_is_never_markup(tab: &Tab) {
    let nasty = "<img src=x onerror=alert(1)> <b>&amp;</b>";
    tab.newcomer().await;
    tab.asks(nasty).await;
    tab.sees("#screen .mine", nasty).await;
    tab.sees("#messages .theirs", nasty).await;
    let count = "return document.querySelectorAll('.bubble :is(img, b:not(.label))').length";
    assert_eq!(tab.run::<u32>(count, vec![json!(null)]).await, 0);

    // Who leaves is forgotten, with all that was sent: pictures would be missing at the next reload.
    tab.click("#follow").await;
    tab.has("#phone-body[data-following=false]").await;
}
