//! One lane at work: claims its head, attempts it, settles it, then takes the next message, until
//! the lane is empty or must wait.

mod prepare;

use std::sync::Arc;
use std::time::Duration;

use fail::fail_point;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use super::backoff::delay_ms;
use super::breaker::Breaker;
use super::retention::MESSAGES_MS;
use super::{Courier, Form};
pub(super) use prepare::Places;
use prepare::Prepared;

use crate::bridge::notice::{EndReason, NoticeKind};
use crate::bridge::{Bridge, WorkSignal};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{
    Direction, FailureClass, HoldReason, Lane, MessageId, MessageKind, Millis, Move, OpenId, Resolution,
    State, Verdict,
};
use crate::store::{AttachState, Head, PendingCall, Settlement, Store, StoreError, Tx};

/// The most messages of one lane before it yields to the other lanes.
const TURN: usize = 32;
/// How long after an unanswered request its platform is asked for the outcome, milliseconds: it may
/// still be working on it.
const SETTLING_MS: i64 = 1_000;
/// How long a lane rests when the store fails, milliseconds.
const STORE_REST_MS: i64 = 500;

/// Why a lane stops working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// The lane is empty.
    Idle,
    /// The lane has more work, but other lanes go first.
    Turn,
    /// The lane must wait until `due`, or, with `platform`, until the platform is back if that is
    /// earlier.
    Until {
        /// When to continue.
        due: Millis,
        /// The platform, not the message, is the obstacle.
        platform: bool,
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
    pub bell: WorkSignal,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
    /// The circuit breaker of the platform.
    pub breaker: Breaker,
    /// The permits to prepare calls.
    pub places: Places,
    /// Cancelled when the bridge stops.
    pub stop: CancellationToken,
}

/// The result of claiming the head of a lane.
#[derive(Debug)]
enum Look {
    /// The call must be prepared first; no attempt has been recorded.
    Prepare(Box<PendingCall>),
    /// An attempt has been recorded and must be made now.
    Attempt(Box<PendingCall>, Form),
    /// Earlier answers may be missing: wait until this time, unless the backfill of the
    /// conversation ends earlier.
    Unlooked(Millis),
    /// The outcome of an earlier attempt is not known.
    Unsettled(Box<PendingCall>),
    /// The head was settled without an attempt. `has_notice`: the agent gets a notice.
    Settled { state: State, told: bool },
    /// There is nothing to do now.
    Rest(Rest),
}

/// The next step of the lane.
#[derive(Debug)]
enum Next {
    /// Claim the head again, which may be the next message.
    Head,
    /// Claim the head again, with its prepared call.
    Prepared(Prepared),
    /// Stop working on the lane.
    Rest(Rest),
}

/// The outcome of an attempt, to be recorded.
#[derive(Clone, Debug)]
struct Outcome {
    what: Move,
    settled: Settlement,
    because: Option<HoldReason>,
    /// The reason as the agent reads it; `None`: the recorded reason.
    words: Option<String>,
    said: &'static str,
}

impl Outcome {
    fn of(what: Move, said: &'static str, why: Option<String>) -> Self {
        let settled = Settlement { why, ..Settlement::default() };
        Self { what, settled, because: None, words: None, said }
    }
}

impl LaneWorker {
    /// Works on `lane` until it rests.
    pub(super) async fn work(self: Arc<Self>, lane: Lane) -> Rest {
        let mut prepared = None;
        for _ in 0..TURN {
            if self.stop.is_cancelled() {
                return Rest::Stopped;
            }
            match self.next(&lane, prepared.take()).await {
                Ok(Next::Head) => {}
                Ok(Next::Prepared(ready)) => prepared = Some(ready),
                Ok(Next::Rest(rest)) => return rest,
                Err(error) => {
                    tracing::warn!(%error, "a lane cannot use the store; it tries again in half a second");
                    let due = self.clock.now().plus(STORE_REST_MS);
                    return Rest::Until { due, platform: false };
                }
            }
        }
        Rest::Turn
    }

