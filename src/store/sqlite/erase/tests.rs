//! Erasure: no byte of a customer's words is left in any file, whatever SQLite moved around before.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rusqlite::Connection;

use super::*;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{Direction, MessageId, Move, OpenId, OutboundCall};
use crate::store::value::params;
use crate::store::{Customer, NewMessage, Settlement, Store, StoreLocation, testing};

/// The number of files of the store in `folder` that contain `word`, by name. Reads through another
/// process: closing the file in this one would release SQLite's locks.
fn files_with(folder: &Path, word: &str) -> Vec<String> {
    let output = std::process::Command::new("grep").args(["-rlaF", word]).arg(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

async fn until_erased(folder: &Path, word: &str) {
    let started = Instant::now();
    loop {
        let left = files_with(folder, word);
        if left.is_empty() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{left:?} still contain {word}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Messages and replies of twenty customers, of many lengths, in a random order, so that SQLite
/// moves rows from page to page. Every text begins with `word-CUSTOMER-`.
async fn fill(store: &Store, seed: u64, messages: u32) {
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let mut rows = Vec::new();
    for n in 0..messages {
        let who = rng.random_range(0..20);
        let text = format!("word-{who:02}-{n} {}", "x".repeat(rng.random_range(5..900)));
        rows.push((
            OpenId::new(format!("oC{who:02}")).unwrap(),
            format!("{:016x}", rng.random::<u64>()),
            text,
        ));
    }
    store
        .write(move |tx| {
            for (openid, key, text) in &rows {
                tx.put_customer(&Customer::new(openid.clone()))?;
                let id = tx.add(&message(openid, text))?;
                let sql = "INSERT INTO dedup (key, at, reply, reply_customer) VALUES (?1, 1, ?2, ?3)";
                tx.session.run(sql, params![key, text, openid.as_str()])?;
                tx.record_attempt_at(id)?;
            }
            Ok(())
        })
        .await
        .unwrap();
    store
        .write(move |tx| {
            for id in 1..=i64::from(messages) {
                let why = (id % 3 == 0).then(|| "a reason that makes the row longer ".repeat(4));
                tx.settle(MessageId(id), Move::Deliver, &Settlement { why, ..Settlement::default() })?;
            }
            Ok(())
        })
        .await
        .unwrap();
}

fn message(openid: &OpenId, text: &str) -> NewMessage {
    testing::message(Direction::ToIm, openid, OutboundCall::TextToAgent(text.to_owned()))
}

#[tokio::test]
async fn no_file_of_a_running_store_keeps_a_word_of_someone_who_left() {
    for seed in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bridge.db");
        let (store, closing) =
            Store::open(&StoreLocation::File(path.clone()), Clock::system(), Metrics::default()).unwrap();
        fill(&store, seed, 1_500).await;
        assert!(!files_with(folder.path(), "word-07-").is_empty());
        let openid = OpenId::new("oC07").unwrap();
        store.write(move |tx| tx.forget_customer(&openid)).await.unwrap();
        // Others go on writing.
        for n in 0..20 {
            store.write(move |tx| tx.put_kv("other", &n.to_string())).await.unwrap();
        }
        until_erased(folder.path(), "word-07-").await;
        assert!(!files_with(folder.path(), "word-08-").is_empty(), "the words of others stay");
        closing.close();
        let raw = Connection::open(&path).unwrap();
        let result: String = raw.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(result, "ok");
        let rows: i64 = raw.query_row("SELECT count(*) FROM message", [], |row| row.get(0)).unwrap();
        assert!(rows > 1_300, "{rows}");
    }
}

#[tokio::test]
async fn a_message_that_goes_after_its_customer_left_is_erased_too() {
    let folder = tempfile::tempdir().unwrap();
    let location = StoreLocation::File(folder.path().join("bridge.db"));
    let (store, closing) = Store::open(&location, Clock::system(), Metrics::default()).unwrap();
    let openid = OpenId::new("oA").unwrap();
    let id = store
        .write(move |tx| {
            let id = tx.add(&message(&openid, "the-last-words"))?;
            tx.forget_customer(&openid)?;
            tx.record_attempt_at(id)?;
            Ok(id)
        })
        .await
        .unwrap();
    assert!(!files_with(folder.path(), "the-last-words").is_empty(), "it has to be sent first");
    store.write(move |tx| tx.settle(id, Move::Deliver, &Settlement::default())).await.unwrap();
    until_erased(folder.path(), "the-last-words").await;
    closing.close();
}

#[tokio::test]
async fn an_erasure_goes_on_after_a_reader_ends_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.db");
    let location = StoreLocation::File(path.clone());
    let (store, closing) = Store::open(&location, Clock::system(), Metrics::default()).unwrap();
    fill(&store, 9, 200).await;
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM message").unwrap();
    let openid = OpenId::new("oC07").unwrap();
    store.write(move |tx| tx.forget_customer(&openid)).await.unwrap();
    for n in 0..200 {
        store.write(move |tx| tx.put_kv("other", &n.to_string())).await.unwrap();
    }
    assert!(!files_with(folder.path(), "word-07-").is_empty(), "the reader still needs them");
    reader.execute_batch("COMMIT").unwrap();
    until_erased(folder.path(), "word-07-").await;

    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM message").unwrap();
    let openid = OpenId::new("oC08").unwrap();
    store.write(move |tx| tx.forget_customer(&openid)).await.unwrap();
    closing.close();
    drop((store, reader));
    let (_store, closing) = Store::open(&location, Clock::system(), Metrics::default()).unwrap();
    until_erased(folder.path(), "word-08-").await;
    closing.close();
}

#[test]
fn only_the_unused_space_of_b_tree_pages_is_overwritten() {
    let mut leaf = vec![0_u8; 512];
    leaf[0] = 0x0D;
    leaf[4] = 3;
    leaf[5..7].copy_from_slice(&400_u16.to_be_bytes());
    assert_eq!(unused(&leaf, false), Some((14, 400)));
    leaf[0] = 0x02;
    assert_eq!(unused(&leaf, false), Some((18, 400)));
    for other in [0, 1, 3, 0x0B, 0xFF] {
        leaf[0] = other;
        assert_eq!(unused(&leaf, false), None, "{other}");
    }
    leaf[0] = 0x0D;
    leaf[5..7].copy_from_slice(&600_u16.to_be_bytes());
    assert_eq!(unused(&leaf, false), None, "the cells start behind the page");
    let mut first = vec![0_u8; 512];
    first[100] = 0x0D;
    first[105..107].copy_from_slice(&512_u16.to_be_bytes());
    assert_eq!(unused(&first, true), Some((108, 512)));
}
