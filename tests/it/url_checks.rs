//! WeChat's check of the server URL is seen: in the log, in the metrics and in `/readyz`.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::child;
use crate::raw_http;
use crate::serve::{ServeProcess, world_without_bridge};
use crate::world::{SOON, eventually, get_json};

#[tokio::test]
async fn an_operator_sees_what_the_console_sent_and_what_differs() {
    let world = world_without_bridge().await;
    let serving = ServeProcess::start(world.folder.path(), &world.config_toml());
    let (public, ops) = serving.await_listening().await;
    let wrong = raw_http::signed("AnotherToken", 1_700_000_000, "987654321");
    for query in
        [format!("?{wrong}&echostr=7"), format!("?{wrong}&echostr=8"), "?own=1".to_owned(), String::new()]
    {
        let answer = raw_http::get(&public, &format!("/{query}")).await;
        assert_eq!((answer.status, answer.text()), (200, "404 not found"));
    }
    let unsigned = raw_http::get(&public, "/?echostr=9").await;
    assert_eq!(unsigned.text(), "404 not found");
    let right = raw_http::get(&public, &format!("/?{}&echostr=10", raw_http::query(&world))).await;
    assert_eq!(right.text(), "10");

    let (_, ready) = get_json(&format!("{ops}/readyz")).await;
    assert_eq!(ready["wechat"]["ok"], true, "{ready}");
    let checks = ready["wechat"]["url_checks"].as_array().unwrap();
    let outcomes: Vec<bool> = checks.iter().map(|check| check["ok"].as_bool().unwrap()).collect();
    assert_eq!(outcomes, [false, false, false, true], "{ready}");
    assert_eq!(checks[0]["from"], "127.0.0.1");
    assert!(checks[0]["at"].is_i64() && checks[0]["at_utc"].is_string(), "{ready}");
    assert_eq!(checks[0]["why"], "no configured token matches its signature");
    assert!(checks[0]["advice"].as_str().unwrap().contains("wechat.token"), "{ready}");
    assert_eq!(checks[2]["why"], "the query has no timestamp");
    let metrics = raw_http::get(&ops, "/metrics").await;
    let sample = "refused_requests_total{source=\"url_check\",reason=\"token\"} 2";
    assert!(metrics.text().contains(sample), "{}", metrics.text());

    let lines = |level: &str, part: &str| {
        serving.log().iter().filter(|line| line.contains(level) && line.contains(part)).count()
    };
    let is_told = async || lines("INFO", "answered WeChat's check of the server URL") == 1;
    assert!(eventually(SOON, is_told).await, "{:#?}", serving.log());
    assert_eq!(
        lines("WARN", "refused a check of the server URL"),
        1,
        "one line for a burst: {:#?}",
        serving.log()
    );
    assert_eq!(lines("WARN", "compare the Token in WeChat's console with wechat.token"), 1);
    assert!(!serving.log().concat().contains(wrong.split('&').next().unwrap()), "no signature is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_wait_shows_each_try_until_one_is_right() {
    let world = world_without_bridge().await;
    let serving = ServeProcess::start(world.folder.path(), &world.config_toml());
    let (public, ops) = serving.await_listening().await;
    let wrong = async || {
        let query = raw_http::signed("AnotherToken", 1_700_000_000, "987654321");
        raw_http::get(&public, &format!("/?{query}&echostr=7")).await
    };
    let right = async || raw_http::get(&public, &format!("/?{}&echostr=10", raw_http::query(&world))).await;
    right().await;
    let check = |wait: &str| {
        let mut command = child::bridge();
        command.args(["check", wait]).env("BRIDGE_SERVER__OPS_LISTEN", ops.replace("http://", ""));
        command.current_dir(world.folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut waiting = check("--wait");
    let mut lines = BufReader::new(waiting.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut until = |part: &str| {
        let line = lines.by_ref().find(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("{part} is not shown"))
    };
    until("Before:");
    assert!(until("127.0.0.1").ends_with("  from 127.0.0.1  right"), "a try from before does not end it");
    assert!(until("Save the server configuration").contains("for 600 s"));
    wrong().await;
    let line = until("wrong: ");
    assert!(
        line.contains("Z  from 127.0.0.1  wrong: no configured token matches its signature; compare"),
        "{line}"
    );
    // More than the bridge keeps.
    for _ in 0..6 {
        wrong().await;
    }
    right().await;
    until("127.0.0.1  right");
    until("has its answer");
    assert!(waiting.wait().unwrap().success());

    let given_up = check("--wait=1").wait_with_output().unwrap();
    assert_eq!(given_up.status.code(), Some(1));
    let stderr = String::from_utf8(given_up.stderr).unwrap();
    assert!(stderr.starts_with("error: no right try within 1 s\nhint: "), "{stderr}");
    drop(serving);
    let nobody = check("--wait").wait_with_output().unwrap();
    let stderr = String::from_utf8(nobody.stderr).unwrap();
    assert!(nobody.status.code() == Some(1) && stderr.contains("start the bridge with `serve`"), "{stderr}");
}
