//! What Tencent's UIKit sends for an agent who uses it: typing signals, emoji keys, quotes, stickers, cards,
//! merged forwards and the signals of a call.
//!
//! The wire forms are those of the published kits. Nothing here knows what becomes of a message.

use serde_json::{Value, json};

use super::agent_client::{AgentClient, MessageView, Platform, SentMessage};
use super::callback;
use super::checks::ApiError;
use super::deliver::{ForbiddenWebhooks, MessageDraft, Origin, deliver};
use super::elements::{self, Sender};
use super::history::{ArrivalKind, Flags};
use crate::model::Millis;

/// A kit signals typing only while the customer's last message is at most this old, in milliseconds.
const AFTER_MESSAGE_MS: i64 = 30_000;
/// A kit begins to signal at most once within this long, in milliseconds.
const BEGIN_INTERVAL_MS: i64 = 5_000;
/// What every kit says to those that cannot read a merged forward.
const UPGRADE: &str = "please upgrade the SDK";

/// The typing signals of one composer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Composer {
    /// When the kit last signalled that the agent types.
    began: Option<Millis>,
    /// Whether that signal was not ended yet.
    is_typing: bool,
}

impl AgentClient {
    /// The composer's text in the conversation with `peer` has changed. Sends a typing signal if the kit
    /// would, and returns whether it did.
    pub async fn compose(&self, peer: &str, text: &str) -> Result<bool, ApiError> {
        let now = self.shared.clock.now();
        let may_signal = self.may_signal(peer, now);
        let is_typing = {
            let mut composers = self.shared.composers.lock();
            let composer = composers.entry((self.user.clone(), peer.to_owned())).or_default();
            match (text.is_empty(), composer.is_typing) {
                (true, false) => return Ok(false),
                (true, true) => {
                    composer.is_typing = false;
                    false
                }
                (false, _) => {
                    let is_early = composer.began.is_some_and(|at| now.since(at) < BEGIN_INTERVAL_MS);
                    if is_early || !may_signal {
                        return Ok(false);
                    }
                    *composer = Composer { began: Some(now), is_typing: true };
                    true
                }
            }
        };
        self.signal_typing(peer, is_typing).await.map(|()| true)
    }

    /// Whether the kit signals in this conversation: the customer wrote lately, and for a phone the message
    /// asked for signals.
    fn may_signal(&self, peer: &str, now: Millis) -> bool {
        let conversation = self.conversation(peer);
        let Some(last) = conversation.iter().rfind(|message| message.from == peer) else { return false };
        if now.since(last.arrived()) > AFTER_MESSAGE_MS {
            return false;
        }
        let custom: Value = serde_json::from_str(&last.cloud_custom_data).unwrap_or_default();
        self.platform == Platform::Web || custom["messageFeature"]["needTyping"] == 1
    }

    /// Sends one typing signal, whatever was signalled before.
    pub async fn signal_typing(&self, peer: &str, is_typing: bool) -> Result<(), ApiError> {
        let (status, action, end) = if is_typing { (1, 14, "Ing") } else { (0, 0, "End") };
        let data = json!({
            "businessID": "user_typing_status", "typingStatus": status, "version": 1, "userAction": action,
            "actionParam": format!("EIMAMSG_InputStatus_{end}"),
        });
        let custom = json!({"messageFeature": {"needTyping": 1, "version": 1}});
        self.send_online(peer, json!([custom_element(&data)]), &custom.to_string()).await
    }

    /// Sends an online-only message (`MsgLifeTime` 0): it is in no history, and its webhook says so.
    pub async fn send_online(&self, to: &str, elements: Value, custom: &str) -> Result<(), ApiError> {
        elements::check(Some(&elements), Sender::Client)?;
        let draft = MessageDraft {
            flags: Flags { stored: false, visible_to_sender: true, arrival: ArrivalKind::Uncounted },
            lifetime: 0,
            ..self.draft(to, elements, custom)
        };
        let webhook = deliver(&self.shared, draft).await?.after_webhook;
        if let Some(webhook) = webhook.filter(|_| self.shared.should_send_webhook()) {
            callback::send(&self.shared, &webhook, |_| {}).await;
        }
        Ok(())
    }

