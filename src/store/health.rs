//! The health of the store: whether commits succeed, in time, and since when they do not.
//!
//! It is entered by a commit that fails or hangs and by the end of the writer thread, and left only
//! by a later commit that succeeds in time. Must never depend on who looks, or how often.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::StoreError;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::Millis;

/// A commit that takes longer than this hangs: callers give up before it ends.
const HANG: Duration = Duration::from_secs(2);

/// Since when commits fail, and with which error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The first of the present run of failures.
    pub since: Millis,
    /// The error text; no secrets.
    pub why: String,
}

/// The health of one store. The writer thread reports, everyone may look.
#[derive(Debug)]
pub(super) struct Health {
    pub clock: Clock,
    pub metrics: Metrics,
    /// The thread only reads, so that its failures refuse nothing.
    only_reads: bool,
    state: Mutex<HealthState>,
}

#[derive(Debug, Default)]
struct HealthState {
    outage: Option<Outage>,
    /// The commit that is running.
    running: Option<(Instant, Millis)>,
    recoveries: u64,
    panics: u64,
}

impl Health {
    /// A healthy store.
    pub fn new(clock: Clock, metrics: Metrics) -> Self {
        Self { clock, metrics, only_reads: false, state: Mutex::default() }
    }

    /// The health of a thread that only reads.
    pub fn of_reader(clock: Clock) -> Self {
        Self { clock, metrics: Metrics::default(), only_reads: true, state: Mutex::default() }
    }

    /// The present outage, if there is one.
    pub fn outage(&self) -> Option<Outage> {
        let state = self.state.lock();
        let hangs = || {
            let (_, since) = state.running.filter(|(started, _)| started.elapsed() > HANG)?;
            let why = format!("a commit has been running for more than {} seconds", HANG.as_secs());
            Some(Outage { since, why })
        };
        state.outage.clone().or_else(hangs)
    }

    /// How many panics the writer thread has caught.
    pub fn panics(&self) -> u64 {
        self.state.lock().panics
    }

    /// How many outages have ended.
    pub fn recoveries(&self) -> u64 {
        self.state.lock().recoveries
    }

    /// Whether a commit failed or was too slow, and none succeeded in time since.
    pub fn is_failing(&self) -> bool {
        self.state.lock().outage.is_some()
    }

    /// A commit begins.
    pub fn begin(&self) {
        self.state.lock().running = Some((Instant::now(), self.clock.now()));
    }

    /// The commit succeeded. Returns whether the store is healthy now. One that was too slow proves
    /// a fault, and one that wrote nothing proves nothing, because it succeeds on a full disk too.
    pub fn succeeded(&self, written: bool) -> bool {
        let mut state = self.state.lock();
        let Some((started, since)) = state.running.take() else { return state.outage.is_none() };
        let took = started.elapsed();
        if took > HANG {
            let why = format!("a commit took {:.1} seconds", took.as_secs_f64());
            self.enter(&mut state, Outage { since, why });
            return false;
        }
        if written && let Some(ended) = state.outage.take() {
            state.recoveries += 1;
            drop(state);
            tracing::info!(
                store.failed_for_ms = self.clock.now().since(ended.since),
                "the store commits again"
            );
            return true;
        }
        state.outage.is_none()
    }

    /// The commit failed for a reason that is not the store's: it says nothing about its health.
    pub fn withdrawn(&self) {
        self.state.lock().running = None;
    }

    /// The commit failed because of the store.
    pub fn failed(&self, error: &StoreError) {
        let why = match error {
            StoreError::Database(error) => error.to_string(),
            StoreError::Postgres(error) => error.to_string(),
            other => other.to_string(),
        };
        let mut state = self.state.lock();
        let since = state.running.take().map_or_else(|| self.clock.now(), |(_, since)| since);
        self.enter(&mut state, Outage { since, why });
    }

    /// A closure panicked in the writer thread, which goes on.
    pub fn panicked(&self) {
        self.state.lock().panics += 1;
        self.metrics.record_store_panic();
    }

    /// The writer thread panicked and is gone.
    pub fn thread_ended(&self) {
        self.panicked();
        let mut state = self.state.lock();
        state.running = None;
        let why = "the store's writer thread panicked, which is a bug: restart the bridge".to_owned();
        let since = self.clock.now();
        state.outage = None;
        self.enter(&mut state, Outage { since, why });
    }

