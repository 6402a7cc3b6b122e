//! Live updates: a reader gets every change in order, from any position. A reader that falls behind must
//! reload.

use std::time::Duration;

use serde_json::{Value, json};
use wechat_im_bridge::internals::sandbox::session::Change;

use super::{FIRST, Lab, SOON};

/// A reader of the event stream, like the page.
struct Reader {
    answer: reqwest::Response,
    text: String,
    /// The beginning of a character.
    rest: Vec<u8>,
}

#[derive(Debug)]
struct Event {
    id: u64,
    name: String,
    data: Value,
}

impl Reader {
    async fn open(lab: &Lab, after: &str) -> Self {
        let answer = lab.http.get(lab.url(&format!("/api/events{after}"))).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, text: String::new(), rest: Vec::new() }
    }

    /// The next event, or `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.clone().split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let read = field("event: ").map(|name| Event {
                    id: field("id: ").unwrap().parse().unwrap(),
                    name: name.to_owned(),
                    data: serde_json::from_str(field("data: ").unwrap()).unwrap(),
                });
                rest.clone_into(&mut self.text);
                match read {
                    Some(read) => return Some(read),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(SOON, self.answer.chunk()).await.unwrap().unwrap()?;
            // A chunk may end within a character.
            self.rest.extend_from_slice(&chunk);
            let whole = self.rest.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
            let read: Vec<u8> = self.rest.drain(..whole).collect();
            self.text.push_str(std::str::from_utf8(&read).unwrap());
        }
    }

    /// Reads until an event matches, and returns all events up to it.
    async fn until(&mut self, matches: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut read = Vec::new();
        self.until_each(&mut read, &[&matches]).await;
        read
    }

    /// Reads into `read` until an event in it matches each of `conditions`, in any order: the parts of the state
    /// change independently, and a part that changes several times is sent only at its last change.
    async fn until_each(&mut self, read: &mut Vec<Event>, conditions: &[&dyn Fn(&Event) -> bool]) {
        while !conditions.iter().all(|matches| read.iter().any(matches)) {
            match self.next().await {
                Some(event) => read.push(event),
                None => panic!("the events ended: {read:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_gets_the_events_in_order_and_may_resume() {
    let lab = Lab::start().await;
    let sequence = lab.state().await["sequence"].as_u64().unwrap();
    let after = format!("?after={sequence}");
    let (mut one, mut two) = (Reader::open(&lab, &after).await, Reader::open(&lab, &after).await);
    lab.follower().await;
    lab.act_as_customer(FIRST, json!({"do": "text", "text": "Is size M in stock?"})).await;
    let at_agent =
        |event: &Event| event.name == "agent" && event.data.to_string().contains("Is size M in stock?");
    let customer = |event: &Event| event.name == "customer" && event.data["openid"] == FIRST;
    let latency = |event: &Event| event.name == "latency";
    let push = |event: &Event| {
        event.name == "wire" && event.data["from"] == "wechat" && event.data["customer"] == FIRST
    };
    let counted = |event: &Event| {
        let (delivered, accepted) = (&event.data["delivered"], &event.data["accepted"]);
        event.name == "counters" && delivered.as_u64() > Some(0) && accepted.as_u64() >= Some(2)
    };
    for reader in [&mut one, &mut two] {
        let mut read = Vec::new();
        reader.until_each(&mut read, &[&at_agent, &customer, &latency, &push, &counted]).await;
        let ids: Vec<u64> = read.iter().map(|event| event.id).collect();
        assert!(ids.is_sorted() && ids[0] > sequence, "{ids:?}");
    }

    // A browser that reconnects names the last event that it received, and gets the later ones.
    let again = lab.http.get(lab.url("/api/events?after=999999")).header("last-event-id", sequence);
    let mut again = Reader { answer: again.send().await.unwrap(), text: String::new(), rest: Vec::new() };
    again.until(at_agent).await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_with_an_unknown_position_must_reload() {
    let lab = Lab::start().await;
    let event_log = &lab.sandbox.session().event_log;
    for _ in 0..1_100 {
        event_log.add_change(Change::Clock);
    }
    for position in ["?after=0", "?after=99999999"] {
        let newest = event_log.newest();
        let mut reader = Reader::open(&lab, position).await;
        let reload = reader.next().await.unwrap();
        assert_eq!(reload.name, "reload", "{position}");
        assert!((newest..=event_log.newest()).contains(&reload.id), "{position}: {}", reload.id);
        assert!(reader.next().await.is_none(), "{position}");
    }
    let refused = lab.http.get(lab.url("/api/events?after=many")).send().await.unwrap();
    assert_eq!(refused.status(), 400);

    let mut reader = Reader::open(&lab, "").await;
    lab.post_accepted("/api/reset", json!({})).await;
    reader.until(|event| event.name == "reload").await;
    assert!(reader.next().await.is_none(), "the stream ends after a reload");
    assert_eq!(lab.state().await["wire"], json!([]));
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_delays_no_other_reader_and_must_reload() {
    let lab = Lab::start().await;
    let session = lab.sandbox.session();
    // A long screen makes large events, which fill the buffers between the sandbox and a slow reader.
    let phone = session.stage.wechat.customer(FIRST);
    phone.set_following(true);
    for _ in 0..100 {
        phone.draft_text(&"x".repeat(10_000));
    }
    let mut slow = Reader::open(&lab, "").await;
    let mut quick = Reader::open(&lab, "").await;
    for _ in 0..12 {
        session.event_log.add_change(Change::Customer(FIRST.into()));
        quick.until(|event| event.name == "customer").await;
    }
    for _ in 0..1_100 {
        session.event_log.add_change(Change::Clock);
        if session.event_log.newest() % 100 == 0 {
            quick.until(|event| event.name == "clock").await;
        }
    }
    let events = slow.until(|event| event.name == "reload").await;
    assert!(events.len() < 1_000, "{}", events.len());
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_readers_is_limited_until_a_reader_leaves() {
    let lab = Lab::start().await;
    let mut readers = Vec::new();
    for _ in 0..32 {
        readers.push(Reader::open(&lab, "").await);
    }
    let connect = || async { lab.http.get(lab.url("/api/events")).send().await.unwrap().status().as_u16() };
    assert_eq!(connect().await, 503);
    readers.clear();
    let has_room = crate::world::eventually(SOON, async || connect().await == 200);
    assert!(has_room.await, "no reader could connect again");
    tokio::time::timeout(Duration::from_secs(10), lab.stop()).await.unwrap();
}
