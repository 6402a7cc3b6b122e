//! A customer: what they do, and what they see on their screen.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use crate::model::Millis;

use super::media::Media;
use super::push::{Draft, Pushed};
use super::timeline::{Deed, Moment, Timeline};
use super::window::Window;
use super::xml::Field;
use super::{Platform, ledger, lock};

/// A screen keeps its latest entries.
const SCREEN_LIMIT: usize = 10_000;

/// One customer of the account.
#[derive(Debug)]
pub(super) struct Customer {
    pub openid: String,
    /// How many there were before.
    pub number: usize,
    pub state: Mutex<State>,
    pub changed: watch::Sender<()>,
    /// Who watches the platform is told which customer has changed.
    told: broadcast::Sender<Arc<str>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub following: bool,
    pub window: Window,
    pub last_traffic: Option<Millis>,
    pub typing_since: Option<Millis>,
    pub screen: VecDeque<Shown>,
    pub timeline: Timeline,
}

impl Customer {
    pub fn new(openid: &str, number: usize, told: broadcast::Sender<Arc<str>>) -> Self {
        let changed = watch::Sender::new(());
        Self { openid: openid.to_owned(), number, state: Mutex::default(), changed, told }
    }

    /// The customer does something, at this time; the number of the moment.
    pub fn act(&self, act: impl FnOnce(&mut State) -> (Millis, Deed)) -> u64 {
        let mut state = lock(&self.state);
        let (at, did) = act(&mut state);
        let moment = state.timeline.did(at, did);
        drop(state);
        self.tell();
        moment
    }

    /// What the customer did has been answered, or given up.
    pub fn is_answered(&self, moment: u64) {
        lock(&self.state).timeline.answered(moment);
        self.tell();
    }

    fn tell(&self) {
        self.changed.send_replace(());
        // Nobody may be watching.
        let _ = self.told.send(self.openid.as_str().into());
    }

    pub fn show(&self, shown: Shown) {
        let Ok(()) = self.show_if(|_| Ok::<_, Infallible>(shown));
    }

    /// Shows what `decide` gives, in one step with its decision.
    pub fn show_if<E>(&self, decide: impl FnOnce(&mut State) -> Result<Shown, E>) -> Result<(), E> {
        let mut state = lock(&self.state);
        let shown = decide(&mut state)?;
        state.timeline.shown(shown.clone());
        ledger::keep(&mut state.screen, shown, SCREEN_LIMIT);
        drop(state);
        self.tell();
        Ok(())
    }
}

/// How something came onto the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The answer to a push.
    Passive,
    /// A call of `custom/send`.
    CustomSend,
    /// WeChat's own grey line: the service is at fault.
    Fault,
}

/// One entry of a screen.
#[derive(Clone, Debug)]
pub struct Shown {
    /// When it appeared.
    pub at: Millis,
    /// How it came.
    pub via: Via,
    /// The message type; `fault` for the fault line.
    pub kind: String,
    /// The text, or the titles of another kind.
    pub text: String,
    /// The picture, voice or video.
    pub media: Option<Arc<Media>>,
    /// The `MsgId` of the message that it answers passively.
    pub answers: Option<u64>,
}

/// The screen did not fulfil the condition in time.
#[derive(Debug, thiserror::Error)]
#[error("the screen does not show it; it shows {0:#?}")]
pub struct NotShown(pub Vec<Shown>);

/// A customer's phone. Clones are the same phone.
#[derive(Clone)]
pub struct Phone {
    platform: Arc<Platform>,
    customer: Arc<Customer>,
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

    /// Follows, with its event.
    pub async fn follow(&self) -> Pushed {
        self.event("subscribe", [Field::text("EventKey", "")]).await
    }

    /// Follows by a QR code with a scene.
    pub async fn follow_by_scene(&self, scene: &str) -> Pushed {
        let key = Field::text("EventKey", format!("qrscene_{scene}"));
        self.event("subscribe", [key, Field::text("Ticket", "TICKET")]).await
    }

