//! URLs that cannot be fetched. Each of them affects only the message that contains it.

use std::time::Duration;

use bytes::Bytes;
use wechat_im_bridge::internals::sandbox::im::AgentClient;
use wechat_im_bridge::internals::sandbox::wechat::Phone;

use super::files::{await_pushed, file, image_at, local, pushed, start_bad_server};
use crate::observe::{await_notice, await_states, counter_value, greeted, notices, states};
use crate::world::{SOON, Setup, World, eventually, openid};

/// Asserts that the customer gets the URL as a text, and that a notice gives the agent the reason.
async fn assert_sent_as_link(world: &World, phone: &Phone, agent: &AgentClient, url: &str, reason: &str) {
    let before = pushed(phone).len();
    phone.say("go on").await;
    agent.send(phone.openid(), image_at(url)).await.unwrap();
    let shown = eventually(SOON, async || pushed(phone).len() > before);
    assert!(shown.await, "{url}: {:?}", notices(agent, phone.openid()));
    assert_eq!(pushed(phone).pop().unwrap().1, format!("[image]\n{url}"));
    let notices = await_notice(agent, phone.openid(), reason).await;
    assert!(
        notices.last().unwrap().contains("“[image]” went to the customer as a text with a link"),
        "{notices:?}"
    );
    assert!(world.wechat.ledger().uploads == 0, "{url}");
}

/// Asserts that the customer gets only the word for the picture, and that a notice gives the agent the reason.
async fn assert_address_hidden(world: &World, phone: &Phone, agent: &AgentClient, url: &str, reason: &str) {
    let before = pushed(phone).len();
    phone.say("go on").await;
    agent.send(phone.openid(), image_at(url)).await.unwrap();
    let shown = eventually(SOON, async || pushed(phone).len() > before);
    assert!(shown.await, "{url}: {:?}", notices(agent, phone.openid()));
    assert_eq!(pushed(phone).pop().unwrap().1, "[image]", "{url}");
    let notices = await_notice(agent, phone.openid(), reason).await;
    assert!(notices.last().unwrap().contains("got only the word"), "{notices:?}");
    assert!(world.wechat.ledger().uploads == 0, "{url}");
}

#[tokio::test]
async fn a_file_that_cannot_be_fetched_is_sent_as_a_link_unless_its_address_is_refused() {
    let world = local().start().await;
    let (phone, agent) = (greeted(&world, "a").await, world.agent());
    let (address, _) = start_bad_server().await;
    for (url, reason) in [(format!("http://{address}/gone"), "the server answered 410")] {
        assert_sent_as_link(&world, &phone, &agent, &url, reason).await;
    }
    for (url, reason) in [
        (format!("http://{address}/loop"), "too many redirects"),
        ("https://evil.example/a.jpg".to_owned(), "not one of media.allow_hosts"),
        (format!("http://user:pass@{address}/photo.jpg"), "a user name or a password"),
        ("ftp://127.0.0.1/a.jpg".to_owned(), "not https"),
    ] {
        assert_address_hidden(&world, &phone, &agent, &url, reason).await;
    }
    assert_eq!(counter_value(&world, "wechat_im_bridge_downloads_total{outcome=\"forbidden\"}").await, 1);
    assert_eq!(counter_value(&world, "wechat_im_bridge_downloads_total{outcome=\"status\"}").await, 1);
    world.finish().await;
}

#[tokio::test]
async fn a_reply_shows_an_address_only_if_it_may_be_followed() {
    let world = local().set("BRIDGE_WECHAT__REPLY", "passive").start().await;
    let (phone, agent, customer) = (greeted(&world, "p").await, world.agent(), openid("p"));
    for (url, shown) in [
        ("http://127.0.0.1:1/photo.jpg", "[image]\nhttp://127.0.0.1:1/photo.jpg"),
        ("http://user:pass@127.0.0.1:1/photo.jpg", "[image]"),
        ("https://evil.example/a.jpg", "[image]"),
    ] {
        let before = notices(&agent, &customer).len();
        agent.send(&customer, image_at(url)).await.unwrap();
        let is_told = shown.contains(url) || {
            let told = async || {
                notices(&agent, &customer)[before..].iter().any(|text| text.contains("only the word"))
            };
            eventually(SOON, told).await
        };
        assert!(is_told, "{url}: {:?}", notices(&agent, &customer));
        let is_held = async || states(&world, &customer).await.last() == Some(&"held");
        assert!(eventually(SOON, is_held).await, "{url}");
        assert_eq!(phone.say("?").await.text(), Some(shown));
        world.clock.advance(1_000);
    }
    world.finish().await;
}

