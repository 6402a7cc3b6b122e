//! The panics of lanes and fetches, for `/readyz`. A panic is a bug: it is counted, shown, and the
//! work that caused it is tried a few times and then ended.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::metrics::Metrics;
use crate::model::Millis;

/// The number of panics over one message or file that ends it.
pub(super) const MAX_PANICS: u32 = 3;
/// How long work rests after a panic, milliseconds.
pub(super) const PANIC_REST_MS: i64 = 1_000;
/// How long after the last panic it is still shown, milliseconds.
const SHOWN_MS: i64 = 3_600_000;

/// The panics so far. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Panics(Arc<Mutex<Option<Panicked>>>);

/// The panics that are still shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked {
    /// The first of them.
    pub since: Millis,
    /// Their number.
    pub count: u64,
    last_at: Millis,
}

impl Panics {
    /// Counts a panic of `part`, which is `lane` or `fetch`.
    pub(super) fn record(&self, metrics: &Metrics, part: &'static str, now: Millis) {
        metrics.record_panic(part);
        let shown = self.shown(now);
        let (since, count) = shown.map_or((now, 1), |before| (before.since, before.count + 1));
        *self.0.lock() = Some(Panicked { since, count, last_at: now });
    }

    /// The panics, until an hour after the last of them.
    pub fn shown(&self, now: Millis) -> Option<Panicked> {
        self.0.lock().filter(|panicked| now.since(panicked.last_at) < SHOWN_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_counted_and_shown_until_an_hour_after_the_last() {
        let (panics, metrics) = (Panics::default(), Metrics::default());
        assert_eq!(panics.shown(Millis(0)), None);
        panics.record(&metrics, "lane", Millis(1));
        panics.record(&metrics, "fetch", Millis(5));
        let shown = panics.shown(Millis(SHOWN_MS)).unwrap();
        assert_eq!((shown.since, shown.count), (Millis(1), 2));
        assert_eq!(panics.shown(Millis(SHOWN_MS + 5)), None);
        let text = metrics.render(0, 0, 0).unwrap();
        assert!(text.contains("wechat_im_bridge_panics_total{part=\"lane\"} 1"), "{text}");
    }
}
