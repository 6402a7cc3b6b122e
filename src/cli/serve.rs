//! `serve`: runs the bridge until it is told to stop.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

use super::Error;
use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::lifecycle::Signals;
use crate::telemetry;

/// `POINT:NTH`: where a build with fail points ends as if it had been killed. No other build looks at it.
const KILL_AT: &str = "BRIDGE_KILL_AT";

pub(super) async fn run(config: Config, warnings: Vec<String>) -> Result<(), Error> {
    if fail::has_failpoints()
        && let Some(at) = std::env::var_os(KILL_AT)
    {
        die_at(&at.to_string_lossy())?;
    }
    let signals = Signals::catch().context("cannot listen for signals")?;
    telemetry::init(config.log.format, &config.log.level).context("cannot set up the log")?;
    let running = app::start(config, warnings, Clock::system()).await?;
    Ok(running.until_stopped(signals).await?)
}

/// Ends the process at a fail point, in the very instruction: a `kill -9` from outside would come a little later.
fn die_at(at: &str) -> anyhow::Result<()> {
    let (point, nth) = at.split_once(':').context("BRIDGE_KILL_AT must be POINT:NTH")?;
    let nth: u32 = nth.parse().context("BRIDGE_KILL_AT must be POINT:NTH")?;
    let passed = AtomicU32::new(0);
    let die = move || {
        if passed.fetch_add(1, Ordering::Relaxed) + 1 == nth {
            std::process::abort();
        }
    };
    fail::cfg_callback(point, die).map_err(anyhow::Error::msg)
}
