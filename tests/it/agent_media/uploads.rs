//! Uploads to WeChat: one upload per file, a new one after WeChat has dropped the copy, and the effect of
//! each return code.

use serde_json::json;
use wechat_im_bridge::internals::sandbox::fault::Fault;

use super::files::{await_pushed, file, local, pushed};
use crate::observe::{CUSTOM_SEND, await_notice, await_states, calls, greeted, lost_responses, notices};
use crate::world::{SOON, World, eventually, openid};

const UPLOAD: &str = "media/upload";
const DAY_MS: i64 = 86_400_000;

#[tokio::test]
async fn a_file_is_uploaded_once_for_all_customers_until_the_copy_expires() {
    let mut world = local().start().await;
    let (one, other) = (greeted(&world, "a").await, greeted(&world, "b").await);
    let agent = world.agent();
    for customer in [openid("a"), openid("b"), openid("a")] {
        agent.send_image(&customer, "a.jpg", file("photo.jpg")).await.unwrap();
    }
    await_states(&world, &openid("a"), &["delivered", "delivered"]).await;
    await_states(&world, &openid("b"), &["delivered"]).await;
    assert_eq!(world.wechat.ledger().uploads, 1);
    assert!(pushed(&one).iter().chain(&pushed(&other)).all(|shown| shown.2 == file("photo.jpg")));
    // The store remembers the upload, so that a restart does not repeat it.
    world.restart().await;
    agent.send_image(&openid("b"), "a.jpg", file("photo.jpg")).await.unwrap();
    await_states(&world, &openid("b"), &["delivered", "delivered"]).await;
    assert_eq!(world.wechat.ledger().uploads, 1);
    world.clock.advance(3 * DAY_MS - 1_800_000);
    one.say("still there?").await;
    agent.send_image(&openid("a"), "a.jpg", file("photo.jpg")).await.unwrap();
    await_states(&world, &openid("a"), &["delivered"; 3]).await;
    assert_eq!(world.wechat.ledger().uploads, 2, "the copy expires before three days are over");
    world.finish().await;
}

#[tokio::test]
async fn a_copy_that_wechat_has_dropped_is_uploaded_again_once() {
    for code in [40007, 46001] {
        let world = local().start().await;
        let (phone, agent, customer) = (greeted(&world, "c").await, world.agent(), openid("c"));
        agent.send_image(&customer, "a.jpg", file("photo.jpg")).await.unwrap();
        await_states(&world, &customer, &["delivered"]).await;
        let mut events = world.wechat.events();
        world.wechat.faults().script(CUSTOM_SEND, 1, Fault::Code(code));
        agent.send_image(&customer, "a.jpg", file("photo.jpg")).await.unwrap();
        await_states(&world, &customer, &["delivered", "delivered"]).await;
        assert_eq!(world.wechat.ledger().uploads, 2, "{code}");
        assert_eq!(calls(&mut events, CUSTOM_SEND), 2, "{code}");
        assert_eq!(phone.sends_left(), 3, "the failed call does not count");
        // If WeChat rejects the new copy too, the message is refused.
        world.wechat.faults().script(CUSTOM_SEND, 2, Fault::Code(code));
        agent.send_image(&customer, "a.jpg", file("photo.jpg")).await.unwrap();
        let notices = await_notice(&agent, &customer, "“[image]” was not sent").await;
        assert_eq!(notices.len(), 1, "{notices:?}");
        await_states(&world, &customer, &["delivered", "delivered", "refused"]).await;
        assert_eq!(world.wechat.ledger().uploads, 3, "{code}");
        world.finish().await;
    }
}

#[tokio::test]
async fn a_failed_upload_is_repeated_until_wechat_has_the_file() {
    for fault in [
        Fault::Code(-1),
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::BadGateway,
        Fault::NotJson,
        Fault::HalfBody,
    ] {
        let world = local().start().await;
        let (phone, agent, customer) = (greeted(&world, "d").await, world.agent(), openid("d"));
        world.wechat.faults().script(UPLOAD, 2, fault.clone());
        agent.send_image(&customer, "a.jpg", file("photo.jpg")).await.unwrap();
        agent.say(&customer, "after").await.unwrap();
        await_pushed(&phone, &[("image", "", file("photo.jpg")), ("text", "after", bytes::Bytes::new())])
            .await;
        await_states(&world, &customer, &["delivered", "delivered"]).await;
        assert!(notices(&agent, &customer).is_empty(), "{fault:?}: {:?}", notices(&agent, &customer));
        world.finish().await;
    }
}

