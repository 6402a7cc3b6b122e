//! Opens the store, and says so if that takes long.

use std::time::Duration;

use anyhow::bail;

use crate::clock::Clock;
use crate::config;
use crate::metrics::Metrics;
use crate::store::{Closing, Store, StoreLocation};

/// How long the store may take to open before a warning is logged. Repeated after the same time.
const OPEN_WARNING_INTERVAL: Duration = Duration::from_secs(5);

pub(super) async fn open_store(
    url: &config::StoreUrl,
    clock: Clock,
    metrics: Metrics,
) -> anyhow::Result<(Store, Closing)> {
    let location = match url {
        config::StoreUrl::SqliteFile(path) => StoreLocation::File(path.clone()),
        config::StoreUrl::SqliteMemory => StoreLocation::Memory,
        config::StoreUrl::Postgres => bail!("store.url: this version does not support PostgreSQL"),
    };
    let mut opening = tokio::task::spawn_blocking(move || Store::open(&location, clock, metrics));
    loop {
        if let Ok(opened) = tokio::time::timeout(OPEN_WARNING_INTERVAL, &mut opening).await {
            return Ok(opened??);
        }
        tracing::warn!("still opening the store: its disk is slow, or a migration is running");
    }
}
