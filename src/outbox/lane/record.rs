//! Records what came of an attempt, in one transaction: the state of each message that the call sent, the notices and
//! the steps of its trace.
//!
//! A call sends one message, or the lines of a burst. Each of them has its own state, and an operator or its agent may
//! have acted on it meanwhile; they share the budget and the notice.

use super::outcome::Outcome;
use crate::bridge::notice::NoticeKind;
use crate::bridge::{Bridge, too_late_notice};
use crate::model::{Millis, Move, State};
use crate::outbox::TextNotice;
use crate::store::{PendingCall, Settlement, StoreError, Tx};

/// What was recorded of an attempt.
#[derive(Debug)]
pub(super) struct Recorded {
    /// The state of each message, and since when it had waited.
    pub states: Vec<(State, Millis)>,
    /// An agent gets a notice.
    pub has_notice: bool,
    /// Nothing else is pending in the lane.
    pub is_empty: bool,
}

/// What was recorded of an attempt that failed and may be repeated.
#[derive(Debug)]
pub(super) struct Requeued {
    /// A message waits for its next attempt.
    pub waits: bool,
    /// How many ended because their agent had recalled them.
    pub recalled: usize,
    /// An agent gets a notice.
    pub has_notice: bool,
}

/// Records the outcome of an attempt at `lines`; `None` if it counts for none of them. `as_text`: what replaced a file,
/// if the agent should know.
pub(super) fn record_outcome(
    tx: &Tx<'_>,
    bridge: &Bridge,
    lines: &[PendingCall],
    outcome: &Outcome,
    as_text: Option<&TextNotice>,
    took_ms: i64,
    random: u32,
) -> Result<Option<Recorded>, StoreError> {
    let why = outcome.settlement.why.as_deref();
    let mut detail = why.map_or_else(|| outcome.label.to_owned(), |why| format!("{}: {why}", outcome.label));
    if lines.len() > 1 {
        let numbers: Vec<String> = lines.iter().map(|line| format!("#{}", line.id)).collect();
        detail = format!("{detail} (one call with {})", numbers.join(", "));
    }
    let mut current = Vec::with_capacity(lines.len());
    for line in lines {
        match tx.current(line)? {
            Some(found) => current.push((line, found)),
            None => drop_outcome(tx, line, &detail, took_ms)?,
        }
    }
    // WeChat does not count a message that it refuses.
    if outcome.transition == Move::Refuse
        && let Some(first) = lines.first()
    {
        bridge.refund_send(tx, first)?;
    }
    let Some((first, _)) = current.first().copied() else { return Ok(None) };
    // Most lanes are empty then, and need no transaction of their own to find out.
    let has_other = lines.len() > 1 || tx.has_other_pending(first)?;
    if let Some(hold_reason) = outcome.hold_reason {
        bridge.record_hold(tx, first, hold_reason)?;
    }
    if outcome.transition == Move::Deliver {
        bridge.record_delivered(tx, first)?;
    }
    // About one that was recalled, the agent gets a notice of its own.
    let told: Vec<&PendingCall> =
        current.iter().filter(|(_, found)| !found.recall_requested).map(|(line, _)| *line).collect();
    let mut has_notice = match (outcome.agent_reason.as_deref().or(why), as_text) {
        (Some(why), _) => notify_agent(tx, bridge, &told, outcome.transition, why, random)?,
        (None, Some(notice)) => bridge.notify_agent_of_all(tx, &told, &notice.kind(), random)?,
        (None, None) => false,
    };
    if outcome.transition == Move::Deliver {
        let late: Vec<&PendingCall> =
            current.iter().filter(|(_, found)| found.wait_noticed).map(|(line, _)| *line).collect();
        let kind = NoticeKind::DeliveredLate;
        has_notice |= bridge.notify_agent_of_all(tx, &late, &kind, random.wrapping_add(1))?;
    }
    // Most messages are delivered and have nothing else to tell: their step needs no row.
    let is_plain = outcome.transition == Move::Deliver && why.is_none() && lines.len() == 1;
    let settlement = Settlement { took_ms: is_plain.then_some(took_ms), ..outcome.settlement.clone() };
    let mut states = Vec::with_capacity(current.len());
    for (line, found) in &current {
        let state = tx.settle(line.id, outcome.transition, &settlement)?;
        if found.recall_requested {
            let has_begun = line.call_index > 0 || outcome.settlement.call_done;
            has_notice |= notify_of_recall(tx, bridge, line, state, has_begun, random)?;
        }
        if !is_plain {
            record_attempt_step(tx, line, &detail, took_ms)?;
        }
        states.push((state, line.waits_from()));
    }
    if outcome.tells_budget && outcome.counts() {
        has_notice |= bridge.notify_budget(tx, first, random.wrapping_add(2))?;
    }
    // A notice that was added meanwhile is signalled.
    let is_empty = !has_other && states.iter().all(|(state, _)| !state.is_open());
    Ok(Some(Recorded { states, has_notice, is_empty }))
}

