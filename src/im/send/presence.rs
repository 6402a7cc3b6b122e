//! Asks IM which agents are there, in one call for all. One instance asks for all of them.
//!
//! A failure changes nothing: the bridge soon counts the agents as present, and the next question comes as usual.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Api, Client, Failure, ImCourier};
use crate::bridge::Bridge;
use crate::clock::Clock;
use crate::im::text;
use crate::model::{ImUserId, Millis};
use crate::store::StoreError;

/// How often the worker checks whether a question is due.
const TICK: Duration = Duration::from_secs(1);
/// The most accounts in one call.
const MAX_ACCOUNTS: usize = 500;

/// Asks in the background.
#[derive(Debug)]
pub struct PresenceWorker {
    courier: Arc<ImCourier>,
    bridge: Bridge,
    clock: Clock,
}

impl PresenceWorker {
    /// Creates the worker. It shares the rate limits of `courier`.
    pub fn new(courier: Arc<ImCourier>, bridge: Bridge, clock: Clock) -> Self {
        Self { courier, bridge, clock }
    }

    /// Runs until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // When the next question may be asked, as far as this instance knows.
        let mut due = Millis(0);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return,
            }
            let fleet = self.bridge.work_signal().fleet();
            // A time that is far off was computed before the clock was set back.
            let is_early = (1..=60_000).contains(&due.since(self.clock.now()));
            if is_early || !self.bridge.needs_presence() || !fleet.owns_first_shard() {
                continue;
            }
            match stop.run_until_cancelled(self.ask()).await {
                None => return,
                Some(Ok(next)) => due = next,
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot store which agents are there; trying again within a second");
                }
            }
        }
    }

    /// Asks IM, if it may be asked now. Returns when to try again.
    async fn ask(&self) -> Result<Millis, StoreError> {
        if let Err(until) = self.bridge.begin_presence_question().await? {
            return Ok(until);
        }
        let asked_at = self.clock.now();
        let agents: Vec<ImUserId> = self.bridge.agents().into_iter().take(MAX_ACCOUNTS).collect();
        let call = self.courier.client.online_status(&agents);
        match self.courier.rate_limited(Api::OnlineStatus, call).await {
            Ok(answered) => self.bridge.record_presence(answered, asked_at).await?,
            Err(failure) => {
                tracing::debug!(%failure, "IM does not say which agents are there; asking again later");
            }
        }
        Ok(asked_at)
    }
}

impl Client {
    /// Returns whether each of `users` (at most 500) is signed in or reachable by push. Leaves out those of whom IM says
    /// nothing. Docs 269/2566.
    pub async fn online_status(&self, users: &[ImUserId]) -> Result<Vec<(ImUserId, bool)>, Failure> {
        let answer = self.call(Api::OnlineStatus, &json!({"To_Account": users})).await?;
        let results = answer.get("QueryResult").and_then(Value::as_array);
        Ok(results.into_iter().flatten().filter_map(read).collect())
    }
}

/// An agent and whether the agent is there; `None` for a status that no document names.
fn read(result: &Value) -> Option<(ImUserId, bool)> {
    // Before 2022 the status was called `State`.
    let status = text(result, "Status").or_else(|| text(result, "State"))?;
    let is_present = match status {
        "Online" | "PushOnline" => true,
        "Offline" => false,
        _ => return None,
    };
    Some((ImUserId::new(text(result, "To_Account")?).ok()?, is_present))
}

#[cfg(test)]
mod tests {
    use crate::im::send::client::tests::{Fake, user};

    #[tokio::test]
    async fn one_call_asks_for_all_and_push_counts_as_present() {
        let fake = Fake::answering([r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":"","QueryResult":[
            {"To_Account":"kf_lin","Status":"Online","Detail":[{"Platform":"Web","Status":"Online"}]},
            {"To_Account":"anna","Status":"PushOnline"},{"To_Account":"ben","Status":"Offline"},
            {"To_Account":"cem","Status":"Asleep"}],"ErrorList":[{"To_Account":"nobody","ErrorCode":70107}]}"#])
        .await;
        let users = ["kf_lin", "anna", "ben", "cem", "nobody"].map(user);
        let known = fake.client().online_status(&users).await.unwrap();
        assert_eq!(known, [(user("kf_lin"), true), (user("anna"), true), (user("ben"), false)]);
        let call = fake.only_call();
        assert_eq!(call.path, "/v4/openim/query_online_status");
        assert_eq!(call.body, r#"{"To_Account":["kf_lin","anna","ben","cem","nobody"]}"#);
    }
}
