//! The outcomes of a lane's messages: what is recorded, who gets a notice, and how the lane goes on.

use std::time::Duration;

use rand::RngExt as _;

use super::outcome::{Outcome, log_outcome};
use super::record::{
    Recorded, Requeued, drop_outcome, notify_agent, notify_of_recall, record_attempt_step, record_failure,
    record_outcome,
};
use super::{Attempt, Claim, LaneWorker, Next, Rest, resolve_delay_ms};
use crate::bridge::Bridge;
use crate::bridge::notice::EndReason;
use crate::model::{FailureClass, MessageId, MessageKind, Millis, Move, OpenId, State, Verdict};
use crate::outbox::{Payload, TextNotice};
use crate::store::{AttachState, PendingCall, Scope, Settlement, StoreError, Tx};
use crate::upstream::delay_ms;

impl LaneWorker {
    /// Records the outcome of an attempt.
    pub(super) async fn settle(
        &self,
        attempt: Attempt,
        verdict: Verdict,
        took_ms: i64,
    ) -> Result<Next, StoreError> {
        let Attempt { pending, joined, payload, tells_budget } = attempt;
        let (direction, scope) = (pending.lane.direction, Scope::lane(&pending.lane));
        let wait_ms = delay_ms(pending.attempts + 1, rand::rng().random());
        let verdict = match verdict {
            Verdict::Refuse { why } | Verdict::Unknown { why, .. } if is_skippable(&pending) => {
                return self.skip(pending, why).await;
            }
            verdict => verdict,
        };
        let mut outcome = match verdict {
            Verdict::Unsettled { why } => {
                tracing::warn!(
                    %why,
                    took_ms,
                    "the platform did not answer the send; it will be asked whether the message arrived"
                );
                let due = self.clock.now().plus(resolve_delay_ms(pending.rounds));
                let postpone = move |tx: &Tx<'_>| {
                    if tx.current(&pending)?.is_none() {
                        return drop_outcome(tx, &pending, &why, took_ms).map(|()| false);
                    }
                    // The platform must not be asked too early, even if the lane is woken before.
                    tx.postpone(pending.id, due, &why)?;
                    record_attempt_step(tx, &pending, &why, took_ms)?;
                    Ok(true)
                };
                if !self.store.write_for(scope, postpone).await? {
                    return Ok(Next::Head);
                }
                return Ok(Next::Rest(Rest::Until { due, waits_for_platform: false }));
            }
            Verdict::Delivered if pending.call_index + 1 < pending.call_count => Outcome {
                settlement: Settlement { call_done: true, ..Settlement::default() },
                ..Outcome::new(Move::Requeue, "delivered in part", None)
            },
            Verdict::Delivered => Outcome::new(Move::Deliver, "delivered", None),
            Verdict::Retry { class, why, .. } if self.gives_up(&pending, class) => Outcome {
                agent_reason: Some(self.bridge.end_reason_text(EndReason::NoAccount).to_owned()),
                ..Outcome::new(Move::Refuse, "refused", Some(why))
            },
            Verdict::Retry { class, pause, why } => {
                self.metrics.retried(direction, class);
                tracing::warn!(
                    class = class.name(),
                    %why,
                    took_ms,
                    "the attempt failed; it will be retried"
                );
                let lines = std::iter::once(pending).chain(joined).collect();
                return self.put_back(lines, class, why, wait_ms.max(in_millis(pause)), took_ms).await;
            }
            Verdict::Hold { hold_reason, why } if pending.kind.is_now_or_never() => {
                Outcome { hold_reason: Some(hold_reason), ..Outcome::new(Move::Refuse, "refused", Some(why)) }
            }
            Verdict::Hold { hold_reason, why } => Outcome {
                hold_reason: Some(hold_reason),
                agent_reason: Some(self.bridge.hold_reason_text(hold_reason)),
                ..Outcome::new(Move::Hold, "held", Some(why))
            },
            Verdict::Refuse { why } => Outcome::new(Move::Refuse, "refused", Some(why)),
            Verdict::Unknown { no_answer, why } => Outcome {
                agent_reason: no_answer.map(|kind| self.bridge.no_answer_text(kind)),
                ..Outcome::new(Move::MarkUnknown, "unknown", Some(why))
            },
        };
        outcome.tells_budget = tells_budget && pending.kind == MessageKind::Message;
        let as_text = match payload {
            Payload::Text { notice, .. } if matches!(outcome.label, "delivered" | "delivered in part") => {
                notice
            }
            _ => None,
        };
        self.record_outcome(std::iter::once(pending).chain(joined).collect(), outcome, as_text, took_ms).await
    }

    /// Records that the next call follows, whatever became of an optional one.
    async fn skip(&self, pending: PendingCall, why: String) -> Result<Next, StoreError> {
        tracing::warn!("the first line of a conversation did not reach the agent; its message follows");
        let scope = Scope::lane(&pending.lane);
        let skip = move |tx: &Tx<'_>| match tx.current(&pending)? {
            Some(_) => skip_call(tx, &pending, &why),
            None => Ok(()),
        };
        self.store.write_for(scope, skip).await.map(|()| Next::Head)
    }

    async fn put_back(
        &self,
        lines: Vec<PendingCall>,
        class: FailureClass,
        why: String,
        wait_ms: i64,
        took_ms: i64,
    ) -> Result<Next, StoreError> {
        let Some(lane) = lines.first().map(|first| first.lane.clone()) else { return Ok(Next::Head) };
        let is_platform_wide = class.is_platform_wide();
        let next = if class.retry_now() { 0 } else { wait_ms };
        let due = self.clock.now().plus(next);
        let (bridge, random) = (self.bridge.clone(), rand::rng().random());
        let due_at = if is_platform_wide { Millis(0) } else { due };
        let requeue = move |tx: &Tx<'_>| record_failure(tx, &bridge, &lines, (&why, due_at), took_ms, random);
        let Requeued { waits, recalled, has_notice } =
            self.store.write_for(Scope::lane(&lane), requeue).await?;
        (0..recalled).for_each(|_| self.metrics.ended(lane.direction, State::Recalled));
        self.signal_notice(&lane, has_notice);
        Ok(if next == 0 || !waits {
            Next::Head
        } else {
            Next::Rest(Rest::Until { due, waits_for_platform: is_platform_wide })
        })
    }

    /// Whether a failure that might pass is given up, because it has lasted for too long: that of a
    /// customer's account, and of a transfer, which would hold up all messages behind it.
    fn gives_up(&self, pending: &PendingCall, class: FailureClass) -> bool {
        let is_own_failure = match pending.kind {
            MessageKind::Account | MessageKind::Transfer => !class.is_platform_wide(),
            MessageKind::Message
            | MessageKind::Notice
            | MessageKind::Note
            | MessageKind::Rating
            | MessageKind::GroupMenu => class == FailureClass::NoAccount,
        };
        let waited_ms = self.clock.now().since(pending.waits_from());
        is_own_failure
            && class != FailureClass::LeaseOver
            && self.clock.is_trusted()
            && self.limits.give_up_ms.is_some_and(|limit_ms| waited_ms >= limit_ms)
    }

    /// `as_text`: what replaced the file, if the agent should know.
    async fn record_outcome(
        &self,
        lines: Vec<PendingCall>,
        outcome: Outcome,
        as_text: Option<TextNotice>,
        took_ms: i64,
    ) -> Result<Next, StoreError> {
        let Some(first) = lines.first().cloned() else { return Ok(Next::Head) };
        let (bridge, lane, transition, kind) =
            (self.bridge.clone(), first.lane.clone(), outcome.transition, first.kind);
        let random = rand::rng().random();
        let settled = self
            .store
            .write_foreseen(
                Scope::lane(&lane),
                move |tx| tx.foresee_outcome(&first),
                move |tx| record_outcome(tx, &bridge, &lines, &outcome, as_text.as_ref(), took_ms, random),
            )
            .await?;
        let Some(Recorded { states, has_notice, is_empty }) = settled else { return Ok(Next::Head) };
        for (state, waits_from) in &states {
            match state {
                State::Delivered if kind == MessageKind::Message => {
                    self.metrics.record_delivered(lane.direction, self.clock.now().since(*waits_from));
                }
                state if state.is_open() || kind != MessageKind::Message => {}
                state => self.metrics.ended(lane.direction, *state),
            }
            if *state == State::Recalled {
                tracing::info!(
                    lane = lane.direction.name(),
                    has_notice,
                    "the message is dropped: its agent recalled it"
                );
            } else {
                log_outcome(&lane, transition, kind, has_notice);
            }
        }
        self.signal_notice(&lane, has_notice);
        Ok(if is_empty { Next::Rest(Rest::Idle) } else { Next::Head })
    }
}

