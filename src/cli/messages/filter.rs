//! Which messages a command is about: the filters of `messages`.

use clap::{Args, ValueEnum};

use crate::clock::calendar::age_ms;
use crate::model::{Millis, OpenId, State};
use crate::store::MessageFilter;

#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct Filters {
    /// Only messages in this state
    #[arg(long, value_name = "STATE")]
    pub state: Option<StateFilter>,
    /// Only messages to or from this customer
    #[arg(long, value_name = "OPENID", value_parser = |text: &str| OpenId::new(text))]
    pub customer: Option<OpenId>,
    /// Only messages to or from this agent
    #[arg(long, value_name = "ID")]
    pub agent: Option<String>,
    /// Only messages whose last failure has this return code or HTTP status
    #[arg(long, value_name = "CODE", allow_negative_numbers = true)]
    pub code: Option<i64>,
    /// Only messages that were accepted within this time: 90s, 15m, 2h or 3d
    #[arg(long, value_name = "AGE", value_parser = age_ms)]
    pub since: Option<i64>,
    /// Only the newest N messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Also delivered messages
    #[arg(long)]
    pub all: bool,
}

impl Filters {
    /// Whether pushes that could not be read are listed too.
    pub fn shows_pushes(&self) -> bool {
        matches!(self.state, None | Some(StateFilter::Unreadable))
    }

    /// The filter for the store. `now`: the time from which the age counts.
    pub fn to_filter(&self, now: Millis) -> MessageFilter {
        let all = State::ALL.into_iter().filter(|state| self.all || *state != State::Delivered);
        let states = self.state.map_or_else(|| all.collect(), StateFilter::states);
        MessageFilter {
            states,
            customer: self.customer.clone(),
            agent: self.agent.clone(),
            code: self.code,
            since: self.since.map_or(Millis(i64::MIN), |age_ms| now.plus(-age_ms)),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum StateFilter {
    /// The bridge still has to act on it
    Waiting,
    /// It waits until the customer acts
    Held,
    /// The platform accepted it
    Delivered,
    /// It is never sent
    Refused,
    /// It may or may not have arrived
    Unknown,
    /// A stored message that this version cannot read, or a push from WeChat that it could not read; the push
    /// is kept as it came
    Unreadable,
    /// Its agent recalled it before it left
    Recalled,
    /// A customer's message that waits until the desk opens
    Deferred,
    /// A customer's message that waits until an agent is free
    Queued,
}

impl StateFilter {
    /// The states that it stands for.
    pub fn states(self) -> Vec<State> {
        match self {
            Self::Waiting => vec![State::Accepted, State::Sending],
            Self::Held => vec![State::Held],
            Self::Delivered => vec![State::Delivered],
            Self::Refused => vec![State::Refused],
            Self::Unknown => vec![State::Unknown],
            Self::Unreadable => vec![State::Unreadable],
            Self::Recalled => vec![State::Recalled],
            Self::Deferred => vec![State::Deferred],
            Self::Queued => vec![State::Queued],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_filter_has_the_name_under_which_its_states_are_listed() {
        for filter in StateFilter::value_variants() {
            let name = filter.to_possible_value().unwrap().get_name().to_owned();
            for state in filter.states() {
                assert_eq!(state.name(), name);
            }
        }
        let all: usize = StateFilter::value_variants().iter().map(|wanted| wanted.states().len()).sum();
        assert_eq!(all, State::ALL.len());
    }

    #[test]
    fn delivered_messages_are_left_out_unless_they_are_asked_for() {
        let states = |filters: Filters| filters.to_filter(Millis(0)).states;
        assert!(!states(Filters::default()).contains(&State::Delivered));
        assert_eq!(states(Filters { all: true, ..Filters::default() }), State::ALL);
        let delivered = Filters { state: Some(StateFilter::Delivered), ..Filters::default() };
        assert_eq!(states(delivered), [State::Delivered]);
        assert_eq!(Filters { since: Some(5), ..Filters::default() }.to_filter(Millis(7)).since, Millis(2));
    }
}
