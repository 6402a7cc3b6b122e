//! Attempts whose outcome is not known: the platform is asked whether the message arrived, in rounds
//! of growing distance, until it says so or the rounds are used up.

use std::time::Duration;

use rand::RngExt as _;

use super::settle::{is_skippable, settle_without_attempt, skip_call};
use super::{Attempt, LaneWorker, Next, RESOLVE_DELAY_MS, Rest, in_millis, resolve_delay_ms};
use crate::bridge::notice::EndReason;
use crate::clock::millis;
use crate::model::{FailureClass, Millis, Move, Resolution, State, Verdict};
use crate::store::{PendingCall, Scope, StoreError, Tx};
use crate::upstream::delay_ms;

/// What is known of an unsettled attempt.
#[derive(Debug)]
pub(super) enum Resolved {
    /// It is settled, or the platform will be asked later.
    Next(Next),
    /// The platform does not have the message. A new attempt has been recorded and must be made now.
    NotDelivered(Box<PendingCall>),
}

/// The result of recording a round.
enum Round {
    /// An operator acted on the message meanwhile.
    Dropped,
    /// The message may be sent again.
    Again,
    /// The rounds are used up for a call that is optional: the next one follows.
    Skipped,
    /// The rounds are used up. `has_notice`: the agent gets a notice.
    UsedUp { has_notice: bool },
}

impl LaneWorker {
    /// Finds out the outcome of an unsettled attempt, and records it. If the platform does not have
    /// the message, records a new attempt, which the caller makes.
    ///
    /// `joined`: the lines that the attempt also sent. `owned_for`: how long this instance has had the lane, if another may have had it before. By its own clock, whose
    /// attempt may seem older here than it is.
    pub(super) async fn resolve(
        &self,
        mut pending: PendingCall,
        joined: Vec<PendingCall>,
        owned_for: Option<Duration>,
    ) -> Result<Resolved, StoreError> {
        let too_new =
            owned_for.map(|owned_for| RESOLVE_DELAY_MS - millis(owned_for)).filter(|wait| *wait > 0);
        if let Some(wait_ms) = too_new {
            self.breaker.release_probe();
            let due = self.clock.now().plus(wait_ms);
            return Ok(Resolved::Next(Next::Rest(Rest::Until { due, waits_for_platform: false })));
        }
        let ready_at = pending.attempt_at.plus(RESOLVE_DELAY_MS);
        if self.clock.now() < pending.attempt_at {
            // The clock was set back, so `ready_at` may be hours away and the age of the attempt is
            // not known.
            tokio::time::sleep(Duration::from_millis(RESOLVE_DELAY_MS.unsigned_abs())).await;
        } else if self.clock.now() < ready_at {
            self.breaker.release_probe();
            return Ok(Resolved::Next(Next::Rest(Rest::Until { due: ready_at, waits_for_platform: false })));
        }
        let started = self.clock.now();
        let verdict = match self.courier.resolve(&pending).await {
            Resolution::Delivered => Verdict::Delivered,
            Resolution::NotDelivered => {
                self.breaker.record_success();
                return match self.finish_round(&pending, true).await? {
                    Round::Again => {
                        tracing::info!("the platform does not have the message; it is sent again");
                        pending.rounds += 1;
                        Ok(Resolved::NotDelivered(Box::new(pending)))
                    }
                    round => Ok(Resolved::Next(self.round_ended(&pending, &round))),
                };
            }
            Resolution::AskLater { class, pause, why } => {
                return self.ask_later(pending, class, pause, &why).await.map(Resolved::Next);
            }
            Resolution::Refused { why } => {
                self.breaker.record_success();
                return match self.finish_round(&pending, false).await? {
                    Round::Again => {
                        pending.rounds += 1;
                        let wait_ms = resolve_delay_ms(pending.rounds);
                        self.ask_again(&pending, FailureClass::Busy, wait_ms, &why).await.map(Resolved::Next)
                    }
                    round => Ok(Resolved::Next(self.round_ended(&pending, &round))),
                };
            }
            Resolution::Undecidable => {
                self.breaker.release_probe();
                Verdict::Unknown {
                    no_answer: None,
                    why: self.bridge.end_reason_text(EndReason::Interrupted).to_owned(),
                }
            }
        };
        fail::fail_point!("outbox.found");
        let took_ms = self.clock.now().since(started);
        if verdict == Verdict::Delivered {
            self.breaker.record_success();
        }
        let attempt = Attempt { joined, ..Attempt::from(pending) };
        self.settle(attempt, verdict, took_ms).await.map(Resolved::Next)
    }

