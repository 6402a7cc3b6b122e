//! The configuration as a whole: accepted values, refused values with their texts, and secrecy.

mod changes;
mod desk;
mod example;
mod faults;
mod mistakes;
mod secrecy;
mod sources;

use super::*;

/// Only the three required keys.
const REQUIRED: &str = r#"
[wechat]
token = "BridgeToken2024"
[im]
sdk_app_id = 1400000000
secret_key = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
"#;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Loads the required keys, and `pairs` from the environment.
fn load_with_env(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
    Config::from_toml_str(REQUIRED, env(pairs)).unwrap()
}

/// The lines of the faults that `text` and `pairs` have.
fn fault_lines(text: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let faults = Config::from_toml_str(text, env(pairs)).expect_err("no fault");
    faults.to_string().lines().map(str::to_owned).collect()
}

/// The only fault that the required keys have with `pairs` from the environment.
fn only_fault(pairs: &[(&str, &str)]) -> String {
    let mut lines = fault_lines(REQUIRED, pairs);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[test]
fn the_required_keys_suffice_and_everything_else_has_the_contracts_default() {
    let (config, warnings) = load_with_env(&[]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("wechat.reply: auto means passive here"), "{warnings:?}");
    let Config { server, wechat, im, store, media, texts, log, .. } = &config;
    assert_eq!(server.listen.to_string(), "0.0.0.0:80");
    assert_eq!(server.ops_listen.unwrap().to_string(), "127.0.0.1:9090");
    assert!(server.public_url.is_none() && server.tls.is_none());
    assert_eq!((server.body_limit, server.shutdown_grace), (262_144, Duration::from_secs(10)));
    assert!(server.trusted_proxies.is_empty() && server.body_bytes_in_flight == 67_108_864);
    assert_eq!(wechat.token.expose(), "BridgeToken2024");
    assert!(wechat.app_id.is_none() && wechat.app_secret.is_none() && wechat.account_id.is_none());
    assert!(wechat.encoding_aes_key.is_none() && wechat.previous_encoding_aes_key.is_none());
    assert!(wechat.previous_token.is_none() && wechat.max_skew == Some(Duration::from_mins(10)));
    assert_eq!(
        (wechat.mode, wechat.reply, wechat.acknowledge),
        (EncryptionMode::Plain, ReplyMode::Passive, Acknowledge::Always)
    );
    assert_eq!(wechat.session_idle, Duration::from_mins(30));
    assert_eq!(wechat.api_base.as_str(), "https://api.weixin.qq.com");
    assert_eq!(wechat.message_quota, Quota { sends: 5, window: Duration::from_hours(48) });
    assert_eq!(wechat.event_quota, Quota { sends: 3, window: Duration::from_mins(1) });
    assert_eq!(im.sdk_app_id.get(), 1_400_000_000);
    assert!(im.secret_key.expose().starts_with("5bd2850f") && im.callback_token.is_none());
    assert_eq!((im.admin.as_str(), im.agents.len(), im.agents[0].as_str()), ("user0", 1, "user1"));
    assert_eq!(im.callback_max_skew, Duration::from_mins(5));
    assert_eq!(im.api_base.as_str(), "https://console.tim.qq.com");
    assert_eq!(im.on_unsubscribe, OnUnsubscribe::Delete);
    assert_eq!(im.message_lifetime, Duration::from_hours(7 * 24));
    assert_eq!((im.rate_per_second.get(), im.usersig_expire), (150, Duration::from_hours(24)));
    assert!(matches!(store, StoreUrl::SqliteFile(file) if file == Path::new("bridge.db")));
    assert_eq!((media.dir.as_path(), media.max_bytes), (Path::new("media"), 20_971_520));
    assert_eq!((media.keep, media.max_total_bytes), (Duration::from_hours(30 * 24), None));
    assert_eq!(
        media.allow_hosts,
        ["myqcloud.com", "tencentcos.cn", "qcloud.com", "my-imcloud.com", "qpic.cn", "qlogo.cn"]
    );
    assert!(media.allow_http && !media.allow_private);
    assert_eq!(*texts, Texts::defaults(Locale::En, "XX"));
    assert_eq!((log.format, log.level.as_str()), (LogFormat::Text, "info"));
}

#[test]
fn the_effective_reply_mode_depends_on_the_credentials() {
    const ID: (&str, &str) = ("BRIDGE_WECHAT__APP_ID", "wx1234567890abcdef");
    const SECRET: (&str, &str) = ("BRIDGE_WECHAT__APP_SECRET", "0123456789abcdef0123456789abcdef");
    let (config, warnings) = load_with_env(&[ID, SECRET]);
    assert_eq!((config.wechat.reply, warnings.len()), (ReplyMode::Auto, 0));
    let (config, warnings) = load_with_env(&[ID]);
    assert_eq!(config.wechat.reply, ReplyMode::Passive);
    assert!(warnings[0].contains("as wechat.app_secret is not set"), "{warnings:?}");
    let (config, warnings) = load_with_env(&[("BRIDGE_WECHAT__REPLY", "passive")]);
    assert_eq!((config.wechat.reply, warnings.len()), (ReplyMode::Passive, 0));
    let (config, _) = load_with_env(&[ID, SECRET, ("BRIDGE_WECHAT__REPLY", "push")]);
    assert_eq!(config.wechat.reply, ReplyMode::Push);
}

#[test]
fn suspicious_settings_are_warnings() {
    for (name, value, expected) in [
        ("BRIDGE_WECHAT__TOKEN", "with-hyphens", "wechat.token: is not 3 to 32 letters and digits"),
        ("BRIDGE_WECHAT__MAX_SKEW_S", "59", "wechat.max_skew_s: is under a minute"),
        ("BRIDGE_IM__SECRET_KEY", "short", "im.secret_key: is not 64 hexadecimal digits"),
        ("BRIDGE_IM__AGENTS", "anna,user0", "im.agents: contains im.admin"),
        ("BRIDGE_IM__MESSAGE_LIFETIME_S", "0", "im.message_lifetime_s: is 0"),
    ] {
        let (_, warnings) = load_with_env(&[("BRIDGE_WECHAT__REPLY", "passive"), (name, value)]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(expected), "{warnings:?}");
    }
    assert!(
        load_with_env(&[("BRIDGE_WECHAT__REPLY", "passive"), ("BRIDGE_WECHAT__MAX_SKEW_S", "60")])
            .1
            .is_empty()
    );
}

#[test]
fn texts_follow_the_locale_and_the_shops_name_and_each_can_be_replaced() {
    let (config, _) = load_with_env(&[("BRIDGE_TEXTS__LOCALE", "ko"), ("BRIDGE_TEXTS__SHOP_NAME", "가게")]);
    assert!(config.texts.welcome.contains("가게는 언제나"), "{}", config.texts.welcome);
    let (config, _) =
        load_with_env(&[("BRIDGE_TEXTS__WELCOME", "Hello from XX"), ("BRIDGE_TEXTS__INQUIRY_PREFIX", "")]);
    assert_eq!((config.texts.welcome.as_str(), config.texts.inquiry_prefix.as_str()), ("Hello from XX", ""));
    assert_eq!(config.texts.transferring, Texts::defaults(Locale::En, "XX").transferring);
}