    /// Claims the head and carries out its next step.
    async fn next(&self, lane: &Lane, prepared: Option<Prepared>) -> Result<Next, StoreError> {
        if let Err(due) = self.breaker.admit(self.clock.now()) {
            return Ok(Next::Rest(Rest::Until { due, platform: true }));
        }
        match self.look(lane, prepared).await.inspect_err(|_| self.breaker.unused())? {
            Look::Rest(rest) => {
                self.breaker.unused();
                Ok(Next::Rest(rest))
            }
            Look::Unlooked(due) => {
                self.breaker.unused();
                self.bridge.request_backfill(lane);
                Ok(Next::Rest(Rest::Until { due, platform: false }))
            }
            Look::Settled { state, told } => {
                self.breaker.unused();
                self.metrics.ended(lane.direction, state);
                self.ring_for_note(lane, told);
                Ok(Next::Head)
            }
            Look::Prepare(owed) => {
                // A preparation may take long, so let the call of another lane be the probe.
                self.breaker.unused();
                self.prepare(*owed).await
            }
            Look::Attempt(owed, form) => self.attempt(*owed, form).await,
            Look::Unsettled(owed) => self.find(*owed).await,
        }
    }

    async fn look(&self, lane: &Lane, prepared: Option<Prepared>) -> Result<Look, StoreError> {
        let (bridge, lane) = (self.bridge.clone(), lane.clone());
        let random = rand::rng().random();
        self.store
            .write(move |tx| {
                let owed = match tx.head(&lane)? {
                    Head::Empty => return Ok(Look::Rest(Rest::Idle)),
                    Head::NotBefore(due) => {
                        return Ok(Look::Rest(Rest::Until { due, platform: false }));
                    }
                    Head::Ready(owed) => owed,
                };
                if owed.attached != AttachState::Detached {
                    return ridden(tx, &bridge, &owed, random);
                }
                let is_too_old = tx.now().since(owed.created_at) > MESSAGES_MS;
                if owed.unsettled && is_too_old {
                    let why = bridge.end_reason_text(EndReason::WaitedTooLong);
                    let told = end(tx, &bridge, &owed, Move::MarkUnknown, why, random)?;
                    return Ok(Look::Settled { state: State::Unknown, told });
                }
                if owed.unsettled {
                    return Ok(Look::Unsettled(owed));
                }
                if is_too_old {
                    let why = bridge.end_reason_text(EndReason::WaitedTooLong);
                    let told = end(tx, &bridge, &owed, Move::Refuse, why, random)?;
                    return Ok(Look::Settled { state: State::Refused, told });
                }
                if let Some(due) = bridge.backfill_wait_until(tx, &owed)? {
                    return Ok(Look::Unlooked(due));
                }
                if let Some(due) = bridge.reply_wait_until(tx, &owed)? {
                    return Ok(Look::Rest(Rest::Until { due, platform: false }));
                }
                let form = match &prepared {
                    Some(prepared) if prepared.is_of(&owed) => Some(prepared.form.clone()),
                    _ => (!owed.call.needs_preparation()).then_some(Form::AsAccepted),
                };
                let withheld = match form {
                    Some(_) => bridge.reserve_send(tx, &owed)?,
                    None => bridge.hold_reason(tx, &owed)?,
                };
                if let Some(because) = withheld {
                    let why = bridge.hold_reason_text(because);
                    let told = end(tx, &bridge, &owed, Move::Hold, &why, random)?;
                    return Ok(Look::Settled { state: State::Held, told });
                }
                let Some(form) = form else { return Ok(Look::Prepare(owed)) };
                tx.record_attempt(owed.id)?;
                Ok(Look::Attempt(owed, form))
            })
            .await
    }