/// Records that an attempt at `lines` failed, and that they wait for the next one. `reason`: why, and when it is due.
pub(super) fn record_failure(
    tx: &Tx<'_>,
    bridge: &Bridge,
    lines: &[PendingCall],
    (why, due_at): (&str, Millis),
    took_ms: i64,
    random: u32,
) -> Result<Requeued, StoreError> {
    if let Some(first) = lines.first() {
        bridge.refund_send(tx, first)?;
    }
    let mut requeued = Requeued { waits: false, recalled: 0, has_notice: false };
    for line in lines {
        let Some(current) = tx.current(line)? else {
            drop_outcome(tx, line, why, took_ms)?;
            continue;
        };
        let settlement = Settlement { why: Some(why.to_owned()), due_at, ..Settlement::default() };
        let state = tx.settle(line.id, Move::Requeue, &settlement)?;
        requeued.waits |= state.is_open();
        requeued.recalled += usize::from(state == State::Recalled);
        if current.recall_requested {
            requeued.has_notice |= notify_of_recall(tx, bridge, line, state, line.call_index > 0, random)?;
        }
        record_attempt_step(tx, line, why, took_ms)?;
    }
    Ok(requeued)
}

/// Records in the trace what came of an attempt.
pub(super) fn record_attempt_step(
    tx: &Tx<'_>,
    pending: &PendingCall,
    detail: &str,
    took_ms: i64,
) -> Result<(), StoreError> {
    tx.record_step(&pending.lane.customer, Some(pending.id), pending.call.api_name(), detail, Some(took_ms))
}

/// Drops the outcome of an attempt, because an operator acted on the message meanwhile.
pub(super) fn drop_outcome(
    tx: &Tx<'_>,
    pending: &PendingCall,
    detail: &str,
    took_ms: i64,
) -> Result<(), StoreError> {
    record_attempt_step(tx, pending, &format!("the outcome no longer counts: {detail}"), took_ms)
}

/// Sends the agent a notice about a message that was recalled while it was being sent, if the customer has something of
/// it. Returns whether the agent gets one.
pub(super) fn notify_of_recall(
    tx: &Tx<'_>,
    bridge: &Bridge,
    pending: &PendingCall,
    state: State,
    has_begun: bool,
    random: u32,
) -> Result<bool, StoreError> {
    match too_late_notice(state, has_begun) {
        Some(kind) => bridge.notify_agent(tx, pending, &kind, random),
        None => Ok(false),
    }
}

/// Sends the agent a notice about messages that are held, refused or unknown, and shared a call. Returns whether the
/// agent gets one.
pub(super) fn notify_agent(
    tx: &Tx<'_>,
    bridge: &Bridge,
    lines: &[&PendingCall],
    transition: Move,
    why: &str,
    random: u32,
) -> Result<bool, StoreError> {
    let notice = match transition {
        Move::Hold => NoticeKind::Held { why },
        Move::Refuse => NoticeKind::Refused { why },
        Move::MarkUnknown => NoticeKind::Unknown { why },
        _ => return Ok(false),
    };
    bridge.notify_agent_of_all(tx, lines, &notice, random)
}
