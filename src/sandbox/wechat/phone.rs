//! A customer: their actions, and the content of their screen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Platform;
use super::customer::Customer;
use super::draft::Draft;
use super::language::PhoneLanguage;
use super::push::PushResult;
use super::screen::ScreenEntry;
use super::send::TYPING_DURATION_MS;
use super::timeline::TimelineEntry;
use super::xml::Field;
use crate::model::Millis;

/// The screen did not fulfil the condition in time. Holds the screen at the end.
#[derive(Debug, thiserror::Error)]
#[error("the screen did not fulfil the condition in time; it shows {0:#?}")]
pub struct ScreenTimeout(pub Vec<ScreenEntry>);

/// A customer's phone. Clones share one phone.
#[derive(Clone)]
pub struct Phone {
    pub(super) platform: Arc<Platform>,
    pub(super) customer: Arc<Customer>,
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Phone").field("openid", &self.customer.openid).finish_non_exhaustive()
    }
}

impl Phone {
    pub(super) fn new(platform: Arc<Platform>, customer: Arc<Customer>) -> Self {
        Self { platform, customer }
    }

    /// The customer's openid.
    pub fn openid(&self) -> &str {
        &self.customer.openid
    }

    /// Follows the account and pushes the event.
    pub async fn follow(&self) -> PushResult {
        self.event("subscribe", [Field::text("EventKey", "")]).await
    }

    /// Follows the account by a QR code with a scene and pushes the event.
    pub async fn follow_by_scene(&self, scene: &str) -> PushResult {
        let key = Field::text("EventKey", format!("qrscene_{scene}"));
        self.event("subscribe", [key, Field::text("Ticket", "TICKET")]).await
    }

    /// Unfollows the account and pushes the event.
    pub async fn unfollow(&self) -> PushResult {
        self.event("unsubscribe", [Field::text("EventKey", "")]).await
    }

    /// Whether the customer follows the account.
    pub fn is_following(&self) -> bool {
        self.customer.state.lock().following
    }

    /// Sets whether the customer follows, without an event.
    pub fn set_following(&self, following: bool) {
        self.customer.state.lock().following = following;
        self.customer.notify();
    }

    /// Sends a text.
    pub async fn say(&self, text: &str) -> PushResult {
        self.deliver(&self.draft_text(text)).await
    }

    /// Writes a text without pushing it. The window opens now.
    pub fn draft_text(&self, text: &str) -> Draft {
        self.draft(vec![Field::text("MsgType", "text"), Field::text("Content", text)])
    }

    /// Taps an item of a menu message.
    pub async fn tap_msgmenu(&self, id: &str, content: &str) -> PushResult {
        self.message("text", [Field::text("Content", content), Field::number("bizmsgmenuid", id)]).await
    }

    /// Sends an image. The bridge can download it by `MediaId` and by `PicUrl`.
    pub async fn send_image(&self, picture: impl Into<Bytes>) -> PushResult {
        let id = self.store_media("image", picture.into());
        let url = format!("{}/mmbiz_jpg/{id}/0", self.platform.base_url);
        self.message("image", [Field::text("PicUrl", url), Field::text("MediaId", id)]).await
    }

    /// Sends a voice message. `format` is WeChat's name of it (`amr`, `speex`).
    pub async fn send_voice(&self, voice: impl Into<Bytes>, format: &str) -> PushResult {
        let voice = voice.into();
        let (id, id_16k) = (self.store_media("voice", voice.clone()), self.store_media("voice", voice));
        let fields = [
            Field::text("MediaId", id),
            Field::text("Format", format),
            Field::text("Recognition", ""),
            Field::text("MediaId16K", id_16k),
        ];
        self.message("voice", fields).await
    }

    /// Sends a video from the album.
    pub async fn send_video(&self, video: impl Into<Bytes>, thumb: impl Into<Bytes>) -> PushResult {
        self.video("video", video.into(), thumb.into()).await
    }

