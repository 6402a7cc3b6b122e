//! Every drill, by one click each, comes true.

use std::time::Duration;

use serde_json::json;

use super::rig::Tab;

/// Longer than any drill has: the bridge looks through IM's histories once a minute, and one drill waits for that.
const PATIENCE: Duration = Duration::from_mins(3);

/// How often a drill may be clicked that came true, but late.
const TRIES: usize = 4;

pub(super) async fn each_is_clicked_and_comes_true(tab: &Tab) {
    let names: Vec<String> = tab
        .run("return [...document.querySelectorAll('[data-drill]')].map((one) => one.dataset.drill)", vec![])
        .await;
    assert_eq!(
        names,
        [
            "im_down",
            "im_slow",
            "wechat_busy",
            "token_revoked",
            "window_closed",
            "budget_used_up",
            "personal_account",
            "callback_lost",
            "duplicate_push",
            "forged_push",
            "bridge_killed"
        ]
    );
    for name in names {
        let calls = "return Number(/\\d+/.exec(document.querySelector('#wire-tally').textContent))";
        let before: u32 = tab.run(calls, vec![]).await;
        let (mut state, mut outcome) = play(tab, &name).await;
        // A drill holds the bridge to its seconds, and this machine may have been at other work in the meantime.
        for _ in 1..TRIES {
            if state == "failed" && outcome.contains(" after ") {
                (state, outcome) = play(tab, &name).await;
            }
        }
        assert_eq!(state, "passed", "{name}: {outcome}");
        assert!(!outcome.contains("drill."), "a text is missing: {outcome}");
        let more =
            format!("{calls} > {before}").replacen("return ", "return (", 1).replacen(" > ", ") > ", 1);
        tab.until(&more, "the drill's calls on the wire").await;
    }
}

/// Clicks it, and gives how it ended, in the page's words.
async fn play(tab: &Tab, name: &str) -> (String, String) {
    let card = format!("[data-drill={name}]");
    let before = tab.texts(&format!("{card} .outcome")).await.concat();
    tab.click(&format!("{card} button")).await;
    let moved = format!("return document.querySelector('{card} .outcome').textContent !== {}", json!(before));
    tab.until(&moved, &format!("{name} begun")).await;
    let ended =
        format!("return ['passed', 'failed'].includes(document.querySelector('{card}').dataset.state)");
    tab.until_within(PATIENCE, &ended, &format!("the end of {name}")).await;
    let state = tab.run(&format!("return document.querySelector('{card}').dataset.state"), vec![]).await;
    (state, tab.texts(&format!("{card} .detail")).await.concat())
}
