//! What people easily write instead: each is refused with what they meant.

use super::*;

#[test]
fn what_belongs_elsewhere_is_told_where() {
    for (name, value, expected) in [
        (
            "BRIDGE_WECHAT__APP_ID",
            "gh_1234567890ab",
            "wechat.app_id: is the original id of an account, not an AppID",
        ),
        (
            "BRIDGE_WECHAT__ACCOUNT_ID",
            "wx1234567890abcdef",
            "wechat.account_id: is an AppID, not the original id",
        ),
        (
            "BRIDGE_WECHAT__API_BASE",
            "https://api.weixin.qq.com/cgi-bin/",
            "wechat.api_base: ends with /cgi-bin, which the bridge appends itself",
        ),
        (
            "BRIDGE_WECHAT__API_BASE",
            "https://console.tim.qq.com",
            "wechat.api_base: is the address of Tencent IM",
        ),
        ("BRIDGE_IM__API_BASE", "https://api.weixin.qq.com", "im.api_base: is the address of WeChat"),
        ("BRIDGE_IM__API_BASE", "https://console.tim.qq.com/v4", "im.api_base: ends with /v4"),
    ] {
        let fault = only_fault(&[(name, value)]);
        assert!(fault.starts_with(expected) && fault.contains("; set "), "{fault}");
    }
}

#[test]
fn words_of_other_programs_lead_to_ours() {
    for (word, meant) in [("zh_CN", "zh"), ("cn", "zh"), ("ZH", "zh"), ("ko-KR", "ko"), ("en_US", "en")] {
        let fault = only_fault(&[("BRIDGE_TEXTS__LOCALE", word)]);
        assert!(fault.ends_with(&format!("; set {meant}")), "{fault}");
    }
    let fault = only_fault(&[("BRIDGE_TEXTS__LOCALE", "fr")]);
    assert!(fault.ends_with("; set one of en, ko, zh"), "{fault}");
    for (section, name, key) in [
        ("wechat", "appid", "wechat.app_id"),
        ("wechat", "appSecret", "wechat.app_secret"),
        ("im", "identifier", "im.admin"),
        ("im", "key", "im.secret_key"),
        ("im", "sdkAppId", "im.sdk_app_id"),
    ] {
        let text = REQUIRED.replacen(&format!("[{section}]"), &format!("[{section}]\n{name} = \"a\""), 1);
        let fault = fault_lines(&text, &[]).remove(0);
        assert!(fault.ends_with(&format!("the nearest known key is {key}")), "{fault}");
    }
}

#[test]
fn a_mark_of_an_editor_does_no_harm_and_other_encodings_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let load = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Config::load(&path, true, []).map_err(|faults| faults.to_string())
    };
    assert!(load(format!("\u{feff}{REQUIRED}").as_bytes()).is_ok());
    let utf_16: Vec<u8> = "\u{feff}[wechat]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (other, line) in [(utf_16, 1), (b"[texts]\nshop_name = \"\xb2\xe8\"\n".to_vec(), 2)] {
        let fault = load(&other).unwrap_err();
        let expected = format!("config.toml: is not UTF-8 text (line {line}); save it as UTF-8");
        assert!(fault.contains(&expected), "{fault}");
    }
}

#[test]
fn a_secret_file_may_begin_with_a_mark_and_not_with_a_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    let pairs = [("BRIDGE_IM__CALLBACK_TOKEN_FILE", path.as_str())];
    for good in ["\u{feff}thirty-two-bytes-of-callback-token\r\n", "QUJDREVGR0hJSktMTU5PUA==", "AB=cd"] {
        std::fs::write(file.path(), good).unwrap();
        let token = load_with_env(&pairs).0.im.callback_token.unwrap();
        assert_eq!(token.expose(), good.trim_start_matches('\u{feff}').trim_end());
    }
    std::fs::write(file.path(), "CALLBACK_TOKEN=thirty-two-bytes\n").unwrap();
    let fault = only_fault(&pairs);
    assert!(fault.contains("begins with a name and =") && !fault.contains("thirty"), "{fault}");
}

#[test]
fn an_app_secret_that_is_none_and_values_of_the_example_are_told() {
    let told = |name: &str, value: &str| {
        let passive = ("BRIDGE_WECHAT__REPLY", "passive");
        load_with_env(&[passive, (name, value)]).1
    };
    for (name, value, expected) in [
        (
            "BRIDGE_WECHAT__APP_ID",
            "wx0000000000000000",
            "wechat.app_id: is still the example's; set the AppID",
        ),
        (
            "BRIDGE_WECHAT__APP_SECRET",
            "00000000000000000000000000000000",
            "wechat.app_secret: is still the example's; set the AppSecret",
        ),
        (
            "BRIDGE_WECHAT__APP_SECRET",
            "0123456789abcdef0123456789abcdeX",
            "wechat.app_secret: is not 32 hexadecimal digits",
        ),
        ("BRIDGE_WECHAT__APP_SECRET", "0123456789abcdef", "wechat.app_secret: is not 32 hexadecimal digits"),
    ] {
        let warnings = told(name, value);
        assert!(warnings.len() == 1 && warnings[0].starts_with(expected), "{warnings:?}");
        assert!(!warnings[0].contains(value), "{warnings:?}");
    }
    assert!(told("BRIDGE_WECHAT__APP_SECRET", "0123456789abcdef0123456789abcdef").is_empty());
}

#[test]
fn a_shop_without_a_name_is_told_what_followers_read() {
    let told = |pairs: &[(&str, &str)]| load_with_env(pairs).0.texts.missing_name();
    let expected = "is not set, so that followers read \"Thanks for following XX. We want to offer you the best service.\"";
    assert_eq!(told(&[]).as_deref(), Some(expected));
    assert!(told(&[("BRIDGE_TEXTS__LOCALE", "zh")]).unwrap().contains("感谢您关注XX"));
    assert_eq!(told(&[("BRIDGE_TEXTS__SHOP_NAME", "Tea House")]), None);
    assert_eq!(told(&[("BRIDGE_TEXTS__WELCOME", "Welcome!")]), None);
}
