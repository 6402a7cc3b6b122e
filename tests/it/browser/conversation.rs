//! The documents' conversation, by hand; and that the page holds no state of its own.

use serde_json::json;

use super::rig::Tab;

const QUESTION: &str = "when are you getting new children clothing?";
const ANSWER: &str = "We are getting new arrivals in May. Please follow our updates.";

#[tokio::test]
async fn a_customer_and_an_agent_talk_by_clicking_and_typing() {
    let Some(tab) = Tab::open("the conversation in a browser").await else { return };
    tab.click("#follow").await;
    tab.sees("#screen .theirs", "Thanks for following XX. We want to offer you the best service.").await;
    tab.say("#phone-text", QUESTION).await;
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
    tab.has("#messages .theirs :is(img, a)").await;
    tab.click("#tray [data-do=voice]").await;
    tab.has("#screen .mine .sound").await;
    tab.has("#messages .theirs .sound").await;
    tab.click("#tray [data-do=location]").await;
    tab.sees("#messages .theirs", "人民广场").await;
    tab.click("#desk-image").await;
    tab.has("#messages .mine :is(img, a)").await;
    tab.until("return Number(document.querySelector('#accepted').textContent) >= 5", "what was accepted").await;

    tab.click("#follow").await;
    tab.has("#phone-body[data-following=false]").await;
    tab.close().await;
}

#[tokio::test]
async fn a_reload_and_a_second_tab_show_the_same() {
    let Some(tab) = Tab::open("reload and a second tab in a browser").await else { return };
    tab.click("#follow").await;
    tab.sees("#screen .theirs", "Thanks for following").await;
    tab.say("#phone-text", QUESTION).await;
    tab.sees("#messages .theirs", QUESTION).await;
    tab.say("#desk-text", ANSWER).await;
    tab.sees("#screen .theirs", ANSWER).await;
    tab.click("[data-drill=forged_push] button").await;
    tab.has("[data-drill=forged_push][data-state=passed]").await;

    // What is drawn of the wire depends on the window; how much there is does not.
    const PARTS: &str = "#screen .bubble, #messages .bubble, #ends, #accepted, #wire-tally, [data-drill] .outcome";
    let quiet = "const now = document.querySelector('#wire-tally').textContent; \
                 const was = window.tally; window.tally = now; return now === was";
    tab.until(quiet, "a wire that has come to rest").await;
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
    tab.close().await;
}

#[tokio::test]
async fn what_somebody_writes_is_never_markup() {
    let Some(tab) = Tab::open("markup in messages in a browser").await else { return };
    let nasty = "<img src=x onerror=alert(1)> <b>&amp;</b>";
    tab.click("#follow").await;
    tab.sees("#screen .theirs", "Thanks for following").await;
    tab.say("#phone-text", nasty).await;
    tab.sees("#screen .mine", nasty).await;
    tab.sees("#messages .theirs", nasty).await;
    let count = "return document.querySelectorAll('.bubble :is(img, b:not(.label))').length";
    assert_eq!(tab.run::<u32>(count, vec![json!(null)]).await, 0);
    tab.close().await;
}
