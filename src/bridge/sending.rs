//! The policy that the outbox asks while it sends: whether a call may go now, what WeChat's answer
//! means for the window, and which notice the agent gets.

use super::Bridge;
use super::note::{self, Ended, News};
use super::quota::{self, Shut};
use super::reply::BEHIND_MS;
use crate::config::{Locale, Reply as ReplyMode};
use crate::model::{Direction, HoldReason, ImUserId, MessageKind, Millis, NoAnswer, OpenId, OutboundCall};
use crate::store::{NewMessage, PendingCall, StoreError, Tx};

impl Bridge {
    /// Returns why a call would have to be held now, if so. Takes nothing from the customer's
    /// budget.
    pub fn would_withhold(&self, tx: &Tx<'_>, owed: &PendingCall) -> Result<Option<HoldReason>, StoreError> {
        if owed.lane.direction == Direction::ToIm {
            return Ok(None);
        }
        if tx.has_held_before(&owed.lane.customer, owed.id)? {
            return Ok(Some(HoldReason::EarlierHeld));
        }
        if !self.may_push(tx.now()) {
            return Ok(Some(HoldReason::NotAllowed));
        }
        let Some(customer) = tx.customer(&owed.lane.customer)? else { return Ok(None) };
        Ok(quota::left(&customer, tx.now()).err().map(held_by))
    }

    /// Returns why a call must be held, if so. Otherwise takes one send from the customer's budget.
    pub fn withhold(&self, tx: &Tx<'_>, owed: &PendingCall) -> Result<Option<HoldReason>, StoreError> {
        let withheld = self.would_withhold(tx, owed)?;
        if withheld.is_some() || owed.lane.direction == Direction::ToIm {
            return Ok(withheld);
        }
        let Some(mut customer) = tx.customer(&owed.lane.customer)? else { return Ok(None) };
        if let Err(shut) = quota::spend(&mut customer, tx.now()) {
            return Ok(Some(held_by(shut)));
        }
        tx.put_customer(&customer)?;
        Ok(None)
    }

    /// Returns when a call that follows right behind a reply may go; `None` means now.
    pub fn waits_for_reply(&self, tx: &Tx<'_>, owed: &PendingCall) -> Result<Option<Millis>, StoreError> {
        if owed.lane.direction == Direction::ToIm {
            return Ok(None);
        }
        let until = tx.push_not_before(&owed.lane.customer)?;
        // It can only be further off because the clock was set back.
        Ok((1..=BEHIND_MS).contains(&until.since(tx.now())).then_some(until))
    }

    /// Refunds a send that certainly did not happen to the customer's budget.
    pub fn give_back(&self, tx: &Tx<'_>, owed: &PendingCall) -> Result<(), StoreError> {
        if owed.lane.direction == Direction::ToIm {
            return Ok(());
        }
        let Some(mut customer) = tx.customer(&owed.lane.customer)? else { return Ok(()) };
        quota::give_back(&mut customer, tx.now(), self.limits());
        tx.put_customer(&customer)
    }

    /// Records that WeChat's answer holds a message. It overrides the ledger's count, or denies
    /// pushes.
    pub fn overruled(&self, tx: &Tx<'_>, owed: &PendingCall, because: HoldReason) -> Result<(), StoreError> {
        let shut = match because {
            HoldReason::NotAllowed => {
                self.give_back(tx, owed)?;
                return self.push_denied(tx);
            }
            HoldReason::WindowClosed => Shut::Closed,
            HoldReason::QuotaUsedUp => Shut::UsedUp,
            HoldReason::Banned | HoldReason::EarlierHeld => return self.give_back(tx, owed),
        };
        let Some(mut customer) = tx.customer(&owed.lane.customer)? else { return Ok(()) };
        quota::overrule(&mut customer, shut, tx.now());
        tx.put_customer(&customer)
    }

