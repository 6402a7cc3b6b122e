//! Backfills messages whose callback never came: IM calls only once and waits two seconds. At start
//! and then once a minute, this worker reads the histories of the active conversations and moves
//! agents' messages that the bridge has not seen. If an answer waits for a conversation's backfill,
//! that conversation is read at once.
//!
//! Reads the *agents'* views, which have both directions of our traffic (reference:
//! "`admin_getroammsg`"), starting from the newest message found before. The bridge decides about
//! each message, as for a callback. A failure of IM only postpones the backfill.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fail::fail_point;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::code::{self, Class};
use super::history::{HistoryPages, PAGE_MESSAGES};
use super::{Failure, History, ImCourier, PastMessage};
use crate::bridge::{AnswerOutcome, BACKFILL_WAIT, Bridge};
use crate::clock::Clock;
use crate::model::{ImUserId, Millis, OpenId};
use crate::store::{Backfill, Store, StoreError};

/// The time from the start of one round to the start of the next, milliseconds.
const ROUND_MS: i64 = 60_000;
/// How often the worker checks whether a round is due.
const TICK: Duration = Duration::from_secs(1);
/// A round reads conversations whose customer wrote or followed within this time, and this much of
/// their history, milliseconds. It equals the time in which WeChat accepts an answer, and is
/// shorter than dedup keys are kept.
const ACTIVE_MS: i64 = 48 * 3600 * 1000;
/// The number of calls in one round; a view that has been started is read to its end.
const CALLS_PER_ROUND: u32 = 1_200;
/// The number of conversations read concurrently in a round.
const CONCURRENT_CONVERSATIONS: usize = 4;
/// The number of views of one conversation read concurrently.
const CONCURRENT_VIEWS: usize = 8;
/// The number of conversations that may fail before a round ends early.
const MAX_FAILURES: u32 = 8;
/// The number of conversations read concurrently because an answer waits. Requests beyond it are
/// dropped, and those answers wait until their time limit.
const CONCURRENT_REQUESTS: usize = 256;
/// The pause after a failure before a conversation for which an answer waits is read again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How much later than a younger message an older one may become visible or be recalled, seconds. Clients recall within
/// two minutes.
const OVERLAP_S: i64 = 150;
/// How far IM's clock may be ahead of ours, seconds.
const SKEW_S: i64 = 600;

/// Finds agents' messages whose callback never came.
#[derive(Debug)]
pub struct BackfillWorker {
    courier: Arc<ImCourier>,
    store: Store,
    bridge: Bridge,
    clock: Clock,
}

/// Why a backfill ended early; a later one continues.
#[derive(Debug, thiserror::Error)]
enum BackfillError {
    #[error(transparent)]
    Im(#[from] Failure),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackfillWorker {
    /// Creates the worker. It shares the rate limits of `courier`, reads from `store` how far each
    /// view has been read, and passes the messages it finds to `bridge`.
    pub fn new(courier: Arc<ImCourier>, store: Store, bridge: Bridge, clock: Clock) -> Self {
        Self { courier, store, bridge, clock }
    }

    /// Runs until stopped.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.run_rounds(&stop), self.serve_requests(&stop));
    }

    /// Serves requested backfills until stopped.
    async fn serve_requests(&self, stop: &CancellationToken) {
        let mut running = FuturesUnordered::new();
        let mut customers = HashSet::new();
        loop {
            tokio::select! {
                requested = self.bridge.next_backfill_requests() => for customer in requested {
                    if customers.len() < CONCURRENT_REQUESTS && customers.insert(customer.clone()) {
                        running.push(self.backfill_customer(customer));
                    }
                },
                Some(customer) = running.next() => {
                    customers.remove(&customer);
                }
                () = stop.cancelled() => return,
            }
        }
    }

