//! Several instances on one database: who may write, who is buried, and what begins anew.

use super::*;
use crate::model::{MediaKind, MediaName, MediaOrigin, MediaRequest, Millis, OutboundCall, State};
use crate::store::Membership;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_instances_serve_and_commands_work_beside_them() {
    let Some(location) = testing::on_postgres() else { return };
    let before = Store::open_for_operator(&location, Clock::system()).unwrap_err().to_string();
    assert!(before.contains("holds no store yet; run `serve` first"), "{before}");
    let (store, closing) = open(&location);
    let (second, close_second) = open(&location);
    second.write_for(Scope::kv("b"), |tx| tx.put_kv("b", "from the second")).await.unwrap();
    assert_eq!(store.read(|tx| tx.kv("b")).await.unwrap().as_deref(), Some("from the second"));
    close(second, close_second).await;
    let (beside, close_beside) = Store::open_for_operator(&location, Clock::system()).unwrap();
    beside.write(|tx| tx.put_kv("a", "from the operator")).await.unwrap();
    assert_eq!(store.read(|tx| tx.kv("a")).await.unwrap().as_deref(), Some("from the operator"));
    close(beside, close_beside).await;
    close(store, closing).await;
    let (store, closing) = open(&location);
    assert!(store.read(|tx| tx.kv("a")).await.unwrap().is_some());
    close(store, closing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_is_buried_can_record_no_attempt_and_accepts_all_the_same() {
    let Some(schema) = cluster::empty_schema() else { return };
    let location = location(&schema);
    let ((dead, close_dead), (living, close_living)) = (open(&location), open(&location));
    let lane = Lane { direction: Direction::ToIm, customer: OpenId::new("oA").unwrap() };
    let write = async |store: &Store, scope: Scope| store.write_for(scope, count).await;
    assert_eq!(write(&dead, Scope::lane(&lane)).await.unwrap(), 1);
    let burier = living.membership().unwrap();
    let id = dead.membership().unwrap().id();
    assert!(!burier.bury(id).await.unwrap(), "it is alive");
    let end_presence = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
        AND (classid::bigint << 32) | objid::bigint = ?1";
    cluster::query(&schema.config, end_presence, &[serde_json::json!(id)]).unwrap();
    let is_buried = async || {
        while !burier.bury(id).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Those whose sessions the burier ends are replaced, and the new ones prove the life anew.
    let era_before = era(burier).await;
    tokio::time::timeout(Duration::from_secs(10), is_buried()).await.unwrap();
    assert_ne!(era(burier).await, era_before, "callbacks may have been lost with it");
    assert!(!burier.bury(id).await.unwrap(), "somebody was first");
    for scope in [Scope::lane(&lane), Scope::customer(&lane.customer).may_claim(), Scope::EVERYTHING] {
        let refused = write(&dead, scope).await.unwrap_err();
        assert!(matches!(refused, StoreError::Buried), "{refused}");
    }
    assert_eq!(write(&dead, Scope::customer(&lane.customer)).await.unwrap(), 2, "any instance accepts");
    let membership = dead.membership().unwrap();
    assert_eq!(membership.beat(false, String::new()).await.unwrap(), None);
    assert_eq!(membership.take(9).await.unwrap(), Vec::<u8>::new());
    membership.enter_again().await.unwrap();
    assert_ne!(membership.id(), id);
    assert_eq!(write(&dead, Scope::lane(&lane)).await.unwrap(), 3);
    assert_eq!(membership.take(9).await.unwrap().len(), 9);
    assert_eq!(dead.outage(), None);
    close(dead, close_dead).await;
    assert_eq!(burier.take(256).await.unwrap().len(), 256, "what a leaver owned is free");
    close(living, close_living).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_young_messages_count_as_sent_perhaps() {
    let Some(schema) = cluster::empty_schema() else { return };
    let (store, closing) = open(&location(&schema));
    let membership = store.membership().unwrap().clone();
    let add = |name: &str, age_ms: i64| {
        let openid = OpenId::new(name).unwrap();
        let call = OutboundCall::TextToCustomer(String::new());
        let message = testing::message(Direction::ToWechat, &openid, call);
        store.write(move |tx| {
            let id = tx.add(&message)?;
            let sql =
                format!("UPDATE message SET created_at = created_at - {age_ms} WHERE openid = '{openid}'");
            tx.session.batch(&sql)?;
            Ok(id)
        })
    };
    let (young, old) = (add("oA", 0).await.unwrap(), add("oB", 61_000).await.unwrap());
    let before = era(&membership).await;
    // As if the server had another timeline, which only a real standby has.
    let was_other = "UPDATE era SET timeline = '00000000'";
    let end_session = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()";
    cluster::execute(&schema.config, was_other, &[]).unwrap();
    let states = async || store.read(move |tx| Ok((tx.state(young)?, tx.state(old)?))).await.unwrap();
    assert_eq!(states().await, (State::Accepted, State::Accepted));
    let number = membership.connection().1;
    cluster::query(&schema.config, end_session, &[]).unwrap();
    while membership.beat(false, String::new()).await.is_err()
        || membership.connection() != (true, number + 1)
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(era(&membership).await, before);
    assert_eq!(states().await, (State::Sending, State::Accepted));
    close(store, closing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_program_that_serves_alone_nothing_is_sent_and_none_can_start_later() {
    let Some(schema) = cluster::empty_schema() else { return };
    // The schema as the version before leaves it, whose program holds these locks for as long as it runs.
    cluster::batch(
        &schema.config,
        &format!(
            "CREATE TABLE schema_migration (name text PRIMARY KEY, applied_at timestamptz NOT NULL); {}
             INSERT INTO schema_migration (name, applied_at) VALUES ('0001-initial', now());",
            include_str!("../../../../migrations/postgres/0001-initial.sql")
        ),
    );
    let key = |kind: i64| format!("((current_schema()::regnamespace::oid::bigint << 8) | {kind})");
    let take = format!("SELECT pg_advisory_lock({}), pg_advisory_lock({}), pg_sleep(1.5)", key(2), key(3));
    let config = schema.config.clone();
    let old = tokio::task::spawn_blocking(move || cluster::batch(&config, &take));
    let holds = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database =
        (SELECT oid FROM pg_database WHERE datname = current_database()) AND objid::bigint & 255 IN (2, 3)
        AND (classid::bigint << 24 | objid::bigint >> 8) = current_schema()::regnamespace::oid::bigint";
    let locked = || cluster::query(&schema.config, holds, &[]).unwrap() == [[serde_json::json!(2)]];
    while !locked() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (store, closing) = open(&location(&schema));
    let membership = store.membership().unwrap();
    assert!(membership.is_served_alone().await.unwrap());
    old.await.unwrap();
    // The server needs a moment to end the session.
    let until_it_ends = async || {
        while membership.is_served_alone().await.unwrap() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), until_it_ends()).await.unwrap();
    let try_again = format!("SELECT CASE WHEN pg_try_advisory_lock({}) THEN 1 ELSE 0 END::int8", key(2));
    assert_eq!(cluster::query(&schema.config, &try_again, &[]).unwrap(), [[serde_json::json!(0)]]);
    close(store, closing).await;
}

/// The number of the present era.
async fn era(membership: &Membership) -> i64 {
    membership.beat(false, String::new()).await.unwrap().unwrap().era
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_era_begins_when_nobody_was_there_or_heard_of_and_goes_on_for_who_joins() {
    let Some(schema) = cluster::empty_schema() else { return };
    let location = location(&schema);
    let (first, close_first) = open(&location);
    let began = era(first.membership().unwrap()).await;
    let (second, close_second) = open(&location);
    assert_eq!(era(second.membership().unwrap()).await, began, "it joins");
    close(first, close_first).await;
    assert_eq!(era(second.membership().unwrap()).await, began, "who leaves loses nothing");
    // As if the server had been away for so long.
    let was_silent = "UPDATE beat SET at = at - interval '1 minute'";
    cluster::execute(&schema.config, was_silent, &[]).unwrap();
    let after_silence = era(second.membership().unwrap()).await;
    assert_ne!(after_silence, began);
    assert_eq!(era(second.membership().unwrap()).await, after_silence);
    close(second, close_second).await;
    let (third, close_third) = open(&location);
    assert_ne!(era(third.membership().unwrap()).await, after_silence, "nobody was there");
    close(third, close_third).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_starts_releases_the_downloads_of_the_gone_and_of_nobody_else() {
    let Some(schema) = cluster::empty_schema() else { return };
    let (store, closing) = open(&location(&schema));
    let me = store.membership().unwrap().id();
    let (mine, of_gone) = (MediaName::of_bits(1), MediaName::of_bits(2));
    let pending = store.write(move |tx| {
        let openid = OpenId::new("oA").unwrap();
        let request = MediaRequest { kind: MediaKind::Image, ids: Vec::new(), url: None, mp3: None };
        for (name, owner) in [(&mine, me), (&of_gone, me + 2)] {
            tx.add_medium(name, &openid, MediaOrigin::Customer)?;
            tx.enqueue_fetch(name, &openid, &request)?;
            assert_eq!(tx.claim_fetches(9, owner)?.len(), 1);
        }
        tx.release_fetches(Millis(0), false)?;
        tx.claim_fetches(9, me)
    });
    let names: Vec<MediaName> = pending.await.unwrap().into_iter().map(|fetch| fetch.name).collect();
    assert_eq!(names, [MediaName::of_bits(2)]);
    close(store, closing).await;
}
