//! What operators learn of conversations: the command `report`, and the metrics.

use serde_json::Value;

use crate::observe::{await_notice, counter_value, greeted};
use crate::staying_faults::operate;
use crate::world::{SOON, World, await_shown, await_texts, eventually};

/// The lines of a report of the last day.
async fn report(world: &World) -> Vec<Value> {
    let text = operate(world, &["report", "--since", "1d", "--json"]).await;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The values of these names in the only line.
async fn figures(world: &World, names: &[&str]) -> Vec<Value> {
    let rows = report(world).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    names.iter().map(|name| rows[0][*name].clone()).collect()
}

async fn await_ended(world: &World, ending: &str, count: u64) {
    let sample = format!("wechat_im_bridge_conversations_ended_total{{ending=\"{ending}\"}}");
    let counted = eventually(SOON * 2, async || counter_value(world, &sample).await == count).await;
    assert!(counted, "{ending}: {}", world.metrics().await);
}

const NAMES: [&str; 6] =
    ["conversations", "open", "answered", "first_answer_median_s", "resolution_p90_s", "messages_out"];

#[tokio::test]
async fn a_conversation_is_reported_while_it_goes_on_when_it_is_closed_and_when_its_customer_has_left() {
    let world = World::start().await;
    let (phone, agent) = (greeted(&world, "a").await, world.agent());
    phone.say("one more thing").await;
    await_texts(&agent, phone.openid(), 2).await;
    assert_eq!(
        figures(&world, &NAMES).await,
        serde_json::json!([1, 1, 0, null, null, 0]).as_array().unwrap().clone()
    );
    world.clock.advance(30_000);
    for text in ["first", "second"] {
        agent.say(phone.openid(), text).await.unwrap();
        await_shown(&phone, text).await;
    }
    let open = figures(&world, &NAMES).await;
    assert_eq!((&open[1], &open[2], &open[4], &open[5]), (&1.into(), &1.into(), &Value::Null, &2.into()));
    assert!((30..33).contains(&open[3].as_i64().unwrap()), "{open:?}");
    world.clock.advance(60_000);
    agent.say(phone.openid(), "/close").await.unwrap();
    await_notice(&agent, phone.openid(), "Closed.").await;
    await_ended(&world, "agent", 1).await;
    let closed = figures(&world, &NAMES).await;
    assert_eq!((&closed[0], &closed[1], &closed[3]), (&1.into(), &0.into(), &open[3]), "{closed:?}");
    assert!((90..95).contains(&closed[4].as_i64().unwrap()), "{closed:?}");
    let metrics = world.metrics().await;
    for sample in ["first_answer_seconds_count 1", "resolution_seconds_count 1", "first_answer_seconds_sum 3"]
    {
        assert!(metrics.contains(&format!("wechat_im_bridge_{sample}")), "{sample}: {metrics}");
    }

    phone.say("hello again").await;
    await_texts(&agent, phone.openid(), 3).await;
    phone.unfollow().await;
    await_ended(&world, "left", 1).await;
    let left = report(&world).await;
    let names = ["conversations", "open", "answered", "messages_in", "messages_out", "first_answer_p90_s"];
    let values: Vec<&Value> = names.iter().map(|name| &left[0][*name]).collect();
    assert_eq!(values[..5], [&Value::from(2), &0.into(), &1.into(), &3.into(), &2.into()], "{left:?}");
    assert_eq!(values[5], &open[3], "who left without an answer waited for none");
    let csv = operate(&world, &["report", "--since", "1d", "--csv"]).await;
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert!(lines[0].starts_with("day,agent,conversations,open,answered,"), "{csv}");
    assert!(lines[1].contains(",user1,2,0,1,") && !csv.contains(phone.openid()), "{csv}");
    let table = operate(&world, &["report", "--since", "1d"]).await;
    assert!(table.starts_with("DAY ") && table.contains("user1"), "{table}");
    assert_eq!(world.database().value::<i64>("SELECT count(*) FROM ended_conversation", &[]), 2);
    world.finish().await;
}

#[tokio::test]
async fn a_conversation_in_which_nobody_writes_any_more_is_over_by_itself() {
    let world = World::start().await;
    let (answered, waiting) = (greeted(&world, "answered").await, greeted(&world, "waiting").await);
    let agent = world.agent();
    world.clock.advance(10_000);
    agent.say(answered.openid(), "the answer").await.unwrap();
    await_shown(&answered, "the answer").await;
    world.clock.advance(2 * 1_800_000 + 60_000);
    await_ended(&world, "silence", 1).await;
    let of_both = figures(&world, &["conversations", "open", "answered"]).await;
    assert_eq!(of_both, [2, 1, 1].map(Value::from), "nobody has answered the other one yet");

    // Whoever is answered late is answered.
    agent.say(waiting.openid(), "sorry").await.unwrap();
    await_shown(&waiting, "sorry").await;
    world.clock.advance(86_400_000);
    await_ended(&world, "silence", 2).await;
    let rows = report(&world).await;
    assert_eq!((&rows[0]["open"], &rows[0]["answered"]), (&0.into(), &2.into()), "{rows:?}");
    assert!((10..13).contains(&rows[0]["first_answer_median_s"].as_i64().unwrap()), "{rows:?}");
    assert!(rows[0]["first_answer_p90_s"].as_i64().unwrap() > 3_600, "{rows:?}");
    world.finish().await;
}
