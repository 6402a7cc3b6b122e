//! Kills the bridge between the steps of an attachment: fetch the file, upload it, record the attempt, send
//! it.

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use wechat_im_bridge::internals::sandbox::wechat::Via;

use super::rig::{Rig, TIMEOUT};
use crate::agent_media::file;
use crate::world::openid;

const CUSTOMER: &str = "anna";
/// Runs at the same time. The rigs limit themselves further.
const AT_ONCE: usize = 4;

/// How many pictures and videos the customer may see, and the states of picture, video and the text after
/// them.
struct Expected {
    images: std::ops::RangeInclusive<usize>,
    videos: std::ops::RangeInclusive<usize>,
    states: [&'static str; 3],
}

async fn killed_at(point: &str, expected: Expected) {
    let mut rig = Rig::new().await;
    rig.set("BRIDGE_MEDIA__ALLOW_HOSTS", "127.0.0.1");
    rig.set("BRIDGE_MEDIA__ALLOW_PRIVATE", "true");
    let (phone, agent) = (rig.follower(CUSTOMER), rig.agent());
    rig.start().await;
    assert!(!phone.say("hello").await.fault_line);
    rig.wait_until_idle().await;
    rig.kill();

    rig.spawn(Some(point));
    rig.wait_until_listening().await;
    let customer = openid(CUSTOMER);
    let photo = agent.upload("a.jpg", file("photo.jpg"));
    let (clip, thumb) = (agent.upload("a.mp4", file("clip.mp4")), agent.upload("t.jpg", file("photo.jpg")));
    let text = json!({"MsgType": "TIMTextElem", "MsgContent": {"Text": "after"}});
    let sent = tokio::spawn(async move {
        for element in [photo.image(), clip.video(&thumb), text] {
            // A callback that is not answered is lost.
            agent.send(&customer, json!([element])).await.unwrap();
        }
    });
    let status = rig.wait_for_exit().await;
    assert!(status.code().is_none(), "{point}: {status}");
    rig.start().await;
    tokio::time::timeout(TIMEOUT, sent).await.unwrap().unwrap();
    rig.wait_until_answers_are_stored(3).await;
    rig.wait_until_idle().await;
    let pushed: Vec<_> = phone.screen().into_iter().filter(|shown| shown.via == Via::CustomSend).collect();
    let count = |kind: &str| pushed.iter().filter(|shown| shown.kind == kind).count();
    assert!(expected.images.contains(&count("image")), "{point}: {pushed:#?}\n{}", rig.log());
    assert!(expected.videos.contains(&count("video")), "{point}: {pushed:#?}\n{}", rig.log());
    assert_eq!(
        pushed.last().map(|shown| shown.text.as_str()),
        Some("after"),
        "{point}: the text is shown last"
    );
    let status = rig.terminate().await;
    assert!(status.success(), "{status}\n{}", rig.log());
    let stored = rig.database().column("SELECT state FROM message WHERE direction = 1 ORDER BY id", &[]);
    let final_states: Vec<&str> = stored
        .into_iter()
        .map(|state: i64| match state {
            2 => "delivered",
            5 => "unknown",
            _ => "other",
        })
        .collect();
    assert_eq!(final_states, expected.states, "{point}\n{}", rig.log());
    println!("{point}: {} pictures, {} videos, {final_states:?}", count("image"), count("video"));
}

/// Invariants 3, 5, 6: after a crash the bridge repeats the preparation of an attempt, but never the attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attachment_is_prepared_again_and_sent_at_most_once_after_a_kill_at_any_step() {
    let prepared_again = || Expected { images: 1..=1, videos: 1..=1, states: ["delivered"; 3] };
    let first_unknown =
        || Expected { images: 0..=1, videos: 1..=1, states: ["unknown", "delivered", "delivered"] };
    let second_unknown =
        || Expected { images: 1..=1, videos: 0..=1, states: ["delivered", "unknown", "delivered"] };
    let points = [
        ("media.fetched:1", prepared_again()),
        ("media.fetched:2", prepared_again()),
        ("media.fetched:3", prepared_again()),
        ("media.uploaded:1", prepared_again()),
        ("media.uploaded:2", prepared_again()),
        ("media.uploaded:3", prepared_again()),
        ("media.recorded:1", prepared_again()),
        ("media.recorded:3", prepared_again()),
        ("outbox.prepared:1", prepared_again()),
        ("outbox.prepared:2", prepared_again()),
        ("outbox.recorded:1", first_unknown()),
        ("outbox.called:1", first_unknown()),
        ("outbox.settled:1", prepared_again()),
        ("outbox.recorded:2", second_unknown()),
        ("outbox.called:2", second_unknown()),
    ];
    stream::iter(points)
        .map(|(point, expected)| killed_at(point, expected))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
}
