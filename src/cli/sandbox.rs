//! `sandbox`: runs the bridge between two simulated platforms, without any configuration.
//!
//! `--script` plays one conversation with a bridge in this process. Otherwise the bridge runs as a
//! separate process, so that it can be killed, and a page lets people play both sides. With
//! `--instances` the bridges are always processes of their own.

mod address;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use url::Url;

use super::Error;
use crate::app::{self, store_location};
use crate::clock::Clock;
use crate::config::{self, Config, Fault, Faults, Place, StoreUrl, Texts};
use crate::lifecycle::Signals;
use crate::model::hours::WorkingHours;
use crate::sandbox::bridges::{self, Bridges, EndSessions, Fleet};
use crate::sandbox::database;
use crate::sandbox::script;
use crate::sandbox::stage::{Placement, Settings, Stage, how_to};
use crate::sandbox::stores::{MAIN_STORE, PERSONAL_STORE, Stores};
use crate::sandbox::wechat::Mode;
use crate::sandbox::{self, Sandbox};
use crate::store::{self, PostgresLocation, StoreLocation};
use crate::telemetry;

/// Fails if a configuration is given, which the sandbox would not use.
pub(super) fn reject_config(config: Option<&Path>) -> Result<(), Faults> {
    if config.is_none() {
        return Ok(());
    }
    let fix = "leave it out: the sandbox makes its own configuration";
    Err(fault("--config", "has no effect on the sandbox", fix))
}

/// A fault of an option.
fn fault(option: &str, problem: &str, fix: &str) -> Faults {
    Faults(vec![Fault {
        key: option.to_owned(),
        place: Place::Unspecified,
        problem: problem.to_owned(),
        fix: fix.to_owned(),
    }])
}

/// The variables that may change the texts and the behaviour of the sandbox's bridge. All others
/// are ignored: the environment may contain addresses and credentials of a real bridge, which the
/// sandbox must not call, and quotas that differ from those of the simulated WeChat.
const PASSED_THROUGH: [&str; 7] = [
    "BRIDGE_TEXTS__",
    "BRIDGE_DESK__",
    "BRIDGE_REPLIES__",
    "BRIDGE_LOG__",
    "BRIDGE_WECHAT__ACKNOWLEDGE",
    "BRIDGE_WECHAT__SESSION_IDLE_S",
    "BRIDGE_WECHAT__REPLY",
];
const IN_MEMORY: &str = "sqlite::memory:";
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(super) async fn run(
    is_script: bool,
    listen: Option<SocketAddr>,
    store: Option<&str>,
    instances: Option<usize>,
    opens_browser: bool,
) -> Result<(), Error> {
    let listen = listen.unwrap_or(LOOPBACK);
    if instances.is_some() && store.is_none() {
        let fix = "add --store postgres://USER@HOST/DB: several bridges work only on one PostgreSQL";
        return Err(fault("--instances", "has no database", fix).into());
    }
    let mut schemas = store.map(Schemas::new).transpose()?;
    if let (Some(_), Some(schemas)) = (instances, &mut schemas) {
        schemas.check_ways()?;
    }
    let played = match (is_script, instances, &schemas) {
        (true, Some(count), Some(schemas)) => run_script_with_instances(listen, count, schemas).await,
        (true, _, _) => run_script(listen, schemas.as_ref()).await,
        (false, _, _) => run_page(listen, schemas.as_ref(), instances, opens_browser).await,
    };
    if let Some(schemas) = schemas {
        schemas.drop_all().await?;
    }
    played
}

/// Schemas of a PostgreSQL database, for the stores of this sandbox.
struct Schemas {
    url: String,
    location: PostgresLocation,
}

impl Schemas {
    const KEY: &str = "--store";

    fn new(url: &str) -> Result<Self, Error> {
        let fault = |problem: &str, fix: &str| Error::from(fault(Self::KEY, problem, fix));
        let parsed = StoreUrl::new(url).map_err(|problem| fault(&problem, "set postgres://USER@HOST/DB"))?;
        let StoreLocation::Postgres(location) = store_location(&parsed) else {
            return Err(fault(
                "names no PostgreSQL database",
                "set postgres://USER@HOST/DB, or leave it out",
            ));
        };
        if config::in_schema(url, "any").is_none() {
            return Err(fault("has options", "leave them out: the sandbox makes its own schemas"));
        }
        Ok(Self { url: url.to_owned(), location: *location })
    }