    /// Sends a video recorded inside the chat.
    pub async fn send_shortvideo(&self, video: impl Into<Bytes>, thumb: impl Into<Bytes>) -> PushResult {
        self.video("shortvideo", video.into(), thumb.into()).await
    }

    /// Sends a location. The coordinates are in degrees; `scale` is the map zoom.
    pub async fn send_location(&self, latitude: f64, longitude: f64, scale: i64, label: &str) -> PushResult {
        let fields = [
            Field::number("Location_X", format!("{latitude:.6}")),
            Field::number("Location_Y", format!("{longitude:.6}")),
            Field::number("Scale", scale.to_string()),
            Field::text("Label", label),
        ];
        self.message("location", fields).await
    }

    /// Shares a link to a web page.
    pub async fn send_link(&self, title: &str, description: &str, url: &str) -> PushResult {
        let fields =
            [Field::text("Title", title), Field::text("Description", description), Field::text("Url", url)];
        self.message("link", fields).await
    }

    /// Shares a mini-program page.
    pub async fn send_mini_program(&self, title: &str, app_id: &str, page_path: &str) -> PushResult {
        let thumb = self.store_media("thumb", super::media::tiny_png());
        let fields = [
            Field::text("Title", title),
            Field::text("AppId", app_id),
            Field::text("PagePath", page_path),
            Field::text("ThumbUrl", format!("{}/mmbiz_jpg/{thumb}/0", self.platform.base_url)),
            Field::text("ThumbMediaId", thumb),
        ];
        self.message("miniprogrampage", fields).await
    }

    /// Sends a sticker. WeChat pushes a sentence in the language of the phone instead.
    pub async fn send_sticker(&self, language: PhoneLanguage) -> PushResult {
        self.say(language.unsupported()).await
    }

    /// Sends a file of `size` bytes. WeChat pushes its name and size, but no way to fetch it.
    pub async fn send_file(&self, name: &str, size: u64) -> PushResult {
        let key = format!("{:032x}", rand::random::<u128>());
        let fields = [
            Field::text("Title", name),
            Field::text("Description", ""),
            Field::text("FileKey", key.as_str()),
            Field::text("FileMd5", key.as_str()),
            Field::number("FileTotalLen", size.to_string()),
        ];
        self.message("file", fields).await
    }

    /// Sends a message of a kind that the reference does not list.
    pub async fn send_unknown(&self, kind: &str) -> PushResult {
        self.message(kind, [Field::group("Novelty", vec![Field::text("Item", "1")])]).await
    }

    /// Taps an item of the account's menu. `event` is WeChat's name of the event (`CLICK`, `VIEW`,
    /// `scancode_push` ...).
    pub async fn tap_menu(&self, event: &str, key: &str) -> PushResult {
        let mut fields = vec![Field::text("EventKey", key)];
        match event {
            "scancode_push" | "scancode_waitmsg" => fields.push(Field::group(
                "ScanCodeInfo",
                vec![Field::text("ScanType", "qrcode"), Field::text("ScanResult", "https://example.com/p/1")],
            )),
            "VIEW" | "view_miniprogram" => fields.push(Field::number("MenuId", "425932123")),
            _ => {}
        }
        self.event(event, fields).await
    }

    /// Scans the account's QR code as a follower.
    pub async fn scan(&self, scene: &str) -> PushResult {
        self.event("SCAN", [Field::text("EventKey", scene), Field::text("Ticket", "TICKET")]).await
    }

    /// Pushes any fields. `MsgType` is required. The other fields that every push has are added
    /// unless they are given.
    pub async fn push_xml(&self, fields: Vec<Field>) -> PushResult {
        self.deliver(&self.draft(fields)).await
    }

    /// Creates a draft from any fields without pushing it. The customer's action takes effect now.
    pub fn draft(&self, fields: Vec<Field>) -> Draft {
        self.platform.draft(&self.customer, fields)
    }

