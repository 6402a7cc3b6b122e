//! Finds the message that a call carries, from outside: by MsgId and MsgKey if the call has them,
//! else by customer, text and order. It never asks the bridge, so the result is an observer's best
//! guess.

use std::collections::VecDeque;

use serde_json::Value;
use tokio::time::Instant;

use crate::sandbox::im::{self, Exchange};
use crate::sandbox::wechat::{self, WireEvent};

/// Messages in each direction that are remembered.
const TRACKED_LIMIT: usize = 500;
/// The prefix of the bridge's notices to agents.
const NOTICE_PREFIX: &str = "[bridge]";

/// The messages and the customer of a call, and the latencies that it completes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CallInfo {
    /// The id of the message.
    pub message: Option<String>,
    /// The ids of further messages: held answers attached to a passive reply.
    pub also: Vec<String>,
    /// The openid of the customer.
    pub customer: Option<String>,
    /// Milliseconds from a push or a webhook to the bridge's answer, if it accepted.
    pub accepted_ms: Option<u64>,
    /// Milliseconds from a message to its arrival, for each message that this call delivered.
    pub arrived_ms: Vec<u64>,
}

/// A customer who has written something that has not reached an agent yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingCustomer {
    /// The openid.
    pub customer: String,
    /// When the first of the messages was pushed.
    pub since: Instant,
    /// How many there are.
    pub messages: usize,
}

/// A message or event of a customer, or a message of an agent.
#[derive(Debug)]
struct TrackedMessage {
    id: String,
    customer: String,
    text: String,
    began: Instant,
    /// Whether the bridge has accepted it.
    accepted: bool,
    arrived: bool,
    /// Whether it is an agent's online-only message, such as a typing signal.
    is_signal: bool,
}

/// The identity of a `sendmsg` call: sender, MsgSeq, MsgRandom. Retries have the same one.
type Attempt = (String, u64, u64);

/// The recent messages in both directions, to match calls with.
#[derive(Debug, Default)]
pub struct CallTracker {
    to_agent: VecDeque<TrackedMessage>,
    attempts: VecDeque<(Attempt, String)>,
    to_customer: VecDeque<TrackedMessage>,
}

impl CallTracker {
    /// Matches a call that WeChat made or received.
    pub fn wechat(&mut self, event: &WireEvent) -> CallInfo {
        match event.direction {
            wechat::Direction::Push => self.push(event),
            wechat::Direction::Api => self.wechat_call(event),
        }
    }

    /// Matches a call that IM made or received.
    pub fn im(&mut self, exchange: &Exchange) -> CallInfo {
        let body: Value = serde_json::from_str(&exchange.request).unwrap_or_default();
        match exchange.direction {
            im::Direction::Sent => self.callback(exchange, &body),
            im::Direction::Received => self.im_call(exchange, &body),
        }
    }

    fn push(&mut self, event: &WireEvent) -> CallInfo {
        let Some(customer) = &event.openid else { return CallInfo::default() };
        let element = |name: &str| xml_element(&event.request, name);
        let id = event.msg_id.map(|id| id.to_string()).or_else(|| {
            let name = element("Event").filter(|name| !name.is_empty())?;
            Some(format!("{name} {}", element("CreateTime")?))
        });
        let answered = event.status == Some(200) && event.error.is_none();
        let mut info = CallInfo {
            message: id.clone(),
            customer: Some(customer.clone()),
            accepted_ms: answered.then(|| millis(event.took)),
            ..CallInfo::default()
        };
        if let Some(id) = id.filter(|id| !self.to_agent.iter().any(|sent| sent.id == *id)) {
            let text = element("Content").unwrap_or_default();
            push_bounded(&mut self.to_agent, TrackedMessage::new(id, customer, text, event.began));
        }
        if let Some(sent) =
            self.to_agent.iter_mut().rev().find(|sent| Some(&sent.id) == info.message.as_ref())
        {
            sent.accepted |= answered;
        }
        let reply = answered.then(|| xml_element(&event.response, "Content")).flatten().unwrap_or_default();
        let waiting = self.to_customer.iter_mut().filter(|sent| sent.customer == *customer && !sent.arrived);
        for sent in waiting.filter(|sent| !sent.text.is_empty() && reply.contains(&sent.text)) {
            info.also.push(sent.id.clone());
            info.arrived_ms.extend(sent.mark_arrived(event.began + event.took));
        }
        info
    }

