//! The sizes that a message gives for its media, and the smaller copies of pictures.

use std::io::Cursor;
use std::time::Duration;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use wechat_im_bridge::internals::sandbox::fault::Fault;

use super::{AMR, GIF, JPEG, MP4, PNG, await_elements, get, local_url, say, sent, with_public_url};
use crate::world::{SOON, World, eventually, openid};

const MEDIA_GET: &str = "cgi-bin/media/get";

pub fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let drawn = RgbImage::from_fn(width, height, |x, y| Rgb([x.to_le_bytes()[0], y.to_le_bytes()[0], 90]));
    let mut out = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(drawn).write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// A PNG whose header claims 50,000 x 50,000 pixels, with almost no data.
pub fn oversized_png() -> Vec<u8> {
    let mut png = PNG.to_vec();
    png[16..20].copy_from_slice(&50_000_u32.to_be_bytes());
    png[20..24].copy_from_slice(&50_000_u32.to_be_bytes());
    png
}

fn image_sizes(content: &Value) -> Vec<(u64, [u64; 3])> {
    let sizes = content["ImageInfoArray"].as_array().unwrap().iter();
    let number = |size: &Value, name: &str| size[name].as_u64().unwrap();
    let entry = |size| (number(size, "Type"), ["Width", "Height", "Size"].map(|name| number(size, name)));
    sizes.map(entry).collect()
}

/// Sends `file` until it is fetched in time for its message, and returns that message's content.
async fn await_measured(world: &World, name: &str, file: &[u8]) -> Value {
    let phone = world.follower(name);
    for _ in 0..20 {
        let count = sent(world, &openid(name)).len();
        phone.send_image(file.to_vec()).await;
        let content = await_elements(world, &openid(name), count + 1).await[0]["MsgContent"].clone();
        if image_sizes(&content)[0].1 != [0; 3] {
            return content;
        }
    }
    panic!("the file was never fetched in time");
}

fn link(content: &Value, kind: u64) -> &Value {
    let sizes = content["ImageInfoArray"].as_array().unwrap();
    &sizes.iter().find(|size| size["Type"] == kind).unwrap()["URL"]
}

#[tokio::test]
async fn sizes_are_given_if_the_file_is_fetched_in_time() {
    let world = with_public_url().start().await;
    for (file, format, width, height) in [(JPEG, 1, 64, 48), (PNG, 3, 64, 48), (GIF, 2, 32, 24)] {
        let content = await_measured(&world, "quick", file).await;
        assert_eq!(content["ImageFormat"], format);
        let original_size = [width, height, file.len() as u64];
        assert_eq!(image_sizes(&content), [(1, original_size), (2, original_size), (3, original_size)]);
    }
    let large = picture(900, 600, ImageFormat::Jpeg);
    let content = await_measured(&world, "quick", &large).await;
    let bytes = large.len() as u64;
    assert_eq!(image_sizes(&content), [(1, [900, 600, bytes]), (2, [720, 480, 0]), (3, [198, 132, 0])]);
    world.finish().await;
}

#[tokio::test]
async fn recordings_and_videos_are_measured_too() {
    let world = with_public_url().start().await;
    let phone = world.follower("noise");
    let mut count = 0;
    // A conversion, or a busy machine, may take longer than the message waits.
    let measured = eventually(SOON, async || {
        phone.send_voice(AMR, "amr").await;
        phone.send_video(MP4, JPEG).await;
        count += 2;
        await_elements(&world, &openid("noise"), count).await;
        let all = sent(&world, &openid("noise"));
        let any =
            |matches: &dyn Fn(&Value) -> bool| all.iter().any(|elements| matches(&elements[0]["MsgContent"]));
        any(&|content| content["Size"].as_u64() > Some(0) && content["Second"].as_u64() > Some(0))
            && any(&|content| {
                content["VideoSize"] == MP4.len()
                    && content["VideoSecond"] == 1
                    && content["ThumbWidth"] == 64
            })
    });
    assert!(measured.await, "{:?}", sent(&world, &openid("noise")));
    world.finish().await;
}

#[tokio::test]
async fn messages_wait_only_briefly_for_a_file_that_does_not_come() {
    let world = with_public_url().start().await;
    let phone = world.follower("hang");
    // Create the account and the connections before the measurement starts.
    say(&phone, "hello").await;
    await_elements(&world, &openid("hang"), 1).await;
    world.wechat.faults().script(MEDIA_GET, 100, Fault::Delay(Duration::from_mins(2)));
    for _ in 0..4 {
        phone.send_image(JPEG).await;
    }
    say(&phone, "and that").await;
    // They arrive long before the files would.
    await_elements(&world, &openid("hang"), 6).await;
    for elements in &sent(&world, &openid("hang"))[1..5] {
        assert_eq!(image_sizes(&elements[0]["MsgContent"]), [(1, [0; 3]), (2, [0; 3]), (3, [0; 3])]);
    }
    world.finish().await;
}

#[tokio::test]
async fn copies_fit_their_size_and_are_deleted_with_their_customer() {
    let world = with_public_url().start().await;
    let original = picture(900, 600, ImageFormat::Png);
    let content = await_measured(&world, "copy", &original).await;
    let whole = get(&local_url(&world, link(&content, 1))).await;
    assert!((whole.mime.as_str(), whole.bytes) == ("image/png", original));
    for (kind, width, height) in [(2, 720, 480), (3, 198, 132)] {
        let url = local_url(&world, link(&content, kind));
        // A busy machine may serve the original first.
        let made = eventually(SOON, async || get(&url).await.mime == "image/jpeg").await;
        let copy = get(&url).await;
        let size = image::load_from_memory(&copy.bytes).unwrap();
        assert_eq!((made, size.width(), size.height()), (true, width, height));
        let other = url.replace(if kind == 2 { ".large." } else { ".thumb." }, ".huge.");
        assert_eq!(get(&other).await.status, 404, "a link is valid for one size only");
    }
    let files = || std::fs::read_dir(world.folder.path().join("media")).unwrap().count();
    assert_eq!(files(), 4, "the original, two copies and the folder for incoming files");
    world.follower("copy").unfollow().await;
    assert!(eventually(SOON, async || files() == 1).await, "{} are left", files());
    assert_eq!(get(&local_url(&world, link(&content, 3))).await.status, 404);
    world.finish().await;
}

#[tokio::test]
async fn a_picture_that_cannot_be_scaled_is_served_unchanged() {
    let world = with_public_url().start().await;
    let mut broken = picture(400, 400, ImageFormat::Png);
    broken.truncate(100);
    broken.extend([0x55; 100]);
    for (file, width) in [(broken, 400), (oversized_png(), 50_000)] {
        let content = await_measured(&world, "broken", &file).await;
        assert_eq!(image_sizes(&content)[0].1[0], width);
        for kind in [1, 2, 3] {
            for _ in 0..2 {
                let got = get(&local_url(&world, link(&content, kind))).await;
                assert!((got.status, got.mime.as_str()) == (200, "image/png") && got.bytes == file);
            }
        }
    }
    world.finish().await;
}
