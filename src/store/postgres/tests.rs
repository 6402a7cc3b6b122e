use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use proxy::{Fate, Proxy};

use super::tls::TlsMode;
use super::*;
use crate::model::{Direction, Lane, OpenId};
use crate::store::testing::cluster::{self, Cluster, Schema};
use crate::store::{Customer, Scope, StoreLocation, Tx, testing};

mod groups;
mod instances;
mod proxy;

fn location(schema: &Schema) -> StoreLocation {
    let config = schema.config.clone();
    StoreLocation::Postgres(Box::new(PostgresLocation { config, tls: TlsMode::Disable, root_cert: None }))
}

fn open(location: &StoreLocation) -> (Store, Closing) {
    Store::open(location, Clock::system(), Metrics::default()).unwrap()
}

async fn close(store: Store, closing: Closing) {
    drop(store);
    tokio::task::spawn_blocking(|| closing.close()).await.unwrap();
}

/// Adds one to a number, and returns it.
fn count(tx: &Tx<'_>) -> Result<u32, StoreError> {
    let number = tx.kv("count")?.map_or(0, |number| number.parse().unwrap()) + 1;
    tx.put_kv("count", &number.to_string())?;
    Ok(number)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_crashes_of_the_server() {
    let Some(server) = cluster::cluster().and_then(|_| Cluster::start()) else { return };
    let (store, closing) = open(&location(&server.empty_schema()));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut acknowledged, mut failed) = (Vec::new(), 0);
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("{writer}-{n}");
                    let (name, scope) = (key.clone(), Scope::kv(&key));
                    let scope = if writer % 2 == 0 { scope } else { Scope::EVERYTHING };
                    match store.write_for(scope, move |tx| tx.put_kv(&name, "kept")).await {
                        Ok(()) => acknowledged.push(key),
                        Err(_) => failed += 1,
                    }
                }
                (acknowledged, failed)
            })
        })
        .collect();
    for pause_ms in [300, 0, 1_500] {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        server.start_again();
        let started = Instant::now();
        while store.write(|tx| tx.put_kv("probe", "")).await.is_err() || store.outage().is_some() {
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", store.outage());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        let (acknowledged, _) = writer.await.unwrap();
        assert!(acknowledged.len() > 10);
        for key in acknowledged {
            let name = key.clone();
            let kept = store.read(move |tx| tx.kv(&name)).await.unwrap();
            assert!(kept.is_some(), "{key} was acknowledged and is lost");
        }
    }
    close(store, closing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_end_at_any_moment_fail_no_write_and_repeat_none() {
    let Some(server) = cluster::cluster().and_then(|_| Cluster::start()) else { return };
    let (store, closing) = open(&location(&server.empty_schema()));
    let stop = Arc::new(AtomicBool::new(false));
    let (done, kills) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let killer = {
        let (stop, done, kills) = (Arc::clone(&stop), Arc::clone(&done), Arc::clone(&kills));
        std::thread::spawn(move || {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'wechat-im-%'";
            let (mut pause_us, mut seen) = (1, 0);
            while !stop.load(Ordering::Relaxed) {
                // On a slow machine a connection would be ended again before it has done anything.
                let now = done.load(Ordering::Relaxed);
                if now == seen {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                seen = now;
                server.run(end);
                kills.fetch_add(1, Ordering::Relaxed);
                // Another moment of the transactions each time.
                pause_us = (pause_us + 7_919) * 7 % 50_021;
                std::thread::sleep(Duration::from_micros(pause_us));
            }
            server
        })
    };
    let writers = (0..6).map(|_| {
        let (store, done, kills) = (store.clone(), Arc::clone(&done), Arc::clone(&kills));
        tokio::spawn(async move {
            let mut numbers = Vec::new();
            for n in 0.. {
                if kills.load(Ordering::Relaxed) > 20 {
                    break;
                }
                let scope = if n % 2 == 0 { Scope::kv("count") } else { Scope::EVERYTHING };
                numbers.push(store.write_for(scope, count).await.unwrap());
                done.fetch_add(1, Ordering::Relaxed);
            }
            numbers
        })
    });
    let mut numbers: Vec<u32> =
        futures_util::future::join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    stop.store(true, Ordering::Relaxed);
    let _server = tokio::task::spawn_blocking(|| killer.join().unwrap()).await.unwrap();
    numbers.sort_unstable();
    let count = u32::try_from(numbers.len()).unwrap();
    assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "each write counted once");
    close(store, closing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_neither_lost_nor_repeated() {
    let Some(schema) = cluster::empty_schema() else { return };
    let proxy = Proxy::start(&schema);
    let (store, closing) = open(&location(&proxy.schema));
    for (number, fate, expected_runs) in
        [(1, Fate::NotSent, 2), (2, Fate::AnswerLost, 1), (3, Fate::AnswerHeldBack, 1)]
    {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        // After a slow commit the writer probes by itself, and that must not meet the fate.
        while store.outage().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let before = proxy.commits();
        proxy.next_commit(fate);
        let written = store
            .write(move |tx| {
                counted.fetch_add(1, Ordering::Relaxed);
                count(tx)
            })
            .await;
        assert_eq!(written.unwrap(), number, "{fate:?}");
        assert_eq!(runs.load(Ordering::Relaxed), expected_runs, "{fate:?}");
        assert_eq!(proxy.commits() - before, expected_runs, "{fate:?}");
        let stored = store.read(|tx| tx.kv("count")).await.unwrap();
        assert_eq!(stored, Some(number.to_string()), "{fate:?}");
    }
    close(store, closing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_within_a_write_is_replaced_and_the_write_runs_again() {
    let Some(schema) = cluster::empty_schema() else { return };
    let (store, closing) = open(&location(&schema));
    let mut runs = 0;
    let written = store.write(move |tx| {
        runs += 1;
        let number = count(tx)?;
        if runs == 1 {
            tx.session.batch("SELECT pg_terminate_backend(pg_backend_pid())")?;
        }
        Ok((runs, number))
    });
    assert_eq!(written.await.unwrap(), (2, 1));
    assert_eq!(store.outage(), None);
    close(store, closing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_run_again() {
    let Some(schema) = cluster::empty_schema() else { return };
    let (store, closing) = open(&location(&schema));
    let (ours, has_ours) = mpsc::channel();
    let (theirs, has_theirs) = mpsc::channel();
    let other = schema.config.clone();
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = other.connect(tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            // The bridge's session notices the deadlock first.
            let first = "BEGIN; SET LOCAL deadlock_timeout = '60s'; SELECT pg_advisory_xact_lock(9, 1)";
            client.batch_execute(first).await.unwrap();
            theirs.send(()).unwrap();
            has_ours.recv().unwrap();
            client.batch_execute("SELECT pg_advisory_xact_lock(9, 2); COMMIT").await.unwrap();
        });
    });
    let mut runs = 0;
    let has_theirs = std::sync::Mutex::new(has_theirs);
    let written = store.write(move |tx| {
        runs += 1;
        if runs == 1 {
            has_theirs.lock().unwrap().recv().unwrap();
        }
        tx.session.batch("SELECT pg_advisory_xact_lock(9, 2)")?;
        let _ = ours.send(());
        tx.session.batch("SELECT pg_advisory_xact_lock(9, 1)")?;
        Ok((runs, count(tx)?))
    });
    assert_eq!(written.await.unwrap(), (2, 1));
    other.join().unwrap();
    assert_eq!(store.outage(), None);
    close(store, closing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_of_one_conversation_wait_for_each_other_and_others_do_not() {
    let Some(schema) = cluster::empty_schema() else { return };
    let (store, closing) = open(&location(&schema));
    let openid = OpenId::new("oA").unwrap();
    let lane = Lane { direction: Direction::ToIm, customer: openid.clone() };
    let advance = move |tx: &Tx<'_>| {
        let found = tx.customer(&openid)?;
        let mut customer = found.unwrap_or_else(|| Customer::new(openid.clone()));
        customer.next_seq += 1;
        tx.put_customer(&customer)?;
        Ok(customer.next_seq)
    };
    let writes = (0..200).map(|n| {
        let (store, advance) = (store.clone(), advance.clone());
        let scope = if n % 2 == 0 { Scope::customer(&lane.customer) } else { Scope::lane(&lane) };
        tokio::spawn(async move { store.write_for(scope, advance).await.unwrap() })
    });
    let mut numbers: Vec<u32> =
        futures_util::future::join_all(writes).await.into_iter().map(Result::unwrap).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=201).collect::<Vec<_>>());

    // The one of the doors ends after the outbox's, which starts later.
    let (done, is_done) = mpsc::channel::<()>();
    let is_done = std::sync::Mutex::new(is_done);
    let long = store.write_for(Scope::customer(&OpenId::new("oB").unwrap()), move |tx| {
        is_done.lock().unwrap().recv_timeout(Duration::from_secs(4)).map_err(StoreError::unreadable)?;
        tx.put_kv("long", "")
    });
    let short = async {
        store.write_for(Scope::lane(&lane), |tx| tx.put_kv("short", "")).await.unwrap();
        done.send(()).unwrap();
    };
    let (long, ()) = tokio::join!(long, short);
    long.unwrap();
    close(store, closing).await;
}

#[test]
fn foreign_and_newer_schemas_are_refused_and_left_as_they_are() {
    let Some(schema) = cluster::empty_schema() else { return };
    let refused = |schema: &Schema| {
        Store::open(&location(schema), Clock::system(), Metrics::default()).unwrap_err().to_string()
    };
    cluster::execute(&schema.config, "CREATE TABLE theirs (id bigint)", &[]).unwrap();
    let foreign = refused(&schema);
    assert!(foreign.contains("has 1 tables of another program"), "{foreign}");
    let count = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()";
    assert_eq!(cluster::query(&schema.config, count, &[]).unwrap(), [[serde_json::json!(1)]]);

    let schema = cluster::empty_schema().unwrap();
    let (store, closing) = open(&location(&schema));
    drop(store);
    closing.close();
    let newer = "INSERT INTO schema_migration (name, applied_at, compatible) VALUES ('0099-later', now(), 2)";
    cluster::execute(&schema.config, newer, &[]).unwrap();
    let (store, closing) = open(&location(&schema));
    drop(store);
    closing.close();
    let too_new = super::migrate::VERSION + 1;
    let newer = format!("UPDATE schema_migration SET compatible = {too_new} WHERE name = '0099-later'");
    cluster::execute(&schema.config, &newer, &[]).unwrap();
    let newer = refused(&schema);
    assert!(newer.contains("written by a newer version, with the migration 0099-later"), "{newer}");
}

#[test]
fn errors_say_what_to_do_and_never_the_password() {
    let Some(schema) = cluster::empty_schema() else { return };
    let error = |change: fn(&mut tokio_postgres::Config) -> &mut tokio_postgres::Config| {
        let mut schema = schema.clone();
        schema.config.password("hidden");
        change(&mut schema.config);
        let location = location(&schema);
        let error = Store::open(&location, Clock::system(), Metrics::default()).unwrap_err();
        let all = format!("{error} {error:?} {location:?}");
        assert!(!all.contains("hidden"), "{all}");
        error.to_string()
    };
    let no_database = error(|config| config.dbname("nowhere"));
    assert!(no_database.contains("create it with createdb"), "{no_database}");
    let no_schema = error(|config| config.options("-csearch_path=nowhere"));
    assert!(no_schema.contains("create the schema, or correct search_path"), "{no_schema}");
    let no_server = error(|config| config.port(1));
    assert!(no_server.contains("start the server, and correct host, port and sslmode"), "{no_server}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sslmode_demands_what_libpq_demands_and_the_password_must_be_right() {
    let data = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = cluster::cluster()
        .and_then(|_| Cluster::start_with_tls(port, &data("tls.cert.pem"), &data("tls.key.pem")));
    let Some(server) = server else { return };
    server.run("ALTER ROLE bridge PASSWORD 'of the test'");
    let schema = server.empty_schema();
    // The certificate names localhost and 127.0.0.1.
    let (named, unnamed) = ("127.0.0.1", "127.0.0.2");
    let (ca, other) = (Some(data("ca.cert.pem")), Some(data("other.cert.pem")));
    let open = |host: &str, tls: TlsMode, root_cert: Option<PathBuf>, password: &str| {
        let mut config = tokio_postgres::Config::new();
        config.host(host).port(port).user("bridge").dbname("postgres").password(password);
        config.options(schema.config.get_options().unwrap());
        let location = StoreLocation::Postgres(Box::new(PostgresLocation { config, tls, root_cert }));
        Store::open(&location, Clock::system(), Metrics::default()).map_err(|error| error.to_string())
    };
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for (host, tls, root_cert, expected) in [
        (named, TlsMode::Disable, None, false),
        (named, TlsMode::Prefer, other.clone(), true),
        (unnamed, TlsMode::Require, None, true),
        (unnamed, TlsMode::Require, ca.clone(), true),
        (unnamed, TlsMode::VerifyCa, ca.clone(), true),
        (named, TlsMode::VerifyFull, ca.clone(), true),
    ] {
        let (store, closing) = open(host, tls, root_cert, "of the test").unwrap();
        let is_encrypted: bool = store.write(move |tx| tx.session.value(encrypted, &[])).await.unwrap();
        assert_eq!(is_encrypted, expected, "{tls:?}");
        close(store, closing).await;
    }
    let fix = "start the server, and correct host, port and sslmode";
    for (host, tls, root_cert, fix) in [
        (named, TlsMode::Require, other.clone(), fix),
        (named, TlsMode::VerifyCa, other.clone(), fix),
        (named, TlsMode::VerifyFull, other, fix),
        (unnamed, TlsMode::VerifyFull, ca.clone(), fix),
        (named, TlsMode::VerifyFull, None, fix),
        (named, TlsMode::VerifyFull, Some(data("none.pem")), "correct sslrootcert"),
    ] {
        let refused = open(host, tls, root_cert, "of the test").unwrap_err();
        assert!(refused.contains(fix), "{tls:?}: {refused}");
    }
    let refused = open(named, TlsMode::VerifyFull, ca, "wrong").unwrap_err();
    assert!(refused.contains("correct the password") && !refused.contains("wrong"), "{refused}");
}