    /// The customers who wait for their messages to reach an agent, the one who has waited for longest first.
    pub fn waiting(&self) -> Vec<WaitingCustomer> {
        let mut all: Vec<WaitingCustomer> = Vec::new();
        for sent in self.to_agent.iter().filter(|sent| sent.accepted) {
            let at = all.iter().position(|one| one.customer == sent.customer);
            let is_event = sent.id.contains(' ');
            match at {
                // A customer's messages arrive in order, so none before this one is still to come.
                Some(at) if (sent.arrived && !is_event) || sent.id.starts_with("unsubscribe ") => {
                    all.remove(at);
                }
                Some(at) if !is_event => all[at].messages += 1,
                None if !sent.arrived && !is_event => {
                    let customer = sent.customer.clone();
                    all.push(WaitingCustomer { customer, since: sent.began, messages: 1 });
                }
                _ => {}
            }
        }
        all
    }

    /// A message to the customer, or a call of another WeChat API.
    fn wechat_call(&mut self, event: &WireEvent) -> CallInfo {
        let Some(customer) = &event.openid else { return CallInfo::default() };
        if event.path.ends_with("/custom/typing") {
            let mut signals = self.to_customer.iter().rev().filter(|sent| sent.is_signal);
            let signal = signals.find(|sent| sent.customer == *customer);
            let message = signal.map(|sent| sent.id.clone());
            return CallInfo { message, customer: Some(customer.clone()), ..CallInfo::default() };
        }
        let body: Value = serde_json::from_str(&event.request).unwrap_or_default();
        let text = body["text"]["content"].as_str().unwrap_or_default();
        let is_customers = |sent: &&mut TrackedMessage| sent.customer == *customer && !sent.is_signal;
        let has_text = |sent: &&mut TrackedMessage| !text.is_empty() && sent.text.contains(text);
        let at = self
            .position(customer, |sent| !sent.arrived && !text.is_empty() && sent.text.contains(text))
            .or_else(|| self.position(customer, |sent| !sent.arrived));
        let sent = match at {
            Some(at) => self.to_customer.get_mut(at),
            None => self.to_customer.iter_mut().rev().filter(is_customers).find(has_text),
        };
        let mut info = CallInfo { customer: Some(customer.clone()), ..CallInfo::default() };
        if let Some(sent) = sent {
            info.message = Some(sent.id.clone());
            let answer: Value = serde_json::from_str(&event.response).unwrap_or_default();
            let is_last = text.is_empty() || sent.text.ends_with(text);
            if event.path.ends_with("/custom/send") && answer["errcode"] == 0 && is_last {
                info.arrived_ms.extend(sent.mark_arrived(event.began + event.took));
            }
        }
        info
    }

    fn position(&self, customer: &str, fits: impl Fn(&TrackedMessage) -> bool) -> Option<usize> {
        self.to_customer.iter().position(|sent| sent.customer == customer && fits(sent))
    }

    /// A webhook about an agent's message.
    fn callback(&mut self, exchange: &Exchange, body: &Value) -> CallInfo {
        let customer = openid_of(body["To_Account"].as_str().unwrap_or_default());
        let Some(key) = body["MsgKey"].as_str() else { return CallInfo::default() };
        let answered = exchange.status == Some(200) && exchange.error.is_none();
        if !self.to_customer.iter().any(|sent| sent.id == key) {
            let mut sent = TrackedMessage::new(key.to_owned(), customer, message_text(body), exchange.began);
            sent.is_signal = body["OnlineOnlyFlag"] == 1;
            sent.arrived = sent.is_signal;
            push_bounded(&mut self.to_customer, sent);
        }
        CallInfo {
            message: Some(key.to_owned()),
            customer: Some(customer.to_owned()),
            accepted_ms: answered.then(|| millis(exchange.took)),
            ..CallInfo::default()
        }
    }

    /// A call of the bridge to IM.
    fn im_call(&mut self, exchange: &Exchange, body: &Value) -> CallInfo {
        let names = ["From_Account", "UserID", "Identifier", "Operator_Account"];
        let user = names.iter().find_map(|name| body[*name].as_str());
        let user = user.or_else(|| body["DeleteItem"][0]["UserID"].as_str()).unwrap_or_default();
        let customer = openid_of(user);
        let mut info =
            CallInfo { customer: (!customer.is_empty()).then(|| customer.to_owned()), ..CallInfo::default() };
        let answer: Value = serde_json::from_str(&exchange.response).unwrap_or_default();
        let succeeded = answer["ErrorCode"] == 0;
        if exchange.path.ends_with("/openim/sendmsg") {
            let (message, sent) = self.message_of_send(user, body);
            info.message = message;
            if let Some(sent) = sent.filter(|_| succeeded) {
                info.arrived_ms.extend(sent.mark_arrived(exchange.began + exchange.took));
            }
        } else if exchange.path.ends_with("/account_import") {
            info.message = self.message_of_import(customer, succeeded);
        } else if exchange.path.contains("/im_open_login_svc/") {
            info.message = self.newest_message(customer);
        }
        info
    }

