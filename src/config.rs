//! The configuration: builds a checked [`Config`] from file and environment, or reports all faults
//! at once.
//!
//! The bridge does not listen, connect or write before this succeeds. No error text and no `Debug`
//! output of this module contains a secret, or any value that may be a misplaced secret.

mod address;
mod changes;
mod check;
mod choice;
mod desk;
mod exposure;
mod fault;
mod hours;
mod keys;
mod names;
mod postgres_url;
mod secret;
mod settings;
mod source;
mod tables;
#[cfg(test)]
mod tests;
mod texts;
mod typed;
mod without_effect;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use address::{BaseUrl, StoreUrl};
pub use changes::ChangedKeys;
pub use choice::{Acknowledge, AfterHours, EncryptionMode, Locale, LogFormat, OnUnsubscribe, ReplyMode};
pub use exposure::Exposure;
pub use fault::{Fault, Faults, Place};
pub use postgres_url::SslMode;
#[cfg(feature = "sandbox")]
pub use postgres_url::in_schema;
pub use secret::{AesKey, Secret};
pub use texts::Texts;

use ipnet::IpNet;

use crate::model::ImUserId;
pub use desk::{Canary, Desk, Group, Telemetry};
use settings::Settings;

/// The checked configuration. Each field holds the section of its name.
#[derive(Debug, Clone)]
pub struct Config {
    /// The settings by which strangers may speak or read.
    pub exposures: Vec<Exposure>,
    /// `[server]`
    pub server: Server,
    /// `[wechat]`
    pub wechat: WeChat,
    /// `[im]`
    pub im: Im,
    /// `[store]`
    pub store: StoreUrl,
    /// `[outbox]`
    pub outbox: Outbox,
    /// `[desk]`
    pub desk: Desk,
    /// `[replies]`: the canned replies by name, in small letters.
    pub replies: BTreeMap<String, String>,
    /// `[media]`
    pub media: Media,
    /// `[texts]`
    pub texts: Texts,
    /// `[alert]`: the webhook that is called when a part fails or recovers.
    pub alert_url: Option<Secret>,
    /// `[canary]`
    pub canary: Canary,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// `[log]`
    pub log: Log,
    /// The files with secrets that this configuration was read from: each with the key that names
    /// it, or `configuration`.
    pub secret_files: Vec<(String, PathBuf)>,
    /// What tells which keys differ from those of another configuration.
    fingerprints: changes::Fingerprints,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    /// The address of the public listener.
    pub listen: SocketAddr,
    /// The address of the operations listener; `None` if it is off.
    pub ops_listen: Option<SocketAddr>,
    /// The URL of the public listener as the internet reaches it.
    pub public_url: Option<BaseUrl>,
    /// The maximum size of a request body, in bytes.
    pub body_limit: usize,
    /// The maximum size of all request bodies that are held in memory at once, in bytes; at least
    /// `body_limit`.
    pub body_bytes_in_flight: usize,
    /// The time that running work has to finish after a stop.
    pub shutdown_grace: Duration,
    /// If set, `listen` uses HTTPS.
    pub tls: Option<Tls>,
    /// The networks of proxies whose `X-Forwarded-For` names the client.
    pub trusted_proxies: Vec<IpNet>,
    /// If set, the operations page asks for it before it shows personal data.
    pub ops_token: Option<Secret>,
    /// Whether a changed file is applied as after SIGHUP.
    pub watch_config: bool,
}

