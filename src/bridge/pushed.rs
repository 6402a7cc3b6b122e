//! Accepts a push from WeChat. One transaction detects a repeat, stores the changes and the calls
//! that it needs, and decides the reply.

use std::sync::Arc;
use std::time::Instant;

use fail::fail_point;
use rand::RngExt as _;

use super::reply::{BEHIND_MS, LOOKED_AT, RIDE_MS, Receipt, Reply, Ride, ride};
use super::showing::Showing;
use super::{Account, Bridge, Inner, more, quota, to_im};
use crate::config::{Acknowledge, OnUnsubscribe};
use crate::model::{
    Content, Direction, Event, ImUserId, Lane, MediaName, MediaOrigin, MediaRequest, MessageKind, Millis,
    Move, OutboundCall, Push, PushBody,
};
use crate::store::{Customer, HeldAnswer, NewMessage, Settlement, StoreError, Tx};

/// The `kv` key with the agent who got the last new conversation.
const ASSIGNED_LAST: &str = "assigned_last";

/// The result of a push.
#[derive(Debug)]
struct Decided {
    text: Option<String>,
    at: Millis,
    rides: bool,
    rings: Vec<Direction>,
    repeat: bool,
    account: Option<Account>,
    wants: bool,
}

/// The customer's action, as far as it opens a `custom/send` window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Message,
    Event,
    None,
}

impl Bridge {
    /// Accepts a push. `Ok` means that the push and all its calls are on disk.
    pub async fn pushed(&self, push: Push) -> Result<Reply, StoreError> {
        let inner = &self.0;
        let (openid, key) = (push.from.clone(), push.dedup_key.0.clone());
        let left = matches!(push.body, PushBody::Event(Event::Unsubscribe));
        let deciding = Deciding {
            inner: Arc::clone(inner),
            push,
            random: rand::rng().random(),
            names: [MediaName::of_bits(rand::rng().random()), MediaName::of_bits(rand::rng().random())],
        };
        let started = Instant::now();
        fail_point!("push.received");
        let decided = inner.store.write(move |tx| deciding.decide(tx)).await?;
        fail_point!("push.committed");
        inner.metrics.record_push(decided.repeat, started.elapsed());
        if let Some(account) = decided.account {
            inner.accounts.learn(&openid, account);
        }
        for direction in &decided.rings {
            inner.bell.ring(Lane { direction: *direction, customer: openid.clone() });
        }
        if decided.wants {
            inner.media.fetch_events.request_fetch();
        }
        if left {
            inner.media.sweeper.wake();
        }
        let receipt = decided.rides.then(|| Receipt::new(openid, key));
        Ok(Reply { text: decided.text, at: decided.at, receipt })
    }
}

struct Deciding {
    inner: Arc<Inner>,
    push: Push,
    random: u32,
    /// Names for the media of the message, if it has any.
    names: [MediaName; 2],
}

impl Deciding {
    fn decide(&self, tx: &Tx<'_>) -> Result<Decided, StoreError> {
        let key = self.push.dedup_key.0.as_str();
        if let Some(first) = tx.first_reply(key)? {
            let rides = tx.reattach(&self.push.from, key, tx.now().plus(RIDE_MS))?;
            return Ok(Decided {
                text: first.reply,
                at: first.accepted_at,
                rides,
                rings: Vec::new(),
                repeat: true,
                account: None,
                wants: false,
            });
        }
        let mut decided = Decided {
            text: None,
            at: tx.now(),
            rides: false,
            rings: Vec::new(),
            repeat: false,
            account: None,
            wants: false,
        };
        match &self.push.body {
            PushBody::Event(Event::Subscribe) => self.subscribed(tx, &mut decided)?,
            PushBody::Event(Event::Unsubscribe) => self.unsubscribed(tx, &mut decided)?,
            PushBody::Event(event @ (Event::Scan | Event::MenuClick { .. })) => {
                let mut customer = self.customer(tx)?;
                self.acted(tx, &mut customer, Act::Event, &mut decided)?;
                keep(tx, &customer, &mut decided)?;
                tx.record_step(&self.push.from, None, event.name(), "event", None)?;
            }
            PushBody::Event(event @ Event::Other { .. }) => {
                // Job and authorisation events come from the platform and create no customer.
                if let Some(mut customer) = tx.customer(&self.push.from)?.filter(|customer| customer.known) {
                    if shows_reply(event.name()) {
                        self.acted(tx, &mut customer, Act::None, &mut decided)?;
                    }
                    tx.record_step(&self.push.from, None, event.name(), "event", None)?;
                }
            }
            PushBody::Message(content) => self.wrote(tx, content, &mut decided)?,
        }
        tx.record_dedup(key, decided.text.as_deref())?;
        if decided.rides {
            tx.set_reply_customer(key, &self.push.from)?;
        }
        Ok(decided)
    }

