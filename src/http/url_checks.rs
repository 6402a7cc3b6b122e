//! WeChat's checks of the server URL, which its console makes when somebody saves it: the last ones, so that an operator
//! can press the button there and see here what came.
//!
//! Strangers can make such a request too, so that a refused one is no fault of ours. Must never keep a signature.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::peer::ClientAddress;
use crate::clock::Clock;
use crate::clock::calendar::rfc3339;
use crate::model::Millis;
use crate::wechat::receive::Refusal;

/// So many are kept.
const KEPT: usize = 5;

/// The last checks.
#[derive(Debug)]
pub struct UrlChecks {
    clock: Clock,
    last: Mutex<VecDeque<UrlCheck>>,
}

#[derive(Clone, Copy, Debug)]
struct UrlCheck {
    /// The how manyth since the start, from 1.
    number: u64,
    at: Millis,
    from: Option<ClientAddress>,
    refusal: Option<Refusal>,
}

impl UrlChecks {
    /// Creates an empty record.
    pub fn new(clock: Clock) -> Self {
        Self { clock, last: Mutex::default() }
    }

    /// Records a check that came `from` there, and why it was not answered.
    pub(super) fn record(&self, from: Option<ClientAddress>, refusal: Option<Refusal>) {
        let mut last = self.last.lock();
        let number = last.back().map_or(0, |check| check.number) + 1;
        if last.len() >= KEPT {
            last.pop_front();
        }
        last.push_back(UrlCheck { number, at: self.clock.now(), from, refusal });
    }

    /// The last checks, the newest last, as `/readyz` shows them.
    pub fn to_json(&self) -> Vec<Value> {
        let show = |check: &UrlCheck| {
            let at = check.at.seconds();
            let from = check.from.map(|from| from.to_string());
            let (number, ok) = (check.number, check.refusal.is_none());
            let mut shown =
                json!({"number": number, "at": at, "at_utc": rfc3339(at), "from": from, "ok": ok});
            if let Some(refusal) = check.refusal {
                shown["why"] = refusal.to_string().into();
                shown["advice"] = advice(refusal).into();
            }
            shown
        };
        self.last.lock().iter().map(show).collect()
    }
}

/// What to compare after a check was refused.
pub(super) fn advice(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Missing(_) | Refusal::Repeated(_) => {
            "a proxy in front must pass the query on as it is, and the console needs the address of the bridge alone"
        }
        _ => "compare the Token in WeChat's console with wechat.token, also for spaces and capital letters",
    }
}
