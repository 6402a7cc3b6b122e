//! Watches which callbacks IM makes. Each has a switch in IM's console: if one is off, nothing else tells the operator.
//!
//! A missing callback after a send is known from the backfill, which finds the messages that it should have announced.
//! Recalls and edits may be rare, so their absence is only information.

use parking_lot::Mutex;

use super::Bridge;
use crate::model::{AgentEvent, Millis};
use crate::store::{Scope, Store, StoreError};

/// Messages found in a row without a callback before it counts as switched off, if it came at some time. IM makes each
/// callback once, so single ones get lost.
const LOST_IN_A_ROW: u32 = 3;

/// The callbacks that IM has made, and the messages that should have caused one.
#[derive(Debug)]
pub(super) struct CallbackWatch(Mutex<Watch>);

#[derive(Debug, Default)]
struct Watch {
    /// The events whose callback came at some time, in this run or an earlier one.
    seen: Vec<AgentEvent>,
    /// Messages that the backfill found since the last callback after a send.
    unannounced: u32,
    /// When it found the first of them.
    unannounced_since: Option<Millis>,
}

/// Which callbacks IM makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackStatus {
    /// The events whose callback came at some time.
    pub seen: Vec<AgentEvent>,
    /// Since when messages arrive without the callback after a send.
    pub missing_since: Option<Millis>,
}

impl Watch {
    fn missing_since(&self) -> Option<Millis> {
        let tolerated = if self.seen.contains(&AgentEvent::Sent) { LOST_IN_A_ROW } else { 1 };
        self.unannounced_since.filter(|_| self.unannounced >= tolerated)
    }
}

impl CallbackWatch {
    /// Reads which callbacks came in earlier runs.
    pub async fn load(store: &Store) -> Result<Self, StoreError> {
        let read = store.read(|tx| {
            let mut seen = Vec::new();
            for event in AgentEvent::ALL {
                if tx.kv(&seen_key(event))?.is_some() {
                    seen.push(event);
                }
            }
            Ok(seen)
        });
        Ok(Self(Mutex::new(Watch { seen: read.await?, ..Watch::default() })))
    }

    /// A callback came. Returns whether it is the first of its kind.
    fn record(&self, event: AgentEvent) -> bool {
        let mut watch = self.0.lock();
        if event == AgentEvent::Sent {
            (watch.unannounced, watch.unannounced_since) = (0, None);
        }
        let is_first = !watch.seen.contains(&event);
        if is_first {
            watch.seen.push(event);
        }
        is_first
    }

    /// The backfill found a message that no callback announced. Returns whether the callback counts as missing from
    /// now on.
    fn record_unannounced(&self, now: Millis) -> bool {
        let mut watch = self.0.lock();
        let was_missing = watch.missing_since().is_some();
        watch.unannounced = watch.unannounced.saturating_add(1);
        watch.unannounced_since.get_or_insert(now);
        !was_missing && watch.missing_since().is_some()
    }

    fn status(&self) -> CallbackStatus {
        let watch = self.0.lock();
        CallbackStatus { seen: watch.seen.clone(), missing_since: watch.missing_since() }
    }
}

impl Bridge {
    /// Records that IM made a callback. Returns whether it is the first of its kind, which
    /// [`Bridge::remember_callback`] then stores.
    pub fn record_callback(&self, event: AgentEvent) -> bool {
        self.0.callbacks.record(event)
    }

    /// Stores that a callback came at some time, for later runs.
    pub async fn remember_callback(&self, event: AgentEvent) -> Result<(), StoreError> {
        let key = seen_key(event);
        let scope = Scope::kv(&key);
        self.0.store.write_for(scope, move |tx| tx.put_kv(&key, &tx.now().0.to_string())).await
    }

    /// Which callbacks IM makes.
    pub fn callback_status(&self) -> CallbackStatus {
        self.0.callbacks.status()
    }

    /// Records that the backfill found a message of `sent_at_s`, Unix seconds, that no callback announced. One that was
    /// sent before this era proves nothing: the bridge was down.
    pub(super) fn record_unannounced(&self, sent_at_s: i64) {
        let started_at = self.0.clock.at_monotonic(self.0.fleet.era().started_ms);
        let was_up = sent_at_s > started_at.seconds();
        if was_up && self.0.callbacks.record_unannounced(self.0.clock.now()) {
            tracing::error!(
                "IM does not call back after agents' messages, which the bridge now finds up to a minute later in IM's \
                 history; switch the callback on in IM's console, as `check` shows"
            );
        }
    }
}

fn seen_key(event: AgentEvent) -> String {
    format!("callback_seen:{}", event.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_missing_from_the_first_message_on_or_after_several_if_it_ever_came() {
        let watch = CallbackWatch(Mutex::default());
        assert_eq!(watch.status().missing_since, None);
        assert!(watch.record_unannounced(Millis(5)));
        assert_eq!(watch.status().missing_since, Some(Millis(5)));
        assert!(watch.record(AgentEvent::Sent));
        assert_eq!(watch.status(), CallbackStatus { seen: vec![AgentEvent::Sent], missing_since: None });
        let lost: Vec<bool> = (0..4).map(|second| watch.record_unannounced(Millis(second))).collect();
        assert_eq!(lost, [false, false, true, false]);
        assert!(watch.record(AgentEvent::Edited));
        assert_eq!(watch.status().missing_since, Some(Millis(0)), "another callback proves nothing");
        assert!(!watch.record(AgentEvent::Sent));
        assert_eq!(watch.status().missing_since, None);
    }
}
