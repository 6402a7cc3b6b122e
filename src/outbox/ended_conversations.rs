//! Records the conversations that are over because nobody writes any more, and counts all that are over.
//!
//! Whoever answers within a day is still counted: each conversation is looked at again a day after its customer last
//! wrote. Must never touch a message.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bridge::Bridge;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{Ending, Millis};
use crate::store::{ConversationFacts, Silence, Store, StoreError};

/// The pause between two rounds.
const ROUND_INTERVAL: Duration = Duration::from_secs(2);
/// The pause between two steps.
const PAUSE: Duration = Duration::from_millis(20);
/// Conversations that are looked at in one step.
const BATCH: u32 = 200;
/// A conversation is looked at for the last time so long after its customer last wrote, milliseconds.
const DAY_MS: i64 = 86_400_000;
/// A bridge that was down for longer than this has no record of the conversations that ended before.
const LOOK_BACK_MS: i64 = 7 * DAY_MS;

/// The task.
#[derive(Debug)]
pub struct EndedConversations {
    store: Store,
    bridge: Bridge,
    metrics: Metrics,
    clock: Clock,
    /// Until when conversations in which the customer last wrote have been looked at: for the first time, and again.
    looked_until: Option<[Millis; 2]>,
}

impl EndedConversations {
    /// Creates the task.
    pub fn new(store: Store, bridge: Bridge, metrics: Metrics, clock: Clock) -> Self {
        Self { store, bridge, metrics, clock, looked_until: None }
    }

    /// Runs until stopped. Records nothing while the time is in doubt.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut interval = tokio::time::interval(ROUND_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                done = self.round() => if let Err(error) = done {
                    tracing::warn!(%error, "could not record which conversations are over; trying again in two seconds");
                },
                () = stop.cancelled() => return,
            }
        }
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        self.clock.until_trusted().await;
        // One instance is enough. That two do it for a moment does no harm.
        if !self.bridge.work_signal().fleet().owns_first_shard() {
            self.looked_until = None;
            return Ok(());
        }
        let now = self.clock.now();
        let idle_ms = self.bridge.session_idle_ms();
        let [first, last] = self.looked_until.unwrap_or([now.plus(-LOOK_BACK_MS); 2]);
        let (idle, day) = (now.plus(-idle_ms), now.plus(-idle_ms.max(DAY_MS)));
        self.look(Silence { from: first, before: idle, again: false }, Some(idle)).await?;
        self.look(Silence { from: last, before: day, again: true }, None).await?;
        // An agent may have written after the customer, so that the conversation is not silent yet.
        self.looked_until = Some([idle.plus(-idle_ms).max(first).min(idle), day.max(last)]);
        loop {
            let ended = self.store.write(|tx| tx.count_ended(BATCH)).await?;
            for conversation in &ended {
                let seconds =
                    |ms: Option<i64>| ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
                let [first_answer, resolution] =
                    [conversation.first_answer_ms, conversation.resolution_ms].map(seconds);
                self.metrics.conversation_ended(conversation.ending, first_answer, resolution);
            }
            if ended.len() < BATCH as usize {
                return Ok(());
            }
        }
    }

    /// Looks at the conversations of that time. `silent_since`: only those that were answered, and in which nobody has
    /// written since then, are over, and perhaps not for good.
    async fn look(&self, silence: Silence, silent_since: Option<Millis>) -> Result<(), StoreError> {
        let mut after = Some(0);
        while let Some(from) = after {
            let found = self.store.read(move |tx| tx.silent_conversations(silence, from, BATCH)).await?;
            after = found.1;
            let is_over = |facts: &ConversationFacts| {
                silent_since.is_none_or(|since| facts.first_answer_ms.is_some() && facts.last_at < since)
            };
            let over: Vec<ConversationFacts> = found.0.into_iter().filter(is_over).collect();
            if !over.is_empty() {
                let is_final = silent_since.is_none();
                self.store
                    .write(move |tx| {
                        over.iter().try_for_each(|facts| tx.record_ended(facts, Ending::Silence, is_final))
                    })
                    .await?;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
