//! The wire: bounded, without jank, and one message can be followed on it.

use std::time::Duration;

use serde_json::json;

use super::rig::Tab;

/// For as many messages, on a machine that has other work.
const PATIENCE: Duration = Duration::from_mins(4);

pub(super) async fn a_message_is_followed_through_every_step(tab: &Tab) {
    tab.newcomer().await;
    tab.asks("hello").await;
    tab.sees("#messages .theirs", "hello").await;
    let all: u32 = tab.run("return document.querySelectorAll('#calls [role=option]').length", vec![]).await;
    let send = "#calls [role=option]:has(.ladder[data-from=bridge][data-to=im])";
    tab.until(
        "return [...document.querySelectorAll('#calls .what')].some((one) => one.innerText.includes('sendmsg'))",
        "the call that carries it to the agent",
    )
    .await;
    tab.run::<()>(
        "[...document.querySelectorAll(arguments[0])].findLast((one) => one.innerText.includes('sendmsg')).click()",
        vec![json!(send)],
    )
    .await;
    tab.sees("#call", "hello").await;
    tab.sees("#call .facts", "Bridge to IM").await;
    // Behind what the click draws, in the same frame: the list is never seen blank.
    tab.run::<()>(
        "document.querySelector('#call header button').click(); \
         requestAnimationFrame(() => { window.isBlank = document.querySelector('#calls .ladder') === null; })",
        vec![],
    )
    .await;
    tab.has("#following:not([hidden])").await;
    tab.until("return window.isBlank !== undefined", "the next frame").await;
    assert!(!tab.run::<bool>("return window.isBlank", vec![]).await, "the list was blank for a frame");
    let ways: Vec<String> = tab
        .run(
            "return [...document.querySelectorAll('#calls .ladder')].map((one) => `${one.dataset.from} ${one.dataset.to}`)",
            vec![],
        )
        .await;
    assert!(ways.len() < all as usize, "nothing is left out: {ways:?}");
    for way in ["wechat bridge", "bridge im"] {
        assert!(ways.iter().any(|one| one == way), "{way} is not on the message's way: {ways:?}");
    }
    let shown: String = tab.run("return document.body.innerText", vec![]).await;
    assert!(shown.contains("•••") && !shown.contains("usersig=e"), "{shown}");
}

pub(super) async fn a_thousand_calls_keep_the_page_bounded(tab: &Tab) {
    tab.newcomer().await;
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
    tab.until_within(PATIENCE, "return window.isDone === true", "all messages sent").await;
    let full = "return document.querySelector('#wire-tally').textContent === '1000 calls'";
    tab.until_within(PATIENCE, full, "a full wire").await;
    let last = "return [...document.querySelectorAll('#screen .mine')].some((one) => one.textContent.includes('message 559'))";
    tab.until_within(PATIENCE, last, "the last message").await;
    let rows: u32 = tab.run("return document.querySelectorAll('#calls [role=option]').length", vec![]).await;
    assert!((10..100).contains(&rows), "{rows} rows are elements");
    let bubbles: u32 = tab.run("return document.querySelectorAll('.bubble').length", vec![]).await;
    assert!(bubbles <= 400, "{bubbles} bubbles are elements");

    tab.run::<()>("document.querySelector('#calls').scrollTop = 0", vec![]).await;
    tab.has("#calls [aria-posinset='1']").await;
    tab.click("#newest").await;
    tab.has("#calls [aria-posinset='1000']").await;
}
