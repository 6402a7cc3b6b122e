//! The actions and screen entries of one customer in one order, for the sandbox page.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::Millis;

use super::language::PhoneLanguage;
use super::media::Media;
use super::screen::ScreenEntry;
use super::xml::{Field, value_of};
use super::{Platform, ledger};

/// The most entries that a timeline keeps. The oldest are dropped first.
const MAX_ENTRIES: usize = 500;

/// One entry of a customer's timeline.
#[derive(Clone, Debug)]
pub struct TimelineEntry {
    /// The number of the entry in the customer's timeline, from 0.
    pub id: u64,
    /// When it happened, by the platform's clock.
    pub at: Millis,
    /// The action or the screen entry.
    pub event: TimelineEvent,
}

/// An action or a screen entry.
#[derive(Clone, Debug)]
pub enum TimelineEvent {
    /// The customer did something.
    Action {
        /// The action.
        action: CustomerAction,
        /// Whether its push has not ended yet.
        pending: bool,
    },
    /// The screen showed an entry.
    Shown(ScreenEntry),
}

/// A customer's action.
#[derive(Clone, Debug)]
pub struct CustomerAction {
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
    entries: VecDeque<TimelineEntry>,
    next_id: u64,
}

impl Timeline {
    /// Adds a pending action and returns the id of its entry.
    pub fn add_action(&mut self, at: Millis, action: CustomerAction) -> u64 {
        self.add(at, TimelineEvent::Action { action, pending: true })
    }

    /// Adds a screen entry.
    pub fn add_screen_entry(&mut self, shown: ScreenEntry) {
        self.add(shown.at, TimelineEvent::Shown(shown));
    }

    /// Marks the action with this id as no longer pending. Ignores an id that is no longer kept.
    pub fn mark_answered(&mut self, id: u64) {
        let entry = self.entries.iter_mut().rev().find(|moment| moment.id == id);
        if let Some(TimelineEntry { event: TimelineEvent::Action { pending, .. }, .. }) = entry {
            *pending = false;
        }
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &TimelineEntry> {
        self.entries.iter()
    }

    fn add(&mut self, at: Millis, event: TimelineEvent) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        ledger::push_bounded(&mut self.entries, TimelineEntry { id, at, event }, MAX_ENTRIES);
        id
    }
}

impl Platform {
    /// The action that a push of these fields reports.
    pub(super) fn customer_action(&self, fields: &[Field], now: Millis) -> CustomerAction {
        let value = |name| value_of(fields, name);
        let joined = |names: &[&str]| {
            let words: Vec<&str> =
                names.iter().map(|name| value_of(fields, name)).filter(|word| !word.is_empty()).collect();
            words.join(" ")
        };
        let languages = [PhoneLanguage::Chinese, PhoneLanguage::English];
        let is_sticker = languages.iter().any(|language| value("Content") == language.unsupported());
        let kind = if is_sticker { "sticker" } else { value("MsgType") };
        let text = match kind {
            "sticker" => String::new(),
            "event" => joined(&["Event", "EventKey"]),
            "text" => value("Content").to_owned(),
            "location" => joined(&["Label", "Location_X", "Location_Y"]),
            _ => joined(&["Title", "Url", "Recognition"]),
        };
        CustomerAction { kind: kind.to_owned(), text, media: self.media.lock().get(value("MediaId"), now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_entries_are_kept_and_answered_actions_are_not_pending() {
        let action = |text: &str| CustomerAction { kind: "text".into(), text: text.into(), media: None };
        let mut timeline = Timeline::default();
        let first = timeline.add_action(Millis(1), action("a"));
        timeline.mark_answered(first);
        for n in 0..MAX_ENTRIES as u64 - 1 {
            assert_eq!(timeline.add_action(Millis(2), action("b")), n + 1);
        }
        assert!(matches!(
            timeline.entries().next().unwrap().event,
            TimelineEvent::Action { pending: false, .. }
        ));
        let last = timeline.add_action(Millis(3), action("c"));
        timeline.mark_answered(first);
        let entries: Vec<_> = timeline.entries().collect();
        assert_eq!((entries.len(), entries[0].id, entries[MAX_ENTRIES - 1].id), (MAX_ENTRIES, 1, last));
        assert!(matches!(entries[MAX_ENTRIES - 1].event, TimelineEvent::Action { pending: true, .. }));
    }
}