    async fn attempt(&self, owed: PendingCall, form: Form) -> Result<Next, StoreError> {
        if !owed.call.needs_preparation() {
            self.picked_up(&owed);
        }
        let started = self.clock.now();
        fail_point!("outbox.recorded");
        let verdict = self.courier.send(&owed, &form).await;
        fail_point!("outbox.called");
        let took_ms = self.clock.now().since(started);
        self.judge(&verdict);
        let next = self.settle(owed, form, verdict, took_ms).await;
        fail_point!("outbox.settled");
        next
    }

    /// Finds out the outcome of an unsettled attempt, and continues from there.
    async fn find(&self, owed: PendingCall) -> Result<Next, StoreError> {
        let ready_at = owed.attempt_at.plus(SETTLING_MS);
        if self.clock.now() < owed.attempt_at {
            // The clock was set back, so `ready_at` may be hours away and the age of the attempt is
            // not known.
            tokio::time::sleep(Duration::from_millis(SETTLING_MS.unsigned_abs())).await;
        } else if self.clock.now() < ready_at {
            self.breaker.unused();
            return Ok(Next::Rest(Rest::Until { due: ready_at, platform: false }));
        }
        let started = self.clock.now();
        let verdict = match self.courier.find(&owed).await {
            Resolution::Delivered => Verdict::Delivered,
            Resolution::NotDelivered => {
                self.breaker.succeeded();
                let id = owed.id;
                self.store.write(move |tx| tx.record_attempt(id)).await?;
                return self.attempt(owed, Form::AsAccepted).await;
            }
            Resolution::AskLater { class, pause, why } => {
                let platform = class.is_platform_wide();
                if platform {
                    self.breaker.failed(self.clock.now(), &why);
                } else {
                    self.breaker.unused();
                }
                let wait_ms = delay_ms(owed.attempts.max(1), rand::rng().random()).max(in_millis(pause));
                let due = self.clock.now().plus(wait_ms);
                let due_at = if platform { Millis(0) } else { due };
                let why = format!("it is not yet known whether it arrived: {why}");
                self.store.write(move |tx| tx.reschedule_resolve(owed.id, due_at, &why)).await?;
                return Ok(Next::Rest(Rest::Until { due, platform }));
            }
            Resolution::Undecidable => {
                self.breaker.unused();
                Verdict::Unknown {
                    no_answer: None,
                    why: self.bridge.end_reason_text(EndReason::Interrupted).to_owned(),
                }
            }
        };
        fail_point!("outbox.found");
        let took_ms = self.clock.now().since(started);
        if verdict == Verdict::Delivered {
            self.breaker.succeeded();
        }
        self.settle(owed, Form::AsAccepted, verdict, took_ms).await
    }

    fn picked_up(&self, owed: &PendingCall) {
        if owed.attempts == 0 && owed.call_index == 0 {
            self.metrics.record_pickup(owed.lane.direction, self.clock.now().since(owed.created_at));
        }
    }

