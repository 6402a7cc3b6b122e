//! Every known key with its type, default, limits and meaning. The loader, the test of the example
//! file and the documentation all use this list.

use super::choice::{Acknowledge, Locale, LogFormat, Mode, OnUnsubscribe, Reply};

/// A section of the file.
#[derive(Debug)]
pub struct Section {
    /// Its name in the file.
    pub name: &'static str,
    /// Its keys, in the order of the example file.
    pub keys: &'static [Key],
}

/// One key of a section.
#[derive(Debug)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// Its type, default and limits.
    pub kind: ValueKind,
    /// Its meaning, including the unit.
    pub description: &'static str,
}

/// The type of a key's value, with its default.
#[derive(Debug, Clone, Copy)]
pub enum ValueKind {
    /// A text.
    Text(&'static str),
    /// A text whose default depends on other keys.
    Override,
    /// A text that is never shown. The key `KEY_file` can name a file that contains it.
    Secret(&'static str),
    /// A whole number.
    Integer {
        /// The default.
        default: i64,
        /// The minimum, inclusive.
        min: i64,
        /// The maximum, inclusive.
        max: i64,
    },
    /// A boolean.
    Flag(bool),
    /// A list of texts.
    List(&'static [&'static str]),
    /// One of these words; the first is the default.
    Choice(&'static [&'static str]),
}

/// A value of the right type.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<String>),
}

impl ValueKind {
    /// The value of a key that is set nowhere.
    pub(super) fn default(self) -> Value {
        match self {
            Self::Text(text) | Self::Secret(text) => Value::Text(text.to_owned()),
            Self::Override => Value::Text(String::new()),
            Self::Integer { default, .. } => Value::Integer(default),
            Self::Flag(flag) => Value::Flag(flag),
            Self::List(entries) => Value::List(entries.iter().map(|&entry| entry.to_owned()).collect()),
            Self::Choice(words) => {
                Value::Text(words.first().map_or_else(String::new, |&word| word.to_owned()))
            }
        }
    }
}

/// Finds a key by its full name, `section.key`.
pub fn find_key(full_key: &str) -> Option<&'static Key> {
    let (section, key) = full_key.split_once('.')?;
    find_section(section)?.keys.iter().find(|known| known.name == key)
}

pub(super) fn find_section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

const fn key(name: &'static str, kind: ValueKind, description: &'static str) -> Key {
    Key { name, kind, description }
}

const fn integer(default: i64, min: i64, max: i64) -> ValueKind {
    ValueKind::Integer { default, min, max }
}

const DAY: i64 = 86_400;

/// Every section, in the order of the example file.
pub const SECTIONS: &[Section] = &[
    Section { name: "server", keys: SERVER },
    Section { name: "wechat", keys: WECHAT },
    Section { name: "im", keys: IM },
    Section { name: "store", keys: STORE },
    Section { name: "media", keys: MEDIA },
    Section { name: "texts", keys: TEXTS },
    Section { name: "log", keys: LOG },
];

const SERVER: &[Key] = &[
    key("listen", ValueKind::Text("0.0.0.0:80"), "address and port of the public listener"),
    key(
        "ops_listen",
        ValueKind::Text("127.0.0.1:9090"),
        "address and port of the operations listener; empty: off",
    ),
    key("public_url", ValueKind::Text(""), "the URL of the public listener as the internet reaches it"),
    key("body_limit_bytes", integer(262_144, 1024, 67_108_864), "largest accepted request body, in bytes"),
    key("shutdown_grace_s", integer(10, 0, 3600), "seconds that running work has to finish on a stop"),
    key("tls_cert", ValueKind::Text(""), "PEM file of the certificate chain"),
    key("tls_key", ValueKind::Text(""), "PEM file of the certificate's private key"),
];

