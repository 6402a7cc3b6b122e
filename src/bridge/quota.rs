//! The ledger of `custom/send`: which action of a customer opened which window, until when, and how
//! many sends are left.
//!
//! Windows and budgets are WeChat's ("Windows and quotas"); the figures are settings. WeChat's
//! answer to a send (45015, 45047) overrides the ledger. Pure.

use crate::model::Millis;
use crate::store::Customer;

/// The budgets that a customer's actions open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sends allowed after a message.
    pub messages: u32,
    /// How long they are valid, milliseconds.
    pub message_window_ms: i64,
    /// Sends allowed after a follow, menu click or scan.
    pub event_messages: u32,
    /// How long they are valid, milliseconds.
    pub event_window_ms: i64,
}

/// With so many sends left, the agent is told so.
pub const LOW_SENDS: u32 = 2;

/// Why nothing may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBudget {
    /// The windows of the customer's last actions have closed.
    WindowClosed,
    /// All sends of the open windows are used.
    UsedUp,
}

/// The sends that are still allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The number of sends.
    pub sends: u32,
    /// When the last of them expires.
    pub until: Millis,
}

impl Limits {
    /// Opens the window of a message from the customer.
    pub fn open_message_window(&self, customer: &mut Customer, now: Millis) {
        customer.message_left = self.messages;
        customer.message_until = now.plus(self.message_window_ms);
    }

    /// Opens the window of a follow, menu click or scan.
    pub fn open_event_window(&self, customer: &mut Customer, now: Millis) {
        customer.event_left = self.event_messages;
        customer.event_until = now.plus(self.event_window_ms);
    }
}

/// Returns the sends that are still allowed to `customer`.
pub fn budget(customer: &Customer, now: Millis) -> Result<Budget, NoBudget> {
    let windows =
        [(customer.message_left, customer.message_until), (customer.event_left, customer.event_until)];
    let open = windows.iter().filter(|(_, until)| now < *until);
    let sends = open.clone().map(|(left, _)| left).sum();
    match open.filter(|(left, _)| *left > 0).map(|(_, until)| *until).max() {
        Some(until) => Ok(Budget { sends, until }),
        None if windows.iter().any(|(_, until)| now < *until) => Err(NoBudget::UsedUp),
        None => Err(NoBudget::WindowClosed),
    }
}

/// When the first of the windows closes that still allow sends; `None`: there are none.
pub fn first_end(customer: &Customer, now: Millis) -> Option<Millis> {
    let windows =
        [(customer.message_left, customer.message_until), (customer.event_left, customer.event_until)];
    windows.into_iter().filter(|(left, until)| *left > 0 && now < *until).map(|(_, until)| until).min()
}

/// Whether the agent is told of what a send has left: [`LOW_SENDS`], or none. Each comes up once until the customer acts
/// again, because a send that is refunded is not told of.
pub fn is_told(left: Result<Budget, NoBudget>) -> bool {
    match left {
        Ok(Budget { sends, .. }) => sends == LOW_SENDS,
        Err(no_budget) => no_budget == NoBudget::UsedUp,
    }
}

/// Takes one send from the window that expires first.
pub fn spend(customer: &mut Customer, now: Millis) -> Result<(), NoBudget> {
    budget(customer, now)?;
    let event_is_open = now < customer.event_until && customer.event_left > 0;
    let message_is_open = now < customer.message_until && customer.message_left > 0;
    if event_is_open && (!message_is_open || customer.event_until <= customer.message_until) {
        customer.event_left -= 1;
    } else {
        customer.message_left -= 1;
    }
    Ok(())
}

/// Refunds a send that certainly did not happen.
pub fn refund(customer: &mut Customer, now: Millis, limits: &Limits) {
    if now < customer.message_until && customer.message_left < limits.messages {
        customer.message_left += 1;
    } else if now < customer.event_until && customer.event_left < limits.event_messages {
        customer.event_left += 1;
    }
}