#[tokio::test]
async fn an_upload_with_an_invalid_token_is_repeated_with_a_new_one() {
    let world = local().start().await;
    let (phone, agent, customer) = (greeted(&world, "e").await, world.agent(), openid("e"));
    agent.say(&customer, "first").await.unwrap();
    await_states(&world, &customer, &["delivered"]).await;
    world.wechat.revoke_tokens();
    agent.send_image(&customer, "a.jpg", file("photo.jpg")).await.unwrap();
    await_pushed(&phone, &[("text", "first", bytes::Bytes::new()), ("image", "", file("photo.jpg"))]).await;
    world.finish().await;
}

/// Asserts that a picture whose upload fails with `code` is sent as a link, and that a notice names the code.
async fn assert_sent_as_link(world: &World, name: &str, code: i64) {
    let (phone, agent, customer) = (greeted(world, name).await, world.agent(), openid(name));
    world.wechat.faults().script(UPLOAD, 1, Fault::Code(code));
    let photo = agent.upload("a.jpg", file("photo.png"));
    agent.send(&customer, json!([photo.image()])).await.unwrap();
    let link = format!("[image]\n{}", photo.url);
    await_pushed(&phone, &[("text", &link, bytes::Bytes::new())]).await;
    let notices = await_notice(&agent, &customer, "as a text with a link").await;
    assert!(notices.len() == 1 && notices[0].contains(&code.to_string()), "{code}: {notices:?}");
    await_states(world, &customer, &["delivered"]).await;
    assert_eq!(phone.sends_left(), 4);
}

#[tokio::test]
async fn a_file_whose_upload_wechat_refuses_is_sent_as_a_link_with_a_notice() {
    let world = local().start().await;
    for (n, code) in [40004, 40005, 40009, 40137, 45001, 45009, 48001, 48004].into_iter().enumerate() {
        assert_sent_as_link(&world, &format!("f{n}"), code).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn a_video_without_a_usable_thumbnail_gets_a_plain_one() {
    let world = local().start().await;
    let (phone, agent, customer) = (greeted(&world, "g").await, world.agent(), openid("g"));
    let clip = agent.upload("clip.mp4", file("clip.mp4"));
    let (png, missing) = (agent.upload("t.jpg", file("photo.png")), agent.upload("t.jpg", file("photo.jpg")));
    world.im.remove_file(&missing.url);
    for thumb in [png, missing, agent.upload("t.jpg", file("photo.jpg"))] {
        agent.send(&customer, json!([clip.video(&thumb)])).await.unwrap();
    }
    await_pushed(&phone, &vec![("video", "", file("clip.mp4")); 3]).await;
    assert_eq!(
        world.wechat.ledger().uploads,
        4,
        "the video, a JPEG of the PNG, the plain thumbnail, and the good one"
    );
    world.finish().await;
}

/// Invariant 5: a call whose response was lost is never repeated, for files as for texts.
#[tokio::test]
async fn a_picture_whose_response_is_lost_is_unknown_and_a_notice_says_so() {
    for (case, fault) in lost_responses() {
        let world = local().start().await;
        let (phone, agent, customer) = (greeted(&world, "h").await, world.agent(), openid("h"));
        world.wechat.faults().script(CUSTOM_SEND, 1, fault);
        agent.send_image(&customer, "a.jpg", file("photo.jpg")).await.unwrap();
        await_notice(&agent, &customer, "“[image]” may or may not have arrived").await;
        await_states(&world, &customer, &["unknown"]).await;
        agent.say(&customer, "next").await.unwrap();
        await_states(&world, &customer, &["unknown", "delivered"]).await;
        let pictures = pushed(&phone).iter().filter(|shown| shown.0 == "image").count();
        assert!(pictures <= 1, "{case}");
        assert_eq!(notices(&agent, &customer).len(), 1, "{case}");
        world.finish().await;
    }
}

#[tokio::test]
async fn a_fetched_file_is_not_fetched_again_while_uploads_fail() {
    let world = local().start().await;
    let (phone, agent, customer) = (greeted(&world, "i").await, world.agent(), openid("i"));
    let photo = agent.upload("a.jpg", file("photo.jpg"));
    world.wechat.faults().script(UPLOAD, 2, Fault::Code(-1));
    agent.send(&customer, json!([photo.image()])).await.unwrap();
    let refused = eventually(SOON, async || !world.wechat.ledger().refusals.is_empty()).await;
    assert!(refused);
    world.im.remove_file(&photo.url);
    await_pushed(&phone, &[("image", "", file("photo.jpg"))]).await;
    world.finish().await;
}
