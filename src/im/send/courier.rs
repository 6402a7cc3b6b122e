//! Makes the outbox's calls to IM: limits their rate, imports missing accounts, and reports the
//! outcome.

mod accounts;
mod portraits;
mod searches;

use std::pin::Pin;
use std::sync::Arc;

use accounts::missing_agent;
pub use portraits::show_portraits;
pub use searches::Searches;

use super::history::PAGE_MESSAGES;
use super::portrait::nickname;
use super::{
    Api, Client, Failure, History, ImportMode, ImportMsg, MediaInspector, OfflinePush, Outcome, Portraits,
    SendMsg, UnknownAgents, code, import_outcome, repeatable_verdict, send_outcome,
};
use crate::bridge::{Accounts, Bridge};
use crate::clock::Clock;
use crate::im::element::{self, Element, MediaDetails};
use crate::metrics::Metrics;
use crate::model::{
    FailureClass, ImUserId, MediaInfo, MediaInfoKind, MessageKind, Millis, OpenId, OutboundCall, Resolution,
    Verdict,
};
use crate::outbox::{Courier, Payload, PrepareError};
use crate::store::PendingCall;
use crate::upstream::{ApiLabel, CallReport, Degraded, Evidence, Fault, Health, RateLimiter, paced};

/// The platform's name in metrics.
const PLATFORM: &str = "im";
/// The largest assumed difference between IM's clock and ours, seconds, when the history is
/// searched.
const HISTORY_SKEW_S: i64 = 600;

/// The courier to IM.
#[derive(Debug)]
pub struct ImCourier {
    /// Completes the first lines of conversations.
    pub bridge: Bridge,
    /// The REST API.
    pub client: Arc<Client>,
    /// The imported accounts and their UserIDs.
    pub accounts: Accounts,
    /// The details of customers' media.
    pub media_inspector: MediaInspector,
    /// The rate limits.
    pub rate_limiter: Arc<RateLimiter>,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
    /// Which of IM's APIs accept our calls.
    pub health: Health,
    /// The agents whom IM does not know.
    pub unknown_agents: UnknownAgents,
    /// The requests to show customers' profiles.
    pub portraits: Portraits,
    /// The searches for attempts whose outcome is unknown.
    pub searches: Searches,
    /// `MsgLifeTime`, seconds.
    pub message_lifetime_s: u64,
}

/// The result of a step; the error is the final verdict.
type StepResult<T> = Result<T, Verdict>;

impl Courier for ImCourier {
    fn prepare<'a>(
        &'a self,
        pending: &'a PendingCall,
    ) -> Pin<Box<dyn Future<Output = Result<Payload, PrepareError>> + Send + 'a>> {
        Box::pin(async move {
            if let OutboundCall::MediaToAgent(info) = &pending.call {
                self.media_inspector.wait_for_file(info, pending.created_at, self.clock.now()).await;
            }
            Ok(Payload::AsAccepted)
        })
    }

    fn send<'a>(
        &'a self,
        pending: &'a PendingCall,
        _: &'a Payload,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>> {
        Box::pin(async move {
            let result = match &pending.call {
                OutboundCall::ImportAccount => self.import(&pending.lane.customer).await.map(drop),
                OutboundCall::DeleteAccount => self.delete(&pending.lane.customer).await,
                call => self.send_message(pending, call).await,
            };
            result.err().unwrap_or(Verdict::Delivered)
        })
    }

    fn resolve<'a>(
        &'a self,
        pending: &'a PendingCall,
    ) -> Pin<Box<dyn Future<Output = Resolution> + Send + 'a>> {
        Box::pin(async move {
            // Importing and deleting accounts may be repeated, so there is nothing to find.
            let (Some(agent), true) =
                (&pending.agent, element::elements_for(&pending.call, &MediaDetails::default()).is_some())
            else {
                return Resolution::NotDelivered;
            };
            let user = match self.account(&pending.lane.customer).await {
                Ok((user, _)) => user,
                Err(Verdict::Retry { class, pause, why }) => {
                    return Resolution::AskLater { class, pause, why };
                }
                // No message can have been sent under an invalid UserID.
                Err(_) => return Resolution::NotDelivered,
            };
            // The attempt was made between the acceptance and now. Allow for a clock that was set
            // in between.
            let now = self.clock.now();
            let of_im = |at| self.clock.remote(crate::im::CLOCK).of_ours(at).seconds();
            let from = of_im(pending.created_at.min(now)) - HISTORY_SKEW_S;
            let until = of_im(pending.attempt_at.max(now)) + HISTORY_SKEW_S;
            let history = History {
                operator: agent,
                peer: &user,
                min_s: from,
                max_s: until,
                max_count: PAGE_MESSAGES,
                last_key: None,
            };
            match self.find_in_history(history, pending.msg_seq, pending.msg_random).await {
                Ok(resolution) => resolution,
                // A conversation whose accounts do not exist has no messages.
                Err(Failure::Code { code, .. }) if code::class(code) == code::Class::CreateAccount => {
                    Resolution::NotDelivered
                }
                Err(failure) => unresolved(&failure),
            }
        })
    }
}

