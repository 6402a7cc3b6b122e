//! What is recorded of conversations that are over.
//!
//! Must never register a metric: `metrics.rs` alone does.

use std::time::Duration;

use super::Metrics;
use crate::model::Ending;

impl Metrics {
    /// Counts a conversation that is over, with the times until the first answer and until the end where somebody
    /// answered.
    pub fn conversation_ended(
        &self,
        ending: Ending,
        first_answer: Option<Duration>,
        resolution: Option<Duration>,
    ) {
        self.0.conversations_ended.get_or_create(&[("ending", ending.name())]).inc();
        if let Some(took) = first_answer {
            self.0.first_answer.observe(took.as_secs_f64());
        }
        if let Some(took) = resolution {
            self.0.resolution.observe(took.as_secs_f64());
        }
    }
}
