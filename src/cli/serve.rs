//! `serve`: runs the bridge until it is told to stop.

use anyhow::Context as _;

use super::Error;
use crate::app;
use crate::clock::Clock;
use crate::config::{self, Config, Fault, Faults, Place};
use crate::lifecycle::Signals;
use crate::telemetry;

pub(super) async fn run(config: Config, warnings: Vec<String>) -> Result<(), Error> {
    if matches!(config.store, config::Store::Postgres(_)) {
        return Err(Error::Configuration(Faults(vec![Fault {
            key: "store.url".to_owned(),
            place: Place::Unsaid,
            problem: "names PostgreSQL, which this version cannot use yet".to_owned(),
            fix: "use sqlite://FILE, with one instance on it".to_owned(),
        }])));
    }
    let signals = Signals::catch().context("cannot listen for signals")?;
    telemetry::init(config.log.format, &config.log.level).context("cannot set up the log")?;
    let running = app::start(config, warnings, Clock::system()).await?;
    Ok(running.until_stopped(signals).await?)
}
