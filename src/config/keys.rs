//! Every known key with its type, default and limits; `config.example.toml` explains each. The loader and the
//! test of the example file use this list.

use super::choice::{Acknowledge, AfterHours, EncryptionMode, Locale, LogFormat, OnUnsubscribe, ReplyMode};

/// A section of the file.
#[derive(Debug)]
pub struct Section {
    /// Its name in the file.
    pub name: &'static str,
    /// Its keys, in the order of the example file.
    pub keys: &'static [Key],
    /// Its tables, of which a file may have several: `[[section.table]]`.
    pub tables: &'static [Table],
    /// Whether the operator chooses the names of its keys; each value is a text.
    pub has_free_names: bool,
}

/// A table of a section. The full key of one in the second table of that name is `section.table[2].key`.
#[derive(Debug)]
pub struct Table {
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

/// Finds a key by its full name, `section.key` or `section.table[1].key`.
pub fn find_key(full_key: &str) -> Option<&'static Key> {
    let (section, key) = full_key.split_once('.')?;
    let section = find_section(section)?;
    let (keys, name) = match key.split_once("].").zip(key.split_once('[')) {
        Some(((_, name), (table, _))) => {
            (section.tables.iter().find(|known| known.name == table)?.keys, name)
        }
        None => (section.keys, key),
    };
    keys.iter().find(|known| known.name == name)
}

pub(super) fn find_section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

const fn key(name: &'static str, kind: ValueKind) -> Key {
    Key { name, kind }
}

const fn section(name: &'static str, keys: &'static [Key]) -> Section {
    Section { name, keys, tables: &[], has_free_names: false }
}

const fn integer(default: i64, min: i64, max: i64) -> ValueKind {
    ValueKind::Integer { default, min, max }
}

const DAY: i64 = 86_400;

/// Every section, in the order of the example file.
pub const SECTIONS: &[Section] = &[
    section("server", SERVER),
    section("wechat", WECHAT),
    section("im", IM),
    section("outbox", OUTBOX),
    Section { tables: DESK_TABLES, ..section("desk", DESK) },
    Section { has_free_names: true, ..section("replies", &[]) },
    section("store", STORE),
    section("media", MEDIA),
    section("texts", TEXTS),
    section("alert", ALERT),
    section("canary", CANARY),
    section("telemetry", TELEMETRY),
    section("log", LOG),
];

const SERVER: &[Key] = &[
    key("listen", ValueKind::Text("0.0.0.0:80")),
    key("ops_listen", ValueKind::Text("127.0.0.1:9090")),
    key("public_url", ValueKind::Text("")),
    key("body_limit_bytes", integer(262_144, 1024, 67_108_864)),
    key("shutdown_grace_s", integer(10, 0, 3600)),
    key("tls_cert", ValueKind::Text("")),
    key("tls_key", ValueKind::Text("")),
    key("trusted_proxies", ValueKind::List(&[])),
    key("body_bytes_in_flight", integer(67_108_864, 1_048_576, 1_073_741_824)),
    key("ops_token", ValueKind::Secret("")),
    key("watch_config", ValueKind::Flag(false)),
];

const WECHAT: &[Key] = &[
    key("token", ValueKind::Secret("")),
    key("app_id", ValueKind::Text("")),
    key("app_secret", ValueKind::Secret("")),
    key("account_id", ValueKind::Text("")),
    key("mode", ValueKind::Choice(EncryptionMode::WORDS)),
    key("encoding_aes_key", ValueKind::Secret("")),
    key("previous_encoding_aes_key", ValueKind::Secret("")),
    key("previous_token", ValueKind::Secret("")),
    key("max_skew_s", integer(600, 0, DAY)),
    key("reply", ValueKind::Choice(ReplyMode::WORDS)),
    key("acknowledge", ValueKind::Choice(Acknowledge::WORDS)),
    key("session_idle_s", integer(1800, 1, 30 * DAY)),
    key("api_base", ValueKind::Text("https://api.weixin.qq.com")),
    key("quota_messages", integer(5, 1, 1_000_000)),
    key("quota_window_s", integer(2 * DAY, 1, 30 * DAY)),
    key("quota_event_messages", integer(3, 1, 1_000_000)),
    key("quota_event_window_s", integer(60, 1, 30 * DAY)),
];

