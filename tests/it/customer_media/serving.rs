//! `/media/...`: which requests get a file, and for how long a link is valid.

use reqwest::{Method, StatusCode};
use wechat_im_bridge::internals::http_client;

use super::{JPEG, MP4, PDF, await_elements, get, local_url, with_public_url};
use crate::raw_http::Connection;
use crate::world::{SOON, World, eventually, openid};

async fn link_to_picture(world: &World, name: &str, file: &'static [u8]) -> String {
    let phone = world.follower(name);
    let count = super::sent(world, &openid(name)).len();
    phone.send_image(file).await;
    let elements = await_elements(world, &openid(name), count + 1).await;
    local_url(world, &elements[0]["MsgContent"]["ImageInfoArray"][0]["URL"])
}

#[tokio::test]
async fn a_file_or_one_range_is_served_with_the_type_of_its_bytes() {
    let world = with_public_url().start().await;
    let link = link_to_picture(&world, "span", MP4).await;
    let http = http_client::loopback().build().unwrap();
    let whole = http.get(&link).send().await.unwrap();
    let head = |name: &str| whole.headers().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!((head("content-type"), head("content-length")), ("video/mp4".into(), MP4.len().to_string()));
    assert_eq!((head("x-content-type-options"), head("accept-ranges")), ("nosniff".into(), "bytes".into()));
    assert!(head("content-disposition").starts_with("inline; filename=\""), "{:?}", whole.headers());
    let head_response = http.head(&link).send().await.unwrap();
    assert_eq!(
        (head_response.status(), head_response.headers()["content-length"].to_str().unwrap()),
        (StatusCode::OK, head("content-length").as_str())
    );
    assert!(head_response.bytes().await.unwrap().is_empty());

    let size = MP4.len();
    for (range, status, part) in [
        ("bytes=0-9".to_owned(), 206, &MP4[..10]),
        (format!("bytes={}-", size - 5), 206, &MP4[size - 5..]),
        ("bytes=-7".to_owned(), 206, &MP4[size - 7..]),
        (format!("bytes={size}-"), 416, &[][..]),
    ] {
        let got = http.get(&link).header("Range", &range).send().await.unwrap();
        assert_eq!(got.status().as_u16(), status, "{range}");
        let content_range = got.headers()["content-range"].to_str().unwrap().to_owned();
        assert!(content_range.ends_with(&format!("/{size}")), "{range}: {content_range}");
        if status == 206 {
            assert_eq!(got.bytes().await.unwrap(), part, "{range}");
        }
    }
    // A range header that is not one range of bytes is ignored: the whole file is served.
    for ranges in ["bytes=0-1,4-5", "items=0-1", "bytes=abc", "bytes=5-2", "bytes=-"] {
        let got = http.get(&link).header("Range", ranges).send().await.unwrap();
        assert_eq!(got.status(), StatusCode::OK, "{ranges}");
        assert_eq!(got.bytes().await.unwrap(), MP4, "{ranges}");
    }
    let document = http.get(link_to_picture(&world, "span", PDF).await).send().await.unwrap();
    assert_eq!(document.headers()["content-type"], "application/pdf");
    assert!(document.headers()["content-disposition"].to_str().unwrap().starts_with("attachment"));
    let page = http.get(link_to_picture(&world, "span", b"<html><script>").await).send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "application/octet-stream");
    world.finish().await;
}

