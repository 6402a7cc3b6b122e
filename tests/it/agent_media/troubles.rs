//! Addresses that lead to trouble: none of them harms anybody but the message that names it.

use bytes::Bytes;
use wechat_im_bridge::sandbox::im::AgentClient;
use wechat_im_bridge::sandbox::wechat::Phone;

use super::files::{await_pushed, file, image_at, local, trouble};
use crate::observe::{await_note, await_states, counter_value, greeted, notes};
use crate::world::{Setup, World, openid};

/// The customer gets the address itself, and the agent is told why.
async fn linked(world: &World, phone: &Phone, agent: &AgentClient, url: &str, why: &str) {
    let before = super::files::pushed(phone).len();
    phone.say("go on").await;
    agent.send(phone.openid(), image_at(url)).await.unwrap();
    let shown =
        crate::world::eventually(crate::world::SOON, async || super::files::pushed(phone).len() > before);
    assert!(shown.await, "{url}: {:?}", notes(agent, phone.openid()));
    assert_eq!(super::files::pushed(phone).pop().unwrap().1, format!("[image]\n{url}"));
    let told = await_note(agent, phone.openid(), why).await;
    assert!(
        told.last().unwrap().contains("“[image]” went to the customer as a text with a link"),
        "{told:?}"
    );
    assert!(world.wechat.ledger().uploads == 0, "{url}");
}

#[tokio::test]
async fn what_cannot_be_fetched_goes_as_a_link_and_the_agent_is_told_why() {
    let world = local().start().await;
    let (phone, agent) = (greeted(&world, "a").await, world.agent());
    let (address, _) = trouble().await;
    for (url, why) in [
        (format!("http://{address}/gone"), "the server answered 410"),
        (format!("http://{address}/loop"), "too many redirects"),
        ("https://evil.example/a.jpg".to_owned(), "not one of media.allow_hosts"),
        (format!("http://user:pass@{address}/photo.jpg"), "a user name or a password"),
        ("ftp://127.0.0.1/a.jpg".to_owned(), "not https"),
    ] {
        linked(&world, &phone, &agent, &url, why).await;
    }
    assert_eq!(counter_value(&world, "wechat_im_bridge_downloads_total{outcome=\"forbidden\"}").await, 4);
    assert_eq!(counter_value(&world, "wechat_im_bridge_downloads_total{outcome=\"status\"}").await, 1);
    world.finish().await;
}

#[tokio::test]
async fn private_addresses_are_refused_as_hosts_behind_names_and_behind_redirects() {
    let world = Setup::default()
        .set("BRIDGE_MEDIA__ALLOW_HOSTS", "127.0.0.1,localhost,[::1],169.254.169.254")
        .start()
        .await;
    let (phone, agent) = (greeted(&world, "b").await, world.agent());
    let (address, asked) = trouble().await;
    let port = address.port();
    for url in [
        format!("http://{address}/photo.jpg"),
        format!("http://localhost:{port}/photo.jpg"),
        format!("http://2130706433:{port}/photo.jpg"),
        format!("http://[::1]:{port}/photo.jpg"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        linked(&world, &phone, &agent, &url, "the host has no public address").await;
    }
    assert_eq!(asked.count(), 0, "nobody was connected to");
    world.finish().await;
}

#[tokio::test]
async fn redirects_are_followed_and_each_is_judged() {
    let world = Setup::default()
        .set("BRIDGE_MEDIA__ALLOW_HOSTS", "localhost")
        .set("BRIDGE_MEDIA__ALLOW_PRIVATE", "true")
        .start()
        .await;
    let (phone, agent, customer) = (greeted(&world, "c").await, world.agent(), openid("c"));
    let (address, _) = trouble().await;
    let base = format!("http://localhost:{}", address.port());
    let away = format!("{base}/to-private");
    linked(&world, &phone, &agent, &away, "not one of media.allow_hosts").await;
    agent.send(&customer, image_at(&format!("{base}/moved"))).await.unwrap();
    let link = format!("[image]\n{away}");
    await_pushed(&phone, &[("text", &link, Bytes::new()), ("image", "", file("photo.jpg"))]).await;
    world.finish().await;
}

#[tokio::test]
async fn a_server_that_recovers_is_asked_again_and_one_that_does_not_is_given_up() {
    let world = local().start().await;
    let (phone, agent, customer) = (greeted(&world, "d").await, world.agent(), openid("d"));
    let (address, _) = trouble().await;
    agent.send(&customer, image_at(&format!("http://{address}/flaky"))).await.unwrap();
    agent.say(&customer, "behind").await.unwrap();
    await_pushed(&phone, &[("image", "", file("photo.jpg")), ("text", "behind", Bytes::new())]).await;
    assert!(notes(&agent, &customer).is_empty());
    assert_eq!(
        counter_value(&world, "wechat_im_bridge_retried_total{direction=\"to_wechat\",class=\"source\"}")
            .await,
        2
    );
    let other = greeted(&world, "e").await;
    agent.send(&openid("e"), image_at(&format!("http://{address}/down"))).await.unwrap();
    let given_up = crate::world::eventually(std::time::Duration::from_secs(40), async || {
        !super::files::pushed(&other).is_empty()
    });
    assert!(given_up.await);
    await_note(&agent, &openid("e"), "the server answered 503").await;
    await_states(&world, &openid("e"), &["delivered"]).await;
    world.finish().await;
}

#[tokio::test]
async fn a_file_that_is_too_large_goes_as_a_link_whether_it_says_so_or_not() {
    let world = local().start().await;
    let (phone, agent, customer) = (greeted(&world, "f").await, world.agent(), openid("f"));
    let (address, _) = trouble().await;
    let urls = ["200-megabytes", "200-unannounced"].map(|path| format!("http://{address}/{path}"));
    for url in &urls {
        agent.send(&customer, image_at(url)).await.unwrap();
    }
    let links = urls.map(|url| format!("[image]\n{url}"));
    await_pushed(&phone, &[("text", &links[0], Bytes::new()), ("text", &links[1], Bytes::new())]).await;
    assert!(notes(&agent, &customer).is_empty());
    let incoming = world.folder.path().join("media/incoming");
    let empty = crate::world::eventually(crate::world::SOON, async || {
        std::fs::read_dir(&incoming).unwrap().count() == 0
    });
    assert!(empty.await, "nothing is left of it");
    world.finish().await;
}
