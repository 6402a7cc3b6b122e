//! Every known key, with its type, its default, its limits and what it means: the one list that the loader, the
//! example file's test and the documentation go by.

use super::choice::{Acknowledge, Locale, LogFormat, Mode, OnUnsubscribe, Reply};

/// A section of the file.
#[derive(Debug)]
pub struct Section {
    pub name: &'static str,
    pub keys: &'static [Key],
}

/// One key of a section.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// Its meaning, unit included.
    pub about: &'static str,
}

/// What a key's value is, with its default.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Text(&'static str),
    /// A text whose default depends on other keys.
    Override,
    /// A text that is never shown and may be given as a file, by `KEY_file`.
    Secret(&'static str),
    Integer {
        default: i64,
        min: i64,
        max: i64,
    },
    Flag(bool),
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

impl Kind {
    /// The value of a key that is given nowhere.
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
pub fn find_key(full: &str) -> Option<&'static Key> {
    let (section, key) = full.split_once('.')?;
    section_named(section)?.keys.iter().find(|known| known.name == key)
}

pub(super) fn section_named(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, about }
}

const fn integer(default: i64, min: i64, max: i64) -> Kind {
    Kind::Integer { default, min, max }
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
    key("listen", Kind::Text("0.0.0.0:80"), "address and port of the public listener"),
    key(
        "ops_listen",
        Kind::Text("127.0.0.1:9090"),
        "address and port of the operations listener; empty: none",
    ),
    key("public_url", Kind::Text(""), "the URL by which the internet reaches the public listener"),
    key("body_limit_bytes", integer(262_144, 1024, 67_108_864), "largest accepted request body, in bytes"),
    key("shutdown_grace_s", integer(10, 0, 3600), "seconds that running work has to finish on a stop"),
    key("tls_cert", Kind::Text(""), "PEM file of the certificate chain"),
    key("tls_key", Kind::Text(""), "PEM file of the certificate's private key"),
];

const WECHAT: &[Key] = &[
    key("token", Kind::Secret(""), "the Token of the console's server configuration"),
    key("app_id", Kind::Text(""), "the account's AppID"),
    key("app_secret", Kind::Secret(""), "the account's AppSecret"),
    key("account_id", Kind::Text(""), "the account's original id, gh_...; pushes for any other are refused"),
    key("mode", Kind::Choice(Mode::WORDS), "how WeChat encrypts its pushes"),
    key("encoding_aes_key", Kind::Secret(""), "the EncodingAESKey of the console's server configuration"),
    key("previous_encoding_aes_key", Kind::Secret(""), "the EncodingAESKey that is being replaced"),
    key("previous_token", Kind::Secret(""), "the Token that is being replaced"),
    key("max_skew_s", integer(0, 0, DAY), "seconds that a push's timestamp may be off; 0: any"),
    key("reply", Kind::Choice(Reply::WORDS), "how an agent's answer reaches the customer"),
    key("acknowledge", Kind::Choice(Acknowledge::WORDS), "when the transferring text is sent"),
    key("session_idle_s", integer(1800, 1, 30 * DAY), "seconds of silence after which a new session begins"),
    key("api_base", Kind::Text("https://api.weixin.qq.com"), "where WeChat's API is called"),
    key("quota_messages", integer(5, 1, 1_000_000), "sends that one customer message allows"),
    key("quota_window_s", integer(2 * DAY, 1, 30 * DAY), "seconds for which it allows them"),
    key("quota_event_messages", integer(3, 1, 1_000_000), "sends that a follow, menu click or scan allows"),
    key("quota_event_window_s", integer(60, 1, 30 * DAY), "seconds for which it allows them"),
];

const IM: &[Key] = &[
    key("sdk_app_id", integer(0, 0, u32::MAX as i64), "the SDKAppID of the Chat application"),
    key("secret_key", Kind::Secret(""), "the application's secret key, which signs every UserSig"),
    key("admin", Kind::Text("user0"), "UserID of an app admin, by whom the REST API is called"),
    key("agents", Kind::List(&["user1"]), "UserIDs of the agents"),
    key("callback_token", Kind::Secret(""), "the webhook authentication token of the console"),
    key("callback_max_skew_s", integer(300, 1, DAY), "seconds that a callback's RequestTime may be off"),
    key("api_base", Kind::Text("https://console.tim.qq.com"), "where the IM REST API is called"),
    key("on_unsubscribe", Kind::Choice(OnUnsubscribe::WORDS), "what becomes of an unsubscriber's IM account"),
    key(
        "message_lifetime_s",
        integer(604_800, 0, 604_800),
        "seconds for which IM keeps a message for an agent",
    ),
    key("rate_per_second", integer(150, 1, 1_000_000), "calls a second, for each IM API"),
    key("usersig_expire_s", integer(180 * DAY, 60, 3650 * DAY), "seconds for which a UserSig is valid"),
];

const STORE: &[Key] = &[key("url", Kind::Secret("sqlite://bridge.db"), "where messages are kept")];

const MEDIA: &[Key] = &[
    key("dir", Kind::Text("media"), "directory of the media files, beside the database unless absolute"),
    key("max_bytes", integer(20_971_520, 1024, 1_073_741_824), "largest media file, in bytes"),
    key("keep_days", integer(30, 1, 3650), "days for which media files are kept"),
    key(
        "allow_hosts",
        Kind::List(&["myqcloud.com", "qcloud.com", "my-imcloud.com", "qpic.cn", "qlogo.cn"]),
        "hosts that media are fetched from, with their subdomains",
    ),
    key("allow_http", Kind::Flag(true), "whether media are fetched without TLS"),
    key("allow_private", Kind::Flag(false), "whether media are fetched from addresses that are not public"),
];

const TEXTS: &[Key] = &[
    key("locale", Kind::Choice(Locale::WORDS), "language of the default texts"),
    key("shop_name", Kind::Text("XX"), "the name in the default welcome text"),
    key("welcome", Kind::Override, "the reply to a new follower"),
    key("transferring", Kind::Override, "the reply to a message that goes to an agent"),
    key("inquiry_prefix", Kind::Override, "what a customer's text begins with at the agent's"),
];

const LOG: &[Key] = &[
    key("format", Kind::Choice(LogFormat::WORDS), "how log lines are written"),
    key("level", Kind::Text("info"), "which log lines are written: a tracing filter"),
];