/// The outcome of a call as the rate limit and the metrics see it.
fn call_report<T>(outcome: &Result<T, Failure>) -> CallReport {
    let (label, too_often) = match outcome {
        Ok(_) => ("ok", false),
        Err(Failure::NotSent { .. } | Failure::LeaseOver(_)) => ("not_sent", false),
        Err(Failure::NoAnswer { .. }) => ("no_answer", false),
        Err(Failure::Rejected { .. }) => ("rejected", false),
        Err(Failure::Code { code, .. }) => {
            let class = code::class(*code);
            (class.name(), class == code::Class::Quota)
        }
    };
    CallReport { label, too_often }
}

fn unresolved(failure: &Failure) -> Resolution {
    let (class, why) = match repeatable_verdict(failure) {
        Verdict::Refuse { why } => return Resolution::Refused { why },
        // As for a send: no response may mean that IM is unreachable.
        Verdict::Retry { why, .. } if matches!(failure, Failure::NoAnswer { .. }) => {
            (FailureClass::Unreachable, why)
        }
        Verdict::Retry { class, why, .. } => (class, why),
        _ => (FailureClass::Busy, failure.to_string()),
    };
    Resolution::AskLater { class, pause: failure.pause(), why }
}

impl ImCourier {
    async fn send_message(&self, pending: &PendingCall, call: &OutboundCall) -> StepResult<()> {
        let refuse = |why: &str| Verdict::Refuse { why: why.to_owned() };
        let agent = pending.agent.as_ref().ok_or_else(|| refuse("the message has no agent"))?;
        match self.unknown_agents.needs_check(agent) {
            None => {}
            Some(true) => self.check_agent(agent).await?,
            Some(false) => return Err(missing_agent(agent)),
        }
        let completed = match call {
            OutboundCall::FirstLineToAgent(line) => Some(self.complete(&pending.lane.customer, line).await),
            _ => None,
        };
        let call = completed.as_ref().unwrap_or(call);
        let (mut user, account) = self.account(&pending.lane.customer).await?;
        // A notice about someone who has left must not make the account again.
        let may_import = account.known || pending.kind != MessageKind::Notice;
        if !account.imported {
            if !may_import {
                return Err(refuse("the customer has left"));
            }
            user = self.import(&pending.lane.customer).await.map_err(without_account)?;
        }
        match self.call_once(pending, call, &user, agent).await? {
            Ok(()) => Ok(()),
            Err(Outcome::Verdict(verdict)) => Err(verdict),
            Err(Outcome::MissingAccount { why }) if !may_import => Err(Verdict::Refuse { why }),
            Err(Outcome::MissingAccount { .. }) => {
                // The code does not always tell which of the two accounts is missing. A notice may go to someone
                // who is no agent: nothing waits for such an account.
                if pending.kind != MessageKind::Notice {
                    self.check_agent(agent).await?;
                }
                let user = self.import(&pending.lane.customer).await.map_err(without_account)?;
                self.call_once(pending, call, &user, agent).await?.map_err(|outcome| match outcome {
                    Outcome::Verdict(verdict) => verdict,
                    Outcome::MissingAccount { why } => Verdict::Refuse { why },
                })
            }
        }
    }

    /// The first line of a conversation with what WeChat tells of the customer, as far as it is known within a moment.
    async fn complete(&self, customer: &OpenId, line: &str) -> OutboundCall {
        let profile = self.bridge.profile(customer).await;
        if profile.is_some() {
            self.portraits.request(customer);
        }
        OutboundCall::FirstLineToAgent(self.bridge.complete_first_line(line, profile.as_ref()))
    }