    /// Fails if the sandbox cannot stand between its bridges and the database. They find no password for that way in
    /// the password file, so the URL gets it.
    fn check_ways(&mut self) -> Result<(), Error> {
        let fix = "name one server, with another sslmode, or leave --instances out";
        database::check(&self.url).map_err(|problem| fault(Self::KEY, &problem.to_string(), fix))?;
        let mut url = Url::parse(&self.url).context("the store's URL is none")?;
        if let Some(password) = store::find_password(&self.location) {
            // It fails only for a URL without a host, whose server asks for no password.
            let _ = url.set_password(Some(&password));
        }
        self.url = url.into();
        Ok(())
    }

    /// Ends the sessions of the bridges on the store of this name.
    fn end_sessions(&self, name: &'static str) -> EndSessions {
        let location = self.location.clone();
        Box::new(move || {
            let location = location.clone();
            Box::pin(async move {
                let ended = tokio::task::spawn_blocking(move || {
                    store::end_sessions(&location, &Self::schema(name)).map_err(|error| error.to_string())
                });
                let ended = ended.await.map_err(|error| error.to_string())??;
                u64::try_from(ended).map_err(|error| error.to_string())
            })
        })
    }

    fn schema(name: &str) -> String {
        format!("wechat_im_bridge_sandbox_{}_{name}", std::process::id())
    }

    /// Makes an empty schema, and returns its URL.
    async fn make(&self, name: &'static str) -> Result<String, Error> {
        let (location, schema) = (self.location.clone(), Self::schema(name));
        let url = config::in_schema(&self.url, &schema).context("the URL has options")?;
        let made = tokio::task::spawn_blocking(move || {
            store::drop_schema(&location, &schema)?;
            store::make_schema(&location, &schema)
        });
        made.await.context("making a schema panicked")?.map_err(anyhow::Error::from)?;
        Ok(url)
    }

    async fn drop_all(self) -> Result<(), Error> {
        let dropped = tokio::task::spawn_blocking(move || {
            let names = ["plain", "safe", MAIN_STORE, PERSONAL_STORE];
            names.iter().try_for_each(|name| store::drop_schema(&self.location, &Self::schema(name)))
        });
        Ok(dropped.await.context("dropping the schemas panicked")?.map_err(anyhow::Error::from)?)
    }
}

/// The bridge's environment. It logs only warnings, unless a variable sets another level.
fn environment() -> Vec<(String, String)> {
    let passed_through = config::environment()
        .into_iter()
        .filter(|(name, _)| PASSED_THROUGH.iter().any(|passed| name.starts_with(passed)));
    std::iter::once(("BRIDGE_LOG__LEVEL".to_owned(), "warn".to_owned())).chain(passed_through).collect()
}

/// The configuration of a bridge in this process on `stage`, with its warnings.
fn configure(
    stage: &Stage,
    listen: SocketAddr,
    media: &Path,
    store_url: &str,
) -> Result<(Config, Vec<String>), Error> {
    let text =
        stage.config_toml(Placement { listen, ops: LOOPBACK, public: listen, store_url, instance: None });
    let media = ("BRIDGE_MEDIA__DIR".to_owned(), media.display().to_string());
    Ok(Config::from_toml_str(&text, environment().into_iter().chain([media]))?)
}

/// Replaces port 0 by a free port, so that links can be made before the bridge binds it.
fn with_port(listen: SocketAddr) -> io::Result<SocketAddr> {
    if listen.port() == 0 { std::net::TcpListener::bind(listen)?.local_addr() } else { Ok(listen) }
}

async fn run_script(listen: SocketAddr, schemas: Option<&Schemas>) -> Result<(), Error> {
    for (mode, name) in [(Mode::Plain, "plain"), (Mode::Safe, "safe")] {
        let store_url = match schemas {
            Some(schemas) => schemas.make(name).await?,
            None => IN_MEMORY.to_owned(),
        };
        play_script_in_mode(listen, mode, &store_url).await?;
    }
    Ok(())
}

