//! A bug that panics whenever the bridge works on one message or one file: the panics are counted and shown, the third
//! one ends what causes them, and everything else goes on.

use serde_json::Value;
use wechat_im_bridge::internals::sandbox::im::AgentClient;

use super::pictures::fetched_count;
use super::rig::{Rig, TIMEOUT};
use crate::customer_media::{JPEG, PUBLIC_URL};
use crate::world::{INQUIRY, eventually, get_json, is_first_line, openid, texts};

const CUSTOMER: &str = "anna";

/// Starts a bridge that panics `times` times at `point`, once the customer is known.
async fn panicking_at(point: &str, times: u32) -> Rig {
    let mut rig = Rig::new().await;
    rig.set("BRIDGE_SERVER__PUBLIC_URL", PUBLIC_URL);
    rig.start().await;
    assert!(!rig.follower(CUSTOMER).say("before").await.fault_line);
    rig.wait_until_idle().await;
    assert!(rig.terminate().await.success());
    rig.set("BRIDGE_PANIC_AT", format!("{point}:{times}"));
    rig.start().await;
    rig
}

async fn await_text(rig: &Rig, agent: &AgentClient, text: &str) {
    let text = format!("{INQUIRY}{text}");
    let arrived = eventually(TIMEOUT, async || texts(agent, &openid(CUSTOMER)).contains(&text)).await;
    assert!(arrived, "{:?}\n{}", texts(agent, &openid(CUSTOMER)), rig.log());
}

fn notices(agent: &AgentClient) -> Vec<String> {
    let all = agent.conversation(&openid(CUSTOMER)).into_iter().map(|message| message.text());
    all.filter(|text| text.starts_with("[bridge] ") && !is_first_line(text)).collect()
}

/// Asserts that the panics are counted, and that `/readyz` shows them as trouble without refusing pushes.
async fn check_shown(rig: &Rig, part: &str) {
    let (status, ready): (u16, Value) = get_json(&rig.readyz()).await;
    assert_eq!((status, &ready["lanes"]["ok"]), (200, &Value::Bool(false)), "{ready}");
    let metrics = wechat_im_bridge::internals::http_client::get(rig.readyz().replace("readyz", "metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let counted = format!("wechat_im_bridge_panics_total{{part=\"{part}\"}} 3");
    assert!(metrics.contains(&counted), "{metrics}");
}

/// Invariants 1, 5 and 6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_panics_ends_after_three_panics_and_the_next_one_arrives() {
    let mut rig = panicking_at("outbox.recorded", 3).await;
    let (phone, agent) = (rig.follower(CUSTOMER), rig.agent());
    assert!(!phone.say("poison").await.fault_line);
    assert!(!phone.say("after").await.fault_line);
    await_text(&rig, &agent, "after").await;
    check_shown(&rig, "lane").await;
    let told = eventually(TIMEOUT, async || notices(&agent).len() == 1).await;
    assert!(told, "{:?}\n{}", notices(&agent), rig.log());
    assert!(notices(&agent)[0].contains("may not have reached you"), "{:?}", notices(&agent));
    let stored = rig.stop_and_read_store().await;
    assert_eq!(stored.count("waiting"), 0, "{}", rig.log());
}

/// Invariants 1 and 6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_panics_is_given_up_after_three_panics_and_its_agent_is_told() {
    let mut rig = panicking_at("media.fetched", 3).await;
    let (phone, agent) = (rig.follower(CUSTOMER), rig.agent());
    assert!(!phone.send_image(JPEG).await.fault_line);
    assert!(!phone.say("after").await.fault_line);
    await_text(&rig, &agent, "after").await;
    let told = eventually(TIMEOUT, async || !notices(&agent).is_empty()).await;
    assert!(told, "{}", rig.log());
    check_shown(&rig, "fetch").await;
    // The next file is fetched: the bug is over.
    assert!(!phone.send_image(JPEG).await.fault_line);
    let is_fetched = async || fetched_count(&rig) == 1;
    assert!(eventually(TIMEOUT, is_fetched).await, "{}", rig.log());
    assert!(rig.terminate().await.success());
}
