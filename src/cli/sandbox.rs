//! `sandbox`: runs the bridge between two simulated platforms, without any configuration.
//!
//! `--script` plays one conversation with a bridge in this process. Otherwise the bridge runs as a
//! separate process, so that it can be killed, and a page lets people play both sides.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;

use super::Error;
use crate::app;
use crate::clock::Clock;
use crate::config::{self, Config, Fault, Faults, Place};
use crate::lifecycle::Signals;
use crate::sandbox::script;
use crate::sandbox::stage::{Settings, Stage, how_to};
use crate::sandbox::wechat::Mode;
use crate::sandbox::{self, Sandbox};
use crate::telemetry;

/// Fails if a configuration is given, which the sandbox would not use.
pub(super) fn reject_config(config: Option<&Path>) -> Result<(), Faults> {
    if config.is_none() {
        return Ok(());
    }
    Err(Faults(vec![Fault {
        key: "--config".to_owned(),
        place: Place::Unspecified,
        problem: "has no effect on the sandbox".to_owned(),
        fix: "leave it out: the sandbox makes its own configuration".to_owned(),
    }]))
}

/// The variables that may change the texts and the behaviour of the sandbox's bridge. All others
/// are ignored: the environment may contain addresses and credentials of a real bridge, which the
/// sandbox must not call, and quotas that differ from those of the simulated WeChat.
const PASSED_THROUGH: [&str; 5] = [
    "BRIDGE_TEXTS__",
    "BRIDGE_LOG__",
    "BRIDGE_WECHAT__ACKNOWLEDGE",
    "BRIDGE_WECHAT__SESSION_IDLE_S",
    "BRIDGE_WECHAT__REPLY",
];
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(super) async fn run(is_script: bool, listen: Option<SocketAddr>) -> Result<(), Error> {
    let listen = listen.unwrap_or(LOOPBACK);
    if is_script { run_script(listen).await } else { run_page(listen).await }
}

/// The bridge's environment. It logs only warnings, unless a variable sets another level.
fn environment() -> Vec<(String, String)> {
    let passed_through = config::environment()
        .into_iter()
        .filter(|(name, _)| PASSED_THROUGH.iter().any(|passed| name.starts_with(passed)));
    std::iter::once(("BRIDGE_LOG__LEVEL".to_owned(), "warn".to_owned())).chain(passed_through).collect()
}

/// The configuration of a bridge in this process on `stage`, with its warnings.
fn configure(stage: &Stage, listen: SocketAddr, media: &Path) -> Result<(Config, Vec<String>), Error> {
    let text = stage.config_toml(listen, LOOPBACK, "sqlite::memory:");
    let media = ("BRIDGE_MEDIA__DIR".to_owned(), media.display().to_string());
    Ok(Config::from_toml_str(&text, environment().into_iter().chain([media]))?)
}

/// Replaces port 0 by a free port, so that links can be made before the bridge binds it.
fn with_port(listen: SocketAddr) -> io::Result<SocketAddr> {
    if listen.port() == 0 { std::net::TcpListener::bind(listen)?.local_addr() } else { Ok(listen) }
}

async fn run_script(listen: SocketAddr) -> Result<(), Error> {
    for mode in [Mode::Plain, Mode::Safe] {
        play_script_in_mode(listen, mode).await?;
    }
    Ok(())
}

/// Plays the script once, on its own stage and with its own bridge.
async fn play_script_in_mode(listen: SocketAddr, mode: Mode) -> Result<(), Error> {
    let clock = Clock::movable();
    let mut settings = Settings::default();
    settings.wechat.mode = mode;
    let stage = Stage::start(clock.clone(), settings)
        .await
        .context("cannot start the simulated platforms on loopback")?;
    let folder = tempfile::tempdir().context("cannot create a directory for the media files")?;
    let listen = with_port(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let (config, warnings) = configure(&stage, listen, folder.path())?;
    if mode == Mode::Plain {
        telemetry::init(config.log.format, &config.log.level).context("cannot set up the log")?;
    }
    let texts = config.texts.clone();
    let running = app::start(config, warnings, clock).await?;
    stage.connect(&format!("http://{}", running.public));
    let played = match mode {
        Mode::Safe => script::play_in_safe_mode(&stage, &texts, &mut io::stdout()).await,
        Mode::Plain | Mode::Compatible => script::play(&stage, &texts, &mut io::stdout()).await,
    };
    running.stop().await?;
    stage.stop().await;
    outcome(played)
}

async fn run_page(listen: SocketAddr) -> Result<(), Error> {
    let mut signals = Signals::catch().context("cannot listen for signals")?;
    let sandbox = tokio::select! {
        sandbox = start(listen) => sandbox?,
        _ = signals.next() => return Ok(()),
    };
    let played = tokio::select! {
        played = present(&sandbox) => played,
        _ = signals.next() => Ok(()),
    };
    if played.is_ok() {
        signals.next().await;
    }
    sandbox.stop().await;
    played
}

async fn start(listen: SocketAddr) -> Result<Sandbox, Error> {
    // Report faults of the environment before anything else starts.
    let trial_stage = Stage::start(Clock::system(), Settings::default()).await;
    let trial = trial_stage.context("cannot start the simulated platforms on loopback")?;
    let (config, _) = configure(&trial, LOOPBACK, Path::new("media"))?;
    telemetry::init(config.log.format, &config.log.level).context("cannot set up the log")?;
    trial.stop().await;
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let settings = sandbox::Settings { program, environment: environment(), listen, texts: config.texts };
    Ok(Sandbox::start(settings).await.with_context(|| format!("cannot start the sandbox on {listen}"))?)
}

/// Prints the URL of the page, plays the script on it, and prints what else to try.
async fn present(sandbox: &Sandbox) -> Result<(), Error> {
    let page = format!("http://{}/", sandbox.address());
    writeln!(io::stdout(), "Play both sides in a browser: {page}\n").context("cannot write to stdout")?;
    outcome(sandbox.play(&mut io::stdout()).await)?;
    let how_to = how_to(&sandbox.session().stage, &sandbox.bridge_url());
    writeln!(io::stdout(), "\n{how_to}\nOr play both sides in a browser: {page}")
        .context("cannot write to stdout")?;
    Ok(())
}

fn outcome(played: Result<(), script::ScriptError>) -> Result<(), Error> {
    match played {
        Err(script::ScriptError::Transcript(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(Error::ClosedPipe)
        }
        played => played.map_err(|failed| anyhow::Error::new(failed).into()),
    }
}
