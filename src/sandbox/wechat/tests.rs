//! Tests of the simulated platform against a small scripted bridge: refusals, pushes and accepted
//! answers.

mod api;
mod control;
mod faults;
mod push;

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::*;

const OPENID: &str = "oBridgeUser0000000000000001x";

async fn sim(change: impl FnOnce(&mut Settings)) -> (WechatSim, Clock) {
    let clock = Clock::movable();
    let mut settings = Settings::default();
    change(&mut settings);
    (WechatSim::start(settings, clock.clone()).await.unwrap(), clock)
}

/// Calls an API with a valid token. Uses POST if there is a body and GET otherwise.
async fn call(sim: &WechatSim, path: &str, body: Option<&str>) -> Value {
    fetch(sim, &format!("{path}?access_token={}", token(sim).await), body).await
}

async fn fetch(sim: &WechatSim, path: &str, body: Option<&str>) -> Value {
    let http = &sim.platform.http;
    let url = format!("{}{path}", sim.base_url());
    let request = match body {
        Some(body) => http.post(url).body(body.to_owned()),
        None => http.get(url),
    };
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

async fn token(sim: &WechatSim) -> String {
    let response = stable_token(sim, json!({})).await;
    response["access_token"].as_str().unwrap().to_owned()
}

async fn stable_token(sim: &WechatSim, change: Value) -> Value {
    let settings = sim.settings();
    let mut body = json!({
        "grant_type": "client_credential", "appid": settings.app_id, "secret": settings.app_secret,
    });
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    fetch(sim, "/cgi-bin/stable_token", Some(&body.to_string())).await
}

async fn send(sim: &WechatSim, payload: Value) -> i64 {
    send_raw(sim, &payload.to_string()).await
}

async fn send_raw(sim: &WechatSim, body: &str) -> i64 {
    call(sim, "/cgi-bin/message/custom/send", Some(body)).await["errcode"].as_i64().unwrap()
}

fn text(content: &str) -> Value {
    json!({"touser": OPENID, "msgtype": "text", "text": {"content": content}})
}

/// One scripted answer of the bridge.
struct ScriptedAnswer {
    delay: Duration,
    status: u16,
    body: String,
}

fn answer(body: impl Into<String>) -> ScriptedAnswer {
    ScriptedAnswer { delay: Duration::ZERO, status: 200, body: body.into() }
}

/// A bridge that gives its scripted answers in order, then `success`.
#[derive(Clone, Default)]
struct Bridge {
    answers: Arc<Mutex<VecDeque<ScriptedAnswer>>>,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Bridge {
    async fn start(&self, sim: &WechatSim) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server =
            Server::start(listener, Router::new().fallback(scripted).with_state(self.clone())).unwrap();
        sim.connect(&format!("http://{}/?own=1", server.address()));
        server
    }

    fn script(&self, answers: impl IntoIterator<Item = ScriptedAnswer>) {
        self.answers.lock().extend(answers);
    }

    /// The query and body of every request so far.
    fn requests(&self) -> Vec<(HashMap<String, String>, String)> {
        let parse = |query: &str| url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        self.requests.lock().iter().map(|(query, body)| (parse(query), body.clone())).collect()
    }
}

async fn scripted(State(bridge): State<Bridge>, request: Request) -> (StatusCode, String) {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    bridge.requests.lock().push((query, String::from_utf8_lossy(&body).into_owned()));
    let next = bridge.answers.lock().pop_front();
    let ScriptedAnswer { delay: after, status, body } = next.unwrap_or_else(|| answer("success"));
    // A slow bridge is part of the tests: the platform must stop waiting for it.
    tokio::time::sleep(after).await;
    (StatusCode::from_u16(status).unwrap(), body)
}
