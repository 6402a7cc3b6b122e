//! Tests of what becomes of the answers.

use super::*;

fn of(pairs: &[(&'static str, &str)]) -> Answers {
    let more = [
        ("server.public_url", "https://bridge.shop.cn"),
        ("server.tls_cert", ""),
        ("server.tls_key", ""),
        ("wechat.token", "DrawnToken1"),
        ("wechat.app_id", "wx0123456789abcdef"),
        ("wechat.app_secret", "0123456789abcdef0123456789abcdef"),
        ("wechat.encoding_aes_key", "KeyKeyKeyKeyKeyKeyKeyKeyKeyKeyKeyKeyKeyKey0"),
        ("im.sdk_app_id", "1400000000"),
        ("im.secret_key", "ImSecretImSecret"),
        ("im.callback_token", "DrawnToken2"),
        ("im.admin", "administrator"),
        ("im.agents", "anna, ben"),
        ("texts.shop_name", "Tea \"House\" 茶"),
        ("texts.locale", "zh"),
    ];
    more.iter().chain(pairs).map(|&(key, value)| (key, value.to_owned())).collect()
}

/// The configuration of these answers, loaded with its secrets' files.
fn loaded(answers: &Answers) -> (Config, String) {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        "wechat.token",
        "wechat.app_secret",
        "wechat.encoding_aes_key",
        "im.secret_key",
        "im.callback_token",
    ];
    let files: Vec<SecretFile> = keys
        .into_iter()
        .filter(|key| !answers[key].is_empty())
        .map(|key| SecretFile { key, path: folder.path().join(key) })
        .collect();
    for file in &files {
        std::fs::write(&file.path, &answers[file.key]).unwrap();
    }
    let text = template::config_toml(answers, &files);
    for file in &files {
        assert!(!text.contains(&answers[file.key]), "{} is in {text}", file.key);
    }
    let config = Config::from_toml_str(&text, []).unwrap_or_else(|faults| panic!("{faults}\n{text}")).0;
    (config, text)
}

#[test]
fn every_answer_reaches_the_configuration() {
    let (config, _) = loaded(&of(&[]));
    assert_eq!(config.server.public_url.unwrap().as_str(), "https://bridge.shop.cn");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.trusted_proxies.len(), 1);
    assert_eq!(config.wechat.app_id.unwrap(), "wx0123456789abcdef");
    assert_eq!(config.wechat.app_secret.unwrap().expose(), "0123456789abcdef0123456789abcdef");
    assert_eq!(config.wechat.mode, config::EncryptionMode::Safe);
    assert_eq!(config.wechat.token.expose(), "DrawnToken1");
    assert_eq!(config.im.secret_key.expose(), "ImSecretImSecret");
    assert_eq!(config.im.callback_token.unwrap().expose(), "DrawnToken2");
    let agents: Vec<&str> = config.im.agents.iter().map(crate::model::ImUserId::as_str).collect();
    assert_eq!(agents, ["anna", "ben"]);
    assert!(config.texts.welcome.contains("Tea \"House\" 茶"), "{}", config.texts.welcome);
    assert_eq!(config.texts.inquiry_prefix, "微信：");
}

#[test]
fn the_listener_fits_the_url_and_an_account_may_have_no_secret() {
    let (config, _) = loaded(&of(&[("server.tls_cert", "a.pem"), ("server.tls_key", "b.pem")]));
    assert_eq!((config.server.listen.port(), config.server.tls.is_some()), (443, true));
    let (config, text) = loaded(&of(&[("server.public_url", "http://a.cn"), ("wechat.app_secret", "")]));
    assert_eq!((config.server.listen.port(), config.server.trusted_proxies.len()), (80, 0));
    assert!(config.wechat.app_secret.is_none() && text.contains("# Without app_secret"), "{text}");
}

#[test]
fn answers_are_judged_as_the_configuration_would() {
    let find = |key| QUESTIONS.iter().find(|question| question.key == key).unwrap();
    for (key, value, part) in [
        ("server.public_url", "bridge.shop.cn", "is not a URL"),
        ("wechat.app_id", "gh_0123456789ab", "is the original id of an account"),
        ("wechat.app_id", " ", "is empty"),
        ("im.sdk_app_id", "14000x", "must be a whole number"),
        ("im.sdk_app_id", "0", "is missing"),
        ("im.agents", "anna,anna", "is a duplicate"),
        ("texts.locale", "fr", "is not a known word"),
    ] {
        let (problem, fix) = checked(find(key), value).unwrap_err();
        assert!(problem.contains(part) && !fix.is_empty(), "{key}: {problem}; {fix}");
    }
    assert_eq!(checked(find("im.sdk_app_id"), " 1400000000 ").unwrap(), "1400000000");
    assert_eq!(checked(find("wechat.app_secret"), "").unwrap(), "");
    assert!(warning("wechat.app_secret", "short").unwrap().contains("32 hexadecimal digits"));
    assert_eq!(warning("im.admin", "administrator"), None);
}

#[test]
fn every_question_but_those_for_secrets_has_a_flag() {
    use clap::CommandFactory as _;
    let command = crate::cli::Cli::command();
    let init = command.find_subcommand("init").unwrap();
    for question in QUESTIONS {
        let has_flag = init
            .get_arguments()
            .any(|flag| flag.get_long().is_some_and(|long| format!("--{long}") == question.flag));
        assert_eq!(
            has_flag,
            !["wechat.app_secret", "im.secret_key"].contains(&question.key),
            "{}",
            question.key
        );
        let options = Options {
            public_url: Some("a".to_owned()),
            tls_cert: Some("a".to_owned()),
            tls_key: Some("a".to_owned()),
            app_id: Some("a".to_owned()),
            sdk_app_id: Some("a".to_owned()),
            admin: Some("a".to_owned()),
            agents: Some("a".to_owned()),
            shop_name: Some("a".to_owned()),
            locale: Some("a".to_owned()),
            offline: false,
        };
        assert_eq!(options.flag(question.key).is_some(), has_flag, "{}", question.key);
    }
}
