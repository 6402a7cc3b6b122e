//! Customers' pictures: kills around the download, and ten thousand pictures and links at once.

use std::time::{Duration, Instant};

use super::downloads::status_kb;
use super::rig::{Rig, TIMEOUT};
use crate::customer_media::sizes::{oversized_png, picture};
use crate::customer_media::{JPEG, PUBLIC_URL, get};
use crate::world::{eventually, openid, texts};
use futures_util::{StreamExt as _, stream};

const CUSTOMER: &str = "anna";
/// The time within which the bridge answers a push (CONTRACT, section 3).
const PUSH_LIMIT: Duration = Duration::from_secs(1);
/// How much memory the load may add to the process, in kB.
const GROWTH_KB: u64 = 96 * 1024;
/// How much memory the scaling of the largest pictures may add, in kB. The bridge scales one picture at a
/// time, and a pixel takes four bytes in each copy.
const SCALING_KB: u64 = 128 * 1024;
const LINKS: usize = 9_000;
const PICTURES: usize = 1_000;
/// Concurrent pushes.
const CONCURRENT_PUSHES: usize = 16;

/// The links of the pictures that IM has received.
fn picture_links(rig: &Rig) -> Vec<String> {
    let ledger = rig.im.ledger();
    let link = |send: &wechat_im_bridge::internals::sandbox::im::SendRecord| {
        let link = &send.elements[0]["MsgContent"]["ImageInfoArray"][0]["URL"];
        link.as_str().map(str::to_owned)
    };
    ledger.deliveries().filter_map(link).collect()
}

