//! The desk as the page shows it: its hours, and who waits for an agent.
//!
//! The bridge tells how many wait; the calls between it and the platforms show who. So the list is an observer's, and is
//! shown only while the bridge says that somebody waits.

use parking_lot::Mutex;

use serde_json::{Value, json};

use super::event_log::Change;
use super::{PEOPLE_LIMIT, Session};
use crate::clock::Clock;
use crate::model::hours::WorkingHours;

/// A customer who waits for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The openid.
    pub openid: String,
    /// Since when, in Unix milliseconds of real time.
    pub since: i64,
    /// How many messages have not arrived.
    pub messages: usize,
}

/// What the page shows of the desk.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// When it usually works; `None`: always.
    usual_hours: Option<WorkingHours>,
    /// When it works while a drill has changed that.
    changed_hours: Mutex<Option<WorkingHours>>,
    waiting: Mutex<Vec<Waiting>>,
    /// What the page was last told.
    told: Mutex<Value>,
}

impl Desk {
    /// A desk that usually works in these hours, with nobody in line.
    pub fn new(usual_hours: Option<WorkingHours>) -> Self {
        Self { usual_hours, ..Self::default() }
    }

    /// Sets who waits, the one who has waited for longest first.
    pub fn set_waiting(&self, waiting: Vec<Waiting>) {
        *self.waiting.lock() = waiting;
    }
}

impl Session {
    /// Records when the desk works, as the bridges know it now; `None`: as usual.
    pub(in crate::sandbox) fn set_hours(&self, changed: Option<WorkingHours>) {
        *self.desk.changed_hours.lock() = changed;
        self.tell_desk();
    }

    /// Whether the desk does not work as usual now.
    pub(in crate::sandbox) fn are_hours_changed(&self) -> bool {
        self.desk.changed_hours.lock().is_some()
    }

    /// Tells the page if something has changed.
    pub(super) fn tell_desk(&self) {
        let now = self.desk_view();
        let is_new = {
            let mut told = self.desk.told.lock();
            std::mem::replace(&mut *told, now.clone()) != now
        };
        if is_new {
            self.event_log.add_change(Change::Desk);
        }
    }

    /// The desk as JSON.
    pub(super) fn desk_view(&self) -> Value {
        let counters = self.counters();
        let line = match counters.line + counters.deferred {
            0 => Vec::new(),
            _ => self.desk.waiting.lock().clone(),
        };
        let line = line
            .iter()
            .take(PEOPLE_LIMIT)
            .map(|one| json!({"openid": one.openid, "since": one.since, "messages": one.messages}));
        // The bridges' own clock, which no drill moves.
        let now = Clock::system().now();
        let hours = self.desk.changed_hours.lock().clone().or_else(|| self.desk.usual_hours.clone());
        let hours = hours.map(|hours| {
            let opening = hours.next_opening(now).filter(|opening| *opening > now);
            let local = hours.local(now);
            let opens = opening.map(|opening| {
                let opens = hours.local(opening);
                let format = if opens.date() == local.date() { "%H:%M" } else { "%m-%d %H:%M" };
                opens.strftime(format).to_string()
            });
            json!({"clock": local.strftime("%H:%M").to_string(), "opens": opens})
        });
        json!({
            "line": line.collect::<Vec<_>>(), "in_line": counters.line, "deferred": counters.deferred,
            "hours": hours,
        })
    }
}
