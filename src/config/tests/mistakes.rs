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
    for other in [utf_16, b"[texts]\nshop_name = \"\xb2\xe8\"\n".to_vec()] {
        let fault = load(&other).unwrap_err();
        assert!(fault.contains("config.toml: is not UTF-8 text; save it as UTF-8"), "{fault}");
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
