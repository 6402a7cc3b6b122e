//! A tiny WeChat on loopback for unit tests: one account, one token, responses that a test scripts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::post;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::token::{Credentials, Settings, TokenHolder, TokenStore};
use super::{Client, http_client};
use crate::clock::Clock;
use crate::model::OpenId;

/// The account's AppSecret.
pub const SECRET: &str = "the-app-secret-0123456789abcdef0";

/// The state of the fake, and the requests it received.
#[derive(Debug)]
pub struct Account {
    /// The number in the current token.
    pub token: u32,
    /// The life of a token, seconds.
    pub expires_in: i64,
    /// The number of token requests without `force_refresh`.
    pub normal: usize,
    /// The number of token requests with `force_refresh`.
    pub forced: usize,
    /// Refuse every token, even a fresh one.
    pub refuses_all: bool,
    /// Whether the token endpoint responds; while it does not, requests wait.
    pub open: bool,
    /// The next responses of the token endpoint, instead of the usual ones.
    pub token_script: VecDeque<Scripted>,
    /// The next responses of `custom/send`, instead of the usual ones.
    pub send_script: VecDeque<Scripted>,
    /// The bodies sent to `custom/send`.
    pub sent: Vec<Bytes>,
}

/// A scripted response.
#[derive(Clone, Debug)]
pub enum Scripted {
    /// An HTTP status and a body.
    Response(u16, String),
    /// No response at all.
    Never,
}

/// A response with a return code.
pub fn code(code: i64, errmsg: &str) -> Scripted {
    Scripted::Response(200, json!({ "errcode": code, "errmsg": errmsg }).to_string())
}

/// A running fake.
pub struct Fake {
    /// The base URL of its API.
    pub base: Url,
    /// Its state.
    pub account: Arc<watch::Sender<Account>>,
    server: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fake {
    /// Starts a fake on a free port.
    pub async fn start() -> Self {
        let account = Arc::new(watch::Sender::new(Account {
            token: 1,
            expires_in: 7200,
            normal: 0,
            forced: 0,
            refuses_all: false,
            open: true,
            token_script: VecDeque::new(),
            send_script: VecDeque::new(),
            sent: Vec::new(),
        }));
        let router = Router::new()
            .route("/cgi-bin/stable_token", post(stable_token))
            .route("/cgi-bin/message/custom/send", post(custom_send))
            .with_state(Arc::clone(&account));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let router = crate::upstream::without_date(router);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base, account, server }
    }

    /// Changes the state.
    pub fn set(&self, change: impl FnOnce(&mut Account)) {
        self.account.send_modify(change);
    }

    /// Reads the state.
    pub fn get<T>(&self, read: impl FnOnce(&Account) -> T) -> T {
        read(&self.account.borrow())
    }

    /// The numbers of token requests, (normal, forced).
    pub fn fetches(&self) -> (usize, usize) {
        self.get(|account| (account.normal, account.forced))
    }

    /// Waits until the state fulfils `condition`, at most 10 s.
    pub async fn until(&self, condition: impl FnMut(&Account) -> bool) {
        let mut watch = self.account.subscribe();
        tokio::time::timeout(Duration::from_secs(10), watch.wait_for(condition)).await.unwrap().unwrap();
    }

    /// A token holder with the default settings.
    pub fn holder(&self, clock: &Clock, store: Arc<dyn TokenStore>) -> Arc<TokenHolder> {
        self.holder_with(clock, store, Settings::default())
    }

    /// A token holder.
    pub fn holder_with(
        &self,
        clock: &Clock,
        store: Arc<dyn TokenStore>,
        settings: Settings,
    ) -> Arc<TokenHolder> {
        let credentials = Credentials { app_id: "wx1234567890abcdef".into(), secret: SECRET.into() };
        let http = http_client(true).unwrap();
        Arc::new(TokenHolder::new(http, self.base.clone(), credentials, store, clock.clone(), settings))
    }

    /// A client of this fake.
    pub fn client(&self, clock: &Clock) -> Client {
        self.client_at(self.base.clone(), clock)
    }

    /// A client that takes its tokens from this fake and sends its messages to `base`.
    pub fn client_at(&self, base: Url, clock: &Clock) -> Client {
        let tokens = self.holder(clock, Arc::new(super::NoTokenStore));
        Client::new(http_client(true).unwrap(), base, tokens, clock.clone())
    }
}

/// A customer.
pub fn customer() -> OpenId {
    OpenId::new("oBridgeUser0000000000000001x").unwrap()
}

type Shared = State<Arc<watch::Sender<Account>>>;
type Response = (StatusCode, String);

async fn respond(script: Scripted) -> Response {
    match script {
        Scripted::Response(status, body) => (StatusCode::from_u16(status).unwrap(), body),
        Scripted::Never => std::future::pending().await,
    }
}

async fn stable_token(State(account): Shared, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(request["grant_type"], "client_credential");
    let force = request["force_refresh"].as_bool().unwrap();
    account.send_modify(|account| if force { account.forced += 1 } else { account.normal += 1 });
    account.subscribe().wait_for(|account| account.open).await.unwrap();
    let mut script = None;
    let mut answer = Value::Null;
    account.send_modify(|account| {
        script = account.token_script.pop_front();
        if script.is_none() {
            account.token += u32::from(force);
            answer = json!({ "access_token": format!("77_token_{}", account.token), "expires_in": account.expires_in });
            if request["secret"] != SECRET {
                answer = json!({ "errcode": 40125, "errmsg": "invalid appsecret" });
            }
        }
    });
    match script {
        Some(script) => respond(script).await,
        None => (StatusCode::OK, answer.to_string()),
    }
}

async fn custom_send(
    State(account): Shared,
    Query(query): Query<Vec<(String, String)>>,
    body: Bytes,
) -> Response {
    let mut script = None;
    account.send_modify(|account| {
        account.sent.push(body);
        let is_valid = query == [("access_token".to_owned(), format!("77_token_{}", account.token))];
        script = account.send_script.pop_front().or_else(|| {
            let refused = !is_valid || account.refuses_all;
            Some(if refused { code(40001, "invalid credential rid: 1-2-3") } else { code(0, "ok") })
        });
    });
    respond(script.unwrap()).await
}