const WECHAT: &[Key] = &[
    key("token", ValueKind::Secret(""), "the Token of the console's server configuration"),
    key("app_id", ValueKind::Text(""), "the account's AppID"),
    key("app_secret", ValueKind::Secret(""), "the account's AppSecret"),
    key(
        "account_id",
        ValueKind::Text(""),
        "the account's original id, gh_...; pushes for others are refused",
    ),
    key("mode", ValueKind::Choice(Mode::WORDS), "how WeChat encrypts its pushes"),
    key(
        "encoding_aes_key",
        ValueKind::Secret(""),
        "the EncodingAESKey of the console's server configuration",
    ),
    key("previous_encoding_aes_key", ValueKind::Secret(""), "the EncodingAESKey that is being replaced"),
    key("previous_token", ValueKind::Secret(""), "the Token that is being replaced"),
    key("max_skew_s", integer(0, 0, DAY), "seconds that a push's timestamp may be off; 0: not checked"),
    key("reply", ValueKind::Choice(Reply::WORDS), "how an agent's answer reaches the customer"),
    key("acknowledge", ValueKind::Choice(Acknowledge::WORDS), "when the transferring text is sent"),
    key("session_idle_s", integer(1800, 1, 30 * DAY), "seconds without a message before a new session"),
    key("api_base", ValueKind::Text("https://api.weixin.qq.com"), "base URL of WeChat's API"),
    key("quota_messages", integer(5, 1, 1_000_000), "sends that one customer message allows"),
    key("quota_window_s", integer(2 * DAY, 1, 30 * DAY), "seconds for which they may be used"),
    key("quota_event_messages", integer(3, 1, 1_000_000), "sends that a follow, menu click or scan allows"),
    key("quota_event_window_s", integer(60, 1, 30 * DAY), "seconds for which they may be used"),
];

const IM: &[Key] = &[
    key("sdk_app_id", integer(0, 0, u32::MAX as i64), "the SDKAppID of the Chat application"),
    key("secret_key", ValueKind::Secret(""), "the application's secret key, which signs every UserSig"),
    key("admin", ValueKind::Text("user0"), "UserID of the app admin who calls the REST API"),
    key("agents", ValueKind::List(&["user1"]), "UserIDs of the agents"),
    key("callback_token", ValueKind::Secret(""), "the webhook authentication token of the console"),
    key("callback_max_skew_s", integer(300, 1, DAY), "seconds that a callback's RequestTime may be off"),
    key("api_base", ValueKind::Text("https://console.tim.qq.com"), "base URL of the IM REST API"),
    key(
        "on_unsubscribe",
        ValueKind::Choice(OnUnsubscribe::WORDS),
        "what happens to an unsubscriber's IM account",
    ),
    key(
        "message_lifetime_s",
        integer(604_800, 0, 604_800),
        "seconds for which IM keeps a message for an agent",
    ),
    key("rate_per_second", integer(150, 1, 1_000_000), "maximum number of calls a second, for each IM API"),
    key("usersig_expire_s", integer(180 * DAY, 60, 3650 * DAY), "seconds for which a UserSig is valid"),
];

const STORE: &[Key] =
    &[key("url", ValueKind::Secret("sqlite://bridge.db"), "the database that stores messages")];

const MEDIA: &[Key] = &[
    key(
        "dir",
        ValueKind::Text("media"),
        "directory of the media files, relative to the database's directory",
    ),
    key("max_bytes", integer(20_971_520, 1024, 1_073_741_824), "largest media file, in bytes"),
    key("keep_days", integer(30, 1, 3650), "days for which media files are kept"),
    key(
        "allow_hosts",
        ValueKind::List(&["myqcloud.com", "qcloud.com", "my-imcloud.com", "qpic.cn", "qlogo.cn"]),
        "hosts from which media are downloaded, including their subdomains",
    ),
    key("allow_http", ValueKind::Flag(true), "whether media are also downloaded without TLS"),
    key("allow_private", ValueKind::Flag(false), "whether media are also downloaded from private addresses"),
];

const TEXTS: &[Key] = &[
    key("locale", ValueKind::Choice(Locale::WORDS), "language of the default texts"),
    key("shop_name", ValueKind::Text("XX"), "the name in the default welcome text"),
    key("welcome", ValueKind::Override, "the reply to a new follower"),
    key("transferring", ValueKind::Override, "the reply to a message that goes to an agent"),
    key("inquiry_prefix", ValueKind::Override, "the prefix of a customer's text, as the agent sees it"),
];

const LOG: &[Key] = &[
    key("format", ValueKind::Choice(LogFormat::WORDS), "format of the log lines"),
    key("level", ValueKind::Text("info"), "which log lines are written: a tracing filter"),
];

/// The environment variable that sets `full_key` (`section.key`).
pub(super) fn env_variable(full_key: &str) -> String {
    format!("BRIDGE_{}", full_key.replacen('.', "__", 1).to_uppercase())
}
