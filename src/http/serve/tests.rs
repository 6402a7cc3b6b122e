use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::super::body;
use super::super::testing::{self, Host, host, host_with, impatient, parts, rest};
use super::*;

const LONG: Duration = Duration::from_secs(20);

fn router() -> Router {
    let read = |limits: Limits| {
        post(move |body: Body| async move {
            match body::read(body, &limits).await {
                Ok(bytes) => bytes.into_response(),
                Err(error) => error.into_response(),
            }
        })
    };
    Router::new()
        .route("/", get(|| async { "here" }))
        .route("/body", read(impatient()))
        .route("/panic", get(panic_on_purpose))
}

async fn panic_on_purpose() -> StatusCode {
    panic!("on purpose")
}

async fn impatient_host() -> Host {
    host(router(), impatient()).await
}

#[tokio::test]
async fn a_head_that_was_started_but_not_finished_gets_a_408() {
    let host = impatient_host().await;
    let begun = host.request("GET / HTTP/1.1\r\nhost: a").await;
    assert!(begun.starts_with("HTTP/1.1 408 "), "{begun}");
    assert_eq!(host.request("").await, "", "an idle connection just ends");
    let mut stream = host.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let one = rest(&mut stream).await;
    assert_eq!(parts(&one), (200, "here"), "an idle connection ends after its answers");
}

#[tokio::test]
async fn a_head_sent_byte_by_byte_times_out_too() {
    let host = impatient_host().await;
    let mut stream = host.connect().await;
    let started = std::time::Instant::now();
    let mut answer = Vec::new();
    for _ in 0..1000 {
        let _ = stream.write_all(b"G").await;
        let read = stream.read_buf(&mut answer);
        if let Ok(read) = tokio::time::timeout(Duration::from_millis(20), read).await {
            assert!(read.is_ok());
            break;
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_body_that_does_not_arrive_gets_a_408_and_the_connection_is_closed() {
    let host = impatient_host().await;
    for request in [
        "POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345",
        "POST /body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let answer = host.request(request).await;
        assert_eq!(parts(&answer).0, 408, "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_gets_a_413_even_while_it_is_still_being_sent() {
    let host = impatient_host().await;
    for length in [1001, 200_000] {
        let body = "x".repeat(length);
        assert_eq!(parts(&host.post("/body", &body).await).0, 413, "{length}");
        let chunked = format!(
            "POST /body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        );
        assert_eq!(parts(&host.request(&chunked).await).0, 413, "{length} chunked");
    }
    let whole = "x".repeat(1000);
    assert_eq!(parts(&host.post("/body", &whole).await), (200, whole.as_str()));
}

#[tokio::test]
async fn an_announced_body_over_the_limit_is_refused_at_once() {
    let limits = Limits { body: LONG, head: LONG, ..impatient() };
    let host = host(router(), limits).await;
    let answer = host.request("POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n").await;
    assert_eq!(parts(&answer).0, 413);
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let host = impatient_host().await;
    let long = "x".repeat(impatient().head_bytes);
    let answer = host.request(&format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n")).await;
    assert_eq!(parts(&answer).0, 431);
    let many = "x: y\r\n".repeat(200);
    let answer = host.request(&format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")).await;
    assert_eq!(parts(&answer).0, 431);
    assert_eq!(parts(&host.request("no http\r\n\r\n").await).0, 400);
}

#[tokio::test]
async fn many_half_open_connections_do_not_block_others() {
    let host = host(router(), Limits { head: LONG, ..Limits::default() }).await;
    let mut open = Vec::new();
    for _ in 0..200 {
        let mut stream = host.connect().await;
        stream.write_all(b"POST / HTTP/1.1\r\nho").await.unwrap();
        open.push(stream);
    }
    assert_eq!(parts(&host.get("/").await), (200, "here"));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_permit() {
    let host = host(router(), Limits { connections: 2, ..impatient() }).await;
    let _held = [host.connect().await, host.connect().await];
    assert_eq!(parts(&host.get("/").await).0, 200, "once the idle ones have been closed");
}

#[tokio::test]
async fn a_panic_is_answered_and_the_next_request_served() {
    let host = impatient_host().await;
    let mut stream = host.connect().await;
    stream.write_all(b"GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let answers = rest(&mut stream).await;
    assert!(answers.starts_with("HTTP/1.1 500 ") && answers.ends_with("here"), "{answers}");
    assert!(!answers.contains("on purpose"));
}

#[tokio::test]
async fn a_caller_that_does_not_read_the_response_is_cut_off() {
    struct Gone(Arc<Notify>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let gone = Arc::new(Notify::new());
    let notify = Arc::clone(&gone);
    let endless = move || {
        let gone = Gone(Arc::clone(&notify));
        let pieces = futures_util::stream::repeat_with(move || {
            let _ = &gone;
            Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 65_536]))
        });
        async { Body::from_stream(pieces) }
    };
    let host = host(Router::new().route("/", get(endless)), impatient()).await;
    let mut stream = host.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    tokio::time::timeout(LONG, gone.notified()).await.unwrap();
}

#[tokio::test]
async fn a_soft_stop_finishes_running_requests_and_refuses_new_ones() {
    let (begun, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (notify, wait) = (Arc::clone(&begun), Arc::clone(&release));
    let slow = move || {
        let (notify, wait) = (Arc::clone(&notify), Arc::clone(&wait));
        async move {
            notify.notify_one();
            wait.notified().await;
            "finished"
        }
    };
    let host = host(Router::new().route("/", get(slow)), Limits::default()).await;
    let _idle = host.connect().await;
    let mut stream = host.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    begun.notified().await;
    host.stop.soft.cancel();
    while TcpStream::connect(host.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!host.served.is_finished());
    release.notify_one();
    let answer = rest(&mut stream).await;
    assert_eq!(parts(&answer), (200, "finished"));
    assert!(answer.contains("connection: close"), "{answer}");
    drop(stream);
    tokio::time::timeout(LONG, host.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_hard_stop_cuts_running_requests() {
    let begun = Arc::new(Notify::new());
    let notify = Arc::clone(&begun);
    let stuck = move || {
        notify.notify_one();
        std::future::pending::<&str>()
    };
    let host = host(Router::new().route("/", get(stuck)), Limits::default()).await;
    let mut stream = host.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    begun.notified().await;
    host.stop.hard.cancel();
    tokio::time::timeout(LONG, host.served).await.unwrap().unwrap();
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn tls_is_used_when_configured_and_a_silent_caller_is_disconnected() {
    let host = host_with(router(), impatient(), Some(testing::acceptor())).await;
    let certificate = std::fs::read(testing::authority()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&certificate).unwrap()])
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/", host.address.port());
    assert_eq!(client.get(&url).send().await.unwrap().text().await.unwrap(), "here");
    assert_eq!(host.request("").await, "");
    assert!(reqwest::get(url.replace("https", "http")).await.is_err());
}

#[tokio::test]
async fn a_taken_port_is_reported_with_its_key_and_a_fix() {
    let first = bind("server.listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = first.local_addr().unwrap();
    let error = bind("server.ops_listen", address).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("server.ops_listen: cannot listen on {address}: ")), "{error}");
    assert!(error.ends_with("; stop the program that has this port, or set another one"), "{error}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let count = Arc::new(AtomicUsize::new(0));
    let next = move || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move { format!("<{number}>") }
    };
    let host = host(Router::new().route("/", get(next)), impatient()).await;
    let answers = host.request(&"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(5)).await;
    let positions: Vec<_> = (0..5).map(|number| answers.find(&format!("<{number}>")).unwrap()).collect();
    assert!(positions.is_sorted());
}
