//! Pushes (reference: section 2.3): a customer's action becomes one body, which goes out in up to
//! three requests. The customer then sees the reply or the fault line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use reqwest::Method;

use crate::model::Millis;

use super::ledger::{Outcome, PushEntry, keep};
use super::phone::{Customer, Shown, Via};
use super::reply::{Asked, Judged, Reply, judge};
use super::request::{Try, signed, stamp};
use super::settings::{Mode, Settings};
use super::window::{Opens, Window};
use super::xml::{self, Field, value_of};
use super::{Platform, lock};

/// How long the platform stops pushing to a URL that failed too often.
const MARK_FAIL_MS: i64 = 60_000;
const FAULT_LINE: &str = "该公众号提供的服务出现故障，请稍后再试";

/// A customer's action, ready to be pushed any number of times. Clones share one push.
#[derive(Clone, Debug)]
pub struct Draft(Arc<Sealed>);

#[derive(Debug)]
struct Sealed {
    customer: Arc<Customer>,
    kind: String,
    is_event: bool,
    msg_id: Option<u64>,
    text: String,
    document: String,
    body: Bytes,
    encrypt: Option<String>,
    stamp: (String, String),
    /// The id of the customer's action in their timeline.
    moment: u64,
    /// Whether a reply was shown. WeChat shows one reply for each push, even if a repeat gets
    /// another answer.
    shown: AtomicBool,
}

impl Draft {
    /// The `MsgId`. `None` for an event.
    pub fn msg_id(&self) -> Option<u64> {
        self.0.msg_id
    }

    /// The XML document before encryption.
    pub(super) fn document(&self) -> &str {
        &self.0.document
    }

    /// Whether the body contains the document in encrypted form.
    pub(super) fn is_encrypted(&self) -> bool {
        self.0.encrypt.is_some()
    }

    /// The body of every request of this push.
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }
}

/// A push that has ended.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The requests, in order. Empty if the platform had stopped pushing (MarkFail).
    pub tries: Vec<Try>,
    /// The valid reply, if the bridge sent one.
    pub reply: Option<Reply>,
    /// Whether the push failed, so that the fault line is due.
    pub fault_line: bool,
    /// The `MsgId`. `None` for an event.
    pub msg_id: Option<u64>,
    pub(super) draft: Draft,
}

impl Pushed {
    /// The text of the reply. `None` if there is no reply or it is not a text.
    pub fn text(&self) -> Option<&str> {
        self.reply.as_ref().filter(|reply| reply.kind == "text").map(|reply| reply.content.as_str())
    }

    /// The draft, which can be pushed again.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }
}

/// The number of failed requests in a row, and the time until which the platform does not push.
#[derive(Debug, Default)]
pub(super) struct MarkFail {
    failures: u32,
    until: Option<Millis>,
}

/// The kind of window that a push of these fields opens, if any.
fn opens(fields: &[Field]) -> Option<Opens> {
    let is_menu_tap = fields.iter().any(|field| field.name() == "bizmsgmenuid");
    match (value_of(fields, "MsgType"), value_of(fields, "Event")) {
        ("event", "subscribe" | "SCAN" | "CLICK" | "scancode_push" | "scancode_waitmsg") => {
            Some(Opens::Event)
        }
        ("event", _) => None,
        ("text", _) if is_menu_tap => Some(Opens::Event),
        _ => Some(Opens::Message),
    }
}

impl Platform {
    /// Applies the customer's action and builds its push.
    pub(super) fn draft(&self, customer: &Arc<Customer>, fields: Vec<Field>) -> Draft {
        let (settings, now) = (self.settings(), self.clock.now());
        let event = value_of(&fields, "Event");
        let is_event = value_of(&fields, "MsgType") == "event";
        let did = self.did(&fields, now);
        let moment = customer.act(|state| {
            match event {
                "subscribe" if is_event => state.following = true,
                "unsubscribe" if is_event => {
                    state.following = false;
                    state.window = Window::default();
                }
                _ => {}
            }
            state.last_traffic = Some(now);
            if let Some(by) = opens(&fields) {
                state.window.open(by, &settings, now);
            }
            (now, did)
        });
        let kind = if is_event { event } else { value_of(&fields, "MsgType") }.to_owned();
        let text = value_of(&fields, "Content").to_owned();
        let msg_id = match value_of(&fields, "MsgId") {
            "" if is_event => None,
            "" => Some(self.next_msg_id()),
            given => given.parse().ok(),
        };
        let document = xml::write(&with_common(fields, customer, &settings, now, msg_id));
        let encrypt = (settings.mode != Mode::Plain).then(|| {
            let sealed = settings.crypt().and_then(|crypt| crypt.seal(document.as_bytes(), rand::random()));
            // The key was checked with the settings. If it is unusable all the same, the push is
            // empty and the bridge must refuse it.
            sealed.unwrap_or_default()
        });
        let body = match (&encrypt, settings.mode) {
            (Some(encrypt), Mode::Safe) => xml::write(&[
                Field::text("ToUserName", settings.account_id.as_str()),
                Field::text("Encrypt", encrypt.as_str()),
            ]),
            (Some(encrypt), _) => {
                let inner = document.strip_suffix("</xml>").unwrap_or(&document);
                format!("{inner}<Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>")
            }
            (None, _) => document.clone(),
        };
        Draft(Arc::new(Sealed {
            customer: customer.clone(),
            kind,
            is_event,
            msg_id,
            text,
            document,
            body: body.into(),
            encrypt,
            stamp: stamp(now),
            moment,
            shown: AtomicBool::new(false),
        }))
    }

