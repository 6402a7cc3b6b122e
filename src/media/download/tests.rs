use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::http::{Response as Answer, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::*;
use crate::clock::Clock;

const MAX: u64 = 100_000;
const SHORT_TIMEOUTS: Timeouts = Timeouts { total: Duration::from_secs(3), idle: Duration::from_secs(1) };
/// Longer than any of the timeouts, also on a loaded machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

fn downloader(private: bool, hosts: &[&str]) -> Downloader {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    Downloader::new(Rules { allow_hosts: hosts, allow_http: true, allow_private: private }, SHORT_TIMEOUTS)
        .unwrap()
}

fn redirect_to(target: &str) -> impl IntoResponse + use<> {
    (StatusCode::FOUND, [(header::LOCATION, target.to_owned())])
}

fn endless(pause: Duration) -> Answer<Body> {
    let chunks = stream::repeat(()).then(move |()| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok::<_, Infallible>(Bytes::from_static(&[7; 1024]))
    });
    Answer::new(Body::from_stream(chunks))
}

/// A server with every kind of failure. Returns its address without a scheme.
async fn server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let elsewhere = format!("http://localhost:{}/file", address.port());
    let router = Router::new()
        .route("/file", get(|| async { "the file" }))
        .route("/once", get(|| async { redirect_to("/file") }))
        .route("/loop", get(|| async { redirect_to("/loop") }))
        .route("/elsewhere", get(move || async move { redirect_to(&elsewhere) }))
        .route("/to-file", get(|| async { redirect_to("file:///etc/passwd") }))
        .route("/to-user", get(|| async { redirect_to("//user:secret@127.0.0.1/") }))
        .route("/nowhere", get(|| async { StatusCode::FOUND }))
        .route("/gone", get(|| async { StatusCode::GONE }))
        .route("/busy", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
        .route("/partial", get(|| async { (StatusCode::PARTIAL_CONTENT, "half") }))
        .route("/large", get(|| async { vec![0; 100_001] }))
        .route("/flood", get(|| async { endless(Duration::ZERO) }))
        .route("/drip", get(|| async { endless(Duration::from_millis(100)) }))
        .route("/stall", get(|| async { endless(Duration::from_hours(1)) }))
        .route(
            "/broken",
            get(|| async {
                let chunks = [Ok(Bytes::from_static(b"half")), Err(std::io::Error::other("broken off"))];
                Answer::new(Body::from_stream(stream::iter(chunks)))
            }),
        );
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

async fn fetch(downloader: &Downloader, url: &str) -> Result<Vec<u8>, String> {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(folder.path(), Clock::system()).unwrap();
    match downloader.download(url, &files, MAX).await {
        Ok(stored) => Ok(std::fs::read(files.path(&stored.hash)).unwrap()),
        Err(error) => Err(format!("{} {}", error.name(), error.is_retryable())),
    }
}

#[tokio::test]
async fn files_are_downloaded_and_every_failure_has_its_label() {
    let (server, downloader) = (server().await, downloader(true, &["127.0.0.1"]));
    for (path, expected) in [
        ("file", Ok(b"the file".to_vec())),
        ("once", Ok(b"the file".to_vec())),
        ("loop", Err("forbidden false")),
        ("elsewhere", Err("forbidden false")),
        ("to-file", Err("forbidden false")),
        ("to-user", Err("forbidden false")),
        ("nowhere", Err("status false")),
        ("gone", Err("status false")),
        ("busy", Err("status true")),
        ("partial", Err("status false")),
        ("large", Err("too_large false")),
        ("flood", Err("too_large false")),
        ("drip", Err("timed_out true")),
        ("stall", Err("timed_out true")),
        ("broken", Err("unreachable true")),
    ] {
        let url = format!("http://{server}/{path}");
        let fetched = tokio::time::timeout(TEST_TIMEOUT, fetch(&downloader, &url)).await.expect(path);
        assert_eq!(fetched, expected.map_err(str::to_owned), "{path}");
    }
    assert_eq!(fetch(&downloader, "http://127.0.0.1:1/").await, Err("unreachable true".to_owned()));
}

#[tokio::test]
async fn a_private_address_is_refused_behind_a_name_and_behind_a_redirect() {
    let server = server().await;
    let port = server.rsplit(':').next().unwrap();
    let named = format!("http://localhost:{port}/file");
    let hosts = ["127.0.0.1", "localhost"];
    assert_eq!(fetch(&downloader(true, &hosts), &named).await, Ok(b"the file".to_vec()));
    let redirected = fetch(&downloader(true, &hosts), &format!("http://{server}/elsewhere")).await;
    assert_eq!(redirected, Ok(b"the file".to_vec()));

    let restricted = downloader(false, &hosts);
    for url in [named, format!("http://{server}/file")] {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), Clock::system()).unwrap();
        let error = restricted.download(&url, &files, MAX).await.unwrap_err();
        assert!(matches!(error, DownloadError::Forbidden(Forbidden::Address)), "{url}: {error:?}");
    }
}

/// The addresses of a name are checked when the connection is made; no others are connected to.
#[tokio::test]
async fn the_resolver_returns_public_addresses_only() {
    let name = || "localhost".parse().unwrap();
    assert!(PublicResolver { allow_private: true }.resolve(name()).await.is_ok());
    let refused = PublicResolver { allow_private: false }.resolve(name()).await.err().unwrap();
    assert!(refused.is::<NoPublicAddress>());
}

#[test]
fn errors_contain_no_url() {
    let rules = Rules { allow_hosts: Vec::new(), allow_http: true, allow_private: true };
    let error = rules.check("https://myqcloud.com/a?q-signature=secret", UrlOrigin::Client).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"));
}
