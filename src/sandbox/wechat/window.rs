//! The windows and quotas of `custom/send` for one customer (reference: section 7.4). The reference
//! leaves open whether a new message resets the count, so every reading is available.

use std::collections::VecDeque;

use crate::model::Millis;

use super::codes;
use super::settings::{Settings, WindowRule};

/// The most allowances that one customer has at a time.
const MAX_GRANTS: usize = 1000;

/// The kind of customer action that opens a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowOpener {
    /// A message that the customer wrote. It allows 5 sends in 48 hours.
    Message,
    /// A follow, a menu click, a scan, or a tap in a menu message. It allows 3 sends in a minute.
    Event,
}

#[derive(Debug)]
struct Grant {
    opener: WindowOpener,
    remaining: u32,
    until: Millis,
}

/// One customer's allowances.
#[derive(Debug, Default)]
pub(super) struct Window {
    grants: VecDeque<Grant>,
    spent: VecDeque<(WindowOpener, Millis)>,
}

impl Window {
    /// Opens a window after an action of the customer.
    pub fn open(&mut self, opener: WindowOpener, settings: &Settings, now: Millis) {
        let (quota, seconds) = match opener {
            WindowOpener::Message => (settings.quota_messages, settings.quota_window_s),
            WindowOpener::Event => (settings.quota_event_messages, settings.quota_event_window_s),
        };
        self.expire(now);
        let mut remaining = quota;
        if settings.window_rule != WindowRule::Cumulative {
            self.grants.retain(|grant| grant.opener != opener);
        }
        if settings.window_rule == WindowRule::Shared {
            let since = now.plus(-seconds * 1000);
            let spent = self.spent.iter().filter(|(kind, at)| *kind == opener && *at > since).count();
            remaining = quota.saturating_sub(u32::try_from(spent).unwrap_or(u32::MAX));
        }
        if self.grants.len() == MAX_GRANTS {
            self.grants.pop_front();
        }
        self.grants.push_back(Grant { opener, remaining, until: now.plus(seconds * 1000) });
    }

    /// Takes one send from the allowance that ends first. The error is a return code.
    pub fn spend(&mut self, now: Millis) -> Result<(), i64> {
        self.expire(now);
        if self.grants.is_empty() {
            return Err(codes::OUT_OF_TIME);
        }
        let usable = self.grants.iter_mut().filter(|grant| grant.remaining > 0);
        let grant = usable.min_by_key(|grant| grant.until).ok_or(codes::USED_UP)?;
        grant.remaining -= 1;
        if self.spent.len() == MAX_GRANTS {
            self.spent.pop_front();
        }
        self.spent.push_back((grant.opener, now));
        Ok(())
    }

    /// The number of messages that may be sent now.
    pub fn remaining(&self, now: Millis) -> u32 {
        self.grants.iter().filter(|grant| grant.until > now).map(|grant| grant.remaining).sum()
    }

    /// When the last usable allowance ends. `None` if there is none.
    pub fn closes_at(&self, now: Millis) -> Option<Millis> {
        let usable = self.grants.iter().filter(|grant| grant.until > now && grant.remaining > 0);
        usable.map(|grant| grant.until).max()
    }

    fn expire(&mut self, now: Millis) {
        self.grants.retain(|grant| grant.until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);
    const HOUR: i64 = 3_600_000;

    fn settings(window_rule: WindowRule) -> Settings {
        Settings { window_rule, ..Settings::default() }
    }

    fn spend_all(window: &mut Window, now: Millis) -> (u32, i64) {
        let mut sent = 0;
        loop {
            match window.spend(now) {
                Ok(()) => sent += 1,
                Err(code) => return (sent, code),
            }
        }
    }

    #[test]
    fn a_message_allows_five_sends_for_48_hours_and_an_event_three_for_a_minute() {
        for rule in [WindowRule::Reset, WindowRule::Cumulative, WindowRule::Shared] {
            let settings = settings(rule);
            let mut window = Window::default();
            assert_eq!(window.spend(NOW), Err(45015));
            window.open(WindowOpener::Message, &settings, NOW);
            assert_eq!(spend_all(&mut window, NOW.plus(48 * HOUR - 1)), (5, 45047));
            assert_eq!(window.spend(NOW.plus(48 * HOUR)), Err(45015));
            let mut window = Window::default();
            window.open(WindowOpener::Event, &settings, NOW);
            assert_eq!(spend_all(&mut window, NOW.plus(59_999)), (3, 45047));
            assert_eq!(window.spend(NOW.plus(60_000)), Err(45015));
        }
    }

    #[test]
    fn the_window_rules_differ_when_the_customer_writes_again() {
        for (rule, after_two, after_five) in
            [(WindowRule::Reset, 5, 5), (WindowRule::Cumulative, 8, 5), (WindowRule::Shared, 3, 0)]
        {
            let settings = settings(rule);
            for (first, expected) in [(2, after_two), (5, after_five)] {
                let mut window = Window::default();
                window.open(WindowOpener::Message, &settings, NOW);
                for _ in 0..first {
                    window.spend(NOW).unwrap();
                }
                window.open(WindowOpener::Message, &settings, NOW.plus(HOUR));
                assert_eq!(window.remaining(NOW.plus(HOUR)), expected, "{rule:?} {first}");
                assert_eq!(spend_all(&mut window, NOW.plus(HOUR)), (expected, 45047));
            }
        }
    }

    #[test]
    fn an_event_inside_a_message_window_is_used_first_and_leaves_it_open() {
        let settings = settings(WindowRule::Reset);
        let mut window = Window::default();
        window.open(WindowOpener::Message, &settings, NOW);
        window.open(WindowOpener::Event, &settings, NOW);
        assert_eq!(window.remaining(NOW), 8);
        for _ in 0..3 {
            window.spend(NOW).unwrap();
        }
        assert_eq!(window.remaining(NOW.plus(60_000)), 5);
    }
}
