//! Tests against a tiny server on loopback that returns scripted responses and records the
//! requests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::clock::Clock;
use crate::im::send::usersig::verify;
use crate::model::ImUserId;

const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
const APP: u32 = 1_400_000_000;
const DONE: &str = r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#;

pub(in crate::im::send) fn user(id: &str) -> ImUserId {
    ImUserId::new(id).unwrap()
}

#[derive(Clone, Debug)]
pub(in crate::im::send) struct Call {
    /// The path of the URL.
    pub path: String,
    /// The query's parameters.
    pub query: Vec<(String, String)>,
    /// The content type.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// A server that returns the given bodies, one for each call; it stops with the test's runtime.
pub(in crate::im::send) struct Fake {
    base: Url,
    script: Arc<Script>,
    clock: Clock,
}

struct Script {
    answers: Mutex<VecDeque<(StatusCode, String)>>,
    calls: Mutex<Vec<Call>>,
}

impl Fake {
    /// Starts a server that returns each body once, with status 200.
    pub async fn answering(bodies: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::scripted(bodies.into_iter().map(|body| (StatusCode::OK, body.into()))).await
    }

    async fn scripted(answers: impl IntoIterator<Item = (StatusCode, String)>) -> Self {
        let script =
            Arc::new(Script { answers: Mutex::new(answers.into_iter().collect()), calls: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = base_of(&listener);
        let router = Router::new().fallback(answer).with_state(script.clone());
        let router = crate::upstream::without_date(router);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, script, clock: Clock::movable() }
    }

    /// A client of this server.
    pub fn client(&self) -> Client {
        client(self.base.clone(), &self.clock)
    }

    /// The calls received so far.
    pub fn calls(&self) -> Vec<Call> {
        self.script.calls.lock().unwrap().clone()
    }

    /// The only call received.
    pub fn only_call(&self) -> Call {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1);
        calls.remove(0)
    }
}

async fn answer(State(script): State<Arc<Script>>, request: Request<axum::body::Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let query = parts.uri.query().unwrap_or_default();
    script.calls.lock().unwrap().push(Call {
        path: parts.uri.path().to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        content_type: parts.headers[header::CONTENT_TYPE].to_str().unwrap().to_owned(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    assert_eq!(parts.method, "POST");
    match script.answers.lock().unwrap().pop_front() {
        Some((status, body)) => (status, [(header::LOCATION, "/elsewhere")], body).into_response(),
        None => (StatusCode::IM_A_TEAPOT, "no answer is left").into_response(),
    }
}

fn base_of(listener: &TcpListener) -> Url {
    Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap()
}

fn client(base: Url, clock: &Clock) -> Client {
    let signer = Signer::new(APP, KEY.into(), user("admin+1"), 86_400, clock.clone());
    Client::new(http_client(true).unwrap(), base, signer, Duration::from_secs(5)).unwrap()
}

async fn call(client: &Client) -> Result<Value, Failure> {
    client.call(Api::SendMsg, &serde_json::json!({})).await
}

fn sig_of(call: &Call) -> String {
    call.query.iter().find(|(name, _)| name == "usersig").unwrap().1.clone()
}

#[tokio::test]
async fn the_url_is_the_documented_one() {
    let fake = Fake::answering([DONE, DONE]).await;
    let client = fake.client();
    call(&client).await.unwrap();
    call(&client).await.unwrap();
    let calls = fake.calls();
    let names: Vec<_> = calls[0].query.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sdkappid", "identifier", "usersig", "random", "contenttype"]);
    let values: Vec<_> = calls[0].query.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!((values[0], values[1], values[4]), ("1400000000", "admin+1", "json"));
    assert_eq!(calls[0].path, "/v4/openim/sendmsg");
    assert_eq!(calls[0].content_type, "application/json");
    assert_eq!(calls[0].body, "{}");
    let content = verify(values[2], APP, KEY, fake.clock.now().seconds()).unwrap();
    assert_eq!(content.identifier, "admin+1");
    assert!(values[3].parse::<u32>().is_ok());
    assert_ne!(calls[0].query[3], calls[1].query[3], "random is drawn per request");
    assert_eq!(calls[0].query[2], calls[1].query[2], "the UserSig is reused");
}

#[test]
fn a_path_in_the_base_is_kept_and_no_other_scheme_is_accepted() {
    let clock = Clock::system();
    for (base, expected) in [
        ("https://console.tim.qq.com", "https://console.tim.qq.com/v4/openim/sendmsg"),
        ("https://console.tim.qq.com/", "https://console.tim.qq.com/v4/openim/sendmsg"),
        ("http://proxy:8080/im/?x=1#y", "http://proxy:8080/im/v4/openim/sendmsg"),
    ] {
        let url = client(Url::parse(base).unwrap(), &clock).url(Api::SendMsg, "s*-_");
        let (path, query) = url.as_str().split_once('?').unwrap();
        assert_eq!(path, expected);
        assert!(
            query.starts_with("sdkappid=1400000000&identifier=admin%2B1&usersig=s*-_&random="),
            "{query}"
        );
    }
    for base in ["ftp://example.org", "mailto:im@example.org"] {
        let signer = Signer::new(APP, KEY.into(), user("a"), 60, clock.clone());
        let made = Client::new(http_client(true).unwrap(), Url::parse(base).unwrap(), signer, CALL_TIMEOUT);
        assert_eq!(made.err(), Some(InvalidBase), "{base}");
    }
}

#[tokio::test]
async fn a_refused_user_sig_is_renewed_and_tried_once_more() {
    let expired = r#"{"ActionStatus":"FAIL","ErrorInfo":"expired","ErrorCode":70001}"#;
    let fake = Fake::answering([DONE, expired, DONE, expired, expired, DONE]).await;
    let client = fake.client();
    call(&client).await.unwrap();
    fake.clock.advance(5_000);
    call(&client).await.unwrap();
    let sigs: Vec<_> = fake.calls().iter().map(sig_of).collect();
    assert_eq!(sigs.len(), 3);
    assert_eq!(sigs[0], sigs[1]);
    assert_ne!(sigs[1], sigs[2]);

    fake.clock.advance(5_000);
    assert_eq!(call(&client).await, Err(Failure::Code { code: 70001, info: "expired".to_owned() }));
    assert_eq!(fake.calls().len(), 5, "not a third time");
}

#[tokio::test]
async fn an_error_is_handed_over_and_never_repeated() {
    let limited = r#"{"ActionStatus":"FAIL","ErrorInfo":"too fast\nnow","ErrorCode":60007}"#;
    let fake = Fake::answering([limited, r#"{"ErrorCode":"90012"}"#]).await;
    let client = fake.client();
    assert_eq!(call(&client).await, Err(Failure::Code { code: 60007, info: "too fast now".to_owned() }));
    assert_eq!(call(&client).await, Err(Failure::Code { code: 90012, info: String::new() }));
    assert_eq!(fake.calls().len(), 2);
}

#[tokio::test]
async fn an_unreadable_response_is_no_answer() {
    let long = format!(r#"{{"ErrorCode":0,"x":"{}"}}"#, "x".repeat(MAX_RESPONSE_BYTES));
    let answers = [
        (StatusCode::BAD_GATEWAY, "<html>"),
        (StatusCode::REQUEST_TIMEOUT, DONE),
        (StatusCode::TOO_EARLY, DONE),
        (StatusCode::TOO_MANY_REQUESTS, DONE),
        (StatusCode::FOUND, DONE),
        (StatusCode::OK, "<html>"),
        (StatusCode::OK, ""),
        (StatusCode::OK, "[]"),
        (StatusCode::OK, r#"{"ActionStatus":"OK"}"#),
        (StatusCode::OK, &long),
    ];
    let count = answers.len();
    let fake = Fake::scripted(answers.map(|(status, body)| (status, body.to_owned()))).await;
    let client = fake.client();
    for n in 0..count {
        assert!(matches!(call(&client).await, Err(Failure::NoAnswer { .. })), "{n}");
    }
    assert_eq!(fake.calls().len(), count, "a call was repeated or a redirect followed");
}

#[tokio::test]
async fn a_request_that_http_refuses_is_answered() {
    let refusals = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::PAYLOAD_TOO_LARGE];
    let fake = Fake::scripted(refusals.map(|status| (status, DONE.to_owned()))).await;
    let client = fake.client();
    for status in refusals {
        let refused = Failure::Rejected { status: status.as_u16() };
        assert_eq!(call(&client).await.unwrap_err(), refused);
    }
}

/// A server that reads a request, then writes `bytes` and closes the connection, or never responds.
async fn raw(bytes: Option<&'static str>) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = base_of(&listener);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let _ = stream.read(&mut request).await;
            match bytes {
                Some(bytes) => drop(stream.write_all(bytes.as_bytes()).await),
                None => kept.push(stream),
            }
        }
    });
    base
}

#[tokio::test]
async fn a_cut_connection_is_no_answer() {
    for bytes in ["", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"ErrorCode\":0"] {
        let client = client(raw(Some(bytes)).await, &Clock::system());
        let failure = call(&client).await.unwrap_err();
        assert!(matches!(failure, Failure::NoAnswer { .. }), "{failure}");
        assert_no_secret(&failure, &client);
    }
}

#[tokio::test]
async fn a_timeout_is_no_answer() {
    let mut client = client(raw(None).await, &Clock::system());
    client.timeout = Duration::from_millis(100);
    let failure = call(&client).await.unwrap_err();
    assert!(matches!(failure, Failure::NoAnswer { .. }), "{failure}");
    assert_no_secret(&failure, &client);
}

#[tokio::test]
async fn a_request_that_was_never_sent_is_not_sent() {
    // Bound and not listening: nobody answers there, and no other program can take it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = format!("http://{}", socket.local_addr().unwrap()).parse().unwrap();
    let mut no_tls = raw(Some("no TLS here")).await;
    no_tls.set_scheme("https").unwrap();
    let mut silent = raw(None).await;
    silent.set_scheme("https").unwrap();
    for base in [closed, no_tls, silent] {
        let mut client = client(base.clone(), &Clock::system());
        client.http = http_client_with(Duration::from_millis(200)).build().unwrap();
        let failure = call(&client).await.unwrap_err();
        assert!(matches!(failure, Failure::NotSent { .. }), "{base}: {failure}");
        assert_no_secret(&failure, &client);
    }
}

#[tokio::test]
async fn server_text_never_reveals_the_user_sig() {
    let fake = Fake::answering([DONE]).await;
    let client = fake.client();
    call(&client).await.unwrap();
    let sig = sig_of(&fake.only_call());
    let echo =
        Fake::answering([format!(r#"{{"ErrorCode":60002,"ErrorInfo":"bad {sig} {}"}}"#, "x".repeat(999))]);
    let echo = Client { base: echo.await.base, ..client };
    let failure = call(&echo).await.unwrap_err();
    assert_no_secret(&failure, &echo);
    let Failure::Code { info, .. } = failure else { panic!() };
    assert!(info.starts_with("bad [UserSig] xxx") && info.chars().count() == MAX_TEXT_CHARS, "{info}");
}

fn assert_no_secret(failure: &Failure, client: &Client) {
    let sig = client.signer.current();
    for text in [failure.to_string(), format!("{failure:?}"), format!("{client:?}")] {
        assert!(!text.contains(sig.expose_secret()) && !text.contains("usersig"), "{text}");
        assert!(!text.contains(KEY), "{text}");
    }
}
