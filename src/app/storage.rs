//! Opens what the bridge stores: the database and the media.

use std::time::Duration;

use super::settings::secret;
use crate::clock::Clock;
use crate::config::{Config, SslMode, StoreUrl};
use crate::media::Media;
use crate::metrics::Metrics;
use crate::store::{Closing, PostgresLocation, Store, StoreLocation, TlsMode};

/// How long the store may take to open before a warning is logged. Repeated after the same time.
const OPEN_WARNING_INTERVAL: Duration = Duration::from_secs(5);

/// Where the configured store is.
pub(crate) fn location(url: &StoreUrl) -> StoreLocation {
    match url {
        StoreUrl::SqliteFile(path) => StoreLocation::File(path.clone()),
        StoreUrl::SqliteMemory => StoreLocation::Memory,
        StoreUrl::Postgres(url) => StoreLocation::Postgres(Box::new(PostgresLocation {
            config: url.config.clone(),
            tls: match url.ssl_mode {
                SslMode::Disable => TlsMode::Disable,
                SslMode::Prefer => TlsMode::Prefer,
                SslMode::Require => TlsMode::Require,
                SslMode::VerifyCa => TlsMode::VerifyCa,
                SslMode::VerifyFull => TlsMode::VerifyFull,
            },
            root_cert: url.ssl_root_cert.clone(),
        })),
    }
}

pub(super) async fn open_store(
    url: &StoreUrl,
    clock: Clock,
    metrics: Metrics,
) -> anyhow::Result<(Store, Closing)> {
    let location = location(url);
    let mut opening = tokio::task::spawn_blocking(move || Store::open(&location, clock, metrics));
    loop {
        if let Ok(opened) = tokio::time::timeout(OPEN_WARNING_INTERVAL, &mut opening).await {
            return Ok(opened??);
        }
        tracing::warn!("still opening the store: its disk is slow, or a migration is running");
    }
}

/// Opens the media. Their links depend on `im.secret_key`, so that they rotate with it.
pub(super) async fn open_media(config: &Config, store: &Store, clock: &Clock) -> anyhow::Result<Media> {
    let (dir, keep) = (&config.media.dir, config.media.keep);
    let mut media = Media::open(store, dir, config.server.public_url.clone(), keep, clock.clone()).await?;
    let previous_key = config.im.previous_secret_key.as_ref().map(secret);
    media.links = media.links.bind(store, &secret(&config.im.secret_key), previous_key.as_ref()).await?;
    media.sweeper.limit_total(config.media.max_total_bytes);
    Ok(media)
}
