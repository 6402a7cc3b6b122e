//! The oracle: compares the texts that were sent and accepted with both platforms' ledgers and the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;
use wechat_im_bridge::internals::sandbox::im::SendRecord;
use wechat_im_bridge::internals::sandbox::wechat::Via;

use super::rig::Rig;
use crate::database::Database;
use crate::observe::SENDMSG;
use crate::world::{INQUIRY, TRANSFERRING, WELCOME, openid};

/// An agent's message, read from the store.
#[derive(Clone, Debug)]
pub struct StoredAnswer {
    pub state: &'static str,
    /// The reason of its state, which is shown when a check fails.
    pub reason: String,
    /// When the bridge found it in the history, in Unix milliseconds. `None` if its callback arrived.
    backfilled_at: Option<i64>,
    /// When its last attempt was recorded, in Unix milliseconds.
    last_attempt_at: i64,
    /// Start and end of each attempt whose end was recorded, in Unix milliseconds.
    attempts: Vec<(i64, i64)>,
}

/// How much earlier than its recorded start an attempt may begin, in milliseconds, because a commit takes
/// time.
const COMMIT_MS: i64 = 1_000;

impl StoredAnswer {
    /// Whether it was being sent or was already sent at this time, so that no other message could go before
    /// it.
    fn was_started(&self, at: i64) -> bool {
        let was_being_sent = |(start, end): &(i64, i64)| (start - COMMIT_MS..=*end).contains(&at);
        self.last_attempt_at <= at || self.attempts.iter().any(was_being_sent)
    }
}

/// The content of the store: the agents' messages by text, and the number of customers' messages by state.
#[derive(Debug, Default)]
pub struct Stored {
    pub answers: BTreeMap<String, Vec<StoredAnswer>>,
    pub questions: BTreeMap<&'static str, u32>,
}

/// How the reply to a customer who joins the line begins.
const QUEUED: &str = "All our agents are busy.";
const STATES: [&str; 6] = ["waiting", "waiting", "delivered", "held", "refused", "unknown"];

impl Stored {
    pub fn read(database: &Database) -> Self {
        let sql = "SELECT direction, state, calls, coalesce(last_error, ''), id, attempt_at FROM message
                   WHERE kind = 0 ORDER BY id";
        let mut stored = Self::default();
        let (mut recovered, mut sent) = (steps(database, "recovered"), steps(database, "custom/send"));
        for row in database.rows(sql, &[]).unwrap() {
            let number = |at: usize| row[at].as_i64().unwrap();
            let state = STATES[usize::try_from(number(1)).unwrap()];
            if number(0) == 0 {
                *stored.questions.entry(state).or_default() += 1;
                continue;
            }
            let calls: serde_json::Value = serde_json::from_str(row[2].as_str().unwrap()).unwrap();
            // A picture has none.
            let texts = calls.as_array().unwrap().iter().filter_map(|call| call["TextToCustomer"].as_str());
            let answer = StoredAnswer {
                state,
                reason: row[3].as_str().unwrap().to_owned(),
                backfilled_at: recovered.remove(&number(4)).and_then(|steps| Some(steps.first()?.1)),
                last_attempt_at: number(5),
                attempts: sent.remove(&number(4)).unwrap_or_default(),
            };
            stored.answers.entry(texts.collect()).or_default().push(answer);
        }
        stored
    }

    /// The state of an agent's message. Panics if the message is stored twice.
    pub fn state(&self, text: &str) -> &'static str {
        match self.answers.get(text).map(Vec::as_slice) {
            Some([answer]) => answer.state,
            None => "absent",
            Some(answers) => panic!("{text:?} is stored {} times: {answers:?}", answers.len()),
        }
    }

    fn answer(&self, text: &str) -> Option<&StoredAnswer> {
        self.answers.get(text).and_then(|answers| answers.first())
    }

    fn reason(&self, text: &str) -> &str {
        self.answer(text).map_or("", |answer| answer.reason.as_str())
    }

    /// How many agents' messages the bridge found in the history.
    pub fn backfilled_count(&self) -> usize {
        self.answers.values().flatten().filter(|answer| answer.backfilled_at.is_some()).count()
    }

    /// Whether the customer may see `younger` before `older`. This is allowed only if the sending of
    /// `younger` started before the bridge found `older`, whose callback did not arrive, in the history.
    fn may_overtake(&self, younger: &str, older: &str) -> bool {
        let (Some(younger), Some(older)) = (self.answer(younger), self.answer(older)) else { return false };
        younger.backfilled_at.is_none() && older.backfilled_at.is_some_and(|at| younger.was_started(at))
    }

    /// How many agents' messages are in this state.
    pub fn count(&self, state: &str) -> usize {
        self.answers.values().flatten().filter(|answer| answer.state == state).count()
    }
}

/// The texts that were sent in one customer's conversation, in order.
#[derive(Debug, Default)]
pub struct Conversation {
    /// The customer's texts, and whether the bridge accepted the push.
    pub questions: Vec<(String, bool)>,
    /// The agents' texts, and whether the bridge accepted the callback.
    pub answers: Vec<(String, bool)>,
}

/// Start and end of each message's steps with this event name, in Unix milliseconds.
fn steps(database: &Database, event: &str) -> HashMap<i64, Vec<(i64, i64)>> {
    let sql =
        "SELECT message, at - coalesce(took_ms, 0), at FROM step WHERE event = ?1 AND message IS NOT NULL
               UNION ALL SELECT id, settled_at - took_ms, settled_at FROM message
                         WHERE took_ms IS NOT NULL AND ?1 = 'custom/send' ORDER BY 1, 2";
    let mut of_message: HashMap<i64, Vec<(i64, i64)>> = HashMap::new();
    for row in database.rows(sql, &[json!(event)]).unwrap() {
        let [message, begun, ended] = [0, 1, 2].map(|column| row[column].as_i64().unwrap());
        of_message.entry(message).or_default().push((begun, ended));
    }
    of_message
}