    /// Records a delivery. If it was pushed, an account that could not push now can.
    pub fn delivered(&self, tx: &Tx<'_>, owed: &PendingCall) -> Result<(), StoreError> {
        let pushed = owed.lane.direction == Direction::ToWechat;
        if pushed && self.configured_reply() == ReplyMode::Auto { self.push_allowed(tx) } else { Ok(()) }
    }

    /// The hold reason as text, in the configured locale.
    pub fn held_because(&self, because: HoldReason) -> String {
        note::held_because(self.texts().locale, because).to_owned()
    }

    /// The reason for a missing answer as text, in the configured locale.
    pub fn silent(&self, silence: NoAnswer) -> String {
        note::silent(self.texts().locale, silence)
    }

    /// Enqueues a notice to the agent who wrote `call` about what happened to it. A waiting notice
    /// is extended instead. Returns whether there is a notice to send.
    pub fn tell_agent(
        &self,
        tx: &Tx<'_>,
        owed: &PendingCall,
        news: &News<'_>,
        random: u32,
    ) -> Result<bool, StoreError> {
        tell_agent(tx, self.texts().locale, owed, news, random)
    }

    /// The reason why the bridge ended a message as text, in the configured locale.
    pub fn ended(&self, ended: Ended) -> &'static str {
        note::ended(self.texts().locale, ended)
    }
}

/// Enqueues a notice, in `locale`, to the agent whose message an operator discarded. Needs no
/// running bridge.
pub fn discarded(tx: &Tx<'_>, locale: Locale, owed: &PendingCall, random: u32) -> Result<bool, StoreError> {
    let why = note::ended(locale, Ended::Discarded);
    tell_agent(tx, locale, owed, &News::Refused { why }, random)
}

fn tell_agent(
    tx: &Tx<'_>,
    locale: Locale,
    owed: &PendingCall,
    news: &News<'_>,
    random: u32,
) -> Result<bool, StoreError> {
    let Some(agent) = owed.agent.as_ref().filter(|_| is_answer(owed)) else { return Ok(false) };
    if matches!(news, News::Held { .. }) && !tx.mark_held_noticed(owed.id)? {
        return Ok(false);
    }
    let text = note::text(locale, news, excerpt(&owed.call));
    owe_note(tx, &owed.lane.customer, agent, &text, &format!("note:{}", owed.id), random)
}

/// Enqueues a notice to an agent in the customer's conversation, or extends a waiting one. Returns
/// whether there is a notice to send.
pub(super) fn owe_note(
    tx: &Tx<'_>,
    openid: &OpenId,
    agent: &ImUserId,
    text: &str,
    source: &str,
    random: u32,
) -> Result<bool, StoreError> {
    if tx.merge_notice(openid, agent, |waiting| note::join(waiting, text))? {
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
        calls: note::orders(text),
        msg_seq: customer.next_seq,
        msg_random: random,
        source: source.to_owned(),
        erase: false,
    })?;
    customer.next_seq = customer.next_seq.wrapping_add(1);
    tx.put_customer(&customer)?;
    Ok(true)
}

fn held_by(shut: Shut) -> HoldReason {
    match shut {
        Shut::Closed => HoldReason::WindowClosed,
        Shut::UsedUp => HoldReason::QuotaUsedUp,
    }
}

fn is_answer(owed: &PendingCall) -> bool {
    owed.lane.direction == Direction::ToWechat && owed.kind == MessageKind::Message
}

fn excerpt(order: &OutboundCall) -> &str {
    match order {
        OutboundCall::TextToCustomer(text)
        | OutboundCall::TextToAgent(text)
        | OutboundCall::CardToAgent { text, .. }
        | OutboundCall::EarlierMessageToAgent { text, .. } => text,
        OutboundCall::MediaToAgent(shown) => &shown.link,
        OutboundCall::LocationToAgent { description, .. } => description,
        OutboundCall::MediaToCustomer(attachment) => &attachment.label,
        OutboundCall::ImportAccount | OutboundCall::DeleteAccount => "",
    }
}
