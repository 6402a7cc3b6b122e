//! Signed pushes that cannot be read: acknowledged, kept, listed, told to the agent, and deleted in time.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use wechat_im_bridge::internals::sandbox::wechat::Mode;
use wechat_im_bridge::internals::sandbox::wechat::crypto::{Crypt, sign};

use crate::child;
use crate::observe::{await_notice, counter_value, greeted, notices};
use crate::raw_http;
use crate::world::{SOON, Setup, World, await_texts, eventually, openid};

const COUNTED: &str = "wechat_im_bridge_refused_requests_total{source=\"push\",reason=\"unreadable\"}";
/// Thirty days and a little more, milliseconds.
const RETENTION_MS: i64 = 30 * 24 * 3600 * 1000 + 60_000;

/// A body that is cut off within the words of this customer.
fn cut_off(customer: &str, words: &str) -> String {
    format!(
        "<xml><ToUserName><![CDATA[gh_bridge000001]]></ToUserName><FromUserName><![CDATA[{customer}]]></FromUserName>\
         <CreateTime>1700000000</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{words}"
    )
}

async fn push(world: &World, body: impl AsRef<[u8]>) {
    let answer = raw_http::post(&world.public(), &format!("/?{}", raw_http::query(world)), body).await;
    assert_eq!((answer.status, answer.text()), (200, "success"));
}

/// What `messages list` prints beside the running bridge.
async fn listed(world: &World, options: &[&str]) -> String {
    std::fs::write(world.folder.path().join("config.toml"), world.config_toml()).unwrap();
    let mut command = child::bridge();
    command.current_dir(world.folder.path()).stdin(Stdio::null()).args(["messages", "list"]).args(options);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn listed_json(world: &World) -> Vec<Value> {
    let lines = listed(world, &["--state", "unreadable", "--json"]).await;
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kept_bodies(world: &World) -> Vec<Vec<u8>> {
    world.database().column("SELECT body FROM unreadable ORDER BY id", &[])
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_once_listed_counted_and_told_to_the_agent() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "unr").await, openid("unr"));
    let body = cut_off(&customer, "my card number is 4711");
    for _ in 0..3 {
        push(&world, &body).await;
    }
    await_notice(&world.agent(), &customer, "could not read").await;
    push(&world, b"\xff\xfe junk of nobody").await;
    assert_eq!(counter_value(&world, COUNTED).await, 4);
    assert_eq!(kept_bodies(&world), [body.as_bytes(), b"\xff\xfe junk of nobody"]);
    phone.say("did you get it?").await;
    await_texts(&world.agent(), &customer, 3).await;
    assert_eq!(notices(&world.agent(), &customer).len(), 1, "the same bytes cause one notice");

    let rows = listed_json(&world).await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows.iter().all(|row| row["state"] == "unreadable" && row["direction"] == "to_im"), "{rows:?}");
    assert_eq!((&rows[0]["openid"], &rows[0]["agent"]), (&customer.as_str().into(), &"user1".into()));
    assert!(rows[0]["last_error"].as_str().unwrap().contains("received 3 times"), "{rows:?}");
    let table = listed(&world, &[]).await;
    assert_eq!(table.matches("unreadable").count(), 2, "{table}");
    assert!(!table.contains("4711"), "{table}");
    world.finish().await;
}

#[tokio::test]
async fn an_encrypted_push_that_cannot_be_read_is_kept_as_it_was_before_encryption() {
    let world = Setup::default()
        .set("BRIDGE_WECHAT__MODE", "safe")
        .set("BRIDGE_WECHAT__ENCODING_AES_KEY", crate::world::AES_KEY)
        .wechat(|wechat| wechat.mode = Mode::Safe)
        .start()
        .await;
    let (_phone, customer) = (greeted(&world, "safe").await, openid("safe"));
    let body = cut_off(&customer, "half a sen");
    let wechat = world.wechat.settings();
    let crypt = Crypt::new(crate::world::AES_KEY, &wechat.app_id).unwrap();
    let encrypt = crypt.encrypt(body.as_bytes(), *b"0123456789abcdef").unwrap();
    let time = world.clock.now().seconds().to_string();
    let signature = sign(&[&wechat.token, &time, "1", &encrypt]);
    let path = format!("/?timestamp={time}&nonce=1&encrypt_type=aes&msg_signature={signature}");
    let envelope = format!("<xml><ToUserName>gh_bridge000001</ToUserName><Encrypt>{encrypt}</Encrypt></xml>");
    let answer = raw_http::post(&world.public(), &path, envelope).await;
    assert_eq!((answer.status, answer.text()), (200, "success"));
    assert_eq!(kept_bodies(&world), [body.as_bytes()]);
    await_notice(&world.agent(), &customer, "could not read").await;
    world.finish().await;
}

#[tokio::test]
async fn words_of_a_customer_cannot_name_another_sender() {
    let world = World::start().await;
    let (_phone, victim) = (greeted(&world, "victim").await, openid("victim"));
    let forged = format!("<xml><MsgType>text</MsgType><Content><FromUserName>{victim}</FromUserName>");
    push(&world, forged).await;
    assert_eq!(listed_json(&world).await[0]["openid"], "");
    assert!(notices(&world.agent(), &victim).is_empty());
    world.finish().await;
}

#[tokio::test]
async fn it_is_erased_with_its_customer_and_deleted_after_thirty_days() {
    let mut world = World::start().await;
    let (phone, customer) = (greeted(&world, "gone").await, openid("gone"));
    push(&world, cut_off(&customer, "mine")).await;
    push(&world, "of nobody").await;
    assert_eq!(kept_bodies(&world).len(), 2);
    phone.unfollow().await;
    assert_eq!(kept_bodies(&world), [b"of nobody"]);
    world.clock.advance(RETENTION_MS);
    // The first round of retention runs at the start.
    world.restart().await;
    let deleted = eventually(SOON + Duration::from_secs(10), async || kept_bodies(&world).is_empty());
    assert!(deleted.await, "it is kept longer than 30 days");
    world.finish().await;
}
