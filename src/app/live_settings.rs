//! The settings that change while the bridge runs: at SIGHUP, and with `server.watch_config` when the file changes.
//!
//! A configuration that cannot be used changes nothing. Keys that need a restart are named, and keep their values.

mod stamp;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::fleet;
use super::settings::{bridge_settings, callback_senders, reserved_senders};
use crate::bridge;
use crate::clock::Clock;
use crate::config::{ChangedKeys, Config, Faults};
use crate::http::ops;
use crate::http::tls::Certificates;
use crate::live::Live;
use crate::model::{ImUserId, Millis};
pub use stamp::Stamp;

/// How often the file is looked at. A change is applied once the file has been the same for so long.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The most faults that `/readyz` shows.
const SHOWN_FAULTS: usize = 5;
const ADVICE: &str = "correct the configuration, and run `wechat-im-bridge check --offline` to see all that is wrong \
    with it; until then the settings before it stay in use";

/// Reads the configuration anew. Blocks.
type Load = dyn Fn() -> Result<(Config, Vec<String>), Faults> + Send + Sync;

/// Where the configuration comes from.
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Reads it.
    pub load: Box<Load>,
}

impl Source {
    /// The file as it is now. Blocks for a moment.
    pub fn stamp(&self) -> Stamp {
        Stamp::of(&self.path)
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The settings that change. Clones share them.
#[derive(Clone, Debug)]
pub struct LiveSettings(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The configuration with which the bridge started.
    started: Config,
    /// What the bridge decides by.
    bridge: Live<bridge::Settings>,
    /// Whose messages IM's callbacks bring to customers.
    callback_senders: Live<Vec<ImUserId>>,
    /// The accounts as whom no customer may write.
    reserved_senders: Live<Vec<String>>,
    /// What must be the same at all instances.
    digest: Live<String>,
    certificates: Option<Certificates>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The configuration that was read last without faults.
    read: Config,
    /// The warnings that have been logged.
    warnings: Vec<String>,
    /// The keys whose new values need a restart.
    need_restart: Vec<String>,
    /// Why the configuration as it is now is not used, and since when.
    broken: Option<(Millis, Vec<String>)>,
}

impl LiveSettings {
    /// Begins with the settings of `config`, whose warnings have been logged.
    pub(super) fn new(
        config: &Config,
        warnings: Vec<String>,
        certificates: Option<Certificates>,
        clock: Clock,
    ) -> Self {
        let state = State { read: config.clone(), warnings, need_restart: Vec::new(), broken: None };
        Self(Arc::new(Inner {
            started: config.clone(),
            bridge: Live::new(bridge_settings(config)),
            callback_senders: Live::new(callback_senders(config)),
            reserved_senders: Live::new(reserved_senders(config)),
            digest: Live::new(fleet::digest(config)),
            certificates,
            clock,
            state: Mutex::new(state),
        }))
    }

    /// What the bridge decides by.
    pub(super) fn bridge(&self) -> Live<bridge::Settings> {
        self.0.bridge.clone()
    }

    /// Whose messages IM's callbacks bring to customers.
    pub(super) fn callback_senders(&self) -> Live<Vec<ImUserId>> {
        self.0.callback_senders.clone()
    }

    /// The accounts as whom no customer may write.
    pub(super) fn reserved_senders(&self) -> Live<Vec<String>> {
        self.0.reserved_senders.clone()
    }

    /// A digest of the settings in which all instances must agree.
    pub(super) fn digest(&self) -> Live<String> {
        self.0.digest.clone()
    }

    /// Applies the configuration at each `hangup`, and when its file changes if it is watched, until `stop`. `read` is the
    /// file with which the bridge started.
    pub async fn follow(self, source: Source, mut read: Stamp, mut hangup: Signal, stop: CancellationToken) {
        let source = Arc::new(source);
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let is_watched = self.0.started.server.watch_config;
        // Seen once: whoever writes the file may not be done.
        let mut seen = None;
        loop {
            tokio::select! {
                _ = ticks.tick(), if is_watched => {
                    let stamp = Stamp::of(&source.path);
                    if stamp == read || seen.replace(stamp) != Some(stamp) {
                        continue;
                    }
                    read = stamp;
                }
                Some(()) = hangup.recv() => read = Stamp::of(&source.path),
                () = stop.cancelled() => return,
            }
            let (settings, source) = (self.clone(), Arc::clone(&source));
            // Files on a slow disk must not block the runtime.
            let applying = tokio::task::spawn_blocking(move || settings.apply((source.load)()));
            let Some(applied) = stop.run_until_cancelled(applying).await else { return };
            if let Err(error) = applied {
                tracing::error!(%error, "could not apply the changed configuration, which is a bug");
            }
        }
    }

    /// Applies what was loaded, or reports why it cannot be applied. Blocks.
    fn apply(&self, loaded: Result<(Config, Vec<String>), Faults>) {
        let merged = loaded.map_err(|faults| lines(&faults)).and_then(|(config, warnings)| {
            self.merge(&config)?;
            Ok((config, warnings))
        });
        match merged {
            Ok((config, warnings)) => self.report_applied(config, warnings),
            Err(faults) => self.report_broken(faults),
        }
    }

    /// Puts the settings of `config` in use. Either all of them or, with the reasons, none.
    fn merge(&self, config: &Config) -> Result<(), Vec<String>> {
        let inner = &self.0;
        let merged = inner.started.with_live_settings_of(config).map_err(|faults| lines(&faults))?;
        if let (Some(certificates), Some(tls)) = (&inner.certificates, &merged.server.tls)
            && !certificates.are(tls)
        {
            certificates.replace(tls).map_err(|error| vec![error.to_string()])?;
        }
        // An agent who is new must not be refused by a part that has not heard of it when another has.
        inner.reserved_senders.set(reserved_senders(&merged));
        inner.bridge.set(bridge_settings(&merged));
        inner.callback_senders.set(callback_senders(&merged));
        inner.digest.set(fleet::digest(&merged));
        Ok(())
    }

    fn report_applied(&self, config: Config, warnings: Vec<String>) {
        let mut state = self.0.state.lock();
        let ChangedKeys { applied, need_restart } = self.0.started.changed_keys(&state.read, &config);
        if applied.is_empty() {
            tracing::info!(
                "read the configuration: no setting has changed that is applied without a restart"
            );
        } else {
            let keys = applied.join(", ");
            tracing::info!(keys, "the changed settings are in use: {keys}");
        }
        if !need_restart.is_empty() {
            let keys = need_restart.join(", ");
            tracing::warn!(
                keys,
                "these changed settings have no effect before the bridge is restarted: {keys}"
            );
        }
        for warning in warnings.iter().filter(|warning| !state.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        *state = State { read: config, warnings, need_restart, broken: None };
    }

    fn report_broken(&self, faults: Vec<String>) {
        for fault in &faults {
            tracing::error!(
                "the changed configuration is not used; the settings before it stay in use: {fault}"
            );
        }
        let mut state = self.0.state.lock();
        let since = state.broken.as_ref().map_or(self.0.clock.now(), |(since, _)| *since);
        state.broken = Some((since, faults));
    }

    /// Whether the configuration is in use, for `/readyz`. What lets strangers speak or read stops nothing, and neither
    /// does a setting that needs a restart, so that the part stays healthy.
    pub(super) fn status(&self) -> ops::StatusFn {
        let warnings: Vec<_> = self.0.started.exposures.iter().map(ToString::to_string).collect();
        let settings = self.clone();
        Arc::new(move || {
            let state = settings.0.state.lock();
            let status = match &state.broken {
                None => ops::ComponentStatus::healthy(),
                Some((since, faults)) => {
                    let shown = faults.iter().take(SHOWN_FAULTS).map(String::as_str).collect::<Vec<_>>();
                    ops::ComponentStatus::degraded(*since, shown.join("; "), ADVICE)
                }
            };
            let status = status.with("warnings", warnings.clone());
            if state.need_restart.is_empty() {
                return status;
            }
            status.with("need_restart", state.need_restart.clone())
        })
    }
}

/// The faults, as `check` writes them.
fn lines(faults: &Faults) -> Vec<String> {
    faults.0.iter().map(ToString::to_string).collect()
}
