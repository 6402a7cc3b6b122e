use super::super::crypto::{Crypt, sign};
use super::super::ledger::Outcome;
use super::*;

const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(400);
const LONG_DELAY: Duration = Duration::from_secs(30);

fn reply(sim: &WechatSim, clock: &Clock, content: &str) -> String {
    format!(
        "<xml><ToUserName><![CDATA[{OPENID}]]></ToUserName><FromUserName><![CDATA[{}]]></FromUserName>\
         <CreateTime>{}</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{content}]]></Content></xml>",
        sim.settings().account_id,
        clock.now().seconds()
    )
}

fn late(body: impl Into<String>) -> ScriptedAnswer {
    ScriptedAnswer { delay: LONG_DELAY, ..answer(body) }
}

#[tokio::test]
async fn a_slow_bridge_gets_the_same_body_three_times_and_may_still_answer() {
    let (sim, clock) = sim(|settings| settings.attempt_timeout = ATTEMPT_TIMEOUT).await;
    let bridge = Bridge::default();
    let _served = bridge.start(&sim).await;
    bridge.script([late(reply(&sim, &clock, "too late")), late(""), answer(reply(&sim, &clock, "in time"))]);
    let phone = sim.customer(OPENID);
    let result = phone.say("hello").await;
    assert_eq!((result.attempts.len(), result.text(), result.fault_line), (3, Some("in time"), false));
    assert_eq!(phone.texts(), ["in time"], "an answer after the timeout is not shown");
    assert!(
        result.attempts[0].took >= ATTEMPT_TIMEOUT
            && result.attempts[0].error.as_ref().unwrap().contains("no answer")
    );
    let requests = bridge.requests();
    assert!(requests.iter().all(|(_, body)| *body == requests[0].1));
    let settings = sim.settings();
    for (query, body) in &requests {
        assert_eq!(query["signature"], sign(&[&settings.token, &query["timestamp"], &query["nonce"]]));
        assert_eq!((query["openid"].as_str(), query["own"].as_str()), (OPENID, "1"));
        assert!(!query.contains_key("encrypt_type") && body.contains("<![CDATA[hello]]>"));
    }
    assert_ne!(requests[0].0["nonce"], requests[1].0["nonce"]);
    assert_eq!(sim.ledger().pushes[0].outcome, Outcome::Replied("text".to_owned()));
}

#[tokio::test]
async fn three_failures_end_in_the_fault_line() {
    let (sim, _) = sim(|settings| {
        settings.attempt_timeout = ATTEMPT_TIMEOUT;
        settings.fresh_signature = false;
    })
    .await;
    let phone = sim.customer(OPENID);
    let bridge = Bridge::default();
    let served = bridge.start(&sim).await;
    bridge.script([late(""), late(""), late("")]);
    let result = phone.say("hello").await;
    assert!(result.fault_line && result.attempts.len() == 3);
    assert_eq!(phone.screen()[0].via, Via::Fault);
    assert!(phone.texts().is_empty());
    let requests = bridge.requests();
    assert_eq!(requests[0], requests[2], "the first signature is repeated where the settings say so");
    bridge.script([ScriptedAnswer { status: 503, ..answer("no store") }]);
    let result = phone.say("again").await;
    assert_eq!((result.attempts.len(), result.fault_line), (2, false));
    served.stop().await;
    let result = phone.say("anyone?").await;
    assert!(result.fault_line && result.attempts.len() == 3);
    let ledger = sim.ledger();
    let answered: Vec<_> =
        ledger.pushes.iter().map(|push| (push.text.as_str(), push.is_answered())).collect();
    assert_eq!(answered, [("hello", false), ("again", true), ("anyone?", false)]);
}

#[tokio::test]
async fn an_abnormal_answer_is_a_fault_at_once() {
    let (sim, clock) = sim(|_| ()).await;
    let bridge = Bridge::default();
    let _served = bridge.start(&sim).await;
    let phone = sim.customer(OPENID);
    let milliseconds = reply(&sim, &clock, "x").replacen("</CreateTime>", "000</CreateTime>", 1);
    for (body, reason) in [
        ("{\"ok\":true}".to_owned(), "outside"),
        ("<html></html>".to_owned(), "root"),
        (milliseconds, "seconds"),
        (reply(&sim, &clock, &"x".repeat(2048)), "2048 bytes"),
    ] {
        bridge.script([answer(body)]);
        let result = phone.say("hello").await;
        assert!(result.fault_line && result.attempts.len() == 1 && result.reply.is_none());
        let Outcome::Failed(why) = sim.ledger().pushes.back().unwrap().outcome.clone() else { panic!() };
        assert!(why.contains(reason), "{why}");
    }
}

