//! The policy that the outbox asks while it sends: whether a call may go now, what WeChat's answer
//! means for the window, and which notice the agent gets.

use super::Bridge;
use super::burst::{self, Burst};
use super::media_link::{self, MediaUnavailable};
use super::notice::{self, EndReason, NoticeKind};
use super::passive_reply::AFTER_REPLY_MS;
use super::quota::{self, NoBudget};
use crate::config::{Locale, ReplyMode};
use crate::model::{
    Direction, HoldReason, ImUserId, MessageId, MessageKind, Millis, NoAnswer, OpenId, OutboundCall,
};
use crate::store::{Customer, MediaFetch, NewMessage, PendingCall, StoreError, Tx};

/// Whether a call may be made now.
#[derive(Clone, Debug, PartialEq)]
pub enum Reservation {
    /// It must be held.
    Withheld(HoldReason),
    /// Further lines may join it until this time.
    Waits(Millis),
    /// Lines that would come before those that join it may be missing: it waits until this time, unless the backfill of
    /// the conversation ends earlier.
    BeforeBackfill(Millis),
    /// It may be made.
    Granted {
        /// The agent is told what it leaves of the budget, if it is not refunded.
        tells_budget: bool,
        /// The lines behind it that the same call sends.
        joined: Vec<PendingCall>,
    },
}

impl From<Option<HoldReason>> for Reservation {
    fn from(reason: Option<HoldReason>) -> Self {
        reason.map_or(Self::Granted { tells_budget: false, joined: Vec::new() }, Self::Withheld)
    }
}

impl Bridge {
    /// Returns why a call would have to be held now, if so. Takes nothing from the customer's
    /// budget.
    pub fn hold_reason(&self, tx: &Tx<'_>, call: &PendingCall) -> Result<Option<HoldReason>, StoreError> {
        if call.lane.direction == Direction::ToIm {
            return Ok(None);
        }
        if tx.has_held_before(&call.lane.customer, call.id)? {
            return Ok(Some(HoldReason::EarlierHeld));
        }
        if !self.may_push(tx.now()) {
            return Ok(Some(HoldReason::NotAllowed));
        }
        let Some(customer) = tx.customer(&call.lane.customer)? else { return Ok(None) };
        Ok(quota::budget(&customer, tx.now()).err().map(to_hold_reason))
    }

    /// Takes one send from the customer's budget, unless the call must be held or waits for lines that may join it.
    pub fn reserve_send(&self, tx: &Tx<'_>, call: &PendingCall) -> Result<Reservation, StoreError> {
        let reason = self.hold_reason(tx, call)?;
        if reason.is_some() || call.lane.direction == Direction::ToIm {
            return Ok(reason.into());
        }
        let Some(mut customer) = tx.customer(&call.lane.customer)? else { return Ok(None.into()) };
        let joined = match self.burst(tx, &customer, call)? {
            Burst::Waits(until) => return Ok(Reservation::Waits(until)),
            Burst::BeforeBackfill(until) => return Ok(Reservation::BeforeBackfill(until)),
            Burst::Leaves(joined) => joined,
        };
        if let Err(no_budget) = quota::spend(&mut customer, tx.now()) {
            return Ok(Reservation::Withheld(to_hold_reason(no_budget)));
        }
        tx.put_customer(&customer)?;
        let tells_budget = quota::is_told(quota::budget(&customer, tx.now()));
        Ok(Reservation::Granted { tells_budget, joined })
    }

    /// The burst that begins with `call`. Reads nothing while enough sends are left.
    fn burst(&self, tx: &Tx<'_>, customer: &Customer, call: &PendingCall) -> Result<Burst, StoreError> {
        let now = tx.now();
        let rule = self.settings().merge.filter(|rule| rule.is_due(customer, now));
        let (Some(rule), Some(window_end)) = (rule, quota::first_end(customer, now)) else {
            return Ok(Burst::Leaves(Vec::new()));
        };
        let burst = rule.burst(call, tx.lane_behind(call, burst::MAX_LINES)?, window_end, now);
        if let Burst::Leaves(joined) = &burst
            && now < rule.limit(call)
        {
            for line in joined {
                if let Some(until) = self.backfill_wait_until(tx, line)? {
                    return Ok(Burst::BeforeBackfill(until));
                }
            }
        }
        Ok(burst)
    }

    /// The text of the one call that sends `first` and the lines that `joined` it.
    pub fn burst_text(first: &PendingCall, joined: &[PendingCall]) -> String {
        burst::joined_text(std::iter::once(first).chain(joined))
    }

    /// Enqueues a notice to the conversation's agent that few sends are left, or none, unless the customer has acted since
    /// `call` was reserved. Returns whether there is a notice to send.
    pub fn notify_budget(&self, tx: &Tx<'_>, call: &PendingCall, random: u32) -> Result<bool, StoreError> {
        let Some(customer) = tx.customer(&call.lane.customer)? else { return Ok(false) };
        let left = quota::budget(&customer, tx.now());
        let Some(agent) = customer.agent.as_ref().or(call.agent.as_ref()).filter(|_| quota::is_told(left))
        else {
            return Ok(false);
        };
        let text = notice::budget(self.locale(), left.ok(), tx.now());
        let source = format!("budget:{}:{}", call.id, call.call_index);
        enqueue_notice(tx, &call.lane.customer, agent, &text, &source, random)
    }

