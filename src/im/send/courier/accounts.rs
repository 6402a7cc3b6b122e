//! The accounts behind a message: imports and deletes a customer's, and asks whether IM knows an agent's.
//!
//! Never creates the account of an agent.

use fail::fail_point;

use super::{ImCourier, StepResult};
use crate::bridge::Account;
use crate::im::send::portrait::Portrait;
use crate::im::send::{Api, repeatable_verdict, unknown_agents};
use crate::model::{FailureClass, ImUserId, OpenId, Verdict};
use crate::store::StoreError;

impl ImCourier {
    /// Imports the customer's account. If IM refuses a deleted UserID, records the next one.
    pub(super) async fn import(&self, customer: &OpenId) -> StepResult<ImUserId> {
        let (user, account) = self.account(customer).await?;
        let profile = self.bridge.stored_profile(customer).await;
        let portrait = Portrait::of(customer, profile.as_ref());
        let import = self.client.account_import(&user, &portrait.nick, &portrait.picture);
        match self.rate_limited(Api::AccountImport, import).await {
            Ok(()) => {
                fail_point!("import.called");
                self.record(customer, account.number, true).await?;
                fail_point!("import.recorded");
                if profile.is_some() {
                    self.record_shown(customer, &portrait)
                        .await
                        .map_err(|error| store_error_verdict(&error))?;
                }
                Ok(user)
            }
            Err(failure) => {
                let verdict = repeatable_verdict(&failure);
                if let Verdict::Retry { class: FailureClass::NextUserId, .. } = verdict {
                    let next = account.number + 1;
                    if ImUserId::of_customer(customer, next).is_err() {
                        let why = format!("{failure}, and the next UserID would exceed 32 bytes");
                        return Err(Verdict::Refuse { why });
                    }
                    self.record(customer, next, false).await?;
                }
                Err(verdict)
            }
        }
    }

    /// Asks IM whether it knows `agent`. If it does not, the message waits: the bridge never creates an agent.
    pub(super) async fn check_agent(&self, agent: &ImUserId) -> StepResult<()> {
        let users = std::slice::from_ref(agent);
        match self.rate_limited(Api::AccountCheck, self.client.account_check(users)).await {
            Ok(known) if known.is_empty() => {
                if self.unknown_agents.record(agent, self.clock.now()) {
                    tracing::error!(im.agent = %agent, "{}", unknown_agents::advice(agent.as_str()));
                }
                Err(missing_agent(agent))
            }
            Ok(_) => {
                if self.unknown_agents.clear(agent) {
                    tracing::info!(im.agent = %agent, "IM knows the agent now; the waiting messages are sent");
                }
                Ok(())
            }
            // Whatever the check says of itself, the message is not at fault.
            Err(failure) => Err(match repeatable_verdict(&failure) {
                Verdict::Refuse { why } => Verdict::Retry { class: FailureClass::Busy, pause: None, why },
                verdict => verdict,
            }),
        }
    }

    pub(super) async fn delete(&self, customer: &OpenId) -> StepResult<()> {
        let (user, account) = self.account(customer).await?;
        match self.rate_limited(Api::AccountDelete, self.client.account_delete(&user)).await {
            Ok(()) => self.record(customer, account.number, false).await,
            Err(failure) => Err(repeatable_verdict(&failure)),
        }
    }

    pub(super) async fn account(&self, customer: &OpenId) -> StepResult<(ImUserId, Account)> {
        let account = self.accounts.get(customer).await.map_err(|error| store_error_verdict(&error))?;
        let account = account.unwrap_or(Account { known: false, number: 0, imported: false });
        let user = ImUserId::of_customer(customer, account.number)
            .map_err(|error| Verdict::Refuse { why: error.to_string() })?;
        Ok((user, account))
    }

    pub(super) async fn record(&self, customer: &OpenId, number: u32, imported: bool) -> StepResult<()> {
        self.accounts.record(customer, number, imported).await.map_err(|error| store_error_verdict(&error))
    }
}

/// The verdict on a message whose agent IM does not know.
pub(super) fn missing_agent(agent: &ImUserId) -> Verdict {
    let why = format!("IM has no account {agent} for the agent");
    Verdict::Retry { class: FailureClass::MissingAgent, pause: None, why }
}

fn store_error_verdict(error: &StoreError) -> Verdict {
    Verdict::Retry { class: FailureClass::Busy, pause: None, why: error.to_string() }
}