    /// Makes one call for a message: a new message is sent, an earlier one is imported.
    async fn call_once(
        &self,
        pending: &PendingCall,
        call: &OutboundCall,
        from: &ImUserId,
        to: &ImUserId,
    ) -> StepResult<Result<(), Outcome>> {
        let (msg_seq, msg_random) = (pending.msg_seq, pending.msg_random);
        if let OutboundCall::EarlierMessageToAgent { text, at_s, medium } = call {
            let elements = match medium {
                None => [Element::text(text.as_str())],
                Some(info) => {
                    let details =
                        self.media_inspector.details(info, Millis(at_s.saturating_mul(1_000))).await;
                    [element::media_element(info, &details)]
                }
            };
            let (import, timestamp_s) = (ImportMode::History, *at_s);
            let past =
                ImportMsg { mode: import, from, to, msg_seq, msg_random, timestamp_s, elements: &elements };
            let result = self.rate_limited(Api::ImportMsg, self.client.importmsg(&past)).await;
            return Ok(result.map_err(|failure| import_outcome(&failure)));
        }
        let details = match call {
            OutboundCall::MediaToAgent(info) => self.media_inspector.details(info, pending.created_at).await,
            _ => MediaDetails::default(),
        };
        let elements = element::elements_for(call, &details)
            .ok_or_else(|| Verdict::Refuse { why: "it is not a message for IM".to_owned() })?;
        let custom_data = custom_data(pending);
        let nickname = nickname(&pending.lane.customer);
        let message = SendMsg {
            from,
            to,
            msg_seq,
            msg_random,
            timestamp_s: self.clock.now().seconds(),
            life_time_s: self.message_lifetime_s,
            elements: &elements,
            cloud_custom_data: &custom_data,
            offline_push: OfflinePush { nickname: &nickname, words: words(&elements) },
        };
        let sent = self.rate_limited(Api::SendMsg, self.client.sendmsg(&message)).await;
        Ok(sent.map(drop).map_err(|failure| send_outcome(&failure)))
    }

    /// Makes one call within its API's rate limit, and records its duration and outcome.
    pub(super) async fn rate_limited<T>(
        &self,
        api: Api,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let label = ApiLabel { platform: PLATFORM, api: api.name() };
        let outcome = paced(&self.rate_limiter, &self.metrics, label, call, call_report).await;
        self.update_health(api, &outcome);
        outcome
    }

    /// The APIs of IM that do not work for us, since when, and what to do; and the agents whom it does not know.
    pub fn degraded(&self) -> Vec<Degraded> {
        let mut degraded = self.health.degraded(self.clock.now());
        degraded.extend(self.unknown_agents.status());
        degraded
    }

    fn update_health<T>(&self, api: Api, outcome: &Result<T, Failure>) {
        // Nothing was asked of IM.
        if matches!(outcome, Err(Failure::LeaseOver(_))) {
            return;
        }
        let evidence = evidence(outcome);
        if let Evidence::Failing(fault) | Evidence::Blocked(fault) | Evidence::Exhausted(fault) = &evidence {
            let Fault { why, advice } = fault.clone();
            if self.health.record(api.name(), self.clock.now(), evidence) {
                tracing::error!(
                    api = api.name(),
                    why,
                    "IM refuses or misses our calls; they are retried: {advice}"
                );
            }
        } else {
            self.health.record(api.name(), self.clock.now(), evidence);
        }
    }
}

/// What the outcome of a call says about its API.
fn evidence<T>(outcome: &Result<T, Failure>) -> Evidence {
    let Err(failure) = outcome else { return Evidence::Success };
    let fault = |advice: &str| Fault { why: failure.to_string(), advice: advice.to_owned() };
    let Failure::Code { code, .. } = failure else {
        return Evidence::Failing(fault("check im.api_base, and that this machine reaches it"));
    };
    let advice = code::advice(*code).unwrap_or("this passes by itself; if it stays, ask Tencent");
    match code::class(*code) {
        code::Class::Success => Evidence::Success,
        code::Class::Permanent | code::Class::CreateAccount | code::Class::NextUserId => Evidence::Refused,
        _ if code::is_allowance(*code) => Evidence::Exhausted(fault(advice)),
        code::Class::Backoff | code::Class::Quota => Evidence::Failing(fault(advice)),
        _ => Evidence::Blocked(fault(advice)),
    }
}

/// The message's `CloudCustomData`: for programs, the bridge's id of the message and the link to the original of a
/// converted recording; for the agents' clients, that a customer's phone shows who types, so that they signal it.
fn custom_data(pending: &PendingCall) -> String {
    let mut bridge = serde_json::json!({"message": pending.id});
    if let OutboundCall::MediaToAgent(MediaInfo {
        kind: MediaInfoKind::Sound { original: Some(original) },
        ..
    }) = &pending.call
    {
        bridge["original"] = original.as_str().into();
    }
    let mut data = serde_json::json!({"bridge": bridge});
    if pending.kind == MessageKind::Message {
        data["messageFeature"] = serde_json::json!({"needTyping": 1, "version": 1});
    }
    data.to_string()
}

/// The words by which a notification shows a message; empty if its first element has none.
fn words(elements: &[Element]) -> &str {
    match elements.first() {
        Some(Element::Text(text)) => &text.text,
        _ => "",
    }
}

/// The verdict on a message whose customer's account cannot be made. The outbox gives it up after a
/// while, unless the whole platform is out of reach.
fn without_account(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Retry { class, pause, why }
            if !class.is_platform_wide() && !class.retry_now() && class != FailureClass::LeaseOver =>
        {
            Verdict::Retry { class: FailureClass::NoAccount, pause, why }
        }
        verdict => verdict,
    }
}
