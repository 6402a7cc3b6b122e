//! What a bridge tells its operators.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

/// The answers of the bridge's operations listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpsSnapshot {
    /// The status from `/readyz`: `ok`, `degraded` or `unavailable`. `None` if it does not answer.
    pub readiness: Option<String>,
    /// The part `fleet` of `/readyz`.
    pub fleet: Value,
    /// The text of `/metrics`. `None` if it does not answer.
    pub metrics: Option<String>,
}

/// Queries the bridge's operations listener. Waits at most one second for each answer.
pub async fn fetch_ops_snapshot(http: &reqwest::Client, ops: SocketAddr) -> OpsSnapshot {
    let get = async |path: &str| {
        let request = http.get(format!("http://{ops}/{path}")).timeout(Duration::from_secs(1));
        request.send().await.ok()?.text().await.ok()
    };
    let ready = get("readyz").await.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let ready = ready.unwrap_or_default();
    OpsSnapshot {
        readiness: ready["status"].as_str().map(str::to_owned),
        fleet: ready["fleet"].clone(),
        metrics: get("metrics").await,
    }
}
