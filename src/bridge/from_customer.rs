//! Accepts a push from WeChat. One transaction detects a repeat, stores the customer and the outbound
//! calls, and decides the passive reply.
//!
//! A *held* answer is an agent's message that may not be sent before its customer acts. It is
//! *attached* when the passive reply to this push contains it; otherwise it is released, so that the
//! outbox sends it. A *backfill* reads IM's history for answers whose callback never came.

mod departure;
mod enqueue;
mod fetches;
mod follow;
mod grouping;
mod hours;
mod queue;
mod rated;
mod visit;

use std::sync::Arc;
use std::time::Instant;

use fail::fail_point;
use rand::RngExt as _;

use super::line::release_after_hours;
use super::media_link::MediaLink;
use super::passive_reply::{ATTACH_MS, AttachedAnswers, HELD_READ, Reply, ReplyPlan, plan_reply};
use super::{Account, Bridge, Inner, passive_reply, quota, to_im};
use crate::model::{
    Content, Direction, Event, EventKind, Lane, MediaName, MessageId, MessageKind, Millis, Move, Push,
    PushBody, Rating,
};
use crate::store::{Customer, HeldAnswer, PendingCall, Scope, Settlement, StoreError, Tx};

/// The result of a push.
#[derive(Debug)]
struct PushDecision {
    text: Option<String>,
    at: Millis,
    has_attached: bool,
    notify: Vec<Direction>,
    is_repeat: bool,
    account: Option<Account>,
    has_media_requests: bool,
    /// The rating that it gave.
    rating: Option<Rating>,
    /// The group to which the customer has come.
    new_group: Option<String>,
    /// The message to IM that it became.
    message: Option<MessageId>,
    /// The call of that message, if its attempt is recorded already.
    direct: Option<PendingCall>,
}

impl PushDecision {
    fn empty(at: Millis) -> Self {
        Self {
            text: None,
            at,
            has_attached: false,
            notify: Vec::new(),
            is_repeat: false,
            account: None,
            has_media_requests: false,
            rating: None,
            new_group: None,
            message: None,
            direct: None,
        }
    }
}

/// The customer's action, as far as it opens a `custom/send` window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WindowOpener {
    Message,
    Event,
    None,
}

impl Bridge {
    /// Accepts a push. `Ok` means that the push and all its calls are on disk.
    pub async fn accept_push(&self, push: Push) -> Result<Reply, StoreError> {
        let inner = self.inner();
        let (openid, key) = (push.from.clone(), push.dedup_key.as_str().to_owned());
        let is_unsubscribe = push.is_unsubscribe();
        let place = matches!(push.body, PushBody::Message(_))
            .then(|| inner.work_signal.take_offered(&openid))
            .flatten();
        let handler = PushHandler {
            inner: inner.clone(),
            push,
            has_place: place.is_some(),
            random: rand::rng().random(),
            hand_over_random: rand::rng().random(),
            names: [MediaName::of_bits(rand::rng().random()), MediaName::of_bits(rand::rng().random())],
        };
        let started = Instant::now();
        fail_point!("push.received");
        let may_claim = place.is_some();
        let scope = Scope::customer(&openid);
        let scope = if may_claim { scope.may_claim() } else { scope };
        let (of_key, customer) = (handler.push.dedup_key.clone(), openid.clone());
        let foresee = move |tx: &Tx<'_>| tx.foresee_push(&of_key, &customer, may_claim);
        // SQLite has one writer. Elsewhere only those who need an agent wait for one another.
        let has_desk = inner.fleet.is_alone() || !inner.settings.has_choice();
        let handler = Arc::new(handler);
        let first = Arc::clone(&handler);
        let mut decided =
            inner.store.write_foreseen(scope, foresee, move |tx| first.decide(tx, has_desk)).await?;
        if decided.is_none() {
            decided = inner.store.write_for(scope.with_desk(), move |tx| handler.decide(tx, true)).await?;
        }
        let decision = decided.unwrap_or_else(|| PushDecision::empty(inner.clock.now()));
        fail_point!("push.committed");
        inner.metrics.record_push(decision.is_repeat, started.elapsed());
        if let Some(rating) = decision.rating {
            inner.metrics.record_rating(rating);
        }
        if let Some(id) = decision.message {
            tracing::Span::current().record("message.id", id.0);
        }
        if let Some(account) = decision.account {
            inner.accounts.insert(&openid, account);
        }
        let is_in_no_lane = decision.message.is_some() && !decision.notify.contains(&Direction::ToIm);
        let mut notify = decision.notify;
        if let (Some(pending), Some((place, hold))) = (decision.direct, place) {
            notify.retain(|direction| *direction != pending.lane.direction);
            inner.work_signal.hand_over(pending, place, hold);
        }
        for direction in &notify {
            inner.work_signal.notify(Lane { direction: *direction, customer: openid.clone() });
        }
        if decision.has_media_requests {
            inner.media.fetch_events.request_fetch();
        }
        if is_in_no_lane || is_unsubscribe || decision.new_group.is_some() {
            inner.line_signal.notify();
        }
        if is_unsubscribe {
            inner.media.sweeper.wake();
        }
        let attached = decision.has_attached.then(|| AttachedAnswers::new(openid, key));
        Ok(Reply { text: decision.text, at: decision.at, attached })
    }
}