    /// Returns when a call that follows right behind a reply may go; `None` means now.
    pub fn reply_wait_until(tx: &Tx<'_>, call: &PendingCall) -> Result<Option<Millis>, StoreError> {
        if call.lane.direction == Direction::ToIm {
            return Ok(None);
        }
        let until = tx.push_not_before(&call.lane.customer)?;
        // It can only be further off because the clock was set back.
        Ok((1..=AFTER_REPLY_MS).contains(&until.since(tx.now())).then_some(until))
    }

    /// Refunds a send that certainly did not happen to the customer's budget.
    pub fn refund_send(&self, tx: &Tx<'_>, call: &PendingCall) -> Result<(), StoreError> {
        if call.lane.direction == Direction::ToIm {
            return Ok(());
        }
        let Some(mut customer) = tx.customer(&call.lane.customer)? else { return Ok(()) };
        quota::refund(&mut customer, tx.now(), &self.limits());
        tx.put_customer(&customer)
    }

    /// Records that WeChat's answer holds a message. It overrides the ledger's count, or denies
    /// pushes.
    pub fn record_hold(&self, tx: &Tx<'_>, call: &PendingCall, reason: HoldReason) -> Result<(), StoreError> {
        let no_budget = match reason {
            HoldReason::NotAllowed => {
                self.refund_send(tx, call)?;
                return self.record_push_denied(tx);
            }
            HoldReason::WindowClosed => NoBudget::WindowClosed,
            HoldReason::QuotaUsedUp => NoBudget::UsedUp,
            HoldReason::Banned | HoldReason::EarlierHeld => return self.refund_send(tx, call),
        };
        let Some(mut customer) = tx.customer(&call.lane.customer)? else { return Ok(()) };
        quota::revoke(&mut customer, no_budget, tx.now());
        tx.put_customer(&customer)
    }

    /// Records a delivery. If it was pushed, an account that could not push now can.
    pub fn record_delivered(&self, tx: &Tx<'_>, call: &PendingCall) -> Result<(), StoreError> {
        let was_pushed = call.lane.direction == Direction::ToWechat;
        if was_pushed && self.configured_reply_mode() == ReplyMode::Auto {
            self.record_push_allowed(tx)
        } else {
            Ok(())
        }
    }

    /// The hold reason as text, in the configured locale.
    pub fn hold_reason_text(&self, reason: HoldReason) -> String {
        notice::hold_reason(self.locale(), reason).to_owned()
    }

    /// The reason for a missing answer as text, in the configured locale.
    pub fn no_answer_text(&self, reason: NoAnswer) -> String {
        notice::no_answer(self.locale(), reason)
    }

    /// Enqueues a notice to the agent who wrote `call` about what happened to it. A waiting notice
    /// is extended instead. Returns whether there is a notice to send.
    pub fn notify_agent(
        &self,
        tx: &Tx<'_>,
        call: &PendingCall,
        kind: &NoticeKind<'_>,
        random: u32,
    ) -> Result<bool, StoreError> {
        notify_agent(tx, self.locale(), &[call], kind, random)
    }

    /// The same about all of `lines`, which shared a call.
    pub fn notify_agent_of_all(
        &self,
        tx: &Tx<'_>,
        lines: &[&PendingCall],
        kind: &NoticeKind<'_>,
        random: u32,
    ) -> Result<bool, StoreError> {
        notify_agent(tx, self.locale(), lines, kind, random)
    }

    /// Enqueues a notice to the agent who wrote `call` that it waits. `why`: what is known of the
    /// reason. Returns whether there is a notice to send.
    pub fn notify_waiting(
        &self,
        tx: &Tx<'_>,
        call: &PendingCall,
        why: Option<&str>,
        random: u32,
    ) -> Result<bool, StoreError> {
        let why = why.unwrap_or_else(|| notice::waits_in_line(self.locale()));
        self.notify_agent(tx, call, &NoticeKind::Waiting { why }, random)
    }

    /// The reason why the bridge ended a message as text, in the configured locale.
    pub fn end_reason_text(&self, ended: EndReason) -> &'static str {
        notice::end_reason(self.locale(), ended)
    }

    /// Enqueues a notice to the agent that `fetch` has failed for good. Returns whether there is a
    /// notice to send.
    pub fn notify_media_unavailable(
        &self,
        tx: &Tx<'_>,
        fetch: &MediaFetch,
        unavailable: MediaUnavailable,
        random: u32,
    ) -> Result<bool, StoreError> {
        let locale = self.locale();
        let Some(label) = notice::media_label(locale, fetch.request.kind) else { return Ok(false) };
        // The conversation may have been handed over since, so notify its current agent.
        let Some(agent) = tx.customer(&fetch.openid)?.and_then(|customer| customer.agent) else {
            return Ok(false);
        };
        let text =
            notice::media_unavailable(locale, label, &media_link::unavailable_reason(locale, unavailable));
        enqueue_notice(tx, &fetch.openid, &agent, &text, &format!("media:{}", fetch.name.as_str()), random)
    }
}

