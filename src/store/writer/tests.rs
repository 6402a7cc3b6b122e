use super::super::{Store, StoreLocation, testing};
use super::*;
use crate::clock::Clock;

#[tokio::test]
async fn a_failed_write_is_rolled_back_and_the_others_of_its_group_commit() {
    let (store, closing) =
        Store::open(&testing::location(), Clock::system(), crate::metrics::Metrics::default()).unwrap();
    let writes = (0..50).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .write(move |tx| {
                    tx.put_kv(&format!("key{n}"), "kept")?;
                    if n % 7 == 0 { Err(StoreError::unreadable("no")) } else { Ok(()) }
                })
                .await
        })
    });
    let results = futures_util::future::join_all(writes).await;
    for (n, result) in results.into_iter().enumerate() {
        let stored = store.read(move |tx| tx.kv(&format!("key{n}"))).await.unwrap();
        assert_eq!(result.unwrap().is_ok(), n % 7 != 0);
        assert_eq!(stored.is_some(), n % 7 != 0, "write {n}");
    }
    assert_eq!(store.outage(), None, "a refused write is no failure of the store");
    closing.close();
}

#[tokio::test]
async fn reads_do_not_mark_a_failing_store_healthy() {
    let (store, closing) =
        Store::open(&testing::location(), Clock::system(), crate::metrics::Metrics::default()).unwrap();
    let run = |sql: &'static str| move |tx: &Tx<'_>| tx.session.batch(sql);
    let (make_inserts_fail, make_them_succeed) = if testing::cluster::is_chosen() {
        (
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE disk_full; END';
             CREATE TRIGGER full_disk BEFORE INSERT ON kv EXECUTE FUNCTION fail()",
            "DROP TRIGGER full_disk ON kv",
        )
    } else {
        (
            "CREATE TEMP TRIGGER full_disk BEFORE INSERT ON kv BEGIN SELECT RAISE(ABORT, 'full'); END",
            "DROP TRIGGER full_disk",
        )
    };
    store.write(run(make_inserts_fail)).await.unwrap();
    store.write(|tx| tx.put_kv("a", "b")).await.unwrap_err();
    assert!(store.outage().is_some());
    store.write(|tx| tx.kv("a")).await.unwrap();
    assert!(store.outage().is_some());
    store.write(run(make_them_succeed)).await.unwrap();
    // The writer notices by itself, although all other transactions write nothing.
    let recovers = async {
        while store.outage().is_some() {
            store.write(|tx| tx.kv("a")).await.unwrap();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), recovers).await.unwrap();
    closing.close();
}

#[tokio::test]
async fn a_panic_fails_its_own_write_or_read_and_nothing_else() {
    let (store, closing) =
        Store::open(&testing::location(), Clock::system(), crate::metrics::Metrics::default()).unwrap();
    let panics = store.write(|tx| -> Result<(), StoreError> {
        tx.put_kv("a", "half")?;
        panic!("on purpose")
    });
    let commits = store.write(|tx| tx.put_kv("b", "whole"));
    let (panics, commits) = tokio::join!(panics, commits);
    assert!(matches!(panics, Err(StoreError::Panicked)), "{panics:?}");
    commits.unwrap();
    let stored = store.read(|tx| Ok((tx.kv("a")?, tx.kv("b")?))).await.unwrap();
    assert_eq!(stored, (None, Some("whole".to_owned())));
    assert_eq!(store.outage(), None);
    closing.close();
}

#[tokio::test]
async fn closing_waits_for_accepted_writes() {
    let folder = tempfile::tempdir().unwrap();
    let location = StoreLocation::File(folder.path().join("bridge.db"));
    let (store, closing) =
        Store::open(&location, Clock::system(), crate::metrics::Metrics::default()).unwrap();
    let write = tokio::spawn(async move { store.write(|tx| tx.put_kv("a", "b")).await });
    tokio::task::yield_now().await;
    tokio::task::spawn_blocking(|| closing.close()).await.unwrap();
    let written = write.await.unwrap().is_ok();
    let (store, closing) =
        Store::open(&location, Clock::system(), crate::metrics::Metrics::default()).unwrap();
    assert_eq!(store.read(|tx| tx.kv("a")).await.unwrap().is_some(), written);
    closing.close();
}
