//! Refused values and the texts of their faults.

use super::*;

#[test]
fn each_bad_value_is_one_fault_with_its_key_variable_and_fix() {
    for (name, value, expected) in [
        ("BRIDGE_SERVER__LISTEN", "80", "server.listen: is not an address with a port"),
        ("BRIDGE_SERVER__LISTEN", "", "server.listen: is not an address with a port"),
        ("BRIDGE_SERVER__OPS_LISTEN", "localhost:9090", "server.ops_listen: is not an address with a port"),
        (
            "BRIDGE_SERVER__OPS_LISTEN",
            "0.0.0.0:80",
            "server.ops_listen: is the same address as server.listen",
        ),
        ("BRIDGE_SERVER__PUBLIC_URL", "https://a.example/?q=1", "server.public_url: has a query"),
        ("BRIDGE_SERVER__PUBLIC_URL", "a.example", "server.public_url: is not a URL"),
        ("BRIDGE_SERVER__BODY_LIMIT_BYTES", "1023", "server.body_limit_bytes: is out of range"),
        ("BRIDGE_SERVER__BODY_BYTES_IN_FLIGHT", "1000", "server.body_bytes_in_flight: is out of range"),
        (
            "BRIDGE_SERVER__TRUSTED_PROXIES",
            "10.0.0.0/8,proxy.example",
            "server.trusted_proxies: entry 2 is neither an IP address nor a network",
        ),
        ("BRIDGE_SERVER__SHUTDOWN_GRACE_S", "-1", "server.shutdown_grace_s: is out of range"),
        ("BRIDGE_SERVER__SHUTDOWN_GRACE_S", "10s", "server.shutdown_grace_s: must be a whole number"),
        ("BRIDGE_SERVER__SHUTDOWN_GRACE_S", "", "server.shutdown_grace_s: must be a whole number"),
        ("BRIDGE_WECHAT__APP_ID", "wx 1", "wechat.app_id: contains spaces"),
        ("BRIDGE_WECHAT__APP_SECRET", "abc\n", "wechat.app_secret: begins or ends with white space"),
        ("BRIDGE_WECHAT__ACCOUNT_ID", "商店", "wechat.account_id: contains spaces or characters"),
        ("BRIDGE_WECHAT__MODE", "Safe", "wechat.mode: is not a known word"),
        ("BRIDGE_WECHAT__ENCODING_AES_KEY", "short", "wechat.encoding_aes_key: must be exactly 43"),
        (
            "BRIDGE_WECHAT__API_BASE",
            "ftp://a.example",
            "wechat.api_base: is neither an http nor an https URL",
        ),
        ("BRIDGE_WECHAT__QUOTA_MESSAGES", "0", "wechat.quota_messages: is out of range"),
        ("BRIDGE_WECHAT__MAX_SKEW_S", "86401", "wechat.max_skew_s: is out of range"),
        ("BRIDGE_IM__API_BASE", "https://me:pw@a.example", "im.api_base: has a user name or a password"),
        ("BRIDGE_IM__ADMIN", "", "im.admin: is not an IM UserID"),
        ("BRIDGE_IM__AGENTS", "", "im.agents: is empty"),
        ("BRIDGE_IM__AGENTS", "anna,,ben", "im.agents: entry 2 is not an IM UserID"),
        ("BRIDGE_IM__AGENTS", "anna, ben,anna", "im.agents: entry 3 is a duplicate"),
        ("BRIDGE_IM__AGENTS", "oABCD1234efgh5678IJKL90_-mno", "im.agents: entry 1 looks like an openid"),
        ("BRIDGE_IM__AGENTS", "oABCD1234efgh5678IJKL90_-mno_2", "im.agents: entry 1 looks like an openid"),
        ("BRIDGE_IM__AGENTS", "[\"anna\", \"ben\"", "im.agents: entry 1 contains a quote or a bracket"),
        ("BRIDGE_IM__AGENTS", "anna,'ben'", "im.agents: entry 2 contains a quote or a bracket"),
        ("BRIDGE_IM__AGENTS", "[anna, ben]", "im.agents: entry 1 contains a quote or a bracket"),
        ("BRIDGE_IM__AGENTS", "{anna}", "im.agents: entry 1 contains a quote or a bracket"),
        ("BRIDGE_IM__AGENTS", "[]", "im.agents: is empty"),
        ("BRIDGE_IM__ADMIN", "\"root\"", "im.admin: contains a quote or a bracket"),
        ("BRIDGE_IM__MESSAGE_LIFETIME_S", "604801", "im.message_lifetime_s: is out of range"),
        ("BRIDGE_IM__RATE_PER_SECOND", "1000001", "im.rate_per_second: is out of range"),
        ("BRIDGE_IM__USERSIG_EXPIRE_S", "59", "im.usersig_expire_s: is out of range"),
        ("BRIDGE_STORE__URL", "bridge.db", "store.url: is not the URL of a known store"),
        ("BRIDGE_STORE__URL", "", "store.url: is empty"),
        ("BRIDGE_MEDIA__DIR", "", "media.dir: is empty"),
        (
            "BRIDGE_MEDIA__ALLOW_HOSTS",
            "a.example,https://b.example",
            "media.allow_hosts: entry 2 is not a host name",
        ),
        ("BRIDGE_MEDIA__ALLOW_HTTP", "yes", "media.allow_http: must be a boolean"),
        ("BRIDGE_TEXTS__SHOP_NAME", " ", "texts.shop_name: is empty"),
        ("BRIDGE_TEXTS__WELCOME", "", "texts.welcome: is empty"),
        ("BRIDGE_TEXTS__TRANSFERRING", "\u{7}", "texts.transferring: contains control characters"),
        ("BRIDGE_LOG__LEVEL", "warning", "log.level: is not a tracing filter"),
        ("BRIDGE_LOG__FORMAT", "xml", "log.format: is not a known word"),
    ] {
        let fault = only_fault(&[(name, value)]);
        assert!(fault.starts_with(expected), "{fault}");
        assert!(fault.contains(&format!("({name}); ")), "{fault}");
    }
}

