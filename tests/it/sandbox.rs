//! The sandbox for people, as its page uses it: over its own HTTP, with the bridge as a real process.

mod doings;
mod drills;
mod events;
mod followed;
mod process;
mod safety;

use std::time::Duration;

use serde_json::{Value, json};
use wechat_im_bridge::config::{Locale, Texts};
use wechat_im_bridge::sandbox::{Sandbox, Settings};

use crate::world::eventually;

/// Long enough for a loaded machine, short enough to fail in.
const SOON: Duration = Duration::from_secs(20);
const FIRST: &str = "oSandboxPageCustomer00000001";

/// A running sandbox, and a browser's place in front of it.
struct Lab {
    sandbox: Sandbox,
    http: reqwest::Client,
}

impl Lab {
    async fn start() -> Self {
        let settings = Settings {
            program: env!("CARGO_BIN_EXE_wechat-im-bridge").into(),
            environment: vec![("BRIDGE_LOG__LEVEL".into(), "off".into())],
            listen: "127.0.0.1:0".parse().unwrap(),
            texts: Texts::defaults(Locale::En, "XX"),
        };
        let sandbox = Sandbox::start(settings).await.unwrap();
        Self { sandbox, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.sandbox.address())
    }

    async fn state(&self) -> Value {
        self.http.get(self.url("/api/state")).send().await.unwrap().json().await.unwrap()
    }

    /// A POST of JSON: its status and answer.
    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let sent = self.http.post(self.url(path)).json(body).send().await.unwrap();
        (sent.status().as_u16(), sent.json().await.unwrap())
    }

    async fn begin(&self, path: &str, body: Value) {
        let (status, answer) = self.post(path, &body).await;
        assert_eq!(status, 202, "{path} {body}: {answer}");
    }

    /// The customer does it.
    async fn customer(&self, openid: &str, does: Value) {
        self.begin(&format!("/api/customers/{openid}"), does).await;
    }

    /// The first customer follows, and has been welcomed.
    async fn follower(&self) -> &'static str {
        self.customer(FIRST, json!({"do": "follow"})).await;
        self.until("the welcome", |state| texts(state, FIRST).iter().any(|text| text.contains("Thanks for")))
            .await;
        FIRST
    }

    /// Waits until the state fulfils the condition, and gives it.
    async fn until(&self, what: &str, mut condition: impl FnMut(&Value) -> bool) -> Value {
        let mut state = Value::Null;
        let fulfilled = eventually(SOON, async || {
            state = self.state().await;
            condition(&state)
        });
        assert!(fulfilled.await, "{what} is not in {state:#}");
        state
    }

    async fn stop(self) {
        let (page, bridge) = (self.url("/"), self.sandbox.bridge_url());
        self.sandbox.stop().await;
        for url in [page, bridge] {
            assert!(self.http.get(&url).send().await.is_err(), "{url} is still served");
        }
    }
}

fn customer<'a>(state: &'a Value, openid: &str) -> &'a Value {
    let customers = state["customers"].as_array().unwrap();
    customers.iter().find(|customer| customer["openid"] == openid).unwrap()
}

fn screen<'a>(state: &'a Value, openid: &str) -> &'a [Value] {
    customer(state, openid)["screen"].as_array().unwrap()
}

/// What the account has shown this customer.
fn texts<'a>(state: &'a Value, openid: &str) -> Vec<&'a str> {
    let shown = screen(state, openid).iter().filter(|entry| entry["from"] == "account");
    shown.map(|entry| entry["text"].as_str().unwrap()).collect()
}

/// The agent who has a conversation with this customer, and that conversation.
fn conversation<'a>(state: &'a Value, openid: &str) -> Option<(&'a str, &'a Value)> {
    state["agents"].as_array().unwrap().iter().find_map(|agent| {
        let conversations = agent["conversations"].as_array().unwrap();
        let one = conversations.iter().find(|one| one["openid"] == openid)?;
        Some((agent["user_id"].as_str().unwrap(), one))
    })
}

/// The messages of that conversation.
fn messages<'a>(state: &'a Value, openid: &str) -> &'a [Value] {
    conversation(state, openid).map_or(&[], |(_, one)| one["messages"].as_array().unwrap())
}

fn says(message: &Value, words: &str) -> bool {
    message["text"].as_str().unwrap().contains(words)
}