    fn enter(&self, state: &mut HealthState, outage: Outage) {
        if state.outage.is_some() {
            return;
        }
        if self.only_reads {
            tracing::warn!(error = %outage.why, "the store cannot be read");
        } else {
            tracing::error!(
                error = %outage.why,
                "the store cannot commit: pushes and callbacks are refused until it can; free the disk or repair it"
            );
        }
        state.outage = Some(outage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, Lane, MessageKind, OpenId, OutboundCall};
    use crate::store::{Head, NewMessage, Store, testing};

    /// Ends the writer thread: a panic while the thread drops it is caught by nothing.
    struct PanicsWhenDropped;

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "on purpose");
        }
    }

    #[tokio::test]
    async fn a_dead_writer_thread_is_an_outage_for_good() {
        let clock = Clock::movable();
        let metrics = Metrics::default();
        let (store, closing) = Store::open(&testing::location(), clock.clone(), metrics.clone()).unwrap();
        store.write(|tx| tx.put_kv("a", "b")).await.unwrap();
        assert_eq!((store.outage(), store.panics()), (None, 0));
        let bomb = PanicsWhenDropped;
        let _ = store
            .write(move |tx| {
                let _in_the_closure = &bomb;
                tx.put_kv("a", "c")
            })
            .await;
        let limit = Instant::now() + Duration::from_secs(10);
        while store.outage().is_none() && Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let outage = store.outage().unwrap();
        assert!(outage.why.contains("writer thread panicked"), "{outage:?}");
        assert!(store.write(|tx| tx.put_kv("a", "d")).await.is_err());
        assert_eq!((store.outage(), store.panics()), (Some(outage), 1));
        assert!(metrics.render(0, 0, 0).unwrap().contains("store_panics_total 1"));
        closing.close();
    }

    #[test]
    fn a_slow_commit_is_an_outage_until_one_succeeds_in_time() {
        let health = Health::new(Clock::movable(), Metrics::default());
        let long_ago =
            || health.state.lock().running = Some((Instant::now().checked_sub(HANG * 2).unwrap(), Millis(7)));
        health.begin();
        assert_eq!(health.outage(), None);
        long_ago();
        let hanging = health.outage().unwrap();
        assert_eq!(hanging.since, Millis(7));
        assert_eq!(health.outage(), Some(hanging), "it is the same at each look");
        assert!(!health.succeeded(true), "a slow success proves the fault");
        assert_eq!(health.outage().unwrap().since, Millis(7));
        health.begin();
        assert!(!health.succeeded(false), "a commit without a change proves nothing");
        health.begin();
        assert_eq!(health.recoveries(), 0);
        assert!(health.succeeded(true));
        assert_eq!((health.outage(), health.recoveries()), (None, 1));
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_is_named_and_the_store_stays_healthy() {
        let (store, closing) =
            Store::open(&testing::location(), Clock::system(), crate::metrics::Metrics::default()).unwrap();
        let lane = Lane { direction: Direction::ToIm, customer: OpenId::new("oA").unwrap() };
        let message = NewMessage {
            kind: MessageKind::Account,
            ..testing::message(lane.direction, &lane.customer, OutboundCall::ImportAccount)
        };
        let id = store.write(move |tx| tx.add(&message)).await.unwrap();
        let breaks = ["calls = '[{]'", "calls = '[]'", "kind = 77", "agent = ''"];
        // PostgreSQL keeps these out by itself.
        let of_sqlite = ["calls = x'ff'", "seq = 'x'"].into_iter().filter(|_| !testing::cluster::is_chosen());
        for column in breaks.into_iter().chain(of_sqlite) {
            let set = format!("SAVEPOINT whole; UPDATE message SET {column} WHERE id = {}", id.0);
            let lane = lane.clone();
            let head = store.write(move |tx| {
                tx.session.batch(&set)?;
                let head = tx.head(&lane);
                tx.session.batch("ROLLBACK TO whole; RELEASE whole")?;
                head
            });
            assert_eq!(head.await.unwrap(), Head::Unreadable(id), "{column}");
            assert_eq!(store.outage(), None, "{column}");
        }
        closing.close();
    }
}
