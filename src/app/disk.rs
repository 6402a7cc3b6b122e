//! Watches the disks of the store and the media: free space for `/readyz`, sizes for the metrics.
//!
//! A thread that may hang with its disk reads the figures; whoever asks gets the last ones. Must
//! never delete anything.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::private_files;
use crate::clock::Clock;
use crate::config::{Config, StoreUrl};
use crate::http::ops;
use crate::lifecycle::Lifecycle;
use crate::media::Files;
use crate::metrics::Metrics;
use crate::model::Millis;
use crate::store;

/// How often the figures are read.
const INTERVAL: Duration = Duration::from_secs(5);

/// When a disk is nearly full: less than this percentage free, or fewer bytes than this.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    pub percent: u64,
    pub bytes: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { percent: 5, bytes: 1_000_000_000 }
    }
}

/// The space of one disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// What this user may still write.
    pub free: u64,
    /// The size of the disk.
    pub total: u64,
}

impl Space {
    /// The space of the disk of `path`. Blocks.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let found = rustix::fs::statvfs(path)?;
        let unit = found.f_frsize.max(1);
        Ok(Self { free: found.f_bavail.saturating_mul(unit), total: found.f_blocks.saturating_mul(unit) })
    }

    /// Whether the disk is nearly full. A disk that is counts as such until a tenth more is free
    /// than the limit, so that the state does not change with every file.
    fn is_low(self, limits: Thresholds, was_low: bool) -> bool {
        let by_percent = self.total / 100 * limits.percent;
        let limit = by_percent.max(limits.bytes);
        self.free < if was_low { limit + limit / 10 } else { limit }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Since when the disk is nearly full, and its description.
    low: Option<(Millis, String)>,
}

/// Mends the modes of existing files, and starts the watch over their disks.
pub(super) fn start(
    config: &Config,
    files: &Files,
    clock: &Clock,
    metrics: &Metrics,
    lifecycle: &Lifecycle,
) -> DiskWatch {
    let (url, mended) = (config.store.clone(), files.clone());
    tokio::task::spawn_blocking(move || private_files::mend(&url, &mended));
    let database = match &config.store {
        StoreUrl::SqliteFile(path) => Some(path.clone()),
        StoreUrl::SqliteMemory | StoreUrl::Postgres(_) => None,
    };
    let limits = Thresholds::default();
    let watch = DiskWatch::new(database, files.clone(), limits, clock.clone(), metrics.clone());
    lifecycle.spawn("disk watch", watch.clone().run(lifecycle.soft().clone()));
    watch
}

/// The watch over the disks. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct DiskWatch {
    database: Option<PathBuf>,
    files: Files,
    limits: Thresholds,
    clock: Clock,
    metrics: Metrics,
    state: Arc<Mutex<State>>,
}

impl DiskWatch {
    /// Watches the disks of `database` (`None` for a store in memory) and `files`.
    pub fn new(
        database: Option<PathBuf>,
        files: Files,
        limits: Thresholds,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        Self { database, files, limits, clock, metrics, state: Arc::default() }
    }

    /// Reads the figures now and then until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let watch = self.clone();
            tokio::select! {
                _ = interval.tick() => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                _ = tokio::task::spawn_blocking(move || watch.look()) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Reads the figures. Blocks.
    fn look(&self) {
        let folder = |path: &Path| path.parent().map(Path::to_owned).filter(|path| *path != Path::new(""));
        let database = self.database.as_deref().map(|path| folder(path).unwrap_or_else(|| ".".into()));
        let disks = [("the database", database), ("media.dir", Some(self.files.dir().to_owned()))];
        let spaces = disks.into_iter().filter_map(|(name, path)| Some((name, Space::of(&path?).ok()?)));
        let Some((name, space)) = spaces.min_by_key(|(_, space)| space.free) else { return };
        let log = self.database.as_deref().map(store::log_path);
        let log_bytes = log.and_then(|log| std::fs::metadata(log).ok()).map_or(0, |log| log.len());
        self.metrics.set_disk_use(log_bytes, self.files.total_bytes(), space.free);
        self.judge(name, space);
    }

    fn judge(&self, name: &str, space: Space) {
        let mut state = self.state.lock();
        let is_low = space.is_low(self.limits, state.low.is_some());
        let why = format!("the disk of {name} has {} MB free", space.free / 1_000_000);
        match (&mut state.low, is_low) {
            (low @ None, true) => {
                tracing::warn!("{why}: free some space, or the store stops when it is full");
                *low = Some((self.clock.now(), why));
            }
            (Some((_, stored)), true) => *stored = why,
            (low @ Some(_), false) => {
                tracing::info!("{why}, which is enough again");
                *low = None;
            }
            (None, false) => {}
        }
    }

    /// The status for `/readyz`. Does not block.
    pub fn status(&self) -> ops::ComponentStatus {
        match &self.state.lock().low {
            None => ops::ComponentStatus::healthy(),
            Some((since, why)) => ops::ComponentStatus {
                ok: false,
                since: Some(since.seconds()),
                why: Some(why.clone()),
                advice: Some(
                    "free some space, or lower media.max_total_bytes; when the disk is full, pushes and callbacks \
                     are refused"
                        .to_owned(),
                ),
                ..ops::ComponentStatus::healthy()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    #[test]
    fn a_disk_is_low_under_five_percent_or_a_gigabyte_and_leaves_steadily() {
        let limits = Thresholds::default();
        for (free, total, was_low, expected) in [
            (GB - 1, 10 * GB, false, true),
            (GB, 10 * GB, false, false),
            (GB, 10 * GB, true, true),
            (2 * GB, 10 * GB, true, false),
            (49 * GB, 1000 * GB, false, true),
            (51 * GB, 1000 * GB, false, false),
            (51 * GB, 1000 * GB, true, true),
            (56 * GB, 1000 * GB, true, false),
        ] {
            let space = Space { free, total };
            assert_eq!(space.is_low(limits, was_low), expected, "{space:?}, was low: {was_low}");
        }
    }

    #[test]
    fn the_status_says_since_when_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::movable();
        let files = Files::open(folder.path(), clock.clone()).unwrap();
        let watch = |limits| DiskWatch::new(None, files.clone(), limits, clock.clone(), Metrics::default());
        let full = watch(Thresholds { percent: 0, bytes: u64::MAX / 2 });
        let before = clock.now().seconds();
        full.look();
        let status = full.status();
        let in_time = (before..=clock.now().seconds()).contains(&status.since.unwrap_or_default());
        assert!(!status.ok && in_time, "{status:?}");
        assert!(status.why.unwrap().contains("media.dir") && status.advice.is_some());
        let since = status.since;
        clock.advance(60_000);
        full.look();
        assert_eq!(full.status().since, since, "it began with the first look");
        full.judge("media.dir", Space { free: u64::MAX, total: u64::MAX });
        assert!(full.status().ok);
        let empty = watch(Thresholds { percent: 0, bytes: 0 });
        empty.look();
        assert!(empty.status().ok);
    }
}
