//! The conversation of the documentation, and the proof that the page has no state of its own.

use serde_json::json;
use thirtyfour::prelude::*;

use super::rig::Tab;

const QUESTION: &str = "when are you getting new children clothing?";
const ANSWER: &str = "We are getting new arrivals in May. Please follow our updates.";

/// The parts of the page that must be equal after a reload. The wire is not among them, because the bridge
/// reads histories and so makes calls at any time.
const PARTS: &str = "#screen .bubble, #messages .bubble, #ends, #accepted, [data-drill] .outcome";

pub(super) async fn the_page_begins_empty_and_says_what_to_do(tab: &Tab) {
    tab.await_text("#steps [aria-current=step]", "Follow").await;
    let figures: Vec<String> = tab.texts("#accepted, #ends dd, #wire-tally").await;
    assert!(figures.iter().all(|text| ["0", "1 calls", "0 calls"].contains(&text.as_str())), "{figures:?}");
    assert!(tab.texts(".bubble").await.is_empty());
    tab.type_and_send("#wire-find", "nothing has this text").await;
    tab.await_element("#calls[data-empty^='No call']").await;
    tab.clear_search().await;
}

pub(super) async fn a_customer_and_an_agent_talk_by_clicking_and_typing(tab: &Tab) {
    let before: u32 = tab.run("return Number(document.querySelector('#accepted').textContent)", vec![]).await;
    tab.add_customer().await;
    tab.ask_first_question(QUESTION).await;
    tab.await_text("#screen .mine", QUESTION).await;
    tab.await_text("#screen .theirs", "Transferring you to a customer service agent, please wait.").await;
    tab.await_text("#messages .theirs", &format!("Inquiry from a WeChat subscription account: {QUESTION}"))
        .await;
    tab.type_and_send("#desk-text", ANSWER).await;
    tab.await_text("#messages .mine", ANSWER).await;
    tab.await_text("#screen .theirs", ANSWER).await;

    tab.click("#more").await;
    tab.click("#tray [data-do=image]").await;
    let shown = "return document.querySelector('#screen .mine img')?.naturalWidth > 0";
    tab.await_true(shown, "the customer's picture on the phone").await;
    tab.await_count("#messages .theirs", 2).await;
    tab.click("#tray [data-do=voice]").await;
    tab.await_element("#screen .mine .sound").await;
    tab.await_count("#messages .theirs", 3).await;
    tab.click("#tray [data-do=location]").await;
    tab.await_count("#messages .theirs", 4).await;
    let shown = tab.texts("#screen .theirs").await.len();
    tab.click("#desk-image").await;
    tab.await_count("#messages .mine", 2).await;
    tab.await_count("#screen .theirs", shown + 1).await;
    let is_counted =
        format!("return Number(document.querySelector('#accepted').textContent) >= {before} + 6");
    tab.await_true(&is_counted, "the number of accepted messages").await;
    tab.await_count("#steps [data-done]", 3).await;
    // An agent who has scrolled up sees what was just sent.
    tab.run::<()>("document.querySelector('#messages').scrollTop = 0", vec![]).await;
    tab.type_and_send("#desk-text", "Anything else?").await;
    let is_seen = "const list = document.querySelector('#messages'); \
                   const last = [...list.querySelectorAll('.mine')].at(-1); \
                   return last.innerText.includes('Anything else?') \
                     && last.getBoundingClientRect().bottom <= list.getBoundingClientRect().bottom + 1";
    tab.await_true(is_seen, "the latest answer in view").await;
}

