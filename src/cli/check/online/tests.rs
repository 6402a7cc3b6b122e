//! Tests against a small server on loopback with a fixed response for each path.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::cli::check::{Severity, lines as told};

const TOKEN: &str = r#"{"access_token":"77_the_token","expires_in":7200}"#;

/// The response for each path, matched by the end of the path.
type Answers = &'static [(&'static str, &'static str)];

async fn answer(State(answers): State<Answers>, uri: Uri) -> &'static str {
    answers.iter().find(|(path, _)| uri.path().ends_with(path)).map_or("no such path", |(_, answer)| answer)
}

async fn serving(answers: Answers) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(answers);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    base
}

fn config(base: &str, more: &[(&str, &str)]) -> Config {
    let bases = [("BRIDGE_WECHAT__API_BASE", base), ("BRIDGE_IM__API_BASE", base)];
    let env = bases.iter().chain(more).map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Config::from_toml_str(include_str!("../../../../config.example.toml"), env).unwrap().0
}

async fn wechat_findings(answers: Answers, more: &[(&str, &str)]) -> Vec<Finding> {
    wechat(&config(&serving(answers).await, more), &Clock::system()).await
}

async fn im_findings(answers: Answers) -> Vec<Finding> {
    im(&config(&serving(answers).await, &[]), &Clock::system()).await
}

fn worst(findings: &[Finding]) -> Severity {
    let has = |weight| findings.iter().any(|finding| finding.severity == weight);
    match () {
        () if has(Severity::Fail) => Severity::Fail,
        () if has(Severity::Warn) => Severity::Warn,
        () => Severity::Ok,
    }
}

