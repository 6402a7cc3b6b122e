//! Events with their fields (reference: "Events a customer-service bridge meets").
//!
//! The bridge acts on a few of them. WeChat adds events without notice, so an unknown event is a
//! value, not an error.

use super::xml::Element;
use crate::model::Event;

/// A typed event. Event names are compared case-insensitively.
#[derive(Clone, Debug, PartialEq)]
pub enum WechatEvent {
    /// The customer followed the account.
    Subscribe {
        /// The scene of the QR code through which the customer came, if any.
        scene: Option<String>,
        /// The ticket of that QR code.
        ticket: Option<String>,
    },
    /// The customer unfollowed the account.
    Unsubscribe,
    /// A follower scanned a QR code.
    Scan {
        /// The scene of the QR code.
        scene: String,
        /// The ticket of the QR code.
        ticket: Option<String>,
    },
    /// The customer's client reported its position.
    Location {
        /// Degrees north.
        latitude: Option<f64>,
        /// Degrees east.
        longitude: Option<f64>,
        /// Metres.
        precision: Option<f64>,
    },
    /// The customer chose a menu item that has a key.
    Click {
        /// The menu item's key.
        key: String,
    },
    /// The customer chose a menu item that opens a page.
    View {
        /// The page.
        url: String,
        /// The menu's id, when the menu is a personalised one.
        menu_id: Option<String>,
    },
    /// The customer chose a menu item that opens a mini-program.
    ViewMiniProgram {
        /// The mini-program's page.
        page_path: String,
        /// The menu's id.
        menu_id: Option<String>,
    },
    /// The customer scanned a code through a menu item.
    ScanCodePush {
        /// The menu item's key.
        key: String,
        /// The scanned code.
        scan: ScanCode,
    },
    /// The customer scanned a code through a menu item that waits for the reply.
    ScanCodeWaitMsg {
        /// The menu item's key.
        key: String,
        /// The scanned code.
        scan: ScanCode,
    },
    /// The customer took or picked pictures through a menu item; the pictures arrive as separate
    /// messages.
    Pictures {
        /// The menu item's type.
        source: PictureSource,
        /// The menu item's key.
        key: String,
        /// The number of pictures.
        count: u32,
        /// The MD5 sums of the pictures.
        md5_sums: Vec<String>,
    },
    /// The customer picked a place through a menu item; the place arrives as a separate message.
    LocationSelect {
        /// The menu item's key.
        key: String,
        /// The picked place.
        place: Place,
    },
    /// The delivery of a template message ended, with or without success.
    TemplateSendJobFinish {
        /// The id of the message.
        msg_id: String,
        /// `success`, or WeChat's reason for the failure.
        status: String,
    },
    /// The sending of a mass message ended.
    MassSendJobFinish {
        /// The id of the message.
        msg_id: String,
        /// WeChat's status text.
        status: String,
        /// The number of chosen receivers.
        total: u64,
        /// The number that remained after filtering.
        filtered: u64,
        /// The number of successful deliveries.
        sent: u64,
        /// The number of failed deliveries.
        failed: u64,
    },
    /// The publishing of articles ended.
    PublishJobFinish {
        /// The id of the job.
        publish_id: String,
        /// 0 is success.
        status: Option<u32>,
        /// The article's id, on success.
        article_id: Option<String>,
        /// The links to the articles.
        article_urls: Vec<String>,
        /// The indexes of the articles that failed.
        failed: Vec<u32>,
    },
    /// WeChat's own agent console opened a session.
    KfCreateSession {
        /// The agent's account.
        account: String,
    },
    /// WeChat's own agent console closed a session.
    KfCloseSession {
        /// The agent's account.
        account: String,
        /// Who closed it.
        close_type: Option<String>,
    },
    /// WeChat's own agent console moved a session to another agent.
    KfSwitchSession {
        /// The previous agent's account.
        from: String,
        /// The new agent's account.
        to: String,
    },
    /// A customer changed the profile that they share.
    UserInfoModified(Subject),
    /// A customer revoked an authorisation.
    UserAuthorizationRevoke {
        /// The customer.
        subject: Subject,
        /// WeChat's code for the kind of data.
        info: Option<String>,
    },
    /// A customer closed their WeChat account.
    UserAuthorizationCancellation(Subject),
    /// The push tester in WeChat's documentation sent this.
    DebugDemo {
        /// The tester's text.
        debug_str: String,
    },
    /// An event that this version does not know.
    Other {
        /// WeChat's name for the event.
        name: String,
    },
}

