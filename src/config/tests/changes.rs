//! Which keys differ between two configurations, and which of them are applied while the bridge runs.

use super::*;
use crate::config::ChangedKeys;
use crate::config::keys::{SECTIONS, ValueKind};

fn with(pairs: &[(&str, &str)]) -> Config {
    load_with_env(pairs).0
}

fn changed(old: &Config, new: &Config) -> (String, String) {
    let ChangedKeys { applied, need_restart } = old.changed_keys(old, new);
    (applied.join(" "), need_restart.join(" "))
}

#[test]
fn each_changed_key_is_named_and_either_applied_or_needs_a_restart() {
    let old = with(&[]);
    assert_eq!(changed(&old, &old), (String::new(), String::new()));
    let same = with(&[("BRIDGE_IM__AGENTS", "user1"), ("BRIDGE_SERVER__LISTEN", "0.0.0.0:80")]);
    assert_eq!(
        changed(&old, &same),
        (String::new(), String::new()),
        "to write a default down changes nothing"
    );
    let new = with(&[
        ("BRIDGE_IM__AGENTS", "user1,user2"),
        ("BRIDGE_DESK__GROUP", "[{name=\"sales\", agents=[\"user2\"]}]"),
        ("BRIDGE_TEXTS__INQUIRY_PREFIX", ""),
        ("BRIDGE_REPLIES__PRICE", "5"),
        ("BRIDGE_WECHAT__QUOTA_MESSAGES", "20"),
        ("BRIDGE_WECHAT__TOKEN", "Another2024"),
        ("BRIDGE_OUTBOX__GIVE_UP_S", "5"),
    ]);
    let (applied, need_restart) = changed(&old, &new);
    let expected = "desk.group[1].agents desk.group[1].name im.agents replies.price texts.inquiry_prefix \
                    wechat.quota_messages";
    assert_eq!((applied.as_str(), need_restart.as_str()), (expected, "outbox.give_up_s wechat.token"));
    assert_eq!(changed(&new, &old), (applied, need_restart), "and back");
}

#[test]
fn a_secret_is_the_same_from_a_file_and_differs_when_the_file_does() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let of_file = |text: &str| {
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().display().to_string();
        with(&[("BRIDGE_IM__CALLBACK_TOKEN_FILE", &path)])
    };
    let direct = with(&[("BRIDGE_IM__CALLBACK_TOKEN", "thirtytwo-bytes-of-callback-token")]);
    let same = of_file("thirtytwo-bytes-of-callback-token\n");
    assert_eq!(changed(&direct, &same), (String::new(), String::new()));
    assert_eq!(changed(&same, &of_file("another-token-of-thirty-two-bytes")).1, "im.callback_token");
    assert!(!format!("{same:?}").contains("thirtytwo"));
}

#[test]
fn certificates_are_applied_only_while_https_stays_on() {
    let tls = |cert| [("BRIDGE_SERVER__TLS_CERT", cert), ("BRIDGE_SERVER__TLS_KEY", "k")];
    let (off, on, other) = (with(&[]), with(&tls("a")), with(&tls("b")));
    assert_eq!(changed(&on, &other).0, "server.tls_cert");
    assert_eq!(changed(&off, &on), (String::new(), "server.tls_cert server.tls_key".to_owned()));
    assert_eq!(on.with_live_settings_of(&other).unwrap().server.tls, other.server.tls);
    assert_eq!(off.with_live_settings_of(&on).unwrap().server.tls, None);
}

/// Every key of the live sections must reach the merged configuration, and no other one may.
#[test]
fn what_is_named_as_applied_is_what_is_merged() {
    let hours = ("BRIDGE_DESK__HOURS", "Mon-Fri 09:00-18:00");
    let old = with(&[hours]);
    for section in SECTIONS.iter().filter(|section| !section.keys.is_empty()) {
        for key in section.keys {
            let name = format!("{}.{}", section.name, key.name);
            let variable = format!("BRIDGE_{}", name.replacen('.', "__", 1).to_uppercase());
            let value = match key.kind {
                ValueKind::Integer { default, min, max } => {
                    if default == max { min } else { max }.to_string()
                }
                ValueKind::Flag(flag) => (!flag).to_string(),
                ValueKind::Choice(words) => words.last().copied().unwrap_or_default().to_owned(),
                ValueKind::Override if key.name == "queued" => "{ahead} more".to_owned(),
                ValueKind::Override if key.name == "away" => "until {opens}".to_owned(),
                _ if name == "desk.hours" => "Mon 09:00-10:00".to_owned(),
                _ if name == "desk.closed" => "2026-10-01".to_owned(),
                _ if name == "desk.time_zone" => "Asia/Seoul".to_owned(),
                _ if name == "desk.kf_accounts" => "user1=anna@shop".to_owned(),
                _ if name == "desk.names" => "user1=Anna".to_owned(),
                _ if name.ends_with("listen") => "127.0.0.1:1".to_owned(),
                ValueKind::List(_) => "kf_anna".to_owned(),
                _ => "another".to_owned(),
            };
            // Some keys do not stand alone; those that are applied do.
            let Ok((new, _)) = Config::from_toml_str(REQUIRED, env(&[hours, (&variable, &value)])) else {
                assert!(!["desk", "texts"].contains(&section.name), "{name}");
                continue;
            };
            let merged = old.with_live_settings_of(&new).unwrap();
            let shown = |config: &Config| {
                format!("{:?}", Config { fingerprints: old.fingerprints.clone(), ..config.clone() })
            };
            let (applied, need_restart) = changed(&old, &new);
            assert_eq!(format!("{applied}{need_restart}"), name);
            let is_merged = shown(&merged) != shown(&old);
            assert_eq!(is_merged, !applied.is_empty(), "{name}");
        }
    }
}
