//! Any input to the HTTP endpoints gets the contract's answer, and the next good request is served.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use wechat_im_bridge::internals::sandbox::wechat::{Mode, crypto};

use crate::raw_http::{self, text_message};
use crate::surface::in_mode;
use crate::world::{AES_KEY, SOON, TRANSFERRING, World, eventually, openid};

const CASES: u32 = 96;

/// A world in which every case of a property is tried, one after the other.
struct PropertyWorld {
    world: World,
    runtime: Runtime,
}

impl PropertyWorld {
    fn new(mode: (&'static str, Mode)) -> Self {
        let runtime = Runtime::new().unwrap();
        let world = runtime.block_on(in_mode(mode).start());
        runtime.block_on(world.follower("good").say("hello"));
        Self { world, runtime }
    }

    /// Checks every case, and sends a good push after each.
    fn check_all<S: Strategy>(
        self,
        cases: &S,
        check: &impl AsyncFn(&World, S::Value) -> Result<(), TestCaseError>,
    ) {
        let mut runner =
            TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        let Self { world, runtime } = self;
        let result = runner.run(cases, |case| {
            runtime.block_on(async {
                check(&world, case).await?;
                let good = world.follower("good").say("still there?").await;
                prop_assert_eq!(good.text(), Some(TRANSFERRING), "the next good push");
                Ok(())
            })
        });
        if let Err(error) = result {
            panic!("{error}");
        }
        runtime.block_on(async {
            // Random senders may have left messages that IM refuses. The test only requires that
            // the bridge stops cleanly.
            let mut world = world;
            world.stop_bridge().await;
        });
    }
}

/// Checks that the answer is either `success` or one reply.
fn assert_answered(answer: &raw_http::Response) -> Result<(), TestCaseError> {
    prop_assert_eq!(answer.status, 200);
    let is_reply = answer.text().starts_with("<xml>") && answer.text().ends_with("</xml>");
    prop_assert!(is_reply || answer.text() == "success", "{}", answer.text());
    Ok(())
}

/// The account that the bridge serves.
const ACCOUNT: &str = "gh_bridge000001";

/// XML as WeChat might push it to our account, with arbitrary contents of its elements, and arbitrary bytes.
/// Nothing in it is a reason to refuse it.
fn pushes() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(
        &[
            "FromUserName",
            "CreateTime",
            "MsgType",
            "MsgId",
            "Event",
            "EventKey",
            "Content",
            "PicUrl",
            "Location_X",
            "Location_Y",
            "Scale",
            "Label",
            "Title",
            "Url",
            "bizmsgmenuid",
            "x",
        ][..],
    );
    let word = prop_oneof![
        prop::sample::select(
            &[
                "gh_bridge000001",
                "oABCD1234efgh5678IJKL90good",
                "text",
                "event",
                "image",
                "location",
                "link",
                "subscribe",
                "unsubscribe",
                "CLICK",
                "SCAN",
                "1700000000",
                "-1",
                "99999999999999999999",
                "NaN",
                "",
            ][..]
        )
        .prop_map(str::to_owned),
        "\\PC{0,20}",
        any::<String>(),
    ];
    let element = (name, word, any::<bool>()).prop_map(|(name, word, cdata)| {
        let word = if cdata { format!("<![CDATA[{word}]]>") } else { word };
        format!("<{name}>{word}</{name}>")
    });
    let receiver = prop_oneof![Just(String::new()), Just(format!("<ToUserName>{ACCOUNT}</ToUserName>"))];
    let document = (receiver, prop::collection::vec(element, 0..12))
        .prop_map(|(receiver, all)| format!("<xml>{receiver}{}</xml>", all.concat()));
    prop_oneof![
        3 => document.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => ("<xml>", prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(a, b)| [a.as_bytes(), &b].concat()),
    ]
}

#[test]
fn any_signed_body_is_answered() {
    PropertyWorld::new(("plain", Mode::Plain)).check_all(&pushes(), &async |world, body| {
        let answer = raw_http::post(&world.public(), &format!("/?{}", raw_http::query(world)), &body).await;
        assert_answered(&answer)
    });
}

/// A body that names another account is refused, whatever else is in it.
#[test]
fn any_signed_body_for_another_account_is_refused() {
    let foreign = "gh_[0-9a-f]{12}".prop_map(|account| format!("<ToUserName>{account}</ToUserName>"));
    let body = (foreign, "[a-z0-9 ]{0,40}").prop_map(|(foreign, content)| {
        let customer = openid("foreign");
        format!(
            "<xml>{foreign}<FromUserName>{customer}</FromUserName><CreateTime>1</CreateTime>\
             <MsgType>text</MsgType><MsgId>1</MsgId><Content>{content}</Content></xml>"
        )
    });
    PropertyWorld::new(("plain", Mode::Plain)).check_all(&body, &async |world, body| {
        let answer = raw_http::post(&world.public(), &format!("/?{}", raw_http::query(world)), &body).await;
        prop_assert_eq!((answer.status, answer.text()), (403, ""));
        Ok(())
    });
}

