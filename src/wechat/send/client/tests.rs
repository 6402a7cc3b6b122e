use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::model::FailureClass as Why;
use crate::wechat::send::testing::{Fake, Scripted, code, customer};

const SHORT: Duration = Duration::from_millis(200);

async fn failure_of(answer: Scripted) -> Failure {
    let fake = Fake::start().await;
    fake.set(|account| account.send_script.push_back(answer));
    let client = fake.client(&Clock::movable()).with_timeout(SHORT);
    client.send_text(&customer(), "您好").await.unwrap_err()
}

fn push_verdict(failure: &Failure) -> Verdict {
    verdict(failure, NotAllowed::Refuse)
}

fn retry_class(verdict: &Verdict) -> Option<Why> {
    match verdict {
        Verdict::Retry { class, .. } => Some(*class),
        _ => None,
    }
}

#[tokio::test]
async fn the_body_is_raw_utf8() {
    let fake = Fake::start().await;
    let client = fake.client(&Clock::movable());
    client.send_text(&customer(), "您好 <a href=\"https://example.com\">&😀</a>\n한").await.unwrap();
    let expected = "{\"touser\":\"oBridgeUser0000000000000001x\",\"msgtype\":\"text\",\"text\":{\"content\":\
        \"您好 <a href=\\\"https://example.com\\\">&😀</a>\\n한\"}}";
    assert_eq!(fake.get(|account| account.sent[0].clone()), expected.as_bytes());
}

#[test]
fn media_is_spelt_as_wechat_spells_it() {
    let video = Outgoing::Video { media_id: "M3", thumb_media_id: "T1", title: Some("t"), description: None };
    for (message, expected) in [
        (Outgoing::Image { media_id: "M1" }, r#""msgtype":"image","image":{"media_id":"M1"}}"#),
        (Outgoing::Voice { media_id: "M2" }, r#""msgtype":"voice","voice":{"media_id":"M2"}}"#),
        (video, r#""msgtype":"video","video":{"media_id":"M3","thumb_media_id":"T1","title":"t"}}"#),
    ] {
        let request =
            Request { touser: &customer(), msgtype: message.kind(), message: &message, customservice: None };
        let body = serde_json::to_string(&request).unwrap();
        assert_eq!(body, format!(r#"{{"touser":"oBridgeUser0000000000000001x",{expected}"#));
    }
}

#[tokio::test]
async fn fifty_sends_with_an_expired_token_cause_one_refresh() {
    let fake = Fake::start().await;
    let clock = Clock::movable();
    let client = Arc::new(fake.client(&clock));
    client.send_text(&customer(), "first").await.unwrap();
    // WeChat has replaced the token, but we still believe ours to be valid.
    fake.set(|account| account.token = 2);
    let sends: Vec<_> = (0..50)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.send_text(&customer(), "您好").await })
        })
        .collect();
    for send in sends {
        send.await.unwrap().unwrap();
    }
    assert_eq!(fake.fetches(), (2, 0));

    // Now the token expires by our own clock, and all fifty sends wait for the same fetch.
    fake.set(|account| (account.open, account.token) = (false, 3));
    clock.advance(7200 * 1000);
    let sends: Vec<_> = (0..50)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.send_text(&customer(), "您好").await })
        })
        .collect();
    fake.until(|account| account.normal == 3).await;
    fake.set(|account| account.open = true);
    for send in sends {
        send.await.unwrap().unwrap();
    }
    assert_eq!(fake.fetches(), (3, 0));
}

#[tokio::test]
async fn every_stale_token_code_is_retried_once() {
    for stale in [40001, 40014, 42001, 41001] {
        let fake = Fake::start().await;
        fake.set(|account| account.send_script.push_back(code(stale, "stale")));
        fake.client(&Clock::movable()).send_text(&customer(), "您好").await.unwrap();
        assert_eq!((fake.fetches(), fake.get(|account| account.sent.len())), ((2, 1), 2));
    }
}

#[tokio::test]
async fn a_token_that_stays_invalid_makes_the_message_wait() {
    let fake = Fake::start().await;
    fake.set(|account| account.refuses_all = true);
    let client = fake.client(&Clock::movable());
    let failure = client.send_text(&customer(), "您好").await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Code { code: 40001, msg } if msg.ends_with("rid: 1-2-3")),
        "{failure}"
    );
    assert_eq!(retry_class(&push_verdict(&failure)), Some(Why::Credential));
    assert_eq!(fake.get(|account| account.sent.len()), 2);
    assert!(client.degraded()[0].why.contains("40001"));
    // The next attempts fetch no more tokens than the budget allows.
    for _ in 0..10 {
        let failure = client.send_text(&customer(), "您好").await.unwrap_err();
        assert_eq!(retry_class(&push_verdict(&failure)), Some(Why::Credential), "{failure}");
    }
    assert_eq!(fake.fetches(), (3, 1));
}

