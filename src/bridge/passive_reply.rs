//! The passive reply: the response to a push, and the held answers attached to it.

use rand::RngExt as _;

use super::{Bridge, Shared};
use crate::config::Locale;
use crate::model::{Direction, Lane, MessageId, Millis, Move, OpenId, OutboundCall, State, split_text};
use crate::store::{HeldAnswer, Scope, StoreError};

/// The longest passive reply that WeChat shows for certain, in bytes ("Passive replies",
/// "Unknown").
const MAX_REPLY_BYTES: usize = 2_000;
/// Calls of one answer with at least this many bytes are parts of one text; shorter ones are
/// separate elements.
const MIN_PART_BYTES: usize = 1_400;
/// How long answers stay attached to an unconfirmed reply, milliseconds. WeChat asks three times,
/// five seconds each; until then a repeat may still carry the reply.
pub(super) const ATTACH_MS: i64 = 20_000;
/// How long a push waits after a reply, milliseconds, so that WeChat gets the reply first.
pub(super) const AFTER_REPLY_MS: i64 = 300;
/// The most held answers in one reply.
pub(super) const MAX_ATTACHED: usize = 64;
/// Held answers read for one reply: one more than it may carry, to know whether more are waiting.
pub(super) const HELD_READ: u32 = 65;

/// The response to a push.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The text; `None` means the plain `success`.
    pub text: Option<String>,
    /// When the push was first answered: the reply's `CreateTime`, also for a repeat.
    pub at: Millis,
    /// The answers attached to the reply. Their outcome depends on whether the reply is written
    /// out.
    pub attached: Option<AttachedAnswers>,
}

/// Identifies the answers attached to one reply.
#[derive(Clone, Debug)]
pub struct AttachedAnswers {
    openid: OpenId,
    key: String,
}

impl AttachedAnswers {
    /// The answers attached to the reply to the push with this dedup `key`.
    pub(super) fn new(openid: OpenId, key: String) -> Self {
        Self { openid, key }
    }
}

/// The held answers that go into a reply: its text, and how many calls of each message.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ReplyPlan {
    /// The reply's text.
    pub text: String,
    /// The attached messages, each with the number of its calls.
    pub attached: Vec<(MessageId, u32)>,
    /// Set if the first answer is too long and goes part by part: its new calls.
    pub resplit: Option<(MessageId, Vec<OutboundCall>)>,
}

/// Joins as many whole answers as fit, in order, with line breaks: at most the first `ahead` of
/// `held`. An answer longer than a reply goes part by part. If `more_line` is given, a reply that
/// leaves held answers behind ends with that line.
pub(super) fn plan_reply(held: &[HeldAnswer], ahead: usize, more_line: Option<&str>) -> ReplyPlan {
    let (all, held) = (held.len(), &held[..ahead.min(held.len())]);
    let wholes: Vec<String> = held.iter().map_while(|message| joined_text(&message.calls)).collect();
    let fit_count = count_fitting(&wholes, MAX_REPLY_BYTES);
    if fit_count == all {
        return ReplyPlan::whole_answers(held, &wholes);
    }
    let max_bytes = MAX_REPLY_BYTES - more_line.map_or(0, |line| line.len() + 1);
    let mut plan = match self::count_fitting(&wholes, max_bytes) {
        0 => plan_first_part(held, &wholes, max_bytes),
        count => ReplyPlan::whole_answers(&held[..count], &wholes[..count]),
    };
    if let Some(line) = more_line.filter(|_| !plan.attached.is_empty()) {
        plan.text.push('\n');
        plan.text.push_str(line);
    }
    plan
}

impl ReplyPlan {
    fn whole_answers(held: &[HeldAnswer], wholes: &[String]) -> Self {
        let attachment =
            |message: &HeldAnswer| (message.id, u32::try_from(message.calls.len()).unwrap_or(u32::MAX));
        Self { text: join_lines(wholes), attached: held.iter().map(attachment).collect(), resplit: None }
    }
}

/// Joins whole messages into one text.
pub(super) fn join_lines<T: AsRef<str>>(wholes: &[T]) -> String {
    let wholes: Vec<&str> = wholes.iter().map(AsRef::as_ref).collect();
    wholes.join("\n")
}

/// Returns how many of the first `texts` fit into `max_bytes`.
fn count_fitting(texts: &[String], max_bytes: usize) -> usize {
    let mut length = 0;
    let fits = |text: &&String| {
        length += text.len() + usize::from(length > 0);
        length <= max_bytes
    };
    texts.iter().take(MAX_ATTACHED).take_while(fits).count()
}

