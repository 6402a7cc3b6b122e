//! The figures of a run, and the clock that both processes share.

use std::time::{Duration, UNIX_EPOCH};

/// The results of a run.
#[derive(Default)]
pub struct Measured {
    /// Milliseconds, sorted.
    pub latencies: Vec<f32>,
    pub failed: u64,
    pub time: Duration,
}

impl Measured {
    pub fn from_latencies(mut latencies: Vec<f32>) -> Self {
        latencies.sort_by(f32::total_cmp);
        Self { latencies, failed: 0, time: Duration::from_secs(1) }
    }

    pub fn count(&self) -> usize {
        self.latencies.len()
    }

    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the result is a valid index"
    )]
    pub fn percentile(&self, percent: f64) -> f32 {
        let at = (self.latencies.len() as f64 * percent / 100.0) as usize;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// Unix time in seconds.
pub fn unix_s() -> u128 {
    unix_micros() / 1_000_000
}

/// Unix time in microseconds.
#[expect(clippy::disallowed_methods, reason = "both processes need one clock")]
pub fn unix_micros() -> u128 {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()
}
