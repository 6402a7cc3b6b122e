//! The watchers of the platforms and of the bridge, which write changes to the event log. Each
//! watcher is a task that ends with the sandbox.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;

use super::book::Change;
use super::figures::Counters;
use super::{Live, lock, view};
use crate::clock::Clock;
use crate::sandbox::child::{self, State};
use crate::sandbox::im::Exchange;
use crate::sandbox::wechat::WireEvent;
use crate::sandbox::wire::{Entry, Followed, Trail};

/// How often the bridge's counters are read while a page is open.
const FIGURES: Duration = Duration::from_secs(1);
/// The shortest time between two comparisons of the desks.
const DESKS: Duration = Duration::from_millis(20);

/// Starts every watcher.
pub(super) fn start(live: &Arc<Live>) {
    let run = |task: fn(Arc<Live>) -> futures_util::future::BoxFuture<'static, ()>| {
        let (work, stop) = (task(Arc::clone(live)), live.stop.clone());
        live.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
    };
    run(|live| {
        // Subscribe before the task starts, so that no call is missed.
        let (pushes, wechat) = (live.stage.wechat.begun(), live.stage.wechat.events());
        let (callbacks, im) = (live.stage.im.begun(), live.stage.im.events());
        Box::pin(wire(live, (pushes, callbacks), wechat, im))
    });
    run(|live| {
        let changes = live.stage.wechat.changes();
        Box::pin(phones(live, changes))
    });
    run(|live| {
        let changes = live.stage.im.changes();
        Box::pin(desks(live, changes))
    });
    run(|live| Box::pin(bridge(live)));
    run(|live| Box::pin(figures(live)));
}

type Events<T> = tokio::sync::broadcast::Receiver<Arc<T>>;

async fn wire(
    live: Arc<Live>,
    (mut pushes, mut callbacks): (Events<WireEvent>, Events<Exchange>),
    mut wechat: Events<WireEvent>,
    mut im: Events<Exchange>,
) {
    let (mut trail, secrets, clock) = (Trail::default(), live.secrets(), Clock::system());
    let real = |began: Instant| {
        let since = i64::try_from(began.elapsed().as_millis()).unwrap_or_default();
        clock.now().plus(-since).0
    };
    let mut announced = |trail: &mut Trail| {
        for push in waiting(&mut pushes) {
            trail.wechat(&push);
        }
        for callback in waiting(&mut callbacks) {
            trail.im(&callback);
        }
    };
    loop {
        tokio::select! {
            event = wechat.recv() => match event {
                Ok(event) => {
                    announced(&mut trail);
                    let followed = trail.wechat(&event);
                    measure(&live, &clock, &followed);
                    let at = real(event.began);
                    live.book.called(|id| Entry::of_wechat(id, at, &event, followed, &secrets));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            exchange = im.recv() => match exchange {
                Ok(exchange) => {
                    announced(&mut trail);
                    let followed = trail.im(&exchange);
                    measure(&live, &clock, &followed);
                    let at = real(exchange.began);
                    live.book.called(|id| Entry::of_im(id, at, &exchange, followed, &secrets));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// The events in the channel now. A call can end before the push or the webhook that caused it,
/// which ends only with the bridge's answer. But its beginning was announced before the call was
/// made.
fn waiting<T>(events: &mut Events<T>) -> impl Iterator<Item = Arc<T>> {
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

fn measure(live: &Live, clock: &Clock, followed: &Followed) {
    let now = clock.now().0;
    let point = |ms: &u64| (now, *ms);
    live.book.measured(followed.accepted_ms.as_ref().map(point), followed.arrived_ms.iter().map(point));
}

async fn phones(live: Arc<Live>, mut changes: tokio::sync::broadcast::Receiver<Arc<str>>) {
    loop {
        match changes.recv().await {
            Ok(openid) => live.book.change(Change::Customer(openid)),
            Err(RecvError::Lagged(_)) => live.book.change(Change::Everything),
            Err(RecvError::Closed) => return,
        }
    }
}

/// IM only signals that something changed, so each desk is compared with its previous JSON.
async fn desks(live: Arc<Live>, mut changes: tokio::sync::watch::Receiver<()>) {
    let look = |at: usize| {
        let mut hasher = DefaultHasher::new();
        view::agent(&live, at).to_string().hash(&mut hasher);
        hasher.finish()
    };
    let mut looks: Vec<u64> = (0..live.stage.agents().len()).map(look).collect();
    while changes.changed().await.is_ok() {
        for (at, before) in looks.iter_mut().enumerate() {
            let now = look(at);
            if std::mem::replace(before, now) != now {
                live.book.change(Change::Agent(at));
            }
        }
        tokio::time::sleep(DESKS).await;
    }
}

async fn bridge(live: Arc<Live>) {
    let mut status = live.child.status();
    while status.changed().await.is_ok() {
        live.book.change(Change::Bridge);
    }
}

/// Reads the bridge's counters and its readiness while a page is open.
async fn figures(live: Arc<Live>) {
    let mut watched = live.watched.subscribe();
    while watched.wait_for(|readers| *readers > 0).await.is_ok() {
        let status = *live.child.status().borrow();
        if let State::Running { pid, .. } = status.state {
            let said = child::ask(&live.http, status.addresses.ops).await;
            if let Some(metrics) = &said.metrics {
                let mut figures = live.figures();
                let (before, now) = (figures.total(), figures.read(pid, Counters::read(metrics)));
                drop(figures);
                if before != now {
                    live.book.change(Change::Counters);
                }
            }
            let ready = said.ready.unwrap_or_else(|| "unavailable".to_owned());
            let before = std::mem::replace(&mut *lock(&live.ready), ready.clone());
            if before != ready {
                live.book.change(Change::Bridge);
            }
        }
        tokio::time::sleep(FIGURES).await;
    }
}
