//! The sources of values: the file, the environment, and files that contain a secret.

use super::*;
use crate::config::keys::SECTIONS;

/// A value for every key that differs from its default.
const OTHERS: &[(&str, &str)] = &[
    ("server.listen", "127.0.0.1:8080"),
    ("server.ops_listen", ""),
    ("server.public_url", "https://bridge.example.com"),
    ("server.body_limit_bytes", "2048"),
    ("server.shutdown_grace_s", "3"),
    ("server.tls_cert", "cert.pem"),
    ("server.tls_key", "key.pem"),
    ("server.trusted_proxies", "127.0.0.1, 10.1.2.3/8"),
    ("server.body_bytes_in_flight", "1048577"),
    ("server.ops_token", "0123456789abcdef"),
    ("server.watch_config", "true"),
    ("wechat.token", "AnotherToken"),
    ("wechat.app_id", "wx1234567890abcdef"),
    ("wechat.app_secret", "0123456789abcdef0123456789abcdef"),
    ("wechat.account_id", "gh_1234"),
    ("wechat.mode", "compatible"),
    ("wechat.encoding_aes_key", "Zb7Kq0mR3xT9vY1cN5sD8fG2hJ4kL6pW0aQ7eU9iOBg"),
    ("wechat.previous_encoding_aes_key", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"),
    ("wechat.previous_token", "OldToken"),
    ("wechat.max_skew_s", "300"),
    ("wechat.reply", "push"),
    ("wechat.acknowledge", "session"),
    ("wechat.session_idle_s", "60"),
    ("wechat.api_base", "http://127.0.0.1:1"),
    ("wechat.quota_messages", "20"),
    ("wechat.quota_window_s", "61"),
    ("wechat.quota_event_messages", "1"),
    ("wechat.quota_event_window_s", "62"),
    ("im.sdk_app_id", "4294967295"),
    ("im.secret_key", "a0"),
    ("im.admin", "administrator"),
    ("im.agents", "anna, ben"),
    ("im.callback_token", "xxxxyyyy"),
    ("im.rest_answers", "false"),
    ("im.previous_callback_token", "wwwwvvvv"),
    ("im.previous_secret_key", "b0"),
    ("im.callback_max_skew_s", "60"),
    ("im.api_base", "http://127.0.0.1:2/mock/"),
    ("im.on_unsubscribe", "keep"),
    ("im.message_lifetime_s", "60"),
    ("im.rate_per_second", "1000000"),
    ("im.usersig_expire_s", "3600"),
    ("outbox.unknown_after", "0"),
    ("outbox.give_up_s", "0"),
    ("outbox.tell_waiting_s", "5"),
    ("desk.sticky_s", "0"),
    ("desk.presence", "false"),
    ("desk.capacity", "3"),
    ("desk.hours", "Mon-Fri 09:00-18:00"),
    ("desk.closed", "2026-10-01, 2026-12-24..2026-12-26"),
    ("desk.time_zone", "Asia/Seoul"),
    ("desk.after_hours", "deliver"),
    ("desk.first_answer_s", "120"),
    ("desk.supervisor", "chief"),
    ("desk.remind_before_s", "0"),
    ("desk.merge_below", "0"),
    ("desk.merge_wait_ms", "0"),
    ("desk.rating", "true"),
    ("desk.kf_accounts", "anna=anna@shop"),
    ("desk.signature", "true"),
    ("desk.names", "anna=Anna Li"),
    ("desk.ask", "true"),
    ("store.url", "sqlite:///var/lib/bridge.db"),
    ("media.dir", "files"),
    ("media.max_bytes", "4096"),
    ("media.keep_days", "1"),
    ("media.max_total_bytes", "1000000"),
    ("media.allow_hosts", ""),
    ("media.allow_http", "false"),
    ("media.allow_private", "true"),
    ("texts.locale", "zh"),
    ("texts.shop_name", "小店"),
    ("texts.welcome", "hi"),
    ("texts.transferring", "wait"),
    ("texts.inquiry_prefix", ""),
    ("texts.queued", "{ahead}"),
    ("texts.away", "{opens}"),
    ("alert.url", "https://hooks.example/a?key=b"),
    ("canary.every_s", "60"),
    ("telemetry.otlp_endpoint", "http://127.0.0.1:4318"),
    ("log.format", "json"),
    ("log.level", "debug"),
];

/// The configuration as text, with the two secrets that are always set in clear text.
fn visible(config: &Config) -> String {
    let (wechat, im) = (&config.wechat, &config.im);
    format!("{config:?} {} {}", wechat.token.expose(), im.secret_key.expose())
}

#[test]
fn the_environment_overrides_every_key_and_every_key_has_an_effect() {
    let variables: Vec<_> =
        OTHERS.iter().map(|(full, value)| (keys::env_variable(full), (*value).to_owned())).collect();
    let (whole, warnings) = Config::from_toml_str(REQUIRED, variables.clone()).unwrap();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for section in SECTIONS {
        for key in section.keys {
            let name = keys::env_variable(&format!("{}.{}", section.name, key.name));
            let without: Vec<_> = variables.iter().filter(|(other, _)| *other != name).cloned().collect();
            assert_eq!(without.len() + 1, variables.len(), "{name} is not tested");
            // Some keys have no effect next to others, and some cannot be set alone or left out. A
            // fault counts as an effect.
            let alone = variables.iter().filter(|(other, _)| *other == name).cloned();
            let differs =
                |outcome: Result<(Config, _), _>, from| outcome.map_or(true, |(it, _)| visible(&it) != from);
            assert!(
                differs(Config::from_toml_str(REQUIRED, without), visible(&whole))
                    || differs(Config::from_toml_str(REQUIRED, alone), visible(&load_with_env(&[]).0)),
                "{name} changes nothing"
            );
        }
    }
    assert_eq!(whole.im.agents.iter().map(ImUserId::as_str).collect::<Vec<_>>(), ["anna", "ben"]);
    let proxies: Vec<String> = whole.server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["127.0.0.1/32", "10.0.0.0/8"]);
    assert_eq!(whole.im.api_base.as_str(), "http://127.0.0.1:2/mock");
    assert_eq!(whole.media.dir, Path::new("/var/lib/files"));
    assert!(whole.server.ops_listen.is_none() && whole.media.allow_hosts.is_empty());
    assert_eq!(whole.wechat.app_secret.unwrap().expose(), "0123456789abcdef0123456789abcdef");
}

