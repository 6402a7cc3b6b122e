//! Recalls and edits: an agent takes a message back, or changes its words. What has not left is dropped or replaced;
//! if the message has left, its agent gets a notice that the customer keeps what WeChat has shown.

use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

use super::keys::{message_key, recall_key};
use super::{AnswerContent, AnswerOutcome, IgnoreReason, add_media, customer_with_account};
use crate::bridge::notice::{self, NoticeKind};
use crate::bridge::send_policy::{enqueue_notice, excerpt};
use crate::bridge::{Bridge, Inner};
use crate::model::{
    AnswerEdit, AnswerId, AnswerPart, Direction, Lane, MessageId, Millis, Move, OpenId, OutboundCall, State,
};
use crate::store::{Customer, Scope, Settlement, StoreError, StoredAnswer, Tx};

/// What the store and traces say about a message that its agent recalled.
const RECALLED_WHY: &str = "recalled by its agent";

/// What a recall or an edit did.
#[derive(Debug)]
struct Revised {
    customer: OpenId,
    message: MessageId,
    /// The message ended `recalled`.
    is_dropped: bool,
    /// The agent gets a notice.
    has_notice: bool,
}

impl Bridge {
    /// Accepts the recall of an agent's message. `Ok` means that it is on disk: the message is dropped, or the agent
    /// gets a notice that the customer has it. A recall that overtakes its message is remembered as long as repeats
    /// are recognised.
    pub async fn accept_recall(&self, id: AnswerId) -> Result<AnswerOutcome, StoreError> {
        let (inner, random) = (self.inner(), rand::rng().random());
        let scope = Scope::account(&id.to);
        let revised = self.0.store.write_for(scope, move |tx| recall(&inner, tx, &id, random)).await?;
        Ok(self.signal_revised(revised))
    }

    /// Accepts the edit of an agent's message. `Ok` means that it is on disk: the message has its new words, or the
    /// agent gets a notice that the customer has the old ones.
    pub async fn accept_edit(&self, mut edit: AnswerEdit) -> Result<AnswerOutcome, StoreError> {
        let inner = self.inner();
        let handler = EditHandler {
            content: AnswerContent::of(&inner, &mut edit.answer),
            hash: content_hash(&edit.answer.parts),
            id: edit.answer.id(),
            edited_at: Millis(edit.edited_at_ms),
            random: rand::rng().random(),
        };
        let scope = Scope::account(&handler.id.to);
        let revised = self.0.store.write_for(scope, move |tx| handler.apply(&inner, tx)).await?;
        Ok(self.signal_revised(revised))
    }

    /// Enqueues the notice about a message that its agent recalled while it was attached to a reply, which was written
    /// out. Returns whether there is one.
    pub(in crate::bridge) fn notify_of_late_recall(
        &self,
        tx: &Tx<'_>,
        id: MessageId,
        random: u32,
    ) -> Result<bool, StoreError> {
        let Some(stored) = tx.answer(id)? else { return Ok(false) };
        match too_late_notice(stored.state, stored.has_begun) {
            Some(kind) => notify(&self.inner(), tx, &stored, &kind, random),
            None => Ok(false),
        }
    }

    fn signal_revised(&self, revised: Result<Revised, IgnoreReason>) -> AnswerOutcome {
        let Revised { customer, message, is_dropped, has_notice } = match revised {
            Ok(revised) => revised,
            Err(why) => return AnswerOutcome::Ignored(why),
        };
        let span = tracing::Span::current();
        span.record("openid.hash", tracing::field::display(customer.log_hash()));
        span.record("message.id", message.0);
        if is_dropped {
            self.0.metrics.ended(Direction::ToWechat, State::Recalled);
        }
        if has_notice {
            self.0.work_signal.notify(Lane { direction: Direction::ToIm, customer: customer.clone() });
        }
        // The message may have been the head of its lane.
        self.0.work_signal.notify(Lane { direction: Direction::ToWechat, customer });
        AnswerOutcome::Accepted
    }
}

/// The notice to an agent who recalled a message that ended in `state`; `None` if the customer has nothing of it.
/// `has_begun`: a part of it was sent.
pub fn too_late_notice(state: State, has_begun: bool) -> Option<NoticeKind<'static>> {
    match state {
        State::Delivered => Some(NoticeKind::RecalledTooLate),
        State::Unknown => Some(NoticeKind::RecalledMaybeTooLate),
        State::Recalled if has_begun => Some(NoticeKind::RecalledInPart),
        _ => None,
    }
}

/// The hash of a message's elements, as hex digits: an edit that leaves it as it is changes only the data beside them.
pub(super) fn content_hash(parts: &[AnswerPart]) -> String {
    // Serializing plain data into memory cannot fail; if it did, every edit would count as a change.
    hex::encode(Sha256::digest(serde_json::to_vec(parts).unwrap_or_default()))
}

/// Drops a message that was recalled before it left.
pub(super) fn drop_recalled(tx: &Tx<'_>, openid: &OpenId, id: MessageId) -> Result<(), StoreError> {
    let settlement = Settlement { why: Some(RECALLED_WHY.to_owned()), ..Settlement::default() };
    tx.settle(id, Move::Recall, &settlement)?;
    tx.record_step(openid, Some(id), "recall", "dropped", None)
}

