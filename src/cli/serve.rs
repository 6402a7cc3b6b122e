//! `serve`: runs the bridge until it is told to stop.

use anyhow::Context as _;

use super::Error;
use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::lifecycle::Signals;
use crate::telemetry;

pub(super) async fn run(config: Config, warnings: Vec<String>) -> Result<(), Error> {
    let signals = Signals::catch().context("cannot listen for signals")?;
    telemetry::init(config.log.format, &config.log.level).context("cannot set up the log")?;
    let running = app::start(config, warnings, Clock::system()).await?;
    Ok(running.until_stopped(signals).await?)
}