    /// Answers a message with a quote of it.
    pub async fn quote(&self, to: &str, quoted: &MessageView, text: &str) -> Result<SentMessage, ApiError> {
        let (kind, shown) = match quoted.shown().kind {
            "text" => (1, quoted.text()),
            "image" => (3, "[图片]".to_owned()),
            "sound" => (4, "[语音]".to_owned()),
            "video" => (5, "[视频]".to_owned()),
            "file" => (6, "[文件]".to_owned()),
            _ => (2, "[自定义消息]".to_owned()),
        };
        let reply = json!({"messageReply": {
            "messageID": quoted.id, "messageAbstract": shown, "messageSender": quoted.from, "messageType": kind,
            "messageTime": quoted.time, "messageSequence": quoted.seq, "version": 1,
        }});
        self.send_with(to, json!([text_element(text)]), &reply.to_string()).await
    }

    /// Sends a sticker, named by its group and its picture as the kits name them.
    pub async fn send_sticker(&self, to: &str, group: u32, name: &str) -> Result<SentMessage, ApiError> {
        let face = json!({"MsgType": "TIMFaceElem", "MsgContent": {"Index": group, "Data": name}});
        self.send(to, json!([face])).await
    }

    /// Sends the sample card of the kits: a text with a link.
    pub async fn send_link_card(&self, to: &str, text: &str, link: &str) -> Result<SentMessage, ApiError> {
        let data = json!({"businessID": "text_link", "text": text, "link": link});
        self.send(to, json!([custom_element(&data)])).await
    }

    /// Forwards several messages as one.
    pub async fn forward_merged(
        &self,
        to: &str,
        title: &str,
        lines: &[String],
    ) -> Result<SentMessage, ApiError> {
        let relay = json!({"MsgType": "TIMRelayElem", "MsgContent": {
            "Title": title, "AbstractList": lines, "CompatibleText": UPGRADE, "JsonMsgKey": "", "PbMsgKey": "",
            "LayersOverLimit": false, "Version": 1,
        }});
        self.send(to, json!([relay])).await
    }

    /// Presses the call button and hangs up: an invitation, then its end.
    pub async fn press_call(&self, to: &str) -> Result<[SentMessage; 2], ApiError> {
        let invite_id = format!("144115{:08x}", rand::random::<u32>());
        let signal = |action: u8| {
            custom_element(&json!({
                "businessID": 1, "inviteID": invite_id, "inviter": self.user, "inviteeList": [to],
                "actionType": action, "groupID": "", "timeout": 30,
                "data": json!({"businessID": "av_call", "call_type": 1}).to_string(),
            }))
        };
        let invitation = self.send(to, json!([signal(1)])).await?;
        Ok([invitation, self.send(to, json!([signal(2)])).await?])
    }

    /// The agent's own program answers over the REST API in the agent's name.
    pub async fn answer_by_rest(&self, to: &str, text: &str) -> Result<SentMessage, ApiError> {
        let mut draft = self.draft(to, json!([text_element(text)]), "");
        draft.origin = Origin::Rest { api: "openim/sendmsg", fields: String::new() };
        draft.webhooks = ForbiddenWebhooks::default();
        self.deliver(draft).await
    }
}

/// A `TIMCustomElem` with `data`, as the kits send one.
fn custom_element(data: &Value) -> Value {
    json!({"MsgType": "TIMCustomElem", "MsgContent": {"Data": data.to_string(), "Desc": "", "Ext": ""}})
}

fn text_element(text: &str) -> Value {
    json!({"MsgType": "TIMTextElem", "MsgContent": {"Text": text}})
}
