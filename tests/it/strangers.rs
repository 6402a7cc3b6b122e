//! Strangers who open connections, send junk or follow links all day: the platforms' requests are still
//! answered at once, and memory and open files stay bounded.

use std::time::Duration;

use tokio::time::Instant;
use wechat_im_bridge::internals::lifecycle::open_files;

use crate::customer_media::{await_elements, local_url, with_public_url};
use crate::raw_http::{self, Connection, exchange, head, text_message};
use crate::serve::{ServeProcess, world_without_bridge};
use crate::surface::{MODES, in_mode};
use crate::world::{SOON, Setup, World, eventually, get_json, openid};

/// The value of a metric's sample, such as `connections{listener="public"}`.
async fn sample(ops: &str, name: &str) -> i64 {
    let metrics = raw_http::get(ops, "/metrics").await;
    let start = format!("wechat_im_bridge_{name} ");
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(&start));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Without the share of an address and without room being made, the pushes would wait until the heads time
/// out, ten seconds for every 448 connections.
#[tokio::test]
async fn half_open_connections_of_one_address_delay_no_push_of_another() {
    open_files::raise_limit().unwrap();
    let world = world_without_bridge().await;
    let serving = ServeProcess::start_with_open_files(world.folder.path(), &world.config_toml(), 256, 1024);
    let (public, ops) = serving.await_listening().await;
    let limit = sample(&ops, "connections_limit{listener=\"public\"}").await;
    assert_eq!(limit, 448, "of 1,024 files half are for other work, 64 for operators");
    assert_eq!(count(&serving.log(), "the limit of open files allows only 448 connections"), 1);

    let half_open = (0..1500).map(async |_| {
        // A full queue of the kernel delays the connection; its turn would come later.
        let connecting = Connection::open_from("127.0.0.2", &public);
        let mut connection = tokio::time::timeout(Duration::from_secs(2), connecting).await.ok()?;
        // The bridge may have closed it already.
        let _ = connection.try_send("POST / HTTP/1.1\r\nho").await;
        Some(connection)
    });
    let half_open = futures_util::future::join_all(half_open).await;
    let mut times = Vec::new();
    for id in 0..100 {
        let started = Instant::now();
        let path = format!("/?{}", raw_http::query(&world));
        let answer = raw_http::post(&public, &path, text_message(&openid("busy"), id, "hello")).await;
        times.push(started.elapsed());
        assert_eq!(answer.status, 200);
    }
    times.sort();
    assert!(times[98] < Duration::from_secs(5), "{times:?}");
    assert_eq!(raw_http::get(&ops, "/healthz").await.status, 200);
    let most = sample(&ops, "connections_of_one_address{listener=\"public\"}").await;
    assert_eq!(most, limit / 4, "the stranger has a quarter and no more");
    assert!(sample(&ops, "closed_connections_total{listener=\"public\"}").await > limit);
    assert_eq!(get_json(&format!("{ops}/readyz")).await.1["connections"]["ok"], true);
    let warnings: Vec<String> =
        serving.log().into_iter().filter(|line| line.contains("connections are used up")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("127.0.0.2"), "one a minute: {warnings:?}");
    drop(half_open);
}

