//! The figures of a report: what the conversations of an agent and a day were like.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::model::{Millis, Rating};
use crate::store::{ConversationFacts, EndedConversation, GivenRating};

/// The conversations of one agent that began on one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// All of them.
    pub conversations: u32,
    /// Those that are not over.
    pub open: u32,
    /// Those in which the customer got an answer.
    pub answered: u32,
    /// How long customers waited for the first answer, milliseconds.
    pub first_answers: Vec<i64>,
    /// How long it took until the conversation was over, milliseconds.
    pub resolutions: Vec<i64>,
    /// The customers' messages.
    pub messages_in: u64,
    /// The agents' messages.
    pub messages_out: u64,
    /// How many customers were satisfied, how many said so-so, and how many were not satisfied.
    pub ratings: [u32; 3],
}

impl Figures {
    /// The median and the 90th percentile of the times to the first answer, in seconds; `None`: there are none.
    pub fn first_answer_s(&self) -> [Option<i64>; 2] {
        [50, 90].map(|share| percentile_s(&self.first_answers, share))
    }

    /// The same of the times to the end.
    pub fn resolution_s(&self) -> [Option<i64>; 2] {
        [50, 90].map(|share| percentile_s(&self.resolutions, share))
    }

    fn add(&mut self, first_answer_ms: Option<i64>, messages: [u32; 2]) {
        self.conversations += 1;
        self.answered += u32::from(first_answer_ms.is_some());
        self.first_answers.extend(first_answer_ms);
        self.messages_in += u64::from(messages[0]);
        self.messages_out += u64::from(messages[1]);
    }
}

/// The smallest value that at least `share` of a hundred do not exceed, in seconds.
fn percentile_s(values: &[i64], share: usize) -> Option<i64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * share).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).map(|ms| ms / 1000)
}

/// The figures of each day and agent.
#[derive(Debug)]
pub(super) struct Report {
    zone: TimeZone,
    rows: BTreeMap<(Date, String), Figures>,
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReportRow {
    /// The day on which the conversations began and the customers were asked for a rating.
    pub day: Date,
    /// The agent who had them at the end.
    pub agent: String,
    /// What they were like.
    pub figures: Figures,
}

impl Report {
    /// An empty report on the days of `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone, rows: BTreeMap::new() }
    }

    /// Adds a conversation that is over.
    pub fn add_ended(&mut self, ended: &EndedConversation) {
        let figures = self.figures(ended.begun_at, &ended.agent);
        figures.add(ended.first_answer_ms, [ended.messages_in, ended.messages_out]);
        figures.resolutions.extend(ended.resolution_ms);
    }

    /// Adds a conversation that goes on.
    pub fn add_open(&mut self, open: &ConversationFacts) {
        let figures = self.figures(open.begun_at, &open.agent);
        figures.add(open.first_answer_ms, [open.messages_in, open.messages_out]);
        figures.open += 1;
    }

    /// Adds what a customer answered, on the day on which the customer was asked.
    pub fn add_rating(&mut self, given: &GivenRating) {
        let at = Rating::ALL.iter().position(|rating| Some(*rating) == given.rating);
        if let Some(at) = at {
            self.figures(given.asked_at, &given.agent).ratings[at] += 1;
        }
    }

    /// The lines, by day and agent.
    pub fn rows(self) -> Vec<ReportRow> {
        self.rows.into_iter().map(|((day, agent), figures)| ReportRow { day, agent, figures }).collect()
    }

    fn figures(&mut self, at: Millis, agent: &str) -> &mut Figures {
        // Only a broken row has a time that no calendar knows.
        let at = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
        self.rows.entry((self.zone.to_datetime(at).date(), agent.to_owned())).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        assert_eq!(percentile_s(&[], 50), None);
        assert_eq!(percentile_s(&[7_900], 90), Some(7));
        let values: Vec<i64> = (1..=10).rev().map(|s| s * 1000).collect();
        assert_eq!([50, 90, 100].map(|share| percentile_s(&values, share)), [Some(5), Some(9), Some(10)]);
        assert_eq!(percentile_s(&[1_000, 2_000, 9_000], 50), Some(2));
    }

    #[test]
    fn a_day_is_that_of_the_shop() {
        let zone = crate::model::hours::time_zone("Asia/Shanghai").unwrap();
        let mut report = Report::new(zone);
        // 2026-09-30 15:59 and 16:01 in UTC.
        for at in [1_790_783_940_000, 1_790_784_060_000] {
            report.add_open(&ConversationFacts {
                id: 1,
                agent: "user1".to_owned(),
                begun_at: Millis(at),
                first_answer_ms: Some(5_000),
                last_at: Millis(at),
                messages_in: 2,
                messages_out: 1,
            });
        }
        let rows = report.rows();
        let days: Vec<String> = rows.iter().map(|row| row.day.to_string()).collect();
        assert_eq!(days, ["2026-09-30", "2026-10-01"]);
        let Figures { conversations, open, answered, messages_in, messages_out, .. } = rows[0].figures;
        assert_eq!((conversations, open, answered, messages_in, messages_out), (1, 1, 1, 2, 1));
        assert_eq!(
            (rows[0].figures.first_answer_s(), rows[0].figures.resolution_s()),
            ([Some(5); 2], [None; 2])
        );
    }
}
