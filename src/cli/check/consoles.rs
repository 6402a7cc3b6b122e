//! The settings for both consoles: addresses and switches. Names secrets by their key, never by
//! value.

use std::fmt::Write as _;

use crate::config::{Config, EncryptionMode};

pub(super) fn settings(config: &Config) -> String {
    let base = match (&config.server.public_url, &config.server.tls) {
        (Some(url), _) => url.as_str().to_owned(),
        (None, Some(_)) => "https://YOUR-HOST".to_owned(),
        (None, None) => "http://YOUR-HOST".to_owned(),
    };
    let mut text = String::new();
    let mut section = |title: &str, lines: &[(&str, String)]| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{title}");
        for (name, value) in lines {
            let _ = writeln!(text, "  {name:<22}{value}");
        }
    };
    section(
        "Set in the WeChat console (mp.weixin.qq.com), Settings and development > Basic configuration:",
        &wechat(config, &base),
    );
    section("Set in the Tencent IM console:", &im(config, &base));
    text
}

fn wechat(config: &Config, base: &str) -> Vec<(&'static str, String)> {
    let mode = config.wechat.mode;
    let key = match mode {
        EncryptionMode::Plain => "any value: plain mode does not use it".to_owned(),
        EncryptionMode::Compatible | EncryptionMode::Safe => value_of(config, "wechat.encoding_aes_key"),
    };
    let mut lines = vec![
        ("URL", format!("{base}/")),
        ("Token", value_of(config, "wechat.token")),
        ("EncodingAESKey", key),
        ("Message encryption", format!("{} (wechat.mode)", mode.word())),
    ];
    if config.wechat.app_secret.is_some() {
        let whitelist = "the address from which this machine reaches the internet";
        lines.push(("IP whitelist", whitelist.to_owned()));
    }
    lines
}

/// Where the value of a secret stands.
fn value_of(config: &Config, key: &str) -> String {
    let file_key = format!("{key}_file");
    match config.secret_files.iter().find(|(known, _)| *known == file_key) {
        Some((_, path)) => format!("the value of {key}, in the file {}", path.display()),
        None => format!("the value of {key}"),
    }
}

fn im(config: &Config, base: &str) -> Vec<(&'static str, String)> {
    let token = match config.im.callback_token {
        Some(_) => format!("on, with {}", value_of(config, "im.callback_token")),
        None => {
            "off, as im.callback_token is empty; safer: on, with the same value in both places".to_owned()
        }
    };
    let agents: Vec<_> = config.im.agents.iter().map(ToString::to_string).collect();
    vec![
        ("Callback URL", format!("{base}/imcallback")),
        ("Callbacks", "C2C.CallbackAfterSendMsg: after sending a one-to-one message".to_owned()),
        ("", "C2C.CallbackAfterMsgWithDraw: after recalling a one-to-one message".to_owned()),
        ("", "C2C.CallbackAfterModifyMsg: after editing a one-to-one message".to_owned()),
        (
            "",
            "State.StateChange: after an agent signs in or out, used with several agents; all others off"
                .to_owned(),
        ),
        ("Authentication token", token),
        ("App admin", config.im.admin.to_string()),
        ("Accounts to import", agents.join(", ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_text(more: &[(&str, &str)]) -> String {
        let example = include_str!("../../../config.example.toml");
        let env = more.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        settings(&Config::from_toml_str(example, env).unwrap().0)
    }

    #[test]
    fn urls_and_switches_are_told_and_secrets_only_by_name() {
        let secret = "S3cretS3cretS3cret";
        let text = settings_text(&[
            ("BRIDGE_WECHAT__TOKEN", secret),
            ("BRIDGE_WECHAT__MODE", "safe"),
            ("BRIDGE_WECHAT__ENCODING_AES_KEY", &"K".repeat(43)),
            ("BRIDGE_IM__CALLBACK_TOKEN", secret),
            ("BRIDGE_IM__AGENTS", "anna,ben"),
            ("BRIDGE_SERVER__PUBLIC_URL", "https://bridge.example.com/wx/"),
        ]);
        for part in [
            "https://bridge.example.com/wx/\n",
            "https://bridge.example.com/wx/imcallback\n",
            "C2C.CallbackAfterSendMsg",
            "C2C.CallbackAfterMsgWithDraw",
            "C2C.CallbackAfterModifyMsg",
            "State.StateChange",
            "the value of wechat.token",
            "the value of wechat.encoding_aes_key",
            "safe (wechat.mode)",
            "on, with the value of im.callback_token",
            "user0",
            "anna, ben",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains(secret) && !text.contains("KKKK"), "{text}");
    }

    #[test]
    fn the_files_of_secrets_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "CallbackToken").unwrap();
        let path = file.path().to_str().unwrap();
        let text = settings_text(&[("BRIDGE_IM__CALLBACK_TOKEN_FILE", path)]);
        assert!(
            text.contains(&format!("on, with the value of im.callback_token, in the file {path}\n")),
            "{text}"
        );
        assert!(!text.contains("CallbackToken"), "{text}");
    }

    #[test]
    fn without_a_public_url_the_host_is_left_to_the_reader() {
        assert!(settings_text(&[]).contains(" http://YOUR-HOST/imcallback\n"));
        let tls = settings_text(&[("BRIDGE_SERVER__TLS_CERT", "a.pem"), ("BRIDGE_SERVER__TLS_KEY", "b.pem")]);
        assert!(tls.contains(" https://YOUR-HOST/\n"), "{tls}");
    }
}
