//! The passive reply: the response to a push, and the held answers attached to it.

use std::borrow::Cow;

use super::{Bridge, Inner};
use crate::model::{Direction, Lane, MessageId, Millis, Move, OpenId, OutboundCall, split_text};
use crate::store::{HeldAnswer, StoreError};

/// The longest passive reply that WeChat shows for certain, in bytes ("Passive replies",
/// "Unknown").
const REPLY_BYTES: usize = 2_000;
/// Calls of one answer with at least this many bytes are parts of one text; shorter ones are
/// separate elements.
const PART_BYTES: usize = 1_400;
/// How long answers stay attached to an unconfirmed reply, milliseconds. WeChat asks three times,
/// five seconds each; until then a repeat may still carry the reply.
pub(super) const RIDE_MS: i64 = 20_000;
/// How long a push waits after a reply, milliseconds, so that WeChat gets the reply first.
pub(super) const BEHIND_MS: i64 = 300;
/// The most held answers in one reply.
const TAKEN: usize = 64;
/// Held answers read for one reply: one more than it may carry, to know whether more are waiting.
pub(super) const LOOKED_AT: u32 = 65;

/// The response to a push.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The text; `None` means the plain `success`.
    pub text: Option<String>,
    /// When the push was first answered: the reply's `CreateTime`, also for a repeat.
    pub at: Millis,
    /// The answers attached to the reply. Their outcome depends on whether the reply is written
    /// out.
    pub receipt: Option<Receipt>,
}

/// Identifies the answers attached to one reply.
#[derive(Clone, Debug)]
pub struct Receipt {
    openid: OpenId,
    key: String,
}

impl Receipt {
    /// The answers attached to the reply to the push with this dedup `key`.
    pub(super) fn new(openid: OpenId, key: String) -> Self {
        Self { openid, key }
    }
}

/// The held answers that go into a reply: its text, and how many calls of each message.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ride {
    /// The reply's text.
    pub text: String,
    /// The attached messages, each with the number of its calls.
    pub taken: Vec<(MessageId, u32)>,
    /// Set if the first answer is too long and goes part by part: its new calls.
    pub recut: Option<(MessageId, Vec<OutboundCall>)>,
}

/// Joins as many whole answers as fit, in order, with line breaks. An answer longer than a reply
/// goes part by part. If `more_line` is given, a reply that leaves answers behind ends with that
/// line.
pub(super) fn ride(held: &[HeldAnswer], more: Option<&str>) -> Ride {
    let wholes: Vec<String> = held.iter().map_while(|message| whole(&message.calls)).collect();
    let fitting = fitting(&wholes, REPLY_BYTES);
    if fitting == held.len() {
        return Ride::of(held, &wholes);
    }
    let room = REPLY_BYTES - more.map_or(0, |line| line.len() + 1);
    let mut ride = match self::fitting(&wholes, room) {
        0 => first_part(held, &wholes, room),
        count => Ride::of(&held[..count], &wholes[..count]),
    };
    if let Some(line) = more.filter(|_| !ride.taken.is_empty()) {
        ride.text.push('\n');
        ride.text.push_str(line);
    }
    ride
}

impl Ride {
    fn of(held: &[HeldAnswer], wholes: &[String]) -> Self {
        let taken =
            |message: &HeldAnswer| (message.id, u32::try_from(message.calls.len()).unwrap_or(u32::MAX));
        Self { text: wholes.join("\n"), taken: held.iter().map(taken).collect(), recut: None }
    }
}

/// Returns how many of the first `texts` fit into `max_bytes`.
fn fitting(texts: &[String], room: usize) -> usize {
    let mut length = 0;
    let fits = |text: &&String| {
        length += text.len() + usize::from(length > 0);
        length <= room
    };
    texts.iter().take(TAKEN).take_while(fits).count()
}

/// Returns as much of the first answer as fits, if it is longer than `max_bytes`.
fn first_part(held: &[HeldAnswer], wholes: &[String], room: usize) -> Ride {
    let (Some(message), Some(whole)) = (held.first(), wholes.first()) else { return Ride::default() };
    let Some(first) = split_text(whole, room).first().copied() else { return Ride::default() };
    let rest = split_text(&whole[first.len()..], REPLY_BYTES);
    let orders: Vec<OutboundCall> = std::iter::once(first)
        .chain(rest)
        .map(|part| OutboundCall::TextToCustomer(part.to_owned()))
        .collect();
    let recut = (orders != message.calls).then_some((message.id, orders));
    Ride { text: first.to_owned(), taken: vec![(message.id, 1)], recut }
}

/// Returns the text of an answer's calls: parts of one text are concatenated, other elements get
/// lines of their own.
fn whole(orders: &[OutboundCall]) -> Option<String> {
    let mut whole = String::new();
    let mut is_cut = true;
    for order in orders {
        let text = match order {
            OutboundCall::TextToCustomer(text) => Cow::from(text),
            // A reply carries only text: an uploaded file may be gone by the time WeChat asks for
            // the reply again.
            OutboundCall::MediaToCustomer(attachment) => attachment.as_text(&attachment.url).into(),
            _ => return None,
        };
        if !is_cut {
            whole.push('\n');
        }
        whole.push_str(&text);
        is_cut = text.len() >= PART_BYTES;
    }
    Some(whole)
}

