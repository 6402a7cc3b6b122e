use super::*;
use crate::clock::Clock;
use crate::store::{Store, StoreLocation, open, testing};

#[tokio::test]
async fn a_due_time_beyond_the_longest_wait_is_ignored() {
    let (store, closing) =
        Store::open(&StoreLocation::Memory, Clock::system(), crate::metrics::Metrics::default()).unwrap();
    let lane = Lane { direction: Direction::ToIm, customer: OpenId::new("oA").unwrap() };
    let message = NewMessage {
        kind: MessageKind::Account,
        ..testing::message(lane.direction, &lane.customer, OutboundCall::ImportAccount)
    };
    for (wait_ms, is_ready) in [(0, true), (3_600_000, false), (24 * 3_600_000, true)] {
        let (lane, message) = (lane.clone(), message.clone());
        let ready = store.write(move |tx| {
            if wait_ms == 0 {
                tx.add(&message)?;
            }
            let Head::Ready(pending) = tx.head(&lane)? else { panic!("it is not ready at first") };
            tx.postpone(pending.id, tx.now().plus(wait_ms), "busy")?;
            let ready = matches!(tx.head(&lane)?, Head::Ready(_));
            tx.postpone(pending.id, Millis(0), "busy")?;
            Ok(ready)
        });
        assert_eq!(ready.await.unwrap(), is_ready, "due in {wait_ms} ms");
    }
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
    let writer = open::connect(&location).unwrap();
    open::migrate(&writer).unwrap();
    let reader = open::reader(&location).unwrap().unwrap();
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
