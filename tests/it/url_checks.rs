//! WeChat's check of the server URL is seen: in the log, in the metrics and in `/readyz`.

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