    /// The message that caused an account import. A `subscribe` causes one; until that import ends,
    /// no other message does. Without a waiting `subscribe`, the account was missing for the latest
    /// message.
    fn message_of_import(&mut self, customer: &str, succeeded: bool) -> Option<String> {
        let is_waiting = |sent: &&mut TrackedMessage| {
            sent.customer == customer && sent.id.starts_with("subscribe ") && !sent.arrived
        };
        match self.to_agent.iter_mut().find(is_waiting) {
            Some(subscribe) => {
                subscribe.arrived = succeeded;
                Some(subscribe.id.clone())
            }
            None => self.newest_message(customer),
        }
    }

    fn newest_message(&self, customer: &str) -> Option<String> {
        let newest = self.to_agent.iter().rev().find(|sent| sent.customer == customer)?;
        Some(newest.id.clone())
    }

    /// The message of a `sendmsg` call: by an earlier attempt, else by its text, else by its order.
    fn message_of_send(&mut self, user: &str, body: &Value) -> (Option<String>, Option<&mut TrackedMessage>) {
        let customer = openid_of(user);
        let number = |name: &str| body[name].as_u64().unwrap_or_default();
        let attempt = (user.to_owned(), number("MsgSeq"), number("MsgRandom"));
        let text = message_text(body);
        if text.starts_with(NOTICE_PREFIX) {
            let mut messages = self.to_customer.iter().rev().filter(|sent| !sent.is_signal);
            let about = messages.find(|sent| sent.customer == customer);
            return (about.map(|sent| sent.id.clone()), None);
        }
        let known = self.attempts.iter().find(|(seen, _)| *seen == attempt).map(|(_, id)| id.clone());
        let is_customers = |sent: &TrackedMessage| sent.customer == customer && !sent.id.contains(' ');
        let has_text = |sent: &TrackedMessage| !sent.text.is_empty() && text.contains(&sent.text);
        let at = match &known {
            Some(id) => self.to_agent.iter().position(|sent| sent.id == *id),
            None => self
                .to_agent
                .iter()
                .position(|sent| is_customers(sent) && !sent.arrived && has_text(sent))
                .or_else(|| self.to_agent.iter().position(|sent| is_customers(sent) && !sent.arrived))
                .or_else(|| self.to_agent.iter().rposition(is_customers)),
        };
        let sent = at.and_then(|at| self.to_agent.get_mut(at));
        let id = sent.as_ref().map(|sent| sent.id.clone()).or(known);
        if let Some(id) = &id
            && !self.attempts.iter().any(|(seen, _)| *seen == attempt)
        {
            push_bounded(&mut self.attempts, (attempt, id.clone()));
        }
        (id, sent)
    }
}

impl TrackedMessage {
    fn new(id: String, customer: &str, text: String, began: Instant) -> Self {
        Self {
            id,
            customer: customer.to_owned(),
            text,
            began,
            accepted: false,
            arrived: false,
            is_signal: false,
        }
    }

    /// Marks the message as arrived. Returns the milliseconds since it began, the first time only.
    fn mark_arrived(&mut self, at: Instant) -> Option<u64> {
        let first = !std::mem::replace(&mut self.arrived, true);
        first.then(|| millis(at.saturating_duration_since(self.began)))
    }
}

fn push_bounded<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == TRACKED_LIMIT {
        list.pop_front();
    }
    list.push_back(item);
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The openid of an IM account. An account that was imported again after a deletion has a number
/// after the openid.
fn openid_of(user: &str) -> &str {
    match user.rsplit_once('_') {
        Some((openid, number)) if openid.len() >= 28 && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            openid
        }
        _ => user,
    }
}

/// The texts of a `MsgBody`.
fn message_text(body: &Value) -> String {
    let elements = body["MsgBody"].as_array().into_iter().flatten();
    elements.filter_map(|element| element["MsgContent"]["Text"].as_str()).collect()
}

/// The text of the first XML element `name` in a push or a reply.
fn xml_element(document: &str, name: &str) -> Option<String> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once(&format!("</{name}>"))?;
    let cdata = content.strip_prefix("<![CDATA[").and_then(|inside| inside.strip_suffix("]]>"));
    Some(match cdata {
        Some(text) => text.replace("]]]]><![CDATA[>", "]]>"),
        None => quick_xml::escape::unescape(content).map_or_else(|_| content.to_owned(), Into::into),
    })
}