/// The two PEM files for HTTPS. They have not been opened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// `[wechat]`
#[derive(Debug, Clone)]
pub struct WeChat {
    /// The token that signs pushes.
    pub token: Secret,
    /// The token before it, which is accepted while a token is being replaced.
    pub previous_token: Option<Secret>,
    /// The account's AppID.
    pub app_id: Option<String>,
    /// The account's AppSecret.
    pub app_secret: Option<Secret>,
    /// The account's original id (`gh_...`). If set, pushes for other accounts are refused.
    pub account_id: Option<String>,
    /// How WeChat encrypts its pushes.
    pub mode: EncryptionMode,
    /// The key of encrypted pushes. Set unless `mode` is plain, and `app_id` with it.
    pub encoding_aes_key: Option<AesKey>,
    /// The key before it, which is accepted while a key is being replaced.
    pub previous_encoding_aes_key: Option<AesKey>,
    /// The maximum difference between a push's timestamp and the clock; `None` if it is not
    /// checked.
    pub max_skew: Option<Duration>,
    /// The way of replying that is in effect. `auto` without `app_id` and `app_secret` is already
    /// replaced by passive.
    pub reply: ReplyMode,
    /// When a customer gets the transferring text.
    pub acknowledge: Acknowledge,
    /// The time without a message after which a new session begins.
    pub session_idle: Duration,
    /// The base URL of WeChat's API.
    pub api_base: BaseUrl,
    /// The sends that a customer's message allows.
    pub message_quota: Quota,
    /// The sends that a follow, a menu click or a scan allows.
    pub event_quota: Quota,
}

/// A number of sends within a time window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The number of sends.
    pub sends: u32,
    /// How long they may be used.
    pub window: Duration,
}

/// `[im]`
#[derive(Debug, Clone)]
pub struct Im {
    /// The SDKAppID of the Chat application.
    pub sdk_app_id: NonZeroU32,
    /// The key that signs every UserSig.
    pub secret_key: Secret,
    /// The app admin in whose name the REST API is called.
    pub admin: ImUserId,
    /// The agents: at least one, no duplicates, and no UserID that a customer's account could have.
    pub agents: Vec<ImUserId>,
    /// If set, an unsigned or stale callback is refused.
    pub callback_token: Option<Secret>,
    /// Whether what servers send in an agent's name by REST goes to the customer.
    pub rest_answers: bool,
    /// The token before it, which is accepted while a token is being replaced.
    pub previous_callback_token: Option<Secret>,
    /// The secret key before the present one: links and UserSigs made with it are still accepted.
    pub previous_secret_key: Option<Secret>,
    /// The maximum difference between a callback's `RequestTime` and the clock, in both directions.
    pub callback_max_skew: Duration,
    /// The base URL of the IM REST API.
    pub api_base: BaseUrl,
    /// What happens to the IM account of a customer who unsubscribes.
    pub on_unsubscribe: OnUnsubscribe,
    /// `MsgLifeTime`. With zero, messages reach only agents who are online.
    pub message_lifetime: Duration,
    /// The maximum number of calls a second for each IM API.
    pub rate_per_second: NonZeroU32,
    /// How long a UserSig is valid.
    pub usersig_expire: Duration,
}

/// `[outbox]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outbox {
    /// The rounds in which IM neither answers a send nor has it in its history, until the message
    /// is unknown; `None`: no limit.
    pub unknown_after: Option<NonZeroU32>,
    /// How long a customer's IM account may fail to be made before the messages that need it are
    /// refused; `None`: no limit.
    pub give_up: Option<Duration>,
    /// An agent's message that waits for longer makes a notice; `None`: never.
    pub tell_waiting: Option<Duration>,
}

/// `[media]`
#[derive(Debug, Clone)]
pub struct Media {
    /// The directory of the media files. A relative path is already resolved against the database's
    /// directory.
    pub dir: PathBuf,
    /// The maximum size of a media file, in bytes.
    pub max_bytes: u64,
    /// How long files are kept and links to them are valid.
    pub keep: Duration,
    /// The maximum size of all files together, in bytes; `None` for a tenth of the disk.
    pub max_total_bytes: Option<u64>,
    /// The hosts from which media are downloaded, in lower case. Each includes its subdomains.
    pub allow_hosts: Vec<String>,
    /// Whether media are also downloaded without TLS.
    pub allow_http: bool,
    /// Whether media are also downloaded from addresses that are not public.
    pub allow_private: bool,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// The format of the log lines.
    pub format: LogFormat,
    /// A valid tracing filter.
    pub level: String,
}

