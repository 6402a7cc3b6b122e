//! What the desk counts.

use super::Metrics;
use crate::model::Rating;

impl Metrics {
    /// Counts a rating.
    pub fn record_rating(&self, rating: Rating) {
        self.0.ratings.get_or_create(&[("value", rating.name())]).inc();
    }

    /// Records how many of the customers' messages are deferred, how many customers are in the line, and how long the first of
    /// them has waited.
    pub fn record_parked(&self, deferred: i64, in_line: i64, oldest_s: i64) {
        self.0.deferred.set(deferred);
        self.0.line.set(in_line);
        self.0.line_oldest.set(oldest_s);
    }
}