#[tokio::test]
async fn a_configuration_fault_waits_and_degrades_the_health_until_it_is_fixed() {
    let fake = Fake::start().await;
    let clock = Clock::movable();
    let client = fake.client(&clock);
    fake.set(|account| account.token_script.push_back(code(40125, "invalid appsecret")));
    let failure = client.send_text(&customer(), "您好").await.unwrap_err();
    assert_eq!(retry_class(&push_verdict(&failure)), Some(Why::Configuration));
    assert!(fake.get(|account| account.sent.is_empty()));
    assert!(client.degraded()[0].why.contains("40125"));

    clock.advance(1_000);
    fake.set(|account| account.send_script.push_back(code(40164, "invalid ip 1.2.3.4, not in whitelist")));
    let failure = client.send_text(&customer(), "您好").await.unwrap_err();
    assert_eq!(retry_class(&push_verdict(&failure)), Some(Why::Configuration));
    assert!(client.degraded()[0].advice.contains("1.2.3.4"));

    client.send_text(&customer(), "您好").await.unwrap();
    assert_eq!(client.degraded(), []);
}

#[tokio::test]
async fn codes_become_the_states_of_the_contract() {
    for (number, expected) in
        [(-1, Why::Busy), (45009, Why::Quota), (45011, Why::Quota), (50007, Why::Configuration)]
    {
        assert_eq!(
            retry_class(&push_verdict(&failure_of(code(number, "x")).await)),
            Some(expected),
            "{number}"
        );
    }
    for number in [45015, 45047, 48004, 50002] {
        let verdict = push_verdict(&failure_of(code(number, "x")).await);
        assert!(matches!(verdict, Verdict::Hold { .. }), "{number} {verdict:?}");
    }
    for number in [40003, 43004, 43019, 48002, 70000, 45002, 123_456] {
        let verdict = push_verdict(&failure_of(code(number, "x rid: 1-2-3")).await);
        assert_eq!(verdict, Verdict::Refuse { why: format!("{number} x rid: 1-2-3") });
    }
    let failure = failure_of(code(48001, "api unauthorized")).await;
    assert!(matches!(verdict(&failure, NotAllowed::Hold), Verdict::Hold { .. }));
    assert!(matches!(verdict(&failure, NotAllowed::Refuse), Verdict::Refuse { .. }));
    let text = failure_of(code(43019, "")).await.to_string();
    assert_eq!(text, "43019 the customer is on the account's blacklist");
}

#[tokio::test]
async fn an_unreadable_response_is_unknown() {
    for answer in [
        Scripted::Response(502, "bad gateway".into()),
        Scripted::Response(302, String::new()),
        Scripted::Response(500, r#"{"errcode":0,"errmsg":"ok"}"#.into()),
        Scripted::Response(200, "<html>".into()),
        Scripted::Response(200, "{}".into()),
        Scripted::Response(200, String::new()),
        Scripted::Response(200, format!(r#"{{"errcode":0,"errmsg":"{}"}}"#, "x".repeat(1024 * 1024))),
        Scripted::Never,
    ] {
        let failure = failure_of(answer.clone()).await;
        assert!(matches!(push_verdict(&failure), Verdict::Unknown { .. }), "{failure}");
        assert!(!format!("{failure} {failure:?}").contains("77_token"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_connection_cut_after_the_request_is_unknown_and_not_repeated() {
    let fake = Fake::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let cutting = tokio::spawn(async move {
        let mut accepted = 0;
        loop {
            let mut stream = listener.accept().await.unwrap().0;
            accepted += 1;
            let mut seen = Vec::new();
            while !seen.ends_with(b"}}") {
                stream.read_buf(&mut seen).await.unwrap();
            }
            drop(stream);
            assert_eq!(accepted, 1, "sent again");
        }
    });
    let client = fake.client_at(base, &Clock::movable());
    let failure = client.send_text(&customer(), "您好").await.unwrap_err();
    assert!(matches!(push_verdict(&failure), Verdict::Unknown { .. }), "{failure}");
    assert!(!format!("{failure} {failure:?}").contains("77_token"), "{failure:?}");
    assert!(!cutting.is_finished());
    cutting.abort();
}

#[tokio::test]
async fn a_refused_connection_makes_the_message_wait() {
    let fake = Fake::start().await;
    // Bound and not listening: nobody answers there, and no other program can take it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let base = format!("http://{}", socket.local_addr().unwrap()).parse().unwrap();
    let client = fake.client_at(base, &Clock::movable());
    let failure = client.send_text(&customer(), "您好").await.unwrap_err();
    assert!(matches!(&failure, Failure::NotSent(_)), "{failure}");
    assert_eq!(retry_class(&push_verdict(&failure)), Some(Why::Unreachable));
    assert!(!format!("{failure} {failure:?}").contains("77_token"), "{failure:?}");
}

#[tokio::test]
async fn a_lost_token_fetch_never_makes_a_message_unknown() {
    for (answer, expected) in [
        (Scripted::Response(502, String::new()), Why::Busy),
        (code(-1, "system error"), Why::Busy),
        (code(45011, "slower"), Why::Quota),
        (code(40003, "odd"), Why::Configuration),
    ] {
        let fake = Fake::start().await;
        fake.set(|account| account.token_script.push_back(answer));
        let failure = fake.client(&Clock::movable()).send_text(&customer(), "您好").await.unwrap_err();
        assert_eq!(retry_class(&push_verdict(&failure)), Some(expected), "{failure}");
        assert!(fake.get(|account| account.sent.is_empty()));
    }
}