    fn judge(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Retry { class, why, .. } if class.is_platform_wide() => {
                self.breaker.failed(self.clock.now(), why);
            }
            Verdict::Unsettled { why } | Verdict::Unknown { why, .. } => {
                self.breaker.failed(self.clock.now(), why);
            }
            _ => self.breaker.succeeded(),
        }
    }

    /// Records the outcome of an attempt.
    async fn settle(
        &self,
        owed: PendingCall,
        form: Form,
        verdict: Verdict,
        took_ms: i64,
    ) -> Result<Next, StoreError> {
        let direction = owed.lane.direction;
        let wait_ms = delay_ms(owed.attempts + 1, rand::rng().random());
        let outcome = match verdict {
            Verdict::Unsettled { why } => {
                tracing::warn!(
                    message.id = %owed.id,
                    %why,
                    "a send got no answer; the platform will be asked whether it arrived"
                );
                let due = owed.attempt_at.plus(SETTLING_MS).max(self.clock.now().plus(SETTLING_MS));
                self.store
                    .write(move |tx| {
                        // The platform must not be asked too early, even if the lane is woken
                        // before.
                        tx.postpone(owed.id, due, &why)?;
                        tx.record_step(
                            &owed.lane.customer,
                            Some(owed.id),
                            owed.api_name(),
                            &why,
                            Some(took_ms),
                        )
                    })
                    .await?;
                return Ok(Next::Rest(Rest::Until { due, platform: false }));
            }
            Verdict::Delivered if owed.call_index + 1 < owed.call_count => Outcome {
                settled: Settlement { call_done: true, ..Settlement::default() },
                ..Outcome::of(Move::Requeue, "delivered in part", None)
            },
            Verdict::Delivered => Outcome::of(Move::Deliver, "delivered", None),
            Verdict::Retry { class, pause, why } => {
                self.metrics.retried(direction, class);
                tracing::warn!(
                    message.id = %owed.id,
                    class = class.name(),
                    %why,
                    "an attempt failed; it will be retried"
                );
                return self.put_back(owed, class, why, wait_ms.max(in_millis(pause)), took_ms).await;
            }
            Verdict::Hold { hold_reason: because, why } => Outcome {
                because: Some(because),
                words: Some(self.bridge.hold_reason_text(because)),
                ..Outcome::of(Move::Hold, "held", Some(why))
            },
            Verdict::Refuse { why } => Outcome::of(Move::Refuse, "refused", Some(why)),
            Verdict::Unknown { no_answer: silence, why } => Outcome {
                words: silence.map(|silence| self.bridge.no_answer_text(silence)),
                ..Outcome::of(Move::MarkUnknown, "unknown", Some(why))
            },
        };
        let as_link = match form {
            Form::Text { why, .. } if matches!(outcome.said, "delivered" | "delivered in part") => why,
            _ => None,
        };
        self.write_outcome(owed, outcome, as_link, took_ms).await?;
        Ok(Next::Head)
    }

    async fn put_back(
        &self,
        owed: PendingCall,
        class: FailureClass,
        why: String,
        wait_ms: i64,
        took_ms: i64,
    ) -> Result<Next, StoreError> {
        let platform = class.is_platform_wide();
        let next = if class.retry_now() { 0 } else { wait_ms };
        let due = self.clock.now().plus(next);
        let bridge = self.bridge.clone();
        self.store
            .write(move |tx| {
                bridge.refund_send(tx, &owed)?;
                let due_at = if platform { Millis(0) } else { due };
                let settled = Settlement { why: Some(why.clone()), due_at, call_done: false };
                tx.settle(owed.id, Move::Requeue, &settled)?;
                tx.record_step(&owed.lane.customer, Some(owed.id), owed.api_name(), &why, Some(took_ms))
            })
            .await?;
        Ok(if next == 0 { Next::Head } else { Next::Rest(Rest::Until { due, platform }) })
    }

    /// `as_link`: why the file was sent as a text with a link, if the agent should know.
    async fn write_outcome(
        &self,
        owed: PendingCall,
        outcome: Outcome,
        as_link: Option<String>,
        took_ms: i64,
    ) -> Result<(), StoreError> {
        let (bridge, lane, created_at) = (self.bridge.clone(), owed.lane.clone(), owed.created_at);
        let (what, kind) = (outcome.what, owed.kind);
        let random = rand::rng().random();
        let (state, told) = self
            .store
            .write(move |tx| {
                if let Some(because) = outcome.because {
                    bridge.record_hold(tx, &owed, because)?;
                }
                match outcome.what {
                    Move::Deliver => bridge.record_delivered(tx, &owed)?,
                    // WeChat does not count a message that it refuses.
                    Move::Refuse => bridge.refund_send(tx, &owed)?,
                    _ => {}
                }
                let why = outcome.settled.why.as_deref();
                let told = match (outcome.words.as_deref().or(why), &as_link) {
                    (Some(why), _) => tell(tx, &bridge, &owed, outcome.what, why, random)?,
                    (None, Some(why)) => {
                        bridge.notify_agent(tx, &owed, &NoticeKind::AsLink { why }, random)?
                    }
                    (None, None) => false,
                };
                let detail =
                    why.map_or_else(|| outcome.said.to_owned(), |why| format!("{}: {why}", outcome.said));
                let state = tx.settle(owed.id, outcome.what, &outcome.settled)?;
                tx.record_step(&owed.lane.customer, Some(owed.id), owed.api_name(), &detail, Some(took_ms))?;
                Ok((state, told))
            })
            .await?;
        match state {
            State::Delivered if kind == MessageKind::Message => {
                self.metrics.record_delivered(lane.direction, self.clock.now().since(created_at));
            }
            state if state.is_open() || kind != MessageKind::Message => {}
            state => self.metrics.ended(lane.direction, state),
        }
        if what == Move::Refuse && kind != MessageKind::Message {
            tracing::error!(
                lane = lane.direction.name(),
                "the platform refused an account call, a notice or a transfer; it will not be retried"
            );
        }
        self.ring_for_note(&lane, told);
        Ok(())
    }

    fn ring_for_note(&self, lane: &Lane, told: bool) {
        if told {
            self.bell.notify(Lane { direction: Direction::ToIm, customer: lane.customer.clone() });
        }
    }
}