#[tokio::test]
async fn encrypted_modes_encrypt_pushes_and_decrypt_replies() {
    for mode in [Mode::Compatible, Mode::Safe] {
        let (sim, clock) = sim(|settings| settings.mode = mode).await;
        let bridge = Bridge::default();
        let _served = bridge.start(&sim).await;
        let settings = sim.settings();
        let crypt = Crypt::new(&settings.encoding_aes_key, &settings.app_id).unwrap();
        let encrypt = crypt.encrypt(reply(&sim, &clock, "sealed").as_bytes(), [7; 16]).unwrap();
        let envelope = |signature: &str| {
            format!(
                "<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt><MsgSignature>{signature}</MsgSignature>\
                 <TimeStamp>1700000002</TimeStamp><Nonce>77</Nonce></xml>"
            )
        };
        let signature = sign(&[&settings.token, "1700000002", "77", &encrypt]);
        bridge.script([answer(envelope(&signature)), answer(envelope("0"))]);
        let phone = sim.customer(OPENID);
        assert_eq!(phone.say("你好").await.text(), Some("sealed"));
        assert!(phone.say("你好").await.fault_line);

        let (query, body) = bridge.requests().remove(0);
        let document = xml::read(&body).unwrap();
        let encrypt = document.text_of("Encrypt").unwrap();
        assert_eq!(query["encrypt_type"], "aes");
        let expected = sign(&[&settings.token, &query["timestamp"], &query["nonce"], encrypt]);
        assert_eq!(query["msg_signature"], expected);
        let inner = String::from_utf8(crypt.decrypt(encrypt).unwrap()).unwrap();
        assert_eq!(xml::read(&inner).unwrap().text_of("Content"), Ok("你好"));
        assert_eq!(document.text_of("Content").is_ok(), mode == Mode::Compatible);
        assert_eq!(document.children.len() == 2, mode == Mode::Safe);
    }
}

#[tokio::test]
async fn a_repeat_has_the_identical_body_and_is_shown_once() {
    let (sim, clock) = sim(|_| ()).await;
    let bridge = Bridge::default();
    let _served = bridge.start(&sim).await;
    bridge.script((0..8).map(|_| answer(reply(&sim, &clock, "once"))));
    let phone = sim.customer(OPENID);
    let result = phone.say("hello").await;
    assert_eq!(sim.repeat(&result).await.text(), Some("once"));
    assert_eq!(sim.deliver_copies(result.draft(), 3).await.len(), 3);
    assert_eq!(bridge.requests().len(), 5);
    assert!(bridge.requests().iter().all(|(_, body)| body.as_bytes() == result.draft().body()));
    assert_eq!(phone.texts(), ["once"]);
    let other = phone.say("more").await;
    assert!(other.msg_id > result.msg_id);
    assert_eq!(result.msg_id.unwrap().to_string().len(), 17);
    assert_eq!(phone.texts(), ["once", "once"]);
}

#[tokio::test]
async fn after_failures_in_a_row_nothing_is_pushed_for_a_minute() {
    let (sim, clock) = sim(|settings| settings.mark_fail_after = Some(6)).await;
    let bridge = Bridge::default();
    let _served = bridge.start(&sim).await;
    bridge.script((0..6).map(|_| ScriptedAnswer { status: 500, ..answer("") }));
    let phone = sim.customer(OPENID);
    phone.say("1").await;
    phone.say("2").await;
    let result = phone.say("3").await;
    assert!(result.attempts.is_empty() && result.fault_line);
    assert_eq!(sim.ledger().pushes[2].outcome, Outcome::Withheld);
    clock.advance(60_000);
    assert!(!phone.say("4").await.fault_line);
    assert_eq!(bridge.requests().len(), 7);
}

#[tokio::test]
async fn the_url_check_compares_bytes_and_raw_requests_can_be_changed() {
    let (sim, _) = sim(|_| ()).await;
    let bridge = Bridge::default();
    let _served = bridge.start(&sim).await;
    assert!(!sim.verify_url().await);
    let echo = Router::new().fallback(|request: Request| async move {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let found = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "echostr");
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    });
    let echo = Server::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), echo).unwrap();
    sim.connect(&format!("http://{}/", echo.address()));
    assert!(sim.verify_url().await);

    let _served = bridge.start(&sim).await;
    let forged = sim.push_raw(OPENID, "garbage", |query| query.set("signature", "0".repeat(40))).await;
    assert_eq!((forged.status, forged.body.as_ref()), (Some(200), &b"success"[..]));
    sim.push_raw(OPENID, "garbage", |query| query.remove("signature")).await;
    let requests = bridge.requests();
    let forged =
        requests.iter().find(|(query, _)| query.get("signature").is_some_and(|s| s.starts_with("0000")));
    assert_eq!(forged.unwrap().1, "garbage");
    assert!(!requests.last().unwrap().0.contains_key("signature"));
    assert!(!format!("{:?}", Query(vec![("signature".into(), "s3cret".into())])).contains("s3cret"));
}

