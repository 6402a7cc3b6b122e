//! The watchers of the platforms and of the bridge, which write changes to the event log. Each
//! watcher is a task that ends with the sandbox.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;

use super::desk::Waiting;
use super::event_log::Change;
use super::figures::Counters;
use super::{Session, view};
use crate::clock::Clock;
use crate::sandbox::child::{self, Child, State};
use crate::sandbox::im::Exchange;
use crate::sandbox::wechat::WireEvent;
use crate::sandbox::wire::{CallInfo, CallTracker, WaitingCustomer, WireCall};

/// How often the bridge's counters are read while a page is open.
const COUNTERS_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two comparisons of the desks.
const DESK_INTERVAL: Duration = Duration::from_millis(20);

/// Starts every watcher.
pub(super) fn start(session: &Arc<Session>) {
    let run = |task: fn(Arc<Session>) -> futures_util::future::BoxFuture<'static, ()>| {
        let (work, stop) = (task(Arc::clone(session)), session.stop.clone());
        session.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
    };
    run(|session| {
        // Subscribe before the task starts, so that no call is missed.
        let (pushes, wechat) = (session.stage.wechat.started_calls(), session.stage.wechat.events());
        let (callbacks, im) = (session.stage.im.started_calls(), session.stage.im.events());
        Box::pin(wire(session, (pushes, callbacks), wechat, im))
    });
    run(|session| {
        let changes = session.stage.wechat.changes();
        Box::pin(phones(session, changes))
    });
    run(|session| {
        let changes = session.stage.im.changes();
        Box::pin(desks(session, changes))
    });
    run(|session| Box::pin(bridge(session)));
    run(|session| Box::pin(figures(session)));
}

type Events<T> = tokio::sync::broadcast::Receiver<Arc<T>>;

async fn wire(
    session: Arc<Session>,
    (mut pushes, mut callbacks): (Events<WireEvent>, Events<Exchange>),
    mut wechat: Events<WireEvent>,
    mut im: Events<Exchange>,
) {
    let (mut tracker, secrets, clock) = (CallTracker::default(), session.secrets(), Clock::system());
    // One pair of readings for all calls: with a new pair for each call, a pause between its two readings would
    // move that call behind later ones.
    let (origin, origin_ms) = (Instant::now(), clock.now().0);
    let real_time = |began: Instant| {
        let millis = |distance: Duration| i64::try_from(distance.as_millis()).unwrap_or_default();
        match began.checked_duration_since(origin) {
            Some(after) => origin_ms + millis(after),
            None => origin_ms - millis(origin.saturating_duration_since(began)),
        }
    };
    let mut track_started = |tracker: &mut CallTracker| {
        for push in drain(&mut pushes) {
            tracker.wechat(&push);
        }
        for callback in drain(&mut callbacks) {
            tracker.im(&callback);
        }
    };
    loop {
        tokio::select! {
            event = wechat.recv() => match event {
                Ok(event) => {
                    track_started(&mut tracker);
                    let info = tracker.wechat(&event);
                    measure(&session, &clock, &info);
                    let at = real_time(event.began);
                    session.event_log.add_call(|id| WireCall::of_wechat(id, at, &event, info, &secrets));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            exchange = im.recv() => match exchange {
                Ok(exchange) => {
                    track_started(&mut tracker);
                    let info = tracker.im(&exchange);
                    measure(&session, &clock, &info);
                    let at = real_time(exchange.began);
                    session.event_log.add_call(|id| WireCall::of_im(id, at, &exchange, info, &secrets));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
        let waiting = tracker.waiting().into_iter();
        session.desk.set_waiting(waiting.map(|one| waiting_at(one, real_time)).collect());
        session.tell_desk();
    }
}

fn waiting_at(one: WaitingCustomer, real_time: impl Fn(Instant) -> i64) -> Waiting {
    Waiting { since: real_time(one.since), openid: one.customer, messages: one.messages }
}

/// The events in the channel now. A call can end before the push or the webhook that caused it,
/// which ends only with the bridge's answer. But its beginning was announced before the call was
/// made.
fn drain<T>(events: &mut Events<T>) -> impl Iterator<Item = Arc<T>> {
    std::iter::from_fn(|| {
        loop {
            match events.try_recv() {
                Ok(event) => return Some(event),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    })
}

fn measure(session: &Session, clock: &Clock, info: &CallInfo) {
    let now = clock.now().0;
    let point = |ms: &u64| (now, *ms);
    session.event_log.add_latencies(info.accepted_ms.as_ref().map(point), info.arrived_ms.iter().map(point));
}

async fn phones(session: Arc<Session>, mut changes: tokio::sync::broadcast::Receiver<Arc<str>>) {
    loop {
        match changes.recv().await {
            Ok(openid) => session.event_log.add_change(Change::Customer(openid)),
            Err(RecvError::Lagged(_)) => session.event_log.add_change(Change::Everything),
            Err(RecvError::Closed) => return,
        }
    }
}

/// IM only signals that something changed, so each desk is compared with its previous JSON.
async fn desks(session: Arc<Session>, mut changes: tokio::sync::watch::Receiver<()>) {
    let fingerprint = |at: usize| {
        let mut hasher = DefaultHasher::new();
        view::agent(&session, at).to_string().hash(&mut hasher);
        hasher.finish()
    };
    let mut fingerprints: Vec<u64> = (0..session.stage.agents().len()).map(fingerprint).collect();
    while changes.changed().await.is_ok() {
        for (at, before) in fingerprints.iter_mut().enumerate() {
            let now = fingerprint(at);
            if std::mem::replace(before, now) != now {
                session.event_log.add_change(Change::Agent(at));
            }
        }
        tokio::time::sleep(DESK_INTERVAL).await;
    }
}

async fn bridge(session: Arc<Session>) {
    join_all(session.bridges.children().iter().map(async |child| {
        let mut status = child.status();
        while status.changed().await.is_ok() {
            session.event_log.add_change(Change::Bridge);
        }
    }))
    .await;
}

/// Reads the bridges' counters and their readiness while a page is open.
async fn figures(session: Arc<Session>) {
    let mut readers = session.reader_count.subscribe();
    while readers.wait_for(|readers| *readers > 0).await.is_ok() {
        let before = session.counters();
        join_all(session.bridges.children().iter().enumerate().map(|(at, child)| read(&session, at, child)))
            .await;
        if session.counters() != before {
            session.event_log.add_change(Change::Counters);
        }
        session.tell_desk();
        tokio::time::sleep(COUNTERS_INTERVAL).await;
    }
}

/// Reads the counters and the readiness of the bridge at index `at`.
async fn read(session: &Session, at: usize, child: &Child) {
    let status = *child.status().borrow();
    let State::Running { pid, .. } = status.state else { return };
    let report = child::fetch_ops_snapshot(&session.http, status.addresses.ops).await;
    if let (Some(metrics), Some(totals)) = (&report.metrics, session.totals.lock().get_mut(at)) {
        totals.update(pid, Counters::parse(metrics));
    }
    let ready = report.readiness.unwrap_or_else(|| "unavailable".to_owned());
    let before = session.readiness.lock().get_mut(at).map(|known| std::mem::replace(known, ready.clone()));
    if before.is_some_and(|before| before != ready) {
        session.event_log.add_change(Change::Bridge);
    }
}
