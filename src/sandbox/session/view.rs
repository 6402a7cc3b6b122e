//! The state as JSON for the page: phones, desks and the bridge. It is built from the platforms'
//! state; this module keeps none.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::event_log::{Change, DrillState};
use super::{DRILL_CUSTOMER, OfferedDrill, PEOPLE_LIMIT, SNAPSHOT_CALLS, Session};
use crate::config::Locale;
use crate::sandbox::child::{State, Status};
use crate::sandbox::im::{AgentClient, MessageView, Shown};
use crate::sandbox::script::CUSTOMER;
use crate::sandbox::wechat::{CustomerAction, Mode, Phone, ScreenEntry, TimelineEntry, TimelineEvent, Via};

/// Messages of a screen or of a conversation that the page gets.
const MESSAGES_LIMIT: usize = 200;
/// The prefix of the bridge's notices to agents.
const NOTICE_PREFIX: &str = "[bridge]";
/// The prefix of a media key that encodes a URL of a platform or of the bridge.
const LINK_PREFIX: &str = "link-";

/// The whole state, for `GET /api/state`.
pub fn state(session: &Session) -> Value {
    // Take the snapshot first: every later change then arrives as an event too.
    let snapshot = session.event_log.snapshot(SNAPSHOT_CALLS);
    let phones = session.stage.wechat.phones();
    let agents: Vec<Value> = (0..session.stage.agents().len()).map(|at| agent(session, at)).collect();
    let drills: Vec<Value> =
        snapshot.drills.iter().enumerate().map(|(at, state)| drill(session, at, state)).collect();
    json!({
        "sequence": snapshot.sequence,
        "locale": match session.texts.locale {
            Locale::En => "en",
            Locale::Ko => "ko",
            Locale::Zh => "zh",
        },
        "now": session.clock.now().0,
        "account": account(session),
        "bridge": bridge(session),
        "customers": phones.iter().take(PEOPLE_LIMIT).map(|phone| customer(session, phone)).collect::<Vec<_>>(),
        "agents": agents,
        "menu": [{"key": "HOURS", "title": "Opening hours"}, {"key": "RETURNS", "title": "Returns"}],
        "counters": session.counters(),
        "latency": snapshot.latency,
        "wire": snapshot.wire.iter().map(|entry| json!(**entry)).collect::<Vec<_>>(),
        "drills": drills,
        "desk": session.desk_view(),
        "script": script(session),
    })
}

/// The name and the data of the event for a change.
pub fn event(session: &Session, change: &Change) -> (&'static str, Value) {
    match change {
        Change::Wire(entry) => ("wire", json!(**entry)),
        Change::Customer(openid) => ("customer", customer(session, &session.stage.wechat.customer(openid))),
        Change::Agent(at) => ("agent", agent(session, *at)),
        Change::Bridge => ("bridge", bridge(session)),
        Change::Counters => ("counters", json!(session.counters())),
        Change::Latency(points) => ("latency", json!(points)),
        Change::Drill(at) => ("drill", drill(session, *at, &session.event_log.drill(*at))),
        Change::Clock => ("clock", json!({"now": session.clock.now().0})),
        Change::Account => ("account", account(session)),
        Change::Desk => ("desk", session.desk_view()),
        Change::Script => ("script", script(session)),
        Change::Everything => ("reload", json!({})),
    }
}

fn account(session: &Session) -> Value {
    let settings = session.stage.wechat.settings();
    let mode = match settings.mode {
        Mode::Plain => "plain",
        Mode::Compatible => "compatible",
        Mode::Safe => "safe",
    };
    json!({"personal": settings.personal, "mode": mode})
}

fn bridge(session: &Session) -> Value {
    let readiness = session.readiness.lock().clone();
    let each: Vec<Instance> = session
        .bridges
        .children()
        .iter()
        .zip(readiness)
        .map(|(child, ready)| Instance::new(*child.status().borrow(), ready))
        .collect();
    let first = |states: &[&'static str], of: fn(&Instance) -> &str| {
        states.iter().copied().find(|state| each.iter().any(|one| of(one) == *state))
    };
    // One that works is enough; one that is not well is worth saying.
    let state = first(&["running", "starting"], |one| one.state).unwrap_or("dead");
    let ready = match first(&["ok", "degraded"], |one| &one.ready) {
        Some(_) if each.iter().any(|one| one.ready != "ok") => "degraded",
        found => found.unwrap_or("unavailable"),
    };
    json!({
        "state": state, "address": session.bridges.url(), "ready": ready,
        "pid": each.first().filter(|_| each.len() == 1).and_then(|one| one.pid),
        "restarts": each.iter().map(|one| one.restarts).sum::<u32>(),
        "instances": if each.len() > 1 { each.as_slice() } else { &[] },
    })
}

/// One of the bridges.
#[derive(Serialize)]
struct Instance {
    state: &'static str,
    pid: Option<u32>,
    restarts: u32,
    /// Its last status from `/readyz`.
    ready: String,
}

impl Instance {
    fn new(status: Status, ready: String) -> Self {
        let (state, pid) = match status.state {
            State::Starting => ("starting", None),
            State::Running { pid, .. } => ("running", Some(pid)),
            State::Paused { pid, .. } => ("paused", Some(pid)),
            State::Dead => ("dead", None),
        };
        let ready = if state == "running" { ready } else { "unavailable".to_owned() };
        Self { state, pid, restarts: status.restarts, ready }
    }
}