    /// Sends requests until one gets a valid answer or no attempt is left.
    pub(super) async fn deliver(&self, draft: &Draft) -> Pushed {
        let settings = self.settings();
        let sealed = &draft.0;
        let mut pushed = Pushed {
            tries: Vec::new(),
            reply: None,
            fault_line: false,
            msg_id: sealed.msg_id,
            draft: draft.clone(),
        };
        let mut outcome = Outcome::Withheld;
        let mut attempts = if self.is_withheld() { 0 } else { settings.attempts };
        while attempts > 0 {
            attempts -= 1;
            let mut made = self.attempt(&settings, draft).await;
            let judged = match (made.status, &made.error) {
                (Some(200), None) => self.judge(&settings, draft, &made.body),
                (Some(status), None) => {
                    if !settings.retry_on_status {
                        attempts = 0;
                    }
                    Judged::Wrong(format!("HTTP {status}"))
                }
                (_, error) => Judged::Wrong(error.clone().unwrap_or_default()),
            };
            outcome = match judged {
                Judged::Acknowledged => Outcome::Acknowledged,
                Judged::Reply(reply) => {
                    let kind = reply.kind.clone();
                    pushed.reply = Some(reply);
                    Outcome::Replied(kind)
                }
                Judged::Wrong(why) => {
                    if made.status == Some(200) {
                        // The platform does not retry after an abnormal answer with status 200.
                        attempts = 0;
                    }
                    made.error = Some(why.clone());
                    Outcome::Failed(why)
                }
            };
            let failed = made.error.is_some();
            pushed.tries.push(made);
            self.count_failure(&settings, failed);
            if !failed {
                break;
            }
            if attempts > 0 && !settings.retry_pause.is_zero() {
                tokio::time::sleep(settings.retry_pause).await;
            }
        }
        pushed.fault_line = matches!(outcome, Outcome::Failed(_) | Outcome::Withheld);
        self.finish(&pushed, outcome);
        pushed
    }

    /// Shows the reply or the fault line to the customer, and records the push in the ledger.
    fn finish(&self, pushed: &Pushed, outcome: Outcome) {
        let sealed = &pushed.draft.0;
        let at = self.clock.now();
        // A customer who unfollowed sees nothing, and neither does one who opened a page from the
        // menu.
        let is_silent = sealed.is_event && matches!(sealed.kind.as_str(), "unsubscribe" | "VIEW");
        let shown = pushed.reply.as_ref().map(|reply| Shown {
            at,
            via: Via::Passive,
            kind: reply.kind.clone(),
            text: reply.content.clone(),
            media: reply.media_id.as_ref().and_then(|id| lock(&self.media).get(id, at)),
            answers: sealed.msg_id,
        });
        let fault = pushed.fault_line.then(|| Shown {
            at,
            via: Via::Fault,
            kind: "fault".to_owned(),
            text: FAULT_LINE.to_owned(),
            media: None,
            answers: sealed.msg_id,
        });
        if let Some(shown) = shown.or(fault)
            && !is_silent
            && !sealed.shown.swap(true, Ordering::Relaxed)
        {
            lock(&sealed.customer.state).last_traffic = Some(at);
            sealed.customer.show(shown);
        }
        sealed.customer.is_answered(sealed.moment);
        let entry = PushEntry {
            at,
            openid: sealed.customer.openid.clone(),
            kind: sealed.kind.clone(),
            msg_id: sealed.msg_id,
            text: sealed.text.clone(),
            tries: pushed.tries.len(),
            outcome,
        };
        self.record(|ledger, limit| keep(&mut ledger.pushes, Arc::new(entry), limit));
    }

    /// Checks the body of an answer with HTTP status 200.
    pub(super) fn judge(&self, settings: &Settings, draft: &Draft, body: &[u8]) -> Judged {
        let now = self.clock.now();
        let asked = Asked { openid: &draft.0.customer.openid, is_event: draft.0.is_event };
        judge(body, asked, settings, now, |kind, id| {
            lock(&self.media).get(id, now).is_some_and(|media| media.kind == kind)
        })
    }

    async fn attempt(&self, settings: &Settings, draft: &Draft) -> Try {
        let sealed = &draft.0;
        let stamp = if settings.fresh_signature { stamp(self.clock.now()) } else { sealed.stamp.clone() };
        let query = signed(settings, stamp, &sealed.customer.openid, sealed.encrypt.as_deref());
        self.request(settings, Method::POST, &query, sealed.body.clone(), Some(draft)).await
    }

    fn is_withheld(&self) -> bool {
        lock(&self.mark_fail).until.is_some_and(|until| self.clock.now() < until)
    }

    fn count_failure(&self, settings: &Settings, failed: bool) {
        let mut mark_fail = lock(&self.mark_fail);
        mark_fail.failures = if failed { mark_fail.failures.saturating_add(1) } else { 0 };
        if settings.mark_fail_after.is_some_and(|limit| mark_fail.failures >= limit) {
            *mark_fail = MarkFail { failures: 0, until: Some(self.clock.now().plus(MARK_FAIL_MS)) };
        }
    }
}

/// Adds the fields that every push has, unless they are given.
fn with_common(
    mut fields: Vec<Field>,
    customer: &Customer,
    settings: &Settings,
    now: Millis,
    msg_id: Option<u64>,
) -> Vec<Field> {
    let common = [
        Field::text("ToUserName", settings.account_id.as_str()),
        Field::text("FromUserName", customer.openid.as_str()),
        Field::number("CreateTime", now.seconds().to_string()),
    ];
    let missing = |field: &Field| !fields.iter().any(|given| given.name() == field.name());
    let mut all: Vec<Field> = common.into_iter().filter(missing).collect();
    let id = msg_id.map(|id| Field::number("MsgId", id.to_string())).filter(missing);
    all.append(&mut fields);
    all.extend(id);
    all
}
