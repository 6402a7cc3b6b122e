//! The lanes of one direction that may have work, in memory and bounded. Pure: no clock, no store.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::lane::Rest;
use crate::model::{Lane, Millis, OpenId};

/// The schedule.
#[derive(Debug)]
pub(super) struct Schedule {
    places: HashMap<Lane, Place>,
    ready: VecDeque<Lane>,
    sleeping: BTreeSet<(Millis, Lane)>,
    limit: usize,
    walk: Walk,
}

/// The progress of the scan through the lanes of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// The scan is complete.
    Done,
    /// The next page begins after this customer. `again`: a further scan must follow, because lanes
    /// before this point may have new work.
    At { after: Option<OpenId>, again: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready,
    Running { rang: bool },
    Sleeping { due: Millis, platform: bool },
}

impl Schedule {
    /// Creates a schedule for at most `limit` lanes, before the first scan of the store.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            places: HashMap::new(),
            ready: VecDeque::new(),
            sleeping: BTreeSet::new(),
            limit,
            walk: Walk::At { after: None, again: false },
        }
    }

    /// The number of lanes that it can still take.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.places.len())
    }

    /// The progress of the scan through the lanes of the store.
    pub(super) fn walk(&self) -> &Walk {
        &self.walk
    }

    /// The scan has reached `last`; `None`: the end.
    pub(super) fn walked_to(&mut self, last: Option<OpenId>) {
        self.walk = match (&self.walk, last) {
            (Walk::At { again, .. }, Some(last)) => Walk::At { after: Some(last), again: *again },
            (Walk::At { again: true, .. }, None) => Walk::At { after: None, again: false },
            _ => Walk::Done,
        };
    }

    /// Scans the store from its beginning, because lanes may have been missed. A running scan is
    /// completed first.
    pub(super) fn walk_again(&mut self) {
        self.walk = match &self.walk {
            Walk::At { after: Some(after), .. } => Walk::At { after: Some(after.clone()), again: true },
            Walk::At { after: None, .. } | Walk::Done => Walk::At { after: None, again: false },
        };
    }

    /// There may be work in `lane`. If there is no room for the lane, the store is scanned again.
    pub(super) fn rang(&mut self, lane: &Lane) {
        let is_full = self.places.len() >= self.limit;
        match self.places.get_mut(lane) {
            Some(Place::Running { rang }) => *rang = true,
            // While the platform is down, a signal changes nothing for lanes that wait for the
            // platform.
            Some(Place::Ready | Place::Sleeping { platform: true, .. }) => {}
            Some(Place::Sleeping { due, .. }) => {
                let due = *due;
                self.sleeping.remove(&(due, lane.clone()));
                self.make_ready(lane.clone());
            }
            None if is_full => self.walk_again(),
            None => self.make_ready(lane.clone()),
        }
    }

    /// The next lane to work on; it counts as running from now on.
    pub(super) fn next(&mut self) -> Option<Lane> {
        let lane = self.ready.pop_front()?;
        self.places.insert(lane.clone(), Place::Running { rang: false });
        Some(lane)
    }

    /// A running lane stops running.
    pub(super) fn rest(&mut self, lane: Lane, rest: Rest) {
        let rang = matches!(self.places.get(&lane), Some(Place::Running { rang: true }));
        match rest {
            Rest::Turn => self.make_ready(lane),
            // The signal may be newer than the state that the lane has seen.
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

    /// Makes the lanes ready that are due.
    pub(super) fn wake(&mut self, now: Millis) {
        while let Some((due, _)) = self.sleeping.first()
            && *due <= now
        {
            if let Some((_, lane)) = self.sleeping.pop_first() {
                self.make_ready(lane);
            }
        }
    }

    /// The platform is back: makes the lanes ready that wait for it.
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
    use crate::model::Direction;
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

    #[test]
    fn a_bell_while_a_lane_runs_ends_the_wait_that_it_comes_back_with() {
        let mut schedule = Schedule::new(4);
        let rest = |platform| Rest::Until { due: Millis(20_000), platform };
        schedule.rang(&lane(0));
        assert_eq!(schedule.next(), Some(lane(0)));
        schedule.rang(&lane(0));
        schedule.rest(lane(0), rest(false));
        assert_eq!(schedule.next(), Some(lane(0)), "the event it waits for may have happened");
        schedule.rang(&lane(0));
        schedule.rest(lane(0), rest(true));
        assert_eq!(schedule.next(), None, "a signal does not bring the platform back");
    }

    #[test]
    fn a_lane_that_is_turned_away_behind_a_walks_back_is_met_by_the_next_walk() {
        let at = |after: Option<u8>, again| Walk::At { after: after.map(|n| lane(n).customer), again };
        let mut schedule = Schedule::new(1);
        assert_eq!(*schedule.walk(), at(None, false), "the first scan");
        schedule.rang(&lane(5));
        schedule.walked_to(Some(lane(5).customer));
        schedule.rang(&lane(3));
        assert_eq!(*schedule.walk(), at(Some(5), true), "the scan goes on");
        schedule.walked_to(None);
        assert_eq!(*schedule.walk(), at(None, false), "and then begins again");
        schedule.walked_to(None);
        assert_eq!(*schedule.walk(), Walk::Done);
        schedule.rang(&lane(3));
        assert_eq!(*schedule.walk(), at(None, false), "there is still no room for it");
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
                        schedule.rang(&lane(n));
                        if running.contains(&lane(n)) {
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
            // In the end every lane in the schedule is run.
            schedule.wake(Millis(i64::MAX));
            let mut turns = 0;
            while schedule.next().is_some() { turns += 1; }
            prop_assert_eq!(turns + running.len(), schedule.places.len());
        }
    }
}