/// The maximum size of the configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 1_048_576;

impl Config {
    /// Reads the file at `path`, overrides its values with the `BRIDGE_` variables of `env`, and
    /// returns the configuration with its warnings.
    ///
    /// If the operator did not name the file (`explicit` is false), it may be missing, provided
    /// that the environment sets a key of a section.
    pub fn load(
        path: &Path,
        explicit: bool,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<String>), Faults> {
        let env: Vec<_> = env.into_iter().collect();
        let text = read_file(path, explicit, &env)?;
        let (mut config, warnings) = parse_and_check(&text, &path.display().to_string(), &env)?;
        config.exposures.extend(exposure::of_file(path));
        if path.exists() {
            config.secret_files.insert(0, ("configuration".to_owned(), path.to_owned()));
        }
        Ok((config, warnings))
    }

    /// Reads no more than where the server answers operators, whatever else is wrong; `None` if it does not. Fails if the
    /// file cannot be read.
    pub fn ops_listen(
        path: &Path,
        explicit: bool,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Option<SocketAddr>, Faults> {
        let env: Vec<_> = env.into_iter().collect();
        let mut settings = Settings::default();
        source::read_toml(&read_file(path, explicit, &env)?, &path.display().to_string(), &mut settings);
        source::read_environment(&env, &mut settings);
        Ok(settings.text("server.ops_listen").parse().ok())
    }

    /// Does the same as [`Self::load`] for a text instead of a file, for tests and the sandbox.
    pub fn from_toml_str(
        text: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<String>), Faults> {
        parse_and_check(text, "configuration", &env.into_iter().collect::<Vec<_>>())
    }
}

/// The text of the file. It may be missing if the operator did not name it (`explicit` is false) and the environment sets a
/// key of a section.
fn read_file(path: &Path, explicit: bool, env: &[(String, String)]) -> Result<String, Faults> {
    match settings::read_bounded(path, MAX_FILE_BYTES) {
        Err(reason)
            if reason.kind() == io::ErrorKind::NotFound
                && !explicit
                && env.iter().any(|(name, _)| source::names_a_section(name)) =>
        {
            Ok(String::new())
        }
        Err(reason) if reason.kind() == io::ErrorKind::InvalidData => Err(Faults(vec![Fault {
            key: path.display().to_string(),
            place: settings::first_line_of_other_encoding(path, MAX_FILE_BYTES),
            problem: "is not UTF-8 text".to_owned(),
            fix: "save it as UTF-8, which editors offer beside GBK and UTF-16 (\"Unicode\")".to_owned(),
        }])),
        Err(reason) => Err(Faults(vec![Fault {
            key: path.display().to_string(),
            place: Place::Unspecified,
            problem: format!("cannot be read: {reason}"),
            fix: "name the configuration with --config, or copy config.example.toml and fill it in"
                .to_owned(),
        }])),
        Ok(text) => Ok(text.strip_prefix(settings::BOM).map(str::to_owned).unwrap_or(text)),
    }
}

fn parse_and_check(
    text: &str,
    label: &str,
    env: &[(String, String)],
) -> Result<(Config, Vec<String>), Faults> {
    let mut settings = Settings::default();
    let readable = source::read_toml(text, label, &mut settings);
    source::read_environment(env, &mut settings);
    // Do not report keys as missing if the file is unreadable: its own faults come first.
    let config = if readable { check::config(&mut settings) } else { None };
    let (faults, warnings) = settings.into_outcome();
    match config {
        Some(config) if faults.0.is_empty() => Ok((config, warnings)),
        _ => Err(faults),
    }
}

/// The `BRIDGE_` variables of this process, for [`Config::load`].
pub fn environment() -> Vec<(String, String)> {
    let to_utf8_lossy = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (to_utf8_lossy(name), to_utf8_lossy(value)))
        .filter(|(name, _)| name.starts_with("BRIDGE_"))
        .collect()
}
