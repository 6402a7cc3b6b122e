//! Positions in a lane. Messages leave in the order in which they were accepted, with one
//! exception: an agent's message that arrives late, or is found late by a backfill, gets the
//! position that it would have had, as far as no later message has begun to go out.

use const_format::formatcp;

use super::column::{HELD, OPEN};
use super::value::params;
use super::{StoreError, Tx};
use crate::model::{Direction, MessageId, OpenId, State};

/// The sort key of a lane. The indexes use the same expression.
pub(super) const POSITION: &str = "coalesce(position, id)";

/// When IM accepted an agent's message: the second, and the `MsgSeq` within that second.
pub type SentAt = (i64, u32);

/// A pending or held message, reduced to what its position depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LaneEntry {
    id: MessageId,
    position: i64,
    /// The second is 0 where it is not known.
    sent_at: SentAt,
    /// The customer may have received a part of it.
    has_begun: bool,
}

impl Tx<'_> {
    /// Records when IM accepted an agent's message, Unix seconds, and whether earlier messages may
    /// still be missing.
    pub fn set_sent_at(
        &self,
        id: MessageId,
        sent_at_s: i64,
        before_backfill: bool,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE message SET sent_at_s = ?2, before_backfill = ?3 WHERE id = ?1";
        self.session.run(sql, params![id.0, sent_at_s, before_backfill])?;
        Ok(())
    }

    /// Moves `newest`, the message accepted last, to its position by time. It is an answer to
    /// `openid` that IM accepted at `sent_at`. Its position is before the first message that was
    /// sent later and that stands behind all messages that have begun to go out. Each message from
    /// there on takes the position of the next.
    pub fn insert_by_time(
        &self,
        openid: &OpenId,
        newest: MessageId,
        sent_at: SentAt,
    ) -> Result<(), StoreError> {
        if self.is_latest(openid, newest, sent_at)? {
            return Ok(());
        }
        let entries = self.lane_entries(openid)?;
        let Some(shifted) = shifted_positions(&entries, newest, sent_at) else { return Ok(()) };
        let update = "UPDATE message SET position = ?2 WHERE id = ?1";
        for (id, position) in shifted {
            self.session.run(update, params![id.0, position])?;
        }
        Ok(())
    }

    /// Whether none of the last pending and held answers was sent later, as is nearly always so.
    /// The cost does not depend on the number of messages.
    fn is_latest(&self, openid: &OpenId, newest: MessageId, sent_at: SentAt) -> Result<bool, StoreError> {
        let sql = formatcp!(
            "SELECT NOT EXISTS (SELECT 1 FROM (
               SELECT * FROM (SELECT sent_at_s, seq FROM message
                              WHERE direction = ?1 AND openid = ?2 AND {OPEN} AND id != ?3
                              ORDER BY {POSITION} DESC LIMIT 1) AS last_pending
               UNION ALL
               SELECT * FROM (SELECT sent_at_s, seq FROM message INDEXED BY message_held
                              WHERE openid = ?2 AND {HELD} ORDER BY {POSITION} DESC LIMIT 1) AS last_held) AS last
             WHERE (sent_at_s, seq) > (?4, ?5))"
        );
        let values = params![Direction::ToWechat, openid.as_str(), newest.0, sent_at.0, sent_at.1];
        self.session.value(sql, values)
    }

    /// The pending and held answers to a customer, in lane order.
    fn lane_entries(&self, openid: &OpenId) -> Result<Vec<LaneEntry>, StoreError> {
        let sql = formatcp!(
            "SELECT id, {POSITION} AS at, sent_at_s, seq, state = ?3 OR calls_done > 0 FROM message
             WHERE direction = ?1 AND openid = ?2 AND {OPEN}
             UNION ALL
             SELECT id, {POSITION} AS at, sent_at_s, seq, calls_done > 0 FROM message INDEXED BY message_held
             WHERE openid = ?2 AND {HELD}
             ORDER BY at"
        );
        self.session.all(sql, params![Direction::ToWechat, openid.as_str(), State::Sending], |row| {
            Ok(LaneEntry {
                id: MessageId(row.get(0)?),
                position: row.get(1)?,
                sent_at: (row.get(2)?, row.get(3)?),
                has_begun: row.get(4)?,
            })
        })
    }
}