/// Whether the message is worth sending without this call.
pub(super) fn is_skippable(pending: &PendingCall) -> bool {
    pending.call.is_optional() && pending.call_index + 1 < pending.call_count
}

/// Goes on with the next call of a message, although nobody knows that this one arrived.
pub(super) fn skip_call(tx: &Tx<'_>, pending: &PendingCall, why: &str) -> Result<(), StoreError> {
    tx.settle(pending.id, Move::Requeue, &Settlement { call_done: true, ..Settlement::default() })?;
    let detail = format!("the message goes without its first line: {why}");
    tx.record_step(&pending.lane.customer, Some(pending.id), pending.call.api_name(), &detail, None)
}

/// Refuses an answer that was held for too long. Returns its customer, and whether the agent gets a
/// notice.
pub(in crate::outbox) fn refuse_held(
    tx: &Tx<'_>,
    bridge: &Bridge,
    id: MessageId,
    random: u32,
) -> Result<(OpenId, bool), StoreError> {
    let pending = match tx.pending_call(id) {
        Err(error) if error.is_unreadable() => {
            let customer = tx.lane_of(id)?.customer;
            return tx.set_aside(id).map(|()| (customer, false));
        }
        pending => pending?,
    };
    let (_, has_notice) = settle_without_attempt(
        tx,
        bridge,
        &pending,
        Move::Refuse,
        bridge.end_reason_text(EndReason::HeldTooLong),
        random,
    )?;
    Ok((pending.lane.customer, has_notice))
}