#[test]
fn dependencies_between_settings_are_checked() {
    const KEY: (&str, &str) =
        ("BRIDGE_WECHAT__ENCODING_AES_KEY", "Zb7Kq0mR3xT9vY1cN5sD8fG2hJ4kL6pW0aQ7eU9iOBg");
    const ID: (&str, &str) = ("BRIDGE_WECHAT__APP_ID", "wx1234567890abcdef");
    let safe = ("BRIDGE_WECHAT__MODE", "safe");
    assert!(load_with_env(&[safe, KEY, ID]).0.wechat.encoding_aes_key.is_some());
    let missing = only_fault(&[safe, ID]);
    assert!(
        missing.starts_with("wechat.encoding_aes_key: is missing, though wechat.mode is not plain;"),
        "{missing}"
    );
    let missing = only_fault(&[safe, KEY]);
    assert!(missing.starts_with("wechat.app_id: is missing, though wechat.mode is not plain;"), "{missing}");
    let missing = only_fault(&[("BRIDGE_WECHAT__PREVIOUS_ENCODING_AES_KEY", KEY.1)]);
    assert!(missing.starts_with("wechat.encoding_aes_key: is missing, though wechat.previous"), "{missing}");
    let push = fault_lines(REQUIRED, &[("BRIDGE_WECHAT__REPLY", "push")]);
    assert!(push[0].starts_with("wechat.app_id: is missing, though wechat.reply is push;"), "{push:?}");
    assert!(push[1].starts_with("wechat.app_secret: is missing, though wechat.reply is push;"), "{push:?}");
    let small = only_fault(&[
        ("BRIDGE_SERVER__BODY_LIMIT_BYTES", "8000000"),
        ("BRIDGE_SERVER__BODY_BYTES_IN_FLIGHT", "7999999"),
    ]);
    assert!(
        small.starts_with("server.body_bytes_in_flight: is less than server.body_limit_bytes"),
        "{small}"
    );
    for (set, missing_key) in [("CERT", "server.tls_key"), ("KEY", "server.tls_cert")] {
        let missing = only_fault(&[(&format!("BRIDGE_SERVER__TLS_{set}"), "a.pem")]);
        assert!(missing.starts_with(&format!("{missing_key}: is missing, though server.tls_")), "{missing}");
    }
    let tls = load_with_env(&[("BRIDGE_SERVER__TLS_CERT", "a.pem"), ("BRIDGE_SERVER__TLS_KEY", "b.pem")])
        .0
        .server
        .tls
        .unwrap();
    assert_eq!((tls.cert.as_path(), tls.key.as_path()), (Path::new("a.pem"), Path::new("b.pem")));
}

