use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::super::body::{self, BodyBudget};
use super::super::connections::ConnectionLimits;
use super::super::testing::{self, Host, host, host_with, host_within, impatient, parts, rest};
use super::*;
use crate::lifecycle::open_files;
use crate::metrics::Metrics;

const LONG: Duration = Duration::from_secs(20);

fn router() -> Router {
    let read = |limits: Limits| {
        let budget = BodyBudget::new(limits.body_bytes, limits.body_bytes, Metrics::default());
        post(move |body: Body| async move {
            match body::read(body, &limits, &budget, None).await {
                Ok(body) => body.to_vec().into_response(),
                Err(error) => error.into_response(),
            }
        })
    };
    Router::new()
        .route("/", get(|| async { "here" }))
        .route("/body", read(impatient()))
        .route("/patient", read(Limits { body: LONG, ..impatient() }))
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
async fn half_open_connections_on_every_permit_do_not_block_others() {
    let connections = testing::connections(ConnectionLimits { total: 50, per_address: 100 });
    let host = host_within(router(), Limits { head: LONG, ..Limits::default() }, connections, None).await;
    let mut open = Vec::new();
    for _ in 0..200 {
        let mut stream = host.connect().await;
        let _ = stream.write_all(b"POST / HTTP/1.1\r\nho").await;
        open.push(stream);
    }
    // Sooner than a head times out, so that no permit was freed by that.
    let answer = tokio::time::timeout(LONG / 2, host.get("/")).await.expect("blocked");
    assert_eq!(parts(&answer), (200, "here"));
}

/// A caller whose connection finds the queue full tries again only after a second.
#[tokio::test]
async fn a_crowd_that_arrives_at_once_waits_in_the_queue() {
    open_files::raise_limit().unwrap();
    let listener = bind("server.listen", "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let crowd = async {
        let mut crowd = Vec::new();
        for _ in 0..1500 {
            crowd.push(TcpStream::connect(address).await.unwrap());
        }
        crowd
    };
    // Nothing is accepted, so that a queue that is full stays full.
    assert!(tokio::time::timeout(LONG, crowd).await.is_ok(), "the queue is shorter than 1,500");
}

#[tokio::test]
async fn a_connection_that_has_had_its_answer_makes_room_but_not_one_that_waits_for_it() {
    let release = Arc::new(Notify::new());
    let wait = Arc::clone(&release);
    let slow = move || {
        let wait = Arc::clone(&wait);
        async move {
            wait.notified().await;
            "finished"
        }
    };
    let router = router().route("/slow", get(slow));
    let connections = testing::connections(ConnectionLimits { total: 2, per_address: 10 });
    let host = host_within(router, Limits { head: LONG, ..Limits::default() }, connections, None).await;
    let mut waiting = host.connect().await;
    waiting.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    // Each closes the one before it, although these clients keep them open.
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut kept_alive = host.connect().await;
        kept_alive.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = [0; 9];
        let read = kept_alive.read_exact(&mut answer);
        tokio::time::timeout(LONG / 2, read).await.expect("no room was made").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 ");
        open.push(kept_alive);
    }
    release.notify_one();
    assert_eq!(parts(&rest(&mut waiting).await), (200, "finished"));
}

#[tokio::test]
async fn bodies_beyond_the_budget_get_503_and_the_next_one_fits_again() {
    let host = host(router(), Limits { body: LONG, ..impatient() }).await;
    // The budget of `/patient` is 1,000 bytes.
    let mut first = host.connect().await;
    first.write_all(b"POST /patient HTTP/1.1\r\nhost: a\r\ncontent-length: 601\r\n\r\n").await.unwrap();
    first.write_all(&[b'x'; 600]).await.unwrap();
    let refused = async {
        loop {
            let answer = host.post("/patient", &"y".repeat(400)).await;
            if parts(&answer).0 == 503 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(LONG, refused).await.expect("never refused");
    assert!(answer.contains("retry-after: 1\r\n") && answer.contains("connection: close"), "{answer}");
    assert_eq!(parts(&host.post("/patient", &"y".repeat(399)).await).0, 200, "so much is left");
    first.write_all(b"x").await.unwrap();
    let mut status = [0; 12];
    first.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    let freed = async { while parts(&host.post("/patient", &"y".repeat(1000)).await).0 != 200 {} };
    tokio::time::timeout(LONG, freed).await.expect("the budget is not given back");
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
    let client = crate::http_client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&certificate).unwrap()])
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/", host.address.port());
    assert_eq!(client.get(&url).send().await.unwrap().text().await.unwrap(), "here");
    assert_eq!(host.request("").await, "");
    assert!(crate::http_client::get(url.replace("https", "http")).await.is_err());
}

#[tokio::test]
async fn a_taken_port_is_reported_with_its_key_and_a_fix() {
    let first = bind("server.listen", "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = first.local_addr().unwrap();
    let error = bind("server.ops_listen", address).unwrap_err().to_string();
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