#[tokio::test]
async fn private_addresses_are_refused_as_hosts_and_behind_names() {
    let world = Setup::default()
        .set("BRIDGE_MEDIA__ALLOW_HOSTS", "127.0.0.1,localhost,[::1],169.254.169.254")
        .start()
        .await;
    let (phone, agent) = (greeted(&world, "b").await, world.agent());
    let (address, requests) = start_bad_server().await;
    let port = address.port();
    for url in [
        format!("http://{address}/photo.jpg"),
        format!("http://localhost:{port}/photo.jpg"),
        format!("http://2130706433:{port}/photo.jpg"),
        format!("http://[::1]:{port}/photo.jpg"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        assert_address_hidden(&world, &phone, &agent, &url, "the host has no public address").await;
    }
    assert_eq!(requests.get(), 0, "the bridge must not connect to a private address");
    world.finish().await;
}

#[tokio::test]
async fn redirects_are_followed_and_each_target_is_checked() {
    let world = Setup::default()
        .set("BRIDGE_MEDIA__ALLOW_HOSTS", "localhost")
        .set("BRIDGE_MEDIA__ALLOW_PRIVATE", "true")
        .start()
        .await;
    let (phone, agent, customer) = (greeted(&world, "c").await, world.agent(), openid("c"));
    let (address, _) = start_bad_server().await;
    let base = format!("http://localhost:{}", address.port());
    let to_private = format!("{base}/to-private");
    assert_address_hidden(&world, &phone, &agent, &to_private, "not one of media.allow_hosts").await;
    agent.send(&customer, image_at(&format!("{base}/moved"))).await.unwrap();
    await_pushed(&phone, &[("text", "[image]", Bytes::new()), ("image", "", file("photo.jpg"))]).await;
    world.finish().await;
}

#[tokio::test]
async fn a_failing_server_is_tried_again_until_it_recovers_or_the_bridge_gives_up() {
    let world = local().start().await;
    let (phone, agent, customer) = (greeted(&world, "d").await, world.agent(), openid("d"));
    let (address, _) = start_bad_server().await;
    agent.send(&customer, image_at(&format!("http://{address}/flaky"))).await.unwrap();
    agent.say(&customer, "after").await.unwrap();
    await_pushed(&phone, &[("image", "", file("photo.jpg")), ("text", "after", Bytes::new())]).await;
    assert!(notices(&agent, &customer).is_empty());
    assert_eq!(
        counter_value(&world, "wechat_im_bridge_retried_total{direction=\"to_wechat\",class=\"source\"}")
            .await,
        2
    );
    let other = greeted(&world, "e").await;
    agent.send(&openid("e"), image_at(&format!("http://{address}/down"))).await.unwrap();
    let given_up = eventually(Duration::from_secs(40), async || !pushed(&other).is_empty());
    assert!(given_up.await);
    await_notice(&agent, &openid("e"), "the server answered 503").await;
    await_states(&world, &openid("e"), &["delivered"]).await;
    world.finish().await;
}

#[tokio::test]
async fn a_file_that_is_too_large_is_sent_as_a_link_with_or_without_a_content_length() {
    let world = local().start().await;
    let (phone, agent, customer) = (greeted(&world, "f").await, world.agent(), openid("f"));
    let (address, _) = start_bad_server().await;
    let urls = ["200-megabytes", "200-without-length"].map(|path| format!("http://{address}/{path}"));
    for url in &urls {
        agent.send(&customer, image_at(url)).await.unwrap();
    }
    let links = urls.map(|url| format!("[image]\n{url}"));
    await_pushed(&phone, &[("text", &links[0], Bytes::new()), ("text", &links[1], Bytes::new())]).await;
    assert!(notices(&agent, &customer).is_empty());
    let incoming = world.folder.path().join("media/incoming");
    let empty = eventually(SOON, async || std::fs::read_dir(&incoming).unwrap().count() == 0);
    assert!(empty.await, "the partial files are still there");
    world.finish().await;
}