/// Settles an answer whose passive reply was not confirmed in time.
pub(super) fn settle_attached(
    tx: &Tx<'_>,
    bridge: &Bridge,
    pending: &PendingCall,
    random: u32,
) -> Result<Claim, StoreError> {
    let (state, has_notice) = if pending.attached == AttachState::NotSent {
        let why = Some("WeChat did not take the reply that contained it".to_owned());
        let was_recalled = tx.is_recall_requested(pending.id)?;
        let state = tx.settle(pending.id, Move::Hold, &Settlement { why, ..Settlement::default() })?;
        // The agent already got the notice that it is held, and it still is.
        let has_notice =
            was_recalled && notify_of_recall(tx, bridge, pending, state, pending.call_index > 0, random)?;
        (state, has_notice)
    } else {
        let why = bridge.end_reason_text(EndReason::InterruptedReply);
        settle_without_attempt(tx, bridge, pending, Move::MarkUnknown, why, random)?
    };
    Ok(Claim::Settled { state, has_notice })
}

/// Settles a message without an attempt. Returns its state, and whether the agent gets a notice.
pub(super) fn settle_without_attempt(
    tx: &Tx<'_>,
    bridge: &Bridge,
    pending: &PendingCall,
    transition: Move,
    why: &str,
    random: u32,
) -> Result<(State, bool), StoreError> {
    let was_recalled = tx.is_recall_requested(pending.id)?;
    let mut has_notice = !was_recalled && notify_agent(tx, bridge, &[pending], transition, why, random)?;
    let settlement = Settlement { why: Some(why.to_owned()), ..Settlement::default() };
    let state = tx.settle(pending.id, transition, &settlement)?;
    if was_recalled {
        has_notice = notify_of_recall(tx, bridge, pending, state, pending.call_index > 0, random)?;
    }
    tx.record_step(&pending.lane.customer, Some(pending.id), "settled", why, None)?;
    Ok((state, has_notice))
}

/// A pause that the platform asked for, in milliseconds; 0 if it asked for none.
pub(super) fn in_millis(pause: Option<Duration>) -> i64 {
    pause.map_or(0, crate::clock::millis)
}