struct PushHandler {
    inner: Inner,
    push: Push,
    /// The outbox has a place for the message's call.
    has_place: bool,
    random: u32,
    /// Those of the messages by which the conversation changes hands.
    hand_over_random: [u32; 3],
    /// Names for the media of the message, if it has any.
    names: [MediaName; 2],
}

impl PushHandler {
    /// `None`: nothing was decided, because the customer may need an agent and the scope has no desk.
    fn decide(&self, tx: &Tx<'_>, has_desk: bool) -> Result<Option<PushDecision>, StoreError> {
        let key = self.push.dedup_key.as_str();
        if let Some((key, first)) = tx.first_copy(&self.push.dedup_key)? {
            let has_attached = tx.reattach(&self.push.from, key, tx.now().plus(ATTACH_MS))?;
            let (text, at) = (first.reply, first.accepted_at);
            let repeat = PushDecision { text, has_attached, is_repeat: true, ..PushDecision::empty(at) };
            return Ok(Some(repeat));
        }
        let mut decision = PushDecision::empty(tx.now());
        match &self.push.body {
            PushBody::Message(content) if self.on_rating(tx, content, &mut decision)? => {}
            PushBody::Message(content) if self.on_group_choice(tx, content, &mut decision)? => {}
            PushBody::Message(content) => {
                let found = tx.customer(&self.push.from)?;
                if !has_desk && self.may_need_agent(found.as_ref(), tx.now()) {
                    return Ok(None);
                }
                self.on_message(tx, content, found, &mut decision)?;
            }
            PushBody::Event(event) => self.on_event(tx, event, &mut decision)?,
        }
        if self.push.account.is_empty() {
            decision.text = None;
        }
        tx.record_dedup(key, decision.text.as_deref())?;
        if decision.has_attached {
            tx.set_reply_customer(key, &self.push.from)?;
        }
        Ok(Some(decision))
    }

    fn customer(&self, tx: &Tx<'_>) -> Result<Customer, StoreError> {
        self.known(tx, tx.customer(&self.push.from)?)
    }

    /// The customer, known from now on. `found`: as stored.
    fn known(&self, tx: &Tx<'_>, found: Option<Customer>) -> Result<Customer, StoreError> {
        match found {
            Some(customer) if customer.known => Ok(customer),
            found => {
                let customer = found.unwrap_or_else(|| Customer::new(self.push.from.clone()));
                let mut customer = Customer { known: true, known_since: tx.now(), ..customer };
                tx.begin_conversation(&mut customer)?;
                Ok(customer)
            }
        }
    }