fn recall(
    inner: &Inner,
    tx: &Tx<'_>,
    id: &AnswerId,
    random: u32,
) -> Result<Result<Revised, IgnoreReason>, StoreError> {
    let source = message_key(id);
    let Some(stored) = tx.answer_by_source(&source)? else {
        return recall_without_answer(inner, tx, id, &source);
    };
    if stored.state == State::Recalled || stored.recall_requested {
        return Ok(Err(IgnoreReason::Repeat));
    }
    let (openid, message) = (stored.openid.clone(), stored.id);
    let state = match stored.state {
        State::Accepted | State::Held | State::Refused | State::Unreadable => {
            drop_recalled(tx, &openid, message)?;
            State::Recalled
        }
        // An attempt may still fail; then the message is dropped instead of sent again. Answers are never deferred or queued.
        State::Sending
        | State::Delivered
        | State::Unknown
        | State::Recalled
        | State::Deferred
        | State::Queued => {
            tx.request_recall(message)?;
            tx.record_step(&openid, Some(message), "recall", "too late", None)?;
            stored.state
        }
    };
    let has_notice = match too_late_notice(state, stored.has_begun) {
        Some(kind) => notify(inner, tx, &stored, &kind, random)?,
        None => false,
    };
    Ok(Ok(Revised { customer: openid, message, is_dropped: state == State::Recalled, has_notice }))
}

/// Takes back a note, or remembers a recall whose message has not arrived: callbacks may overtake one another.
fn recall_without_answer(
    inner: &Inner,
    tx: &Tx<'_>,
    id: &AnswerId,
    source: &str,
) -> Result<Result<Revised, IgnoreReason>, StoreError> {
    if !inner.settings.is_staff(&id.from) {
        return Ok(Err(IgnoreReason::NotAnAgent));
    }
    let Some(Customer { openid, .. }) = customer_with_account(tx, &id.to)? else {
        return Ok(Err(IgnoreReason::NotACustomer));
    };
    if let Some(note) = tx.note_by_source(&openid, source)? {
        tx.act_as_operator(note, Move::Discard, Some(RECALLED_WHY))?;
        tx.record_step(&openid, Some(note), "recall", "dropped", None)?;
        return Ok(Ok(Revised { customer: openid, message: note, is_dropped: false, has_notice: false }));
    }
    let key = recall_key(source);
    // A message that arrived and left no row was a command, or was not to be moved.
    if tx.first_reply(source)?.is_none() && tx.first_reply(&key)?.is_none() {
        tx.record_dedup(&key, None)?;
    }
    Ok(Err(IgnoreReason::UnknownMessage))
}

struct EditHandler {
    id: AnswerId,
    content: AnswerContent,
    hash: String,
    edited_at: Millis,
    random: u32,
}

impl EditHandler {
    fn apply(&self, inner: &Inner, tx: &Tx<'_>) -> Result<Result<Revised, IgnoreReason>, StoreError> {
        let Some(stored) = tx.answer_by_source(&message_key(&self.id))? else {
            return Ok(Err(IgnoreReason::UnknownMessage));
        };
        if self.is_unchanged(&stored) {
            return Ok(Err(IgnoreReason::Unchanged));
        }
        let is_overtaken = stored.edited_at.since(self.edited_at) > 0;
        if is_overtaken || matches!(stored.state, State::Refused | State::Recalled) {
            return Ok(Err(IgnoreReason::Repeat));
        }
        tx.set_content_hash(stored.id, &self.hash, self.edited_at)?;
        let may_replace = matches!(stored.state, State::Accepted | State::Held) && !stored.has_begun;
        let (is_dropped, has_notice) = if may_replace {
            self.replace(inner, tx, &stored)?
        } else {
            tx.record_step(&stored.openid, Some(stored.id), "edit", "too late", None)?;
            (false, notify(inner, tx, &stored, &NoticeKind::EditedTooLate, self.random)?)
        };
        Ok(Ok(Revised { customer: stored.openid, message: stored.id, is_dropped, has_notice }))
    }

    /// Whether only the data beside the message changed. A message of an earlier version has no hash, so its calls
    /// are compared.
    fn is_unchanged(&self, stored: &StoredAnswer) -> bool {
        match &self.content {
            _ if !stored.content_hash.is_empty() => stored.content_hash == self.hash,
            AnswerContent::Message { calls, .. } => stored.calls == *calls,
            AnswerContent::Command(_) => false,
        }
    }

    /// Replaces the words of a message of which nothing has left. Returns whether it was dropped, and whether the
    /// agent gets a notice.
    fn replace(&self, inner: &Inner, tx: &Tx<'_>, stored: &StoredAnswer) -> Result<(bool, bool), StoreError> {
        let (openid, id, agent) = (&stored.openid, stored.id, &self.id.from);
        let AnswerContent::Message { calls, notices } = &self.content else {
            drop_recalled(tx, openid, id)?;
            let kind = NoticeKind::EditedToCommand;
            return Ok((true, notify(inner, tx, stored, &kind, self.random)?));
        };
        for (index, text) in notices.iter().enumerate() {
            let key = format!("edit:{id}:{}:{index}", self.edited_at.0);
            enqueue_notice(tx, openid, agent, text, &key, self.random)?;
        }
        if calls.is_empty() {
            drop_recalled(tx, openid, id)?;
            return Ok((true, !notices.is_empty()));
        }
        add_media(tx, openid, calls)?;
        tx.replace_calls(id, calls)?;
        tx.record_step(openid, Some(id), "edit", "replaced", None)?;
        Ok((false, !notices.is_empty()))
    }
}

fn notify(
    inner: &Inner,
    tx: &Tx<'_>,
    stored: &StoredAnswer,
    kind: &NoticeKind<'_>,
    random: u32,
) -> Result<bool, StoreError> {
    let Some(agent) = &stored.agent else { return Ok(false) };
    let words = stored.calls.first().map_or("", |call: &OutboundCall| excerpt(call));
    let text = notice::text(inner.settings.texts.locale, kind, stored.id, words);
    enqueue_notice(tx, &stored.openid, agent, &text, &format!("revision:{}", stored.id), random)
}
