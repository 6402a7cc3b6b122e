//! Tests of webhooks against a receiver that records them.

use super::super::callback::CallbackError;
use super::super::settings::BeforeSend;
use super::super::{Direction, sign};
use super::*;
use crate::sandbox::serve::{self, Server};
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Stands in for the bridge. It records webhooks and gives its scripted answers, then OK.
pub(super) struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<ReceivedWebhook>>>,
    answers: Arc<Mutex<VecDeque<ScriptedAnswer>>>,
    arrivals: tokio::sync::watch::Receiver<usize>,
    _served: Server,
}

#[derive(Clone, Debug)]
pub(super) struct ReceivedWebhook {
    pub query: BTreeMap<String, String>,
    pub body: Value,
    has_content_type: bool,
}

enum ScriptedAnswer {
    Json(Value),
    Status(u16),
    Never,
    Cut,
}

impl Receiver {
    async fn start() -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(VecDeque::<ScriptedAnswer>::new()));
        let (arrivals_tx, arrivals) = tokio::sync::watch::channel(0);
        let (list, script) = (Arc::clone(&received), Arc::clone(&answers));
        let router = Router::new().fallback(async move |request: Request| -> Response {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let query =
                url::form_urlencoded::parse(head.uri.query().unwrap().as_bytes()).into_owned().collect();
            let has_content_type = head.headers.contains_key("content-type");
            list.lock().push(ReceivedWebhook {
                query,
                body: serde_json::from_slice(&body).unwrap(),
                has_content_type,
            });
            arrivals_tx.send_modify(|count| *count += 1);
            let answer = script.lock().pop_front();
            match answer {
                None => {
                    json!({"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0}).to_string().into_response()
                }
                Some(ScriptedAnswer::Json(answer)) => answer.to_string().into_response(),
                Some(ScriptedAnswer::Status(status)) => {
                    axum::http::StatusCode::from_u16(status).unwrap().into_response()
                }
                Some(ScriptedAnswer::Never) => std::future::pending().await,
                Some(ScriptedAnswer::Cut) => serve::SimulatedResponse::cut_connection().response,
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let served = Server::start(listener, router).unwrap();
        let url = format!("http://{}/imcallback", served.address());
        Self { url, received, answers, arrivals, _served: served }
    }

    pub async fn wait(&self, count: usize) -> Vec<ReceivedWebhook> {
        let mut arrivals = self.arrivals.clone();
        tokio::time::timeout(WAIT_LIMIT, arrivals.wait_for(|seen| *seen >= count)).await.unwrap().unwrap();
        self.received.lock().clone()
    }

    fn count(&self) -> usize {
        self.received.lock().len()
    }

    fn answer(&self, answer: ScriptedAnswer) {
        self.answers.lock().push_back(answer);
    }
}

pub(super) async fn connected() -> (Bench, Receiver) {
    let (bench, receiver) = (Bench::start().await, Receiver::start().await);
    bench.sim.connect(&receiver.url);
    (bench, receiver)
}

#[tokio::test]
async fn an_agents_message_is_stored_and_sent_as_a_webhook() {
    let (bench, receiver) = connected().await;
    let mut wire = bench.sim.events();
    let sent = bench.agent.say(CUSTOMER, "Yes, size M is in stock.").await.unwrap();
    let result = sent.callback.clone().unwrap();
    assert_eq!((result.status, &result.error), (Some(200), &None));
    let webhook = receiver.wait(1).await.remove(0);
    let expected = [
        ("SdkAppid", "1400000000"),
        ("CallbackCommand", "C2C.CallbackAfterSendMsg"),
        ("contenttype", "json"),
        ("ClientIP", "203.0.113.9"),
        ("OptPlatform", "Web"),
    ];
    assert_eq!(webhook.query, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert!(!webhook.has_content_type, "no Content-Type is documented");
    let body = &webhook.body;
    assert_eq!(body["MsgKey"], sent.msg_key);
    let fields = (&body["From_Account"], &body["To_Account"], &body["SendMsgResult"], &body["UnreadMsgNum"]);
    assert_eq!(fields, (&json!(AGENT), &json!(CUSTOMER), &json!(0), &json!(1)));
    assert_eq!(texts(&bench.agent.conversation(CUSTOMER)), ["Yes, size M is in stock."]);
    assert_eq!(wire.recv().await.unwrap().direction, Direction::Sent);
}

#[tokio::test]
async fn with_a_token_it_is_signed_and_a_repeat_is_signed_anew() {
    let (bench, receiver) = connected().await;
    bench.sim.change(|settings| settings.callback_token = Some("xxxxyyyy".into()));
    let sent = bench.agent.say(CUSTOMER, "signed").await.unwrap();
    bench.clock.advance(2_000);
    bench.sim.repeat(&sent).await.unwrap();
    let webhooks = receiver.wait(2).await;
    for webhook in &webhooks {
        assert_eq!(webhook.query["Sign"], sign("xxxxyyyy", &webhook.query["RequestTime"]));
    }
    assert_ne!(webhooks[0].query["RequestTime"], webhooks[1].query["RequestTime"]);
    assert_eq!(webhooks[0].body, webhooks[1].body);
}

#[tokio::test]
async fn a_lost_webhook_leaves_the_message_in_history() {
    let (bench, receiver) = connected().await;
    bench.sim.lose_next_callbacks(1);
    let lost = bench.agent.say(CUSTOMER, "lost").await.unwrap();
    assert_eq!(lost.callback, None);
    bench.agent.say(CUSTOMER, "told").await.unwrap();
    assert_eq!(receiver.count(), 1);
    assert_eq!(texts(&bench.agent.conversation(CUSTOMER)), ["lost", "told"]);
    assert_eq!(bench.sim.repeat(&lost).await.unwrap().status, Some(200));
}

#[tokio::test]
async fn a_rest_send_causes_a_webhook_unless_it_forbids_it() {
    let (bench, receiver) = connected().await;
    bench.send(&bench.message("quiet")).await;
    bench.send(&with_field(bench.message("loud"), "ForbidCallbackControl", json!(null))).await;
    let webhooks = receiver.wait(1).await;
    assert_eq!(webhooks[0].query["OptPlatform"], "RESTAPI");
    assert_eq!(webhooks[0].body["MsgBody"][0]["MsgContent"]["Text"], "loud");
}

#[tokio::test]
async fn failures_are_named_and_a_timeout_is_retried_if_set() {
    let (bench, receiver) = connected().await;
    receiver.answer(ScriptedAnswer::Status(403));
    receiver.answer(ScriptedAnswer::Json(json!("no object")));
    receiver.answer(ScriptedAnswer::Cut);
    let error = async || bench.agent.say(CUSTOMER, "x").await.unwrap().callback.unwrap().error;
    assert_eq!(error().await, Some(CallbackError::Status(403)));
    assert_eq!(error().await, Some(CallbackError::NotJson));
    assert!(matches!(error().await, Some(CallbackError::Unreachable(_))));

    bench.sim.change(|settings| settings.callback_timeout = Duration::from_millis(100));
    receiver.answer(ScriptedAnswer::Never);
    assert_eq!(error().await, Some(CallbackError::TimedOut));
    assert_eq!(receiver.count(), 4, "no retry by default");
    bench.sim.change(|settings| settings.retry_on_timeout = true);
    receiver.answer(ScriptedAnswer::Never);
    assert_eq!(error().await, None);
    let webhooks = receiver.wait(6).await;
    assert_eq!(webhooks[4].body, webhooks[5].body);
}

#[tokio::test]
async fn webhooks_can_be_forged() {
    let (bench, receiver) = connected().await;
    bench.sim.change(|settings| settings.callback_token = Some("kf-bridge-token".into()));
    let body =
        json!({"CallbackCommand": "C2C.CallbackAfterMsgReport", "EventTime": "1700000000000"}).to_string();
    bench.sim.send_raw_callback(&body, |_| {}).await;
    bench
        .sim
        .send_raw_callback(&body, |query| {
            query.set("SdkAppid", "1");
            query.set("CallbackCommand", "C2C.CallbackAfterSendMsg");
            query.set("Sign", "00");
            query.remove("RequestTime");
        })
        .await;
    let webhooks = receiver.wait(2).await;
    assert_eq!(webhooks[0].query["CallbackCommand"], "C2C.CallbackAfterMsgReport");
    assert_eq!(webhooks[1].query["CallbackCommand"], "C2C.CallbackAfterSendMsg");
    assert_eq!(
        (webhooks[1].query["Sign"].as_str(), webhooks[1].query.contains_key("RequestTime")),
        ("00", false)
    );
}

#[tokio::test]
async fn the_webhook_before_sending_decides() {
    let (bench, receiver) = connected().await;
    bench.sim.change(|settings| {
        settings.webhooks.before_send = BeforeSend::DeliverOnFailure;
        settings.webhooks.after_send = false;
    });
    let changed = json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": "changed"}}]);
    let decide =
        |code: i64| ScriptedAnswer::Json(json!({"ActionStatus": "OK", "ErrorInfo": "no", "ErrorCode": code}));
    receiver
        .answer(ScriptedAnswer::Json(json!({"ErrorCode": 0, "MsgBody": changed, "CloudCustomData": "c"})));
    receiver.answer(decide(1));
    receiver.answer(decide(2));
    receiver.answer(decide(120_010));
    receiver.answer(ScriptedAnswer::Status(500));
    let say =
        async |text: &str| bench.agent.say(CUSTOMER, text).await.map(drop).map_err(|refused| refused.code);
    assert_eq!(say("original").await, Ok(()));
    assert_eq!(say("refused").await, Err(20006));
    assert_eq!(say("dropped").await, Ok(()));
    assert_eq!(say("own code").await, Err(120_010));
    assert_eq!(say("failed").await, Ok(()));
    assert_eq!(texts(&bench.agent.conversation(CUSTOMER)), ["changed", "failed"]);
    assert_eq!(receiver.wait(5).await[0].query["CallbackCommand"], "C2C.CallbackBeforeSendMsg");

    bench.sim.change(|settings| settings.webhooks.before_send = BeforeSend::RefuseOnFailure);
    receiver.answer(ScriptedAnswer::Status(500));
    let rest = with_field(bench.message("x"), "ForbidCallbackControl", json!(null));
    assert_eq!(bench.code("openim/sendmsg", &rest).await, 80003);
    assert_eq!(bench.code("openim/sendmsg", &bench.message("forbidden, so not asked")).await, 0);
}

#[tokio::test]
async fn reading_and_recalling_send_webhooks_if_switched_on() {
    let (bench, receiver) = connected().await;
    bench.sim.change(|settings| {
        settings.webhooks.after_read = true;
        settings.webhooks.after_withdraw = true;
    });
    let key = bench.send(&bench.message("hello")).await["MsgKey"].clone();
    bench.agent.read(CUSTOMER).await;
    assert!(!bench.agent.inbox()[0].unread);
    let first = receiver.wait(1).await.remove(0);
    assert_eq!((&first.body["Report_Account"], &first.body["UnreadMsgNum"]), (&json!(AGENT), &json!(0)));
    let recall = json!({"From_Account": CUSTOMER, "To_Account": AGENT, "MsgKey": key});
    assert_eq!(bench.code("openim/admin_msgwithdraw", &recall).await, 0);
    assert_eq!(receiver.wait(2).await[1].query["CallbackCommand"], "C2C.CallbackAfterMsgWithDraw");
}

#[tokio::test]
async fn an_agents_client_gets_the_error_codes_of_a_client() {
    let bench = Bench::start().await;
    assert_eq!(bench.agent.say("nobody", "hello").await.unwrap_err().code, 20003);
    assert_eq!(bench.agent.send(CUSTOMER, json!([])).await.unwrap_err().code, 90002);
    let relay = json!([{"MsgType": "TIMRelayElem", "MsgContent": {"Title": "Chat history"}}]);
    assert!(bench.agent.send(CUSTOMER, relay).await.is_ok());
}