impl Bridge {
    /// Settles the answers attached to a reply, which was written out or certainly was not.
    pub async fn reply_written(&self, receipt: Receipt, written: bool) -> Result<(), StoreError> {
        let Inner { store, metrics, clock, bell, .. } = &*self.0;
        let Receipt { openid, key } = receipt;
        let lane = Lane { direction: Direction::ToWechat, customer: openid.clone() };
        let now = clock.now();
        // The remaining parts of a partly attached answer are pushed if the account may push.
        let rest = if self.may_push(now) { Move::Requeue } else { Move::Hold };
        let ridden = store
            .write(move |tx| {
                if !written {
                    tx.mark_reply_not_sent(&openid, &key)?;
                    return Ok(Vec::new());
                }
                let ridden = tx.settle_sent_reply(&openid, &key, rest)?;
                if !ridden.is_empty() {
                    tx.set_push_not_before(&openid, tx.now().plus(BEHIND_MS))?;
                }
                for one in &ridden {
                    tx.record_step(&openid, Some(one.id), "passive reply", "written out", None)?;
                }
                Ok(ridden)
            })
            .await?;
        for one in ridden.iter().filter(|one| one.is_complete) {
            metrics.record_delivered(Direction::ToWechat, now.since(one.created_at));
        }
        // Messages released behind these answers have been waiting for this.
        bell.ring(lane);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held(id: i64, texts: &[String]) -> HeldAnswer {
        let orders = texts.iter().cloned().map(OutboundCall::TextToCustomer).collect();
        HeldAnswer { id: MessageId(id), agent: None, calls: orders, before_backfill: false }
    }

    fn text(order: &OutboundCall) -> &str {
        match order {
            OutboundCall::TextToCustomer(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// Replies until no answer is left, as for a customer who writes again and again. Returns the
    /// replies.
    fn rides(mut held: Vec<HeldAnswer>, more: Option<&str>) -> Vec<String> {
        let mut said = Vec::new();
        while !held.is_empty() {
            let ride = ride(&held, more);
            if let Some((id, orders)) = ride.recut {
                assert_eq!(held[0].id, id);
                held[0].calls = orders;
            }
            assert!(!ride.taken.is_empty());
            for (id, parts) in ride.taken {
                assert_eq!(held[0].id, id, "in order");
                held[0].calls.drain(..parts as usize);
                if held[0].calls.is_empty() {
                    held.remove(0);
                } else {
                    break;
                }
            }
            said.push(ride.text);
        }
        said
    }

    const MORE: &str = "there is more";

    proptest! {
        #[test]
        fn every_reply_fits_says_whether_more_waits_and_nothing_is_lost(
            texts in prop::collection::vec("[a-z客 ]{1,1500}", 1..8), said_so in any::<bool>()
        ) {
            let held: Vec<HeldAnswer> = (1..).zip(&texts)
                .map(|(id, t)| held(id, &split_text(t, REPLY_BYTES).into_iter().map(str::to_owned).collect::<Vec<_>>()))
                .collect();
            let said = rides(held, said_so.then_some(MORE));
            let mut all = String::new();
            for (n, reply) in said.iter().enumerate() {
                prop_assert!(reply.len() <= REPLY_BYTES, "{}", reply.len());
                let is_last = n + 1 == said.len();
                let told = reply.strip_suffix(MORE).and_then(|rest| rest.strip_suffix('\n'));
                prop_assert_eq!(told.is_some(), said_so && !is_last);
                all.push_str(told.unwrap_or(reply));
            }
            let without_breaks = |text: &str| text.replace('\n', "");
            prop_assert_eq!(without_breaks(&all), without_breaks(&texts.concat()));
        }
    }

    #[test]
    fn whole_messages_are_joined_by_a_line_break() {
        let ride =
            ride(&[held(1, &["one".into()]), held(2, &["two".into()]), held(3, &["x".repeat(1_999)])], None);
        assert_eq!(ride.text, "one\ntwo");
        assert_eq!(ride.taken, [(MessageId(1), 1), (MessageId(2), 1)]);
    }

    #[test]
    fn elements_stand_on_lines_of_their_own_and_parts_are_put_together() {
        let picture = ["see this".to_owned(), "[image]\nhttps://example.com/1".to_owned()];
        assert_eq!(ride(&[held(1, &picture)], None).text, "see this\n[image]\nhttps://example.com/1");
        let cut = ["a".repeat(1_500), "b".repeat(100)];
        assert_eq!(ride(&[held(1, &cut)], None).text, cut.concat());
    }

    #[test]
    fn a_first_answer_that_leaves_no_room_for_the_line_is_cut_anew() {
        let two = [held(1, &["x".repeat(2_000)]), held(2, &["y".into()])];
        let ride = ride(&two, Some(MORE));
        assert!(ride.text.ends_with("x\nthere is more") && ride.text.len() == REPLY_BYTES);
        let (id, orders) = ride.recut.unwrap();
        assert_eq!(id, MessageId(1));
        assert_eq!(orders.iter().map(text).collect::<String>(), "x".repeat(2_000));
        assert_eq!(super::ride(&two, None).recut, None);
    }

    #[test]
    fn short_answers_beyond_the_limit_are_not_forgotten() {
        let many: Vec<HeldAnswer> = (1..=65).map(|id| held(id, &["a".into()])).collect();
        let ride = ride(&many, Some(MORE));
        assert_eq!(ride.taken.len(), TAKEN);
        assert!(ride.text.ends_with(MORE));
    }
}