/// Invariants 1, 2, 4, 5, 7: the bridge sends the message once, and the file becomes available.
async fn killed_at(point: &str) {
    let mut rig = Rig::new().await;
    rig.set("BRIDGE_SERVER__PUBLIC_URL", PUBLIC_URL);
    let phone = rig.follower(CUSTOMER);
    rig.start().await;
    assert!(!phone.say("hello").await.fault_line);
    rig.wait_until_idle().await;
    rig.kill();

    rig.spawn(Some(point));
    rig.wait_until_listening().await;
    let sending = tokio::spawn(async move { phone.send_image(JPEG).await });
    let status = rig.wait_for_exit().await;
    assert!(status.code().is_none(), "{point}: {status}\n{}", rig.log());
    rig.start().await;
    assert!(!sending.await.unwrap().fault_line, "{point}");
    let shown = eventually(TIMEOUT, async || !picture_links(&rig).is_empty()).await;
    assert!(shown, "{point}\n{}", rig.log());
    let link = picture_links(&rig)[0].replace(PUBLIC_URL, &format!("http://127.0.0.1:{}", rig.public));
    let served = eventually(TIMEOUT, async || get(&link).await.bytes == JPEG).await;
    assert!(served, "{point}: {}\n{}", get(&link).await.status, rig.log());
    rig.wait_until_idle().await;
    assert_eq!(picture_links(&rig).len(), 1, "{point}");
    let seen = texts(&rig.agent(), &openid(CUSTOMER));
    assert!(seen.iter().all(|text| !text.starts_with("[bridge]")), "{point}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_around_the_download_of_a_picture_neither_doubles_the_message_nor_loses_the_file() {
    let points = ["push.committed:1", "outbox.called:1", "media.fetched:1", "media.settled:1"];
    stream::iter(points).map(killed_at).buffer_unordered(points.len()).collect::<Vec<()>>().await;
}

/// How many of the pictures the bridge has downloaded.
pub fn fetched_count(rig: &Rig) -> i64 {
    rig.database().try_value("SELECT count(*) FROM media WHERE hash IS NOT NULL", &[]).unwrap_or(0)
}

/// Invariants 1, 8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_links_and_pictures_neither_use_up_memory_nor_delay_pushes() {
    let mut rig = Rig::new().await;
    rig.set("BRIDGE_SERVER__PUBLIC_URL", PUBLIC_URL);
    let asker = rig.follower("asker");
    let crowd: Vec<_> = (0..200).map(|n| rig.follower(&format!("c{n}"))).collect();
    rig.start().await;
    assert!(!asker.say("hello").await.fault_line);
    rig.wait_until_idle().await;
    let before = status_kb(&rig, "VmRSS");

    let interval = (LINKS + PICTURES) / PICTURES;
    let pushes = stream::iter(0..LINKS + PICTURES).map(|n| {
        let phone = crowd[n % crowd.len()].clone();
        async move {
            if n % interval == 0 {
                phone.send_image([JPEG, n.to_string().as_bytes()].concat()).await.fault_line
            } else {
                let url = format!("https://example.com/{n}");
                phone.send_link("Spring", "New in May", &url).await.fault_line
            }
        }
    });
    let load = async {
        let faults: Vec<bool> = pushes.buffer_unordered(CONCURRENT_PUSHES).collect().await;
        faults.into_iter().filter(|fault| *fault).count()
    };
    let questions = async {
        let mut slowest = Duration::ZERO;
        for n in 0..20 {
            let started = Instant::now();
            assert!(!asker.say(&format!("question {n}")).await.fault_line);
            slowest = slowest.max(started.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        slowest
    };
    let started = Instant::now();
    let (faults, slowest) = tokio::join!(load, questions);
    let took = started.elapsed();
    let expected = i64::try_from(PICTURES).unwrap();
    let all = eventually(4 * TIMEOUT, async || fetched_count(&rig) == expected).await;
    assert!(all, "{} of {PICTURES} pictures are downloaded\n{}", fetched_count(&rig), rig.log());
    let (after, peak) = (status_kb(&rig, "VmRSS"), status_kb(&rig, "VmHWM"));
    println!(
        "{LINKS} links and {PICTURES} pictures in {took:?}: RSS {before} kB before, {after} kB after, {peak} kB at \
         most; slowest push {slowest:?}"
    );
    assert_eq!(faults, 0);
    assert!(slowest <= PUSH_LIMIT, "{slowest:?}");
    assert!(peak - before <= GROWTH_KB, "{before} kB, then {peak} kB");
}

/// Invariant 8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_several_of_the_largest_pictures_takes_the_memory_of_one() {
    let mut rig = Rig::new().await;
    rig.set("BRIDGE_SERVER__PUBLIC_URL", PUBLIC_URL);
    let phone = rig.follower(CUSTOMER);
    rig.start().await;
    let largest = picture(4096, 3072, image::ImageFormat::Png);
    for n in 0..2_u8 {
        assert!(!phone.send_image([&largest[..], &[n]].concat()).await.fault_line);
    }
    assert!(!phone.send_image(oversized_png()).await.fault_line);
    assert!(eventually(TIMEOUT, async || fetched_count(&rig) == 3).await, "{}", rig.log());
    rig.wait_until_idle().await;
    let before = status_kb(&rig, "VmHWM");
    let thumb = |send: &wechat_im_bridge::internals::sandbox::im::SendRecord| {
        let link = send.elements[0]["MsgContent"]["ImageInfoArray"][2]["URL"].as_str().map(str::to_owned);
        link.map(|link| link.replace(PUBLIC_URL, &format!("http://127.0.0.1:{}", rig.public)))
    };
    let links: Vec<String> = rig.im.ledger().deliveries().filter_map(thumb).collect();
    assert_eq!(links.len(), 3);
    let requests = stream::iter(links[..2].iter().cycle().take(6)).map(async |link| {
        let scaled = eventually(4 * TIMEOUT, async || get(link).await.mime == "image/jpeg").await;
        assert!(scaled, "{link}");
    });
    let ((), bomb_served) = tokio::join!(requests.buffer_unordered(6).collect::<()>(), get(&links[2]));
    let peak = status_kb(&rig, "VmHWM");
    println!("copies of two pictures of 4096 x 3072 pixels: {before} kB before, {peak} kB at most");
    assert_eq!(bomb_served.bytes, oversized_png());
    assert!(peak - before <= SCALING_KB, "{before} kB, then {peak} kB");
}
