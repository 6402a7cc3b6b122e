//! Events with their fields (reference: "Events a customer-service bridge meets").
//!
//! The bridge acts on a few of them; WeChat adds events without notice, so an unknown one is a value, not an error.

use super::xml::Element;
use crate::model::Event;

/// An event, typed. Names are compared without case.
#[derive(Clone, Debug, PartialEq)]
pub enum WechatEvent {
    /// The customer followed, by the QR code `scene` if there was one.
    Subscribe { scene: Option<String>, ticket: Option<String> },
    /// The customer left.
    Unsubscribe,
    /// A follower scanned a QR code.
    Scan { scene: String, ticket: Option<String> },
    /// Where the customer is, in degrees and metres.
    Location { latitude: Option<f64>, longitude: Option<f64>, precision: Option<f64> },
    /// A menu item with a key.
    Click { key: String },
    /// A menu item that opens a page.
    View { url: String, menu_id: Option<String> },
    /// A menu item that opens a mini-program.
    ViewMiniProgram { page_path: String, menu_id: Option<String> },
    /// A menu item that scans.
    ScanCodePush { key: String, scan: ScanCode },
    /// A menu item that scans and waits for the reply.
    ScanCodeWaitMsg { key: String, scan: ScanCode },
    /// A menu item that takes or picks pictures, which come as messages of their own.
    Pictures { source: PictureSource, key: String, count: u32, md5_sums: Vec<String> },
    /// A menu item that picks a place, which comes as a message of its own.
    LocationSelect { key: String, place: Place },
    /// A template message arrived or did not.
    TemplateSendJobFinish { msg_id: String, status: String },
    /// A mass message has been sent.
    MassSendJobFinish { msg_id: String, status: String, total: u64, filtered: u64, sent: u64, failed: u64 },
    /// Articles have been published or not; `status` 0 is success.
    PublishJobFinish {
        publish_id: String,
        status: Option<u32>,
        article_id: Option<String>,
        article_urls: Vec<String>,
        failed: Vec<u32>,
    },
    /// WeChat's own agent console opened a session.
    KfCreateSession { account: String },
    /// It closed the session.
    KfCloseSession { account: String, close_type: Option<String> },
    /// It moved the session to another agent.
    KfSwitchSession { from: String, to: String },
    /// The profile that a customer shared has changed.
    UserInfoModified(Subject),
    /// A customer took back an authorisation.
    UserAuthorizationRevoke { subject: Subject, info: Option<String> },
    /// A customer closed their WeChat account.
    UserAuthorizationCancellation(Subject),
    /// Sent by the push tester of the documentation.
    DebugDemo { debug_str: String },
    /// An event this version does not know, by WeChat's name for it.
    Other { name: String },
}

/// What was scanned; `kind` is `qrcode`, `barcode` ...
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanCode {
    pub kind: String,
    pub result: String,
}

/// Which menu item asked for pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureSource {
    SysPhoto,
    PhotoOrAlbum,
    Weixin,
}

/// A picked place, as WeChat writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub latitude: String,
    pub longitude: String,
    pub scale: String,
    pub label: String,
    pub poi_name: String,
}

/// Whom an authorisation event is about: there `FromUserName` is the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub open_id: String,
    pub app_id: String,
    pub union_id: Option<String>,
}

/// The event in a push whose `Event` is `name`.
pub fn read(root: &Element, name: &str) -> WechatEvent {
    let word = |name: &str| root.word(name).map(str::to_owned);
    let id = |name: &str| word(name).unwrap_or_default();
    let key = || id("EventKey");
    let scan = || scan_code(root.child("ScanCodeInfo"));
    let kf = || id("KfAccount");
    match name.to_ascii_lowercase().as_str() {
        // WeChat Pay puts `last_trade_no_` in the key; only this prefix means a QR code.
        "subscribe" => WechatEvent::Subscribe {
            scene: key().strip_prefix("qrscene_").map(str::to_owned),
            ticket: word("Ticket"),
        },
        "unsubscribe" => WechatEvent::Unsubscribe,
        "scan" => WechatEvent::Scan { scene: key(), ticket: word("Ticket") },
        "location" => WechatEvent::Location {
            latitude: root.number("Latitude"),
            longitude: root.number("Longitude"),
            precision: root.number("Precision"),
        },
        "click" => WechatEvent::Click { key: key() },
        "view" => WechatEvent::View { url: key(), menu_id: word("MenuId") },
        "view_miniprogram" => WechatEvent::ViewMiniProgram { page_path: key(), menu_id: word("MenuId") },
        "scancode_push" => WechatEvent::ScanCodePush { key: key(), scan: scan() },
        "scancode_waitmsg" => WechatEvent::ScanCodeWaitMsg { key: key(), scan: scan() },
        "pic_sysphoto" => pictures(root, PictureSource::SysPhoto),
        "pic_photo_or_album" => pictures(root, PictureSource::PhotoOrAlbum),
        "pic_weixin" => pictures(root, PictureSource::Weixin),
        "location_select" => {
            WechatEvent::LocationSelect { key: key(), place: place(root.child("SendLocationInfo")) }
        }
        "templatesendjobfinish" => {
            WechatEvent::TemplateSendJobFinish { msg_id: id("MsgID"), status: id("Status") }
        }
        "masssendjobfinish" => mass_send(root),
        "publishjobfinish" => publish(root.child("PublishEventInfo")),
        "kf_create_session" => WechatEvent::KfCreateSession { account: kf() },
        "kf_close_session" => WechatEvent::KfCloseSession { account: kf(), close_type: word("CloseType") },
        "kf_switch_session" => {
            WechatEvent::KfSwitchSession { from: id("FromKfAccount"), to: id("ToKfAccount") }
        }
        "user_info_modified" => WechatEvent::UserInfoModified(subject(root)),
        "user_authorization_revoke" => {
            WechatEvent::UserAuthorizationRevoke { subject: subject(root), info: word("RevokeInfo") }
        }
        "user_authorization_cancellation" => WechatEvent::UserAuthorizationCancellation(subject(root)),
        "debug_demo" => WechatEvent::DebugDemo { debug_str: id("debug_str") },
        _ => WechatEvent::Other { name: name.to_owned() },
    }
}

