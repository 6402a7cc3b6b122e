//! Accepts an agent's message. One transaction detects a repeat and stores the calls that the
//! message needs.

mod keys;
mod revision;
mod stray;

use fail::fail_point;
use rand::RngExt as _;

use super::command::effect::Effect;
use super::command::{self, Command, canned};
use super::notice::{self, EndReason, NoticeKind};
use super::send_policy::enqueue_notice;
use super::{Bridge, Inner, signature, to_wechat};
use crate::media::download::{Forbidden, UrlOrigin};
use crate::media::link::ReadLink;
use crate::model::{
    Answer, Direction, ImUserId, Lane, MediaName, MediaOrigin, MessageId, MessageKind, Millis, Move, OpenId,
    OutboundCall,
};
use crate::store::{Customer, NewMessage, Scope, Settlement, StoreError, Tx};

use keys::DedupKeys;
pub use revision::too_late_notice;
pub(super) use stray::{HourlyNotices, farewell};

/// The outcome of accepting an agent's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerOutcome {
    /// It is on disk and will be processed.
    Accepted,
    /// It has no effect.
    Ignored(IgnoreReason),
}

/// Why an agent's message has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IgnoreReason {
    /// It was accepted before.
    Repeat,
    /// The receiver is not a customer that the bridge knows.
    NotACustomer,
    /// The sender is not one of the agents.
    NotAnAgent,
    /// It contains nothing to deliver.
    Empty,
    /// It was recalled before it arrived.
    Recalled,
    /// The bridge does not know the message that is recalled or edited.
    UnknownMessage,
    /// The edit changes nothing that a customer reads.
    Unchanged,
}

impl IgnoreReason {
    /// The metric label and log value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Repeat => "repeat",
            Self::NotACustomer => "not_a_customer",
            Self::NotAnAgent => "not_an_agent",
            Self::Empty => "empty",
            Self::Recalled => "recalled",
            Self::UnknownMessage => "unknown_message",
            Self::Unchanged => "unchanged",
        }
    }
}

/// How the bridge learned of an agent's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// By a callback from IM.
    Callback,
    /// From the conversation's history, by a backfill.
    History,
}

impl Bridge {
    /// Accepts an agent's message from a callback. `Ok` means that it is on disk, or that there is
    /// nothing to keep.
    pub async fn accept_answer(&self, answer: Answer) -> Result<AnswerOutcome, StoreError> {
        let started = std::time::Instant::now();
        fail_point!("callback.received");
        let outcome = self.accept(answer, Arrival::Callback).await?;
        fail_point!("callback.committed");
        if outcome == AnswerOutcome::Accepted {
            self.0.metrics.record_answer(started.elapsed());
        }
        Ok(outcome)
    }

    /// Accepts an agent's message that a backfill found in the history, unless its callback has
    /// arrived. A callback that arrives later counts as the repeat.
    pub async fn accept_backfilled(&self, answer: Answer) -> Result<AnswerOutcome, StoreError> {
        let sent_at_s = answer.msg_time;
        let outcome = self.accept(answer, Arrival::History).await?;
        if outcome == AnswerOutcome::Accepted {
            self.0.metrics.record_backfilled();
            self.record_unannounced(sent_at_s);
        }
        Ok(outcome)
    }

    /// Records a callback's message that must not be forwarded, so that a backfill does not forward
    /// it either.
    pub async fn mark_ignored(&self, answer: Answer) -> Result<(), StoreError> {
        let scope = Scope::account(&answer.to);
        let mark = move |tx: &Tx<'_>| match customer_with_account(tx, &answer.to)? {
            Some(_) => DedupKeys::of(&answer).insert(tx, Arrival::Callback),
            None => Ok(()),
        };
        self.0.store.write_for(scope, mark).await
    }

    async fn accept(&self, mut answer: Answer, arrival: Arrival) -> Result<AnswerOutcome, StoreError> {
        let inner = self.inner();
        if !inner.settings.is_staff(&answer.from) {
            return Ok(AnswerOutcome::Ignored(IgnoreReason::NotAnAgent));
        }
        let (from, to) = (answer.from.clone(), answer.to.clone());
        let is_agent = inner.settings.agents.contains(&answer.from);
        let of_supervisor = (!is_agent).then(|| answer.clone());
        let content = AnswerContent::of(&inner, &mut answer);
        let (to_im, to_wechat) = match &content {
            // The reply to a command goes to the agent who sent it.
            AnswerContent::Command(command) => (true, matches!(command, Command::Retry | Command::Close)),
            // A blank message makes a notice too.
            AnswerContent::Message { calls, notices } => (!notices.is_empty() || calls.is_empty(), true),
        };
        let is_transfer = matches!(content, AnswerContent::Command(Command::To(_)));
        let frees_place = matches!(content, AnswerContent::Command(Command::Close | Command::To(_)));
        let handler =
            AnswerHandler { inner: inner.clone(), answer, arrival, content, random: rand::rng().random() };
        let scope = Scope::account(&to);
        // A group's agent is chosen by how busy they are.
        let has_desk = is_transfer && !inner.settings.desk.groups.is_empty();
        let scope = if has_desk { scope.with_desk() } else { scope };
        // Do not await anything before this write, or a later message could overtake this one.
        Ok(match inner.store.write_for(scope, move |tx| handler.decide(tx)).await? {
            Ok((customer, message)) => {
                let span = tracing::Span::current();
                span.record("openid.hash", tracing::field::display(customer.log_hash()));
                if let Some(id) = message {
                    span.record("message.id", id.0);
                }
                inner.typing.message_sent(&customer, inner.clock.now());
                if frees_place {
                    inner.line_signal.notify();
                }
                if to_im {
                    let customer = customer.clone();
                    inner.work_signal.notify(Lane { direction: Direction::ToIm, customer });
                }
                if to_wechat {
                    inner.work_signal.notify(Lane { direction: Direction::ToWechat, customer });
                }
                AnswerOutcome::Accepted
            }
            Err(why) => {
                match (why, of_supervisor) {
                    (IgnoreReason::NotACustomer, _) => self.notify_of_departed(&from, &to).await?,
                    (IgnoreReason::NotAnAgent, Some(stray)) => self.accept_stray(stray).await?,
                    _ => {}
                }
                AnswerOutcome::Ignored(why)
            }
        })
    }
}

