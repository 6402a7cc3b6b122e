//! Reads for operators, and the changes that operators make to messages.

use const_format::formatcp;

use super::column::in_states;
use super::customer::OF_CUSTOMER;
use super::session::Row;
use super::value::{Column, params};
use super::{Settlement, StoreError, Tx};
use crate::model::{Direction, MessageId, MessageKind, Millis, Move, OpenId, State};

/// A message as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MessageSummary {
    /// Its message id.
    pub id: i64,
    /// `message`, `account`, `notice`, `transfer` or `note`.
    pub kind: &'static str,
    /// The name of its [`State`].
    pub state: &'static str,
    /// `to_im` or `to_wechat`.
    pub direction: &'static str,
    /// The customer.
    pub openid: String,
    /// The agent who receives it or wrote it.
    pub agent: Option<String>,
    /// When it was accepted, Unix milliseconds.
    pub created_at: i64,
    /// The number of attempts made.
    pub attempts: u32,
    /// The reason for its state.
    pub last_error: Option<String>,
    /// The return code in `last_error`.
    #[serde(skip)]
    pub code: Option<i64>,
}

/// Which messages an operator asks for. A message must pass all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// In one of these states.
    pub states: Vec<State>,
    /// Of this customer.
    pub customer: Option<OpenId>,
    /// To or from this agent.
    pub agent: Option<String>,
    /// The last failure has this return code.
    pub code: Option<i64>,
    /// Accepted at this time or later.
    pub since: Millis,
}

impl MessageFilter {
    /// Every message.
    pub fn all() -> Self {
        Self { states: State::ALL.to_vec(), since: Millis(i64::MIN), ..Self::default() }
    }
}

/// What is shown in place of a stored number that this version does not know.
const UNREADABLE: &str = "unreadable";

const SUMMARY_COLUMNS: &str =
    "id, state, direction, openid, agent, created_at, attempts, last_error, kind, error_code";

impl Tx<'_> {
    /// The largest message id; 0 without any message.
    pub fn newest_message(&self) -> Result<MessageId, StoreError> {
        let newest: Option<i64> = self.session.value("SELECT max(id) FROM message", params![])?;
        Ok(MessageId(newest.unwrap_or(0)))
    }

    /// The messages that pass `filter`, of any kind, with ids above `after` and up to `until`, in
    /// order of id. The range bounds the time that this takes.
    pub fn list(
        &self,
        filter: &MessageFilter,
        after: MessageId,
        until: MessageId,
    ) -> Result<Vec<MessageSummary>, StoreError> {
        let in_states = in_states(&filter.states);
        let sql = format!(
            "SELECT {SUMMARY_COLUMNS} FROM message WHERE id > ?1 AND id <= ?2 AND {in_states}
             AND (openid = ?3 OR ?3 IS NULL) AND (agent = ?4 OR ?4 IS NULL) AND (error_code = ?5 OR ?5 IS NULL)
             AND created_at >= ?6 ORDER BY id"
        );
        let openid = filter.customer.as_ref().map(OpenId::as_str);
        let agent = filter.agent.as_deref();
        let values = params![after.0, until.0, openid, agent, filter.code, filter.since.0];
        self.session.all(&sql, values, read_summary)
    }

    /// Makes the move [`Move::Reopen`] or [`Move::Discard`], from any state. If an attempt is being
    /// made, its outcome will be dropped. Returns the state before.
    pub fn act_as_operator(
        &self,
        id: MessageId,
        transition: Move,
        why: Option<&str>,
    ) -> Result<State, StoreError> {
        let before = self.state(id)?;
        self.keep_delivery_step(id)?;
        // A delivered message is sent again from its first call on. A recall no longer counts.
        let sql =
            "UPDATE message SET generation = generation + 1, attempts = 0, rounds = 0, recall_requested = 0,
                   calls_done = CASE WHEN ?2 THEN 0 ELSE calls_done END WHERE id = ?1";
        let starts_over = before == State::Delivered && transition == Move::Reopen;
        self.session.run(sql, params![id.0, starts_over])?;
        let why = why.map(str::to_owned);
        self.settle(id, transition, &Settlement { why, ..Settlement::default() })?;
        Ok(before)
    }

    /// One message of any kind.
    pub fn message_summary(&self, id: MessageId) -> Result<MessageSummary, StoreError> {
        let sql = formatcp!("SELECT {SUMMARY_COLUMNS} FROM message WHERE id = ?1");
        self.session.one(sql, params![id.0], read_summary)?.ok_or(StoreError::NoMessage(id))
    }

    /// Whether a message is an agent's note, which no command may send.
    pub fn is_note(&self, id: MessageId) -> Result<bool, StoreError> {
        let kind: Option<MessageKind> =
            self.session.find("SELECT kind FROM message WHERE id = ?1", params![id.0])?;
        Ok(kind == Some(MessageKind::Note))
    }

    /// All stored messages of a customer, of any kind, in order of id. Retention bounds their
    /// number.
    pub fn messages_of(&self, openid: &OpenId) -> Result<Vec<MessageSummary>, StoreError> {
        let sql = formatcp!("SELECT {SUMMARY_COLUMNS} FROM message WHERE {OF_CUSTOMER} ORDER BY id");
        self.session.all(sql, params![openid.as_str()], read_summary)
    }
}

