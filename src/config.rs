//! The configuration: file and environment → one checked [`Config`], or every fault at once with its key.
//!
//! Nothing listens, connects or writes before this has succeeded. No message and no `Debug` output of this
//! module contains a secret, nor any value that might be one in the wrong place.

mod address;
mod check;
mod choice;
mod fault;
mod keys;
mod secret;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod texts;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use address::{BaseUrl, Store};
pub use choice::{Acknowledge, Locale, LogFormat, Mode, OnUnsubscribe, Reply};
pub use fault::{Fault, Faults, Place};
pub use keys::{Key, Kind, SECTIONS, Section, find_key};
pub use secret::{AesKey, InvalidAesKey, Secret};
pub use texts::Texts;

use crate::model::ImUserId;
use settings::Settings;

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    pub wechat: WeChat,
    pub im: Im,
    pub store: Store,
    pub media: Media,
    pub texts: Texts,
    pub log: Log,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    pub listen: SocketAddr,
    pub ops_listen: Option<SocketAddr>,
    pub public_url: Option<BaseUrl>,
    /// In bytes.
    pub body_limit: usize,
    pub shutdown_grace: Duration,
    /// When set, `listen` speaks HTTPS.
    pub tls: Option<Tls>,
}

/// Two PEM files; not opened yet.
#[derive(Debug, Clone)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// `[wechat]`
#[derive(Debug, Clone)]
pub struct WeChat {
    pub token: Secret,
    /// Accepted too, while a token is being replaced.
    pub previous_token: Option<Secret>,
    pub app_id: Option<String>,
    pub app_secret: Option<Secret>,
    pub account_id: Option<String>,
    pub mode: Mode,
    /// Always there unless `mode` is plain, and `app_id` with it.
    pub encoding_aes_key: Option<AesKey>,
    /// Accepted too, while a key is being replaced.
    pub previous_encoding_aes_key: Option<AesKey>,
    /// How far off a push's timestamp may be; none: not checked.
    pub max_skew: Option<Duration>,
    /// What is in effect: `auto` without `app_id` and `app_secret` is passive already.
    pub reply: Reply,
    pub acknowledge: Acknowledge,
    pub session_idle: Duration,
    pub api_base: BaseUrl,
    /// What a customer's message allows.
    pub message_quota: Quota,
    /// What a follow, a menu click or a scan allows.
    pub event_quota: Quota,
}

/// So many sends within so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub sends: u32,
    pub window: Duration,
}

/// `[im]`
#[derive(Debug, Clone)]
pub struct Im {
    pub sdk_app_id: NonZeroU32,
    pub secret_key: Secret,
    pub admin: ImUserId,
    /// At least one; no two the same; none that a customer's account could have.
    pub agents: Vec<ImUserId>,
    /// When set, an unsigned or stale callback is refused.
    pub callback_token: Option<Secret>,
    /// Either way.
    pub callback_max_skew: Duration,
    pub api_base: BaseUrl,
    pub on_unsubscribe: OnUnsubscribe,
    /// `MsgLifeTime`: zero reaches only agents who are online.
    pub message_lifetime: Duration,
    /// For each IM API.
    pub rate_per_second: NonZeroU32,
    pub usersig_expire: Duration,
}

/// `[media]`
#[derive(Debug, Clone)]
pub struct Media {
    /// Resolved: beside the database unless given as an absolute path.
    pub dir: PathBuf,
    pub max_bytes: u64,
    pub keep: Duration,
    /// In lower case; each stands for its subdomains too.
    pub allow_hosts: Vec<String>,
    pub allow_http: bool,
    pub allow_private: bool,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    pub format: LogFormat,
    /// A tracing filter that is known to parse.
    pub level: String,
}

/// The longest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 1_048_576;

impl Config {
    /// Reads the file at `path` and lays the `BRIDGE_` variables of `env` over it; also returns the warnings.
    ///
    /// A file that nobody named (`explicit` is false) may be missing where the environment sets a section's key.
    pub fn load(
        path: &Path,
        explicit: bool,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<String>), Faults> {
        let env: Vec<_> = env.into_iter().collect();
        let label = path.display().to_string();
        let text = match settings::read_bounded(path, MAX_FILE_BYTES) {
            Ok(text) => text,
            Err(reason)
                if reason.kind() == io::ErrorKind::NotFound
                    && !explicit
                    && env.iter().any(|(name, _)| source::names_a_section(name)) =>
            {
                String::new()
            }
            Err(reason) => {
                return Err(Faults(vec![Fault {
                    key: label,
                    place: Place::Unsaid,
                    problem: format!("cannot be read: {reason}"),
                    fix: "name the configuration with --config, or copy config.example.toml and fill it in"
                        .to_owned(),
                }]));
            }
        };
        checked(&text, &label, &env)
    }

    /// The same from a text, for tests and the sandbox.
    pub fn from_toml_str(
        text: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<String>), Faults> {
        checked(text, "configuration", &env.into_iter().collect::<Vec<_>>())
    }
}

fn checked(text: &str, label: &str, env: &[(String, String)]) -> Result<(Config, Vec<String>), Faults> {
    let mut settings = Settings::default();
    let readable = source::read_toml(text, label, &mut settings);
    source::read_environment(env, &mut settings);
    // What an unreadable file lacks is not missing: its own faults come first.
    let config = if readable { check::config(&mut settings) } else { None };
    let (faults, warnings) = settings.into_outcome();
    match config {
        Some(config) if faults.0.is_empty() => Ok((config, warnings)),
        _ => Err(faults),
    }
}

/// The `BRIDGE_` variables of this process, for [`Config::load`].
pub fn environment() -> Vec<(String, String)> {
    let lossy = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (lossy(name), lossy(value)))
        .filter(|(name, _)| name.starts_with("BRIDGE_"))
        .collect()
}
