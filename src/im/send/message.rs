//! Sending one message, and importing one. Reference: "One-to-one messages".

use serde::Serialize;
use serde_json::json;

use super::{Api, Client, Failure};
use crate::im::element::Element;
use crate::im::{msg_key, number, text};
use crate::model::ImUserId;

/// A message from a customer's account to an agent. Docs 269/2282.
#[derive(Clone, Copy, Debug)]
pub struct SendMsg<'a> {
    /// The customer's account; without it IM would use the admin as the sender.
    pub from: &'a ImUserId,
    /// The agent.
    pub to: &'a ImUserId,
    /// Drawn once per message and used by every attempt. It orders the messages of one second.
    pub msg_seq: u32,
    /// Drawn once per message and used by every attempt. Of two messages in one second with the
    /// same number, IM drops one.
    pub msg_random: u32,
    /// Unix seconds.
    pub timestamp_s: i64,
    /// How long IM keeps the message for an agent who is offline, in seconds; at most 604800.
    pub life_time_s: u64,
    /// At least one; with `cloud_custom_data` at most 8000 bytes as JSON.
    pub elements: &'a [Element],
    /// Stored and delivered with the message.
    pub cloud_custom_data: &'a str,
    /// The notification on the phone of an agent who is not online.
    pub offline_push: OfflinePush<'a>,
}

/// What a notification on a phone shows, and what makes a tap on it open the conversation.
#[derive(Clone, Copy, Debug)]
pub struct OfflinePush<'a> {
    /// The customer's nickname, its title.
    pub nickname: &'a str,
    /// The message's words; empty if it has none. At most [`PUSH_WORDS_BYTES`] of them are shown.
    pub words: &'a str,
}

/// The longest text in a notification, bytes. It is there twice, once escaped within JSON, and all of it must fit into
/// the 4 KB that Apple allows.
const PUSH_WORDS_BYTES: usize = 240;

/// `OfflinePushInfo`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OfflinePushInfo<'a> {
    /// 0: push to the phone of an agent who is not online.
    push_flag: u8,
    title: &'a str,
    /// Without it the platform shows a word for the kind of the message.
    #[serde(skip_serializing_if = "str::is_empty")]
    desc: &'a str,
    ext: String,
}

/// `Ext`, in the form that Tencent's UI kits read: a tap opens the conversation with `sender`.
#[derive(Serialize)]
struct Ext<'a> {
    entity: Entity<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entity<'a> {
    version: u8,
    /// 1: one-to-one.
    chat_type: u8,
    /// 1: open the conversation.
    action: u8,
    sender: &'a ImUserId,
    nickname: &'a str,
    face_url: &'a str,
    content: &'a str,
}

impl OfflinePush<'_> {
    /// The words that are shown: on one line, and cut.
    fn content(&self) -> String {
        let words = self.words.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut = &words[..words.floor_char_boundary(PUSH_WORDS_BYTES)];
        let more = if cut.len() < words.len() { "…" } else { "" };
        format!("{cut}{more}")
    }

    /// The `Ext` of a message from `sender`.
    fn ext(&self, sender: &ImUserId, content: &str) -> String {
        let nickname = self.nickname;
        let entity = Entity { version: 1, chat_type: 1, action: 1, sender, nickname, face_url: "", content };
        // Serializing plain data into memory cannot fail; an empty text only opens no conversation.
        serde_json::to_string(&Ext { entity }).unwrap_or_default()
    }
}

/// IM's response for a sent message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendResult {
    /// The message's id.
    pub msg_key: String,
    /// IM's time of the message, Unix seconds.
    pub msg_time: i64,
}

/// How IM treats an imported message (`SyncFromOldSystem`, as numbered since 2022). Docs 269/2568.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportMode {
    /// History: not counted as unread, not pushed to devices (2).
    History,
    /// As if it had just been sent (5).
    Live,
}