#[tokio::test]
async fn only_an_unchanged_and_unexpired_link_gets_a_file() {
    let world = with_public_url().start().await;
    let link = link_to_picture(&world, "lock", JPEG).await;
    let (path, query) = link.split_once('?').unwrap();
    let base = format!("{}/media", world.public());
    let unsigned = query.split_once("&sign=").unwrap().0;
    let other = path.replace(&path[path.len() - 9..], "0000f.jpg");
    for wrong in [
        path.to_owned(),
        format!("{path}?{unsigned}"),
        format!("{path}?{unsigned}&sign={}", "0".repeat(64)),
        format!("{link}0"),
        format!("{path}?{}", query.replace("until=1", "until=2")),
        format!("{other}?{query}"),
        format!("{}?{query}", path.replace(".jpg", ".mp3")),
        format!("{base}/"),
        base.clone(),
        format!("{base}/../bridge.db?{query}"),
        format!("{base}/..%2fbridge.db?{query}"),
        format!("{base}/%ff?{query}"),
    ] {
        let got = get(&wrong).await;
        assert_eq!((got.status, got.bytes.len()), (404, 0), "{wrong}");
    }
    let http = http_client::loopback().build().unwrap();
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        assert_eq!(http.request(method, &link).send().await.unwrap().status(), 405);
    }
    assert_eq!(get(&link).await.status, 200);
    world.clock.advance(30 * 86_400_000 - 60_000);
    assert_eq!(get(&link).await.status, 200);
    world.clock.advance(61_000);
    assert_eq!(get(&link).await.status, 404);
    world.finish().await;
}

/// Clients that read nothing of their file can occupy some of the connections, but not all: so many of one link,
/// so many of one address.
#[tokio::test]
async fn slow_readers_of_files_leave_room_for_others_and_for_pushes() {
    const OF_ONE_LINK: usize = 8;
    const FROM_ONE_ADDRESS: usize = 48;
    let world = with_public_url().start().await;
    // More than the sockets' buffers hold.
    let large: &'static [u8] = [JPEG, &vec![0; 12 << 20]].concat().leak();
    let mut links = Vec::new();
    for nth in 0..=FROM_ONE_ADDRESS / OF_ONE_LINK {
        links.push(link_to_picture(&world, &format!("snail{nth}"), large).await);
    }
    let read_head = async |source: &str, link: &str| {
        let path = link.strip_prefix(&world.public()).unwrap();
        let mut connection = Connection::open_from(source, &world.public()).await;
        connection.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let status = connection.head().await;
        (status, connection)
    };
    let (last, occupied) = links.split_last().unwrap();
    let mut slow = Vec::new();
    for link in occupied {
        for _ in 0..OF_ONE_LINK {
            let (status, connection) = read_head("127.0.0.1", link).await;
            assert_eq!(status, 200);
            slow.push(connection);
        }
    }
    assert_eq!(get(last).await.status, 429, "the address has its share");
    assert_eq!(read_head("127.0.0.2", &links[0]).await.0, 503, "the link has its share");
    assert_eq!(read_head("127.0.0.2", last).await.0, 200);
    let phone = world.follower("quick");
    assert!(phone.say("hello").await.reply.is_some());
    drop(slow);
    assert!(eventually(SOON, async || get(last).await.status == 200).await);
    world.finish().await;
}

fn count_files(world: &World) -> usize {
    let folder = std::fs::read_dir(world.folder.path().join("media")).unwrap();
    folder.filter(|entry| entry.as_ref().unwrap().path().is_file()).count()
}

#[tokio::test]
async fn links_survive_a_restart_and_files_are_deleted_with_their_customer() {
    let mut world = with_public_url().start().await;
    let (own, shared) =
        (link_to_picture(&world, "away", JPEG).await, link_to_picture(&world, "away", PDF).await);
    let others = link_to_picture(&world, "stay", PDF).await;
    for link in [&own, &shared, &others] {
        assert_eq!(get(link).await.status, 200);
    }
    assert_eq!(count_files(&world), 2, "two equal files are stored once");
    let before = world.public();
    world.restart().await;
    let moved = |link: &str| link.replace(&before, &world.public());
    assert_eq!(get(&moved(&own)).await.bytes, JPEG);
    world.follower("away").unfollow().await;
    assert!(
        eventually(SOON, async || count_files(&world) == 1).await,
        "{} files are left",
        count_files(&world)
    );
    assert_eq!((get(&moved(&own)).await.status, get(&moved(&shared)).await.status), (404, 404));
    assert_eq!(get(&moved(&others)).await.bytes, PDF);
    world.finish().await;
}
