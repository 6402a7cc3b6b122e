//! The state as JSON for the page: phones, desks and the bridge. It is built from the platforms'
//! state; this module keeps none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::book::{Change, Drill};
use super::{Live, WIRE_SHOWN};
use crate::config::Locale;
use crate::sandbox::child::State;
use crate::sandbox::drill::DRILLS;
use crate::sandbox::im::{Desk, Seen};
use crate::sandbox::wechat::{Deed, Mode, Moment, Phone, Shown, Via, What};

/// Messages of a screen or of a conversation that the page gets.
const SHOWN: usize = 200;
/// Customers, and conversations of an agent, that the page gets.
const PEOPLE: usize = 60;
/// The prefix of the bridge's notices to agents.
const NOTE: &str = "[bridge]";
/// The prefix of a media key that encodes a URL of a platform or of the bridge.
const LINK: &str = "link-";

/// The whole state, for `GET /api/state`.
pub fn state(live: &Live) -> Value {
    // Take the snapshot first: every later change then arrives as an event too.
    let book = live.book.snapshot(WIRE_SHOWN);
    let phones = live.stage.wechat.phones();
    let agents: Vec<Value> = (0..live.stage.agents().len()).map(|at| agent(live, at)).collect();
    let drills: Vec<Value> = book.drills.iter().enumerate().map(|(at, state)| drill(at, state)).collect();
    json!({
        "sequence": book.sequence,
        "locale": match live.texts.locale {
            Locale::En => "en",
            Locale::Ko => "ko",
            Locale::Zh => "zh",
        },
        "now": live.clock.now().0,
        "account": account(live),
        "bridge": bridge(live),
        "customers": phones.iter().take(PEOPLE).map(|phone| customer(live, phone)).collect::<Vec<_>>(),
        "agents": agents,
        "menu": [{"key": "HOURS", "title": "Opening hours"}, {"key": "RETURNS", "title": "Returns"}],
        "counters": live.figures().total(),
        "latency": book.latency,
        "wire": book.wire.iter().map(|entry| json!(**entry)).collect::<Vec<_>>(),
        "drills": drills,
    })
}

/// The name and the data of the event for a change.
pub fn event(live: &Live, change: &Change) -> (&'static str, Value) {
    match change {
        Change::Wire(entry) => ("wire", json!(**entry)),
        Change::Customer(openid) => ("customer", customer(live, &live.stage.wechat.customer(openid))),
        Change::Agent(at) => ("agent", agent(live, *at)),
        Change::Bridge => ("bridge", bridge(live)),
        Change::Counters => ("counters", json!(live.figures().total())),
        Change::Latency(points) => ("latency", json!(points)),
        Change::Drill(at) => ("drill", drill(*at, &live.book.drill(*at))),
        Change::Clock => ("clock", json!({"now": live.clock.now().0})),
        Change::Account => ("account", account(live)),
        Change::Everything => ("reload", json!({})),
    }
}

fn account(live: &Live) -> Value {
    let settings = live.stage.wechat.settings();
    let mode = match settings.mode {
        Mode::Plain => "plain",
        Mode::Compatible => "compatible",
        Mode::Safe => "safe",
    };
    json!({"personal": settings.personal, "mode": mode})
}

fn bridge(live: &Live) -> Value {
    let status = *live.child.status().borrow();
    let (state, pid) = match status.state {
        State::Starting => ("starting", None),
        State::Running { pid, .. } => ("running", Some(pid)),
        State::Dead => ("dead", None),
    };
    let ready = if pid.is_some() { live.ready() } else { "unavailable".to_owned() };
    json!({
        "state": state, "address": format!("http://{}", status.addresses.public), "pid": pid,
        "restarts": status.restarts, "ready": ready,
    })
}

/// A drill as JSON.
pub(super) fn drill(at: usize, state: &Drill) -> Value {
    let name = DRILLS[at].name;
    json!({
        "name": name, "state": state.state, "expect": format!("drill.{name}.expect"),
        "outcome": state.outcome, "took_ms": state.took_ms,
    })
}

/// A customer's phone as JSON.
pub fn customer(live: &Live, phone: &Phone) -> Value {
    let moments = phone.timeline();
    let shown = moments.iter().skip(moments.len().saturating_sub(SHOWN));
    json!({
        "openid": phone.openid(),
        "name": live.name(phone.openid()),
        "following": phone.is_following(),
        "window": {
            "sends_left": phone.sends_left(),
            "closes_at": phone.window_closes().map(|at| at.0),
        },
        "screen": shown.map(moment).collect::<Vec<_>>(),
    })
}