/// Reads a row of [`SUMMARY_COLUMNS`]. A value that cannot be read does not hide its message.
fn read_summary(row: Row<'_>) -> Result<MessageSummary, StoreError> {
    let text = |index: usize| {
        Ok::<_, StoreError>(match row.column(index)? {
            Column::Null => None,
            Column::Text(bytes) | Column::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Column::Int(number) => Some(number.to_string()),
            Column::Real(number) => Some(number.to_string()),
        })
    };
    Ok(MessageSummary {
        id: row.get(0)?,
        kind: row.get::<MessageKind>(8).map_or(UNREADABLE, MessageKind::name),
        state: row.get::<State>(1).map_or(UNREADABLE, State::name),
        direction: row.get::<Direction>(2).map_or(UNREADABLE, Direction::name),
        openid: text(3)?.unwrap_or_default(),
        agent: text(4)?,
        created_at: row.get(5).unwrap_or_default(),
        attempts: row.get(6).unwrap_or_default(),
        last_error: text(7)?,
        code: row.get(9).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::model::{
        Direction, ImUserId, Lane, MessageId, MessageKind, Move, OpenId, OutboundCall, State,
    };
    use crate::store::{Customer, Head, MessageFilter, NewMessage, Settlement, Store, StoreError, testing};

    fn message(openid: &OpenId) -> NewMessage {
        testing::message(Direction::ToWechat, openid, OutboundCall::TextToCustomer("hello".to_owned()))
    }

    #[tokio::test]
    async fn a_customers_messages_and_steps_are_found_and_no_others() {
        let (store, closing) =
            Store::open(&testing::location(), Clock::system(), Metrics::default()).unwrap();
        let (anna, ben) = (OpenId::new("oAnna").unwrap(), OpenId::new("oBen").unwrap());
        store
            .write(move |tx| {
                let mut ids = Vec::new();
                for openid in [&anna, &ben, &anna] {
                    tx.put_customer(&Customer::new(openid.clone()))?;
                    let id = tx.add(&message(openid))?;
                    tx.record_step(openid, Some(id), "custom/send", "45015", Some(12))?;
                    ids.push(id);
                }
                let found: Vec<_> = tx.messages_of(&anna)?.iter().map(|row| row.id).collect();
                assert_eq!(found, [ids[0].0, ids[2].0]);
                let steps = tx.steps(&anna)?;
                assert_eq!(
                    steps.iter().map(|step| step.message).collect::<Vec<_>>(),
                    [Some(ids[0]), Some(ids[2])]
                );
                assert_eq!((steps[0].event.as_str(), steps[0].took_ms), ("custom/send", Some(12)));
                assert_eq!(tx.message_summary(ids[1])?.openid, "oBen");
                assert!(matches!(
                    tx.message_summary(MessageId(99)),
                    Err(StoreError::NoMessage(MessageId(99)))
                ));
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }

    #[tokio::test]
    async fn a_message_passes_all_filters_or_is_not_listed() {
        let (store, closing) =
            Store::open(&testing::location(), Clock::system(), Metrics::default()).unwrap();
        store
            .write(|tx| {
                let (anna, ben) = (OpenId::new("oAnna").unwrap(), OpenId::new("oBen").unwrap());
                let held = tx.add(&message(&anna))?;
                let why = |why: &str| Settlement { why: Some(why.to_owned()), ..Settlement::default() };
                tx.settle(held, Move::Hold, &why("45015 out of response"))?;
                let refused = tx.add(&NewMessage { kind: MessageKind::Account, ..message(&ben) })?;
                tx.settle(refused, Move::Refuse, &why("IM error 70402: no"))?;
                let waiting = tx.add(&NewMessage { agent: ImUserId::new("user1").ok(), ..message(&anna) })?;
                let all = MessageFilter { states: State::ALL.to_vec(), ..MessageFilter::default() };
                let listed = |filter: MessageFilter| -> Result<Vec<i64>, StoreError> {
                    let newest = tx.newest_message()?;
                    Ok(tx.list(&filter, MessageId(0), newest)?.iter().map(|listed| listed.id).collect())
                };
                let (held, refused, waiting) = (held.0, refused.0, waiting.0);
                assert_eq!(listed(all.clone())?, [held, refused, waiting]);
                for (filter, expected) in [
                    (MessageFilter { states: vec![State::Held], ..all.clone() }, vec![held]),
                    (MessageFilter { customer: Some(anna.clone()), ..all.clone() }, vec![held, waiting]),
                    (MessageFilter { agent: Some("user1".to_owned()), ..all.clone() }, vec![waiting]),
                    (MessageFilter { code: Some(70402), ..all.clone() }, vec![refused]),
                    (MessageFilter { since: tx.now().plus(1), ..all.clone() }, vec![]),
                    (MessageFilter { code: Some(70402), customer: Some(anna), ..all.clone() }, vec![]),
                ] {
                    assert_eq!(listed(filter.clone())?, expected, "{filter:?}");
                }
                assert_eq!(tx.list(&all, MessageId(held), MessageId(refused))?.len(), 1);
                assert_eq!(tx.list(&all, MessageId(held), MessageId(refused))?[0].kind, "account");
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }

    #[tokio::test]
    async fn an_operators_command_makes_the_attempt_that_is_under_way_outdated() {
        let (store, closing) =
            Store::open(&testing::location(), Clock::system(), Metrics::default()).unwrap();
        let openid = OpenId::new("oAnna").unwrap();
        let lane = Lane { direction: Direction::ToWechat, customer: openid.clone() };
        store
            .write(move |tx| {
                for (transition, after) in [(Move::Reopen, State::Accepted), (Move::Discard, State::Refused)]
                {
                    let id = tx.add(&message(&openid))?;
                    let Head::Ready(pending) = tx.head(&lane)? else { panic!("it is not ready") };
                    tx.record_attempt_at(id)?;
                    assert!(tx.current(&pending)?.is_some());
                    assert_eq!(tx.act_as_operator(id, transition, None)?, State::Sending);
                    assert_eq!(tx.state(id)?, after);
                    assert_eq!(tx.current(&pending)?, None, "{transition:?}");
                    tx.act_as_operator(id, Move::Discard, None)?;
                }
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }
}
