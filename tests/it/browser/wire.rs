//! The list of calls: its size is bounded, it never flickers, and a message can be followed through it.

use std::time::Duration;

use serde_json::json;

use super::rig::Tab;

/// The time limit for all messages on a loaded machine.
const TIMEOUT: Duration = Duration::from_mins(4);

pub(super) async fn a_message_can_be_followed_through_every_call(tab: &Tab) {
    tab.add_customer().await;
    tab.ask_first_question("hello").await;
    tab.await_text("#messages .theirs", "hello").await;
    let all: u32 = tab.run("return document.querySelectorAll('#calls [role=option]').length", vec![]).await;
    let send = "#calls [role=option]:has(.ladder[data-from=bridge][data-to=im])";
    tab.await_true(
        "return [...document.querySelectorAll('#calls .what')].some((one) => one.innerText.includes('sendmsg'))",
        "the call that sends the message to the agent",
    )
    .await;
    tab.run::<()>(
        "[...document.querySelectorAll(arguments[0])].findLast((one) => one.innerText.includes('sendmsg')).click()",
        vec![json!(send)],
    )
    .await;
    tab.await_text("#call", "hello").await;
    tab.await_text("#call .facts", "Bridge to IM").await;
    // This checks the list in the frame that the click draws: the list must not be blank.
    tab.run::<()>(
        "document.querySelector('#call header button').click(); \
         requestAnimationFrame(() => { window.isBlank = document.querySelector('#calls .ladder') === null; })",
        vec![],
    )
    .await;
    tab.await_element("#following:not([hidden])").await;
    tab.await_true("return window.isBlank !== undefined", "the next frame").await;
    assert!(!tab.run::<bool>("return window.isBlank", vec![]).await, "the list was blank for a frame");
    let directions: Vec<String> = tab
        .run(
            "return [...document.querySelectorAll('#calls .ladder')].map((one) => `${one.dataset.from} ${one.dataset.to}`)",
            vec![],
        )
        .await;
    assert!(directions.len() < all as usize, "the list still has every call: {directions:?}");
    for direction in ["wechat bridge", "bridge im"] {
        assert!(
            directions.iter().any(|one| one == direction),
            "no call {direction} in the list: {directions:?}"
        );
    }
    let shown: String = tab.run("return document.body.innerText", vec![]).await;
    assert!(shown.contains("•••") && !shown.contains("usersig=e"), "{shown}");
}

pub(super) async fn the_page_stays_small_after_a_thousand_calls(tab: &Tab) {
    tab.add_customer().await;
    tab.run::<()>(
        "const openid = document.querySelector('#customers [aria-selected=true]').dataset.key.split(' ')[0]; \
         const post = (text) => fetch(`/api/customers/${openid}`, { method: 'POST', \
           headers: { 'content-type': 'application/json' }, body: JSON.stringify({ do: 'text', text }) }); \
         const pending = () => document.querySelectorAll('#screen [data-pending]').length; \
         (async () => { for (let at = 0; at < 560; at += 8) { \
           await Promise.all([0, 1, 2, 3, 4, 5, 6].map((more) => post(`message ${at + more}`))); \
           await post(`message ${at + 7}`); \
           do await new Promise(requestAnimationFrame); while (pending() > 8); \
         } window.isDone = true; })()",
        vec![],
    )
    .await;
    tab.await_true_within(TIMEOUT, "return window.isDone === true", "all messages sent").await;
    let full = "return document.querySelector('#wire-tally').textContent === '1000 calls'";
    tab.await_true_within(TIMEOUT, full, "a full wire").await;
    let last = "return [...document.querySelectorAll('#screen .mine')].some((one) => one.textContent.includes('message 559'))";
    tab.await_true_within(TIMEOUT, last, "the last message").await;
    let rows: u32 = tab.run("return document.querySelectorAll('#calls [role=option]').length", vec![]).await;
    assert!((10..100).contains(&rows), "{rows} rows are elements");
    let bubbles: u32 = tab.run("return document.querySelectorAll('.bubble').length", vec![]).await;
    assert!(bubbles <= 400, "{bubbles} bubbles are elements");

    tab.run::<()>("document.querySelector('#calls').scrollTop = 0", vec![]).await;
    tab.await_element("#calls [aria-posinset='1']").await;
    tab.click("#newest").await;
    let is_last = "return [...document.querySelectorAll('#calls [role=option]')] \
                     .some((one) => one.ariaPosInSet === one.ariaSetSize)";
    tab.await_true(is_last, "the newest call").await;
}
