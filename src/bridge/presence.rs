//! Which agents are there: signed in to IM, or reachable by a push notification.
//!
//! The store keeps what IM said last, for all instances. What is older than IM is asked twice is not known any more, and
//! an agent of whom nothing is known counts as present: a fault of IM stops no assignment.

use std::collections::BTreeMap;

use super::Bridge;
use crate::model::{ImUserId, Millis, PresenceChange};
use crate::store::{Scope, StoreError, Tx};

/// IM is not asked again within this time, in milliseconds, by whichever instance.
const ASK_INTERVAL_MS: i64 = 30_000;
/// What IM said is believed for this long, in milliseconds: a failed question changes nothing yet.
pub(super) const BELIEVED_MS: i64 = 100_000;
/// The `kv` keys: when IM was last asked, Unix milliseconds, and what it said of each agent.
const ASKED_AT_KEY: &str = "presence_asked_at";
const PRESENCE_KEY: &str = "presence";

/// What IM said of an agent: whether the agent is there, when we learned that, and IM's time of the last change, both in
/// Unix milliseconds.
type Said = (bool, i64, i64);
/// By the agent's name.
type Stored = BTreeMap<String, Said>;

impl Bridge {
    /// Whether it matters which agents are there.
    pub fn needs_presence(&self) -> bool {
        self.0.live.get().needs_presence()
    }

    /// Records that IM is asked now; `Err`: it may not be asked before this time.
    pub async fn begin_presence_question(&self) -> Result<Result<(), Millis>, StoreError> {
        let work = |tx: &Tx<'_>| {
            let asked_at = tx.kv(ASKED_AT_KEY)?.and_then(|at| at.parse().ok()).unwrap_or(0);
            // A time in the future was written before the clock was set back.
            if (0..ASK_INTERVAL_MS).contains(&tx.now().since(Millis(asked_at))) {
                return Ok(Err(Millis(asked_at).plus(ASK_INTERVAL_MS)));
            }
            tx.put_kv(ASKED_AT_KEY, &tx.now().0.to_string()).map(Ok)
        };
        self.0.store.write_for(Scope::kv(ASKED_AT_KEY), work).await
    }

    /// Records what IM answered to a question that was asked at `asked_at`.
    pub async fn record_presence(
        &self,
        answered: Vec<(ImUserId, bool)>,
        asked_at: Millis,
    ) -> Result<(), StoreError> {
        let work = move |tx: &Tx<'_>| {
            let before = load(tx)?;
            let now = tx.now().0;
            let merged = answered.iter().map(|(agent, is_present)| {
                let said = match before.get(agent.as_str()) {
                    // A callback that came meanwhile may be newer than the answer.
                    Some(said @ (_, learned_at, _)) if *learned_at >= asked_at.0 && *learned_at <= now => {
                        *said
                    }
                    Some((_, _, changed_at)) => (*is_present, now, *changed_at),
                    None => (*is_present, now, 0),
                };
                (agent.to_string(), said)
            });
            save(tx, &merged.collect())
        };
        self.0.store.write_for(Scope::kv(PRESENCE_KEY), work).await?;
        self.0.line_signal.notify();
        Ok(())
    }

    /// Records that an agent has come or gone. `Ok` means that it is on disk, or that it does not matter.
    pub async fn accept_presence(&self, change: PresenceChange) -> Result<(), StoreError> {
        let settings = self.settings();
        if !settings.needs_presence() || !settings.agents.contains(&change.agent) {
            return Ok(());
        }
        let work = move |tx: &Tx<'_>| {
            let mut stored = load(tx)?;
            let last = stored.get(change.agent.as_str()).map_or(0, |(_, _, changed_at)| *changed_at);
            if change.at_ms < last {
                return Ok(());
            }
            stored.insert(change.agent.to_string(), (change.is_present, tx.now().0, change.at_ms));
            save(tx, &stored)
        };
        self.0.store.write_for(Scope::kv(PRESENCE_KEY), work).await?;
        self.0.line_signal.notify();
        Ok(())
    }
}

/// The agents who are known to be away.
pub(super) fn absent(tx: &Tx<'_>) -> Result<Vec<String>, StoreError> {
    let now = tx.now().0;
    let is_away = |said: &Said| !said.0 && (now - said.1).abs() < BELIEVED_MS;
    Ok(load(tx)?.into_iter().filter(|(_, said)| is_away(said)).map(|(agent, _)| agent).collect())
}

/// What is stored; what cannot be read is not known.
fn load(tx: &Tx<'_>) -> Result<Stored, StoreError> {
    let stored = tx.kv(PRESENCE_KEY)?;
    Ok(stored.and_then(|stored| serde_json::from_str(&stored).ok()).unwrap_or_default())
}

fn save(tx: &Tx<'_>, stored: &Stored) -> Result<(), StoreError> {
    tx.put_kv(PRESENCE_KEY, &serde_json::to_string(stored)?)
}
