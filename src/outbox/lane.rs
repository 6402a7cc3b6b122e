//! One lane at work: claims its head, attempts it, settles it, then takes the next message, until
//! the lane is empty or must wait.
//!
//! This file has the loop, the claim and the attempt. [`prepare`] makes a call ready before its
//! attempt; [`settle`] records the [`outcome`]s; [`resolve`] finds out those that are not known. All of
//! them log within the span of the attempt, which names the message, so their lines need not.
//! [`panicked`] ends a message whose processing panics again and again.

mod attempt;
mod outcome;
mod panicked;
mod prepare;
mod record;
mod resolve;
mod settle;

use std::sync::Arc;

use fail::fail_point;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::panics::Panics;
use super::{Courier, Limits, MESSAGE_RETENTION_MS, Payload};
use attempt::{Attempt, attempt_span};
use prepare::Prepared;
use resolve::Resolved;
use settle::{in_millis, settle_attached, settle_without_attempt};

pub(super) use panicked::PanicCounts;
pub(super) use prepare::Permits;
pub(super) use settle::refuse_held;

use crate::bridge::notice::EndReason;
use crate::bridge::{Account, Bridge, Reservation, WorkSignal};
use crate::clock::Clock;
use crate::fleet::Hold;
use crate::metrics::Metrics;
use crate::model::{Direction, FailureClass, Lane, Millis, Move, State, Verdict};
use crate::store::{AttachState, Head, PendingCall, Scope, Store, StoreError, Tx};
use crate::upstream::{Breaker, steady_delay_ms};

/// The most messages of one lane before it yields to the other lanes.
const BATCH: usize = 32;
/// How long after an unanswered request its platform is asked for the outcome at the earliest,
/// milliseconds: it may still be working on it.
const RESOLVE_DELAY_MS: i64 = 1_000;
/// How long a lane rests when the store fails, milliseconds.
const STORE_REST_MS: i64 = 500;

/// Why a lane stops working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// The lane is empty.
    Idle,
    /// The lane has more work, but other lanes go first.
    Yield,
    /// The lane must wait until `due`, or, with `platform`, until the platform is back if that is
    /// earlier.
    Until {
        /// When to continue.
        due: Millis,
        /// The platform, not the message, is the obstacle.
        waits_for_platform: bool,
    },
    /// The bridge is stopping.
    Stopped,
}

/// The worker for the lanes of one direction.
#[derive(Debug)]
pub(super) struct LaneWorker {
    /// The store.
    pub store: Store,
    /// Decides what may be sent and which notices agents get.
    pub bridge: Bridge,
    /// Makes the calls to the platform of this direction.
    pub courier: Arc<dyn Courier>,
    /// Signals new notices to the outbox.
    pub work_signal: WorkSignal,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
    /// The circuit breaker of the platform.
    pub breaker: Breaker,
    /// The permits to prepare calls.
    pub permits: Permits,
    /// When a message that gets nowhere ends.
    pub limits: Limits,
    /// The panics of lanes and fetches, for `/readyz`.
    pub panics: Panics,
    /// The panics of the messages that have not ended yet.
    pub panic_counts: PanicCounts,
    /// Cancelled when the bridge stops.
    pub stop: CancellationToken,
}

/// The result of claiming the head of a lane.
#[derive(Debug)]
enum Claim {
    /// The call must be prepared first; no attempt has been recorded.
    Prepare(Box<PendingCall>),
    /// An attempt has been recorded and must be made now.
    Attempt(Box<Attempt>),
    /// Earlier answers may be missing: wait until this time, unless the backfill of the
    /// conversation ends earlier.
    BeforeBackfill(Millis),
    /// The outcome of an earlier attempt is not known. It also sent the lines that `joined` the head.
    Unsettled { pending: Box<PendingCall>, joined: Vec<PendingCall> },
    /// The head was settled without an attempt. `has_notice`: the agent gets a notice.
    Settled { state: State, has_notice: bool },
    /// There is nothing to do now.
    Rest(Rest),
}

/// The next step of the lane.
#[derive(Debug)]
enum Next {
    /// Claim the head again, which may be the next message.
    Head,
    /// Claim the head again, with its prepared call.
    Prepared(Box<Prepared>),
    /// Stop working on the lane.
    Rest(Rest),
}

