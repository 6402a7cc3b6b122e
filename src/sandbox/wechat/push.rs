//! Pushes (reference: section 2.3): a customer's action becomes one body, which goes out in up to
//! three requests. The customer then sees the reply or the fault line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;

use crate::model::Millis;

use super::Platform;
use super::customer::Customer;
use super::draft::{Draft, PreparedPush};
use super::ledger::{Outcome, PushEntry, push_bounded};
use super::reply::{CheckedAnswer, PushContext, Reply, check_answer};
use super::request::{Attempt, signed_query, timestamp_and_nonce};
use super::screen::{ScreenEntry, Via};
use super::settings::{Mode, Settings};
use super::window::{Window, WindowOpener};
use super::xml::{self, Field, value_of};

/// How long the platform stops pushing to a URL that failed too often.
const MARK_FAIL_MS: i64 = 60_000;
const FAULT_LINE: &str = "该公众号提供的服务出现故障，请稍后再试";

/// A push that has ended.
#[derive(Clone, Debug)]
pub struct PushResult {
    /// The requests, in order. Empty if the platform had stopped pushing (MarkFail).
    pub attempts: Vec<Attempt>,
    /// The valid reply, if the bridge sent one.
    pub reply: Option<Reply>,
    /// Whether the push failed, so that the fault line is due.
    pub fault_line: bool,
    /// The `MsgId`. `None` for an event.
    pub msg_id: Option<u64>,
    pub(super) draft: Draft,
}

