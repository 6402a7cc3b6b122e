//! Tests against a small server on loopback.

use std::path::Path;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use tokio::net::TcpListener;

use super::*;
use crate::cli::check::{Severity, lines as told};
use crate::config::Tls;
use crate::http::tls::Certificates;

fn config(public_url: &str) -> Config {
    let env = [("BRIDGE_SERVER__PUBLIC_URL".to_owned(), public_url.to_owned())];
    Config::from_toml_str(include_str!("../../../../config.example.toml"), env).unwrap().0
}

#[test]
fn a_url_that_the_internet_does_not_reach_or_everybody_reads_is_a_warning() {
    for (url, part) in [
        ("http://bridge.shop.cn", "is plain http: "),
        ("https://bridge.shop.cn:8443", "names port 8443, "),
        ("https://192.168.1.20", "192.168.1.20 is no host that the internet reaches; set the public name"),
        ("https://127.0.0.1", "127.0.0.1 is no host "),
        ("https://[fd00::1]", "[fd00::1] is no host "),
        ("https://localhost", "localhost is no host "),
        ("https://YOUR-HOST", "your-host is no host "),
        ("https://bridge.lan", "bridge.lan is no host "),
    ] {
        let found = findings(&config(url));
        assert_eq!((found.len(), found[0].severity), (1, Severity::Warn), "{}", told(&found));
        assert!(told(&found).starts_with(&format!("warn  server.public_url  {part}")), "{}", told(&found));
        assert!(!found[0].fix.is_empty(), "{}", told(&found));
    }
    for good in
        ["https://bridge.shop.cn", "https://bridge.shop.cn/wx/", "https://homelan.com", "https://8.8.8.8"]
    {
        assert_eq!(findings(&config(good)), [], "{good}");
    }
    assert!(told(&findings(&config(""))).contains("is empty: agents"));
}

/// A server whose answer to the call begins with what is in `echostr`.
async fn answering(status: u16, answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let respond = move |RawQuery(query): RawQuery| async move {
        let echostr = query.unwrap().split("echostr=").nth(1).unwrap().to_owned();
        (StatusCode::from_u16(status).unwrap(), answer.replace("ECHO", &echostr)).into_response()
    };
    let router = Router::new().fallback(respond);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    base
}

#[tokio::test]
async fn what_answers_there_is_told() {
    for (status, answer, severity, part) in [
        (200, "ECHO", Severity::Ok, "the bridge answers there"),
        (200, "404 not found", Severity::Fail, "it has another wechat.token; restart it"),
        (200, "<html>", Severity::Fail, "something else answers there, with status 200; lead this URL"),
        (404, "ECHO", Severity::Fail, "with status 404"),
        (502, "", Severity::Warn, "the proxy answers with 502: it reaches no bridge; fine while `serve`"),
    ] {
        let found = call(&config(&answering(status, answer).await), &Clock::system()).await;
        assert_eq!((found.len(), found[0].severity), (1, severity), "{}", told(&found));
        assert!(told(&found).contains(part), "{part} is not in {}", told(&found));
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_warning_without_the_signature() {
    // Bound and not listening: nobody answers there, and no other program can take it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let found = call(&config(&format!("http://{}", socket.local_addr().unwrap())), &Clock::system()).await;
    assert_eq!((found.len(), found[0].severity), (1, Severity::Warn), "{}", told(&found));
    assert!(
        told(&found).contains("does not answer: ") && !told(&found).contains("signature"),
        "{}",
        told(&found)
    );
}

#[tokio::test]
async fn a_certificate_that_nobody_knows_is_a_failure() {
    let data = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let files = Tls { cert: data("tls.cert.pem"), key: data("tls.key.pem") };
    let acceptor = Certificates::open(&files, Clock::system()).unwrap().acceptor().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let found = call(&config(&url), &Clock::system()).await;
    let text = told(&found);
    assert_eq!((found.len(), found[0].severity), (1, Severity::Fail), "{text}");
    assert!(
        text.contains("the certificate there is not accepted: ") && text.contains("whole chain"),
        "{text}"
    );
}

#[tokio::test]
async fn a_name_without_an_address_is_a_failure() {
    let found = call(&config("https://bridge.invalid"), &Clock::system()).await;
    let text = told(&found);
    assert_eq!((found.len(), found[0].severity), (1, Severity::Fail), "{text}");
    assert!(text.contains("the name bridge.invalid leads nowhere: ") && text.contains("DNS entry"), "{text}");
}