    fn on_event(&self, tx: &Tx<'_>, event: &Event, decision: &mut PushDecision) -> Result<(), StoreError> {
        match event.kind {
            EventKind::Subscribe => self.on_subscribe(tx, event, decision),
            EventKind::Unsubscribe => self.on_departure(tx, decision),
            EventKind::Scan | EventKind::MenuClick => {
                let mut customer = self.customer(tx)?;
                let has_deferred = self.on_action(tx, &mut customer, WindowOpener::Event, decision)?;
                self.note_action(tx, customer, event, has_deferred, decision)?;
                tx.record_step(&self.push.from, None, event.name(), "event", None)
            }
            EventKind::Other => {
                // Job and authorisation events come from the platform and create no customer.
                let customer = tx.customer(&self.push.from)?.filter(|customer| customer.known);
                let Some(mut customer) = customer else { return Ok(()) };
                if is_reply_shown(event.name()) {
                    self.on_action(tx, &mut customer, WindowOpener::None, decision)?;
                }
                tx.record_step(&self.push.from, None, event.name(), "event", None)
            }
        }
    }

    fn on_message(
        &self,
        tx: &Tx<'_>,
        content: &Content,
        found: Option<Customer>,
        decision: &mut PushDecision,
    ) -> Result<(), StoreError> {
        let settings = &self.inner.settings;
        let mut customer = self.known(tx, found)?;
        let is_waiting = customer.agent.is_none() && self.is_waiting(tx)?;
        // A conversation without an agent has not begun or has been closed by an agent, unless the customer waits for one.
        let is_new_session = (customer.agent.is_none() && !is_waiting) || self.is_idle(&customer, tx.now());
        let last = visit::last_time(&customer);
        // In one that has just begun nobody has written yet.
        if is_new_session && customer.active_at > Millis(0) {
            tx.begin_conversation(&mut customer)?;
        }
        if is_new_session || !self.has_agent(&customer) {
            self.join_by_words(tx, &mut customer, content, decision)?;
            if self.assign_agent(tx, &mut customer, is_waiting)? {
                decision.notify.push(Direction::ToIm);
            }
        }
        customer.active_at = tx.now();
        // A tap on a menu message arrives as a text, but opens only the window of a menu click.
        let is_menu_tap = matches!(content, Content::Text { menu_id: Some(_), .. });
        let opener = if is_menu_tap { WindowOpener::Event } else { WindowOpener::Message };
        let has_deferred = self.on_action(tx, &mut customer, opener, decision)?;
        if has_deferred && self.inner.settings.deferred_until(tx.now()).is_none() {
            // They were written before.
            release_after_hours(tx, &customer.openid, customer.agent.as_ref())?;
        }
        let media_link = MediaLink {
            links: &self.inner.media.links,
            now: tx.now(),
            names: &self.names,
            may_fetch: settings.may_fetch,
            makes_mp3: self.inner.media.ffmpeg.is_some(),
            locale: settings.texts.locale,
        };
        let translated = to_im::translate(content, &settings.texts.inquiry_prefix, media_link);
        fetches::enqueue(tx, &customer, &translated.media_requests)?;
        decision.has_media_requests = !translated.media_requests.is_empty();
        let mut calls = translated.calls;
        if is_new_session && !calls.is_empty() {
            calls.insert(0, self.first_line(&mut customer, last.as_ref()));
        }
        self.enqueue(tx, &mut customer, MessageKind::Message, calls, decision)?;
        if !is_menu_tap {
            settings.ask(tx, &customer)?;
        }
        if decision.text.is_some() {
            self.postpone_acknowledgement(&mut customer, is_waiting, tx.now());
        } else if !self.push.account.is_empty() {
            decision.text = self.acknowledgement(tx, &mut customer, is_new_session, is_waiting)?;
        }
        save_customer(tx, &customer, decision)
    }

