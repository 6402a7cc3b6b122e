//! Carries out pending calls: claims a message, records the attempt, sends, settles; lane by lane,
//! in the order of acceptance.
//!
//! The store is the only source of truth; memory holds just a bounded schedule of lanes that may
//! have work. This module names neither platform: each platform implements [`Courier`]. An attempt
//! is recorded before it is made, so that after a crash "was being sent" is a known state with a
//! rule of its own.

mod courier;
pub mod ended_conversations;
pub mod fetch;
mod lane;
pub mod line;
pub mod opening;
mod panics;
pub mod retention;
mod schedule;
mod signals;
pub mod unanswered;
mod waiting;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, DirectCall, Place, Places};
use crate::clock::{Clock, millis};
use crate::config;
use crate::fleet::{Fleet, Hold};
use crate::metrics::Metrics;
use crate::model::{Direction, Lane, Millis};
use crate::store::{PendingCall, Store};
use crate::upstream::Breaker;

use lane::{LaneWorker, PanicCounts, Permits, Rest};
use schedule::Schedule;
use waiting::WaitNotices;

pub use courier::{Courier, Payload, PrepareError, TextNotice};
pub use panics::Panics;

/// The most lanes of one direction in memory; further lanes wait in the store.
const MAX_LANES: usize = 16_384;
/// The most calls to WeChat in preparation at once: a fraction of the calls in flight, so that slow
/// downloads do not hold up texts.
const MAX_PREPARING: usize = 16;
/// A change by an operator's command is noticed within this time.
const TICK: Duration = Duration::from_secs(1);
/// A lost signal is noticed within this time.
const SCAN_INTERVAL: Duration = Duration::from_mins(1);

/// How often an outbox that stops looks whether a call is still handed over.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// A call that was handed over is made within this time, or its lane finds out what came of it. Less than the time after
/// which a lane asks for the outcome of an attempt.
const DIRECT_TIME: Duration = Duration::from_millis(800);

/// A clock that steps back by less is being corrected, not set; milliseconds.
const CLOCK_STEP_MS: i64 = 1_000;

/// How long a settled message and its trace steps are kept, and how long a message may wait before
/// it is given up, milliseconds.
pub const MESSAGE_RETENTION_MS: i64 = 30 * 24 * 3600 * 1000;

/// The key whose value an operator's command, in another process, changes after it made messages
/// due.
pub const OPERATOR_SIGNAL: &str = "operator_signal";

/// The dependencies of the outbox.
#[derive(Debug)]
pub struct OutboxParts {
    /// The store.
    pub store: Store,
    /// Decides what may be sent and which notices agents get.
    pub bridge: Bridge,
    /// Makes the calls to IM.
    pub to_im: Arc<dyn Courier>,
    /// Makes the calls to WeChat.
    pub to_wechat: Arc<dyn Courier>,
    /// Signals new work.
    pub work_signal: crate::bridge::WorkSignal,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
    /// The most calls in flight, in each direction.
    pub in_flight: usize,
    /// When a message that gets nowhere ends, and when its agent is told.
    pub limits: Limits,
    /// Where panics are counted.
    pub panics: Panics,
}

/// When a message that gets nowhere ends, and when its agent is told. `None`: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The rounds in which the platform neither answers a call nor has it in its history, until the
    /// message is unknown.
    pub unknown_after: Option<NonZeroU32>,
    /// How long a customer's account may fail to be made, milliseconds.
    pub give_up_ms: Option<i64>,
    /// How long an agent's message waits until its agent is told, milliseconds.
    pub tell_waiting_ms: Option<i64>,
}

impl From<&config::Outbox> for Limits {
    fn from(settings: &config::Outbox) -> Self {
        Self {
            unknown_after: settings.unknown_after,
            give_up_ms: settings.give_up.map(millis),
            tell_waiting_ms: settings.tell_waiting.map(millis),
        }
    }
}