impl PushResult {
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
fn window_opener(fields: &[Field]) -> Option<WindowOpener> {
    let is_menu_tap = fields.iter().any(|field| field.name() == "bizmsgmenuid");
    match (value_of(fields, "MsgType"), value_of(fields, "Event")) {
        ("event", "subscribe" | "SCAN" | "CLICK" | "scancode_push" | "scancode_waitmsg") => {
            Some(WindowOpener::Event)
        }
        ("event", _) => None,
        ("text", _) if is_menu_tap => Some(WindowOpener::Event),
        _ => Some(WindowOpener::Message),
    }
}

impl Platform {
    /// Applies the customer's action and builds its push.
    pub(super) fn draft(&self, customer: &Arc<Customer>, fields: Vec<Field>) -> Draft {
        let (settings, now) = (self.settings(), self.clock.now());
        let event = value_of(&fields, "Event");
        let is_event = value_of(&fields, "MsgType") == "event";
        let action = self.customer_action(&fields, now);
        let action_id = customer.record_action(|state| {
            match event {
                "subscribe" if is_event => state.following = true,
                "unsubscribe" if is_event => {
                    state.following = false;
                    state.window = Window::default();
                }
                _ => {}
            }
            state.last_traffic = Some(now);
            if let Some(opener) = window_opener(&fields) {
                state.window.open(opener, &settings, now);
            }
            (now, action)
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
            let encrypted =
                settings.crypt().and_then(|crypt| crypt.encrypt(document.as_bytes(), rand::random()));
            // The key was checked with the settings. If it is unusable all the same, the push is
            // empty and the bridge must refuse it.
            encrypted.unwrap_or_default()
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
        Draft(Arc::new(PreparedPush {
            customer: customer.clone(),
            kind,
            is_event,
            msg_id,
            text,
            document,
            body: body.into(),
            encrypt,
            timestamp_and_nonce: timestamp_and_nonce(now),
            action_id,
            reply_shown: AtomicBool::new(false),
        }))
    }

    /// Sends requests until one gets a valid answer or no attempt is left.
    pub(super) async fn deliver(&self, draft: &Draft) -> PushResult {
        let settings = self.settings();
        let prepared = &draft.0;
        let mut result = PushResult {
            attempts: Vec::new(),
            reply: None,
            fault_line: false,
            msg_id: prepared.msg_id,
            draft: draft.clone(),
        };
        let mut outcome = Outcome::Withheld;
        let mut attempts_left = if self.is_withheld() { 0 } else { settings.attempts };
        while attempts_left > 0 {
            attempts_left -= 1;
            let mut attempt = self.attempt(&settings, draft).await;
            let answer = match (attempt.status, &attempt.error) {
                (Some(200), None) => self.check_answer(&settings, draft, &attempt.body),
                (Some(status), None) => {
                    if !settings.retry_on_status {
                        attempts_left = 0;
                    }
                    CheckedAnswer::Invalid(format!("HTTP {status}"))
                }
                (_, error) => CheckedAnswer::Invalid(error.clone().unwrap_or_default()),
            };
            outcome = match answer {
                CheckedAnswer::Acknowledged => Outcome::Acknowledged,
                CheckedAnswer::Reply(reply) => {
                    let kind = reply.kind.clone();
                    result.reply = Some(reply);
                    Outcome::Replied(kind)
                }
                CheckedAnswer::Invalid(reason) => {
                    if attempt.status == Some(200) {
                        // The platform does not retry after an abnormal answer with status 200.
                        attempts_left = 0;
                    }
                    attempt.error = Some(reason.clone());
                    Outcome::Failed(reason)
                }
            };
            let failed = attempt.error.is_some();
            result.attempts.push(attempt);
            self.count_failure(&settings, failed);
            if !failed {
                break;
            }
            if attempts_left > 0 && !settings.retry_pause.is_zero() {
                tokio::time::sleep(settings.retry_pause).await;
            }
        }
        result.fault_line = matches!(outcome, Outcome::Failed(_) | Outcome::Withheld);
        self.finish(&result, outcome);
        result
    }

    /// Shows the reply or the fault line to the customer, and records the push in the ledger.
    fn finish(&self, result: &PushResult, outcome: Outcome) {
        let prepared = &result.draft.0;
        let at = self.clock.now();
        // A customer who unfollowed sees nothing, and neither does one who opened a page from the
        // menu.
        let is_silent = prepared.is_event && matches!(prepared.kind.as_str(), "unsubscribe" | "VIEW");
        let reply_entry = result.reply.as_ref().map(|reply| ScreenEntry {
            at,
            via: Via::Passive,
            kind: reply.kind.clone(),
            text: reply.content.clone(),
            media: reply.media_id.as_ref().and_then(|id| self.media.lock().get(id, at)),
        });
        let fault_entry = result.fault_line.then(|| ScreenEntry {
            at,
            via: Via::Fault,
            kind: "fault".to_owned(),
            text: FAULT_LINE.to_owned(),
            media: None,
        });
        if let Some(entry) = reply_entry.or(fault_entry)
            && !is_silent
            && !prepared.reply_shown.swap(true, Ordering::Relaxed)
        {
            prepared.customer.state.lock().last_traffic = Some(at);
            prepared.customer.show(entry);
        }
        prepared.customer.mark_answered(prepared.action_id);
        let entry = PushEntry {
            at,
            openid: prepared.customer.openid.clone(),
            kind: prepared.kind.clone(),
            msg_id: prepared.msg_id,
            text: prepared.text.clone(),
            attempts: result.attempts.len(),
            outcome,
        };
        self.record(|ledger, limit| push_bounded(&mut ledger.pushes, Arc::new(entry), limit));
    }

    /// Checks the body of an answer with HTTP status 200.
    pub(super) fn check_answer(&self, settings: &Settings, draft: &Draft, body: &[u8]) -> CheckedAnswer {
        let now = self.clock.now();
        let push = PushContext { openid: &draft.0.customer.openid, is_event: draft.0.is_event };
        check_answer(body, push, settings, now, |kind, id| {
            self.media.lock().get(id, now).is_some_and(|media| media.kind == kind)
        })
    }

    async fn attempt(&self, settings: &Settings, draft: &Draft) -> Attempt {
        let prepared = &draft.0;
        let timestamp_and_nonce = if settings.fresh_signature {
            timestamp_and_nonce(self.clock.now())
        } else {
            prepared.timestamp_and_nonce.clone()
        };
        let query = signed_query(
            settings,
            timestamp_and_nonce,
            &prepared.customer.openid,
            prepared.encrypt.as_deref(),
        );
        self.request(settings, Method::POST, &query, prepared.body.clone(), Some(draft)).await
    }

    fn is_withheld(&self) -> bool {
        self.mark_fail.lock().until.is_some_and(|until| self.clock.now() < until)
    }

    fn count_failure(&self, settings: &Settings, failed: bool) {
        let mut mark_fail = self.mark_fail.lock();
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