pub(super) async fn the_phone_shows_that_the_agent_types_and_a_held_answer_can_be_taken_back(tab: &Tab) {
    tab.add_customer().await;
    tab.ask_first_question("is it in stock?").await;
    let composer = tab.driver.find(By::Css("#desk-text")).await.unwrap();
    composer.send_keys("One moment").await.unwrap();
    tab.await_text("#typing", "Typing…").await;
    composer.send_keys(Key::Enter + "").await.unwrap();
    tab.await_text("#screen .theirs", "One moment").await;
    tab.await_true("return document.querySelector('#typing').textContent === ''", "the end of typing").await;

    tab.click("#messages .theirs .action[tabindex='0']").await;
    tab.await_text("#quoting", "is it in stock?").await;
    tab.click("#desk-emoji").await;
    tab.click("#emoji button").await;
    composer.send_keys(Key::Enter + "").await.unwrap();
    tab.await_text("#screen .theirs", "「is it in stock?」\n🙂").await;
    tab.await_text("#messages .mine", "🙂").await;
    tab.await_element("#quoting[hidden]").await;

    // The tray is still open.
    tab.click("#tray [data-do=sticker]").await;
    tab.await_text("#screen .mine", "Sticker").await;
    tab.await_text("#messages .theirs", "[sticker or something else").await;

    // The sticker allows five answers, and the follow may still allow one. The seventh is held in any case.
    for number in 1..=7 {
        tab.type_and_send("#desk-text", &format!("Part {number}")).await;
        tab.await_text("#messages .mine", &format!("Part {number}")).await;
    }
    tab.await_element("#messages .note").await;
    tab.await_text("#screen .theirs", "Part 5").await;
    tab.click("#messages .mine .action[tabindex='0']").await;
    let is_gone = "return ![...document.querySelectorAll('#messages .mine')].some((one) => one.innerText.includes('Part 7'))";
    tab.await_true(is_gone, "the desk without the answer that was taken back").await;
    tab.await_element("#ends [data-end=recalled]:not([data-none])").await;
    // What the bridge still held goes out with the customer's next message.
    tab.type_and_send("#phone-text", "And?").await;
    tab.await_text("#screen .theirs", "Part 6").await;
    assert!(
        !tab.texts("#screen .bubble").await.iter().any(|text| text.contains("Part 7")),
        "Part 7 was taken back"
    );
    tab.type_and_send("#wire-find", "AfterMsgWithDraw").await;
    tab.await_text("#calls [role=option] .what", "/imcallback").await;
    tab.clear_search().await;
}

pub(super) async fn a_reload_and_a_second_tab_show_the_same(tab: &Tab) {
    tab.click("[data-drill=forged_push] button").await;
    tab.await_element("[data-drill=forged_push][data-state=passed]").await;
    // The phone has followed the drill.
    tab.await_text("#phone-name", "Drills").await;
    tab.add_customer().await;
    tab.ask_first_question(QUESTION).await;
    tab.await_text("#messages .theirs", QUESTION).await;
    tab.type_and_send("#desk-text", ANSWER).await;
    tab.await_text("#screen .theirs", ANSWER).await;
    let is_stable = "const now = document.querySelector('.ledger').textContent; \
                 if (window.lastFigures !== now) { window.lastFigures = now; window.changedAt = performance.now(); } \
                 return performance.now() - window.changedAt > 2500";
    tab.await_true(is_stable, "figures that no longer change").await;
    let before = tab.texts(PARTS).await;
    assert!(before.iter().any(|text| text == ANSWER), "{before:?}");
    let sums: (u32, u32) = tab
        .run(
            "return [Number(document.querySelector('#accepted').textContent), \
               [...document.querySelectorAll('#ends dd')].reduce((sum, one) => sum + Number(one.textContent), 0)]",
            vec![],
        )
        .await;
    assert_eq!(sums.0, sums.1, "the outcomes add up to the accepted messages");
    tab.visit().await;
    tab.await_text("#screen .theirs", ANSWER).await;
    assert_eq!(tab.texts(PARTS).await, before, "after a reload");

    let first = tab.driver.window().await.unwrap();
    let second = tab.driver.new_tab().await.unwrap();
    tab.driver.switch_to_window(second.clone()).await.unwrap();
    tab.visit().await;
    tab.await_text("#screen .theirs", ANSWER).await;
    assert_eq!(tab.texts(PARTS).await, before, "in a second tab");
    tab.type_and_send("#phone-text", "And in size 110?").await;
    tab.await_text("#messages .theirs", "And in size 110?").await;
    tab.driver.switch_to_window(first).await.unwrap();
    tab.await_text("#screen .mine", "And in size 110?").await;
}

pub(super) async fn message_text_is_never_markup(tab: &Tab) {
    let markup = "<img src=x onerror=alert(1)> <b>&amp;</b>";
    tab.add_customer().await;
    tab.ask_first_question(markup).await;
    tab.await_text("#screen .mine", markup).await;
    tab.await_text("#messages .theirs", markup).await;
    let count = "return document.querySelectorAll('.bubble :is(img, b:not(.label))').length";
    assert_eq!(tab.run::<u32>(count, vec![json!(null)]).await, 0);

    // An unfollow erases the customer's messages and files. This customer has sent no picture, which the page
    // would miss at the next reload.
    tab.click("#follow").await;
    tab.await_element("#phone-body[data-following=false]").await;
}
