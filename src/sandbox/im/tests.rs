//! Tests of the simulated IM over HTTP and through an agent's client.

mod accounts;
mod control;
mod gateway;
mod history;
mod sending;
mod uikit;
mod webhooks;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{AgentClient, ImSim, Settings, usersig};
use crate::clock::Clock;

const APP: u32 = 1_400_000_000;
const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
const ADMIN: &str = "administrator";
const AGENT: &str = "kf_lin";
const CUSTOMER: &str = "oABCD1234efgh5678IJKL90_-mno";
const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// A running platform with one agent and one customer. Its clock stands at the beginning of a
/// second.
struct Bench {
    sim: ImSim,
    clock: Clock,
    http: reqwest::Client,
    agent: AgentClient,
    randoms: AtomicU32,
}

impl Bench {
    async fn start() -> Self {
        let clock = Clock::movable();
        let sim = ImSim::start(Settings::new(APP, KEY, ADMIN), clock.clone()).await.unwrap();
        sim.import(CUSTOMER).unwrap();
        let agent = sim.agent(AGENT).unwrap();
        let bench = Self {
            sim,
            clock,
            http: crate::http_client::loopback().build().unwrap(),
            agent,
            randoms: AtomicU32::new(1),
        };
        bench.next_second();
        bench
    }

    /// Moves the clock to the beginning of the next second, so that the calls that follow share it.
    fn next_second(&self) {
        self.clock.advance(1_010 - self.clock.now().0 % 1000);
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// A valid query.
    fn query(&self) -> Vec<(&'static str, String)> {
        vec![
            ("sdkappid", APP.to_string()),
            ("identifier", ADMIN.into()),
            ("usersig", usersig::issue(ADMIN, APP, KEY, self.now(), 86_400)),
            ("random", "4294967295".into()),
            ("contenttype", "json".into()),
        ]
    }

    async fn raw(&self, path: &str, query: &[(&str, String)], body: &str) -> reqwest::Result<String> {
        let url = format!("{}/v4/{path}", self.sim.base_url());
        self.http.post(url).query(query).body(body.to_owned()).send().await?.text().await
    }

    async fn call(&self, path: &str, body: &Value) -> Value {
        let text = self.raw(path, &self.query(), &body.to_string()).await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        let ok = answer["ErrorCode"] == json!(0);
        assert_eq!(answer["ActionStatus"] == "FAIL", !ok, "{answer}");
        assert!(answer["ErrorInfo"].is_string(), "{answer}");
        answer
    }

    async fn code(&self, path: &str, body: &Value) -> i64 {
        self.call(path, body).await["ErrorCode"].as_i64().unwrap()
    }

    /// A valid `sendmsg` from the customer to the agent, with its own MsgRandom.
    fn message(&self, text: &str) -> Value {
        json!({
            "SyncOtherMachine": 2, "From_Account": CUSTOMER, "To_Account": AGENT,
            "MsgSeq": 5, "MsgRandom": self.randoms.fetch_add(1, Ordering::Relaxed),
            "MsgTimeStamp": self.now(), "MsgLifeTime": 604_800,
            "ForbidCallbackControl": ["ForbidBeforeSendMsgCallback", "ForbidAfterSendMsgCallback"],
            "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": text}}],
            "CloudCustomData": "{}",
        })
    }

    async fn send(&self, body: &Value) -> Value {
        self.call("openim/sendmsg", body).await
    }
}

/// Sets one field of `body`. `null` removes the field.
fn with_field(mut body: Value, name: &str, value: Value) -> Value {
    if value.is_null() {
        body.as_object_mut().unwrap().remove(name);
    } else {
        body[name] = value;
    }
    body
}

fn texts(messages: &[super::MessageView]) -> Vec<String> {
    messages.iter().map(|message| message.text()).collect()
}