/// Returns as much of the first answer as fits, if it is longer than `max_bytes`.
fn plan_first_part(held: &[HeldAnswer], wholes: &[String], max_bytes: usize) -> ReplyPlan {
    let (Some(message), Some(whole)) = (held.first(), wholes.first()) else { return ReplyPlan::default() };
    let Some(first) = split_text(whole, max_bytes).first().copied() else { return ReplyPlan::default() };
    let rest = split_text(&whole[first.len()..], MAX_REPLY_BYTES);
    let calls: Vec<OutboundCall> = std::iter::once(first)
        .chain(rest)
        .map(|part| OutboundCall::TextToCustomer(part.to_owned()))
        .collect();
    let resplit = (calls != message.calls).then_some((message.id, calls));
    ReplyPlan { text: first.to_owned(), attached: vec![(message.id, 1)], resplit }
}

/// Returns the text of an answer's calls: parts of one text are concatenated, other elements get
/// lines of their own.
fn joined_text(calls: &[OutboundCall]) -> Option<String> {
    let mut joined = String::new();
    let mut previous_is_part = true;
    for call in calls {
        // A reply carries only text: an uploaded file may be gone by the time WeChat asks for the reply again.
        let text = call.text_for_customer()?;
        if !previous_is_part {
            joined.push('\n');
        }
        joined.push_str(&text);
        previous_is_part = text.len() >= MIN_PART_BYTES;
    }
    Some(joined)
}

impl Bridge {
    /// Settles the answers attached to a reply, which was written out or certainly was not.
    pub async fn settle_attached(
        &self,
        attached: AttachedAnswers,
        was_written: bool,
    ) -> Result<(), StoreError> {
        let Shared { store, metrics, clock, work_signal, .. } = &*self.0;
        let AttachedAnswers { openid, key } = attached;
        let lane = Lane { direction: Direction::ToWechat, customer: openid.clone() };
        let now = clock.now();
        // The remaining parts of a partly attached answer are pushed if the account may push.
        let rest = if self.may_push(now) { Move::Requeue } else { Move::Hold };
        let (bridge, random) = (self.clone(), rand::rng().random());
        let (attached, has_notice) = store
            .write_for(Scope::customer(&lane.customer), move |tx| {
                if !was_written {
                    tx.mark_reply_not_sent(&openid, &key)?;
                    return Ok((Vec::new(), false));
                }
                let attached = tx.settle_sent_reply(&openid, &key, rest)?;
                if !attached.is_empty() {
                    tx.set_push_not_before(&openid, tx.now().plus(AFTER_REPLY_MS))?;
                }
                let mut has_notice = false;
                for one in &attached {
                    tx.record_step(&openid, Some(one.id), "passive reply", "written out", None)?;
                    has_notice |= one.recall_requested && bridge.notify_of_late_recall(tx, one.id, random)?;
                }
                Ok((attached, has_notice))
            })
            .await?;
        for one in &attached {
            if one.is_complete {
                metrics.record_delivered(Direction::ToWechat, now.since(one.created_at));
            } else if one.recall_requested {
                metrics.ended(Direction::ToWechat, State::Recalled);
            }
        }
        if has_notice {
            work_signal.notify(Lane { direction: Direction::ToIm, customer: lane.customer.clone() });
        }
        // Messages released behind these answers have been waiting for this.
        work_signal.notify(lane);
        Ok(())
    }
}