    /// The customer's screen, oldest entry first.
    pub fn screen(&self) -> Vec<ScreenEntry> {
        self.customer.state.lock().screen.iter().cloned().collect()
    }

    /// The text messages on the screen, oldest first, without fault lines.
    pub fn texts(&self) -> Vec<String> {
        let state = self.customer.state.lock();
        let texts = state.screen.iter().filter(|shown| shown.kind == "text");
        texts.map(|shown| shown.text.clone()).collect()
    }

    /// Waits until the screen fulfils `condition`, for at most `timeout` of real time. Returns the
    /// screen.
    ///
    /// The screen is locked while the condition runs, so the condition must not use any other part
    /// of the platform.
    pub async fn wait_for(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(&[ScreenEntry]) -> bool,
    ) -> Result<Vec<ScreenEntry>, ScreenTimeout> {
        let mut changed = self.customer.changed.subscribe();
        let fulfilled = async {
            while !condition(self.customer.state.lock().screen.make_contiguous()) {
                let _ = changed.changed().await;
            }
        };
        let in_time = tokio::time::timeout(timeout, fulfilled).await;
        if in_time.is_ok() { Ok(self.screen()) } else { Err(ScreenTimeout(self.screen())) }
    }

    /// Until when the phone shows that the account types. `None` if it does not show it now.
    pub fn typing_until(&self) -> Option<Millis> {
        let since = self.customer.state.lock().typing_since?;
        let until = since.plus(TYPING_DURATION_MS);
        (until > self.platform.clock.now()).then_some(until)
    }

    /// Waits until the phone shows that the account types, or no longer shows it, for at most `timeout` of
    /// real time. Returns whether it came to that. Ignores the end that comes with time alone.
    pub async fn wait_for_typing(&self, is_typing: bool, timeout: Duration) -> bool {
        let mut changed = self.customer.changed.subscribe();
        let reached = async {
            while self.typing_until().is_some() != is_typing {
                let _ = changed.changed().await;
            }
        };
        tokio::time::timeout(timeout, reached).await.is_ok()
    }

    /// The number of `custom/send` calls that the platform would accept for the customer now.
    pub fn sends_left(&self) -> u32 {
        let state = self.customer.state.lock();
        if state.following { state.window.remaining(self.platform.clock.now()) } else { 0 }
    }

    /// When the account's right to send ends. `None` if it may not send now.
    pub fn window_closes(&self) -> Option<Millis> {
        let state = self.customer.state.lock();
        state.window.closes_at(self.platform.clock.now()).filter(|_| state.following)
    }

    /// The latest actions and screen entries of the customer, oldest first.
    pub fn timeline(&self) -> Vec<TimelineEntry> {
        self.customer.state.lock().timeline.entries().cloned().collect()
    }

    fn store_media(&self, kind: &'static str, bytes: Bytes) -> String {
        self.platform.media.lock().put(kind, bytes, self.platform.clock.now())
    }

    async fn video(&self, kind: &str, video: Bytes, thumb: Bytes) -> PushResult {
        let (id, thumb) = (self.store_media("video", video), self.store_media("thumb", thumb));
        self.message(kind, [Field::text("MediaId", id), Field::text("ThumbMediaId", thumb)]).await
    }

    async fn message(&self, kind: &str, fields: impl IntoIterator<Item = Field>) -> PushResult {
        self.push_xml(std::iter::once(Field::text("MsgType", kind)).chain(fields).collect()).await
    }

    async fn event(&self, name: &str, fields: impl IntoIterator<Item = Field>) -> PushResult {
        let head = [Field::text("MsgType", "event"), Field::text("Event", name)];
        self.push_xml(head.into_iter().chain(fields).collect()).await
    }

    async fn deliver(&self, draft: &Draft) -> PushResult {
        self.platform.deliver(draft).await
    }
}
