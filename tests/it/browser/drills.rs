//! Every drill, by one click each, comes true.

use std::time::Duration;

use super::rig::Tab;

/// The longest drill waits for a breaker and a backoff, and this machine may have other work.
const PATIENCE: Duration = Duration::from_secs(60);

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
        tab.click(&format!("[data-drill={name}] button")).await;
        let done = format!(
            "return ['passed', 'failed'].includes(document.querySelector('[data-drill={name}]').dataset.state)"
        );
        tab.until_within(PATIENCE, &done, &format!("the end of {name}")).await;
        let outcome = tab.texts(&format!("[data-drill={name}] .detail")).await;
        let state: String = tab
            .run(&format!("return document.querySelector('[data-drill={name}]').dataset.state"), vec![])
            .await;
        assert_eq!(state, "passed", "{name}: {outcome:?}");
        assert!(!outcome[0].contains("drill."), "a text is missing: {outcome:?}");
        let more =
            format!("{calls} > {before}").replacen("return ", "return (", 1).replacen(" > ", ") > ", 1);
        tab.until(&more, "the drill's calls on the wire").await;
    }
}
