//! Tests of the gateway's checks and their order, of the rate, of faults, and of published
//! exchanges.

use super::*;
use crate::sandbox::fault::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const CHECK: &str = "im_open_login_svc/account_check";

impl Bench {
    async fn error_code(&self, path: &str, query: &[(&str, String)], body: &str) -> i64 {
        let text = self.raw(path, query, body).await.unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["ErrorCode"].as_i64().unwrap()
    }
}

/// Everything is wrong at first. Each step fixes the fault that the reference's order finds first.
#[tokio::test]
async fn the_checks_come_in_the_order_of_the_reference() {
    let bench = Bench::start().await;
    bench.sim.change(|settings| settings.rate_per_second = 1);
    let now = bench.now();
    let sig = |who: &str, app: u32, key: &str, time: i64| usersig::issue(who, app, key, time, 60);
    let stale = now - 61;
    let other_key = KEY.replace('5', "6");
    let mut query: Vec<(&str, String)> = Vec::new();
    let body = "not json";
    assert_eq!(bench.error_code("openim/nothing", &query, body).await, 60009);
    assert_eq!(bench.error_code(CHECK, &query, body).await, 60012);
    query.push(("sdkappid", "1400000001".into()));
    assert_eq!(bench.error_code(CHECK, &query, body).await, 70020);
    query[0].1 = APP.to_string();
    assert_eq!(bench.error_code(CHECK, &query, body).await, 70003);
    query.push(("usersig", "eJnonsense".into()));
    query.push(("identifier", "somebody".into()));
    assert_eq!(bench.error_code(CHECK, &query, body).await, 70003);
    for (made, code) in [
        (sig("nobody", 1, &other_key, stale), 70014),
        (sig("nobody", APP, &other_key, stale), 70013),
        (sig("somebody", APP, &other_key, stale), 70001),
        (sig("somebody", APP, &other_key, now), 70009),
        (sig("somebody", APP, KEY, now), 60010),
    ] {
        query[1].1 = made;
        assert_eq!(bench.error_code(CHECK, &query, body).await, code);
    }
    assert_eq!(bench.error_code("openim/sendmsg", &query, body).await, 90009);
    query[1].1 = sig(ADMIN, APP, KEY, now);
    query[2].1 = ADMIN.into();
    assert_eq!(bench.error_code(CHECK, &query, body).await, 60025);
    query.push(("contenttype", "json".into()));
    query.push(("random", "4294967296".into()));
    assert_eq!(bench.error_code(CHECK, &query, body).await, 60025);
    query[4].1 = "0".into();
    assert_eq!(bench.error_code(CHECK, &query, body).await, 70402, "the only token of this second");
    assert_eq!(bench.error_code(CHECK, &query, body).await, 60007);
    bench.clock.advance(1_000);
    let right = r#"{"CheckItem":[{"UserID":"kf_lin"}]}"#;
    assert_eq!(bench.error_code(CHECK, &query, right).await, 0);

    let codes: Vec<i64> = bench.sim.ledger().refused_calls().map(|call| call.code).collect();
    let expected = [
        60009, 60012, 70020, 70003, 70003, 70014, 70013, 70001, 70009, 60010, 90009, 60025, 60025, 70402,
        60007,
    ];
    assert_eq!(codes, expected);
    assert_eq!(bench.sim.ledger().call_count(CHECK), 14);
    assert_eq!(bench.sim.ledger().call_count("unknown"), 1);
}

#[tokio::test]
async fn an_unreadable_body_has_the_code_of_its_family() {
    let bench = Bench::start().await;
    for (path, code) in [("openim/sendmsg", 90001), (CHECK, 70402)] {
        for body in ["", "[]", "{"] {
            assert_eq!(bench.error_code(path, &bench.query(), body).await, code, "{path} {body}");
        }
    }
    let got = bench.http.get(format!("{}/v4/openim/sendmsg", bench.sim.base_url())).send().await.unwrap();
    assert_eq!(got.json::<Value>().await.unwrap()["ErrorCode"], 60002);
}

#[tokio::test]
async fn faults_apply_as_scripted() {
    let bench = Bench::start().await;
    let faults = bench.sim.faults();
    let api = "openim/sendmsg";
    let send = async |text: &str| {
        let body = bench.message(text).to_string();
        bench.raw(api, &bench.query(), &body).await
    };
    faults.script(api, 1, Fault::Code(20004));
    assert!(send("code").await.unwrap().contains("20004"));
    faults.script(api, 1, Fault::DropBefore);
    assert!(send("before").await.is_err());
    faults.script(api, 1, Fault::BadGateway);
    assert!(send("gateway").await.unwrap().starts_with("<html>"));
    faults.script(api, 1, Fault::DropAfter);
    assert!(send("after").await.is_err());
    faults.script(api, 1, Fault::NotJson);
    assert!(send("not json").await.unwrap().starts_with("<html>"));
    faults.script(api, 1, Fault::HalfBody);
    assert!(send("half").await.is_err());
    faults.script(api, 1, Fault::Delay(Duration::from_millis(30)));
    assert!(send("late").await.unwrap().contains("\"ErrorCode\":0"));
    let delivered: Vec<String> =
        bench.sim.ledger().deliveries().map(super::super::SendRecord::text).collect();
    assert_eq!(delivered, ["after", "not json", "half", "late"]);
    assert_eq!(texts(&bench.agent.inbox()), delivered);
}

#[tokio::test]
async fn the_half_body_fault_sends_half_of_the_body() {
    let bench = Bench::start().await;
    bench.sim.faults().script("", 1, Fault::HalfBody);
    let mut stream =
        tokio::net::TcpStream::connect(bench.sim.base_url().trim_start_matches("http://")).await.unwrap();
    stream
        .write_all(b"POST /v4/openim/nothing HTTP/1.1\r\nhost: im\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let announced: usize = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(body.len(), announced / 2, "{answer}");
}

#[tokio::test]
async fn published_exchanges_mask_the_usersig() {
    let bench = Bench::start().await;
    let mut events = bench.sim.events();
    bench.send(&bench.message("hello")).await;
    let exchange = events.recv().await.unwrap();
    assert_eq!(
        (exchange.method.as_str(), exchange.path.as_str(), exchange.status),
        ("POST", "/v4/openim/sendmsg", Some(200))
    );
    assert!(exchange.query.contains("usersig=***&random="), "{}", exchange.query);
    assert!(exchange.request.contains("hello") && exchange.response.contains("MsgKey"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_all_arrive() {
    let bench = std::sync::Arc::new(Bench::start().await);
    bench.sim.change(|settings| settings.rate_per_second = 100_000);
    let calls = (0..8).map(|_| {
        let bench = std::sync::Arc::clone(&bench);
        tokio::spawn(async move {
            for _ in 0..100 {
                assert_eq!(bench.send(&bench.message("x")).await["ErrorCode"], 0);
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(bench.sim.ledger().deliveries().count(), 800);
    assert_eq!(bench.agent.inbox().len(), 800);
}