fn moment(moment: &Moment) -> Value {
    let (from, via, kind, text, media, pending) = match &moment.what {
        What::Did { deed: Deed { kind, text, media }, pending } => ("me", None, kind, text, media, *pending),
        What::Shown(Shown { via, kind, text, media, .. }) => {
            let (from, via) = match via {
                Via::Passive => ("account", "passive"),
                Via::CustomSend => ("account", "custom_send"),
                Via::Fault => ("system", "fault"),
            };
            (from, Some(via), kind, text, media, false)
        }
    };
    json!({
        "id": moment.id, "at": moment.at.0, "from": from, "via": via, "kind": kind, "text": text,
        "media": media.as_ref().map(|media| format!("/api/media/{}", media.id)), "pending": pending,
    })
}

/// An agent's desk as JSON.
pub(super) fn agent(live: &Live, at: usize) -> Value {
    let desk = &live.stage.agents()[at];
    let peers = desk.peers();
    let conversations: Vec<Value> =
        peers.iter().take(PEOPLE).filter_map(|peer| conversation(live, desk, peer)).collect();
    json!({"user_id": desk.user_id(), "conversations": conversations})
}

fn conversation(live: &Live, desk: &Desk, peer: &str) -> Option<Value> {
    let openid = live.openid_of(peer)?;
    let mut messages = desk.conversation(peer);
    // In order of arrival: within a second IM orders messages by numbers that each sender chooses.
    messages.sort_by_key(|seen| seen.serial());
    let unread = messages.iter().filter(|seen| seen.unread).count();
    let skipped = messages.len().saturating_sub(SHOWN);
    let shown: Vec<Value> =
        messages.iter().skip(skipped).flat_map(|seen| entries(live, desk.user_id(), seen)).collect();
    Some(json!({"customer": peer, "openid": openid, "unread": unread, "messages": shown}))
}

/// One JSON entry for each element of a message.
fn entries(live: &Live, agent: &str, seen: &Seen) -> Vec<Value> {
    let elements = seen.elements.as_array().into_iter().flatten().take(16);
    let entry = |(part, element): (u64, &Value)| {
        let content = &element["MsgContent"];
        let said = |name: &str| content[name].as_str().map(str::to_owned);
        let (kind, text, url, name) = match element["MsgType"].as_str().unwrap_or_default() {
            "TIMTextElem" => ("text", said("Text"), None, None),
            "TIMImageElem" => {
                let url = content["ImageInfoArray"][0]["URL"].as_str().map(str::to_owned);
                ("image", None, url, None)
            }
            "TIMSoundElem" => ("sound", None, said("Url"), None),
            "TIMFileElem" => ("file", None, said("Url"), said("FileName")),
            "TIMVideoFileElem" => ("video", None, said("VideoUrl"), None),
            "TIMLocationElem" => {
                let place = [&content["Latitude"], &content["Longitude"]].map(ToString::to_string);
                (
                    "location",
                    Some(format!("{} {}", text_or_empty(said("Desc")), place.join(", "))),
                    None,
                    None,
                )
            }
            "TIMFaceElem" => ("face", said("Data"), None, None),
            "TIMCustomElem" => ("custom", said("Data").or(said("Desc")), None, None),
            _ => ("other", Some(element["MsgType"].as_str().unwrap_or_default().to_owned()), None, None),
        };
        let from = match &text {
            _ if seen.from == agent => "agent",
            Some(text) if text.starts_with(NOTE) => "note",
            _ => "customer",
        };
        json!({
            "id": seen.serial() * 16 + part, "at": seen.arrived().0, "from": from, "kind": kind,
            "text": text_or_empty(text), "url": url.and_then(|url| live.local_link(&url)), "name": name,
        })
    };
    (0..).zip(elements).map(entry).collect()
}

fn text_or_empty(text: Option<String>) -> String {
    text.unwrap_or_default()
}

impl Live {
    /// The openid of a customer's IM account. An account that was imported again after a deletion
    /// has a number after the openid. `None` if the account is not a customer's.
    fn openid_of(&self, user: &str) -> Option<String> {
        let known = |openid: &str| self.stage.wechat.has_customer(openid).then(|| openid.to_owned());
        known(user).or_else(|| known(user.rsplit_once('_')?.0))
    }

    /// A URL of a platform or of the bridge as a URL of the page's own server: the page may load
    /// nothing else. `None` for any other URL.
    fn local_link(&self, url: &str) -> Option<String> {
        self.is_ours(url).then(|| format!("/api/media/{LINK}{}", URL_SAFE_NO_PAD.encode(url)))
    }

    /// The URL behind a media key of [`Self::local_link`]. `None` if it is not one of the sandbox's
    /// URLs.
    pub fn linked(&self, key: &str) -> Option<String> {
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(key.strip_prefix(LINK)?).ok()?).ok()?;
        self.is_ours(&url).then_some(url)
    }

    fn is_ours(&self, url: &str) -> bool {
        let bridge = format!("http://{}", self.child.status().borrow().addresses.public);
        let bases = [bridge, self.stage.wechat.base_url().to_owned(), self.stage.im.base_url()];
        bases.iter().any(|base| url.strip_prefix(base.as_str()).is_some_and(|rest| rest.starts_with('/')))
    }
}