/// The phase of the script, and its customer.
fn script(session: &Session) -> Value {
    json!({"state": *session.script.lock(), "customer": CUSTOMER})
}

/// A drill as JSON.
fn drill(session: &Session, at: usize, state: &DrillState) -> Value {
    let OfferedDrill { name, limit } = session.drills.get(at).copied().unwrap_or_default();
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    json!({
        "name": name, "state": state.state, "expect": format!("drill.{name}.expect"),
        "outcome": state.outcome, "took_ms": state.took_ms,
        "customer": DRILL_CUSTOMER, "limit_ms": millis(limit),
        "running_ms": state.began.map(|began| millis(began.elapsed())),
    })
}

/// A customer's phone as JSON.
pub fn customer(session: &Session, phone: &Phone) -> Value {
    let moments = phone.timeline();
    let visible = moments.iter().skip(moments.len().saturating_sub(MESSAGES_LIMIT));
    json!({
        "openid": phone.openid(),
        "name": session.name_of(phone.openid()),
        "following": phone.is_following(),
        "typing_until": phone.typing_until().map(|until| until.0),
        "window": {
            "sends_left": phone.sends_left(),
            "closes_at": phone.window_closes().map(|at| at.0),
        },
        "screen": visible.map(moment).collect::<Vec<_>>(),
    })
}

fn moment(moment: &TimelineEntry) -> Value {
    let (from, via, kind, text, media, pending) = match &moment.event {
        TimelineEvent::Action { action: CustomerAction { kind, text, media }, pending } => {
            ("me", None, kind, text, media, *pending)
        }
        TimelineEvent::Shown(ScreenEntry { via, kind, text, media, .. }) => {
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
pub(super) fn agent(session: &Session, at: usize) -> Value {
    let desk = &session.stage.agents()[at];
    let peers = desk.peers();
    let conversations: Vec<Value> =
        peers.iter().take(PEOPLE_LIMIT).filter_map(|peer| conversation(session, desk, peer)).collect();
    json!({
        "user_id": desk.user_id(), "signed_in": desk.is_signed_in(), "conversations": conversations,
    })
}

fn conversation(session: &Session, desk: &AgentClient, peer: &str) -> Option<Value> {
    let openid = session.openid_of(peer)?;
    let mut messages = desk.conversation(peer);
    // In order of arrival: within a second IM orders messages by numbers that each sender chooses.
    messages.sort_by_key(|seen| seen.serial());
    if !desk.is_signed_in() {
        // The client shows the rest when the agent signs in.
        let arrived: HashSet<String> = desk.inbox().into_iter().map(|seen| seen.key.clone()).collect();
        messages.retain(|seen| seen.from == desk.user_id() || arrived.contains(&seen.key));
    }
    let unread = messages.iter().filter(|seen| seen.unread).count();
    let skipped = messages.len().saturating_sub(MESSAGES_LIMIT);
    let visible: Vec<Value> =
        messages.iter().skip(skipped).map(|seen| message_entry(session, desk.user_id(), seen)).collect();
    Some(json!({"customer": peer, "openid": openid, "unread": unread, "messages": visible}))
}

/// A message as the agent's client shows it: its first element.
fn message_entry(session: &Session, agent: &str, seen: &MessageView) -> Value {
    let Shown { kind, text, url, name } = seen.shown();
    let from = match seen.from == agent {
        true => "agent",
        false if text.starts_with(NOTICE_PREFIX) => "note",
        false => "customer",
    };
    json!({
        "id": seen.serial(), "key": seen.key, "at": seen.arrived().0, "from": from, "kind": kind, "text": text,
        "quoted": quoted(seen), "url": url.and_then(|url| session.local_link(&url)), "name": name,
    })
}

/// The beginning of the message that this one answers, if it quotes one.
fn quoted(seen: &MessageView) -> Option<String> {
    let custom: Value = serde_json::from_str(&seen.cloud_custom_data).ok()?;
    custom["messageReply"]["messageAbstract"].as_str().map(str::to_owned)
}

impl Session {
    /// The openid of a customer's IM account. An account that was imported again after a deletion
    /// has a number after the openid. `None` if the account is not a customer's.
    fn openid_of(&self, user: &str) -> Option<String> {
        let known = |openid: &str| self.stage.wechat.has_customer(openid).then(|| openid.to_owned());
        known(user).or_else(|| known(user.rsplit_once('_')?.0))
    }

    /// A URL of a platform or of the bridge as a URL of the page's own server: the page may load
    /// nothing else. `None` for any other URL.
    fn local_link(&self, url: &str) -> Option<String> {
        self.is_sandbox_url(url).then(|| format!("/api/media/{LINK_PREFIX}{}", URL_SAFE_NO_PAD.encode(url)))
    }

    /// The URL behind a media key of `local_link`. `None` if it is not one of the sandbox's
    /// URLs.
    pub fn url_of_link(&self, key: &str) -> Option<String> {
        let url = String::from_utf8(URL_SAFE_NO_PAD.decode(key.strip_prefix(LINK_PREFIX)?).ok()?).ok()?;
        self.is_sandbox_url(&url).then_some(url)
    }

    fn is_sandbox_url(&self, url: &str) -> bool {
        let bases = [self.bridges.url(), self.stage.wechat.base_url().to_owned(), self.stage.im.base_url()];
        bases.iter().any(|base| url.strip_prefix(base.as_str()).is_some_and(|rest| rest.starts_with('/')))
    }
}