/// The outbox.
#[derive(Debug)]
pub struct Outbox {
    pipelines: [Pipeline; 2],
    store: Store,
    bridge: Bridge,
    work_signal: crate::bridge::WorkSignal,
    fleet: Fleet,
    clock: Clock,
    running: JoinSet<Rest>,
    lanes: HashMap<Id, Lane>,
    /// The value of the operator signal at the last check.
    operator_signal: Option<String>,
    /// How many outages of the store had ended at the last check.
    recoveries: u64,
    /// When the store was last scanned because it was time.
    scanned_at: Instant,
    /// The time of the last pass.
    last_pass_at: Millis,
    wait_notices: WaitNotices,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Pipeline {
    direction: Direction,
    schedule: Schedule,
    worker: Arc<LaneWorker>,
    places: Places,
    /// Calls that were handed over while their lane was running. It may find nothing to do and end, or be about to.
    waiting: HashMap<Lane, DirectCall>,
}

impl Outbox {
    /// Creates an outbox that starts with the pending messages of the store.
    pub fn new(parts: OutboxParts, stop: CancellationToken) -> Self {
        let pipeline = |direction, courier: &Arc<dyn Courier>, places: Places, max_preparing| Pipeline {
            direction,
            schedule: Schedule::new(MAX_LANES),
            worker: Arc::new(LaneWorker {
                store: parts.store.clone(),
                bridge: parts.bridge.clone(),
                courier: Arc::clone(courier),
                work_signal: parts.work_signal.clone(),
                clock: parts.clock.clone(),
                metrics: parts.metrics.clone(),
                breaker: Breaker::new(direction.name()),
                permits: Permits::new(max_preparing),
                limits: parts.limits,
                panics: parts.panics.clone(),
                panic_counts: PanicCounts::default(),
                stop: stop.clone(),
            }),
            places,
            waiting: HashMap::new(),
        };
        let (to_im, to_wechat) = (parts.work_signal.places().clone(), Places::default());
        for places in [&to_im, &to_wechat] {
            places.add(parts.in_flight);
        }
        Self {
            pipelines: [
                // A preparation for IM is short, because its courier bounds it, so every lane gets
                // a permit.
                pipeline(Direction::ToIm, &parts.to_im, to_im, parts.in_flight),
                pipeline(Direction::ToWechat, &parts.to_wechat, to_wechat, MAX_PREPARING),
            ],
            wait_notices: WaitNotices {
                store: parts.store.clone(),
                bridge: parts.bridge.clone(),
                work_signal: parts.work_signal.clone(),
                after_ms: parts.limits.tell_waiting_ms,
            },
            store: parts.store,
            bridge: parts.bridge,
            fleet: parts.work_signal.fleet().clone(),
            work_signal: parts.work_signal,
            clock: parts.clock,
            running: JoinSet::new(),
            lanes: HashMap::new(),
            operator_signal: None,
            recoveries: 0,
            scanned_at: Instant::now(),
            last_pass_at: Millis(0),
            stop,
        }
    }

    /// Runs until stopped, then waits for the attempts that are being made.
    pub async fn run(mut self) {
        let stop = self.stop.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A wrong time could close every customer's window.
        stop.run_until_cancelled(self.clock.settled()).await;
        while !stop.is_cancelled() {
            self.load_lanes().await;
            self.take_signals();
            self.start_lanes();
            self.offer_places();
            let (work_signal, fleet) = (self.work_signal.clone(), self.fleet.clone());
            let due = self.sleep_until_due();
            tokio::select! {
                () = work_signal.notified() => {}
                () = fleet.signalled() => self.take_foreign_signals(),
                Some(joined) = self.running.join_next_with_id() => self.lane_ended(joined),
                () = due => {}
                _ = tick.tick() => {
                    self.check_store().await;
                    let [_, to_wechat] = &self.pipelines;
                    self.wait_notices.send(to_wechat.worker.breaker.why()).await;
                }
                () = stop.cancelled() => {}
            }
            // Handle all other finished lanes before looking for new work.
            while let Some(joined) = self.running.try_join_next_with_id() {
                self.lane_ended(joined);
            }
        }
        let places = self.work_signal.places().clone();
        places.offer(false);
        // The attempts of what is being accepted may be recorded, so they must be made.
        loop {
            self.take_signals();
            tokio::select! {
                Some(joined) = self.running.join_next_with_id() => self.lane_ended(joined),
                () = tokio::time::sleep(LAST_LOOK) => {
                    if self.running.is_empty() && places.are_all_free() {
                        break;
                    }
                }
            }
        }
    }

    /// Makes a call that was handed over, after the lane has ended if it is running.
    fn start_direct(&mut self, direct: DirectCall) {
        let lane = direct.pending.lane.clone();
        let pipeline = self.pipeline(lane.direction);
        if pipeline.schedule.start(&lane) {
            self.spawn(lane, direct.place, direct.hold, Some(direct.pending));
        } else {
            pipeline.waiting.insert(lane, direct);
        }
    }

    fn spawn(&mut self, lane: Lane, place: Place, hold: Hold, direct: Option<PendingCall>) {
        let worker = Arc::clone(&self.pipeline(lane.direction).worker);
        let key = lane.clone();
        let work = worker.work_or_panic(lane, direct, hold);
        let id = self.running.spawn(async move {
            let _place = place;
            work.await
        });
        self.lanes.insert(id.id(), key);
    }