    /// Backfills one conversation; retries until it succeeds or its time limit passes.
    async fn backfill_customer(&self, customer: OpenId) -> OpenId {
        let work = async {
            while let Err(error) = self.backfill_views(&customer).await {
                tracing::debug!(%error, "a backfill that an answer waits for failed; retrying");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        };
        if tokio::time::timeout(BACKFILL_WAIT, work).await.is_err() {
            tracing::warn!("giving up on the backfill; releasing the answer that waited for it");
            if let Err(error) = self.bridge.abandon_backfill(customer.clone()).await {
                tracing::warn!(%error, "could not persist the abandoned backfill");
            }
        }
        customer
    }

    /// Reads every agent's view of a conversation.
    async fn backfill_views(&self, customer: &OpenId) -> Result<(), BackfillError> {
        let (openid, agents, era_id) = (customer.clone(), self.bridge.agents(), self.bridge.era_id());
        let backfills = self.store.read(move |tx| tx.missing_backfills(&openid, &agents, era_id)).await?;
        self.backfill_all(backfills).await
    }

    /// Runs rounds until stopped.
    async fn run_rounds(&self, stop: &CancellationToken) {
        self.clock.settled().await;
        let mut round_started: Option<Millis> = None;
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.cancelled() => return,
            }
            let now = self.clock.now();
            if round_started.is_some_and(|began| (0..ROUND_MS).contains(&now.since(began))) {
                continue;
            }
            round_started = Some(now);
            tokio::select! {
                result = self.run_round() => if let Err(error) = result {
                    tracing::warn!(%error, "the backfill round failed; the next round continues it");
                },
                () = stop.cancelled() => return,
            }
        }
    }

    async fn run_round(&self) -> Result<(), BackfillError> {
        let (agents, since) = (self.bridge.agents(), self.clock.now().plus(-ACTIVE_MS));
        let era_id = self.bridge.era_id();
        let backfills =
            self.store.read(move |tx| tx.due_backfills(&agents, era_id, since, CALLS_PER_ROUND)).await?;
        // The others read those of their customers.
        let fleet = self.bridge.work_signal().fleet();
        let ours = backfills.into_iter().filter(|backfill| fleet.owns(&backfill.customer));
        self.backfill_all(ours.collect()).await
    }

    /// Backfills the conversations one beside another. A conversation that fails does not stop the
    /// others; several failures mean that IM is down.
    async fn backfill_all(&self, backfills: Vec<Backfill>) -> Result<(), BackfillError> {
        let calls = AtomicU32::new(0);
        let failures = AtomicU32::new(0);
        let first_failure = Mutex::new(None);
        stream::iter(by_customer(backfills))
            .for_each_concurrent(CONCURRENT_CONVERSATIONS, async |views| {
                if failures.load(Ordering::Relaxed) >= MAX_FAILURES {
                    return;
                }
                if let Err(error) = self.backfill_conversation(views, &calls).await {
                    failures.fetch_add(1, Ordering::Relaxed);
                    first_failure.lock().get_or_insert(error);
                }
            })
            .await;
        first_failure.into_inner().map_or(Ok(()), Err)
    }

    /// Reads the views of one conversation and moves its new messages, the oldest first, whoever
    /// wrote them: the customer must read two agents' messages in the order in which they were
    /// written.
    async fn backfill_conversation(
        &self,
        views: Vec<Backfill>,
        calls: &AtomicU32,
    ) -> Result<(), BackfillError> {
        if calls.load(Ordering::Relaxed) >= CALLS_PER_ROUND {
            return Ok(());
        }
        let reads = views.into_iter().map(async |view| (self.read_view(&view, calls).await, view));
        let reads: Vec<_> = stream::iter(reads).buffered(CONCURRENT_VIEWS).collect().await;
        fail_point!("backfill.read");
        let (mut answers, mut done, mut failure) = (Vec::new(), Vec::new(), None);
        for (read, view) in reads {
            match read {
                Ok((found, until_s)) => {
                    answers.extend(found);
                    done.push((view, until_s));
                }
                Err(error) => failure = Some(error),
            }
        }
        answers.sort_by_key(|past: &PastMessage| (past.message.msg_time, past.message.msg_seq));
        for PastMessage { message: answer, recalled } in answers {
            if recalled {
                // The callback about the recall may be lost like any other.
                self.bridge.accept_recall(answer.id()).await?;
                continue;
            }
            let agent = answer.from.clone();
            if self.bridge.accept_backfilled(answer).await? == AnswerOutcome::Accepted {
                tracing::warn!(im.agent = %agent, "recovered an agent's message whose callback never came");
            }
            fail_point!("backfill.moved");
        }
        for (view, until_s) in done {
            self.bridge.finish_backfill(view, until_s).await?;
            fail_point!("backfill.recorded");
        }
        failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Reads one view. Returns the agent's messages in it, and IM's time of its newest message, Unix
    /// seconds.
    async fn read_view(
        &self,
        view: &Backfill,
        calls: &AtomicU32,
    ) -> Result<(Vec<PastMessage>, i64), Failure> {
        // An invalid UserID has no history.
        let Ok(user) = ImUserId::of_customer(&view.customer, view.number) else {
            return Ok((Vec::new(), 0));
        };
        let messages = match self.read_history(view, &user, calls).await {
            Ok(messages) => messages,
            // IM refuses to return this history; others are not affected.
            Err(Failure::Code { code, .. })
                if matches!(code::class(code), Class::CreateAccount | Class::Permanent) =>
            {
                Vec::new()
            }
            Err(failure) => return Err(failure),
        };
        let until_s = messages.iter().map(|past| past.message.msg_time).max().unwrap_or(0);
        let answers = messages.into_iter().filter(|past| is_answer(past, &view.agent, &user));
        Ok((answers.collect(), until_s))
    }

    async fn read_history(
        &self,
        backfill: &Backfill,
        user: &ImUserId,
        calls: &AtomicU32,
    ) -> Result<Vec<PastMessage>, Failure> {
        // The history has IM's times.
        let of_im = self.clock.remote(crate::im::CLOCK);
        let now_s = of_im.now().seconds();
        let oldest_s = of_im.of_ours(backfill.known_since.max(self.clock.now().plus(-ACTIVE_MS))).seconds();
        let min_s = oldest_s.max(backfill.backfilled_until_s - OVERLAP_S);
        let mut pages = HistoryPages::new(History {
            operator: &backfill.agent,
            peer: user,
            min_s,
            max_s: now_s.max(min_s) + SKEW_S,
            max_count: PAGE_MESSAGES,
            last_key: None,
        });
        let mut messages = Vec::new();
        while pages.next().is_some() {
            calls.fetch_add(1, Ordering::Relaxed);
            messages.extend(self.courier.next_page_of_backfill(&mut pages).await?.unwrap_or_default());
        }
        if !pages.is_exhausted() {
            tracing::warn!(im.agent = %backfill.agent, "a conversation is too long; only its newest part is backfilled");
        }
        Ok(messages)
    }
}

/// The views of each conversation, in the order of the first of them.
fn by_customer(backfills: Vec<Backfill>) -> Vec<Vec<Backfill>> {
    let mut places: HashMap<OpenId, usize> = HashMap::new();
    let mut conversations: Vec<Vec<Backfill>> = Vec::new();
    for backfill in backfills {
        let next = conversations.len();
        let place = *places.entry(backfill.customer.clone()).or_insert(next);
        match conversations.get_mut(place) {
            Some(views) => views.push(backfill),
            None => conversations.push(vec![backfill]),
        }
    }
    conversations
}

/// Whether the agent sent `past` to the customer. The bridge itself sends only in the customer's name, so its own
/// messages never are.
fn is_answer(past: &PastMessage, agent: &ImUserId, customer: &ImUserId) -> bool {
    past.message.from == *agent && past.message.to == *customer
}