fn word_of(element: Option<&Element>, name: &str) -> String {
    element.and_then(|element| element.word(name)).unwrap_or_default().to_owned()
}

fn scan_code(info: Option<&Element>) -> ScanCode {
    ScanCode { kind: word_of(info, "ScanType"), result: word_of(info, "ScanResult") }
}

fn place(info: Option<&Element>) -> Place {
    Place {
        latitude: word_of(info, "Location_X"),
        longitude: word_of(info, "Location_Y"),
        scale: word_of(info, "Scale"),
        label: word_of(info, "Label"),
        poi_name: word_of(info, "Poiname"),
    }
}

fn pictures(root: &Element, source: PictureSource) -> WechatEvent {
    let info = root.child("SendPicsInfo");
    let items = info.and_then(|info| info.child("PicList")).map_or(&[][..], Element::children);
    WechatEvent::Pictures {
        source,
        key: word_of(Some(root), "EventKey"),
        count: info.and_then(|info| info.number("Count")).unwrap_or_default(),
        md5_sums: items.iter().filter_map(|item| item.word("PicMd5Sum")).map(str::to_owned).collect(),
    }
}

fn mass_send(root: &Element) -> WechatEvent {
    let count = |name: &str| root.number(name).unwrap_or_default();
    WechatEvent::MassSendJobFinish {
        msg_id: word_of(Some(root), "MsgID"),
        status: word_of(Some(root), "Status"),
        total: count("TotalCount"),
        filtered: count("FilterCount"),
        sent: count("SentCount"),
        failed: count("ErrorCount"),
    }
}

fn publish(info: Option<&Element>) -> WechatEvent {
    let detail = info.and_then(|info| info.child("article_detail")).map_or(&[][..], Element::children);
    let failed = info.map_or(&[][..], Element::children).iter().filter(|child| child.name() == "fail_idx");
    WechatEvent::PublishJobFinish {
        publish_id: word_of(info, "publish_id"),
        status: info.and_then(|info| info.number("publish_status")),
        article_id: info.and_then(|info| info.word("article_id")).map(str::to_owned),
        article_urls: detail.iter().filter_map(|item| item.word("article_url")).map(str::to_owned).collect(),
        failed: failed.filter_map(|index| index.content().trim().parse().ok()).collect(),
    }
}

fn subject(root: &Element) -> Subject {
    Subject {
        open_id: word_of(Some(root), "OpenID"),
        app_id: word_of(Some(root), "AppID"),
        union_id: root.word("UnionID").map(str::to_owned),
    }
}

impl WechatEvent {
    /// WeChat's `Event`, spelled as its documentation does.
    pub fn name(&self) -> &str {
        match self {
            Self::Subscribe { .. } => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Scan { .. } => "SCAN",
            Self::Location { .. } => "LOCATION",
            Self::Click { .. } => "CLICK",
            Self::View { .. } => "VIEW",
            Self::ViewMiniProgram { .. } => "view_miniprogram",
            Self::ScanCodePush { .. } => "scancode_push",
            Self::ScanCodeWaitMsg { .. } => "scancode_waitmsg",
            Self::Pictures { source: PictureSource::SysPhoto, .. } => "pic_sysphoto",
            Self::Pictures { source: PictureSource::PhotoOrAlbum, .. } => "pic_photo_or_album",
            Self::Pictures { source: PictureSource::Weixin, .. } => "pic_weixin",
            Self::LocationSelect { .. } => "location_select",
            Self::TemplateSendJobFinish { .. } => "TEMPLATESENDJOBFINISH",
            Self::MassSendJobFinish { .. } => "MASSSENDJOBFINISH",
            Self::PublishJobFinish { .. } => "PUBLISHJOBFINISH",
            Self::KfCreateSession { .. } => "kf_create_session",
            Self::KfCloseSession { .. } => "kf_close_session",
            Self::KfSwitchSession { .. } => "kf_switch_session",
            Self::UserInfoModified(_) => "user_info_modified",
            Self::UserAuthorizationRevoke { .. } => "user_authorization_revoke",
            Self::UserAuthorizationCancellation(_) => "user_authorization_cancellation",
            Self::DebugDemo { .. } => "debug_demo",
            Self::Other { name } => name,
        }
    }
}

impl From<&WechatEvent> for Event {
    fn from(event: &WechatEvent) -> Self {
        let name = event.name().to_owned();
        match event {
            WechatEvent::Subscribe { .. } => Self::Subscribe,
            WechatEvent::Unsubscribe => Self::Unsubscribe,
            WechatEvent::Scan { .. } => Self::Scan,
            WechatEvent::Click { .. }
            | WechatEvent::ScanCodePush { .. }
            | WechatEvent::ScanCodeWaitMsg { .. } => Self::MenuClick { name },
            _ => Self::Other { name },
        }
    }
}

#[cfg(test)]
mod tests;
