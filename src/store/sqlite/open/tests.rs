//! Opening: the lock, files that are not ours, and stores of earlier versions.

use super::*;
use crate::clock::Clock;
use crate::model::{
    Direction, ImUserId, Lane, MediaHash, MediaKind, MediaName, MediaRequest, MessageId, Millis, Move,
    OpenId, OutboundCall, State,
};
use crate::store::dedup::FirstReply;
use crate::store::message::{FIRST_PENDING, FIRST_TRANSFER};
use crate::store::{AttachState, Head, HeldAnswer, Store, StoreError};
use rusqlite::types::Value;
use std::path::PathBuf;

fn location(folder: &tempfile::TempDir) -> StoreLocation {
    StoreLocation::File(folder.path().join("bridge.db"))
}

#[test]
fn a_second_process_gets_an_error_that_names_the_lock_holder() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, closing) =
        Store::open(&location(&folder), Clock::system(), crate::metrics::Metrics::default()).unwrap();
    let refused = Store::open(&location(&folder), Clock::system(), crate::metrics::Metrics::default())
        .unwrap_err()
        .to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    closing.close();
    Store::open(&location(&folder), Clock::system(), crate::metrics::Metrics::default()).unwrap().1.close();
}

#[test]
fn newer_foreign_and_damaged_databases_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    Store::open(&location(&folder), Clock::system(), crate::metrics::Metrics::default()).unwrap().1.close();
    let StoreLocation::File(path) = location(&folder) else { unreachable!() };
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(raw);
    let newer =
        Store::open(&location(&folder), Clock::system(), crate::metrics::Metrics::default()).unwrap_err();
    assert!(matches!(newer, OpenError::Newer { found: 99, .. }), "{newer}");

    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let refused =
        Store::open(&StoreLocation::File(foreign), Clock::system(), crate::metrics::Metrics::default())
            .unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");

    let damaged = folder.path().join("damaged.db");
    std::fs::write(&damaged, vec![7; 8192]).unwrap();
    let refused =
        Store::open(&StoreLocation::File(damaged), Clock::system(), crate::metrics::Metrics::default())
            .unwrap_err()
            .to_string();
    assert!(refused.contains("restore a backup"), "{refused}");
}

#[test]
fn the_error_names_a_missing_folder() {
    let location = StoreLocation::File(PathBuf::from("does/not/exist/bridge.db"));
    let refused =
        Store::open(&location, Clock::system(), crate::metrics::Metrics::default()).unwrap_err().to_string();
    assert!(refused.contains("does/not/exist/bridge.db"), "{refused}");
}

/// A row in every table of schema 7, in the words of that schema. All values differ, so that none can take the place
/// of another. The customer `oA` waits for an answer that is attached to a reply, and for a held one.
const ROWS_OF_VERSION_7: &str = include_str!("../../../../tests/data/version-7.sql");

/// Writes a store of schema 7 with a row in every table, and returns its content.
fn write_version_7(path: &Path) -> Vec<(String, Vec<Vec<Value>>)> {
    let raw = Connection::open(path).unwrap();
    for migration in &MIGRATIONS[..7] {
        raw.execute_batch(migration).unwrap();
    }
    raw.execute_batch(ROWS_OF_VERSION_7).unwrap();
    raw.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 7")).unwrap();
    let content = content(&raw);
    for (table, rows) in &content {
        assert!(!rows.is_empty(), "{table} has no row");
    }
    content
}

/// All rows of all tables, by table. A renamed column keeps its place in a row.
fn content(connection: &Connection) -> Vec<(String, Vec<Vec<Value>>)> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let mut tables = connection.prepare(sql).unwrap();
    let tables: Vec<String> =
        tables.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let rows_of = |table: &String| {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let width = statement.column_count();
        let rows = statement.query_map([], |row| (0..width).map(|column| row.get(column)).collect());
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    };
    tables.iter().map(|table| (table.clone(), rows_of(table))).collect()
}

#[test]
fn plain_names_keep_every_row_of_version_7() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.db");
    let mut expected = write_version_7(&path);
    let mut conversation = Vec::new();
    for (table, rows) in &mut expected {
        match table.as_str() {
            "fact" => {
                let pair = |key: &str, value: &str| vec![Value::Text(key.into()), Value::Text(value.into())];
                *rows = vec![
                    pair("checked_at", "81"),
                    pair("media_link_key", "83"),
                    pair("operator_signal", "82"),
                ];
                "kv".clone_into(table);
            }
            // Recalls and edits, which came later.
            "message" => {
                let none = [Value::Integer(0), Value::Text(String::new()), Value::Integer(0)];
                for row in rows.iter_mut() {
                    row.extend(none.clone());
                }
            }
            // What messages change went to a table of its own: the agent up to the windows.
            "customer" => {
                let row = &mut rows[0];
                let (id, hour) = (Value::Integer(1), Value::Integer(0));
                let moved: Vec<Value> = row.drain(4..11).collect();
                conversation = [&[id.clone(), row[0].clone()], &moved[..2], &[hour], &moved[2..]].concat();
                row.push(id);
            }
            "fetch" => "media_fetch".clone_into(table),
            "seen" => "dedup".clone_into(table),
            "looked" => "backfill".clone_into(table),
            _ => {}
        }
    }
    for later in ["ended_conversation", "unreadable", "question", "profile", "rating"] {
        expected.push((later.to_owned(), Vec::new()));
    }
    expected.push(("conversation".to_owned(), vec![conversation]));
    expected.sort_by(|one, other| one.0.cmp(&other.0));

    let raw = Connection::open(&path).unwrap();
    migrate(&raw).unwrap();
    // Other migrations only add columns, at the end.
    let mut found = content(&raw);
    for ((_, rows), (_, expected)) in found.iter_mut().zip(&expected) {
        for (row, expected) in rows.iter_mut().zip(expected) {
            row.truncate(expected.len());
        }
    }
    assert_eq!(found, expected);
    // The shorter ones are also names of other columns.
    let renamed = MIGRATIONS[7].split("RENAME COLUMN ").skip(1).filter_map(|rest| rest.split(' ').next());
    let old_names: Vec<&str> = renamed.filter(|name| name.len() > 5).collect();
    assert!(old_names.len() > 8, "{old_names:?}");
    let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL";
    let mut schema = raw.prepare(sql).unwrap();
    let schema: Vec<String> =
        schema.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    for statement in schema {
        let code: String =
            statement.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        assert!(!words.any(|word| old_names.contains(&word)), "{statement}");
    }
}