    /// Leaves, with its event.
    pub async fn unfollow(&self) -> Pushed {
        self.event("unsubscribe", [Field::text("EventKey", "")]).await
    }

    /// Whether the customer follows the account.
    pub fn is_following(&self) -> bool {
        lock(&self.customer.state).following
    }

    /// Makes the customer a follower from before, or no follower, without an event.
    pub fn set_following(&self, following: bool) {
        lock(&self.customer.state).following = following;
        self.customer.tell();
    }

    /// Sends a text.
    pub async fn say(&self, text: &str) -> Pushed {
        self.deliver(&self.draft_text(text)).await
    }

    /// Writes a text without pushing it yet; the window opens now.
    pub fn draft_text(&self, text: &str) -> Draft {
        self.draft(vec![Field::text("MsgType", "text"), Field::text("Content", text)])
    }

    /// Taps an item of a menu message.
    pub async fn tap_msgmenu(&self, id: &str, content: &str) -> Pushed {
        self.message("text", [Field::text("Content", content), Field::number("bizmsgmenuid", id)]).await
    }

    /// Sends a picture; it can be downloaded by `MediaId` and by `PicUrl`.
    pub async fn send_image(&self, picture: impl Into<Bytes>) -> Pushed {
        let id = self.keep("image", picture.into());
        let url = format!("{}/mmbiz_jpg/{id}/0", self.platform.base_url);
        self.message("image", [Field::text("PicUrl", url), Field::text("MediaId", id)]).await
    }

    /// Sends a voice message; `format` as WeChat names it (`amr`, `speex`).
    pub async fn send_voice(&self, voice: impl Into<Bytes>, format: &str) -> Pushed {
        let voice = voice.into();
        let (id, id_16k) = (self.keep("voice", voice.clone()), self.keep("voice", voice));
        let fields = [
            Field::text("MediaId", id),
            Field::text("Format", format),
            Field::text("Recognition", ""),
            Field::text("MediaId16K", id_16k),
        ];
        self.message("voice", fields).await
    }

    /// Sends a video from the album.
    pub async fn send_video(&self, video: impl Into<Bytes>, thumb: impl Into<Bytes>) -> Pushed {
        self.video("video", video.into(), thumb.into()).await
    }

    /// Sends a video taken inside the chat.
    pub async fn send_shortvideo(&self, video: impl Into<Bytes>, thumb: impl Into<Bytes>) -> Pushed {
        self.video("shortvideo", video.into(), thumb.into()).await
    }

    /// Sends a place; degrees and a map zoom.
    pub async fn send_location(&self, latitude: f64, longitude: f64, scale: i64, label: &str) -> Pushed {
        let fields = [
            Field::number("Location_X", format!("{latitude:.6}")),
            Field::number("Location_Y", format!("{longitude:.6}")),
            Field::number("Scale", scale.to_string()),
            Field::text("Label", label),
        ];
        self.message("location", fields).await
    }

    /// Shares a page.
    pub async fn send_link(&self, title: &str, description: &str, url: &str) -> Pushed {
        let fields =
            [Field::text("Title", title), Field::text("Description", description), Field::text("Url", url)];
        self.message("link", fields).await
    }

    /// Shares a mini-program page.
    pub async fn send_mini_program(&self, title: &str, app_id: &str, page_path: &str) -> Pushed {
        let thumb = self.keep("thumb", super::media::tiny_png());
        let fields = [
            Field::text("Title", title),
            Field::text("AppId", app_id),
            Field::text("PagePath", page_path),
            Field::text("ThumbUrl", format!("{}/mmbiz_jpg/{thumb}/0", self.platform.base_url)),
            Field::text("ThumbMediaId", thumb),
        ];
        self.message("miniprogrampage", fields).await
    }

