//! Files as agents' clients really make them. `ffmpeg` makes them here, with its own encoders only.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::Value;
use wechat_im_bridge::internals::sandbox::im::UploadedFile;
use wechat_im_bridge::internals::sandbox::wechat::Phone;

use super::files::{await_pushed, file, local, pushed};
use crate::child;
use crate::observe::{await_notice, greeted, notices, notices_but_budget};
use crate::world::{World, eventually, openid};

/// The time limit of a conversion, also on a busy machine.
const CONVERTED: std::time::Duration = std::time::Duration::from_secs(90);

/// Makes files; `None` if this machine has no ffmpeg.
struct Recorder {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Recorder {
    fn find(what: &str) -> Option<Self> {
        let Some(program) = child::find(&["ffmpeg"]) else {
            child::report_skip(what, "ffmpeg", "ffmpeg");
            return None;
        };
        Some(Self { program, folder: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes the file `name` with these arguments, and returns its bytes.
    fn make(&self, arguments: &str, name: &str) -> Vec<u8> {
        let made = Command::new(&self.program)
            .args(["-nostdin", "-v", "error", "-y"])
            .args(arguments.split(' '))
            .arg(self.path(name))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
        std::fs::read(self.path(name)).unwrap()
    }

    /// A tone of this many seconds, in the container and codec that the arguments name.
    fn tone(&self, seconds: f64, arguments: &str, name: &str) -> Vec<u8> {
        self.make(&format!("-f lavfi -i sine=frequency=440:duration={seconds} {arguments}"), name)
    }

    /// The length in seconds of an MP3, as ffmpeg decodes it.
    fn seconds_of(&self, mp3: &[u8]) -> f64 {
        std::fs::write(self.path("heard.mp3"), mp3).unwrap();
        let samples =
            self.make(&format!("-i {} -ac 1 -ar 8000 -f s16le", self.path("heard.mp3").display()), "pcm");
        f64::from(u32::try_from(samples.len()).unwrap()) / 16_000.0
    }

    /// A picture of noise, which JPEG cannot make small.
    fn noise(&self, width: u32, height: u32) -> Vec<u8> {
        let mut state = 7_u64;
        let noise: Vec<u8> = (0..width * height * 3)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        std::fs::write(self.path("noise.raw"), noise).unwrap();
        let raw =
            format!("-f rawvideo -pix_fmt rgb24 -s {width}x{height} -i {}", self.path("noise.raw").display());
        self.make(&format!("{raw} -c:v mjpeg -pix_fmt yuvj444p -qmin 1 -q:v 1 -frames:v 1"), "noise.jpg")
    }
}

fn webp() -> Vec<u8> {
    let drawn = RgbImage::from_fn(90, 60, |x, y| image::Rgb([x.to_le_bytes()[0], y.to_le_bytes()[0], 9]));
    let mut out = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(drawn).write_to(&mut out, ImageFormat::WebP).unwrap();
    out.into_inner()
}

/// Sends an element and returns what the customer's phone shows of it: its kind, its text and its bytes.
async fn shown(world: &World, phone: &Phone, element: &Value) -> (String, String, bytes::Bytes) {
    let (agent, before) = (world.agent(), pushed(phone).len());
    agent.send(phone.openid(), serde_json::json!([element])).await.unwrap();
    let arrived = eventually(CONVERTED, async || pushed(phone).len() > before).await;
    assert!(arrived, "the customer does not see {element}: {:?}", notices(&agent, phone.openid()));
    pushed(phone).pop().unwrap()
}

#[tokio::test]
async fn recordings_of_every_client_arrive_as_voice_messages() {
    let Some(recorder) = Recorder::find("recordings of agents' clients") else { return };
    let world = local().start().await;
    let (phone, agent) = (greeted(&world, "voice").await, world.agent());
    for (name, arguments) in [
        // Android: AAC in an MP4 container that calls itself a video.
        ("android.m4a", "-c:a aac -b:a 64k -f mp4 -brand mp42"),
        ("iphone.m4a", "-c:a aac -ar 16000 -ac 1 -f ipod"),
        ("isom.mp4", "-c:a aac -f mp4 -brand isom"),
        ("flutter.wav", "-c:a pcm_s16le -ar 44100 -ac 2"),
        ("raw.aac", "-c:a aac -f adts"),
        ("web.ogg", "-c:a opus -strict -2 -ar 48000 -f ogg"),
    ] {
        phone.say("go on").await;
        let recording = recorder.tone(3.0, arguments, name);
        let (kind, text, bytes) = shown(&world, &phone, &agent.upload(name, recording).sound(3)).await;
        assert_eq!(
            (kind.as_str(), text.as_str()),
            ("voice", ""),
            "{name}: {:?}",
            notices(&agent, phone.openid())
        );
        let seconds = recorder.seconds_of(&bytes);
        assert!((2.8..3.4).contains(&seconds), "{name}: {seconds} s");
    }
    assert!(notices(&agent, phone.openid()).is_empty(), "{:?}", notices(&agent, phone.openid()));
    world.finish().await;
}

#[tokio::test]
async fn a_recording_of_a_minute_is_a_voice_message_and_a_longer_one_a_link_with_a_notice() {
    let Some(recorder) = Recorder::find("long recordings") else { return };
    let world = local().start().await;
    let (phone, agent) = (greeted(&world, "long").await, world.agent());
    let minute = agent.upload("a.wav", recorder.tone(60.4, "-ar 16000", "minute.wav"));
    let (kind, _, bytes) = shown(&world, &phone, &minute.sound(60)).await;
    assert_eq!(kind, "voice", "{:?}", notices(&agent, phone.openid()));
    let seconds = recorder.seconds_of(&bytes);
    assert!((59.0..=60.0).contains(&seconds), "{seconds} s");
    // Whatever the client says.
    for (name, arguments) in [("long.m4a", "-c:a aac -f ipod"), ("long.mp3", "")] {
        let recording = match arguments {
            "" => file("voice.mp3").repeat(80),
            arguments => recorder.tone(70.0, arguments, name),
        };
        let long = agent.upload(name, recording);
        let (kind, text, _) = shown(&world, &phone, &long.sound(5)).await;
        assert_eq!((kind, text), ("text".to_owned(), format!("[voice message]\n{}", long.url)), "{name}");
    }
    let told = await_notice(&agent, phone.openid(), "longer than the minute").await;
    assert!(told.iter().all(|notice| notice.contains("“[voice message]”")), "{told:?}");
    world.finish().await;
}

#[tokio::test]
async fn a_damaged_recording_is_a_link_with_a_notice() {
    let Some(recorder) = Recorder::find("damaged recordings") else { return };
    let world = local().start().await;
    let (phone, agent) = (greeted(&world, "broken").await, world.agent());
    let mut recording = recorder.tone(1.0, "-c:a aac -f mp4 -brand mp42", "a.m4a");
    let after_its_name = recording.split_off(24);
    recording.extend(after_its_name.iter().map(|byte| !byte));
    let broken = agent.upload("a.m4a", recording);
    let (_, text, _) = shown(&world, &phone, &broken.sound(1)).await;
    assert_eq!(text, format!("[voice message]\n{}", broken.url));
    await_notice(&agent, phone.openid(), "ffmpeg could not convert the file").await;
    world.finish().await;
}

#[tokio::test]
async fn pictures_that_wechat_does_not_take_arrive_as_jpeg() {
    let Some(recorder) = Recorder::find("large pictures") else { return };
    let world = local().start().await;
    let (phone, agent) = (greeted(&world, "photo").await, world.agent());
    let large = recorder.noise(2_400, 2_400);
    assert!((12_000_000..20_000_000).contains(&large.len()), "{} bytes", large.len());
    let plain = RgbImage::from_pixel(30, 20, image::Rgb([9, 99, 199]));
    let mut bmp = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(plain).write_to(&mut bmp, ImageFormat::Bmp).unwrap();
    for (name, picture, size) in [
        ("a.webp", webp(), (90, 60)),
        ("a.jpg", large, (1_920, 1_920)),
        ("a.bmp", bmp.into_inner(), (30, 20)),
    ] {
        let (kind, text, bytes) = shown(&world, &phone, &agent.upload(name, picture).image()).await;
        assert_eq!((kind.as_str(), text.as_str()), ("image", ""), "{name}");
        assert_eq!(image::guess_format(&bytes).unwrap(), ImageFormat::Jpeg, "{name}");
        let seen = image::load_from_memory(&bytes).unwrap();
        assert_eq!((seen.width(), seen.height()), size, "{name}");
    }
    assert!(notices_but_budget(&agent, phone.openid()).is_empty(), "{:?}", notices(&agent, phone.openid()));
    world.finish().await;
}

/// The element of a picture whose three sizes have files of their own, as every client sends it.
fn in_sizes(original: &UploadedFile, large: &UploadedFile) -> Value {
    let size = |kind: u8, of: &UploadedFile| {
        serde_json::json!({"Type": kind, "Size": if kind == 1 { of.size } else { 0 }, "Width": 1, "Height": 1,
                           "URL": of.url, "InstanceId": "i", "MsgType": ""})
    };
    let sizes = [size(1, original), size(3, large), size(2, large)];
    serde_json::json!({"MsgType": "TIMImageElem",
                       "MsgContent": {"UUID": "u", "ImageFormat": 255, "ImageInfoArray": sizes}})
}

#[tokio::test]
async fn a_picture_that_cannot_be_converted_arrives_in_the_size_that_im_made() {
    let world = local().set("BRIDGE_MEDIA__MAX_BYTES", "20000").start().await;
    let (phone, agent) = (greeted(&world, "smaller").await, world.agent());
    let (small, gone) = (agent.upload("l.jpg", file("photo.jpg")), agent.upload("o.jpg", file("photo.png")));
    let heic = agent.upload("a.heic", "\0\0\0\x18ftypheic and pixels");
    let too_large = agent.upload("a.jpg", vec![0xff; 20_001]);
    let lies = UploadedFile { size: 20_001, ..agent.upload("b.jpg", vec![0xff; 30_000]) };
    world.im.remove_file(&gone.url);
    for original in [heic, too_large, lies, gone] {
        phone.say("go on").await;
        let (kind, text, bytes) = shown(&world, &phone, &in_sizes(&original, &small)).await;
        assert_eq!((kind.as_str(), text.as_str()), ("image", ""), "{}", original.name);
        assert_eq!(bytes, file("photo.jpg"), "{}", original.name);
    }
    assert!(notices(&agent, phone.openid()).is_empty(), "{:?}", notices(&agent, phone.openid()));
    world.finish().await;
}

fn has_brand(video: &[u8], brands: &[&[u8]]) -> bool {
    brands.iter().any(|brand| video.get(4..12) == Some(&[b"ftyp", *brand].concat()))
}

#[tokio::test]
async fn a_quicktime_video_arrives_as_mp4_with_its_first_picture() {
    let Some(recorder) = Recorder::find("QuickTime videos") else { return };
    let world = local().start().await;
    let (phone, agent) = (greeted(&world, "film").await, world.agent());
    let png = agent.upload("t.png", file("photo.png"));
    let picture = "-f lavfi -i testsrc=duration=2:size=160x120:rate=10 -f lavfi -i sine=duration=2";
    for (name, codecs) in [
        ("a.mov", "-c:v mpeg4 -c:a aac -f mov"),
        // A Mac's recording of its screen has sound that MP4 cannot have.
        ("screen.mov", "-c:v mpeg4 -c:a pcm_s16be -f mov"),
    ] {
        let mov = recorder.make(&format!("{picture} {codecs}"), name);
        assert!(has_brand(&mov, &[b"qt  "]), "{name}");
        let (kind, text, bytes) = shown(&world, &phone, &agent.upload(name, mov).video(&png)).await;
        assert_eq!(
            (kind.as_str(), text.as_str()),
            ("video", ""),
            "{name}: {:?}",
            notices(&agent, phone.openid())
        );
        assert!(has_brand(&bytes, &[b"isom", b"mp42"]), "{name}");
        std::fs::write(recorder.path("seen.mp4"), &bytes).unwrap();
        let frames =
            recorder.make(&format!("-i {} -f rawvideo -pix_fmt gray", path(&recorder, "seen.mp4")), "raw");
        assert_eq!(frames.len(), 20 * 160 * 120, "{name}");
    }
    // The two videos, and one JPEG of the first picture.
    assert_eq!(world.wechat.ledger().uploads, 3);
    world.finish().await;
}

fn path(recorder: &Recorder, name: &str) -> String {
    Path::new(&recorder.path(name)).display().to_string()
}

#[tokio::test]
async fn converted_files_are_deleted_with_their_customer() {
    let Some(recorder) = Recorder::find("converted files") else { return };
    let world = local().start().await;
    let (phone, agent) = (greeted(&world, "gone").await, world.agent());
    let recording = agent.upload("a.m4a", recorder.tone(1.0, "-c:a aac -f ipod", "a.m4a"));
    shown(&world, &phone, &recording.sound(1)).await;
    agent.send_image(&openid("gone"), "a.webp", webp()).await.unwrap();
    assert!(eventually(CONVERTED, async || pushed(&phone).len() == 2).await);
    let files = || std::fs::read_dir(world.folder.path().join("media")).unwrap().count();
    assert_eq!(files(), 5, "two originals, two copies and the folder for incoming files");
    phone.unfollow().await;
    assert!(eventually(CONVERTED, async || files() == 1).await, "{} are left", files());
    world.finish().await;
}

#[tokio::test]
async fn a_converted_recording_is_not_converted_or_uploaded_again() {
    let Some(recorder) = Recorder::find("converted files") else { return };
    let world = local().start().await;
    let (phone, agent) = (greeted(&world, "twice").await, world.agent());
    let recording = recorder.tone(1.0, "-c:a aac -f ipod", "a.m4a");
    let (_, _, first) = shown(&world, &phone, &agent.upload("a.m4a", recording.clone()).sound(1)).await;
    shown(&world, &phone, &agent.upload("b.m4a", recording).sound(1)).await;
    await_pushed(&phone, &vec![("voice", "", first); 2]).await;
    assert_eq!(world.wechat.ledger().uploads, 1);
    world.finish().await;
}
