//! Every drill comes true against the real process, and leaves the sandbox as it was.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Lab, customer, messages, says, texts};
use crate::world::eventually;

/// Longer than any drill may take.
const DRILL: Duration = Duration::from_secs(130);

fn drill<'a>(state: &'a Value, name: &str) -> &'a Value {
    let drills = state["drills"].as_array().unwrap();
    drills.iter().find(|drill| drill["name"] == name).unwrap()
}

/// Plays the drill, which must come true: its values.
async fn play(lab: &Lab, name: &str) -> Value {
    let ended = end_of(lab, name).await;
    assert_eq!(ended["state"], "passed", "{ended:#}");
    assert_eq!(ended["outcome"]["key"], format!("drill.{name}.passed"));
    assert_eq!(ended["expect"], format!("drill.{name}.expect"));
    assert!(ended["took_ms"].is_u64(), "{ended}");
    ended["outcome"]["values"].clone()
}

/// Begins the drill and waits for its end.
async fn end_of(lab: &Lab, name: &str) -> Value {
    lab.begin(&format!("/api/drills/{name}"), json!({})).await;
    let (status, _) = lab.post("/api/drills/im_down", &json!({})).await;
    assert_eq!(status, 409, "one at a time");
    let mut ended = Value::Null;
    let over = eventually(DRILL, async || {
        ended = drill(&lab.state().await, name).clone();
        ended["state"] != "running"
    });
    assert!(over.await, "{name} does not end");
    ended
}

/// A machine that is busy with other tests may be slow to start a process; nothing else may go wrong meanwhile.
async fn killed(lab: &Lab) -> Value {
    for _ in 0..4 {
        let ended = end_of(lab, "bridge_killed").await;
        if ended["outcome"]["values"]["expected"] != "the bridge to be back within 2 s" {
            assert_eq!(ended["state"], "passed", "{ended:#}");
            return ended["outcome"]["values"].clone();
        }
    }
    panic!("the bridge is never back within 2 s");
}

/// Nothing of a drill is left: customer and agent talk as ever.
async fn talks(lab: &Lab) {
    let state = lab.state().await;
    assert_eq!(state["account"]["personal"], false);
    assert_eq!(state["bridge"]["state"], "running");
    let openid = "oSandboxPageCustomer00000001";
    if customer(&state, openid)["following"] == false {
        lab.follower().await;
    }
    let words = format!("Question {}", state["sequence"]);
    lab.customer(openid, json!({"do": "text", "text": words})).await;
    lab.until("the question", |state| messages(state, openid).iter().any(|one| says(one, &words))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platforms_fail_and_nothing_is_lost() {
    let lab = Lab::start().await;
    let down = play(&lab, "im_down").await;
    assert!(down["attempts"].as_u64() >= Some(2), "{down}");
    let slow = play(&lab, "im_slow").await;
    assert!(slow["next_ms"].as_u64() >= Some(3_000) && slow["answered_ms"].as_u64() < Some(1_000), "{slow}");
    assert_eq!(play(&lab, "wechat_busy").await["refused"], 2);
    assert_eq!(play(&lab, "token_revoked").await["fresh"], 1);
    talks(&lab).await;
    lab.begin("/api/reset", json!({})).await;
    let state = lab.state().await;
    assert!(state["drills"].as_array().unwrap().iter().all(|drill| drill["state"] == "idle"));
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_close_and_answers_wait_for_their_customer() {
    let lab = Lab::start().await;
    let clock = lab.state().await["now"].as_i64().unwrap();
    assert_eq!(play(&lab, "window_closed").await["code"], 45015);
    let passed = lab.state().await["now"].as_i64().unwrap() - clock;
    assert!(passed < 120_000, "the clock goes right again: {passed}");
    assert_eq!(play(&lab, "budget_used_up").await["sent"], 5);
    let personal = play(&lab, "personal_account").await;
    assert!(personal["note"].as_str().unwrap().starts_with("[bridge] "), "{personal}");
    let state = lab.state().await;
    let drills = texts(&state, "oSandboxDrillCustomer0000001");
    assert!(drills.iter().any(|text| text.contains("We deliver on Fridays.")), "{drills:?}");
    talks(&lab).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_and_forgeries_move_nothing_and_a_kill_loses_nothing() {
    let lab = Lab::start().await;
    assert_eq!(play(&lab, "duplicate_push").await, json!({"pushes": 4, "moved": 1}));
    assert_eq!(play(&lab, "forged_push").await, json!({"refused": 3}));
    let before = lab.state().await["bridge"]["pid"].clone();
    let killed = killed(&lab).await;
    assert!(killed["ready_ms"].as_u64() <= Some(2_000), "{killed}");
    let after = lab.state().await["bridge"].clone();
    assert!(
        after["pid"].is_u64() && after["pid"] != before && after["restarts"].as_u64() >= Some(1),
        "{after}"
    );
    talks(&lab).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_got_lost_is_made_up_for() {
    let lab = Lab::start().await;
    let found = play(&lab, "callback_lost").await;
    assert!(found["found_after_ms"].is_u64(), "{found}");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_does_not_come_true_says_what_was_seen_and_is_repaired() {
    let lab = Lab::start().await;
    // A bridge that nobody can reach passes no drill.
    let platforms = &lab.sandbox.session().stage;
    let bridge = lab.sandbox.bridge_url();
    platforms.connect("http://127.0.0.1:9");
    lab.begin("/api/drills/wechat_busy", json!({})).await;
    let state = lab.until("the end", |state| drill(state, "wechat_busy")["state"] == "failed").await;
    let outcome = &drill(&state, "wechat_busy")["outcome"];
    assert_eq!(outcome["key"], "drill.wechat_busy.failed");
    assert_eq!(outcome["values"]["expected"], "the push to be answered within a second");
    assert!(outcome["values"]["seen"].is_string(), "{outcome}");
    platforms.connect(&bridge);
    play(&lab, "wechat_busy").await;
    lab.stop().await;
}