/// A message to import. IM identifies it by conversation, `msg_seq`, `msg_random` and
/// `timestamp_s`.
#[derive(Clone, Copy, Debug)]
pub struct ImportMsg<'a> {
    /// How IM treats it.
    pub mode: ImportMode,
    /// The sender.
    pub from: &'a ImUserId,
    /// The receiver.
    pub to: &'a ImUserId,
    /// Orders the messages of one second.
    pub msg_seq: u32,
    /// Drawn once per message.
    pub msg_random: u32,
    /// Unix seconds.
    pub timestamp_s: i64,
    /// At least one.
    pub elements: &'a [Element],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SendBody<'a> {
    /// 2: do not sync to the sender's other devices; the bridge has none.
    sync_other_machine: u8,
    #[serde(rename = "From_Account")]
    from_account: &'a ImUserId,
    #[serde(rename = "To_Account")]
    to_account: &'a ImUserId,
    msg_life_time: u64,
    msg_seq: u32,
    msg_random: u32,
    msg_time_stamp: i64,
    /// Suppress both callbacks: our own messages must not come back, and a send must not wait for
    /// our own server.
    forbid_callback_control: [&'static str; 2],
    msg_body: &'a [Element],
    cloud_custom_data: &'a str,
    offline_push_info: OfflinePushInfo<'a>,
}

impl Client {
    /// Sends a message. It is not idempotent beyond one second: after `Failure::NoAnswer`, search
    /// the history ([`Client::admin_getroammsg`]) before a repeat.
    pub async fn sendmsg(&self, message: &SendMsg<'_>) -> Result<SendResult, Failure> {
        let content = message.offline_push.content();
        let body = SendBody {
            sync_other_machine: 2,
            from_account: message.from,
            to_account: message.to,
            msg_life_time: message.life_time_s,
            msg_seq: message.msg_seq,
            msg_random: message.msg_random,
            msg_time_stamp: message.timestamp_s,
            forbid_callback_control: ["ForbidBeforeSendMsgCallback", "ForbidAfterSendMsgCallback"],
            msg_body: message.elements,
            cloud_custom_data: message.cloud_custom_data,
            offline_push_info: OfflinePushInfo {
                push_flag: 0,
                title: message.offline_push.nickname,
                desc: &content,
                ext: message.offline_push.ext(message.from, &content),
            },
        };
        let answer = self.call(Api::SendMsg, &body).await?;
        let msg_time = number(&answer, "MsgTime").unwrap_or(message.timestamp_s);
        let msg_key = text(&answer, "MsgKey")
            .map_or_else(|| msg_key(message.msg_seq, message.msg_random, msg_time), str::to_owned);
        Ok(SendResult { msg_key, msg_time })
    }

    /// Imports a message. It is idempotent without a time limit, and causes no callback.
    pub async fn importmsg(&self, message: &ImportMsg<'_>) -> Result<(), Failure> {
        let body = json!({
            "SyncFromOldSystem": match message.mode {
                ImportMode::History => 2,
                ImportMode::Live => 5,
            },
            "From_Account": message.from,
            "To_Account": message.to,
            "MsgSeq": message.msg_seq,
            "MsgRandom": message.msg_random,
            "MsgTimeStamp": message.timestamp_s,
            "MsgBody": message.elements,
        });
        self.call(Api::ImportMsg, &body).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::im::send::client::tests::{Fake, user};
    use serde_json::Value;

    #[tokio::test]
    async fn a_message_is_sent_exactly() {
        let fake = Fake::answering([
            r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0,"MsgTime":1700000001,"MsgKey":"key","MsgId":"x"}"#,
            r#"{"ErrorCode":0,"MsgTime":1700000001}"#,
        ])
        .await;
        let (from, to) = (user("oABCD1234efgh5678IJKL90_-mno"), user("kf_lin"));
        let elements = [Element::text("Is this in stock?")];
        let message = SendMsg {
            from: &from,
            to: &to,
            msg_seq: 218_340_021,
            msg_random: 3_187_465_520,
            timestamp_s: 1_700_000_000,
            life_time_s: 604_800,
            elements: &elements,
            cloud_custom_data: "{\"src\":\"wx\"}",
            offline_push: OfflinePush { nickname: "WeChat 0_-mno", words: "" },
        };
        let client = fake.client();
        let sent = SendResult { msg_key: "key".to_owned(), msg_time: 1_700_000_001 };
        assert_eq!(client.sendmsg(&message).await, Ok(sent));
        let result = client.sendmsg(&message).await.unwrap();
        assert_eq!(result.msg_key, "218340021_3187465520_1700000001", "IM named none");
        let calls = fake.calls();
        assert_eq!(calls[0].path, "/v4/openim/sendmsg");
        assert_eq!(
            calls[0].body,
            concat!(
                r#"{"SyncOtherMachine":2,"From_Account":"oABCD1234efgh5678IJKL90_-mno","To_Account":"kf_lin","#,
                r#""MsgLifeTime":604800,"MsgSeq":218340021,"MsgRandom":3187465520,"MsgTimeStamp":1700000000,"#,
                r#""ForbidCallbackControl":["ForbidBeforeSendMsgCallback","ForbidAfterSendMsgCallback"],"#,
                r#""MsgBody":[{"MsgType":"TIMTextElem","MsgContent":{"Text":"Is this in stock?"}}],"#,
                r#""CloudCustomData":"{\"src\":\"wx\"}","OfflinePushInfo":{"PushFlag":0,"Title":"WeChat 0_-mno","#,
                r#""Ext":"{\"entity\":{\"version\":1,\"chatType\":1,\"action\":1,"#,
                r#"\"sender\":\"oABCD1234efgh5678IJKL90_-mno\",\"nickname\":\"WeChat 0_-mno\",\"faceUrl\":\"\","#,
                r#"\"content\":\"\"}}"}}"#
            )
        );
    }

    #[tokio::test]
    async fn an_import_carries_its_mode() {
        let fake = Fake::answering([r#"{"ErrorCode":0}"#, r#"{"ErrorCode":0}"#]).await;
        let (from, to) = (user("o1"), user("kf_lin"));
        let client = fake.client();
        for mode in [ImportMode::History, ImportMode::Live] {
            let message = ImportMsg {
                mode,
                from: &from,
                to: &to,
                msg_seq: 1,
                msg_random: 2,
                timestamp_s: 1_700_000_000,
                elements: &[Element::text("x")],
            };
            client.importmsg(&message).await.unwrap();
        }
        let bodies: Vec<Value> =
            fake.calls().iter().map(|call| serde_json::from_str(&call.body).unwrap()).collect();
        assert_eq!(
            (&bodies[0]["SyncFromOldSystem"], &bodies[1]["SyncFromOldSystem"]),
            (&json!(2), &json!(5))
        );
        assert_eq!(bodies[0]["MsgTimeStamp"], 1_700_000_000);
        assert_eq!(fake.calls()[0].path, "/v4/openim/importmsg");
    }
}
