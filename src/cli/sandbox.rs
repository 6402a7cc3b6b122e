//! `sandbox`: the bridge between two simulated platforms, with nothing to configure.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;

use super::Error;
use crate::app;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::lifecycle::Signals;
use crate::sandbox::script;
use crate::sandbox::stage::{Settings, Stage, how_to};
use crate::telemetry;

/// Variables that may change the sandbox's bridge: how it speaks and behaves. Addresses and credentials of a real
/// bridge may stand in the same environment, and must not lead out of the sandbox; its budgets would not be those of
/// the simulated WeChat.
const PASSED_ON: [&str; 5] = [
    "BRIDGE_TEXTS__",
    "BRIDGE_LOG__",
    "BRIDGE_WECHAT__ACKNOWLEDGE",
    "BRIDGE_WECHAT__SESSION_IDLE_S",
    "BRIDGE_WECHAT__REPLY",
];

pub(super) async fn run(is_script: bool, listen: Option<SocketAddr>) -> Result<(), Error> {
    let signals = Signals::catch().context("cannot listen for signals")?;
    let clock = Clock::movable();
    let stage = Stage::start(clock.clone(), Settings::default())
        .await
        .context("cannot start the simulated platforms on loopback")?;
    let listen = listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let environment = config::environment()
        .into_iter()
        .filter(|(name, _)| PASSED_ON.iter().any(|passed| name.starts_with(passed)));
    let folder = tempfile::tempdir().context("cannot make a directory for the media files")?;
    let own = [
        ("BRIDGE_LOG__LEVEL".to_owned(), "warn".to_owned()),
        ("BRIDGE_MEDIA__DIR".to_owned(), folder.path().display().to_string()),
    ];
    let text = stage.config_toml(listen, "sqlite::memory:");
    let (config, warnings) = Config::from_toml_str(&text, own.into_iter().chain(environment))?;
    telemetry::init(config.log.format, &config.log.level).context("cannot set up the log")?;
    let texts = config.texts.clone();
    let running = app::start(config, warnings, clock).await?;
    let address = format!("http://{}", running.public);
    stage.connect(&address);

    let played = script::play(&stage, &texts, &mut io::stdout()).await;
    let outcome = match played {
        Err(script::Failed::Transcript(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(Error::NobodyReads)
        }
        played => played.map_err(|failed| anyhow::Error::new(failed).into()),
    };
    if !is_script && outcome.is_ok() {
        writeln!(io::stdout(), "\n{}", how_to(&stage, &address)).context("cannot write to stdout")?;
        running.until_stopped(signals).await?;
    } else {
        running.stop().await?;
    }
    stage.stop().await;
    outcome
}
