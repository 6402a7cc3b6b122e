//! Media that cannot be shown: the agent gets one notice, and nothing else is affected.

use std::time::{Duration, Instant};

use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::wechat::Field;

use super::{AMR, JPEG, MP4, await_elements, get, local_url, sent, with_public_url};
use crate::world::{SOON, World, await_texts, eventually, openid, texts};

const MEDIA_GET: &str = "cgi-bin/media/get";

fn notices(world: &World, customer: &str) -> Vec<String> {
    texts(&world.agent(), customer).into_iter().filter(|text| text.starts_with("[bridge] ")).collect()
}

async fn await_metric(world: &World, line: &str) {
    let seen = eventually(SOON, async || world.metrics().await.contains(line)).await;
    assert!(seen, "{line} is not in\n{}", world.metrics().await);
}

#[tokio::test]
async fn without_a_public_url_the_agent_reads_the_kind_and_why_it_cannot_be_shown() {
    let world = World::start().await;
    let phone = world.follower("dark");
    phone.send_image(JPEG).await;
    phone.send_voice(AMR, "amr").await;
    phone.send_video(MP4, JPEG).await;
    let received = await_texts(&world.agent(), &openid("dark"), 3).await;
    for (text, kind) in received.iter().zip(["[image]", "[voice message]", "[video]"]) {
        assert!(text.contains(kind) && text.contains("the bridge has no public address"), "{text}");
    }
    assert_eq!(world.wechat.ledger().downloads, 0);
    world.finish().await;
}

#[tokio::test]
async fn media_that_wechat_does_not_have_cause_one_notice_per_message() {
    let world = with_public_url().start().await;
    let phone = world.follower("gone");
    let send_missing = |kind: &str, more: Vec<Field>| {
        let fields = vec![Field::text("MsgType", kind), Field::text("MediaId", "nobody-knows-it")];
        phone.push_xml([fields, more].concat())
    };
    send_missing("image", vec![Field::text("PicUrl", "")]).await;
    let has_notice = eventually(SOON, async || notices(&world, &openid("gone")).len() == 1).await;
    assert!(has_notice, "{:?}", sent(&world, &openid("gone")));
    // The picture waits for its file, and the notice follows right after it.
    let picture = sent(&world, &openid("gone")).swap_remove(0);
    send_missing("video", vec![Field::text("ThumbMediaId", "nor-this")]).await;
    let has_notice = eventually(SOON, async || {
        let notices = notices(&world, &openid("gone"));
        notices.iter().map(|notice| notice.lines().count()).sum::<usize>() == 2
    });
    assert!(has_notice.await, "{:?}", notices(&world, &openid("gone")));
    assert!(notices(&world, &openid("gone"))[0].contains("picture cannot be shown: WeChat does not have it"));
    assert_eq!(
        get(&local_url(&world, &picture[0]["MsgContent"]["ImageInfoArray"][0]["URL"])).await.status,
        404
    );
    // One for the picture, one for the video, and one for the video's first picture, which causes
    // no notice.
    await_metric(&world, "customer_media_total{outcome=\"failed\"} 3").await;
    assert!(
        world
            .metrics()
            .await
            .contains("calls_total{platform=\"wechat\",api=\"media_get\",outcome=\"refuse\"} 3")
    );
    world.finish().await;
}

#[tokio::test]
async fn temporary_failures_of_wechat_cause_retries_and_no_notice() {
    let world = with_public_url().start().await;
    let phone = world.follower("rain");
    let faults = world.wechat.faults();
    faults.script(MEDIA_GET, 1, Fault::BadGateway);
    faults.script(MEDIA_GET, 1, Fault::HalfBody);
    faults.script(MEDIA_GET, 1, Fault::Code(-1));
    phone.send_image(JPEG).await;
    let elements = await_elements(&world, &openid("rain"), 1).await;
    await_metric(&world, "customer_media_total{outcome=\"fetched\"} 1").await;
    await_metric(&world, "customer_media_total{outcome=\"retry\"} 3").await;
    let got = get(&local_url(&world, &elements[0]["MsgContent"]["ImageInfoArray"][0]["URL"])).await;
    assert!(got.status == 200 && got.bytes == JPEG);
    world.wechat.revoke_tokens();
    phone.send_image(&b"GIF89a and so on"[..]).await;
    await_metric(&world, "customer_media_total{outcome=\"fetched\"} 2").await;
    assert_eq!(notices(&world, &openid("rain")), [""; 0]);
    world.finish().await;
}

#[tokio::test]
async fn a_file_that_is_too_large_causes_a_notice_and_is_not_stored() {
    let world = with_public_url().set("BRIDGE_MEDIA__MAX_BYTES", "1024").start().await;
    let phone = world.follower("huge");
    phone.send_image(JPEG).await;
    let has_notice = eventually(SOON, async || !notices(&world, &openid("huge")).is_empty()).await;
    assert!(has_notice && notices(&world, &openid("huge"))[0].contains("larger than 1 KB"));
    let media = world.folder.path().join("media");
    let empty =
        eventually(SOON, async || count_entries(&media) + count_entries(&media.join("incoming")) == 1).await;
    assert!(empty, "only the folder for incoming files is left");
    world.finish().await;
}

fn count_entries(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn after_three_days_without_wechat_the_agent_gets_a_notice() {
    let world = with_public_url().start().await;
    let phone = world.follower("late");
    world.wechat.faults().script(MEDIA_GET, 1_000, Fault::BadGateway);
    phone.send_voice(AMR, "amr").await;
    await_metric(&world, "customer_media_total{outcome=\"retry\"}").await;
    world.clock.advance(3 * 86_400_000);
    let has_notice = eventually(SOON, async || !notices(&world, &openid("late")).is_empty()).await;
    assert!(has_notice && notices(&world, &openid("late"))[0].contains("within the three days"));
    world.finish().await;
}

#[tokio::test]
async fn an_account_that_may_not_fetch_causes_a_notice() {
    let world = with_public_url().start().await;
    world.wechat.faults().script(MEDIA_GET, 2, Fault::Code(48001));
    let phone = world.follower("poor");
    phone.send_voice(AMR, "amr").await;
    let has_notice = eventually(SOON, async || !notices(&world, &openid("poor")).is_empty()).await;
    assert!(has_notice && notices(&world, &openid("poor"))[0].contains("does not let this account fetch it"));
    world.finish().await;
}

#[tokio::test]
async fn an_early_request_waits_for_the_file() {
    let world = with_public_url().start().await;
    let phone = world.follower("fast");
    world.wechat.faults().script(MEDIA_GET, 1, Fault::Delay(Duration::from_millis(700)));
    phone.send_image(JPEG).await;
    let elements = await_elements(&world, &openid("fast"), 1).await;
    let started = Instant::now();
    let got = get(&local_url(&world, &elements[0]["MsgContent"]["ImageInfoArray"][0]["URL"])).await;
    assert!(got.status == 200 && got.bytes == JPEG, "{} after {:?}", got.status, started.elapsed());
    world.finish().await;
}

#[tokio::test]
async fn passive_accounts_show_media_too() {
    let world = with_public_url().set("BRIDGE_WECHAT__REPLY", "passive").start().await;
    let phone = world.follower("calm");
    phone.send_image(JPEG).await;
    let elements = await_elements(&world, &openid("calm"), 1).await;
    let got = get(&local_url(&world, &elements[0]["MsgContent"]["ImageInfoArray"][0]["URL"])).await;
    assert!(got.status == 200 && got.bytes == JPEG);
    world.finish().await;
}
