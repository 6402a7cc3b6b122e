//! Questions that nobody has answered: when their agent is told, and what the agent reads.
//!
//! A question begins with the customer's first message after the last answer, and ends with an agent's answer or the end
//! of the conversation.

use super::notice;
use super::send_policy::enqueue_notice;
use super::{Bridge, Settings};
use crate::model::{Millis, OpenId};
use crate::store::{Customer, Question, StoreError, Tx};

/// How long a question that will never be due again is kept, milliseconds, as long as messages are.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// What is due of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Its agent is reminded that the window closes.
    Reminder,
    /// Nothing before this time.
    At(Millis),
    /// Nothing, unless the customer writes again.
    Never,
}

/// When the agent of the customer who asked `question` is reminded: `before_ms` before the window of the customer's last
/// message closes, once for each window.
fn reminder(before_ms: i64, customer: &Customer, question: &Question, now: Millis) -> Due {
    let end = customer.message_until;
    let from = end.plus(-before_ms);
    if now >= end {
        Due::Never
    } else if now < from {
        Due::At(from)
    } else if question.reminded_until == end {
        // By then the customer may have opened another window.
        Due::At(end)
    } else {
        Due::Reminder
    }
}

impl Settings {
    /// Stores that the customer, whose window is open, has asked. Costs nothing where nobody is told of questions.
    pub(super) fn ask(&self, tx: &Tx<'_>, customer: &Customer) -> Result<(), StoreError> {
        let reminder = self.remind_before_ms.map(|before_ms| customer.message_until.plus(-before_ms));
        let due = reminder.into_iter().chain(self.next_step_at(tx.now())).min();
        due.map_or(Ok(()), |due| tx.ask_question(&customer.openid, due))
    }
}

impl Bridge {
    /// Does what is due of a customer's question. Returns whether an agent gets a message.
    pub fn attend(&self, tx: &Tx<'_>, openid: &OpenId, random: [u32; 4]) -> Result<bool, StoreError> {
        let now = tx.now();
        let Some(mut question) = tx.question(openid)?.filter(|question| question.due_at <= now) else {
            return Ok(false);
        };
        let customer = tx.customer(openid)?.filter(|customer| customer.known);
        let Some(mut customer) = customer.filter(|_| question.asked_at > Millis(0)) else {
            return tx.delete_question(openid).map(|()| false);
        };
        let [for_reminder, for_step @ ..] = random;
        let settings = self.settings();
        let mut has_notice = settings.escalate(tx, &mut customer, &mut question, for_step)?;
        let due = match settings.remind_before_ms {
            // A passive reply leaves whenever the customer writes, whatever the window.
            Some(before_ms) if self.may_push(now) => match reminder(before_ms, &customer, &question, now) {
                Due::Reminder => {
                    has_notice |= self.remind(tx, &customer, for_reminder)?;
                    question.reminded_until = customer.message_until;
                    Due::At(customer.message_until)
                }
                due => due,
            },
            _ => Due::Never,
        };
        let step = settings.step_due(&question);
        question.due_at = match (due, step) {
            (Due::At(at), Some(step)) => at.min(step),
            (Due::At(at), None) | (_, Some(at)) => at,
            // If the customer does not write until then, nobody will answer.
            _ if now.since(question.asked_at.max(customer.active_at)) < KEPT_MS => now.plus(KEPT_MS),
            _ => return tx.delete_question(openid).map(|()| has_notice),
        };
        tx.put_question(openid, &question)?;
        Ok(has_notice)
    }

    /// Enqueues the notice that the window closes. A conversation that has ended has no agent.
    fn remind(&self, tx: &Tx<'_>, customer: &Customer, random: u32) -> Result<bool, StoreError> {
        let Some(agent) = &customer.agent else { return Ok(false) };
        let until = customer.message_until;
        let text = notice::window_closes(self.locale(), until, tx.now());
        tx.record_step(&customer.openid, None, "reminder", "the window closes soon", None)?;
        enqueue_notice(tx, &customer.openid, agent, &text, &format!("reminder:{}", until.0), random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_reminded_once_for_each_window() {
        let customer =
            Customer { message_until: Millis(172_800_000), ..Customer::new(OpenId::new("oA").unwrap()) };
        let mut question = Question {
            asked_at: Millis(1),
            due_at: Millis(1),
            reminded_until: Millis(100_000),
            steps: 0,
            stepped_at: Millis(0),
        };
        let at = |question: &Question, now| reminder(3_600_000, &customer, question, Millis(now));
        assert_eq!(at(&question, 0), Due::At(Millis(169_200_000)));
        assert_eq!(at(&question, 169_199_999), Due::At(Millis(169_200_000)));
        assert_eq!(at(&question, 169_200_000), Due::Reminder);
        assert_eq!(at(&question, 172_799_999), Due::Reminder, "late, but not too late");
        assert_eq!(at(&question, 172_800_000), Due::Never);
        question.reminded_until = customer.message_until;
        assert_eq!(at(&question, 169_200_000), Due::At(customer.message_until));
        // The clock went back.
        assert_eq!(at(&question, 5), Due::At(Millis(169_200_000)));
    }
}