/// A scanned code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanCode {
    /// `qrcode`, `barcode` ...
    pub kind: String,
    /// The code's content.
    pub result: String,
}

/// The type of the menu item through which pictures came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureSource {
    /// `pic_sysphoto`: the system's camera.
    SysPhoto,
    /// `pic_photo_or_album`: the camera or the album.
    PhotoOrAlbum,
    /// `pic_weixin`: WeChat's album.
    Weixin,
}

/// A picked place, as WeChat writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Degrees north.
    pub latitude: String,
    /// Degrees east.
    pub longitude: String,
    /// The zoom level of the map.
    pub scale: String,
    /// The address.
    pub label: String,
    /// The name of the point of interest.
    pub poi_name: String,
}

/// The customer whom an authorisation event concerns; in these events `FromUserName` is the
/// platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The customer's openid.
    pub open_id: String,
    /// The AppID that the authorisation was given to.
    pub app_id: String,
    /// The customer's unionid.
    pub union_id: Option<String>,
}

/// Reads the event of a push whose `Event` is `name`.
pub fn read(root: &Element, name: &str) -> WechatEvent {
    let word = |name: &str| root.trimmed_text(name).map(str::to_owned);
    let id = |name: &str| word(name).unwrap_or_default();
    let key = || id("EventKey");
    let scan = || scan_code(root.child("ScanCodeInfo"));
    let agent_account = || id("KfAccount");
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
        "kf_create_session" => WechatEvent::KfCreateSession { account: agent_account() },
        "kf_close_session" => {
            WechatEvent::KfCloseSession { account: agent_account(), close_type: word("CloseType") }
        }
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

fn text_or_empty(element: Option<&Element>, name: &str) -> String {
    element.and_then(|element| element.trimmed_text(name)).unwrap_or_default().to_owned()
}

fn scan_code(info: Option<&Element>) -> ScanCode {
    ScanCode { kind: text_or_empty(info, "ScanType"), result: text_or_empty(info, "ScanResult") }
}

fn place(info: Option<&Element>) -> Place {
    Place {
        latitude: text_or_empty(info, "Location_X"),
        longitude: text_or_empty(info, "Location_Y"),
        scale: text_or_empty(info, "Scale"),
        label: text_or_empty(info, "Label"),
        poi_name: text_or_empty(info, "Poiname"),
    }
}

fn pictures(root: &Element, source: PictureSource) -> WechatEvent {
    let info = root.child("SendPicsInfo");
    let items = info.and_then(|info| info.child("PicList")).map_or(&[][..], Element::children);
    WechatEvent::Pictures {
        source,
        key: text_or_empty(Some(root), "EventKey"),
        count: info.and_then(|info| info.number("Count")).unwrap_or_default(),
        md5_sums: items.iter().filter_map(|item| item.trimmed_text("PicMd5Sum")).map(str::to_owned).collect(),
    }
}

fn mass_send(root: &Element) -> WechatEvent {
    let count = |name: &str| root.number(name).unwrap_or_default();
    WechatEvent::MassSendJobFinish {
        msg_id: text_or_empty(Some(root), "MsgID"),
        status: text_or_empty(Some(root), "Status"),
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
        publish_id: text_or_empty(info, "publish_id"),
        status: info.and_then(|info| info.number("publish_status")),
        article_id: info.and_then(|info| info.trimmed_text("article_id")).map(str::to_owned),
        article_urls: detail
            .iter()
            .filter_map(|item| item.trimmed_text("article_url"))
            .map(str::to_owned)
            .collect(),
        failed: failed.filter_map(|index| index.content().trim().parse().ok()).collect(),
    }
}

fn subject(root: &Element) -> Subject {
    Subject {
        open_id: text_or_empty(Some(root), "OpenID"),
        app_id: text_or_empty(Some(root), "AppID"),
        union_id: root.trimmed_text("UnionID").map(str::to_owned),
    }
}

impl WechatEvent {
    /// WeChat's `Event`, in the spelling of its documentation.
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
