//! The actions and screen entries of one customer in one order, for the sandbox page.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::Millis;

use super::media::Media;
use super::phone::Shown;
use super::xml::{Field, value_of};
use super::{Platform, ledger, lock};

/// The most entries that a timeline keeps. The oldest are dropped first.
const LIMIT: usize = 500;

/// One entry of a customer's timeline.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The number of the entry in the customer's timeline, from 0.
    pub id: u64,
    /// When it happened, by the platform's clock.
    pub at: Millis,
    /// The action or the screen entry.
    pub what: What,
}

/// An action or a screen entry.
#[derive(Clone, Debug)]
pub enum What {
    /// The customer did something.
    Did {
        /// The action.
        deed: Deed,
        /// Whether its push has not ended yet.
        pending: bool,
    },
    /// The screen showed an entry.
    Shown(Shown),
}

/// A customer's action.
#[derive(Clone, Debug)]
pub struct Deed {
    /// The `MsgType`.
    pub kind: String,
    /// The text of a text message, the name and key of an event, or a short description of another
    /// kind.
    pub text: String,
    /// The image, voice or video.
    pub media: Option<Arc<Media>>,
}

/// The latest actions and screen entries of one customer.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    moments: VecDeque<Moment>,
    next: u64,
}

impl Timeline {
    /// Adds a pending action and returns the id of its entry.
    pub fn did(&mut self, at: Millis, deed: Deed) -> u64 {
        self.add(at, What::Did { deed, pending: true })
    }

    /// Adds a screen entry.
    pub fn shown(&mut self, shown: Shown) {
        self.add(shown.at, What::Shown(shown));
    }

    /// Marks the action with this id as no longer pending. Ignores an id that is no longer kept.
    pub fn answered(&mut self, id: u64) {
        let moment = self.moments.iter_mut().rev().find(|moment| moment.id == id);
        if let Some(Moment { what: What::Did { pending, .. }, .. }) = moment {
            *pending = false;
        }
    }

    /// The entries, oldest first.
    pub fn moments(&self) -> impl Iterator<Item = &Moment> {
        self.moments.iter()
    }

    fn add(&mut self, at: Millis, what: What) -> u64 {
        let id = self.next;
        self.next += 1;
        ledger::keep(&mut self.moments, Moment { id, at, what }, LIMIT);
        id
    }
}

impl Platform {
    /// The action that a push of these fields reports.
    pub(super) fn did(&self, fields: &[Field], now: Millis) -> Deed {
        let value = |name| value_of(fields, name);
        let said = |names: &[&str]| {
            let words: Vec<&str> =
                names.iter().map(|name| value_of(fields, name)).filter(|word| !word.is_empty()).collect();
            words.join(" ")
        };
        let kind = value("MsgType");
        let text = match kind {
            "event" => said(&["Event", "EventKey"]),
            "text" => value("Content").to_owned(),
            "location" => said(&["Label", "Location_X", "Location_Y"]),
            _ => said(&["Title", "Url", "Recognition"]),
        };
        Deed { kind: kind.to_owned(), text, media: lock(&self.media).get(value("MediaId"), now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_moments_are_kept_and_what_is_answered_is_no_longer_pending() {
        let deed = |text: &str| Deed { kind: "text".into(), text: text.into(), media: None };
        let mut timeline = Timeline::default();
        let first = timeline.did(Millis(1), deed("a"));
        timeline.answered(first);
        for n in 0..LIMIT as u64 - 1 {
            assert_eq!(timeline.did(Millis(2), deed("b")), n + 1);
        }
        assert!(matches!(timeline.moments().next().unwrap().what, What::Did { pending: false, .. }));
        let last = timeline.did(Millis(3), deed("c"));
        timeline.answered(first);
        let kept: Vec<_> = timeline.moments().collect();
        assert_eq!((kept.len(), kept[0].id, kept[LIMIT - 1].id), (LIMIT, 1, last));
        assert!(matches!(kept[LIMIT - 1].what, What::Did { pending: true, .. }));
    }
}
