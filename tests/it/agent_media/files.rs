//! The files, a server with every kind of trouble, and what a screen shows.

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
use wechat_im_bridge::sandbox::wechat::{Phone, ScreenEntry};

use crate::world::{SOON, Setup, eventually};

/// A file of `tests/it/files`.
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

/// What is on the screen, apart from replies to what the customer wrote: kind, then text or bytes.
pub fn pushed(phone: &Phone) -> Vec<(String, String, Bytes)> {
    let line = |shown: ScreenEntry| {
        let bytes = shown.media.map(|media| media.bytes.clone()).unwrap_or_default();
        (shown.kind, shown.text, bytes)
    };
    let sent = |shown: &ScreenEntry| shown.via == wechat_im_bridge::sandbox::wechat::Via::CustomSend;
    phone.screen().into_iter().filter(sent).map(line).collect()
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

/// A picture's element with an address that no client of the simulated platform has made.
pub fn image_at(url: &str) -> Value {
    json!([{"MsgType": "TIMImageElem", "MsgContent": {"UUID": "u", "ImageFormat": 1, "ImageInfoArray": [
        {"Type": 1, "Size": 0, "Width": 1, "Height": 1, "URL": url}]}}])
}

/// What the server of trouble has been asked.
#[derive(Clone, Debug, Default)]
pub struct Asked(Arc<AtomicU32>);

impl Asked {
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

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

/// Every kind of trouble that an address may lead to.
pub async fn trouble() -> (SocketAddr, Asked) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, picture) = (Asked::default(), file("photo.jpg"));
    let counted = asked.clone();
    let counting = move |request: axum::extract::Request, next: axum::middleware::Next| {
        let counted = counted.clone();
        async move {
            counted.next();
            next.run(request).await
        }
    };
    let flaky = Asked::default();
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
                if flaky.next() < 2 { Err(StatusCode::BAD_GATEWAY) } else { Ok(flaky_picture) }
            }),
        )
        .route("/200-megabytes", get(|| async { endless(Duration::ZERO, Some(200 * 1024 * 1024)) }))
        .route("/200-unannounced", get(|| async { endless(Duration::ZERO, None) }))
        .route("/drip", get(|| async { endless(Duration::from_secs(1), None) }))
        .route("/stall", get(|| async { endless(Duration::from_hours(1), None) }))
        .layer(axum::middleware::from_fn(counting));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, asked)
}