/// The last line of a reply that cannot hold all waiting answers, in `locale`. Tapping its link sends a text in the customer's name, and the
/// passive reply to that text carries the next answers (reference: "Text content", tap-to-send
/// link).
pub(super) fn more_line(locale: Locale) -> &'static str {
    // `msgmenucontent` is percent-encoded: 더보기, 更多.
    match locale {
        Locale::En => {
            r#"There is more: <a href="weixin://bizmsgmenu?msgmenucontent=More&msgmenuid=1">tap here</a>"#
        }
        Locale::Ko => {
            r#"메시지가 더 있습니다: <a href="weixin://bizmsgmenu?msgmenucontent=%EB%8D%94%EB%B3%B4%EA%B8%B0&msgmenuid=1">더보기</a>"#
        }
        Locale::Zh => {
            r#"还有更多消息：<a href="weixin://bizmsgmenu?msgmenucontent=%E6%9B%B4%E5%A4%9A&msgmenuid=1">查看</a>"#
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held(id: i64, texts: &[String]) -> HeldAnswer {
        let calls = texts.iter().cloned().map(OutboundCall::TextToCustomer).collect();
        HeldAnswer { id: MessageId(id), agent: None, calls, before_backfill: false }
    }

    fn text(call: &OutboundCall) -> &str {
        match call {
            OutboundCall::TextToCustomer(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// Replies until no answer is left, as for a customer who writes again and again. Returns the
    /// replies.
    fn all_replies(mut held: Vec<HeldAnswer>, more: Option<&str>) -> Vec<String> {
        let mut replies = Vec::new();
        while !held.is_empty() {
            let plan = plan_reply(&held, held.len(), more);
            if let Some((id, calls)) = plan.resplit {
                assert_eq!(held[0].id, id);
                held[0].calls = calls;
            }
            assert!(!plan.attached.is_empty());
            for (id, parts) in plan.attached {
                assert_eq!(held[0].id, id, "in order");
                held[0].calls.drain(..parts as usize);
                if held[0].calls.is_empty() {
                    held.remove(0);
                } else {
                    break;
                }
            }
            replies.push(plan.text);
        }
        replies
    }

    const MORE: &str = "there is more";

    proptest! {
        #[test]
        fn every_reply_fits_announces_more_and_loses_nothing(
            texts in prop::collection::vec("[a-z客 ]{1,1500}", 1..8), with_more in any::<bool>()
        ) {
            let held: Vec<HeldAnswer> = (1..).zip(&texts)
                .map(|(id, t)| held(id, &split_text(t, MAX_REPLY_BYTES).into_iter().map(str::to_owned).collect::<Vec<_>>()))
                .collect();
            let replies = all_replies(held, with_more.then_some(MORE));
            let mut all = String::new();
            for (n, reply) in replies.iter().enumerate() {
                prop_assert!(reply.len() <= MAX_REPLY_BYTES, "{}", reply.len());
                let is_last = n + 1 == replies.len();
                let announced = reply.strip_suffix(MORE).and_then(|rest| rest.strip_suffix('\n'));
                prop_assert_eq!(announced.is_some(), with_more && !is_last);
                all.push_str(announced.unwrap_or(reply));
            }
            let without_breaks = |text: &str| text.replace('\n', "");
            prop_assert_eq!(without_breaks(&all), without_breaks(&texts.concat()));
        }
    }

    #[test]
    fn whole_messages_are_joined_by_a_line_break() {
        let three = [held(1, &["one".into()]), held(2, &["two".into()]), held(3, &["x".repeat(1_999)])];
        let plan = plan_reply(&three, 3, None);
        assert_eq!(plan.text, "one\ntwo");
        assert_eq!(plan.attached, [(MessageId(1), 1), (MessageId(2), 1)]);
    }

    #[test]
    fn answers_that_may_not_be_attached_yet_count_as_left_behind() {
        let two = [held(1, &["one".into()]), held(2, &["two".into()])];
        let texts = |ahead| [None, Some(MORE)].map(|more| plan_reply(&two, ahead, more).text);
        assert_eq!(texts(2), ["one\ntwo", "one\ntwo"]);
        assert_eq!(texts(1), ["one", "one\nthere is more"]);
        assert_eq!(texts(0), ["", ""]);
    }

    #[test]
    fn elements_get_their_own_lines_and_parts_are_concatenated() {
        let picture = ["see this".to_owned(), "[image]\nhttps://example.com/1".to_owned()];
        assert_eq!(
            plan_reply(&[held(1, &picture)], 1, None).text,
            "see this\n[image]\nhttps://example.com/1"
        );
        let parts = ["a".repeat(1_500), "b".repeat(100)];
        assert_eq!(plan_reply(&[held(1, &parts)], 1, None).text, parts.concat());
    }

    #[test]
    fn a_first_answer_without_room_for_the_more_line_is_resplit() {
        let two = [held(1, &["x".repeat(2_000)]), held(2, &["y".into()])];
        let plan = plan_reply(&two, 2, Some(MORE));
        assert!(plan.text.ends_with("x\nthere is more") && plan.text.len() == MAX_REPLY_BYTES);
        let (id, calls) = plan.resplit.unwrap();
        assert_eq!(id, MessageId(1));
        assert_eq!(calls.iter().map(text).collect::<String>(), "x".repeat(2_000));
        assert_eq!(plan_reply(&two, 2, None).resplit, None);
    }

    #[test]
    fn short_answers_beyond_the_limit_are_not_forgotten() {
        let many: Vec<HeldAnswer> = (1..=65).map(|id| held(id, &["a".into()])).collect();
        let plan = plan_reply(&many, 65, Some(MORE));
        assert_eq!(plan.attached.len(), MAX_ATTACHED);
        assert!(plan.text.ends_with(MORE));
    }

    #[test]
    fn the_link_sends_a_word_of_the_customers_language() {
        for (locale, word) in [(Locale::En, "More"), (Locale::Ko, "더보기"), (Locale::Zh, "更多")] {
            let line = more_line(locale);
            let (_, rest) = line.split_once("href=\"weixin://bizmsgmenu?").unwrap();
            let (query, _) = rest.split_once('"').unwrap();
            let sent: Vec<(String, String)> =
                url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            let expected = [("msgmenucontent", word), ("msgmenuid", "1")];
            assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
            assert!(line.ends_with("</a>") && line.len() < 160, "{}", line.len());
        }
    }
}
