//! Carries out what is owed: claim, record the attempt, send, settle; lane by lane, in the order accepted.
//!
//! The store is the truth; in memory stands only a bounded schedule of lanes that may have work. It names neither
//! platform: each implements [`Courier`]. An attempt is recorded before it is made, so that after a crash "was
//! being sent" is a known state with a rule of its own.

pub mod backoff;
mod breaker;
pub mod fetch;
mod lane;
pub mod health;
pub mod pace;
pub mod retention;
mod schedule;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::bridge::Bridge;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{Class, Direction, Found, Lane, Millis, Verdict};
use crate::store::{Owed, Store};

use breaker::Breaker;
use lane::{LaneWorker, Places, Rest};
use schedule::{Schedule, Walk};

/// Lanes of one direction in memory; the others wait in the store for a place.
const LANES: usize = 16_384;
/// Orders to WeChat that are prepared at once: a fraction of the calls in flight, so that files that come slowly hold
/// up nobody's text.
const PREPARING: usize = 16;
/// Lanes read from the store at once.
const PAGE: usize = 512;
/// A lost bell or a message changed by another process is noticed within this time.
const TICK: Duration = Duration::from_secs(1);

/// A clock that steps back by less is being corrected, not set; milliseconds.
const CLOCK_STEP_MS: i64 = 1_000;

/// The fact that an operator's command changes, from another process, when it has put messages back to work.
pub const OPERATOR_BELL: &str = "operator_bell";

/// The form in which an order leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it was accepted.
    AsAccepted,
    /// A text in its stead.
    Text {
        /// The text.
        text: String,
        /// What kept the order from leaving as it was meant, if the agent should know.
        why: Option<String>,
    },
    /// A file that the platform has taken before.
    Uploaded {
        /// The platform's name for it.
        id: String,
        /// A video's first picture.
        thumb: Option<String>,
        /// What it was taken as.
        kind: &'static str,
        /// Names that were given before this preparation, so that the platform may have dropped the files since.
        remembered: Vec<String>,
    },
}

/// Why an order could not be prepared; another preparation may succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// The reason's class, for metrics.
    pub class: Class,
    /// The platform's words or ours; no secrets.
    pub why: String,
}

/// What a platform does for the outbox.
pub trait Courier: std::fmt::Debug + Send + Sync {
    /// Gets ready what an order needs before its attempt ([`Order::is_prepared`]). It may be cut short and is repeated
    /// freely, after a crash too: nothing of it may reach the receiver.
    fn prepare<'a>(
        &'a self,
        _owed: &'a Owed,
    ) -> Pin<Box<dyn Future<Output = Result<Form, NotReady>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(Form::AsAccepted)))
    }

    /// Makes one attempt at an order in its `form`, and never another by itself but for a credential refreshed or an
    /// account created in between.
    fn send<'a>(
        &'a self,
        owed: &'a Owed,
        form: &'a Form,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

    /// Finds out what came of an attempt that nobody settled.
    fn find<'a>(&'a self, owed: &'a Owed) -> Pin<Box<dyn Future<Output = Found> + Send + 'a>>;
}

/// What the outbox is built from.
#[derive(Debug)]
pub struct Parts {
    /// The truth.
    pub store: Store,
    /// Says what may be sent and what the agent is told.
    pub bridge: Bridge,
    /// Carries orders to IM.
    pub to_im: Arc<dyn Courier>,
    /// Carries orders to WeChat.
    pub to_wechat: Arc<dyn Courier>,
    /// Rings when there is new work.
    pub bell: crate::bridge::Bell,
    /// The time.
    pub clock: Clock,
    /// Counts.
    pub metrics: Metrics,
    /// Calls in flight, in each direction.
    pub in_flight: usize,
}

/// The outbox.
#[derive(Debug)]
pub struct Outbox {
    ways: [Way; 2],
    store: Store,
    bell: crate::bridge::Bell,
    clock: Clock,
    running: JoinSet<Rest>,
    lanes: HashMap<Id, Lane>,
    /// What the operator's bell said at the last look.
    operator: Option<String>,
    /// The time at the last look.
    looked_at: Millis,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Way {
    direction: Direction,
    schedule: Schedule,
    worker: Arc<LaneWorker>,
    in_flight: usize,
    at_once: usize,
}

impl Outbox {
    /// An outbox that will begin with what the store holds.
    pub fn new(parts: Parts, stop: CancellationToken) -> Self {
        let way = |direction, courier: &Arc<dyn Courier>, preparing| Way {
            direction,
            schedule: Schedule::new(LANES),
            worker: Arc::new(LaneWorker {
                store: parts.store.clone(),
                bridge: parts.bridge.clone(),
                courier: Arc::clone(courier),
                bell: parts.bell.clone(),
                clock: parts.clock.clone(),
                metrics: parts.metrics.clone(),
                breaker: Breaker::default(),
                places: Places::new(preparing),
                stop: stop.clone(),
            }),
            in_flight: 0,
            at_once: parts.in_flight,
        };
        Self {
            ways: [
                // What is prepared for IM takes a moment, which its courier bounds: no lane rests for want of a place.
                way(Direction::ToIm, &parts.to_im, parts.in_flight),
                way(Direction::ToWechat, &parts.to_wechat, PREPARING),
            ],
            store: parts.store,
            bell: parts.bell,
            clock: parts.clock,
            running: JoinSet::new(),
            lanes: HashMap::new(),
            operator: None,
            looked_at: Millis(0),
            stop,
        }
    }