    /// Records that the platform answered and that the message is not there, or that it refuses to
    /// say. With `attempt_again`, records the next attempt too, unless the rounds are used up.
    async fn finish_round(&self, pending: &PendingCall, attempt_again: bool) -> Result<Round, StoreError> {
        let (bridge, pending, max) = (self.bridge.clone(), pending.clone(), self.limits.unknown_after);
        let (scope, random) = (Scope::lane(&pending.lane), rand::rng().random());
        let record = move |tx: &Tx<'_>| {
            if tx.current(&pending)?.is_none() {
                return Ok(Round::Dropped);
            }
            tx.record_round(pending.id)?;
            if max.is_some_and(|max| pending.rounds + 1 >= max.get()) {
                if is_skippable(&pending) {
                    skip_call(tx, &pending, bridge.end_reason_text(EndReason::Unanswered))?;
                    return Ok(Round::Skipped);
                }
                let why = bridge.end_reason_text(EndReason::Unanswered);
                let (_, has_notice) =
                    settle_without_attempt(tx, &bridge, &pending, Move::MarkUnknown, why, random)?;
                return Ok(Round::UsedUp { has_notice });
            }
            if attempt_again {
                tx.record_attempt(&pending)?;
            }
            Ok(Round::Again)
        };
        self.store.write_for(scope, record).await
    }

    fn round_ended(&self, pending: &PendingCall, round: &Round) -> Next {
        if let Round::UsedUp { has_notice } = round {
            tracing::warn!(
                rounds = pending.rounds + 1,
                has_notice,
                "the platform answers no send of the message and does not have it; it ends as unknown"
            );
            self.metrics.ended(pending.lane.direction, State::Unknown);
            self.signal_notice(&pending.lane, *has_notice);
        }
        Next::Head
    }

    /// The platform cannot say now whether the message arrived. This is no round.
    async fn ask_later(
        &self,
        pending: PendingCall,
        class: FailureClass,
        pause: Option<Duration>,
        why: &str,
    ) -> Result<Next, StoreError> {
        if class.is_platform_wide() {
            self.breaker.record_failure(self.clock.now(), why);
        } else {
            self.breaker.release_probe();
        }
        let wait_ms = delay_ms(pending.attempts.max(1), rand::rng().random()).max(in_millis(pause));
        self.ask_again(&pending, class, wait_ms, why).await
    }

    async fn ask_again(
        &self,
        pending: &PendingCall,
        class: FailureClass,
        wait_ms: i64,
        why: &str,
    ) -> Result<Next, StoreError> {
        let is_platform_wide = class.is_platform_wide();
        let due = self.clock.now().plus(wait_ms);
        let due_at = if is_platform_wide { Millis(0) } else { due };
        tracing::warn!(
            class = class.name(),
            %why,
            wait_ms,
            "could not find out whether the message arrived; the platform will be asked again"
        );
        let (pending, why) = (pending.clone(), format!("it is not yet known whether it arrived: {why}"));
        let scope = Scope::lane(&pending.lane);
        let reschedule = move |tx: &Tx<'_>| {
            if tx.current(&pending)?.is_none() {
                return Ok(());
            }
            tx.reschedule_resolve(pending.id, due_at, &why)
        };
        self.store.write_for(scope, reschedule).await?;
        Ok(Next::Rest(Rest::Until { due, waits_for_platform: is_platform_wide }))
    }
}