    /// Sends a message of a kind that nobody knows yet.
    pub async fn send_unknown(&self, kind: &str) -> Pushed {
        self.message(kind, [Field::group("Novelty", vec![Field::text("Item", "1")])]).await
    }

    /// Taps the account's menu; `event` as WeChat spells it (`CLICK`, `VIEW`, `scancode_push` ...).
    pub async fn tap_menu(&self, event: &str, key: &str) -> Pushed {
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
    pub async fn scan(&self, scene: &str) -> Pushed {
        self.event("SCAN", [Field::text("EventKey", scene), Field::text("Ticket", "TICKET")]).await
    }

    /// Pushes any fields. Those that every push has are put in unless they are given; `MsgType` must be given.
    pub async fn push_xml(&self, fields: Vec<Field>) -> Pushed {
        self.deliver(&self.draft(fields)).await
    }

    /// The same without pushing it yet. What the customer did counts as done now.
    pub fn draft(&self, fields: Vec<Field>) -> Draft {
        self.platform.draft(&self.customer, fields)
    }

    /// What the customer sees, oldest first.
    pub fn screen(&self) -> Vec<Shown> {
        lock(&self.customer.state).screen.iter().cloned().collect()
    }

    /// The texts that the customer was sent, oldest first, without fault lines.
    pub fn texts(&self) -> Vec<String> {
        let state = lock(&self.customer.state);
        let texts = state.screen.iter().filter(|shown| shown.kind == "text");
        texts.map(|shown| shown.text.clone()).collect()
    }

    /// Waits until the screen fulfils `condition` and gives it; at most `timeout` of real time. The screen is locked
    /// meanwhile: the condition may look at nothing else of the platform.
    pub async fn wait_for(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(&[Shown]) -> bool,
    ) -> Result<Vec<Shown>, NotShown> {
        let mut changed = self.customer.changed.subscribe();
        let fulfilled = async {
            while !condition(lock(&self.customer.state).screen.make_contiguous()) {
                let _ = changed.changed().await;
            }
        };
        let in_time = tokio::time::timeout(timeout, fulfilled).await;
        if in_time.is_ok() { Ok(self.screen()) } else { Err(NotShown(self.screen())) }
    }

    /// How many `custom/send` calls would reach the customer now.
    pub fn sends_left(&self) -> u32 {
        let state = lock(&self.customer.state);
        if state.following { state.window.left(self.platform.clock.now()) } else { 0 }
    }

    /// When the account may no longer send, if it may now.
    pub fn window_closes(&self) -> Option<Millis> {
        let state = lock(&self.customer.state);
        state.window.closes(self.platform.clock.now()).filter(|_| state.following)
    }

    /// What the customer did and was shown lately, oldest first.
    pub fn timeline(&self) -> Vec<Moment> {
        lock(&self.customer.state).timeline.moments().cloned().collect()
    }

    fn keep(&self, kind: &'static str, bytes: Bytes) -> String {
        lock(&self.platform.media).put(kind, bytes, self.platform.clock.now())
    }

    async fn video(&self, kind: &str, video: Bytes, thumb: Bytes) -> Pushed {
        let (id, thumb) = (self.keep("video", video), self.keep("thumb", thumb));
        self.message(kind, [Field::text("MediaId", id), Field::text("ThumbMediaId", thumb)]).await
    }

    async fn message(&self, kind: &str, fields: impl IntoIterator<Item = Field>) -> Pushed {
        self.push_xml(std::iter::once(Field::text("MsgType", kind)).chain(fields).collect()).await
    }

    async fn event(&self, name: &str, fields: impl IntoIterator<Item = Field>) -> Pushed {
        let head = [Field::text("MsgType", "event"), Field::text("Event", name)];
        self.push_xml(head.into_iter().chain(fields).collect()).await
    }

    async fn deliver(&self, draft: &Draft) -> Pushed {
        self.platform.deliver(draft).await
    }
}