const IM: &[Key] = &[
    key("sdk_app_id", integer(0, 0, u32::MAX as i64)),
    key("secret_key", ValueKind::Secret("")),
    key("admin", ValueKind::Text("user0")),
    key("agents", ValueKind::List(&["user1"])),
    key("callback_token", ValueKind::Secret("")),
    key("rest_answers", ValueKind::Flag(true)),
    key("previous_callback_token", ValueKind::Secret("")),
    key("previous_secret_key", ValueKind::Secret("")),
    key("callback_max_skew_s", integer(300, 1, DAY)),
    key("api_base", ValueKind::Text("https://console.tim.qq.com")),
    key("on_unsubscribe", ValueKind::Choice(OnUnsubscribe::WORDS)),
    key("message_lifetime_s", integer(604_800, 0, 604_800)),
    key("rate_per_second", integer(150, 1, 1_000_000)),
    key("usersig_expire_s", integer(DAY, 60, 3650 * DAY)),
];

const OUTBOX: &[Key] = &[
    key("unknown_after", integer(8, 0, 1000)),
    key("give_up_s", integer(DAY, 0, 30 * DAY)),
    key("tell_waiting_s", integer(60, 0, 30 * DAY)),
];

const DESK: &[Key] = &[
    key("sticky_s", integer(30 * DAY, 0, 3650 * DAY)),
    key("presence", ValueKind::Flag(true)),
    key("capacity", integer(0, 0, 1_000_000)),
    key("hours", ValueKind::Text("")),
    key("closed", ValueKind::List(&[])),
    key("time_zone", ValueKind::Text("Asia/Shanghai")),
    key("after_hours", ValueKind::Choice(AfterHours::WORDS)),
    key("first_answer_s", integer(0, 0, 30 * DAY)),
    key("supervisor", ValueKind::Text("")),
    key("remind_before_s", integer(3600, 0, 30 * DAY)),
    key("merge_below", integer(3, 0, 1_000_000)),
    key("merge_wait_ms", integer(3000, 0, 60_000)),
    key("rating", ValueKind::Flag(false)),
    key("kf_accounts", ValueKind::List(&[])),
    key("signature", ValueKind::Flag(false)),
    key("names", ValueKind::List(&[])),
    key("ask", ValueKind::Flag(false)),
];

const DESK_TABLES: &[Table] = &[Table { name: "group", keys: GROUP }];

const GROUP: &[Key] = &[
    key("name", ValueKind::Text("")),
    key("agents", ValueKind::List(&[])),
    key("scenes", ValueKind::List(&[])),
    key("menu", ValueKind::List(&[])),
    key("words", ValueKind::List(&[])),
];

const STORE: &[Key] = &[key("url", ValueKind::Secret("sqlite://bridge.db"))];

const MEDIA: &[Key] = &[
    key("dir", ValueKind::Text("media")),
    key("max_bytes", integer(20_971_520, 1024, 1_073_741_824)),
    key("keep_days", integer(30, 1, 3650)),
    key("max_total_bytes", integer(0, 0, 1 << 50)),
    key(
        "allow_hosts",
        ValueKind::List(&[
            "myqcloud.com",
            "tencentcos.cn",
            "qcloud.com",
            "my-imcloud.com",
            "qpic.cn",
            "qlogo.cn",
        ]),
    ),
    key("allow_http", ValueKind::Flag(true)),
    key("allow_private", ValueKind::Flag(false)),
];

const TEXTS: &[Key] = &[
    key("locale", ValueKind::Choice(Locale::WORDS)),
    key("shop_name", ValueKind::Text("XX")),
    key("welcome", ValueKind::Override),
    key("transferring", ValueKind::Override),
    key("inquiry_prefix", ValueKind::Override),
    key("queued", ValueKind::Override),
    key("away", ValueKind::Override),
];

/// The address may contain a key, as those of chat robots do.
const ALERT: &[Key] = &[key("url", ValueKind::Secret(""))];

const CANARY: &[Key] = &[key("every_s", integer(0, 0, DAY))];

const TELEMETRY: &[Key] = &[key("otlp_endpoint", ValueKind::Text(""))];

const LOG: &[Key] =
    &[key("format", ValueKind::Choice(LogFormat::WORDS)), key("level", ValueKind::Text("info"))];

/// The environment variable that sets `full_key` (`section.key`).
pub(super) fn env_variable(full_key: &str) -> String {
    format!("BRIDGE_{}", full_key.replacen('.', "__", 1).to_uppercase())
}