    fn customer(&self, tx: &Tx<'_>) -> Result<Customer, StoreError> {
        match tx.customer(&self.push.from)? {
            Some(customer) if customer.known => Ok(customer),
            met => {
                let customer = met.unwrap_or_else(|| Customer::new(self.push.from.clone()));
                Ok(Customer { known: true, known_since: tx.now(), ..customer })
            }
        }
    }

    fn subscribed(&self, tx: &Tx<'_>, decided: &mut Decided) -> Result<(), StoreError> {
        let mut customer = self.customer(tx)?;
        self.inner.settings.limits.event(&mut customer, tx.now());
        // The passive reply is the welcome text, so held answers can only be pushed.
        if self.inner.may_push(tx.now()) && !tx.has_attached(&customer.openid)? {
            release(tx, &customer, &tx.held(&customer.openid, LOOKED_AT)?, decided)?;
        }
        self.owe(tx, &mut customer, MessageKind::Account, vec![OutboundCall::ImportAccount], decided)?;
        keep(tx, &customer, decided)?;
        tx.set_push_not_before(&customer.openid, tx.now().plus(BEHIND_MS))?;
        tx.record_step(&self.push.from, None, "subscribe", "event", None)?;
        decided.text = Some(self.inner.settings.texts.welcome.clone());
        Ok(())
    }

    fn unsubscribed(&self, tx: &Tx<'_>, decided: &mut Decided) -> Result<(), StoreError> {
        let before = self.customer(tx)?;
        tx.put_customer(&before)?;
        tx.forget_customer(&before.openid)?;
        let account = (before.number, before.imported, before.next_seq);
        let mut gone = Customer::new(before.openid);
        (gone.number, gone.imported, gone.next_seq) = account;
        gone.known = false;
        if self.inner.settings.on_unsubscribe == OnUnsubscribe::Delete {
            self.owe(tx, &mut gone, MessageKind::Account, vec![OutboundCall::DeleteAccount], decided)?;
            return keep(tx, &gone, decided);
        }
        keep(tx, &gone, decided)?;
        tx.set_account(&gone.openid, gone.number, gone.imported)
    }

    fn wrote(&self, tx: &Tx<'_>, content: &Content, decided: &mut Decided) -> Result<(), StoreError> {
        let settings = &self.inner.settings;
        let mut customer = self.customer(tx)?;
        let silent_ms = tx.now().since(customer.active_at);
        // A conversation without an agent has not begun or has been closed by an agent.
        let is_new_session = customer.agent.is_none() || silent_ms >= settings.session_idle_ms;
        self.assign(tx, &mut customer, is_new_session)?;
        customer.active_at = tx.now();
        // A tap on a menu message arrives as a text, but opens only the window of a menu click.
        let tapped = matches!(content, Content::Text { menu_id: Some(_), .. });
        self.acted(tx, &mut customer, if tapped { Act::Event } else { Act::Message }, decided)?;
        let showing = Showing {
            links: &self.inner.media.links,
            now: tx.now(),
            names: &self.names,
            may_fetch: settings.may_fetch,
            makes_mp3: self.inner.media.mp3.is_some(),
            locale: settings.texts.locale,
        };
        let translated = to_im::translate(content, &settings.texts.inquiry_prefix, showing);
        want(tx, &customer, &translated.wanted)?;
        decided.wants = !translated.wanted.is_empty();
        self.owe(tx, &mut customer, MessageKind::Message, translated.orders, decided)?;
        keep(tx, &customer, decided)?;
        let acknowledge = match settings.acknowledge {
            Acknowledge::Always => true,
            Acknowledge::Session => is_new_session,
            Acknowledge::Never => false,
        };
        if decided.text.is_none() && acknowledge {
            decided.text = Some(settings.texts.transferring.clone());
        }
        Ok(())
    }

    /// Assigns the conversation's agent. The agent stays while the session lasts and the agent is
    /// configured. Otherwise the agent with the fewest open conversations gets it; on a tie, the
    /// next one after the agent who got the last conversation.
    fn assign(&self, tx: &Tx<'_>, customer: &mut Customer, is_new_session: bool) -> Result<(), StoreError> {
        let agents = &self.inner.settings.agents;
        let stays = !is_new_session && customer.agent.as_ref().is_some_and(|agent| agents.contains(agent));
        if stays {
            return Ok(());
        }
        if let [only] = agents.as_slice() {
            customer.agent = Some(only.clone());
            return Ok(());
        }
        let since = tx.now().plus(-self.inner.settings.session_idle_ms);
        let open = tx.conversations_by_agent(since)?;
        let busy = |agent: &ImUserId| {
            open.iter().find(|(name, _)| name == agent.as_str()).map_or(0, |(_, count)| *count)
        };
        let fewest = agents.iter().map(busy).min().unwrap_or(0);
        let last = tx.kv(ASSIGNED_LAST)?;
        let after = agents.iter().position(|agent| last.as_deref() == Some(agent.as_str()));
        let in_turn = agents.iter().cycle().skip(after.map_or(0, |last| last + 1)).take(agents.len());
        customer.agent = { in_turn }.find(|agent| busy(agent) == fewest).cloned();
        customer.agent.as_ref().map_or(Ok(()), |agent| tx.put_kv(ASSIGNED_LAST, agent.as_str()))
    }