#[test]
fn any_encrypted_and_signed_body_is_answered() {
    PropertyWorld::new(("safe", Mode::Safe)).check_all(&pushes(), &async |world, inner| {
        let wechat = world.wechat.settings();
        let encrypt =
            crypto::Crypt::new(AES_KEY, &wechat.app_id).unwrap().encrypt(&inner, rand::random()).unwrap();
        let now = world.clock.now().seconds().to_string();
        let signature = crypto::sign(&[&wechat.token, &now, "1", &encrypt]);
        let path = format!("/?timestamp={now}&nonce=1&encrypt_type=aes&msg_signature={signature}");
        let answer =
            raw_http::post(&world.public(), &path, format!("<xml><Encrypt>{encrypt}</Encrypt></xml>")).await;
        assert_answered(&answer)
    });
}

#[test]
fn in_safe_mode_no_unencrypted_body_is_accepted() {
    PropertyWorld::new(("safe", Mode::Safe)).check_all(&pushes(), &async |world, body| {
        let query = format!("{}&encrypt_type=aes&msg_signature={}", raw_http::query(world), "0".repeat(40));
        let answer = raw_http::post(&world.public(), &format!("/?{query}"), &body).await;
        prop_assert_eq!((answer.status, answer.text()), (403, ""));
        Ok(())
    });
}

#[test]
fn no_unsigned_query_is_accepted() {
    let query = prop_oneof![
        "[A-Za-z0-9&=%+.,;:/?@!$'()*_~-]{0,60}",
        "(signature|timestamp|nonce|echostr|openid|=|&|%[0-9a-f]{2}|%|a|1){0,30}",
    ];
    PropertyWorld::new(("compatible", Mode::Compatible)).check_all(&query, &async |world, query| {
        let answer = raw_http::get(&world.public(), &format!("/?{query}")).await;
        prop_assert_eq!((answer.status, answer.text()), (200, "404 not found"));
        let message = text_message(&openid("query"), 1, "hi");
        let answer = raw_http::post(&world.public(), &format!("/?{query}"), message).await;
        prop_assert_eq!(answer.status, 403);
        let answer = raw_http::post(&world.public(), &format!("/imcallback?{query}"), "{}").await;
        prop_assert_eq!(answer.status, 403);
        Ok(())
    });
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(&["C2C.CallbackAfterSendMsg", "user1", "TIMTextElem", "0", "Text"][..])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((members(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn members() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(&["MsgType", "MsgContent", "Text", "Desc", "Data", "ImageInfoArray", "URL"][..])
            .prop_map(str::to_owned),
        any::<String>(),
    ]
}

/// A valid callback in which one member is replaced.
fn callbacks() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(
        &[
            "CallbackCommand",
            "From_Account",
            "To_Account",
            "MsgSeq",
            "MsgRandom",
            "MsgTime",
            "MsgKey",
            "MsgBody",
            "SendMsgResult",
            "CloudCustomData",
            "EventTime",
            "Extra",
        ][..],
    );
    (name, values(), any::<u32>()).prop_map(|(name, value, key)| {
        let mut body = json!({
            "CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": "user1", "To_Account": openid("good"),
            "MsgSeq": 1, "MsgRandom": 2, "MsgTime": crate::raw_http::started_s(), "MsgKey": key.to_string(), "SendMsgResult": 0,
            "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "hi"}}],
        });
        body[name] = value;
        body
    })
}

#[test]
fn any_callback_body_is_accepted_if_and_only_if_it_is_an_object_or_can_be_repaired_to_one() {
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        values().prop_map(|value| value.to_string().into_bytes()),
        callbacks().prop_map(|value| value.to_string().into_bytes()),
    ];
    PropertyWorld::new(("plain", Mode::Plain)).check_all(&body, &async |world, body| {
        let is_object = serde_json::from_slice::<Map<String, Value>>(&body).is_ok();
        let answer = raw_http::post(&world.public(), &raw_http::callback_path(world, &[]), &body).await;
        let info: Value = serde_json::from_slice(&answer.body).unwrap();
        let text = String::from_utf8_lossy(&body);
        let may_be_repaired = text.trim_start_matches(['\u{feff}', ' ', '\t', '\n', '\r']).starts_with('{');
        if is_object || (may_be_repaired && answer.status == 200) {
            prop_assert_eq!(answer.status, 200);
            prop_assert_eq!(info, json!({"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0}));
        } else {
            prop_assert_eq!(answer.status, 400);
            prop_assert_eq!((&info["ActionStatus"], &info["ErrorCode"]), (&json!("FAIL"), &json!(1)));
        }
        Ok(())
    });
}

/// Bytes that are not HTTP end their own connection and nothing else.
#[test]
fn bytes_that_are_not_http_do_not_harm_the_server() {
    let bytes = prop::collection::vec(any::<u8>(), 1..300);
    PropertyWorld::new(("plain", Mode::Plain)).check_all(&bytes, &async |world, mut bytes| {
        bytes.extend_from_slice(b"\r\n\r\n");
        let mut connection = raw_http::Connection::open(&world.public()).await;
        connection.send(&bytes).await;
        if let Some(answer) = connection.response().await {
            prop_assert!((400..=505).contains(&answer.status), "{:?}", answer);
        }
        let alive =
            eventually(SOON, &async || raw_http::get(&world.ops(), "/readyz").await.status == 200).await;
        prop_assert!(alive);
        Ok(())
    });
}
