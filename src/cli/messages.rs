//! `messages`: lists the stored messages, and lets an operator retry or discard them.
//!
//! Works next to a running bridge, which it notifies through a stored `kv` entry.

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};

use super::output::{Columns, print};
use super::{Error, ErrorWithHint, with_store};
use crate::bridge::notify_discarded;
use crate::clock::Clock;
use crate::clock::calendar::utc;
use crate::config::{Config, Locale};
use crate::model::{MessageId, Millis, Move, State};
use crate::outbox::OPERATOR_SIGNAL;
use crate::store::{MessageSummary, Settlement, Store, StoreError, Tx};

/// The number of messages that one query reads.
const PAGE: usize = 500;

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  wechat-im-bridge messages list --state unknown")]
pub(super) enum Action {
    /// List the customers' and agents' messages without their texts, the oldest first
    #[command(after_help = "Example:\n  wechat-im-bridge messages list --state held --json")]
    List {
        /// Only messages in this state
        #[arg(long, value_name = "STATE")]
        state: Option<StateFilter>,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Send a held, refused or unknown message again, or a waiting one at once
    ///
    /// An unknown message may already have arrived. If so, the customer gets it twice.
    #[command(after_help = "Example:\n  wechat-im-bridge messages retry 17")]
    Retry {
        /// The message's id
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        id: i64,
    },
    /// Discard a message: it becomes refused and is never sent
    #[command(after_help = "Example:\n  wechat-im-bridge messages discard 17")]
    Discard {
        /// The message's id
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        id: i64,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum StateFilter {
    /// The bridge still has to act on it
    Waiting,
    /// It waits until the customer acts
    Held,
    /// The platform accepted it
    Delivered,
    /// It is never sent
    Refused,
    /// It may or may not have arrived
    Unknown,
    /// A push from WeChat that the bridge could not read; it is kept as it came
    Unreadable,
    /// Its agent recalled it before it left
    Recalled,
}

impl StateFilter {
    fn states(self) -> Vec<State> {
        match self {
            Self::Waiting => vec![State::Accepted, State::Sending],
            Self::Held => vec![State::Held],
            Self::Delivered => vec![State::Delivered],
            Self::Refused => vec![State::Refused],
            Self::Unknown => vec![State::Unknown],
            // Such a push never became a message.
            Self::Unreadable => Vec::new(),
            Self::Recalled => vec![State::Recalled],
        }
    }
}

pub(super) fn run(action: &Action, config: &Config, clock: &Clock) -> Result<(), Error> {
    match *action {
        Action::List { state, json } => {
            with_store(config, clock, async |store| list(&store, state, json).await)
        }
        Action::Retry { id } => {
            with_store(config, clock, async |store| apply(&store, MessageId(id), retry).await)
        }
        Action::Discard { id } => {
            let (locale, random) = (config.texts.locale, rand::random());
            let discard = move |tx: &Tx<'_>, id| discard(tx, id, locale, random);
            with_store(config, clock, async |store| apply(&store, MessageId(id), discard).await)
        }
    }
}

/// The columns of a table of messages. Only the last one may be long.
pub(super) const HEADER: [&str; 8] =
    ["ID", "STATE", "DIRECTION", "CREATED", "ATTEMPTS", "OPENID", "AGENT", "LAST ERROR"];

pub(super) fn row(message: &MessageSummary) -> [String; 8] {
    [
        message.id.to_string(),
        message.state.to_owned(),
        message.direction.to_owned(),
        utc(Millis(message.created_at)),
        message.attempts.to_string(),
        message.openid.clone(),
        message.agent.clone().unwrap_or_else(|| "-".to_owned()),
        message.last_error.clone().unwrap_or_default(),
    ]
}

async fn list(store: &Store, state: Option<StateFilter>, json: bool) -> Result<(), Error> {
    let states = state.map_or_else(|| State::ALL.to_vec(), StateFilter::states);
    let shows_unreadable = matches!(state, None | Some(StateFilter::Unreadable));
    let mut after = MessageId(0);
    let mut columns: Option<Columns> = None;
    loop {
        let states = states.clone();
        let is_first = after == MessageId(0);
        let read = store.read(move |tx| {
            let mut page = tx.list(after, &states, PAGE)?;
            let is_full = page.len() == PAGE;
            if shows_unreadable && is_first {
                page.splice(0..0, tx.list_unreadable()?);
            }
            Ok((page, is_full))
        });
        let (page, is_full) = read.await.map_err(anyhow::Error::from)?;
        if json {
            let lines = page.iter().map(|message| serde_json::to_string(message).map(|line| line + "\n"));
            print(&lines.collect::<Result<String, _>>().context("cannot write a message as JSON")?)?;
        } else {
            let rows: Vec<_> = page.iter().map(row).collect();
            match &columns {
                Some(columns) => print(&columns.lines(&rows))?,
                None if rows.is_empty() => print("no messages\n")?,
                None => {
                    let fitting = Columns::fitting(HEADER, &rows);
                    print(&(fitting.line(HEADER) + &fitting.lines(&rows)))?;
                    columns = Some(fitting);
                }
            }
        }
        match page.last() {
            Some(last) if is_full => after = MessageId(last.id),
            _ => return Ok(()),
        }
    }
}

/// The reply to an operator's command: a confirmation, or why the command is refused.
type OperatorReply = Result<String, ErrorWithHint>;

async fn apply(
    store: &Store,
    id: MessageId,
    change: impl Fn(&Tx<'_>, MessageId) -> Result<OperatorReply, StoreError> + Send + 'static,
) -> Result<(), Error> {
    let result = store.write(move |tx| change(tx, id)).await;
    match result {
        Ok(reply) => print(&format!("{}\n", reply?)),
        Err(error @ StoreError::NoMessage(_)) => {
            let hint =
                "`messages list` shows the stored messages; settled ones are kept for 30 days".to_owned();
            Err(ErrorWithHint { problem: error.to_string(), hint }.into())
        }
        Err(error) => Err(anyhow::Error::from(error).into()),
    }
}

fn retry(tx: &Tx<'_>, id: MessageId) -> Result<OperatorReply, StoreError> {
    let state = tx.state(id)?;
    let confirmation = match state {
        State::Accepted | State::Sending => {
            if !tx.make_due(id)? {
                let problem = format!("message {id} is attached to an unconfirmed passive reply");
                let hint = "try again in a minute".to_owned();
                return Ok(Err(ErrorWithHint { problem, hint }));
            }
            "its next attempt is due now".to_owned()
        }
        State::Held | State::Refused => {
            tx.settle(id, Move::Reopen, &Settlement::default())?;
            format!("it was {} and is sent again", state.name())
        }
        State::Unknown if tx.is_recall_requested(id)? => return Ok(Err(recalled(id))),
        State::Recalled => return Ok(Err(recalled(id))),
        State::Unknown => {
            tx.settle(id, Move::Reopen, &Settlement::default())?;
            "it was unknown and is sent again; if it had already arrived, it arrives twice".to_owned()
        }
        State::Delivered => {
            let hint = "a delivered message is not sent again".to_owned();
            return Ok(Err(ErrorWithHint { problem: format!("message {id} has been delivered"), hint }));
        }
    };
    record_change(tx, id, "retry")?;
    Ok(Ok(format!("message {id} is waiting: {confirmation}")))
}

fn recalled(id: MessageId) -> ErrorWithHint {
    let problem = format!("message {id} was recalled by its agent");
    ErrorWithHint { problem, hint: "a recalled message is not sent again".to_owned() }
}

fn discard(tx: &Tx<'_>, id: MessageId, locale: Locale, random: u32) -> Result<OperatorReply, StoreError> {
    let refusal = match tx.state(id)? {
        State::Accepted | State::Held | State::Unknown => None,
        State::Sending => Some((
            "is being sent right now",
            "try again when its state is known; a message that is being sent cannot be recalled",
        )),
        State::Delivered => Some(("has been delivered", "a delivered message cannot be recalled")),
        State::Recalled => {
            Some(("was recalled by its agent", "it is never sent, so there is nothing to discard"))
        }
        State::Refused => Some(("is already refused", "it is never sent, so there is nothing to discard")),
    };
    if let Some((why, hint)) = refusal {
        return Ok(Err(ErrorWithHint { problem: format!("message {id} {why}"), hint: hint.to_owned() }));
    }
    // Record the step first: if the customer has unsubscribed, the move deletes the row.
    record_change(tx, id, "discard")?;
    let is_agent_notified = notify_discarded(tx, locale, &tx.pending_call(id)?, random)?;
    let why = Some("discarded by the operator".to_owned());
    tx.settle(id, Move::Refuse, &Settlement { why, ..Settlement::default() })?;
    let suffix = if is_agent_notified { ", and its agent gets a notice" } else { "" };
    Ok(Ok(format!("message {id} is refused: it is never sent{suffix}")))
}

/// Records the change as a step, and notifies the running bridge.
fn record_change(tx: &Tx<'_>, id: MessageId, event: &str) -> Result<(), StoreError> {
    tx.record_step(&tx.lane_of(id)?.customer, Some(id), event, "by the operator", None)?;
    tx.put_kv(OPERATOR_SIGNAL, &tx.now().0.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::model::{Direction, MessageKind, OpenId, OutboundCall};
    use crate::store::{Closing, Customer, NewMessage, StoreLocation};

    fn store() -> (Store, Closing) {
        Store::open(&StoreLocation::Memory, Clock::system(), Metrics::default()).unwrap()
    }

    /// Adds a message and makes `moves` with it.
    fn message(tx: &Tx<'_>, moves: &[Move]) -> Result<MessageId, StoreError> {
        let openid = OpenId::new("oAnna").unwrap();
        tx.put_customer(&Customer::new(openid.clone()))?;
        let id = tx.add(&NewMessage {
            direction: Direction::ToWechat,
            kind: MessageKind::Message,
            openid,
            agent: None,
            calls: vec![OutboundCall::TextToCustomer("hello".to_owned())],
            msg_seq: 1,
            msg_random: 1,
            source: "a".to_owned(),
            erase: false,
        })?;
        for transition in moves {
            match transition {
                Move::Attempt => tx.record_attempt(id)?,
                transition => drop(tx.settle(id, *transition, &Settlement::default())?),
            }
        }
        Ok(id)
    }

    const HELD: &[Move] = &[Move::Hold];
    const REFUSED: &[Move] = &[Move::Refuse];
    const UNKNOWN: &[Move] = &[Move::Attempt, Move::MarkUnknown];
    const DELIVERED: &[Move] = &[Move::Attempt, Move::Deliver];
    const SENDING: &[Move] = &[Move::Attempt];

    #[tokio::test]
    async fn stuck_messages_can_be_retried_and_delivered_ones_cannot() {
        let (store, closing) = store();
        store
            .write(|tx| {
                for stuck in [&[][..], HELD, REFUSED, UNKNOWN] {
                    let id = message(tx, stuck)?;
                    assert!(retry(tx, id)?.is_ok(), "{stuck:?}");
                    assert_eq!(tx.state(id)?, State::Accepted, "{stuck:?}");
                }
                assert_eq!(tx.kv(OPERATOR_SIGNAL)?, Some(tx.now().0.to_string()));
                let steps = tx.steps(&OpenId::new("oAnna").unwrap())?;
                assert_eq!(steps.iter().filter(|step| step.event == "retry").count(), 4);
                let id = message(tx, DELIVERED)?;
                assert!(retry(tx, id)?.unwrap_err().problem.contains("has been delivered"));
                assert_eq!(tx.state(id)?, State::Delivered);
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }

    #[tokio::test]
    async fn a_discarded_message_is_refused_with_the_reason() {
        let (store, closing) = store();
        store
            .write(|tx| {
                for open in [&[][..], HELD, UNKNOWN] {
                    let id = message(tx, open)?;
                    assert!(discard(tx, id, Locale::En, 7)?.is_ok(), "{open:?}");
                    let listed = tx.message_summary(id)?;
                    assert_eq!(listed.state, "refused", "{open:?}");
                    assert_eq!(listed.last_error.as_deref(), Some("discarded by the operator"));
                }
                assert!(tx.kv(OPERATOR_SIGNAL)?.is_some());
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }

    #[tokio::test]
    async fn sending_and_ended_messages_are_not_discarded_and_send_no_signal() {
        let (store, closing) = store();
        store
            .write(|tx| {
                for (ended, why) in
                    [(SENDING, "right now"), (DELIVERED, "delivered"), (REFUSED, "already refused")]
                {
                    let id = message(tx, ended)?;
                    let before = tx.state(id)?;
                    let refused = discard(tx, id, Locale::En, 7)?.unwrap_err();
                    assert!(refused.problem.contains(why), "{refused}");
                    assert_eq!(tx.state(id)?, before);
                }
                assert_eq!(tx.kv(OPERATOR_SIGNAL)?, None);
                Ok(())
            })
            .await
            .unwrap();
        closing.close();
    }

    #[test]
    fn each_state_filter_has_the_name_under_which_its_states_are_listed() {
        for filter in StateFilter::value_variants() {
            let name = filter.to_possible_value().unwrap().get_name().to_owned();
            for state in filter.states() {
                assert_eq!(state.name(), name);
            }
        }
        let all: usize = StateFilter::value_variants().iter().map(|wanted| wanted.states().len()).sum();
        assert_eq!(all, State::ALL.len());
    }
}