    /// Handles a customer's action: attaches held answers to the passive reply, and pushes as many
    /// more as the window allows.
    fn acted(
        &self,
        tx: &Tx<'_>,
        customer: &mut Customer,
        act: Act,
        decided: &mut Decided,
    ) -> Result<(), StoreError> {
        let limits = &self.inner.settings.limits;
        match act {
            Act::Message => limits.message(customer, tx.now()),
            Act::Event => limits.event(customer, tx.now()),
            Act::None => {}
        }
        // Answers attached to an earlier, unconfirmed reply must arrive first.
        if !tx.has_held(&customer.openid)? || tx.has_attached(&customer.openid)? {
            return Ok(());
        }
        let may_push = self.inner.may_push(tx.now());
        let held = tx.held(&customer.openid, LOOKED_AT)?;
        let more = (!may_push).then(|| more::line(self.inner.settings.texts.locale));
        // An earlier message that is still being sent, or that only a backfill can find, can be in
        // time for a push but not for this reply.
        let is_behind = tx.has_pending_before_held(&customer.openid)?;
        let is_to_wait = act != Act::None
            && may_push
            && held.iter().any(|held| held.before_backfill)
            && self.inner.is_unlooked(tx, &customer.openid)?;
        let ride = if is_behind || is_to_wait { Ride::default() } else { ride(&held, more) };
        if let Some((id, orders)) = &ride.recut {
            tx.resplit(*id, orders)?;
        }
        for (id, parts) in &ride.taken {
            tx.attach(*id, *parts, &self.push.dedup_key.0, tx.now().plus(RIDE_MS))?;
        }
        let ridden = ride.taken.len();
        if ridden > 0 {
            decided.rides = true;
            decided.text = Some(ride.text);
        }
        if act != Act::None && may_push {
            release(tx, customer, &held[ridden..], decided)?;
        }
        Ok(())
    }

    fn owe(
        &self,
        tx: &Tx<'_>,
        customer: &mut Customer,
        kind: MessageKind,
        orders: Vec<OutboundCall>,
        decided: &mut Decided,
    ) -> Result<(), StoreError> {
        if orders.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(orders.len()).unwrap_or(u32::MAX);
        tx.add(&NewMessage {
            direction: Direction::ToIm,
            kind,
            openid: customer.openid.clone(),
            agent: customer.agent.clone(),
            calls: orders,
            msg_seq: customer.next_seq,
            msg_random: self.random,
            source: self.push.dedup_key.0.clone(),
            erase: matches!(self.push.body, PushBody::Event(Event::Unsubscribe)),
        })?;
        customer.next_seq = customer.next_seq.wrapping_add(count);
        decided.rings.push(Direction::ToIm);
        Ok(())
    }
}

/// Enqueues the fetches of a message's media and adds a row for each file.
fn want(tx: &Tx<'_>, customer: &Customer, wanted: &[(MediaName, MediaRequest)]) -> Result<(), StoreError> {
    for (name, wanted) in wanted {
        for kept in std::iter::once(name).chain(&wanted.mp3) {
            tx.add_medium(kept, &customer.openid, MediaOrigin::Customer)?;
        }
        tx.enqueue_fetch(name, &customer.openid, wanted)?;
    }
    Ok(())
}

/// Releases as many of the `held` answers for pushing as the budget covers, the last one perhaps
/// only in part.
fn release(
    tx: &Tx<'_>,
    customer: &Customer,
    held: &[HeldAnswer],
    decided: &mut Decided,
) -> Result<(), StoreError> {
    let mut budget = quota::left(customer, tx.now()).map_or(0, |left| left.sends);
    for message in held {
        if budget == 0 {
            break;
        }
        budget = budget.saturating_sub(u32::try_from(message.calls.len()).unwrap_or(u32::MAX));
        tx.settle(message.id, Move::Release, &Settlement::default())?;
        decided.rings.push(Direction::ToWechat);
    }
    Ok(())
}

fn keep(tx: &Tx<'_>, customer: &Customer, decided: &mut Decided) -> Result<(), StoreError> {
    let Customer { known, number, imported, .. } = *customer;
    decided.account = Some(Account { known, number, imported });
    tx.put_customer(customer)
}

/// Whether WeChat shows the customer the reply to such an event ("Events a customer-service bridge
/// meets"). The reply to any other event would be lost.
fn shows_reply(event: &str) -> bool {
    ["LOCATION", "pic_sysphoto", "pic_photo_or_album", "pic_weixin", "location_select"]
        .iter()
        .any(|shown| shown.eq_ignore_ascii_case(event))
}