impl LaneWorker {
    /// Works on `lane` until it rests, beginning with the call whose attempt is recorded already.
    pub(super) async fn work(
        self: Arc<Self>,
        lane: Lane,
        mut direct: Option<PendingCall>,
        hold: &Hold,
    ) -> Rest {
        let mut prepared = None;
        for _ in 0..BATCH {
            if (self.stop.is_cancelled() || hold.is_draining()) && direct.is_none() {
                return Rest::Stopped;
            }
            let next = match direct.take() {
                Some(pending) => self.attempt(pending.into()).await,
                None => self.process_head(&lane, prepared.take(), hold).await,
            };
            match next {
                Ok(Next::Head) => {}
                Ok(Next::Prepared(ready)) => prepared = Some(*ready),
                Ok(Next::Rest(rest)) => return rest,
                Err(StoreError::Panicked) => return self.panicked(&lane).await,
                Err(error) => {
                    tracing::warn!(
                        lane = lane.direction.name(),
                        openid.hash = %lane.customer.log_hash(),
                        %error,
                        "a lane cannot use the store; it tries again in half a second"
                    );
                    let due = self.clock.now().plus(STORE_REST_MS);
                    return Rest::Until { due, waits_for_platform: false };
                }
            }
        }
        Rest::Yield
    }

    /// Claims the head and carries out its next step.
    async fn process_head(
        &self,
        lane: &Lane,
        prepared: Option<Prepared>,
        hold: &Hold,
    ) -> Result<Next, StoreError> {
        if let Err(due) = self.breaker.admit(self.clock.now()) {
            return Ok(Next::Rest(Rest::Until { due, waits_for_platform: true }));
        }
        match self.claim(lane, prepared).await.inspect_err(|_| self.breaker.release_probe())? {
            Claim::Rest(rest) => {
                self.breaker.release_probe();
                Ok(Next::Rest(rest))
            }
            Claim::BeforeBackfill(due) => {
                self.breaker.release_probe();
                self.bridge.request_backfill(lane);
                Ok(Next::Rest(Rest::Until { due, waits_for_platform: false }))
            }
            Claim::Settled { state, has_notice } => {
                self.breaker.release_probe();
                if state == State::Unreadable {
                    tracing::error!(
                        lane = lane.direction.name(),
                        openid.hash = %lane.customer.log_hash(),
                        "a stored message cannot be read; it is set aside as unreadable and the next one follows"
                    );
                }
                self.metrics.ended(lane.direction, state);
                self.signal_notice(lane, has_notice);
                Ok(Next::Head)
            }
            Claim::Prepare(pending) => {
                // A preparation may take long, so let the call of another lane be the probe.
                self.breaker.release_probe();
                let span = attempt_span(&pending, pending.attempts + 1);
                self.prepare(*pending).instrument(span).await
            }
            Claim::Attempt(attempt) => self.attempt(*attempt).await,
            Claim::Unsettled { pending, joined } => {
                let span = attempt_span(&pending, pending.attempts);
                match self.resolve(*pending, joined, hold.owned_for()).instrument(span).await? {
                    Resolved::Next(next) => Ok(next),
                    Resolved::NotDelivered(pending) => self.attempt((*pending).into()).await,
                }
            }
        }
    }