#[test]
fn a_list_in_the_environment_is_an_array_or_separated_by_commas() {
    let agents = |list: &str| {
        let (config, _) = load_with_env(&[("BRIDGE_IM__AGENTS", list)]);
        config.im.agents.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for list in
        ["anna,ben", " anna , ben ", "[\"anna\",\"ben\"]", " [ 'anna', \"ben\", ] ", "[\n\"anna\",\n\"ben\"]"]
    {
        assert_eq!(agents(list), ["anna", "ben"], "{list}");
    }
    assert_eq!(agents("anna"), ["anna"]);
    assert_eq!(agents("[\"anna\"]"), ["anna"]);
    let (config, _) = load_with_env(&[("BRIDGE_MEDIA__ALLOW_HOSTS", "[::1]")]);
    assert_eq!(config.media.allow_hosts, ["[::1]"], "an address is no array");
    let (config, _) = load_with_env(&[("BRIDGE_MEDIA__ALLOW_HOSTS", "[]")]);
    assert!(config.media.allow_hosts.is_empty());
}

#[test]
fn a_value_that_the_environment_replaces_does_not_count() {
    let text = REQUIRED.replace("1400000000", "\"none\"").replace("[im]", "mode = \"plian\"\n[im]");
    let pairs = [("BRIDGE_IM__SDK_APP_ID", " 1400000001 "), ("BRIDGE_WECHAT__MODE", "plain")];
    let (config, _) = Config::from_toml_str(&text, env(&pairs)).unwrap();
    assert_eq!((config.im.sdk_app_id.get(), config.wechat.mode), (1_400_000_001, EncryptionMode::Plain));
}

#[test]
fn an_unknown_variable_is_a_warning_with_the_nearest_known_one() {
    let (_, warnings) = load_with_env(&[
        ("BRIDGE_WECHAT__REPLY", "passive"),
        ("BRIDGE_IM_SECRET_KEY", "hidden"),
        ("BRIDGE_PORT", "tcp://10.0.0.1:80"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("BRIDGE_IM_SECRET_KEY: "), "{warnings:?}");
    assert!(warnings[0].ends_with("the nearest known one is BRIDGE_IM__SECRET_KEY"), "{warnings:?}");
    assert!(warnings[1].starts_with("BRIDGE_PORT: "), "{warnings:?}");
}

#[test]
fn a_secret_can_be_a_files_content() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let token = file("token", "FileToken \r\n\n");
    let text = REQUIRED.replace("token = \"BridgeToken2024\"", &format!("token_file = {token:?}"));
    let store = file("store", "postgres://bridge:pw@db.example/bridge\n");
    let pairs =
        [("BRIDGE_IM__CALLBACK_TOKEN_FILE", token.as_str()), ("BRIDGE_STORE__URL_FILE", store.as_str())];
    let (config, _) = Config::from_toml_str(&text, env(&pairs)).unwrap();
    assert_eq!(config.wechat.token.expose(), "FileToken");
    assert_eq!(config.im.callback_token.unwrap().expose(), "FileToken");
    assert!(matches!(config.store, StoreUrl::Postgres(_)));

    let both = fault_lines(&text, &[("BRIDGE_WECHAT__TOKEN", "x")]);
    assert_eq!(
        both,
        [
            "wechat.token_file: is set, and wechat.token too (BRIDGE_WECHAT__TOKEN) (line 3); keep one of the two"
        ]
    );
    // An empty value counts as not set.
    let emptied = [("BRIDGE_WECHAT__TOKEN_FILE", token.as_str()), ("BRIDGE_WECHAT__TOKEN", "")];
    assert_eq!(load_with_env(&emptied).0.wechat.token.expose(), "FileToken");
    assert_eq!(
        load_with_env(&[("BRIDGE_WECHAT__TOKEN_FILE", "")]).0.wechat.token.expose(),
        "BridgeToken2024"
    );

    for (path, problem) in [
        (file("empty", " \n"), "is empty"),
        (file("two", "one\ntwo\n"), "contains more than one plain line"),
        (file("long", &"x".repeat(70_000)), "cannot be read: it is longer than 65536 bytes"),
        (
            dir.path().join("none").display().to_string(),
            "cannot be read: No such file or directory (os error 2)",
        ),
    ] {
        let fault = only_fault(&[
            ("BRIDGE_WECHAT__APP_SECRET_FILE", path.as_str()),
            ("BRIDGE_WECHAT__REPLY", "push"),
            ("BRIDGE_WECHAT__APP_ID", "wx1"),
        ]);
        let expected =
            format!("wechat.app_secret_file: the file {path} {problem} (BRIDGE_WECHAT__APP_SECRET_FILE); ");
        assert!(fault.starts_with(&expected), "{fault}");
    }
    let not_utf8 = dir.path().join("binary");
    std::fs::write(&not_utf8, [0xff, 0xfe]).unwrap();
    let fault = only_fault(&[("BRIDGE_IM__CALLBACK_TOKEN_FILE", not_utf8.to_str().unwrap())]);
    assert!(fault.contains("cannot be read: "), "{fault}");
}

#[test]
fn a_missing_file_is_accepted_only_if_unnamed_and_the_environment_sets_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let enough = env(&[
        ("BRIDGE_WECHAT__TOKEN", "BridgeToken2024"),
        ("BRIDGE_IM__SDK_APP_ID", "1400000000"),
        ("BRIDGE_IM__SECRET_KEY", "5b"),
    ]);
    assert_eq!(Config::load(&path, false, enough.clone()).unwrap().0.im.sdk_app_id.get(), 1_400_000_000);
    for (explicit, env) in
        [(true, enough.clone()), (false, env(&[("BRIDGE_PORT", "1")])), (false, Vec::new())]
    {
        let faults = Config::load(&path, explicit, env).unwrap_err().to_string();
        let expected =
            format!("{}: cannot be read: No such file or directory (os error 2); ", path.display());
        assert!(faults.starts_with(&expected) && faults.contains("--config"), "{faults}");
    }
    let too_little = Config::load(&path, false, enough[..1].to_vec()).unwrap_err();
    assert_eq!(too_little.0.len(), 2, "{too_little}");

    std::fs::write(&path, format!("\u{feff}{}", REQUIRED.replace('\n', "\r\n"))).unwrap();
    assert_eq!(Config::load(&path, true, []).unwrap().0.wechat.token.expose(), "BridgeToken2024");
    std::fs::write(&path, "[wechat").unwrap();
    let faults = Config::load(&path, true, enough).unwrap_err().to_string();
    assert!(faults.starts_with(&format!("{}: is not TOML: ", path.display())), "{faults}");
    assert!(Config::load(dir.path(), false, []).is_err());
}

#[test]
fn a_variable_with_invalid_utf8_is_a_fault() {
    let fault = only_fault(&[("BRIDGE_IM__CALLBACK_TOKEN", "a\u{FFFD}b")]);
    assert!(
        fault.starts_with("im.callback_token: is not valid UTF-8 (BRIDGE_IM__CALLBACK_TOKEN)"),
        "{fault}"
    );
}