#[test]
fn all_faults_are_reported_at_once_one_a_line_without_repeats() {
    let text = r#"
server = 1
log_level = "debug"
sdk_app_id = 1
[wechat]
tokens = "x"
mode = "plian"
max_skew_s = "60"
[im]
agents = ["anna", 7]
secretkey = "x"
secret_key = 5
app_id = "wx"
[media]
allow_http = "yes"
[text]
locale = "en"
"#;
    assert_eq!(
        fault_lines(text, &[("BRIDGE_LOG__FORMAT", "xml")]),
        [
            "im.agents: must be a list of strings (line 10); write it as [\"one\", \"another\"]",
            "im.app_id: is not a known key (line 13); the nearest known key is wechat.app_id",
            "im.secret_key: must be a string (line 12); write it in quotes",
            "im.secretkey: is not a known key (line 11); the nearest known key is im.secret_key",
            "log_level: is not a known section (line 3); the nearest known section is [log]",
            "media.allow_http: must be a boolean (line 15); set true or false, without quotes",
            "sdk_app_id: is not a known section (line 4); put it below [im]",
            "server: is a section, not a key (line 2); write [server] on its own line and its keys below",
            "text: is not a known section (line 16); the nearest known section is [texts]",
            "wechat.max_skew_s: must be a whole number (line 8); set a whole number from 0 to 86400, without quotes",
            "wechat.mode: is not a known word (line 7); set one of plain, compatible, safe",
            "wechat.tokens: is not a known key (line 6); the nearest known key is wechat.token",
            "log.format: is not a known word (BRIDGE_LOG__FORMAT); set one of text, json",
            "wechat.token: is missing; set the Token of the console's server configuration; without it no push can be verified",
            "im.sdk_app_id: is missing; set the SDKAppID that the IM console shows",
        ]
    );
}

#[test]
fn invalid_toml_is_reported_by_line_without_missing_keys() {
    let lines =
        fault_lines("[wechat]\ntoken = \"a\nreply = \n[im]\nsdk_app_id = 1\n", &[("BRIDGE_IM__AGENTS", "a")]);
    assert!(lines.iter().all(|line| line.starts_with("configuration: is not TOML: ")), "{lines:?}");
    assert!(lines[0].contains("(line 2)") && lines[1].contains("(line 3)"), "{lines:?}");
    let twice = fault_lines(&REQUIRED.replace("[im]", "token = \"b\"\n[im]"), &[]);
    assert_eq!(twice, ["configuration: is not TOML: duplicate key (line 4); correct the line"]);
}

#[test]
fn an_empty_file_lacks_the_required_keys() {
    let keys: Vec<_> =
        fault_lines("", &[]).iter().map(|line| line.split_once(':').unwrap().0.to_owned()).collect();
    assert_eq!(keys, ["wechat.token", "im.sdk_app_id", "im.secret_key"]);
}

#[test]
fn a_file_of_another_kind_is_refused_quickly_and_briefly() {
    let many = |line: &dyn Fn(usize) -> String| (0..50_000).map(line).collect::<String>();
    for (what, text) in [
        ("garbage", many(&|_| "\u{1}]=[\"\n".to_owned())),
        ("unknown keys", format!("[im]\n{}", many(&|number| format!("some-key-{number} = 1\n")))),
        ("unknown sections", many(&|number| format!("[some-section-{number}]\n"))),
        ("a long name", format!("{} = 1\n", "a".repeat(1_000_000))),
        ("a long line", "a".repeat(1_000_000)),
        ("nested arrays", format!("a = {}", "[".repeat(100_000))),
        ("nested tables", format!("a = {}", "{a=".repeat(50_000))),
        ("a deep section", format!("[{}a]", "a.".repeat(100_000))),
    ] {
        let lines = fault_lines(&text, &[]);
        assert!(lines.len() <= 110, "{what}: {} lines", lines.len());
        assert!(lines.iter().all(|line| line.len() < 1000), "{what}: {lines:?}");
    }
}