fn count(log: &[String], text: &str) -> usize {
    log.iter().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn a_crowded_listener_is_shown_and_operators_still_get_in() {
    let world = world_without_bridge().await;
    let serving = ServeProcess::start_with_open_files(world.folder.path(), &world.config_toml(), 256, 256);
    let (public, ops) = serving.await_listening().await;
    let limit = sample(&ops, "connections_limit{listener=\"public\"}").await;
    let mut open = Vec::new();
    for stranger in 2..8 {
        for _ in 0..limit / 4 {
            open.push(Connection::open_from(&format!("127.0.0.{stranger}"), &public).await);
        }
    }
    let crowded = async || get_json(&format!("{ops}/readyz")).await.1["status"] == "degraded";
    assert!(eventually(SOON, crowded).await, "{:?}", get_json(&format!("{ops}/readyz")).await);
    let (status, body) = get_json(&format!("{ops}/readyz")).await;
    let part = &body["connections"];
    assert_eq!((status, &part["ok"]), (200, &false.into()), "{body}");
    assert!(part["since"].is_i64() && part["why"].as_str().unwrap().contains(&limit.to_string()), "{part}");
    assert!(!part["advice"].as_str().unwrap().is_empty(), "{part}");
    let path = format!("/?{}", raw_http::query(&world));
    let answer = raw_http::post(&public, &path, text_message(&openid("busy"), 1, "hello")).await;
    assert_eq!(answer.status, 200);
    drop(open);
    let well = async || get_json(&format!("{ops}/readyz")).await.1["connections"]["ok"] == true;
    assert!(eventually(SOON, well).await);
}

#[tokio::test]
async fn each_client_behind_a_trusted_proxy_has_a_share_of_its_own() {
    let world = world_without_bridge().await;
    let config = world.config_toml().replace("[server]", "[server]\ntrusted_proxies = [\"127.0.0.1\"]");
    let serving = ServeProcess::start_with_open_files(world.folder.path(), &config, 256, 256);
    let (public, ops) = serving.await_listening().await;
    let share = sample(&ops, "connections_limit{listener=\"public\"}").await / 4;
    let head_from = |client: &str| {
        let forwarded = format!("\r\nx-forwarded-for: 10.9.9.9, {client}\r\n\r\n");
        head(&format!("/?{}", raw_http::query(&world)), 5).replace("\r\n\r\n", &forwarded)
    };
    let mut running = Vec::new();
    for _ in 0..share {
        let mut connection = Connection::open(&public).await;
        // The body never arrives, so the request is being processed.
        connection.send(head_from("192.0.2.1")).await;
        running.push(connection);
    }
    let processed = async || sample(&ops, "connections_of_one_address{listener=\"public\"}").await == share;
    assert!(eventually(SOON, processed).await);
    let refused = exchange(&public, head_from("192.0.2.1")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{refused:?}");
    let mut other = Connection::open(&public).await;
    other.send(head_from("192.0.2.2")).await;
    other.send("<xml>").await;
    assert_eq!(other.response().await.unwrap().status, 200);
}

/// The query tells already that these are not from a platform. The body is never sent.
#[tokio::test]
async fn a_wrong_signature_is_refused_before_the_body_although_the_body_is_signed_too() {
    for mode in [MODES[1], MODES[2]] {
        let world = in_mode(mode).start().await;
        let signed = raw_http::query(&world);
        let forged = signed.replace("signature=", "signature=0");
        for (signature, status) in [(&forged, 403), (&signed, 100)] {
            let path = format!("/?{signature}&encrypt_type=aes&msg_signature={}", "0".repeat(40));
            let request = head(&path, 5000).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
            assert_eq!(exchange(&world.public(), request).await.status, status, "{mode:?} {path}");
        }
        for (sign, status) in [(&[("Sign", "0")][..], 403), (&[], 100)] {
            let path = raw_http::callback_path(&world, sign);
            let request = head(&path, 5000).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
            assert_eq!(exchange(&world.public(), request).await.status, status, "{path}");
        }
        world.finish().await;
    }
}

#[tokio::test]
async fn bodies_beyond_the_bytes_in_flight_get_503() {
    let world = Setup::default().set("BRIDGE_SERVER__BODY_BYTES_IN_FLIGHT", "1048576").start().await;
    let path = format!("/?{}", raw_http::query(&world));
    let push = text_message(&openid("full"), 1, "hello");
    let push_from = async |source: &str| {
        let mut connection = Connection::open_from(source, &world.public()).await;
        connection.send(format!("{}{push}", head(&path, push.len()))).await;
        connection.response().await.unwrap()
    };
    let mut begun = Vec::new();
    for stranger in 2..6 {
        let before = sample(&world.ops(), "body_bytes").await;
        let source = format!("127.0.0.{stranger}");
        let mut connection = Connection::open_from(&source, &world.public()).await;
        connection.send(head(&path, 262_144) + "<xml>").await;
        begun.push(connection);
        let taken = async || sample(&world.ops(), "body_bytes").await == before + 262_144;
        assert!(eventually(SOON, taken).await, "{}", sample(&world.ops(), "body_bytes").await);
        assert_eq!(push_from(&source).await.status, 503, "a quarter is the share of one address");
        let status = if stranger < 5 { 200 } else { 503 };
        assert_eq!(push_from("127.0.0.1").await.status, status, "the {stranger}th stranger");
    }
    let refused = push_from("127.0.0.9").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{refused:?}");
    let callback = raw_http::callback_path(&world, &[]);
    assert_eq!(raw_http::post(&world.public(), &callback, "{}").await.status, 503);
    assert_eq!(sample(&world.ops(), "refused_requests_total{source=\"push\",reason=\"body_busy\"}").await, 6);
    drop(begun);
    let freed = async || sample(&world.ops(), "body_bytes").await == 0;
    assert!(eventually(SOON, freed).await);
    assert_eq!(push_from("127.0.0.2").await.status, 200);
    world.finish().await;
}

/// Each client reads one byte and no more, so that its download goes on.
#[tokio::test]
async fn one_media_link_is_downloaded_only_a_few_times_at_once() {
    let world = with_public_url().start().await;
    let phone = world.follower("slots");
    // More than the buffers of a connection hold.
    let file: &'static [u8] = vec![b'x'; 9_000_000].leak();
    phone.send_image(file).await;
    let elements = await_elements(&world, &openid("slots"), 1).await;
    let content = &elements[0]["MsgContent"];
    let link =
        if content["Url"].is_string() { &content["Url"] } else { &content["ImageInfoArray"][0]["URL"] };
    let url = local_url(&world, link);
    let path = url.strip_prefix(&world.public()).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut running = Vec::new();
    for _ in 0..8 {
        let mut connection = Connection::open(&world.public()).await;
        connection.send(&request).await;
        assert_eq!(connection.head().await, 200);
        running.push(connection);
    }
    let refused = raw_http::get(&world.public(), path).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.head);
    assert_eq!(sample(&world.ops(), "refused_downloads_total{of=\"link\"}").await, 1);
    drop(running);
    let freed = async || raw_http::get(&world.public(), path).await.status == 200;
    assert!(eventually(SOON, freed).await);
    world.finish().await;
}

#[tokio::test]
async fn a_certificate_that_ends_within_14_days_is_shown() {
    let data = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let setup = Setup::default()
        .set("BRIDGE_SERVER__TLS_CERT", data("tls.cert.pem").display().to_string())
        .set("BRIDGE_SERVER__TLS_KEY", data("tls.key.pem").display().to_string());
    let world: World = setup.start().await;
    assert_eq!(world.ready().await["certificates"], serde_json::json!({"ok": true}));
    // It is valid until October 2126.
    let end = 4_948_947_028_i64;
    world.clock.advance((end - 13 * 86_400 - world.clock.now().seconds()) * 1000);
    let body = world.ready().await;
    let part = &body["certificates"];
    assert_eq!(
        (&part["ok"], &part["since"], &body["status"]),
        (&false.into(), &(end - 14 * 86_400).into(), &"degraded".into())
    );
    assert!(
        part["why"].as_str().unwrap().contains("12 days")
            || part["why"].as_str().unwrap().contains("13 days"),
        "{part}"
    );
    assert!(part["advice"].as_str().unwrap().contains("tls_cert"), "{part}");
}
