//! The lanes of one direction that may have work, in memory and bounded. Pure: no clock, no store.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::lane::Rest;
use crate::model::{Lane, Millis, OpenId};

/// The schedule.
#[derive(Debug)]
pub(super) struct Schedule {
    lanes: HashMap<Lane, LaneState>,
    ready: VecDeque<Lane>,
    sleeping: BTreeSet<(Millis, Lane)>,
    limit: usize,
    scan: Scan,
}

/// The progress of the scan through the lanes of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// The scan is complete.
    Done,
    /// The next page begins after this customer. `again`: a further scan must follow, because lanes
    /// before this point may have new work.
    At { after: Option<OpenId>, rescan: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaneState {
    Ready,
    Running { notified: bool },
    Sleeping { due: Millis, waits_for_platform: bool },
}

impl Schedule {
    /// Creates a schedule for at most `limit` lanes, before the first scan of the store.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            sleeping: BTreeSet::new(),
            limit,
            scan: Scan::At { after: None, rescan: false },
        }
    }

    /// The number of lanes that it can still take.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.lanes.len())
    }

    /// The progress of the scan through the lanes of the store.
    pub(super) fn scan(&self) -> &Scan {
        &self.scan
    }

    /// The scan has reached `last`; `None`: the end.
    pub(super) fn scanned_to(&mut self, last: Option<OpenId>) {
        self.scan = match (&self.scan, last) {
            (Scan::At { rescan: again, .. }, Some(last)) => Scan::At { after: Some(last), rescan: *again },
            (Scan::At { rescan: true, .. }, None) => Scan::At { after: None, rescan: false },
            _ => Scan::Done,
        };
    }

    /// Scans the store from its beginning, because lanes may have been missed. A running scan is
    /// completed first.
    pub(super) fn restart_scan(&mut self) {
        self.scan = match &self.scan {
            Scan::At { after: Some(after), .. } => Scan::At { after: Some(after.clone()), rescan: true },
            Scan::At { after: None, .. } | Scan::Done => Scan::At { after: None, rescan: false },
        };
    }

    /// There may be work in `lane`. If there is no room for the lane, the store is scanned again.
    pub(super) fn notify(&mut self, lane: &Lane) {
        let is_full = self.lanes.len() >= self.limit;
        match self.lanes.get_mut(lane) {
            Some(LaneState::Running { notified }) => *notified = true,
            // While the platform is down, a signal changes nothing for lanes that wait for the
            // platform.
            Some(LaneState::Ready | LaneState::Sleeping { waits_for_platform: true, .. }) => {}
            Some(LaneState::Sleeping { due, .. }) => {
                let due = *due;
                self.sleeping.remove(&(due, lane.clone()));
                self.make_ready(lane.clone());
            }
            None if is_full => self.restart_scan(),
            None => self.make_ready(lane.clone()),
        }
    }

    /// The next lane to work on; it counts as running from now on.
    pub(super) fn next(&mut self) -> Option<Lane> {
        while let Some(lane) = self.ready.pop_front() {
            // A lane may have been started meanwhile.
            if self.lanes.get(&lane) == Some(&LaneState::Ready) {
                self.lanes.insert(lane.clone(), LaneState::Running { notified: false });
                return Some(lane);
            }
        }
        None
    }

    /// Starts this lane out of turn; it counts as running from now on. `false` if it is running already.
    pub(super) fn start(&mut self, lane: &Lane) -> bool {
        match self.lanes.get(lane) {
            Some(LaneState::Running { .. }) => return false,
            Some(LaneState::Sleeping { due, .. }) => {
                self.sleeping.remove(&(*due, lane.clone()));
            }
            Some(LaneState::Ready) | None => {}
        }
        self.lanes.insert(lane.clone(), LaneState::Running { notified: false });
        true
    }

    /// No lane waits for its turn, all lanes of the store are known, and there is room for more.
    pub(super) fn is_quiet(&self) -> bool {
        self.ready.is_empty() && self.scan == Scan::Done && self.room() > 0
    }

    /// A running lane stops running.
    pub(super) fn rest(&mut self, lane: Lane, rest: Rest) {
        let notified = matches!(self.lanes.get(&lane), Some(LaneState::Running { notified: true }));
        match rest {
            Rest::Yield => self.make_ready(lane),
            // The signal may be newer than the state that the lane has seen.
            Rest::Idle | Rest::Until { waits_for_platform: false, .. } if notified => self.make_ready(lane),
            Rest::Idle | Rest::Stopped => {
                self.lanes.remove(&lane);
            }
            Rest::Until { due, waits_for_platform: platform } => {
                self.sleeping.insert((due, lane.clone()));
                self.lanes.insert(lane, LaneState::Sleeping { due, waits_for_platform: platform });
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
    pub(super) fn wake_platform_waiters(&mut self) {
        let waiting: Vec<(Millis, Lane)> = self
            .sleeping
            .iter()
            .filter(|(_, lane)| {
                matches!(self.lanes.get(lane), Some(LaneState::Sleeping { waits_for_platform: true, .. }))
            })
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
        self.lanes.insert(lane.clone(), LaneState::Ready);
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
        Notify(u8),
        Next,
        Start(u8),
        Rest(u8),
        Wake,
        PlatformBack,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0_u8..6).prop_map(Step::Notify),
            Just(Step::Next),
            (0_u8..6).prop_map(Step::Start),
            (0_u8..5).prop_map(Step::Rest),
            Just(Step::Wake),
            Just(Step::PlatformBack),
        ];
        prop::collection::vec(step, 0..120)
    }

    #[test]
    fn a_signal_during_a_run_cancels_the_wait_that_follows() {
        let mut schedule = Schedule::new(4);
        let rest = |platform| Rest::Until { due: Millis(20_000), waits_for_platform: platform };
        schedule.notify(&lane(0));
        assert_eq!(schedule.next(), Some(lane(0)));
        schedule.notify(&lane(0));
        schedule.rest(lane(0), rest(false));
        assert_eq!(schedule.next(), Some(lane(0)), "the event it waits for may have happened");
        schedule.notify(&lane(0));
        schedule.rest(lane(0), rest(true));
        assert_eq!(schedule.next(), None, "a signal does not bring the platform back");
    }

    #[test]
    fn a_lane_refused_behind_the_scan_is_found_by_the_next_scan() {
        let at =
            |after: Option<u8>, again| Scan::At { after: after.map(|n| lane(n).customer), rescan: again };
        let mut schedule = Schedule::new(1);
        assert_eq!(*schedule.scan(), at(None, false), "the first scan");
        schedule.notify(&lane(5));
        schedule.scanned_to(Some(lane(5).customer));
        schedule.notify(&lane(3));
        assert_eq!(*schedule.scan(), at(Some(5), true), "the scan goes on");
        schedule.scanned_to(None);
        assert_eq!(*schedule.scan(), at(None, false), "and then begins again");
        schedule.scanned_to(None);
        assert_eq!(*schedule.scan(), Scan::Done);
        schedule.notify(&lane(3));
        assert_eq!(*schedule.scan(), at(None, false), "there is still no room for it");
    }

    proptest! {
        #[test]
        fn a_lane_runs_once_at_a_time_and_no_signal_is_lost(steps in steps()) {
            let mut schedule = Schedule::new(4);
            let mut running: Vec<Lane> = Vec::new();
            let mut notified_while_running: Vec<Lane> = Vec::new();
            // Lanes that were started out of turn when there was no room.
            let mut beyond = 0;
            for step in steps {
                match step {
                    Step::Notify(n) => {
                        schedule.notify(&lane(n));
                        if running.contains(&lane(n)) {
                            notified_while_running.push(lane(n));
                        }
                    }
                    Step::Next => if let Some(next) = schedule.next() {
                        prop_assert!(!running.contains(&next), "{next:?} runs twice");
                        running.push(next);
                    },
                    Step::Start(n) => {
                        let is_new = !schedule.lanes.contains_key(&lane(n));
                        beyond += usize::from(is_new && schedule.room() == 0);
                        let has_started = schedule.start(&lane(n));
                        prop_assert_eq!(has_started, !running.contains(&lane(n)));
                        if has_started {
                            running.push(lane(n));
                        }
                    }
                    Step::Rest(how) => if let Some(lane) = running.pop() {
                        let rest = match how {
                            0 => Rest::Yield,
                            1 | 2 => Rest::Idle,
                            3 => Rest::Until { due: Millis(7), waits_for_platform: false },
                            _ => Rest::Until { due: Millis(9), waits_for_platform: true },
                        };
                        let must_stay = notified_while_running.contains(&lane);
                        notified_while_running.retain(|other| *other != lane);
                        schedule.rest(lane.clone(), rest);
                        prop_assert!(!must_stay || schedule.lanes.contains_key(&lane));
                    },
                    Step::Wake => schedule.wake(Millis(8)),
                    Step::PlatformBack => schedule.wake_platform_waiters(),
                }
                prop_assert!(schedule.lanes.len() <= 4 + running.len() + beyond);
            }
            // In the end every lane in the schedule is run.
            schedule.wake(Millis(i64::MAX));
            let mut runs = 0;
            while schedule.next().is_some() { runs += 1; }
            prop_assert_eq!(runs + running.len(), schedule.lanes.len());
        }
    }
}
