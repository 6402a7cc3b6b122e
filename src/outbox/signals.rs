//! Where the outbox hears of lanes with work: it scans the store, and is signalled by this instance and by others.

use super::Outbox;
use super::schedule::Scan;
use crate::model::Lane;

/// The number of lanes read from the store at once.
const PAGE_SIZE: usize = 512;

impl Outbox {
    /// Loads the next page of lanes with work, as long as the schedule has room.
    pub(super) async fn load_lanes(&mut self) {
        for pipeline in &mut self.pipelines {
            let Scan::At { after, .. } = pipeline.schedule.scan().clone() else { continue };
            if pipeline.schedule.room() < PAGE_SIZE {
                continue;
            }
            let direction = pipeline.direction;
            let found = self.store.read(move |tx| tx.open_lanes(direction, after.as_ref(), PAGE_SIZE)).await;
            match found {
                Ok(found) => {
                    pipeline.schedule.scanned_to(found.last().filter(|_| found.len() == PAGE_SIZE).cloned());
                    for customer in found.into_iter().filter(|customer| self.fleet.owns(customer)) {
                        pipeline.schedule.notify(&Lane { direction, customer });
                    }
                }
                Err(error) => tracing::warn!(
                    %error,
                    "the outbox cannot read its lanes from the store; it tries again within a second"
                ),
            }
        }
    }

    pub(super) fn take_signals(&mut self) {
        let signals = self.work_signal.take();
        for lane in &signals.lanes {
            self.pipeline(lane.direction).schedule.notify(lane);
        }
        if signals.overflowed {
            self.pipelines.iter_mut().for_each(|pipeline| pipeline.schedule.restart_scan());
        }
        for direct in signals.direct {
            self.start_direct(direct);
        }
    }

    /// Other instances have accepted something for customers of this one, or shards have come.
    pub(super) fn take_foreign_signals(&mut self) {
        let signals = self.fleet.take_signals();
        for lane in &signals.lanes {
            self.pipeline(lane.direction).schedule.notify(lane);
        }
        if signals.must_scan {
            self.pipelines.iter_mut().for_each(|pipeline| pipeline.schedule.restart_scan());
        }
    }
}
