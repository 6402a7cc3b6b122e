//! Downloads from a WeChat that floods, drips, stalls or responds with something else.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::media::download::{Rules, Timeouts as DownloadPatience};
use crate::model::MediaKind;
use crate::wechat::send::{Credentials, NoTokenStore, TokenHolder, http_client, token};

const MAX: u64 = 64 * 1024;
const SHORT: Timeouts = Timeouts { total: Duration::from_millis(900), idle: Duration::from_millis(300) };

#[derive(serde::Deserialize)]
struct MediaQuery {
    media_id: String,
}

async fn media(State(base): State<String>, Query(query): Query<MediaQuery>) -> Response {
    let pause = |millis| tokio::time::sleep(Duration::from_millis(millis));
    let drip = |millis| {
        Body::from_stream(stream::repeat(()).then(move |()| async move {
            pause(millis).await;
            Ok::<_, std::io::Error>("#!AMR\n")
        }))
    };
    match query.media_id.as_str() {
        "file" => "#!AMR\nwords".into_response(),
        "braces" => "{this is no JSON".into_response(),
        "json" => r#"{"a":"document of the customer's"}"#.into_response(),
        "empty" => "".into_response(),
        "gone" => json!({"errcode": 40007, "errmsg": "invalid media_id"}).to_string().into_response(),
        "flood" => Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>("flood ".repeat(1_000))))
            .into_response(),
        "drip" => drip(50).into_response(),
        "silence" => drip(60_000).into_response(),
        "never" => std::future::pending().await,
        "video" => json!({ "video_url": format!("{base}/video") }).to_string().into_response(),
        "other host" => json!({"video_url": format!("{}/video", base.replace("127.0.0.1", "localhost"))})
            .to_string()
            .into_response(),
        "elsewhere" => json!({"video_url": "http://127.0.0.1:9/secret"}).to_string().into_response(),
        other => panic!("{other}"),
    }
}

async fn world() -> (MediaDownloader, Files, TempDir) {
    world_that_allows(false).await
}

async fn world_that_allows(allow_private: bool) -> (MediaDownloader, Files, TempDir) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let issued = json!({"access_token": "a-token-for-tests", "expires_in": 7200}).to_string();
    let router = Router::new()
        .route("/cgi-bin/stable_token", post(move || async move { issued }))
        .route("/cgi-bin/media/get", get(media))
        .route("/video", get(|| async { &b"\0\0\0\x18ftypmp42"[..] }))
        .with_state(base.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (http, base): (_, Url) = (http_client(true).unwrap(), base.parse().unwrap());
    let credentials = Credentials { app_id: "wx1".into(), secret: "secret".into() };
    let tokens = Arc::new(TokenHolder::new(
        http.clone(),
        base.clone(),
        credentials,
        Arc::new(NoTokenStore),
        Clock::system(),
        token::Settings::default(),
    ));
    let rules = Rules { allow_hosts: vec!["qq.com".into()], allow_http: true, allow_private };
    let provider = MediaDownloader {
        client: Some(Arc::new(Client::new(http, base, tokens, Clock::system()))),
        downloader: Downloader::new(rules, DownloadPatience::default()).unwrap(),
        rate_limiter: Arc::new(RateLimiter::new(std::num::NonZeroU32::new(1_000).unwrap())),
        metrics: Metrics::default(),
        timeouts: SHORT,
    };
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(folder.path(), Clock::system()).unwrap();
    (provider, files, folder)
}

async fn fetch(world: &(MediaDownloader, Files, TempDir), ids: &[&str]) -> Result<StoredFile, FetchError> {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    let request = MediaRequest { kind: MediaKind::Voice, ids, url: None, mp3: None };
    world.0.fetch(&request, &world.1, MAX).await
}

#[tokio::test]
async fn a_file_that_looks_like_json_is_still_a_file() {
    let world = world().await;
    for (id, size) in [("file", 11), ("braces", 16), ("json", 34), ("video", 12)] {
        assert_eq!(fetch(&world, &[id]).await.unwrap().size, size, "{id}");
    }
    assert_eq!(fetch(&world, &["gone", "file"]).await.unwrap().size, 11, "the next media_id is tried");
}

#[tokio::test]
async fn a_videos_url_in_wechats_answer_may_name_any_public_host() {
    let world = world_that_allows(true).await;
    assert_eq!(fetch(&world, &["other host"]).await.unwrap().size, 12);
    let request = MediaRequest { kind: MediaKind::Image, ids: Vec::new(), url: None, mp3: None };
    let pushed = MediaRequest { url: Some("http://localhost:9/a.jpg".to_owned()), ..request };
    let refused = world.0.fetch(&pushed, &world.1, MAX).await.unwrap_err();
    assert!(format!("{refused:?}").contains("media.allow_hosts"), "a push is no such answer: {refused:?}");
    let guarded = self::world().await;
    let refused = fetch(&guarded, &["other host"]).await.unwrap_err();
    assert!(format!("{refused:?}").contains("no public address"), "{refused:?}");
}

#[tokio::test]
async fn endless_downloads_end_within_their_limits_and_leave_no_file() {
    let world = world().await;
    for id in ["drip", "silence", "never", "empty"] {
        let started = Instant::now();
        let error = fetch(&world, &[id]).await.unwrap_err();
        assert!(matches!(error, FetchError::Retry { .. }), "{id}: {error:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "{id}: {:?}", started.elapsed());
    }
    for (ids, expected) in [
        (&["flood"][..], MediaUnavailable::TooLarge(MAX)),
        (&["gone"], MediaUnavailable::NotFound),
        (&["elsewhere"], MediaUnavailable::NotFound),
        (&[], MediaUnavailable::NoCredentials),
    ] {
        let missed = fetch(&world, ids).await.unwrap_err();
        assert!(
            matches!(&missed, FetchError::Permanent { reason, .. } if *reason == expected),
            "{ids:?}: {missed:?}"
        );
        let FetchError::Permanent { why, .. } = missed else { unreachable!() };
        assert!(!why.contains("a-token-for-tests") && !why.contains("http"), "{why}");
    }
    let incoming = world.2.path().join("incoming");
    while std::fs::read_dir(&incoming).unwrap().count() > 0 {
        tokio::task::yield_now().await;
    }
}