#[tokio::test]
async fn each_customer_action_is_pushed_as_in_the_reference() {
    let (sim, _) = sim(|_| ()).await;
    let bridge = Bridge::default();
    let _served = bridge.start(&sim).await;
    let phone = sim.customer(OPENID);
    let mut events = sim.events();
    phone.follow().await;
    phone.follow_by_scene("shop42").await;
    phone.send_image(&b"\xff\xd8\xff"[..]).await;
    phone.send_voice(&b"#!AMR\n"[..], "amr").await;
    phone.send_video(&b"v"[..], &b"t"[..]).await;
    phone.send_shortvideo(&b"v"[..], &b"t"[..]).await;
    phone.send_location(31.230_416, 121.473_701, 16, "上海市黄浦区").await;
    phone.send_link("T", "D", "https://example.com/a").await;
    phone.send_mini_program("T", "wx0", "pages/index").await;
    phone.send_unknown("novelty").await;
    phone.tap_menu("CLICK", "MENU_HELP").await;
    phone.tap_menu("scancode_waitmsg", "MENU_SCAN").await;
    phone.scan("shop42").await;
    phone.tap_msgmenu("101", "满意").await;
    assert_eq!(phone.sends_left(), 8);
    let unfollowed = phone.unfollow().await;
    assert_eq!((unfollowed.msg_id, phone.sends_left()), (None, 0));
    let bodies: Vec<String> = bridge.requests().into_iter().map(|(_, body)| body).collect();
    for (at, parts) in [
        (0, &["<Event><![CDATA[subscribe]]></Event><EventKey><![CDATA[]]></EventKey>"][..]),
        (1, &["<![CDATA[qrscene_shop42]]>", "<Ticket>"]),
        (2, &["<PicUrl><![CDATA[http://127.0.0.1:", "<MediaId><![CDATA[m"]),
        (3, &["<Format><![CDATA[amr]]></Format><Recognition><![CDATA[]]></Recognition>", "<MediaId16K>"]),
        (4, &["<MsgType><![CDATA[video]]></MsgType>", "<ThumbMediaId>"]),
        (5, &["<![CDATA[shortvideo]]>"]),
        (6, &["<Location_X>31.230416</Location_X><Location_Y>121.473701</Location_Y><Scale>16</Scale>"]),
        (7, &["<Url><![CDATA[https://example.com/a]]></Url><MsgId>"]),
        (8, &["<![CDATA[miniprogrampage]]>", "<PagePath>"]),
        (9, &["<MsgType><![CDATA[novelty]]></MsgType>"]),
        (10, &["<Event><![CDATA[CLICK]]></Event><EventKey><![CDATA[MENU_HELP]]></EventKey></xml>"]),
        (11, &["<ScanCodeInfo><ScanType><![CDATA[qrcode]]></ScanType>"]),
        (12, &["<![CDATA[SCAN]]>", "<EventKey><![CDATA[shop42]]></EventKey>"]),
        (13, &["<Content><![CDATA[满意]]></Content><bizmsgmenuid>101</bizmsgmenuid>"]),
        (14, &["<![CDATA[unsubscribe]]>"]),
    ] {
        for part in parts {
            assert!(bodies[at].contains(part), "{}", bodies[at]);
        }
    }
    let event = events.recv().await.unwrap();
    assert_eq!(
        (event.direction, event.response.as_str(), event.status),
        (Direction::Push, "success", Some(200))
    );
    assert!(event.query.contains("signature=***") && event.request == bodies[0]);
}

#[tokio::test]
async fn waiting_ends_when_the_condition_comes_true_or_the_time_is_up() {
    let (sim, clock) = sim(|_| ()).await;
    let bridge = Bridge::default();
    let _served = bridge.start(&sim).await;
    let phone = sim.customer(OPENID);
    bridge.script([ScriptedAnswer { delay: Duration::from_millis(50), ..answer(reply(&sim, &clock, "hi")) }]);
    let (shown, recorded, _) = tokio::join!(
        phone.wait_for(LONG_DELAY, |screen| screen.iter().any(|shown| shown.text == "hi")),
        sim.wait_until(LONG_DELAY, |ledger| ledger.pushes.len() == 1),
        phone.say("hello"),
    );
    assert!(recorded && shown.unwrap().len() == 1);
    let missing = phone.wait_for(Duration::from_millis(20), |screen| screen.len() == 2).await.unwrap_err();
    assert_eq!(missing.0.len(), 1);
    assert!(!sim.wait_until(Duration::from_millis(20), |ledger| ledger.pushes.len() == 2).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_of_many_concurrent_customers_succeed() {
    let (sim, _) = sim(|settings| settings.ledger_limit = 300).await;
    let bridge = Bridge::default();
    let _served = bridge.start(&sim).await;
    let started = std::time::Instant::now();
    let customers = (0..100).map(|n| {
        let phone = sim.customer(&format!("o{n}"));
        async move {
            for _ in 0..10 {
                assert!(!phone.say("hello").await.fault_line);
            }
        }
    });
    futures_util::future::join_all(customers).await;
    println!("1000 pushes in {:?}", started.elapsed());
    let ids: std::collections::HashSet<_> = sim.ledger().pushes.iter().map(|push| push.msg_id).collect();
    assert_eq!((bridge.requests().len(), ids.len()), (1000, 300));
}
