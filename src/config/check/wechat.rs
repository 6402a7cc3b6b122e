//! Checks `[wechat]`.

use std::time::Duration;

use super::{IM_HOSTS, api_base, id};
use crate::config::choice::{EncryptionMode, ReplyMode};
use crate::config::secret::{AesKey, Secret};
use crate::config::settings::Settings;
use crate::config::{Quota, WeChat};

/// The token of the example file, which is public.
const EXAMPLE_TOKEN: &str = "ChangeMeToken";
/// The AppID of the example file.
const EXAMPLE_APP_ID: &str = "wx0000000000000000";
/// The number of hexadecimal digits of an AppSecret.
const APP_SECRET_DIGITS: usize = 32;

pub(super) fn wechat(settings: &mut Settings) -> Option<WeChat> {
    let token = token(settings);
    let previous_token = settings.secret("wechat.previous_token");
    let app_id = app_id(settings);
    let app_secret = app_secret(settings);
    let account_id = account_id(settings);
    let mode = settings.choice("wechat.mode");
    let encoding_aes_key = aes_key(settings, "wechat.encoding_aes_key");
    let previous_encoding_aes_key = aes_key(settings, "wechat.previous_encoding_aes_key");
    if previous_encoding_aes_key.is_some() && encoding_aes_key.is_none() {
        let problem = "is missing, though wechat.previous_encoding_aes_key is set";
        settings.add_value_fault(
            "wechat.encoding_aes_key",
            problem,
            "set the current key, or remove the previous one",
        );
    }
    if mode.is_some_and(|mode| mode != EncryptionMode::Plain) {
        if encoding_aes_key.is_none() {
            let fix = "set the 43 characters that the console shows, or wechat.mode to plain";
            settings.add_value_fault(
                "wechat.encoding_aes_key",
                "is missing, though wechat.mode is not plain",
                fix,
            );
        }
        if app_id.is_none() {
            let fix = "set the account's AppID, which every encrypted push contains";
            settings.add_value_fault("wechat.app_id", "is missing, though wechat.mode is not plain", fix);
        }
    }
    let reply = reply(settings, app_id.is_some(), app_secret.is_some());
    let max_skew = Some(settings.seconds("wechat.max_skew_s")).filter(|skew| !skew.is_zero());
    if max_skew.is_some_and(|skew| skew < Duration::from_mins(1)) {
        let problem =
            "is under a minute: late repeats and slightly wrong clocks will be refused; 600 is usual";
        settings.warn("wechat.max_skew_s", problem);
    }
    let api_base = api_base(settings, "wechat.api_base", "https://api.weixin.qq.com", "/cgi-bin", IM_HOSTS);
    Some(WeChat {
        token: token?,
        previous_token,
        app_id,
        app_secret,
        account_id,
        mode: mode?,
        encoding_aes_key,
        previous_encoding_aes_key,
        max_skew,
        reply: reply?,
        acknowledge: settings.choice("wechat.acknowledge")?,
        session_idle: settings.seconds("wechat.session_idle_s"),
        api_base: api_base?,
        message_quota: quota(settings, "wechat.quota_messages", "wechat.quota_window_s"),
        event_quota: quota(settings, "wechat.quota_event_messages", "wechat.quota_event_window_s"),
    })
}

/// The account's AppID, which is easily taken for the id of the account.
fn app_id(settings: &mut Settings) -> Option<String> {
    const KEY: &str = "wechat.app_id";
    let app_id = id(settings, KEY);
    if app_id.as_ref().is_some_and(|id| id.starts_with("gh_")) {
        let fix =
            "set the AppID, which begins with wx; an id that begins with gh_ belongs to wechat.account_id";
        settings.add_value_fault(KEY, "is the original id of an account, not an AppID", fix);
    }
    if app_id.as_deref() == Some(EXAMPLE_APP_ID) {
        settings.warn(KEY, "is still the example's; set the AppID that the console shows");
    }
    app_id
}

fn app_secret(settings: &mut Settings) -> Option<Secret> {
    const KEY: &str = "wechat.app_secret";
    let secret = settings.secret(KEY)?;
    let text = secret.expose();
    if text.len() != APP_SECRET_DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        settings
            .warn(KEY, "is not 32 hexadecimal digits, as the console's AppSecrets are; copy it from there");
    } else if text.bytes().all(|byte| byte == b'0') {
        settings.warn(KEY, "is still the example's; set the AppSecret that the console shows");
    }
    Some(secret)
}

fn account_id(settings: &mut Settings) -> Option<String> {
    const KEY: &str = "wechat.account_id";
    let account_id = id(settings, KEY);
    if account_id.as_ref().is_some_and(|id| id.starts_with("wx")) {
        let fix =
            "set the original id, which begins with gh_; an id that begins with wx belongs to wechat.app_id";
        settings.add_value_fault(KEY, "is an AppID, not the original id of an account", fix);
    }
    account_id
}

fn token(settings: &mut Settings) -> Option<Secret> {
    let Some(token) = settings.secret("wechat.token") else {
        let fix = "set the Token of the console's server configuration; without it no push can be verified";
        settings.add_value_fault("wechat.token", "is missing", fix);
        return None;
    };
    let text = token.expose();
    if !(3..=32).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        settings
            .warn("wechat.token", "is not 3 to 32 letters and digits; the console accepts no other token");
    }
    if text == EXAMPLE_TOKEN {
        settings.warn("wechat.token", "is still the example's, so anyone can sign pushes; set your own");
    }
    Some(token)
}

fn aes_key(settings: &mut Settings, key: &str) -> Option<AesKey> {
    let secret = settings.secret(key)?;
    let decoded = AesKey::decode(secret.expose());
    decoded
        .map_err(|problem| settings.add_value_fault(key, problem, "copy the EncodingAESKey from the console"))
        .ok()
}

/// Returns the way of replying that is in effect.
fn reply(settings: &mut Settings, has_app_id: bool, has_app_secret: bool) -> Option<ReplyMode> {
    let reply = settings.choice("wechat.reply")?;
    let is_missing = |settings: &Settings, key, has: bool| !has && !settings.is_faulty(key);
    let missing: Vec<_> = [("wechat.app_id", has_app_id), ("wechat.app_secret", has_app_secret)]
        .into_iter()
        .filter(|&(key, has)| is_missing(settings, key, has))
        .map(|(key, _)| key)
        .collect();
    match reply {
        ReplyMode::Auto if !missing.is_empty() => {
            let names = missing.join(" and ");
            let explanation =
                "means passive here: the reply to the customer's next message carries the answers, as";
            settings.warn("wechat.reply", &format!("auto {explanation} {names} is not set"));
            Some(ReplyMode::Passive)
        }
        ReplyMode::Push => {
            for key in missing {
                let fix = "set it, or wechat.reply to auto or passive";
                settings.add_value_fault(key, "is missing, though wechat.reply is push", fix);
            }
            Some(reply)
        }
        ReplyMode::Auto | ReplyMode::Passive => Some(reply),
    }
}

fn quota(settings: &Settings, sends: &str, window: &str) -> Quota {
    Quota { sends: settings.number_u32(sends), window: settings.seconds(window) }
}