/// Refuses an answer that was held for too long. Returns its customer, and whether the agent gets a
/// notice.
pub(super) fn refuse_held(
    tx: &Tx<'_>,
    bridge: &Bridge,
    id: MessageId,
    random: u32,
) -> Result<(OpenId, bool), StoreError> {
    let owed = tx.pending_call(id)?;
    let told = end(tx, bridge, &owed, Move::Refuse, bridge.end_reason_text(EndReason::HeldTooLong), random)?;
    Ok((owed.lane.customer, told))
}

/// Settles an answer whose passive reply was not confirmed in time.
fn ridden(tx: &Tx<'_>, bridge: &Bridge, owed: &PendingCall, random: u32) -> Result<Look, StoreError> {
    let (what, state, why) = match owed.attached {
        // The agent already got the notice that it is held, and it still is.
        AttachState::NotSent => (Move::Hold, State::Held, "WeChat did not take the reply that contained it"),
        _ => (Move::MarkUnknown, State::Unknown, bridge.end_reason_text(EndReason::InterruptedReply)),
    };
    let told = if what == Move::Hold {
        tx.settle(owed.id, what, &Settlement { why: Some(why.to_owned()), ..Settlement::default() })?;
        false
    } else {
        end(tx, bridge, owed, what, why, random)?
    };
    Ok(Look::Settled { state, told })
}

/// Settles a message without an attempt. Returns whether the agent gets a notice.
fn end(
    tx: &Tx<'_>,
    bridge: &Bridge,
    owed: &PendingCall,
    what: Move,
    why: &str,
    random: u32,
) -> Result<bool, StoreError> {
    let told = tell(tx, bridge, owed, what, why, random)?;
    tx.settle(owed.id, what, &Settlement { why: Some(why.to_owned()), ..Settlement::default() })?;
    tx.record_step(&owed.lane.customer, Some(owed.id), "settled", why, None)?;
    Ok(told)
}

fn in_millis(pause: Option<Duration>) -> i64 {
    pause.map_or(0, |pause| i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}

fn tell(
    tx: &Tx<'_>,
    bridge: &Bridge,
    owed: &PendingCall,
    what: Move,
    why: &str,
    random: u32,
) -> Result<bool, StoreError> {
    let news = match what {
        Move::Hold => NoticeKind::Held { why },
        Move::Refuse => NoticeKind::Refused { why },
        Move::MarkUnknown => NoticeKind::Unknown { why },
        _ => return Ok(false),
    };
    bridge.notify_agent(tx, owed, &news, random)
}