/// Empties the budgets because WeChat says that they are used up (45047) or that the window is
/// closed (45015), whatever we counted.
pub fn revoke(customer: &mut Customer, reason: NoBudget, now: Millis) {
    customer.message_left = 0;
    customer.event_left = 0;
    if reason == NoBudget::WindowClosed {
        customer.message_until = customer.message_until.min(now);
        customer.event_until = customer.event_until.min(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OpenId;
    use proptest::prelude::*;

    const LIMITS: Limits =
        Limits { messages: 5, message_window_ms: 172_800_000, event_messages: 3, event_window_ms: 60_000 };

    /// The rule in its plainest form: every send that an action allows is a ticket with an expiry
    /// time.
    #[derive(Default)]
    struct Model {
        message: Vec<i64>,
        event: Vec<i64>,
    }

    impl Model {
        fn valid(&self, now: i64) -> usize {
            self.message.iter().chain(&self.event).filter(|end| now < **end).count()
        }

        fn spend(&mut self, now: i64) -> bool {
            let first = |tickets: &Vec<i64>| tickets.iter().copied().filter(|end| now < *end).min();
            let from = match (first(&self.message), first(&self.event)) {
                (_, Some(event)) if first(&self.message).is_none_or(|message| event <= message) => {
                    &mut self.event
                }
                (Some(_), _) => &mut self.message,
                _ => return false,
            };
            let at = from.iter().position(|end| now < *end).unwrap();
            from.remove(at);
            true
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Message,
        Event,
        Spend,
        Wait(i64),
        UsedUp,
        Closed,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            2 => Just(Step::Message),
            2 => Just(Step::Event),
            6 => Just(Step::Spend),
            2 => prop_oneof![0..70_000_i64, 0..200_000_000_i64].prop_map(Step::Wait),
            1 => Just(Step::UsedUp),
            1 => Just(Step::Closed),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn the_ledger_agrees_with_the_ticket_model(steps in steps()) {
            let mut customer = Customer::new(OpenId::new("oA").unwrap());
            let (mut model, mut now) = (Model::default(), 1_700_000_000_000);
            for step in steps {
                match step {
                    Step::Message => {
                        LIMITS.open_message_window(&mut customer, Millis(now));
                        model.message = vec![now + LIMITS.message_window_ms; 5];
                    }
                    Step::Event => {
                        LIMITS.open_event_window(&mut customer, Millis(now));
                        model.event = vec![now + LIMITS.event_window_ms; 3];
                    }
                    Step::Spend => {
                        let spent = spend(&mut customer, Millis(now)).is_ok();
                        prop_assert_eq!(spent, model.spend(now));
                    }
                    Step::Wait(millis) => now += millis,
                    Step::UsedUp | Step::Closed => {
                        let reason = if matches!(step, Step::Closed) { NoBudget::WindowClosed } else { NoBudget::UsedUp };
                        revoke(&mut customer, reason, Millis(now));
                        model = Model::default();
                        prop_assert!(budget(&customer, Millis(now)).is_err());
                    }
                }
                let sends = budget(&customer, Millis(now)).map_or(0, |left| left.sends);
                prop_assert_eq!(sends as usize, model.valid(now));
            }
        }

        #[test]
        fn refunded_sends_can_be_spent_again_and_no_more(refunds in 0_u32..9) {
            let mut customer = Customer::new(OpenId::new("oA").unwrap());
            let now = Millis(1_700_000_000_000);
            LIMITS.open_message_window(&mut customer, now);
            for _ in 0..5 { prop_assert!(spend(&mut customer, now).is_ok()); }
            for _ in 0..refunds { refund(&mut customer, now, &LIMITS); }
            prop_assert_eq!(budget(&customer, now).map_or(0, |left| left.sends), refunds.min(5));
        }
    }

    #[test]
    fn two_left_and_none_left_are_told_once_whatever_is_refunded() {
        let mut customer = Customer::new(OpenId::new("oA").unwrap());
        let now = Millis(1_700_000_000_000);
        for _ in 0..2 {
            LIMITS.open_message_window(&mut customer, now);
            let mut told = Vec::new();
            for _ in 0..5 {
                spend(&mut customer, now).unwrap();
                refund(&mut customer, now, &LIMITS);
                spend(&mut customer, now).unwrap();
                told.push(is_told(budget(&customer, now)));
            }
            assert_eq!(told, [false, false, true, false, true]);
        }
        assert!(!is_told(budget(&customer, now.plus(LIMITS.message_window_ms))), "the window is closed");
    }

    #[test]
    fn closed_and_used_up_are_distinguished() {
        let mut customer = Customer::new(OpenId::new("oA").unwrap());
        let now = Millis(1_700_000_000_000);
        assert_eq!(budget(&customer, now), Err(NoBudget::WindowClosed));
        LIMITS.open_event_window(&mut customer, now);
        for _ in 0..3 {
            spend(&mut customer, now).unwrap();
        }
        assert_eq!(budget(&customer, now), Err(NoBudget::UsedUp));
        assert_eq!(budget(&customer, now.plus(60_000)), Err(NoBudget::WindowClosed));
    }

    /// The sends left of a message's window and the end of that window, then the same for an event's.
    type Windows = (u32, i64, u32, i64);

    const NOW: Millis = Millis(100);

    fn customer((message_left, message_until, event_left, event_until): Windows) -> Customer {
        let (message_until, event_until) = (Millis(message_until), Millis(event_until));
        let customer = Customer::new(OpenId::new("oA").unwrap());
        Customer { message_until, message_left, event_until, event_left, ..customer }
    }

    #[test]
    fn a_send_is_taken_from_the_open_window_that_ends_first() {
        use NoBudget::{UsedUp, WindowClosed};
        for (windows, sends, left) in [
            ((5, 200, 3, 150), Ok((8, 200)), (5, 2)),
            ((5, 150, 3, 200), Ok((8, 200)), (4, 3)),
            ((5, 150, 3, 150), Ok((8, 150)), (5, 2)),
            ((5, 200, 0, 150), Ok((5, 200)), (4, 0)),
            ((5, 150, 0, 200), Ok((5, 150)), (4, 0)),
            ((0, 150, 3, 200), Ok((3, 200)), (0, 2)),
            ((0, 200, 3, 150), Ok((3, 150)), (0, 2)),
            // A window has ended at its end.
            ((5, 100, 3, 200), Ok((3, 200)), (5, 2)),
            ((5, 200, 3, 100), Ok((5, 200)), (4, 3)),
            ((5, 100, 3, 100), Err(WindowClosed), (5, 3)),
            ((0, 100, 0, 101), Err(UsedUp), (0, 0)),
            ((0, 101, 0, 100), Err(UsedUp), (0, 0)),
            ((0, 100, 0, 100), Err(WindowClosed), (0, 0)),
        ] {
            let mut customer = customer(windows);
            let found = budget(&customer, NOW);
            assert_eq!(found.map(|budget| (budget.sends, budget.until.0)), sends, "{windows:?}");
            assert_eq!(spend(&mut customer, NOW).err(), sends.err(), "{windows:?}");
            assert_eq!((customer.message_left, customer.event_left), left, "{windows:?}");
        }
    }

    #[test]
    fn a_send_is_refunded_to_an_open_window_that_is_not_full() {
        for (windows, left) in [
            ((4, 200, 2, 150), (5, 2)),
            ((5, 200, 2, 150), (5, 3)),
            ((5, 200, 3, 150), (5, 3)),
            ((4, 100, 2, 150), (4, 3)),
            ((4, 100, 2, 100), (4, 2)),
            ((5, 100, 2, 101), (5, 3)),
        ] {
            let mut customer = customer(windows);
            refund(&mut customer, NOW, &LIMITS);
            assert_eq!((customer.message_left, customer.event_left), left, "{windows:?}");
        }
    }

    #[test]
    fn what_wechat_says_of_the_windows_overrides_the_count() {
        for (reason, windows, until) in [
            (NoBudget::UsedUp, (5, 200, 3, 150), (200, 150)),
            (NoBudget::WindowClosed, (5, 200, 3, 150), (100, 100)),
            (NoBudget::WindowClosed, (5, 50, 3, 60), (50, 60)),
        ] {
            let mut customer = customer(windows);
            revoke(&mut customer, reason, NOW);
            assert_eq!((customer.message_left, customer.event_left), (0, 0), "{windows:?}");
            assert_eq!((customer.message_until.0, customer.event_until.0), until, "{windows:?}");
        }
    }
}
