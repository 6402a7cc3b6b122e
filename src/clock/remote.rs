//! The clock of another server, as the `Date` of its answers shows it.

use parking_lot::Mutex;
use std::sync::Arc;

use super::Clock;
use crate::model::Millis;

/// A request that took longer, milliseconds, measures nothing.
const MAX_ROUND_TRIP_MS: i64 = 10_000;
/// A difference of at most this, milliseconds, may be the error of the measurement.
const PRECISION_MS: i64 = 1_500;
/// `Date` has whole seconds, so that the server's clock is half a second further on average.
const HALF_SECOND_MS: i64 = 500;

/// What has been measured of one server's clock.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) name: &'static str,
    measured: Mutex<Option<Measurement>>,
}

#[derive(Clone, Copy, Debug)]
struct Measurement {
    /// The server's Unix time, in milliseconds, at which our monotonic clock showed 0.
    offset: i64,
    /// When it was measured, by the monotonic clock.
    at_ms: i64,
}

impl Remote {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, measured: Mutex::default() }
    }

    pub(super) fn offset(&self) -> Option<i64> {
        self.measured.lock().map(|measured| measured.offset)
    }
}

/// The clock of another server. Clones share what has been measured.
#[derive(Clone, Debug)]
pub struct RemoteClock {
    clock: Clock,
    remote: Arc<Remote>,
}

impl RemoteClock {
    pub(super) fn new(clock: Clock, remote: Arc<Remote>) -> Self {
        Self { clock, remote }
    }

    /// The server's Unix time in milliseconds; before the first measurement our own.
    pub fn now(&self) -> Millis {
        let ours = self.clock.now();
        let theirs = self.remote.offset().map(|offset| Millis(self.clock.monotonic_ms() + offset));
        theirs.filter(|theirs| theirs.since(ours).abs() > PRECISION_MS).unwrap_or(ours)
    }

    /// Converts one of our times into the server's.
    pub fn of_ours(&self, ours: Millis) -> Millis {
        ours.plus(self.now().since(self.clock.now()))
    }

    /// The clock with which this one is compared.
    pub fn local(&self) -> &Clock {
        &self.clock
    }

    /// Records the `Date` of an answer, Unix seconds. `sent_ms` is when its request was sent, by
    /// [`Clock::monotonic_ms`].
    pub fn observe(&self, date_s: i64, sent_ms: i64) {
        let received_ms = self.clock.monotonic_ms();
        if !(0..=MAX_ROUND_TRIP_MS).contains(&(received_ms - sent_ms)) {
            return;
        }
        let answered_ms = sent_ms + (received_ms - sent_ms) / 2;
        let offset = date_s.saturating_mul(1000) + HALF_SECOND_MS - answered_ms;
        *self.remote.measured.lock() = Some(Measurement { offset, at_ms: received_ms });
        // The caller of `check` reports; here only the time to go by is chosen anew.
        let _ = self.clock.check();
        self.clock.mark_examined();
    }

    /// How long ago the last measurement was, milliseconds; `None` if there is none.
    pub fn age_ms(&self) -> Option<i64> {
        let at_ms = self.remote.measured.lock().map(|measured| measured.at_ms)?;
        Some(self.clock.monotonic_ms() - at_ms)
    }
}
