//! Events: their meaning for the bridge, and the fields that agents and traces are shown (reference:
//! "Events a customer-service bridge meets").
//!
//! WeChat adds events without notice, so an unknown event is a value, not an error.

use super::xml::Element;
use crate::model::{Event, EventDetails, EventKind, OpenId};

/// The documented events that a customer-service account meets, in the spelling of WeChat's
/// documentation. A push may spell them in other letters.
const NAMES: [&str; 23] = [
    "subscribe",
    "unsubscribe",
    "SCAN",
    "LOCATION",
    "CLICK",
    "VIEW",
    "view_miniprogram",
    "scancode_push",
    "scancode_waitmsg",
    "pic_sysphoto",
    "pic_photo_or_album",
    "pic_weixin",
    "location_select",
    "TEMPLATESENDJOBFINISH",
    "MASSSENDJOBFINISH",
    "PUBLISHJOBFINISH",
    "kf_create_session",
    "kf_close_session",
    "kf_switch_session",
    "user_info_modified",
    "user_authorization_revoke",
    "user_authorization_cancellation",
    "debug_demo",
];

/// The values of `MsgType` that devices cause and no person.
const DEVICE_KINDS: [&str; 2] = ["device_event", "device_text"];

/// The prefix of `EventKey` when a customer follows through a QR code. WeChat Pay sends
/// `last_trade_no_` instead, which is no scene.
const SCENE_PREFIX: &str = "qrscene_";

/// Reads the event of a push whose `Event` is `name`.
pub(super) fn read(root: &Element, name: &str) -> Event {
    let word = |name: &str| root.trimmed_text(name).map(str::to_owned);
    let name = NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name)).unwrap_or(name);
    let kind = match name {
        "subscribe" => EventKind::Subscribe,
        "unsubscribe" | "user_authorization_revoke" | "user_authorization_cancellation" => {
            EventKind::Unsubscribe
        }
        "SCAN" => EventKind::Scan,
        "CLICK" | "scancode_push" | "scancode_waitmsg" => EventKind::MenuClick,
        _ => EventKind::Other,
    };
    let key = word("EventKey");
    let scene = match kind {
        EventKind::Subscribe => {
            key.as_deref().and_then(|key| key.strip_prefix(SCENE_PREFIX)).map(str::to_owned)
        }
        EventKind::Scan => key.clone(),
        EventKind::Unsubscribe | EventKind::MenuClick | EventKind::Other => None,
    };
    let publish_status = || root.child("PublishEventInfo")?.trimmed_text("publish_status").map(str::to_owned);
    let details = EventDetails {
        name: name.to_owned(),
        key,
        scene,
        ticket: word("Ticket"),
        status: word("Status").or_else(publish_status),
    };
    Event { kind, details }
}

/// Reads the push of a device (WeChat's hardware platform), whose `MsgType` is `device_event` or `device_text`: an
/// event that opens no window, whatever its own `Event` says. `None` for every other kind.
pub(super) fn read_device(root: &Element, kind: &str) -> Option<Event> {
    let name = DEVICE_KINDS.into_iter().find(|known| known.eq_ignore_ascii_case(kind))?;
    let key = root.trimmed_text("DeviceID").map(str::to_owned);
    let details = EventDetails { name: name.to_owned(), key, scene: None, ticket: None, status: None };
    Some(Event { kind: EventKind::Other, details })
}

/// The person whom an event is about, where that is not its sender: such an event comes from the platform.
pub(super) fn subject(root: &Element, event: &Event) -> Option<OpenId> {
    let is_about_another =
        event.kind == EventKind::Unsubscribe && !event.name().eq_ignore_ascii_case("unsubscribe");
    root.trimmed_text("OpenID").filter(|_| is_about_another).and_then(|id| OpenId::new(id).ok())
}

#[cfg(test)]
mod tests;