    /// Works until stopped, then finishes the attempts that are being made.
    pub async fn run(mut self) {
        let stop = self.stop.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            self.look_into_store().await;
            self.take_rung();
            self.start_lanes();
            let bell = self.bell.clone();
            let due = self.sleep_until_due();
            tokio::select! {
                () = bell.rang() => {}
                Some(joined) = self.running.join_next_with_id() => self.ended(joined),
                () = due => {}
                _ = tick.tick() => self.ticked().await,
                () = stop.cancelled() => {}
            }
            // Everything else that has ended meanwhile, before looking for new work.
            while let Some(joined) = self.running.try_join_next_with_id() {
                self.ended(joined);
            }
        }
        while let Some(joined) = self.running.join_next_with_id().await {
            self.ended(joined);
        }
    }

    /// Takes the next page of lanes with work, as long as there is room for it.
    async fn look_into_store(&mut self) {
        for way in &mut self.ways {
            let Walk::At { after, .. } = way.schedule.walk().clone() else { continue };
            if way.schedule.room() < PAGE {
                continue;
            }
            let direction = way.direction;
            let found = self.store.read(move |tx| tx.open_lanes(direction, after.as_ref(), PAGE)).await;
            match found {
                Ok(found) => {
                    way.schedule.walked_to(found.last().filter(|_| found.len() == PAGE).cloned());
                    for customer in found {
                        way.schedule.rang(&Lane { direction, customer });
                    }
                }
                Err(error) => tracing::warn!(%error, "the outbox cannot look into the store"),
            }
        }
    }

    fn take_rung(&mut self) {
        let rung = self.bell.take();
        for lane in &rung.lanes {
            self.way(lane.direction).schedule.rang(lane);
        }
        if rung.more {
            self.ways.iter_mut().for_each(|way| way.schedule.walk_again());
        }
    }

    fn start_lanes(&mut self) {
        let now = self.clock.now();
        let clock_went_back = self.looked_at.since(now) > CLOCK_STEP_MS;
        self.looked_at = now;
        for way in &mut self.ways {
            if clock_went_back {
                // Every moment that was waited for may be hours away now: look at everything anew.
                way.schedule.wake(Millis(i64::MAX));
                way.worker.breaker.unused();
            }
            way.schedule.wake(now);
            if way.worker.breaker.has_just_closed() {
                way.schedule.wake_all_of_platform();
            }
            while way.in_flight < way.at_once {
                let Some(lane) = way.schedule.next() else { break };
                way.in_flight += 1;
                let work = Arc::clone(&way.worker).work(lane.clone());
                let id = self.running.spawn(work).id();
                self.lanes.insert(id, lane);
            }
        }
    }

    fn ended(&mut self, joined: Result<(Id, Rest), tokio::task::JoinError>) {
        let (id, rest) = match joined {
            Ok(ended) => ended,
            Err(error) => {
                let why = if error.is_panic() { "a panic" } else { "its task being cancelled" };
                tracing::error!("a lane ended by {why}; its message is looked at again in a minute");
                (error.id(), Rest::Until { due: self.clock.now().plus(60_000), platform: false })
            }
        };
        let Some(lane) = self.lanes.remove(&id) else { return };
        let way = self.way(lane.direction);
        way.in_flight -= 1;
        way.schedule.rest(lane, rest);
    }

    /// Every second: an operator's command may have changed anything.
    async fn ticked(&mut self) {
        let operator = self.store.read(|tx| tx.fact(OPERATOR_BELL)).await.unwrap_or_default();
        if operator != self.operator {
            self.ways.iter_mut().for_each(|way| way.schedule.walk_again());
        }
        self.operator = operator;
    }

    fn sleep_until_due(&self) -> impl Future<Output = ()> + use<> {
        let due = self.ways.iter().filter_map(|way| way.schedule.next_due()).min();
        let wait = due.map(|due| due.since(self.clock.now()).max(0));
        async move {
            match wait.and_then(|wait| u64::try_from(wait).ok()) {
                Some(wait) => tokio::time::sleep(Duration::from_millis(wait)).await,
                None => std::future::pending().await,
            }
        }
    }

    fn way(&mut self, direction: Direction) -> &mut Way {
        let [to_im, to_wechat] = &mut self.ways;
        match direction {
            Direction::ToIm => to_im,
            Direction::ToWechat => to_wechat,
        }
    }
}