/// Enqueues a notice, in `locale`, to the agent whose message an operator discarded. Needs no
/// running bridge.
pub fn notify_discarded(
    tx: &Tx<'_>,
    locale: Locale,
    call: &PendingCall,
    random: u32,
) -> Result<bool, StoreError> {
    notify_ended(tx, locale, call, EndReason::Discarded, random)
}

/// Enqueues a notice, in `locale`, to the agent whose message somebody ended. Returns whether there is one.
pub(super) fn notify_ended(
    tx: &Tx<'_>,
    locale: Locale,
    call: &PendingCall,
    ended: EndReason,
    random: u32,
) -> Result<bool, StoreError> {
    let why = notice::end_reason(locale, ended);
    notify_agent(tx, locale, &[call], &NoticeKind::Refused { why }, random)
}

/// `lines`: one message, or several of one agent that shared a call.
fn notify_agent(
    tx: &Tx<'_>,
    locale: Locale,
    lines: &[&PendingCall],
    kind: &NoticeKind<'_>,
    random: u32,
) -> Result<bool, StoreError> {
    let Some(call) = lines.first().filter(|first| first.kind == MessageKind::Message) else {
        return Ok(false);
    };
    let Some(agent) = &call.agent else { return Ok(false) };
    let kind = &match (call.lane.direction, kind) {
        (Direction::ToIm, NoticeKind::Refused { why }) => NoticeKind::CustomerRefused { why },
        (Direction::ToIm, NoticeKind::Unknown { why }) => NoticeKind::CustomerUnknown { why },
        (Direction::ToIm, _) => return Ok(false),
        (Direction::ToWechat, kind) => kind.clone(),
    };
    let mut told = Vec::with_capacity(lines.len());
    for line in lines {
        if !matches!(kind, NoticeKind::Held { .. }) || tx.mark_held_noticed(line.id)? {
            told.push(*line);
        }
    }
    if told.is_empty() {
        return Ok(false);
    }
    let ids: Vec<MessageId> = told.iter().map(|line| line.id).collect();
    let words: Vec<&str> = told.iter().map(|line| excerpt(&line.call)).collect();
    let text = notice::text_of_all(locale, kind, &ids, &words.join(" "));
    enqueue_notice(tx, &call.lane.customer, agent, &text, &format!("note:{}", call.id), random)
}

/// Enqueues a notice to an agent in the customer's conversation, or extends a waiting one. Returns
/// whether there is a notice to send.
pub(super) fn enqueue_notice(
    tx: &Tx<'_>,
    openid: &OpenId,
    agent: &ImUserId,
    text: &str,
    source: &str,
    random: u32,
) -> Result<bool, StoreError> {
    if tx.merge_notice(openid, agent, |waiting| notice::append(waiting, text))? {
        return Ok(true);
    }
    let Some(mut customer) = tx.customer(openid)?.filter(|customer| customer.known) else {
        return Ok(false);
    };
    tx.add(&NewMessage {
        direction: Direction::ToIm,
        kind: MessageKind::Notice,
        openid: openid.clone(),
        agent: Some(agent.clone()),
        calls: notice::calls(text),
        msg_seq: customer.next_seq,
        msg_random: random,
        source: source.to_owned(),
        erase: false,
    })?;
    customer.next_seq = customer.next_seq.wrapping_add(1);
    tx.put_customer(&customer)?;
    Ok(true)
}

fn to_hold_reason(no_budget: NoBudget) -> HoldReason {
    match no_budget {
        NoBudget::WindowClosed => HoldReason::WindowClosed,
        NoBudget::UsedUp => HoldReason::QuotaUsedUp,
    }
}

/// The words of a call by which an agent recognises it.
pub(super) fn excerpt(call: &OutboundCall) -> &str {
    match call {
        OutboundCall::TextToCustomer(text)
        | OutboundCall::TextToAgent(text)
        | OutboundCall::CardToAgent { text, .. }
        | OutboundCall::EarlierMessageToAgent { text, .. }
        | OutboundCall::MenuToCustomer { head: text, .. }
        | OutboundCall::Note(text) => text,
        OutboundCall::MediaToAgent(info) => &info.link,
        OutboundCall::LocationToAgent { description, .. } => description,
        OutboundCall::MediaToCustomer(attachment) => &attachment.label,
        OutboundCall::CardToCustomer { card, .. } => card.title(),
        OutboundCall::FirstLineToAgent(_) | OutboundCall::ImportAccount | OutboundCall::DeleteAccount => "",
    }
}
