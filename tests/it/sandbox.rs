//! Tests of the sandbox through the HTTP API of its page, with the bridge as a real process.

mod actions;
mod drills;
mod events;
mod instances;
mod process;
mod safety;
mod wire;

use std::time::Duration;

use serde_json::{Value, json};
use wechat_im_bridge::internals::config::{Locale, Texts};
use wechat_im_bridge::internals::sandbox::{Sandbox, Settings, Stores};

use crate::world::eventually;

/// The time limit for an event that is due at once. It is long enough for a loaded machine.
const SOON: Duration = Duration::from_secs(20);
const FIRST: &str = "oSandboxPageCustomer00000001";

/// A running sandbox, and an HTTP client in place of a browser.
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
            hours: None,
            stores: Stores::Files,
            instances: None,
        };
        let sandbox = Sandbox::start(settings).await.unwrap();
        Self { sandbox, http: wechat_im_bridge::internals::http_client::loopback().build().unwrap() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.sandbox.address())
    }

    async fn state(&self) -> Value {
        self.http.get(self.url("/api/state")).send().await.unwrap().json().await.unwrap()
    }

    /// Sends a POST request with JSON, and returns the status and the body of the response.
    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let sent = self.http.post(self.url(path)).json(body).send().await.unwrap();
        (sent.status().as_u16(), sent.json().await.unwrap())
    }

    /// Sends a POST request and asserts that the sandbox accepts it.
    async fn post_accepted(&self, path: &str, body: Value) {
        let (status, answer) = self.post(path, &body).await;
        assert_eq!(status, 202, "{path} {body}: {answer}");
    }

    /// Lets the customer perform an action.
    async fn act_as_customer(&self, openid: &str, action: Value) {
        self.post_accepted(&format!("/api/customers/{openid}"), action).await;
    }

    /// Lets the first customer follow the account, and waits for the welcome.
    async fn follower(&self) -> &'static str {
        self.act_as_customer(FIRST, json!({"do": "follow"})).await;
        self.until("the welcome", |state| texts(state, FIRST).iter().any(|text| text.contains("Thanks for")))
            .await;
        FIRST
    }

    /// Waits until the state fulfils the condition, and returns the state.
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

/// The texts that the account has sent to this customer.
fn texts<'a>(state: &'a Value, openid: &str) -> Vec<&'a str> {
    let shown = screen(state, openid).iter().filter(|entry| entry["from"] == "account");
    shown.map(|entry| entry["text"].as_str().unwrap()).collect()
}

/// The agent who has this customer's conversation, and the conversation.
fn conversation<'a>(state: &'a Value, openid: &str) -> Option<(&'a str, &'a Value)> {
    state["agents"].as_array().unwrap().iter().find_map(|agent| {
        let conversations = agent["conversations"].as_array().unwrap();
        let one = conversations.iter().find(|one| one["openid"] == openid)?;
        Some((agent["user_id"].as_str().unwrap(), one))
    })
}

/// The messages of this customer's conversation, behind the line that says who comes.
fn messages<'a>(state: &'a Value, openid: &str) -> &'a [Value] {
    let all = conversation(state, openid).map_or(&[][..], |(_, one)| one["messages"].as_array().unwrap());
    match all.split_first() {
        Some((first, rest)) if contains(first, "[bridge] New customer.") => rest,
        _ => all,
    }
}

fn contains(message: &Value, text: &str) -> bool {
    message["text"].as_str().unwrap().contains(text)
}