#[tokio::test]
async fn the_store_goes_on_with_what_version_7_left() {
    let folder = tempfile::tempdir().unwrap();
    write_version_7(&folder.path().join("bridge.db"));
    let (store, closing) =
        Store::open(&location(&folder), Clock::system(), crate::metrics::Metrics::default()).unwrap();
    let openid = OpenId::new("oA").unwrap();
    let agent = ImUserId::new("user1").unwrap();
    let name = MediaName::of_bits(1);
    store
        .write(move |tx| {
            let lane = |direction| Lane { direction, customer: openid.clone() };
            let Head::Ready(question) = tx.head(&lane(Direction::ToIm))? else { panic!("it is due") };
            assert_eq!((question.id, question.call_index, question.msg_seq), (MessageId(31), 1, 33));
            assert_eq!(question.call, OutboundCall::TextToAgent("b".to_owned()));
            let Head::Ready(attached) = tx.head(&lane(Direction::ToWechat))? else { panic!("it is due") };
            assert_eq!((attached.id, attached.attached), (MessageId(41), AttachState::MaybeSent));
            let held = |id, text: &str| HeldAnswer {
                id: MessageId(id),
                agent: Some(agent.clone()),
                calls: vec![OutboundCall::TextToCustomer(text.to_owned())],
                before_backfill: true,
            };
            assert_eq!(tx.held(&openid, 9)?, [held(61, "e"), held(51, "d")]);
            assert!(!tx.mark_held_noticed(MessageId(51))? && tx.mark_held_noticed(MessageId(61))?);
            let first = FirstReply { reply: Some("carried".to_owned()), accepted_at: Millis(12) };
            assert_eq!(tx.first_reply("push 2")?, Some(first));
            let delivered = tx.settle_sent_reply(&openid, "push 2", Move::Hold)?;
            assert_eq!((delivered.len(), tx.state(MessageId(41))?), (1, State::Delivered));
            assert_eq!(tx.push_not_before(&openid)?, Millis(30));
            let backfills = tx.missing_backfills(&openid, std::slice::from_ref(&agent), 104)?;
            assert_eq!(backfills[0].backfilled_until_s, 101);
            assert_eq!(tx.missing_backfills(&openid, std::slice::from_ref(&agent), 103)?, []);
            assert_eq!(
                (tx.steps(&openid)?[0].event.as_str(), tx.kv("operator_signal")?),
                ("sendmsg", Some("82".into()))
            );
            let hash = MediaHash::of_digest([2; 32]);
            assert_eq!(tx.uploaded_media_id(&hash, "image")?.as_deref(), Some("M"));
            let request = MediaRequest {
                kind: MediaKind::Voice,
                ids: vec!["m".to_owned()],
                url: None,
                mp3: Some(MediaName::of_bits(2)),
            };
            assert_eq!(tx.claim_fetches(9, 1)?[0].request, request);
            // A deleted medium takes its fetch along, and a customer's data goes with the customer.
            tx.forget_customer(&openid)?;
            assert!(!tx.is_fetch_pending(&name)?);
            assert_eq!(tx.first_reply("push 2")?, Some(FirstReply { reply: None, accepted_at: Millis(12) }));
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    closing.close();
}

/// The statements that the store's sources spell out in one piece.
fn statements() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let sources = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = sources.filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let begins = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "];
    texts
        .map(|file| std::fs::read_to_string(file).unwrap())
        .flat_map(|source| source.split('"').map(str::to_owned).collect::<Vec<_>>())
        .filter(|text| begins.iter().any(|begin| text.starts_with(begin)) && !text.contains('{'))
        .map(|text| text.replace("\\\n", "\n"))
        .chain([FIRST_PENDING.to_owned(), FIRST_TRANSFER.to_owned()])
        .collect()
}

#[test]
fn no_statement_is_planned_anew_at_each_execution() {
    let folder = tempfile::tempdir().unwrap();
    let location = StoreLocation::File(folder.path().join("bridge.db"));
    let writer = connect(&location).unwrap();
    migrate(&writer).unwrap();
    let reader = super::reader(&location).unwrap().unwrap();
    let (mut executed, mut planned_anew) = (0, Vec::new());
    for sql in statements() {
        for (name, connection) in [("writer", &writer), ("reader", &reader)] {
            for value in 0..3 {
                let Ok(mut statement) = connection.prepare_cached(&sql) else { continue };
                let values = vec![value; statement.parameter_count()];
                // Whether the values fit the statement does not matter.
                let rows = statement.query(rusqlite::params_from_iter(values));
                executed += usize::from(rows.and_then(|mut rows| rows.next().map(|_| ())).is_ok());
            }
            let Ok(statement) = connection.prepare_cached(&sql) else { continue };
            if statement.get_status(rusqlite::StatementStatus::RePrepare) > 0 {
                planned_anew.push(format!("{name}: {sql}"));
            }
        }
    }
    assert!(executed > 200, "only {executed} executions");
    assert!(planned_anew.is_empty(), "{}", planned_anew.join("\n"));
}