    async fn claim(&self, lane: &Lane, prepared: Option<Prepared>) -> Result<Claim, StoreError> {
        let (scope, bridge, lane) = (Scope::lane(lane), self.bridge.clone(), lane.clone());
        let random = rand::rng().random();
        let ages_count = self.clock.is_trusted();
        let customer = lane.customer.clone();
        // Where others change accounts too, the call goes by what this transaction reads.
        let reads_account = lane.direction == Direction::ToIm && !self.work_signal.fleet().is_alone();
        let to_claim = lane.clone();
        let foresee = move |tx: &Tx<'_>| {
            tx.foresee_claim(&to_claim);
            if reads_account {
                let _ = tx.customer(&to_claim.customer);
            }
        };
        let of_customer = customer.clone();
        let decide = move |tx: &Tx<'_>| {
            let pending = match tx.head(&lane)? {
                Head::Empty => return Ok(Claim::Rest(Rest::Idle)),
                Head::NotBefore(due) => {
                    return Ok(Claim::Rest(Rest::Until { due, waits_for_platform: false }));
                }
                Head::Ready(pending) => pending,
                Head::Unreadable(id) => {
                    tx.set_aside(id)?;
                    return Ok(Claim::Settled { state: State::Unreadable, has_notice: false });
                }
            };
            if pending.attached != AttachState::Detached {
                return settle_attached(tx, &bridge, &pending, random);
            }
            let is_too_old = ages_count && tx.now().since(pending.waits_from()) > MESSAGE_RETENTION_MS;
            if pending.unsettled && is_too_old {
                let why = bridge.end_reason_text(EndReason::WaitedTooLong);
                let (state, has_notice) =
                    settle_without_attempt(tx, &bridge, &pending, Move::MarkUnknown, why, random)?;
                return Ok(Claim::Settled { state, has_notice });
            }
            if pending.unsettled {
                let joined = tx.rest_of_burst(&pending)?;
                return Ok(Claim::Unsettled { pending, joined });
            }
            if is_too_old {
                let why = bridge.end_reason_text(EndReason::WaitedTooLong);
                let (state, has_notice) =
                    settle_without_attempt(tx, &bridge, &pending, Move::Refuse, why, random)?;
                return Ok(Claim::Settled { state, has_notice });
            }
            if let Some(due) = bridge.backfill_wait_until(tx, &pending)? {
                return Ok(Claim::BeforeBackfill(due));
            }
            if let Some(due) = Bridge::reply_wait_until(tx, &pending)? {
                return Ok(Claim::Rest(Rest::Until { due, waits_for_platform: false }));
            }
            // A payload that was prepared for another head is dropped.
            let payload = match &prepared {
                Some(prepared) if prepared.is_of(&pending) => Some(prepared.payload.clone()),
                _ => (!pending.call.needs_preparation()).then_some(Payload::AsAccepted),
            };
            // The send is reserved in the transaction that records the attempt. A preparation
            // reserves nothing; it only must not begin for a message that is held anyway.
            let reservation = match payload {
                Some(_) => bridge.reserve_send(tx, &pending)?,
                None => bridge.hold_reason(tx, &pending)?.into(),
            };
            let (tells_budget, joined) = match reservation {
                Reservation::Granted { tells_budget, joined } => (tells_budget, joined),
                Reservation::BeforeBackfill(due) => return Ok(Claim::BeforeBackfill(due)),
                Reservation::Waits(due) => {
                    return Ok(Claim::Rest(Rest::Until { due, waits_for_platform: false }));
                }
                Reservation::Withheld(hold_reason) => {
                    let why = bridge.hold_reason_text(hold_reason);
                    let transition = if pending.kind.is_now_or_never() { Move::Refuse } else { Move::Hold };
                    let (state, has_notice) =
                        settle_without_attempt(tx, &bridge, &pending, transition, &why, random)?;
                    return Ok(Claim::Settled { state, has_notice });
                }
            };
            let Some(mut payload) = payload else { return Ok(Claim::Prepare(pending)) };
            if !joined.is_empty() {
                payload = Payload::Text { text: Bridge::burst_text(&pending, &joined), notice: None };
            }
            let attempt = Attempt { pending: *pending, joined, payload, tells_budget };
            attempt.record(tx)?;
            Ok(Claim::Attempt(Box::new(attempt)))
        };
        let read_and_decide = move |tx: &Tx<'_>| {
            let found = if reads_account { tx.customer(&of_customer)? } else { None };
            Ok((decide(tx)?, found.as_ref().map(Account::of)))
        };
        let (claim, account) = self.store.write_foreseen(scope, foresee, read_and_decide).await?;
        if let Some(account) = account {
            self.bridge.accounts().insert(&customer, account);
        }
        Ok(claim)
    }

    /// Makes the recorded attempt and records its outcome.
    async fn attempt(&self, attempt: Attempt) -> Result<Next, StoreError> {
        let span = attempt_span(&attempt.pending, attempt.pending.attempts + 1);
        self.send(attempt).instrument(span).await
    }

    async fn send(&self, attempt: Attempt) -> Result<Next, StoreError> {
        let Attempt { pending, payload, .. } = &attempt;
        for line in attempt.lines().filter(|line| !line.call.needs_preparation()) {
            self.record_pickup(line);
        }
        let started = self.clock.now();
        let is_burst = !attempt.joined.is_empty();
        fail_point!("outbox.recorded");
        if is_burst {
            fail_point!("burst.recorded");
        }
        let verdict = self.courier.send(pending, payload).await;
        fail_point!("outbox.called");
        if is_burst {
            fail_point!("burst.called");
        }
        let took_ms = self.clock.now().since(started);
        self.update_breaker(&verdict);
        let next = self.settle(attempt, verdict, took_ms).await;
        fail_point!("outbox.settled");
        if is_burst {
            fail_point!("burst.settled");
        }
        next
    }

    fn record_pickup(&self, pending: &PendingCall) {
        if pending.attempts == 0 && pending.call_index == 0 {
            self.metrics.record_pickup(pending.lane.direction, self.clock.now().since(pending.waits_from()));
        }
    }

    fn update_breaker(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Retry { class, why, .. } if class.is_platform_wide() => {
                self.breaker.record_failure(self.clock.now(), why);
            }
            // The platform was not asked.
            Verdict::Retry { class: FailureClass::LeaseOver, .. } => self.breaker.release_probe(),
            Verdict::Unsettled { why } | Verdict::Unknown { why, .. } => {
                self.breaker.record_failure(self.clock.now(), why);
            }
            _ => self.breaker.record_success(),
        }
    }

    fn signal_notice(&self, lane: &Lane, has_notice: bool) {
        if has_notice {
            self.work_signal.notify(Lane { direction: Direction::ToIm, customer: lane.customer.clone() });
        }
    }
}

/// How long to wait after an unanswered attempt before the platform is asked, milliseconds. `rounds`:
/// how often it has been asked before.
fn resolve_delay_ms(rounds: u32) -> i64 {
    steady_delay_ms(rounds + 1, rand::rng().random()).max(RESOLVE_DELAY_MS)
}

#[cfg(test)]
mod tests;