/// Plays the script once, on its own stage and with its own bridge.
async fn play_script_in_mode(listen: SocketAddr, mode: Mode, store_url: &str) -> Result<(), Error> {
    let clock = Clock::movable();
    let mut settings = Settings::default();
    settings.wechat.mode = mode;
    let stage = Stage::start(clock.clone(), settings)
        .await
        .context("cannot start the simulated platforms on loopback")?;
    let folder = tempfile::tempdir().context("cannot create a directory for the media files")?;
    let listen = with_port(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let (config, warnings) = configure(&stage, listen, folder.path(), store_url)?;
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

/// Like [`run_script`], with several bridges as processes of their own.
async fn run_script_with_instances(listen: SocketAddr, count: usize, schemas: &Schemas) -> Result<(), Error> {
    let mut signals = Signals::catch().context("cannot listen for signals")?;
    let (texts, _) = check_environment().await?;
    for (mode, name) in [(Mode::Plain, "plain"), (Mode::Safe, "safe")] {
        let urls = BTreeMap::from([(MAIN_STORE, schemas.make(name).await?)]);
        let front = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let mut settings = Settings::default();
        settings.wechat.mode = mode;
        settings.instances = count;
        let stage = Stage::start(Clock::system(), settings)
            .await
            .context("cannot start the simulated platforms on loopback")?;
        let stage = Arc::new(stage);
        let settings = bridges::Settings {
            program: this_program()?,
            environment: environment(),
            stores: Stores::Urls(urls),
            fleet: Some(Fleet { count, front, end_sessions: schemas.end_sessions(name) }),
        };
        let bridges = tokio::select! {
            bridges = Bridges::start(&stage, settings) => bridges.context("cannot start the bridges")?,
            _ = signals.next() => return Ok(()),
        };
        let play = async {
            match mode {
                Mode::Safe => script::play_in_safe_mode(&stage, &texts, &mut io::stdout()).await,
                Mode::Plain | Mode::Compatible => {
                    script::play_in_real_time(&stage, &texts, &mut io::stdout()).await
                }
            }
        };
        let played = tokio::select! {
            played = play => Some(played),
            _ = signals.next() => None,
        };
        bridges.stop().await;
        match played {
            Some(played) => outcome(played)?,
            None => return Ok(()),
        }
    }
    Ok(())
}

async fn run_page(
    listen: SocketAddr,
    schemas: Option<&Schemas>,
    instances: Option<usize>,
    opens_browser: bool,
) -> Result<(), Error> {
    let mut signals = Signals::catch().context("cannot listen for signals")?;
    let sandbox = tokio::select! {
        sandbox = start(listen, schemas, instances) => sandbox?,
        _ = signals.next() => return Ok(()),
    };
    let presented = present(&sandbox, opens_browser);
    if presented.is_ok() {
        signals.next().await;
    }
    sandbox.stop().await;
    presented
}

/// Reports faults of the environment before anything else starts, and sets up the log. Returns the bridge's texts and
/// working hours.
async fn check_environment() -> Result<(Texts, Option<WorkingHours>), Error> {
    let trial_stage = Stage::start(Clock::system(), Settings::default()).await;
    let trial = trial_stage.context("cannot start the simulated platforms on loopback")?;
    let (config, _) = configure(&trial, LOOPBACK, Path::new("media"), IN_MEMORY)?;
    telemetry::init(config.log.format, &config.log.level).context("cannot set up the log")?;
    trial.stop().await;
    Ok((config.texts, config.desk.hours))
}

fn this_program() -> Result<PathBuf, Error> {
    Ok(std::env::current_exe().context("cannot find the path of this program")?)
}

async fn start(
    listen: SocketAddr,
    schemas: Option<&Schemas>,
    instances: Option<usize>,
) -> Result<Sandbox, Error> {
    let ((texts, hours), program) = (check_environment().await?, this_program()?);
    let stores = match schemas {
        Some(schemas) => {
            let mut urls = BTreeMap::new();
            for name in [MAIN_STORE, PERSONAL_STORE] {
                urls.insert(name, schemas.make(name).await?);
            }
            Stores::Urls(urls)
        }
        None => Stores::Files,
    };
    let environment = environment();
    let instances = schemas
        .zip(instances)
        .map(|(schemas, count)| sandbox::Instances { count, end_sessions: schemas.end_sessions(MAIN_STORE) });
    let settings = sandbox::Settings { program, environment, listen, texts, hours, stores, instances };
    Ok(Sandbox::start(settings).await.with_context(|| format!("cannot start the sandbox on {listen}"))?)
}

/// Prints what to try, and the URL of the page last.
fn present(sandbox: &Sandbox, opens_browser: bool) -> Result<(), Error> {
    let listen = sandbox.address();
    address::warn_of_strangers(listen);
    writeln!(io::stdout(), "Play both sides in a browser: {}\n", address::url(listen))
        .context("cannot write to stdout")?;
    if opens_browser {
        address::open(listen);
    }
    let how_to = how_to(&sandbox.session().stage, &sandbox.bridge_url());
    writeln!(io::stdout(), "{how_to}\n{}", address::last_lines(listen)).context("cannot write to stdout")?;
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
