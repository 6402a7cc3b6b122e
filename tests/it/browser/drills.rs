//! Every drill passes after one click on its button.

use std::time::Duration;

use serde_json::json;

use super::rig::Tab;

/// Longer than any drill takes. One drill waits for the backfill, which runs once a minute.
const TIMEOUT: Duration = Duration::from_mins(3);

/// How often a drill is started that fails only because it was too slow.
const TRIES: usize = 4;

pub(super) async fn every_drill_passes_after_one_click(tab: &Tab) {
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
            "bridge_killed",
            "nobody_there",
            "agent_leaves",
            "night"
        ]
    );
    for name in names {
        let calls = "return Number(/\\d+/.exec(document.querySelector('#wire-tally').textContent))";
        let before: u32 = tab.run(calls, vec![]).await;
        let (mut state, mut outcome) = run_drill(tab, &name).await;
        // A drill checks the bridge's time limits, and this machine may have been busy with other tests.
        for _ in 1..TRIES {
            let was_slow = outcome.contains(" after ") || outcome.contains("ready within 2 s");
            if state == "failed" && was_slow {
                (state, outcome) = run_drill(tab, &name).await;
            }
        }
        assert_eq!(state, "passed", "{name}: {outcome}");
        assert!(!outcome.contains("drill."), "a text is missing: {outcome}");
        let has_more_calls =
            format!("{calls} > {before}").replacen("return ", "return (", 1).replacen(" > ", ") > ", 1);
        tab.await_true(&has_more_calls, "the drill's calls on the wire").await;
    }
}

/// Starts the drill with a click and returns its final state and outcome, as the page shows them.
async fn run_drill(tab: &Tab, name: &str) -> (String, String) {
    let card = format!("[data-drill={name}]");
    let before = tab.texts(&format!("{card} .outcome")).await.concat();
    tab.click(&format!("{card} button")).await;
    let has_started =
        format!("return document.querySelector('{card} .outcome').textContent !== {}", json!(before));
    tab.await_true(&has_started, &format!("the start of {name}")).await;
    let has_ended =
        format!("return ['passed', 'failed'].includes(document.querySelector('{card}').dataset.state)");
    tab.await_true_within(TIMEOUT, &has_ended, &format!("the end of {name}")).await;
    let state = tab.run(&format!("return document.querySelector('{card}').dataset.state"), vec![]).await;
    (state, tab.texts(&format!("{card} .detail")).await.concat())
}