fn index_of(all: &[String], text: &str) -> usize {
    all.iter().position(|one| one == text).unwrap_or_else(|| panic!("{text:?} was never sent"))
}

/// Compares a conversation with the ledgers and the store. Panics with the text that was lost, doubled or
/// reordered. Returns how many answers were backfilled too late for their position.
pub fn check_conversation(rig: &Rig, customer: &str, conversation: &Conversation, stored: &Stored) -> usize {
    check_towards_im(rig, customer, conversation);
    check_towards_wechat(rig, customer, conversation, stored)
}

/// Whether it is what a customer wrote. A notice begins with the bridge's name, and a picture has no words.
fn is_question(text: &str) -> bool {
    !text.is_empty() && !text.starts_with("[bridge] ")
}

/// Invariants 1, 2, 3 and 4 towards IM: each accepted text arrives once and in order, by its identity and by
/// its content.
fn check_towards_im(rig: &Rig, customer: &str, conversation: &Conversation) {
    let ledger = rig.im.ledger();
    assert_eq!(ledger.dropped_entries(), 0);
    // An agent who takes a conversation over gets what was said by `importmsg`.
    let is_sent = |send: &&SendRecord| send.api == SENDMSG && send.from == openid(customer);
    let delivered = ledger.deliveries().filter(is_sent);
    let arrived: Vec<_> = delivered
        .map(|send| ((send.seq, send.random), send.text()))
        .filter(|(_, text)| is_question(text))
        .collect();
    let identities: BTreeSet<_> = arrived.iter().map(|(identity, _)| *identity).collect();
    assert_eq!(identities.len(), arrived.len(), "{customer}: an identity was delivered twice");

    let questions: Vec<String> =
        conversation.questions.iter().map(|(text, _)| format!("{INQUIRY}{text}")).collect();
    let indexes: Vec<usize> = arrived.iter().map(|(_, text)| index_of(&questions, text)).collect();
    assert!(
        indexes.is_sorted_by(|one, next| one < next),
        "{customer}: doubled or out of order at IM: {indexes:?}\n{}",
        rig.log()
    );
    for (index, (text, accepted)) in conversation.questions.iter().enumerate() {
        assert!(
            !accepted || indexes.contains(&index),
            "{customer}: {text:?} was accepted and lost\n{}",
            rig.log()
        );
    }
    let agent_indexes: Vec<usize> = (rig.agent().conversation(&openid(customer)).iter())
        .filter(|message| message.from == openid(customer) && is_question(&message.text()))
        .map(|message| index_of(&questions, &message.text()))
        .collect();
    assert!(agent_indexes.is_sorted(), "{customer}: the agent sees another order: {agent_indexes:?}");
}

/// Invariants 1, 2, 3, 5 and 6 towards WeChat: the customer sees no text twice, and each message has one
/// final state that agrees with the screen. The order is kept except for unknown messages and those that were
/// backfilled too late.
fn check_towards_wechat(rig: &Rig, customer: &str, conversation: &Conversation, stored: &Stored) -> usize {
    let all: Vec<String> = conversation.answers.iter().map(|(text, _)| text.clone()).collect();
    let shown: Vec<String> = (rig.wechat.customer(&openid(customer)).screen().iter())
        .filter(|shown| shown.via != Via::Fault)
        .flat_map(|shown| shown.text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|text| text != TRANSFERRING && text != WELCOME && !text.starts_with(QUEUED))
        .collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for text in &shown {
        *counts.entry(text).or_default() += 1;
    }
    let known: Vec<&String> = shown.iter().filter(|text| stored.state(text) != "unknown").collect();
    let mut late = BTreeSet::new();
    for (at, older) in known.iter().enumerate() {
        for younger in known[..at].iter().filter(|younger| index_of(&all, younger) >= index_of(&all, older)) {
            assert!(
                stored.may_overtake(younger, older),
                "{customer}: the customer sees {younger:?} before {older:?}: {shown:?}\n{:?}\n{:?}",
                stored.answer(younger),
                stored.answer(older)
            );
            if late.insert(*older) {
                println!(
                    "{customer}: {older:?} was backfilled after the sending of {younger:?} started: {:?} {:?}",
                    stored.answer(older),
                    stored.answer(younger)
                );
            }
        }
    }

    let notices: Vec<String> = (rig.im.ledger().deliveries())
        .filter(|send| send.from == openid(customer))
        .map(SendRecord::text)
        .filter(|text| text.starts_with("[bridge] "))
        .collect();
    for (text, accepted) in &conversation.answers {
        let state = stored.state(text);
        let shown_count = counts.get(text.as_str()).copied().unwrap_or_default();
        let agrees = match state {
            "delivered" => shown_count == 1,
            "unknown" => shown_count <= 1,
            "held" | "refused" => shown_count == 0,
            "absent" => shown_count == 0 && !accepted,
            _ => false,
        };
        assert!(
            agrees,
            "{customer}: {text:?} is {state} ({}) and was shown {shown_count} times\n{}",
            stored.reason(text),
            rig.log()
        );
        let has_notice = notices.iter().any(|notice| notice.contains(&format!("“{text}”")));
        let needs_notice = matches!(state, "unknown" | "held" | "refused");
        assert!(
            !needs_notice || has_notice,
            "{customer}: {text:?} is {state} and the agent got no notice: {notices:?}"
        );
    }
    late.len()
}
