use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::*;
use crate::http::connection::{self, ConnectionContext};
use crate::http::connections::ConnectionLimits;
use crate::http::testing::{self, impatient};

fn states(messages: &[MessageSummary]) -> Vec<&str> {
    messages.iter().filter(|message| message.direction == "to_wechat").map(|message| message.state).collect()
}

#[tokio::test]
async fn a_held_answer_attached_to_a_written_reply_is_delivered() {
    let world = World::new().await;
    world.push(&message("1", "anyone?")).await;
    world.hold("yes, here").await;
    assert_eq!(states(&world.messages().await), ["held"]);
    let reply = world.push(&message("2", "hello?")).await;
    assert_eq!(element(parts(&reply).1, "Content"), "yes, here");
    assert!(reply.contains("content-length: "), "{reply}");
    assert_eq!(states(&world.stop_and_list().await), ["delivered"]);
}

/// Answers may be released and held in turns, so that one waits between two held ones.
#[tokio::test]
async fn a_held_answer_behind_one_that_waits_is_not_attached() {
    let world = World::new().await;
    world.push(&message("1", "anyone?")).await;
    for text in ["one", "two"] {
        world.hold(text).await;
    }
    world.accept("three").await;
    world.hold("four").await;
    let reply = world.push(&message("2", "hello?")).await;
    let (attached, more) = element(parts(&reply).1, "Content").rsplit_once('\n').unwrap();
    assert_eq!(attached, "one\ntwo");
    assert!(more.starts_with("There is more: "), "{more}");
    assert_eq!(states(&world.stop_and_list().await), ["delivered", "delivered", "waiting", "held"]);
}

#[tokio::test]
async fn an_attached_answer_is_not_attached_again() {
    let world = World::new().await;
    world.push(&message("1", "anyone?")).await;
    world.hold("yes, here").await;
    world.push(&message("2", "hello?")).await;
    let delivered = async {
        while states(&world.messages().await) != ["delivered"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, delivered).await.unwrap();
    let next = world.push(&message("3", "thanks")).await;
    assert_eq!(element(parts(&next).1, "Content"), TRANSFERRING);
    let repeat = world.push(&message("2", "hello?")).await;
    assert_eq!(element(parts(&repeat).1, "Content"), "yes, here", "the repeat gets the first answer");
}

#[tokio::test]
async fn an_unwritten_reply_delivers_nothing() {
    let blockable = BlockableStore::new();
    let world = World::with(EncryptionMode::Plain, &blockable.location(), Limits::default()).await;
    world.push(&message("1", "anyone?")).await;
    world.hold("yes, here").await;
    let blocker = blockable.block();
    let mut stream: TcpStream = world.host.connect().await;
    let (query, xml) = (signed("1", "2"), message("2", "hello?"));
    let length = xml.len();
    let request = format!("POST /?{query} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{xml}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let at_the_store = async {
        while world.tasks.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, at_the_store).await.unwrap();
    drop(stream);
    // The push may be committed only after the server has noticed that the caller is gone.
    world.host.stop.hard.cancel();
    let World { host, .. } = &world;
    while !host.served.is_finished() {
        tokio::task::yield_now().await;
    }
    drop(blocker);
    assert_eq!(states(&world.stop_and_list().await), ["waiting"], "WeChat may still repeat the push");
}

#[tokio::test]
async fn a_reply_that_the_caller_does_not_read_delivers_nothing() {
    let world = World::new().await;
    world.push(&message("1", "anyone?")).await;
    world.hold("yes, here").await;
    let context = ConnectionContext {
        router: world.router.clone(),
        tls: None,
        limits: impatient(),
        soft: world.host.stop.soft.clone(),
        hard: world.host.stop.hard.clone(),
    };
    // The pipe is far smaller than the reply.
    let (mut caller, far_end) = tokio::io::duplex(16);
    let connections = testing::connections(ConnectionLimits::shared(1));
    let open = connections.admit("127.0.0.1".parse().unwrap()).await.unwrap();
    let served = tokio::spawn(connection::http(far_end, context, open));
    let xml = message("2", "hello?");
    let length = xml.len();
    let path = format!("/?{}", signed("1", "2"));
    let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{xml}");
    caller.write_all(request.as_bytes()).await.unwrap();
    tokio::time::timeout(LONG, served).await.unwrap().unwrap();
    assert_eq!(states(&world.stop_and_list().await), ["waiting"]);
}