    /// Handles a customer's action: attaches held answers to the passive reply, and pushes as many
    /// more as the window allows. Returns whether the customer has deferred messages.
    fn on_action(
        &self,
        tx: &Tx<'_>,
        customer: &mut Customer,
        opener: WindowOpener,
        decision: &mut PushDecision,
    ) -> Result<bool, StoreError> {
        let limits = &self.inner.settings.limits;
        // A line that waits for others leaves at once when there are sends again.
        if self.inner.settings.merge.is_some_and(|rule| rule.is_due(customer, tx.now())) {
            decision.notify.push(Direction::ToWechat);
        }
        match opener {
            WindowOpener::Message => limits.open_message_window(customer, tx.now()),
            WindowOpener::Event => limits.open_event_window(customer, tx.now()),
            WindowOpener::None => {}
        }
        let parked = tx.parked(&customer.openid)?;
        // Answers attached to an earlier, unconfirmed reply must arrive first.
        if !parked.has_held || tx.has_attached(&customer.openid)? {
            return Ok(parked.has_deferred);
        }
        let may_push = self.inner.may_push(tx.now());
        let held = tx.held(&customer.openid, HELD_READ)?;
        let more_line = (!may_push).then(|| passive_reply::more_line(self.inner.settings.texts.locale));
        // This reply leaves at once. A call to WeChat leaves later, so that it can wait for an earlier
        // message that is still being sent or that only a backfill can find.
        let ahead = tx.count_held_before_pending(&customer.openid)? as usize;
        let waits_for_backfill = opener != WindowOpener::None
            && may_push
            && held.iter().any(|held| held.before_backfill)
            && self.inner.needs_backfill(tx, &customer.openid)?;
        let plan = if waits_for_backfill || self.push.account.is_empty() {
            ReplyPlan::default()
        } else {
            plan_reply(&held, ahead, more_line)
        };
        if let Some((id, calls)) = &plan.resplit {
            tx.resplit(*id, calls)?;
        }
        for (id, parts) in &plan.attached {
            tx.attach(*id, *parts, self.push.dedup_key.as_str(), tx.now().plus(ATTACH_MS))?;
        }
        let attached = plan.attached.len();
        if attached > 0 {
            decision.has_attached = true;
            decision.text = Some(plan.text);
        }
        if opener != WindowOpener::None && may_push {
            release_held(tx, customer, &held[attached..], decision)?;
        }
        Ok(parked.has_deferred)
    }
}

/// Releases as many of the `held` answers for pushing as the budget covers, the last one perhaps
/// only in part.
fn release_held(
    tx: &Tx<'_>,
    customer: &Customer,
    held: &[HeldAnswer],
    decision: &mut PushDecision,
) -> Result<(), StoreError> {
    let mut budget = quota::budget(customer, tx.now()).map_or(0, |left| left.sends);
    for message in held {
        if budget == 0 {
            break;
        }
        budget = budget.saturating_sub(u32::try_from(message.calls.len()).unwrap_or(u32::MAX));
        tx.settle(message.id, Move::Release, &Settlement::default())?;
        decision.notify.push(Direction::ToWechat);
    }
    Ok(())
}

fn save_customer(tx: &Tx<'_>, customer: &Customer, decision: &mut PushDecision) -> Result<(), StoreError> {
    let Customer { known, number, imported, .. } = *customer;
    decision.account = Some(Account { known, number, imported });
    tx.put_customer(customer)
}

/// Whether WeChat shows the customer the reply to such an event ("Events a customer-service bridge
/// meets"). The reply to any other event would be lost.
fn is_reply_shown(event: &str) -> bool {
    ["LOCATION", "pic_sysphoto", "pic_photo_or_album", "pic_weixin", "location_select"]
        .iter()
        .any(|name| name.eq_ignore_ascii_case(event))
}