/// The positions that change so that `newest`, the last entry, comes before the entries that were
/// sent after it; `None` if it stays last.
fn shifted_positions(
    entries: &[LaneEntry],
    newest: MessageId,
    sent_at: SentAt,
) -> Option<Vec<(MessageId, i64)>> {
    let (last, others) = entries.split_last().filter(|(last, _)| last.id == newest)?;
    let first_free =
        others.iter().rposition(|entry| entry.has_begun).map_or(0, |last_started| last_started + 1);
    let was_sent_later = |entry: &LaneEntry| entry.sent_at.0 > 0 && entry.sent_at > sent_at;
    let first = first_free + others[first_free..].iter().position(was_sent_later)?;
    let shifted = &entries[first..];
    let next = shifted.iter().zip(&shifted[1..]).map(|(entry, next)| (entry.id, next.position));
    Some(std::iter::once((last.id, shifted[0].position)).chain(next).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{Lane, Move, OutboundCall};
    use crate::store::{Head, NewMessage, Settlement, Store, testing};
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = (SentAt, bool)> {
        ((0_i64..6, 0_u32..4), prop::bool::weighted(0.2))
    }

    proptest! {
        #[test]
        fn others_keep_their_order_and_started_messages_are_not_overtaken(
            others in prop::collection::vec(entry(), 0..9), sent_at in (1_i64..6, 0_u32..4)
        ) {
            let mut entries: Vec<LaneEntry> = (1..).zip(others)
                .map(|(n, (sent_at, has_begun))| LaneEntry { id: MessageId(n), position: n * 10, sent_at, has_begun })
                .collect();
            let newest = MessageId(100);
            entries.push(LaneEntry { id: newest, position: 1_000, sent_at, has_begun: false });
            let mut after = entries.clone();
            for (id, position) in shifted_positions(&entries, newest, sent_at).unwrap_or_default() {
                after.iter_mut().find(|entry| entry.id == id).unwrap().position = position;
            }
            after.sort_by_key(|entry| entry.position);
            prop_assert!(after.is_sorted_by(|entry, next| entry.position < next.position));
            let others = |all: &[LaneEntry]| -> Vec<MessageId> {
                all.iter().map(|entry| entry.id).filter(|id| *id != newest).collect()
            };
            prop_assert_eq!(others(&after), others(&entries));
            let index = after.iter().position(|entry| entry.id == newest).unwrap();
            let (before, behind) = (&after[..index], &after[index + 1..]);
            prop_assert!(behind.iter().all(|entry| !entry.has_begun));
            prop_assert!(behind.first().is_none_or(|entry| entry.sent_at > sent_at));
            let last_started = before.iter().rposition(|entry| entry.has_begun).map_or(0, |begun| begun + 1);
            prop_assert!(before[last_started..].iter().all(|entry| entry.sent_at.0 == 0 || entry.sent_at <= sent_at));
        }
    }

    #[tokio::test]
    async fn a_late_message_goes_before_later_sent_ones_that_wait_or_are_held() {
        let (store, closing) =
            Store::open(&testing::location(), Clock::system(), Metrics::default()).unwrap();
        let openid = OpenId::new("oAnna").unwrap();
        let lane = Lane { direction: Direction::ToWechat, customer: openid.clone() };
        store
            .write(move |tx| {
                let add = |sent_at: SentAt| {
                    let id = tx.add(&NewMessage {
                        msg_seq: sent_at.1,
                        ..testing::message(
                            Direction::ToWechat,
                            &openid,
                            OutboundCall::TextToCustomer("hello".to_owned()),
                        )
                    })?;
                    tx.set_sent_at(id, sent_at.0, false)?;
                    Ok::<_, StoreError>(id)
                };
                let add_late = |sent_at| {
                    let id = add(sent_at)?;
                    tx.insert_by_time(&openid, id, sent_at)?;
                    Ok::<_, StoreError>(id)
                };
                let next_pending = || match tx.head(&lane)? {
                    Head::Ready(pending) => Ok::<_, StoreError>(pending.id),
                    other => panic!("{other:?}"),
                };
                let (being_sent, held, waiting) = (add((9, 0))?, add((9, 5))?, add((9, 7))?);
                tx.record_attempt_at(being_sent)?;
                tx.settle(held, Move::Hold, &Settlement::default())?;
                let between = add_late((9, 6))?;
                let older = add_late((9, 1))?;
                let youngest = add_late((9, 8))?;
                tx.settle(being_sent, Move::Deliver, &Settlement::default())?;
                assert_eq!(next_pending()?, older);
                assert!(!tx.has_held_before(&openid, older)? && tx.has_held_before(&openid, between)?);
                for next in [older, between, waiting, youngest] {
                    assert_eq!(next_pending()?, next);
                    tx.settle(next, Move::Hold, &Settlement::default())?;
                }
                let all: Vec<MessageId> = tx.held(&openid, 10)?.iter().map(|held| held.id).collect();
                assert_eq!(all, [older, held, between, waiting, youngest]);
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }
}
