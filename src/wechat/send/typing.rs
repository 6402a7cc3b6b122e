//! Sends agents' typing signals to WeChat: best effort, beside the lanes.
//!
//! Never queues, repeats or reports a signal, and never touches a customer's budget.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Client;
use crate::bridge::Bridge;
use crate::metrics::Metrics;
use crate::model::TypingSignal;

/// Calls in progress at the same time. While that many run, further signals are dropped.
const MAX_CALLS: usize = 16;
/// The metric label of the call.
const CALL: &str = "custom/typing";
/// The metric label of the platform.
const PLATFORM: &str = "wechat";

/// Sends signals until `stop`.
pub async fn run(client: Arc<Client>, bridge: Bridge, metrics: Metrics, stop: CancellationToken) {
    let mut signals = bridge.typing_signals();
    let mut calls = JoinSet::new();
    loop {
        let signal = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = calls.join_next() => continue,
            signal = signals.recv() => match signal {
                Ok(signal) => signal,
                // The oldest signals are over anyway.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
        };
        if calls.len() < MAX_CALLS {
            calls.spawn(send(Arc::clone(&client), bridge.clone(), metrics.clone(), signal));
        }
    }
}

async fn send(client: Arc<Client>, bridge: Bridge, metrics: Metrics, signal: TypingSignal) {
    let customer = match bridge.typing_target(&signal).await {
        Ok(Some(customer)) => customer,
        Ok(None) => return,
        Err(error) => {
            return tracing::debug!(%error, "cannot read the customer of a typing signal; dropping it");
        }
    };
    let started = std::time::Instant::now();
    let outcome = client.typing(&customer, signal.is_typing).await;
    let label = if outcome.is_ok() { "ok" } else { "refused" };
    metrics.record_call(PLATFORM, CALL, label, started.elapsed());
    if let Err(failure) = outcome {
        tracing::debug!(?failure, "WeChat did not show a typing signal");
    }
}