#[tokio::test]
async fn an_account_that_may_push_passes() {
    let answers: Answers =
        &[("stable_token", TOKEN), ("custom/send", r#"{"errcode":40003,"errmsg":"invalid openid"}"#)];
    let findings = wechat_findings(answers, &[]).await;
    assert_eq!((findings.len(), worst(&findings)), (2, Severity::Ok), "{}", told(&findings));
}

#[tokio::test]
async fn an_account_that_may_not_push_answers_passively_or_not_at_all() {
    let answers: Answers =
        &[("stable_token", TOKEN), ("custom/send", r#"{"errcode":48001,"errmsg":"api unauthorized"}"#)];
    let auto = wechat_findings(answers, &[]).await;
    assert_eq!(worst(&auto), Severity::Warn);
    assert!(told(&auto).contains("answers will be passive"), "{}", told(&auto));
    let push = wechat_findings(answers, &[("BRIDGE_WECHAT__REPLY", "push")]).await;
    assert_eq!(worst(&push), Severity::Fail, "{}", told(&push));
}

#[tokio::test]
async fn a_refused_credential_is_reported_with_its_fix() {
    for (answers, parts) in [
        (
            &[("stable_token", r#"{"errcode":40125,"errmsg":"invalid appsecret"}"#)] as Answers,
            &["wechat.app_secret", "40125"],
        ),
        (&[("stable_token", r#"{"errcode":40013,"errmsg":"invalid appid"}"#)], &["wechat.app_id", "40013"]),
        (
            &[(
                "stable_token",
                r#"{"errcode":40164,"errmsg":"invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist"}"#,
            )],
            &["IP whitelist", "(WeChat saw 1.2.3.4)"],
        ),
        (
            &[("stable_token", TOKEN), ("custom/send", r#"{"errcode":48004,"errmsg":"api forbidden"}"#)],
            &["custom/send", "appeal"],
        ),
    ] {
        let findings = wechat_findings(answers, &[]).await;
        assert_eq!(worst(&findings), Severity::Fail, "{}", told(&findings));
        for part in parts {
            assert!(told(&findings).contains(part), "{part} is not in {}", told(&findings));
        }
        assert!(!told(&findings).contains("77_the_token"));
    }
}

#[tokio::test]
async fn temporary_errors_are_warnings() {
    let answers: Answers = &[("stable_token", r#"{"errcode":-1,"errmsg":"system error"}"#)];
    assert_eq!(worst(&wechat_findings(answers, &[]).await), Severity::Warn);
    let answers: Answers = &[("account_check", r#"{"ErrorCode":60008,"ErrorInfo":"timeout"}"#)];
    assert_eq!(worst(&im_findings(answers).await), Severity::Warn);
}

#[tokio::test]
async fn an_answer_that_says_nothing_about_the_permission_is_shown() {
    let answers: Answers =
        &[("stable_token", TOKEN), ("custom/send", r#"{"errcode":76021,"errmsg":"no such path"}"#)];
    let findings = wechat_findings(answers, &[]).await;
    assert_eq!(worst(&findings), Severity::Warn, "{}", told(&findings));
    assert!(told(&findings).contains("76021 no such path"), "{}", told(&findings));
}

#[tokio::test]
async fn wechat_is_not_called_for_a_passive_account() {
    let findings = wechat_findings(&[], &[("BRIDGE_WECHAT__REPLY", "passive")]).await;
    assert_eq!(worst(&findings), Severity::Ok, "{}", told(&findings));
}

#[tokio::test]
async fn hosts_that_cannot_be_reached_are_named() {
    // Bound and not listening: nobody answers there, and no other program can take it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let base = format!("http://{}", socket.local_addr().unwrap());
    let config = config(&base, &[]);
    for (findings, key) in [
        (wechat(&config, &Clock::system()).await, "wechat.api_base"),
        (im(&config, &Clock::system()).await, "im.api_base"),
    ] {
        let text = told(&findings);
        assert_eq!((findings.len(), worst(&findings)), (1, Severity::Fail), "{text}");
        assert!(text.starts_with(&format!("fail  {key}  127.0.0.1: ")), "{text}");
    }
}

#[tokio::test]
async fn accounts_that_im_does_not_know_are_named() {
    let answers: Answers = &[(
        "account_check",
        r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":"","ResultItem":[
            {"UserID":"user0","ResultCode":0,"ResultInfo":"","AccountStatus":"NotImported"},
            {"UserID":"user1","ResultCode":0,"ResultInfo":"","AccountStatus":"Imported"}]}"#,
    )];
    let findings = im_findings(answers).await;
    assert_eq!(worst(&findings), Severity::Warn, "{}", told(&findings));
    assert!(told(&findings).contains("warn  im.admin  IM has no account user0"), "{}", told(&findings));
    assert!(told(&findings).contains("ok    im.agents  user1 exists"), "{}", told(&findings));

    let none: Answers = &[("account_check", r#"{"ErrorCode":0,"ResultItem":[]}"#)];
    let findings = im_findings(none).await;
    assert!(told(&findings).contains("fail  im.agents  IM has no account user1"), "{}", told(&findings));
}

#[tokio::test]
async fn a_refused_usersig_names_the_key_and_says_what_to_do() {
    for (answers, key) in [
        (&[("account_check", r#"{"ErrorCode":70009,"ErrorInfo":"sig"}"#)] as Answers, "im.secret_key"),
        (&[("account_check", r#"{"ErrorCode":70003,"ErrorInfo":"sig"}"#)], "im.secret_key"),
        (&[("account_check", r#"{"ErrorCode":60010,"ErrorInfo":"admin"}"#)], "im.admin"),
        (&[("account_check", r#"{"ErrorCode":60006,"ErrorInfo":"app"}"#)], "im.sdk_app_id"),
    ] {
        let findings = im_findings(answers).await;
        let text = told(&findings);
        assert!(text.starts_with(&format!("fail  {key}  IM error ")) && text.contains("; "), "{text}");
    }
}

#[test]
fn a_wrong_clock_is_a_warning_with_its_fix() {
    let ahead = Clock::system();
    assert!(clock(&ahead).is_empty(), "no platform has answered");
    let hour_ago = ahead.now().seconds() - 3600;
    ahead.remote("im").observe(hour_ago, ahead.monotonic_ms());
    let found = clock(&ahead);
    assert_eq!((found.len(), found[0].severity), (1, Severity::Warn), "{found:?}");
    assert!(found[0].evidence.contains("s ahead of im's") && found[0].fix.contains("NTP"), "{found:?}");

    let right = Clock::system();
    right.remote("im").observe(right.now().seconds(), right.monotonic_ms());
    assert_eq!(clock(&right)[0].severity, Severity::Ok);
}
