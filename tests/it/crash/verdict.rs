//! The oracle: what the drivers were promised, held against both platforms' ledgers and the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use rusqlite::Connection;
use wechat_im_bridge::sandbox::im::Send;
use wechat_im_bridge::sandbox::wechat::Via;

use super::rig::Rig;
use crate::world::{INQUIRY, TRANSFERRING, WELCOME, openid};

/// An agent's message as the store has it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub state: &'static str,
    /// Why it stands where it stands; for whoever reads a failure.
    pub why: String,
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
            .prepare("SELECT direction, state, orders, last_error FROM message WHERE kind = 0 ORDER BY id")
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
            stored.answers.entry(texts.collect()).or_default().push(Kept { state, why });
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

    fn why(&self, text: &str) -> &str {
        self.answers.get(text).and_then(|kept| kept.first()).map_or("", |kept| kept.why.as_str())
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

fn place(all: &[String], text: &str) -> usize {
    all.iter().position(|one| one == text).unwrap_or_else(|| panic!("nobody wrote {text:?}"))
}

/// Holds one conversation against the ledgers. Ends with a panic that names what was lost, doubled or reordered.
pub fn judge(rig: &Rig, customer: &str, promised: &Promised, stored: &Stored) {
    judge_to_im(rig, customer, promised);
    judge_to_wechat(rig, customer, promised, stored);
}

/// Invariants 1, 2, 3 and 4 towards IM: every promised text once, by its identity and by its words, in order.
fn judge_to_im(rig: &Rig, customer: &str, promised: &Promised) {
    let ledger = rig.im.ledger();
    assert_eq!(ledger.forgotten(), 0);
    let delivered = ledger.delivered().filter(|send| send.from == openid(customer));
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

/// Invariants 1, 2, 3, 5 and 6 towards WeChat: no text twice, order kept but for those that are unknown, one end
/// each, and the ends agree with what the customer sees.
fn judge_to_wechat(rig: &Rig, customer: &str, promised: &Promised, stored: &Stored) {
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
    // What came without its callback is accepted later, when it is found in IM's history.
    let came = |text: &&String| promised.answered.iter().any(|(said, accepted)| *accepted && said == *text);
    let known: Vec<usize> = (shown.iter())
        .filter(|text| stored.state(text) != "unknown")
        .filter(came)
        .map(|text| place(&all, text))
        .collect();
    assert!(known.is_sorted_by(|one, next| one < next), "{customer}: the customer sees {shown:?}");

    let notes: Vec<String> = (rig.im.ledger().delivered())
        .filter(|send| send.from == openid(customer))
        .map(Send::text)
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
}
