//! Questions that wait too long for an answer: their agent is told, then another agent gets the conversation, then the
//! supervisor.

use super::Settings;
use super::desk::Agents;
use super::hand_over::{Cause, HandOver};
use super::notice::time_left::duration;
use super::send_policy::enqueue_notice;
use super::{notice, presence};
use crate::config::Locale;
use crate::model::{ImUserId, Millis};
use crate::store::{Customer, Question, StoreError, Tx};

/// The steps: a notice, another agent, the supervisor.
const STEPS: u32 = 3;

/// When somebody is told of a question, and who in the end.
#[derive(Clone, Debug, Default)]
pub struct Escalation {
    /// How long a question waits for each step, milliseconds of work; `None`: for ever.
    pub after_ms: Option<i64>,
    /// Who gets the conversation in the end.
    pub supervisor: Option<ImUserId>,
}

/// What happens next to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    /// Its agent reads how long it has waited.
    Tell,
    /// This agent, or the supervisor, gets the conversation.
    Give(&'a ImUserId),
    /// There is nobody for it.
    Nothing,
}

impl Settings {
    /// When the next step is due of a question that waits since `since`; `None`: never. At night time stands still.
    pub(super) fn next_step_at(&self, since: Millis) -> Option<Millis> {
        let after_ms = self.escalation.after_ms?;
        match &self.hours {
            Some(hours) => hours.after_work(since, after_ms),
            None => Some(since.plus(after_ms)),
        }
    }

    /// Whether this account may answer the customer: an agent, or the supervisor who has the conversation.
    pub(super) fn may_answer(&self, user: &ImUserId, customer: &Customer) -> bool {
        let has_it =
            || self.escalation.supervisor.as_ref() == Some(user) && customer.agent.as_ref() == Some(user);
        self.agents.contains(user) || has_it()
    }

    /// Whether this account may answer a customer at all.
    pub(super) fn is_staff(&self, user: &ImUserId) -> bool {
        self.agents.contains(user) || self.escalation.supervisor.as_ref() == Some(user)
    }
}

/// How long a customer has waited, in full minutes.
fn waited(locale: Locale, since: Millis, now: Millis) -> String {
    let minutes = now.since(since).max(0) / 60_000;
    duration(locale, since.plus(minutes * 60_000), since)
}

/// The step of this number, from 0. `next`: another agent, if one can take the conversation.
fn step<'a>(
    number: u32,
    holder: Option<&ImUserId>,
    next: Option<&'a ImUserId>,
    supervisor: Option<&'a ImUserId>,
) -> Step<'a> {
    let goes_to = match number {
        0 => return Step::Tell,
        1 => next.or(supervisor),
        _ => supervisor,
    };
    goes_to.filter(|agent| Some(*agent) != holder).map_or(Step::Nothing, Step::Give)
}

impl Settings {
    /// Takes the step of a question that is due, if one is. Returns whether somebody gets a message.
    pub(super) fn escalate(
        &self,
        tx: &Tx<'_>,
        customer: &mut Customer,
        question: &mut Question,
        random: [u32; 3],
    ) -> Result<bool, StoreError> {
        let now = tx.now();
        if self.step_due(question).is_none_or(|due| now < due) {
            return Ok(false);
        }
        let holder = customer.agent.clone();
        let others: Vec<ImUserId> = self
            .members(customer.group.as_deref())
            .iter()
            .filter(|agent| Some(*agent) != holder.as_ref())
            .cloned()
            .collect();
        let (mut absent, mut open) = (Vec::new(), Vec::new());
        // Whoever waits in line is served in turn, unless the supervisor steps in.
        if question.steps == 1 && holder.is_some() && !others.is_empty() {
            open = tx.conversations_by_agent(now.plus(-self.session_idle_ms))?;
            if self.needs_presence() {
                absent = presence::absent(tx)?;
            }
        }
        let capacity = self.desk.capacity;
        let next = Agents { all: &others, absent: &absent, capacity, open: &open, last: None }.choose(None);
        let next = next.filter(|_| holder.is_some());
        let supervisor = self.escalation.supervisor.as_ref();
        let locale = self.texts.locale;
        let waited = waited(locale, question.asked_at, now);
        let source = format!("unanswered:{}:{}", question.asked_at.0, question.steps);
        let is_told = match (step(question.steps, holder.as_ref(), next, supervisor), &holder) {
            (Step::Tell, Some(agent)) => {
                let text = notice::waits_for_answer(locale, &waited);
                enqueue_notice(tx, &customer.openid, agent, &text, &source, random[0])?
            }
            (Step::Tell, None) | (Step::Nothing, _) => false,
            (Step::Give(agent), _) => {
                let cause = Cause::Unanswered { waited: &waited };
                let hand_over =
                    HandOver { locale, agents: &self.agents, agent, cause, source: &source, random };
                hand_over.apply(tx, customer, holder.as_ref())?;
                true
            }
        };
        if is_told {
            let detail = format!("unanswered for {}", self::waited(Locale::En, question.asked_at, now));
            tx.record_step(&customer.openid, None, "escalation", &detail, None)?;
        }
        // The supervisor is the last one.
        let is_last = customer.agent.as_ref() == supervisor && question.steps > 0;
        question.steps = if is_last { STEPS } else { question.steps + 1 };
        question.stepped_at = now;
        Ok(is_told)
    }

    /// When the next step of this question is due; `None`: none is left.
    pub(super) fn step_due(&self, question: &Question) -> Option<Millis> {
        if question.steps >= STEPS {
            return None;
        }
        self.next_step_at(question.asked_at.max(question.stepped_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_minutes_count() {
        for (now, expected) in
            [(0, "0 h 0 min"), (59_999, "0 h 0 min"), (300_000, "0 h 5 min"), (3_659_999, "1 h 0 min")]
        {
            assert_eq!(waited(Locale::En, Millis(7), Millis(7 + now)), expected);
        }
    }

    #[test]
    fn the_steps_lead_to_the_supervisor_and_nobody_gets_what_is_theirs() {
        let [a, b, boss] = ["a", "b", "boss"].map(|name| ImUserId::new(name).unwrap());
        for (number, holder, next, supervisor, expected) in [
            (0, Some(&a), Some(&b), Some(&boss), Step::Tell),
            (1, Some(&a), Some(&b), Some(&boss), Step::Give(&b)),
            (1, Some(&a), None, Some(&boss), Step::Give(&boss)),
            (1, Some(&a), None, None, Step::Nothing),
            (1, None, Some(&b), None, Step::Give(&b)),
            (2, Some(&b), Some(&a), Some(&boss), Step::Give(&boss)),
            (2, Some(&boss), Some(&a), Some(&boss), Step::Nothing),
            (2, Some(&b), Some(&a), None, Step::Nothing),
        ] {
            assert_eq!(step(number, holder, next, supervisor), expected, "{number} {holder:?}");
        }
    }
}
