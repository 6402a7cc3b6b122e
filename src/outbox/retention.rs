//! Retention: deletes settled messages and other old rows, and refuses answers that were held too
//! long.
//!
//! Works in small steps with pauses between them, so that accepting and sending are not delayed.

use std::time::Duration;

use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use super::MESSAGE_RETENTION_MS;
use super::lane::refuse_held;
use crate::bridge::{Bridge, WorkSignal};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{DEDUP_RETENTION_MS, Direction, Lane, MessageId, State};
use crate::store::{HeldCursor, Store, StoreError};

/// The pause between two rounds.
const ROUND_INTERVAL: Duration = Duration::from_mins(10);
/// The pause between two steps.
const PAUSE: Duration = Duration::from_millis(20);
/// How long it is known what a conversation was like, milliseconds: a year and a month. No customer is named there.
const REPORT_RETENTION_MS: i64 = 400 * 86_400_000;
/// Rows scanned in one step.
const BATCH: u32 = 200;

/// Runs until stopped. Deletes nothing while the time is in doubt.
pub async fn run(
    store: Store,
    bridge: Bridge,
    work_signal: WorkSignal,
    metrics: Metrics,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut interval = tokio::time::interval(ROUND_INTERVAL);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = stop.cancelled() => return,
        }
        tokio::select! {
            done = async {
                clock.until_trusted().await;
                // One instance is enough. That two do it for a moment does no harm.
                if !work_signal.fleet().owns_first_shard() {
                    return Ok(());
                }
                round(&store, &bridge, &work_signal, &metrics).await
            } => if let Err(error) = done {
                tracing::warn!(
                    %error,
                    "could not delete old messages; the next round, in ten minutes, tries again"
                );
            },
            () = stop.cancelled() => return,
        }
    }
}

/// Runs one round over all tables with a retention limit.
pub async fn round(
    store: &Store,
    bridge: &Bridge,
    work_signal: &WorkSignal,
    metrics: &Metrics,
) -> Result<(), StoreError> {
    let mut cursor = Some(String::new());
    while let Some(from) = cursor {
        cursor = store
            .write(move |tx| tx.prune_dedup(&from, i64::from(BATCH), tx.now().plus(-DEDUP_RETENTION_MS)))
            .await?;
        tokio::time::sleep(PAUSE).await;
    }
    let mut after = Some(MessageId(0));
    while let Some(from) = after {
        after = store
            .write(move |tx| tx.prune_messages(from, BATCH, tx.now().plus(-MESSAGE_RETENTION_MS)))
            .await?;
        tokio::time::sleep(PAUSE).await;
    }
    let mut after = Some(0);
    while let Some(from) = after {
        after =
            store.write(move |tx| tx.prune_steps(from, BATCH, tx.now().plus(-MESSAGE_RETENTION_MS))).await?;
        tokio::time::sleep(PAUSE).await;
    }
    let mut after = Some(0);
    while let Some(from) = after {
        after = store.write(move |tx| tx.prune_conversations(from, BATCH)).await?;
        tokio::time::sleep(PAUSE).await;
    }
    store.write(|tx| tx.prune_ended(tx.now().plus(-REPORT_RETENTION_MS))).await?;
    tokio::time::sleep(PAUSE).await;
    store.write(|tx| tx.prune_unreadable(tx.now().plus(-MESSAGE_RETENTION_MS))).await?;
    store.write(|tx| tx.prune_ratings(tx.now().plus(-REPORT_RETENTION_MS))).await?;
    tokio::time::sleep(PAUSE).await;
    let mut after = Some(HeldCursor::default());
    while let Some(from) = after {
        let (bridge, random) = (bridge.clone(), rand::rng().random());
        let (refused, next) = store
            .write(move |tx| {
                let (expired, next) = tx.expired_held(&from, BATCH, tx.now().plus(-MESSAGE_RETENTION_MS))?;
                let refused = expired.into_iter().map(|id| refuse_held(tx, &bridge, id, random));
                Ok((refused.collect::<Result<Vec<_>, _>>()?, next))
            })
            .await?;
        for (customer, has_notice) in &refused {
            metrics.ended(Direction::ToWechat, State::Refused);
            if *has_notice {
                work_signal.notify(Lane { direction: Direction::ToIm, customer: customer.clone() });
            }
        }
        after = next;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
