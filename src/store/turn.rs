//! Positions in a lane. Messages leave in the order in which they were accepted, with one
//! exception: an agent's message that arrives late, or is found late by a backfill, gets the
//! position that it would have had, as far as no later message has begun to go out.

use super::{StoreError, Tx};
use crate::model::{Direction, MessageId, OpenId, State};

/// The sort key of a lane. The indexes use the same expression.
pub(super) const TURN: &str = "ifnull(turn, id)";

/// When IM accepted an agent's message: the second, and the `MsgSeq` within that second.
pub type Said = (i64, u32);

/// A pending or held message, reduced to what its position depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    id: MessageId,
    turn: i64,
    /// The second is 0 where it is not known.
    said: Said,
    /// The customer may have received a part of it.
    has_begun: bool,
}

impl Tx<'_> {
    /// Records when IM accepted an agent's message, Unix seconds, and whether earlier messages may
    /// still be missing.
    pub fn said(&self, id: MessageId, at_s: i64, unlooked: bool) -> Result<(), StoreError> {
        let sql = "UPDATE message SET said_s = ?2, unlooked = ?3 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute((id.0, at_s, unlooked))?;
        Ok(())
    }

    /// Moves `newest`, the message accepted last, to its position by time. It is an answer to
    /// `openid` that IM accepted at `sent_at`. Its position is before the first message that was
    /// sent later and that stands behind all messages that have begun to go out. Each message from
    /// there on takes the position of the next.
    pub fn take_turn(&self, openid: &OpenId, newest: MessageId, said: Said) -> Result<(), StoreError> {
        if self.comes_last(openid, newest, said)? {
            return Ok(());
        }
        let waiting = self.waiting(openid)?;
        let Some(moved) = turns(&waiting, newest, said) else { return Ok(()) };
        let mut update = self.connection.prepare_cached("UPDATE message SET turn = ?2 WHERE id = ?1")?;
        for (id, turn) in moved {
            update.execute((id.0, turn))?;
        }
        Ok(())
    }

    /// Whether none of the last pending and held answers was sent later, as is nearly always so.
    /// The cost does not depend on the number of messages.
    fn comes_last(&self, openid: &OpenId, newest: MessageId, said: Said) -> Result<bool, StoreError> {
        let sql = format!(
            "SELECT NOT EXISTS (SELECT 1 FROM (
               SELECT * FROM (SELECT said_s, seq FROM message
                              WHERE direction = ?1 AND openid = ?2 AND state IN (0, 1) AND id != ?3
                              ORDER BY {TURN} DESC LIMIT 1)
               UNION ALL
               SELECT * FROM (SELECT said_s, seq FROM message INDEXED BY message_held
                              WHERE openid = ?2 AND state = 3 ORDER BY {TURN} DESC LIMIT 1))
             WHERE (said_s, seq) > (?4, ?5))"
        );
        let row = (Direction::ToWechat, openid.as_str(), newest.0, said.0, said.1);
        Ok(self.connection.prepare_cached(&sql)?.query_row(row, |row| row.get(0))?)
    }

    /// The pending and held answers to a customer, in lane order.
    fn waiting(&self, openid: &OpenId) -> Result<Vec<Waiting>, StoreError> {
        let sql = format!(
            "SELECT id, {TURN} AS at, said_s, seq, state = ?3 OR part > 0 FROM message
             WHERE direction = ?1 AND openid = ?2 AND state IN (0, 1)
             UNION ALL
             SELECT id, {TURN} AS at, said_s, seq, part > 0 FROM message INDEXED BY message_held
             WHERE openid = ?2 AND state = 3
             ORDER BY at"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((Direction::ToWechat, openid.as_str(), State::Sending), |row| {
            Ok(Waiting {
                id: MessageId(row.get(0)?),
                turn: row.get(1)?,
                said: (row.get(2)?, row.get(3)?),
                has_begun: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// The positions that change so that `newest`, the last entry, comes before the entries that were
/// sent after it; `None` if it stays last.
fn turns(waiting: &[Waiting], newest: MessageId, said: Said) -> Option<Vec<(MessageId, i64)>> {
    let (last, others) = waiting.split_last().filter(|(last, _)| last.id == newest)?;
    let free = others.iter().rposition(|one| one.has_begun).map_or(0, |begun| begun + 1);
    let is_younger = |one: &Waiting| one.said.0 > 0 && one.said > said;
    let first = free + others[free..].iter().position(is_younger)?;
    let moved = &waiting[first..];
    let next = moved.iter().zip(&moved[1..]).map(|(one, next)| (one.id, next.turn));
    Some(std::iter::once((last.id, moved[0].turn)).chain(next).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{Lane, MessageKind, Move, OutboundCall};
    use crate::store::{Head, NewMessage, Place, Settled, Store};
    use proptest::prelude::*;

    fn one() -> impl Strategy<Value = (Said, bool)> {
        ((0_i64..6, 0_u32..4), prop::bool::weighted(0.2))
    }

    proptest! {
        #[test]
        fn the_others_keep_their_order_and_nobody_passes_what_has_begun(
            others in prop::collection::vec(one(), 0..9), said in (1_i64..6, 0_u32..4)
        ) {
            let mut waiting: Vec<Waiting> = (1..).zip(others)
                .map(|(n, (said, has_begun))| Waiting { id: MessageId(n), turn: n * 10, said, has_begun })
                .collect();
            let newest = MessageId(100);
            waiting.push(Waiting { id: newest, turn: 1_000, said, has_begun: false });
            let mut after = waiting.clone();
            for (id, turn) in turns(&waiting, newest, said).unwrap_or_default() {
                after.iter_mut().find(|one| one.id == id).unwrap().turn = turn;
            }
            after.sort_by_key(|one| one.turn);
            prop_assert!(after.is_sorted_by(|one, next| one.turn < next.turn));
            let others = |all: &[Waiting]| -> Vec<MessageId> {
                all.iter().map(|one| one.id).filter(|id| *id != newest).collect()
            };
            prop_assert_eq!(others(&after), others(&waiting));
            let place = after.iter().position(|one| one.id == newest).unwrap();
            let (before, behind) = (&after[..place], &after[place + 1..]);
            prop_assert!(behind.iter().all(|one| !one.has_begun));
            prop_assert!(behind.first().is_none_or(|one| one.said > said));
            let begun = before.iter().rposition(|one| one.has_begun).map_or(0, |begun| begun + 1);
            prop_assert!(before[begun..].iter().all(|one| one.said.0 == 0 || one.said <= said));
        }
    }

    #[tokio::test]
    async fn found_late_goes_before_the_younger_that_wait_or_are_held() {
        let (store, closing) = Store::open(&Place::Memory, Clock::system(), Metrics::default()).unwrap();
        let openid = OpenId::new("oAnna").unwrap();
        let lane = Lane { direction: Direction::ToWechat, customer: openid.clone() };
        store
            .write(move |tx| {
                let add = |said: Said| {
                    let id = tx.add(&NewMessage {
                        direction: Direction::ToWechat,
                        kind: MessageKind::Message,
                        openid: openid.clone(),
                        agent: None,
                        orders: vec![OutboundCall::TextToCustomer("hello".to_owned())],
                        msg_seq: said.1,
                        msg_random: 1,
                        source: "a".to_owned(),
                        erase: false,
                    })?;
                    tx.said(id, said.0, false)?;
                    Ok::<_, StoreError>(id)
                };
                let found = |said| {
                    let id = add(said)?;
                    tx.take_turn(&openid, id, said)?;
                    Ok::<_, StoreError>(id)
                };
                let first = || match tx.head(&lane)? {
                    Head::Ready(owed) => Ok::<_, StoreError>(owed.id),
                    other => panic!("{other:?}"),
                };
                let (being_sent, held, waiting) = (add((9, 0))?, add((9, 5))?, add((9, 7))?);
                tx.record_attempt(being_sent)?;
                tx.settle(held, Move::Hold, &Settled::default())?;
                let between = found((9, 6))?;
                let older = found((9, 1))?;
                let youngest = found((9, 8))?;
                tx.settle(being_sent, Move::Deliver, &Settled::default())?;
                assert_eq!(first()?, older);
                assert!(!tx.has_held_before(&openid, older)? && tx.has_held_before(&openid, between)?);
                for next in [older, between, waiting, youngest] {
                    assert_eq!(first()?, next);
                    tx.settle(next, Move::Hold, &Settled::default())?;
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