/// Returns the known customer whose current IM account is `user`.
pub(super) fn customer_with_account(tx: &Tx<'_>, user: &ImUserId) -> Result<Option<Customer>, StoreError> {
    let is_present = |customer: &Customer| {
        let account = ImUserId::of_customer(&customer.openid, customer.number);
        customer.known && account.is_ok_and(|account| account == *user)
    };
    for openid in user.possible_openids() {
        let found = tx.customer(&openid)?.filter(is_present);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The content of an agent's message.
#[derive(Clone, Debug, PartialEq)]
enum AnswerContent {
    /// What goes to the customer, and what the agent must know of the rest.
    Message {
        calls: Vec<OutboundCall>,
        notices: Vec<String>,
    },
    Command(Command),
}

impl AnswerContent {
    /// Reads and translates an agent's message. Takes the first of two slashes off it, and puts a canned reply in the
    /// place of the command that asks for it.
    fn of(inner: &Inner, answer: &mut Answer) -> Self {
        let texts = &inner.settings.texts;
        let mut command = command::parse(&answer.parts);
        command::unescape(&mut answer.parts);
        if let Some(Command::Reply(name)) = &command
            && let Some(reply) = canned::find(&inner.settings.replies, name)
        {
            answer.parts = vec![canned::part(reply)];
            command = None;
        }
        let refused = refused_addresses(inner, answer);
        let wording = to_wechat::Wording {
            locale: texts.locale,
            inquiry_prefix: &texts.inquiry_prefix,
            refused: &refused,
        };
        let message = || Self::Message {
            calls: to_wechat::calls(answer, wording, || MediaName::of_bits(rand::random())),
            notices: to_wechat::notices(answer, wording),
        };
        command.map_or_else(message, Self::Command)
    }
}

/// The addresses in an answer that the download rules refuse, as far as that is known without asking
/// a name server.
fn refused_addresses(inner: &Inner, answer: &Answer) -> Vec<(String, Forbidden)> {
    let (rules, now) = (&inner.settings.download_rules, inner.clock.now());
    let addresses = answer.parts.iter().filter_map(to_wechat::address);
    addresses
        .filter(|url| inner.media.links.read(url, now) == ReadLink::Foreign)
        .filter_map(|url| Some((url.to_owned(), rules.check(url, UrlOrigin::Client).err()?)))
        .collect()
}

/// Adds a row for each file that `calls` send to the customer.
fn add_media(tx: &Tx<'_>, openid: &OpenId, calls: &[OutboundCall]) -> Result<(), StoreError> {
    for call in calls {
        match call {
            OutboundCall::MediaToCustomer(attachment) => {
                for name in attachment.names() {
                    tx.add_medium(name, openid, MediaOrigin::Agent)?;
                }
            }
            OutboundCall::CardToCustomer { picture, .. } if call.needs_preparation() => {
                tx.add_medium(picture, openid, MediaOrigin::Agent)?;
            }
            _ => {}
        }
    }
    Ok(())
}

struct AnswerHandler {
    inner: Inner,
    answer: Answer,
    arrival: Arrival,
    content: AnswerContent,
    random: [u32; 3],
}

impl AnswerHandler {
    /// Stores the message. Returns the customer whose conversation it belongs to and the number of
    /// the message, which a command has not; or why it is ignored.
    fn decide(&self, tx: &Tx<'_>) -> Result<Result<(OpenId, Option<MessageId>), IgnoreReason>, StoreError> {
        let Some(customer) = customer_with_account(tx, &self.answer.to)? else {
            return Ok(Err(IgnoreReason::NotACustomer));
        };
        if !self.inner.settings.may_answer(&self.answer.from, &customer) {
            return Ok(Err(IgnoreReason::NotAnAgent));
        }
        let is_empty = matches!(
            &self.content,
            AnswerContent::Message { calls, notices } if calls.is_empty() && notices.is_empty()
        );
        if is_empty && self.answer.parts.is_empty() {
            return Ok(Err(IgnoreReason::Empty));
        }
        let keys = DedupKeys::of(&self.answer);
        if keys.exist(tx, self.arrival)? {
            return Ok(Err(IgnoreReason::Repeat));
        }
        let openid = customer.openid.clone();
        keys.insert(tx, self.arrival)?;
        let is_recalled = keys.is_recalled(tx)?;
        let source = &keys.message_key;
        let message = match &self.content {
            AnswerContent::Command(_) if is_recalled => return Ok(Err(IgnoreReason::Recalled)),
            AnswerContent::Command(command) => {
                let (inner, by) = (&self.inner, &self.answer.from);
                Effect { inner, command, sender: by, source, random: self.random }.apply(tx, customer)?;
                None
            }
            AnswerContent::Message { calls, notices } => {
                for (index, text) in notices.iter().enumerate().filter(|_| !is_recalled) {
                    let key = format!("{source}:notice:{index}");
                    enqueue_notice(tx, &openid, &self.answer.from, text, &key, self.random[0])?;
                }
                if calls.is_empty() {
                    let id =
                        if notices.is_empty() { Some(self.refuse_blank(tx, &openid, source)?) } else { None };
                    return Ok(Ok((openid, id)));
                }
                add_media(tx, &openid, calls)?;
                let calls = self.signed(tx, &customer, calls)?;
                let before_backfill = self.inner.needs_backfill(tx, &openid)?;
                if !is_recalled {
                    tx.record_served(&customer, &self.answer.from)?;
                }
                let id = tx.add(&NewMessage {
                    direction: Direction::ToWechat,
                    kind: MessageKind::Message,
                    openid: openid.clone(),
                    agent: Some(self.answer.from.clone()),
                    calls,
                    msg_seq: self.answer.msg_seq,
                    msg_random: self.answer.msg_random,
                    source: source.clone(),
                    erase: false,
                })?;
                tx.set_content_hash(id, &revision::content_hash(&self.answer.parts), Millis(0))?;
                if is_recalled {
                    revision::drop_recalled(tx, &openid, id)?;
                    return Ok(Err(IgnoreReason::Recalled));
                }
                tx.answer_question(&openid)?;
                let Answer { msg_time, msg_seq, .. } = self.answer;
                tx.set_sent_at(id, msg_time, before_backfill)?;
                // Callbacks may overtake one another. Callbacks of the same second keep their order
                // of arrival, because no document says that every client counts `MsgSeq` up.
                let sequence = if self.arrival == Arrival::Callback { u32::MAX } else { msg_seq };
                tx.insert_by_time(&openid, id, (msg_time, sequence))?;
                // Its callback may be a repeat, too: whoever took it first may have had no time to answer.
                if tx.may_be_lost(msg_time)? {
                    tx.doubt(id)?;
                }
                Some(id)
            }
        };
        if self.arrival == Arrival::History {
            tx.record_step(&openid, message, "recovered", "its callback did not arrive", None)?;
        }
        Ok(Ok((openid, message)))
    }
}

impl AnswerHandler {
    /// The calls, with the agent's name before the first words that the agent writes in a conversation, if agents sign.
    fn signed(
        &self,
        tx: &Tx<'_>,
        customer: &Customer,
        calls: &[OutboundCall],
    ) -> Result<Vec<OutboundCall>, StoreError> {
        let (settings, agent) = (&self.inner.settings, &self.answer.from);
        match settings.desk.signature(agent) {
            Some(name) if !tx.has_answered(customer, agent)? => {
                Ok(signature::signed(settings.texts.locale, name, calls))
            }
            _ => Ok(calls.to_vec()),
        }
    }

    /// Stores a message without words as refused, and notifies its agent.
    fn refuse_blank(&self, tx: &Tx<'_>, openid: &OpenId, source: &str) -> Result<MessageId, StoreError> {
        let Answer { from, msg_seq, msg_random, .. } = &self.answer;
        let id = tx.add(&NewMessage {
            direction: Direction::ToWechat,
            kind: MessageKind::Message,
            openid: openid.clone(),
            agent: Some(from.clone()),
            calls: vec![OutboundCall::TextToCustomer(String::new())],
            msg_seq: *msg_seq,
            msg_random: *msg_random,
            source: source.to_owned(),
            erase: false,
        })?;
        let locale = self.inner.settings.texts.locale;
        let why = notice::end_reason(locale, EndReason::Blank);
        tx.settle(id, Move::Refuse, &Settlement { why: Some(why.to_owned()), ..Settlement::default() })?;
        let text = notice::text(locale, &NoticeKind::Refused { why }, id, "");
        enqueue_notice(tx, openid, from, &text, &format!("note:{id}"), self.random[0])?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests;
