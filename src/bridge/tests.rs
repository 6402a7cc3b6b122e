//! A bridge over a store, for the tests of its parts.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::Config;

/// Creates a bridge with the usual settings.
pub(crate) async fn bridge_with_defaults(store: &Store, clock: &Clock, folder: &Path) -> Bridge {
    bridge_with(store, clock, folder, |_| {}).await
}

/// The same with some settings changed.
pub(crate) async fn bridge_with(
    store: &Store,
    clock: &Clock,
    folder: &Path,
    change: impl FnOnce(&mut Settings),
) -> Bridge {
    let minimal = "[wechat]\ntoken = \"t\"\n[im]\nsdk_app_id = 1\nsecret_key = \"k\"\n";
    let (config, _) = Config::from_toml_str(minimal, []).unwrap();
    let mut settings = Settings {
        agents: config.im.agents,
        texts: config.texts,
        replies: command::canned::Replies::new(),
        acknowledge: config.wechat.acknowledge,
        session_idle_ms: 1,
        limits: quota::Limits { messages: 5, message_window_ms: 1, event_messages: 3, event_window_ms: 1 },
        reply: ReplyMode::Auto,
        on_unsubscribe: config.im.on_unsubscribe,
        may_fetch: false,
        download_rules: Rules {
            allow_hosts: config.media.allow_hosts,
            allow_http: false,
            allow_private: false,
        },
        desk: DeskSettings::default(),
        hours: None,
        after_hours: AfterHours::Hold,
        escalation: Escalation::default(),
        remind_before_ms: None,
        merge: None,
    };
    change(&mut settings);
    let (retention, work_signal, metrics) =
        (Duration::from_hours(1), WorkSignal::new(Fleet::alone(0)), Metrics::default());
    let media = Media::open(store, folder, None, retention, clock.clone()).await.unwrap();
    let parts = Parts {
        settings: Live::new(settings),
        store: store.clone(),
        media,
        work_signal,
        clock: clock.clone(),
        metrics,
    };
    Bridge::new(parts).await.unwrap()
}

#[tokio::test]
async fn push_allowed_is_stored_after_a_failed_transaction() {
    let (clock, folder) = (Clock::movable(), tempfile::tempdir().unwrap());
    let (store, closing) =
        Store::open(&crate::store::testing::location(), clock.clone(), Metrics::default()).unwrap();
    let bridge = bridge_with_defaults(&store, &clock, folder.path()).await;
    let writing = bridge.clone();
    store.write(move |tx| writing.record_push_denied(tx)).await.unwrap();
    assert!(!bridge.may_push(clock.now()));
    // Fails as if another write in the same transaction failed: nothing is kept, and the write
    // runs once more.
    let (failing, again) = (bridge.clone(), bridge.clone());
    let failed = store.write(move |tx| {
        failing.record_push_allowed(tx)?;
        Err::<(), _>(StoreError::Closed)
    });
    assert!(failed.await.is_err());
    store.write(move |tx| again.record_push_allowed(tx)).await.unwrap();
    assert_eq!(store.read(|tx| tx.kv(PUSH_DENIED_AT)).await.unwrap().as_deref(), Some("0"));
    closing.close();
}
