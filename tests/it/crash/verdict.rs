//! The oracle: what the drivers were promised, held against both platforms' ledgers and the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use rusqlite::Connection;
use wechat_im_bridge::sandbox::im::SendRecord;
use wechat_im_bridge::sandbox::wechat::Via;

use super::rig::Rig;
use crate::world::{INQUIRY, TRANSFERRING, WELCOME, openid};

/// An agent's message as the store has it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub state: &'static str,
    /// Why it stands where it stands; for whoever reads a failure.
    pub why: String,
    /// When it was found in the history, Unix milliseconds; `None`: its callback came.
    found_at: Option<i64>,
    /// When its last attempt was recorded.
    last_attempt_at: i64,
    /// Its attempts, as far as their ends were written down: from when to when.
    attempts: Vec<(i64, i64)>,
}

/// An attempt begins at most this much before the call that its step times: a commit takes time. Milliseconds.
const COMMIT_MS: i64 = 1_000;

impl Kept {
    /// It was being sent, or had been, at this moment: nothing could come before it any more.
    fn had_begun(&self, at: i64) -> bool {
        let was_being_sent = |(began, ended): &(i64, i64)| (began - COMMIT_MS..=*ended).contains(&at);
        self.last_attempt_at <= at || self.attempts.iter().any(was_being_sent)
    }
}

/// The store after the end: the agents' messages by their text, and how many of each state the customers' have.
#[derive(Debug, Default)]
pub struct Stored {
    pub answers: BTreeMap<String, Vec<Kept>>,
    pub questions: BTreeMap<&'static str, u32>,
}

const STATES: [&str; 6] = ["waiting", "waiting", "delivered", "held", "refused", "unknown"];

impl Stored {
    pub fn read(store: &Path) -> Self {
        let connection = Connection::open(store).unwrap();
        let mut statement = connection
            .prepare(
                "SELECT direction, state, calls, last_error, id, attempt_at FROM message WHERE kind = 0 ORDER BY id",
            )
            .unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut stored = Self::default();
        while let Some(row) = rows.next().unwrap() {
            let state = STATES[usize::from(row.get::<_, u8>(1).unwrap())];
            if row.get::<_, i64>(0).unwrap() == 0 {
                *stored.questions.entry(state).or_default() += 1;
                continue;
            }
            let orders: serde_json::Value = serde_json::from_str(&row.get::<_, String>(2).unwrap()).unwrap();
            let texts =
                orders.as_array().unwrap().iter().map(|order| order["TextToCustomer"].as_str().unwrap());
            let why = row.get::<_, Option<String>>(3).unwrap().unwrap_or_default();
            let id: i64 = row.get(4).unwrap();
            let kept = Kept {
                state,
                why,
                found_at: steps(&connection, id, "recovered").first().map(|(_, at)| *at),
                last_attempt_at: row.get(5).unwrap(),
                attempts: steps(&connection, id, "custom/send"),
            };
            stored.answers.entry(texts.collect()).or_default().push(kept);
        }
        stored
    }

    /// The one state of an agent's message.
    pub fn state(&self, text: &str) -> &'static str {
        match self.answers.get(text).map(Vec::as_slice) {
            Some([kept]) => kept.state,
            None => "absent",
            Some(kept) => panic!("{text:?} is stored {} times: {kept:?}", kept.len()),
        }
    }

    fn kept(&self, text: &str) -> Option<&Kept> {
        self.answers.get(text).and_then(|kept| kept.first())
    }

    fn why(&self, text: &str) -> &str {
        self.kept(text).map_or("", |kept| kept.why.as_str())
    }

    /// How many were found in the history.
    pub fn found(&self) -> usize {
        self.answers.values().flatten().filter(|kept| kept.found_at.is_some()).count()
    }

    /// Whether `younger` may have been shown before `older`: only where it had begun to go out before the other,
    /// whose callback did not come, was found.
    fn may_pass(&self, younger: &str, older: &str) -> bool {
        let (Some(younger), Some(older)) = (self.kept(younger), self.kept(older)) else { return false };
        younger.found_at.is_none() && older.found_at.is_some_and(|found_at| younger.had_begun(found_at))
    }

    pub fn count(&self, state: &str) -> usize {
        self.answers.values().flatten().filter(|kept| kept.state == state).count()
    }
}

/// What was promised to one customer's conversation, in order.
#[derive(Debug, Default)]
pub struct Promised {
    /// Every text that was pushed, and whether the push was answered.
    pub asked: Vec<(String, bool)>,
    /// Every answer an agent wrote, and whether its callback was answered with 200.
    pub answered: Vec<(String, bool)>,
}