    /// Offers places while they would be used for nothing else: nothing waits, and IM answers.
    fn offer_places(&self) {
        let [to_im, _] = &self.pipelines;
        let is_offered = to_im.schedule.is_quiet() && to_im.worker.breaker.is_closed();
        to_im.places.offer(is_offered);
    }

    fn start_lanes(&mut self) {
        let now = self.clock.now();
        let clock_went_back = self.last_pass_at.since(now) > CLOCK_STEP_MS;
        self.last_pass_at = now;
        for pipeline in &mut self.pipelines {
            if clock_went_back {
                // Every due time may be hours away now, so check every lane again.
                pipeline.schedule.wake(Millis(i64::MAX));
                pipeline.worker.breaker.release_probe();
            }
            pipeline.schedule.wake(now);
            if pipeline.worker.breaker.take_just_closed() {
                pipeline.schedule.wake_platform_waiters();
            }
        }
        for direction in [Direction::ToIm, Direction::ToWechat] {
            while let Some(place) = self.pipeline(direction).places.take() {
                let Some(lane) = self.pipeline(direction).schedule.next() else { break };
                match self.fleet.hold(&lane.customer) {
                    Some(hold) => self.spawn(lane, place, hold, None),
                    // Whoever has it scans its lanes.
                    None => self.pipeline(direction).schedule.rest(lane, Rest::Stopped),
                }
            }
        }
    }

    fn lane_ended(&mut self, joined: Result<(Id, Rest), tokio::task::JoinError>) {
        let (id, rest) = match joined {
            Ok(ended) => ended,
            Err(error) => {
                let why = if error.is_panic() { "it panicked" } else { "it was cancelled" };
                let lane = self.lanes.get(&error.id());
                tracing::error!(
                    lane = lane.map(|lane| lane.direction.name()),
                    openid.hash = lane.map(|lane| tracing::field::display(lane.customer.log_hash())),
                    "a lane's task ended early because {why}; the lane runs again in a minute"
                );
                (error.id(), Rest::Until { due: self.clock.now().plus(60_000), waits_for_platform: false })
            }
        };
        let Some(lane) = self.lanes.remove(&id) else { return };
        let pipeline = self.pipeline(lane.direction);
        pipeline.schedule.rest(lane.clone(), rest);
        match pipeline.waiting.remove(&lane) {
            Some(direct) if direct.accepted_at.elapsed() < DIRECT_TIME => self.start_direct(direct),
            // The lane has perhaps found out what came of the attempt, and sent the message itself.
            Some(_) => pipeline.schedule.notify(&lane),
            None => {}
        }
    }

    /// Runs every second: scans the store again if an operator's command has changed messages, or if an outage has
    /// ended in which messages may have been stored that nobody signalled.
    async fn check_store(&mut self) {
        let recoveries = self.store.recoveries();
        let operator_signal = self.store.read(|tx| tx.kv(OPERATOR_SIGNAL)).await.unwrap_or_default();
        if recoveries != self.recoveries {
            // They may be another instance's.
            self.fleet.signal_scan();
        }
        let is_due = self.scanned_at.elapsed() >= SCAN_INTERVAL;
        if is_due || (&operator_signal, recoveries) != (&self.operator_signal, self.recoveries) {
            self.scanned_at = Instant::now();
            self.pipelines.iter_mut().for_each(|pipeline| pipeline.schedule.restart_scan());
        }
        (self.operator_signal, self.recoveries) = (operator_signal, recoveries);
        if !self.fleet.is_alone()
            && let Err(error) = self.bridge.refresh_push_denied().await
        {
            tracing::debug!(%error, "cannot read whether WeChat has denied pushes; this is tried again");
        }
    }

    fn sleep_until_due(&self) -> impl Future<Output = ()> + use<> {
        let due = self.pipelines.iter().filter_map(|pipeline| pipeline.schedule.next_due()).min();
        let wait = due.map(|due| due.since(self.clock.now()).max(0));
        async move {
            match wait.and_then(|wait| u64::try_from(wait).ok()) {
                Some(wait) => tokio::time::sleep(Duration::from_millis(wait)).await,
                None => std::future::pending().await,
            }
        }
    }

    fn pipeline(&mut self, direction: Direction) -> &mut Pipeline {
        let [to_im, to_wechat] = &mut self.pipelines;
        match direction {
            Direction::ToIm => to_im,
            Direction::ToWechat => to_wechat,
        }
    }
}

#[cfg(test)]
mod tests;
