//! Helpers: the test files, a server with bad responses, and the entries of a customer's screen.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use wechat_im_bridge::internals::sandbox::wechat::{Phone, ScreenEntry};

use crate::world::{SOON, Setup, eventually};

/// Reads a file of `tests/it/files`.
pub fn file(name: &str) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/files").join(name);
    std::fs::read(path).unwrap().into()
}

/// A bridge that may fetch files from this machine.
pub fn local() -> Setup {
    Setup::default()
        .set("BRIDGE_MEDIA__ALLOW_HOSTS", "127.0.0.1,localhost")
        .set("BRIDGE_MEDIA__ALLOW_PRIVATE", "true")
}

/// The entries of the screen that `custom/send` brought: kind, text and bytes of each.
pub fn pushed(phone: &Phone) -> Vec<(String, String, Bytes)> {
    let describe = |shown: ScreenEntry| {
        let bytes = shown.media.map(|media| media.bytes.clone()).unwrap_or_default();
        (shown.kind, shown.text, bytes)
    };
    let is_pushed =
        |shown: &ScreenEntry| shown.via == wechat_im_bridge::internals::sandbox::wechat::Via::CustomSend;
    phone.screen().into_iter().filter(is_pushed).map(describe).collect()
}

/// Waits until the screen has as many pushed entries as expected, and compares them.
pub async fn await_pushed(phone: &Phone, expected: &[(&str, &str, Bytes)]) {
    let expected: Vec<(String, String, Bytes)> = expected
        .iter()
        .map(|(kind, text, bytes)| ((*kind).to_owned(), (*text).to_owned(), bytes.clone()))
        .collect();
    eventually(SOON, async || pushed(phone).len() >= expected.len()).await;
    assert_eq!(pushed(phone), expected);
}

/// An image element with a URL that no client of the simulated platform has uploaded.
pub fn image_at(url: &str) -> Value {
    json!([{"MsgType": "TIMImageElem", "MsgContent": {"UUID": "u", "ImageFormat": 1, "ImageInfoArray": [
        {"Type": 1, "Size": 0, "Width": 1, "Height": 1, "URL": url}]}}])
}

/// Counts the requests to the bad server.
#[derive(Clone, Debug, Default)]
pub struct RequestCount(Arc<AtomicU32>);

impl RequestCount {
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn increment(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A response whose body never ends: 16 KiB after each `pause`. `length` is the `Content-Length` that it
/// announces.
fn endless(pause: Duration, length: Option<u64>) -> Response<Body> {
    let chunks = stream::repeat(()).then(move |()| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok::<_, Infallible>(Bytes::from_static(&[0xff; 16_384]))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

fn redirect(to: &str) -> (StatusCode, [(header::HeaderName, String); 1]) {
    (StatusCode::FOUND, [(header::LOCATION, to.to_owned())])
}

/// Starts a server that has a path for each kind of bad response.
pub async fn start_bad_server() -> (SocketAddr, RequestCount) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (requests, picture) = (RequestCount::default(), file("photo.jpg"));
    let counter = requests.clone();
    let count_requests = move |request: axum::extract::Request, next: axum::middleware::Next| {
        let counter = counter.clone();
        async move {
            counter.increment();
            next.run(request).await
        }
    };
    let flaky = RequestCount::default();
    let flaky_picture = picture.clone();
    let private = format!("http://127.0.0.1:{}/photo.jpg", address.port());
    let router = Router::new()
        .route("/photo.jpg", get(move || async move { picture }))
        .route("/moved", get(|| async { redirect("/photo.jpg") }))
        .route("/to-private", get(move || async move { redirect(&private) }))
        .route("/loop", get(|| async { redirect("/loop") }))
        .route("/gone", get(|| async { StatusCode::GONE }))
        .route("/down", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
        .route(
            "/flaky",
            get(move || async move {
                if flaky.increment() < 2 { Err(StatusCode::BAD_GATEWAY) } else { Ok(flaky_picture) }
            }),
        )
        .route("/200-megabytes", get(|| async { endless(Duration::ZERO, Some(200 * 1024 * 1024)) }))
        .route("/200-without-length", get(|| async { endless(Duration::ZERO, None) }))
        .route("/drip", get(|| async { endless(Duration::from_secs(1), None) }))
        .route("/stall", get(|| async { endless(Duration::from_hours(1), None) }))
        .layer(axum::middleware::from_fn(count_requests));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, requests)
}