/// The steps of this name of a message: from when to when.
fn steps(connection: &Connection, message: i64, what: &str) -> Vec<(i64, i64)> {
    let sql = "SELECT at - ifnull(took_ms, 0), at FROM step WHERE message = ?1 AND event = ?2 ORDER BY id";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map((message, what), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn place(all: &[String], text: &str) -> usize {
    all.iter().position(|one| one == text).unwrap_or_else(|| panic!("nobody wrote {text:?}"))
}

/// Holds one conversation against the ledgers. Ends with a panic that names what was lost, doubled or reordered.
/// How many answers were found too late for their turn.
pub fn judge(rig: &Rig, customer: &str, promised: &Promised, stored: &Stored) -> usize {
    judge_to_im(rig, customer, promised);
    judge_to_wechat(rig, customer, promised, stored)
}

/// Invariants 1, 2, 3 and 4 towards IM: every promised text once, by its identity and by its words, in order.
fn judge_to_im(rig: &Rig, customer: &str, promised: &Promised) {
    let ledger = rig.im.ledger();
    assert_eq!(ledger.dropped_entries(), 0);
    let delivered = ledger.deliveries().filter(|send| send.from == openid(customer));
    let arrived: Vec<_> = delivered
        .map(|send| ((send.seq, send.random), send.text()))
        .filter(|(_, text)| !text.starts_with("[bridge] "))
        .collect();
    let identities: BTreeSet<_> = arrived.iter().map(|(identity, _)| *identity).collect();
    assert_eq!(identities.len(), arrived.len(), "{customer}: an identity was delivered twice");

    let asked: Vec<String> = promised.asked.iter().map(|(text, _)| format!("{INQUIRY}{text}")).collect();
    let places: Vec<usize> = arrived.iter().map(|(_, text)| place(&asked, text)).collect();
    assert!(
        places.is_sorted_by(|one, next| one < next),
        "{customer}: doubled or out of order at IM: {places:?}\n{}",
        rig.log()
    );
    for (at, (text, accepted)) in promised.asked.iter().enumerate() {
        assert!(
            !accepted || places.contains(&at),
            "{customer}: {text:?} was accepted and lost\n{}",
            rig.log()
        );
    }
    let seen: Vec<usize> = (rig.agent().conversation(&openid(customer)).iter())
        .filter(|seen| seen.from == openid(customer) && !seen.text().starts_with("[bridge] "))
        .map(|seen| place(&asked, &seen.text()))
        .collect();
    assert!(seen.is_sorted(), "{customer}: the agent sees another order: {seen:?}");
}

/// Invariants 1, 2, 3, 5 and 6 towards WeChat: no text twice, order kept but for those that are unknown and those that
/// were found too late for it, one end each, and the ends agree with what the customer sees.
fn judge_to_wechat(rig: &Rig, customer: &str, promised: &Promised, stored: &Stored) -> usize {
    let all: Vec<String> = promised.answered.iter().map(|(text, _)| text.clone()).collect();
    let shown: Vec<String> = (rig.wechat.customer(&openid(customer)).screen().iter())
        .filter(|shown| shown.via != Via::Fault)
        .flat_map(|shown| shown.text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|text| text != TRANSFERRING && text != WELCOME)
        .collect();
    let mut times: HashMap<&str, usize> = HashMap::new();
    for text in &shown {
        *times.entry(text).or_default() += 1;
    }
    let known: Vec<&String> = shown.iter().filter(|text| stored.state(text) != "unknown").collect();
    let mut late = BTreeSet::new();
    for (at, older) in known.iter().enumerate() {
        for younger in known[..at].iter().filter(|younger| place(&all, younger) >= place(&all, older)) {
            assert!(
                stored.may_pass(younger, older),
                "{customer}: the customer sees {younger:?} before {older:?}: {shown:?}\n{:?}\n{:?}",
                stored.kept(younger),
                stored.kept(older)
            );
            if late.insert(*older) {
                println!(
                    "{customer}: {older:?} was found after {younger:?} had begun to go out: {:?} {:?}",
                    stored.kept(older),
                    stored.kept(younger)
                );
            }
        }
    }

    let notes: Vec<String> = (rig.im.ledger().deliveries())
        .filter(|send| send.from == openid(customer))
        .map(SendRecord::text)
        .filter(|text| text.starts_with("[bridge] "))
        .collect();
    for (text, accepted) in &promised.answered {
        let state = stored.state(text);
        let seen = times.get(text.as_str()).copied().unwrap_or_default();
        let agrees = match state {
            "delivered" => seen == 1,
            "unknown" => seen <= 1,
            "held" | "refused" => seen == 0,
            "absent" => seen == 0 && !accepted,
            _ => false,
        };
        assert!(
            agrees,
            "{customer}: {text:?} is {state} ({}) and was seen {seen} times\n{}",
            stored.why(text),
            rig.log()
        );
        let told = notes.iter().any(|note| note.contains(&format!("“{text}”")));
        let must_tell = matches!(state, "unknown" | "held" | "refused");
        assert!(!must_tell || told, "{customer}: {text:?} is {state} and the agent was not told: {notes:?}");
    }
    late.len()
}
