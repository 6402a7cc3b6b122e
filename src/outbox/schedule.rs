//! The lanes of one direction that may have work, in memory and bounded. Pure: no clock, no store.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::lane::Rest;
use crate::model::{Lane, Millis};

/// The schedule.
#[derive(Debug)]
pub(super) struct Schedule {
    places: HashMap<Lane, Place>,
    ready: VecDeque<Lane>,
    sleeping: BTreeSet<(Millis, Lane)>,
    limit: usize,
    turned_away: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready,
    Running { rang: bool },
    Sleeping { due: Millis, platform: bool },
}

impl Schedule {
    /// A schedule for at most `limit` lanes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            places: HashMap::new(),
            ready: VecDeque::new(),
            sleeping: BTreeSet::new(),
            limit,
            turned_away: false,
        }
    }

    /// How many more lanes it takes.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.places.len())
    }

    /// A lane was turned away since the store was last walked through.
    pub(super) fn is_overfull(&self) -> bool {
        self.turned_away && self.room() > 0
    }

    /// The store is about to be walked through.
    pub(super) fn caught_up(&mut self) {
        self.turned_away = false;
    }

    /// There may be work in `lane`. `false` if there is no room to remember it.
    pub(super) fn rang(&mut self, lane: &Lane) -> bool {
        let is_full = self.places.len() >= self.limit;
        match self.places.get_mut(lane) {
            Some(Place::Running { rang }) => *rang = true,
            // While the platform is down a bell changes nothing for those that wait for it.
            Some(Place::Ready | Place::Sleeping { platform: true, .. }) => {}
            Some(Place::Sleeping { due, .. }) => {
                let due = *due;
                self.sleeping.remove(&(due, lane.clone()));
                self.make_ready(lane.clone());
            }
            None if is_full => {
                self.turned_away = true;
                return false;
            }
            None => self.make_ready(lane.clone()),
        }
        true
    }

    /// The next lane to work on, which is then running.
    pub(super) fn next(&mut self) -> Option<Lane> {
        let lane = self.ready.pop_front()?;
        self.places.insert(lane.clone(), Place::Running { rang: false });
        Some(lane)
    }

    /// A running lane rests.
    pub(super) fn rest(&mut self, lane: Lane, rest: Rest) {
        let rang = matches!(self.places.get(&lane), Some(Place::Running { rang: true }));
        match rest {
            Rest::Turn => self.make_ready(lane),
            Rest::Idle | Rest::Until { platform: false, .. } if rang => self.make_ready(lane),
            Rest::Idle | Rest::Stopped => {
                self.places.remove(&lane);
            }
            Rest::Until { due, platform } => {
                self.sleeping.insert((due, lane.clone()));
                self.places.insert(lane, Place::Sleeping { due, platform });
            }
        }
    }

    /// Makes those ready that are due.
    pub(super) fn wake(&mut self, now: Millis) {
        while let Some((due, _)) = self.sleeping.first()
            && *due <= now
        {
            if let Some((_, lane)) = self.sleeping.pop_first() {
                self.make_ready(lane);
            }
        }
    }

    /// The platform is back: those that wait for it need not wait any longer.
    pub(super) fn wake_all_of_platform(&mut self) {
        let waiting: Vec<(Millis, Lane)> = self
            .sleeping
            .iter()
            .filter(|(_, lane)| matches!(self.places.get(lane), Some(Place::Sleeping { platform: true, .. })))
            .cloned()
            .collect();
        for entry in waiting {
            self.sleeping.remove(&entry);
            self.make_ready(entry.1);
        }
    }

    /// When the first sleeping lane is due.
    pub(super) fn next_due(&self) -> Option<Millis> {
        self.sleeping.first().map(|(due, _)| *due)
    }

    fn make_ready(&mut self, lane: Lane) {
        self.places.insert(lane.clone(), Place::Ready);
        self.ready.push_back(lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, OpenId};
    use proptest::prelude::*;

    fn lane(n: u8) -> Lane {
        Lane { direction: Direction::ToIm, customer: OpenId::new(format!("o{n}")).unwrap() }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Rang(u8),
        Next,
        Rest(u8),
        Wake,
        Back,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0_u8..6).prop_map(Step::Rang),
            Just(Step::Next),
            (0_u8..5).prop_map(Step::Rest),
            Just(Step::Wake),
            Just(Step::Back),
        ];
        prop::collection::vec(step, 0..120)
    }

    proptest! {
        #[test]
        fn a_lane_runs_once_at_a_time_and_no_bell_is_lost(steps in steps()) {
            let mut schedule = Schedule::new(4);
            let mut running: Vec<Lane> = Vec::new();
            let mut rang_while_running: Vec<Lane> = Vec::new();
            for step in steps {
                match step {
                    Step::Rang(n) => {
                        if schedule.rang(&lane(n)) && running.contains(&lane(n)) {
                            rang_while_running.push(lane(n));
                        }
                    }
                    Step::Next => if let Some(next) = schedule.next() {
                        prop_assert!(!running.contains(&next), "{next:?} runs twice");
                        running.push(next);
                    },
                    Step::Rest(how) => if let Some(lane) = running.pop() {
                        let rest = match how {
                            0 => Rest::Turn,
                            1 | 2 => Rest::Idle,
                            3 => Rest::Until { due: Millis(7), platform: false },
                            _ => Rest::Until { due: Millis(9), platform: true },
                        };
                        let must_stay = rang_while_running.contains(&lane);
                        rang_while_running.retain(|other| *other != lane);
                        schedule.rest(lane.clone(), rest);
                        prop_assert!(!must_stay || schedule.places.contains_key(&lane));
                    },
                    Step::Wake => schedule.wake(Millis(8)),
                    Step::Back => schedule.wake_all_of_platform(),
                }
                prop_assert!(schedule.places.len() <= 4 + running.len());
            }
            // In the end everything that is remembered comes to its turn.
            schedule.wake(Millis(i64::MAX));
            let mut turns = 0;
            while schedule.next().is_some() { turns += 1; }
            prop_assert_eq!(turns + running.len(), schedule.places.len());
        }
    }
}
