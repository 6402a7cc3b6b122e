//! The bridge's own notices to an agent, in the conversation that they are about. Pure.

use crate::config::Locale;
use crate::model::{HoldReason, MediaKind, NoAnswer, OutboundCall, Untranslatable, split_text};

use super::translate::NOTICE_PREFIX;

/// The longest notice, in bytes. A text that would make it longer becomes a notice of its own.
const MAX_NOTICE_BYTES: usize = 2_000;
/// The longest excerpt of an answer in a notice, in bytes.
const MAX_EXCERPT_BYTES: usize = 60;

/// The kind of a notice: what happened to an agent's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeKind<'a> {
    /// It is held until the customer writes.
    Held {
        /// The reason, as the agent reads it.
        why: &'a str,
    },
    /// It will not be sent.
    Refused {
        /// The reason, as the agent reads it.
        why: &'a str,
    },
    /// It may or may not have arrived.
    Unknown {
        /// The reason, as the agent reads it.
        why: &'a str,
    },
    /// It arrived, but as a text with a link.
    AsLink {
        /// The reason, as the agent reads it.
        why: &'a str,
    },
    /// Its agent recalled it after it had arrived.
    RecalledTooLate,
    /// Its agent recalled it after it may have arrived.
    RecalledMaybeTooLate,
    /// Its agent recalled it after a part of it had arrived.
    RecalledInPart,
    /// Its agent changed it after it had left.
    EditedTooLate,
    /// Its agent changed it into a command before it had left.
    EditedToCommand,
}

/// Returns the text of a notice about `answer`, with an excerpt of its beginning.
pub fn text(locale: Locale, kind: &NoticeKind<'_>, answer: &str) -> String {
    let answer = excerpt(answer);
    let text = match (locale, kind) {
        (Locale::En, NoticeKind::Held { why }) => {
            format!("“{answer}” is held: {why}. It goes out as soon as the customer writes again.")
        }
        (Locale::En, NoticeKind::Refused { why }) => {
            format!("“{answer}” was not sent and will not be: {why}.")
        }
        (Locale::En, NoticeKind::Unknown { why }) => format!(
            "“{answer}” may or may not have arrived: {why}. \
             The bridge does not send it again by itself; ask the customer, or write it again."
        ),
        (Locale::En, NoticeKind::RecalledTooLate) => {
            format!("“{answer}” was recalled too late: the customer has it, and WeChat cannot take it back.")
        }
        (Locale::En, NoticeKind::RecalledMaybeTooLate) => format!(
            "“{answer}” was recalled too late: the customer may have it, and WeChat cannot take it back."
        ),
        (Locale::En, NoticeKind::RecalledInPart) => format!(
            "“{answer}” was recalled too late: the customer has the first part, and WeChat cannot take it back. \
             The rest is not sent."
        ),
        (Locale::En, NoticeKind::EditedTooLate) => {
            format!("“{answer}” was changed too late: it had left, and the customer has the old wording.")
        }
        (Locale::En, NoticeKind::EditedToCommand) => format!(
            "“{answer}” was changed into a command: it is not sent, and the command has no effect. \
             Send the command as a new message."
        ),
        (Locale::Ko, NoticeKind::RecalledTooLate) => format!(
            "“{answer}” 메시지는 너무 늦게 회수되었습니다: 고객이 이미 받았으며 WeChat에서는 취소할 수 없습니다."
        ),
        (Locale::Ko, NoticeKind::RecalledMaybeTooLate) => format!(
            "“{answer}” 메시지는 너무 늦게 회수되었습니다: 고객이 받았을 수 있으며 WeChat에서는 취소할 수 없습니다."
        ),
        (Locale::Ko, NoticeKind::RecalledInPart) => format!(
            "“{answer}” 메시지는 너무 늦게 회수되었습니다: 고객이 앞부분을 이미 받았으며 WeChat에서는 취소할 수 없습니다. 나머지는 보내지 않습니다."
        ),
        (Locale::Ko, NoticeKind::EditedTooLate) => format!(
            "“{answer}” 메시지는 너무 늦게 수정되었습니다: 이미 전송되어 고객은 수정 전 내용을 받습니다."
        ),
        (Locale::Ko, NoticeKind::EditedToCommand) => format!(
            "“{answer}” 메시지가 명령으로 수정되었습니다: 메시지는 전송되지 않고 명령도 실행되지 않습니다. 명령은 새 메시지로 보내 주십시오."
        ),
        (Locale::Zh, NoticeKind::RecalledTooLate) => {
            format!("“{answer}”撤回太晚：客户已经收到，微信无法撤回。")
        }
        (Locale::Zh, NoticeKind::RecalledMaybeTooLate) => {
            format!("“{answer}”撤回太晚：客户可能已经收到，微信无法撤回。")
        }
        (Locale::Zh, NoticeKind::RecalledInPart) => {
            format!("“{answer}”撤回太晚：客户已经收到前一部分，微信无法撤回；其余部分不再发送。")
        }
        (Locale::Zh, NoticeKind::EditedTooLate) => {
            format!("“{answer}”修改太晚：消息已经发出，客户看到的是修改前的内容。")
        }
        (Locale::Zh, NoticeKind::EditedToCommand) => {
            format!("“{answer}”被改成了命令：消息不再发送，命令也不会执行。请将命令作为新消息发送。")
        }
        (Locale::En, NoticeKind::AsLink { why }) => {
            format!("“{answer}” went to the customer as a text with a link: {why}.")
        }
        (Locale::Ko, NoticeKind::AsLink { why }) => {
            format!("“{answer}” 파일은 링크가 포함된 텍스트로 고객에게 전송되었습니다: {why}.")
        }
        (Locale::Zh, NoticeKind::AsLink { why }) => format!("“{answer}”已改为带链接的文字发给客户：{why}。"),
        (Locale::Ko, NoticeKind::Held { why }) => {
            format!("“{answer}” 메시지가 보류되었습니다: {why}. 고객이 다시 메시지를 보내면 바로 전송됩니다.")
        }
        (Locale::Ko, NoticeKind::Refused { why }) => {
            format!("“{answer}” 메시지를 보내지 못했으며 다시 보내지 않습니다: {why}.")
        }
        (Locale::Ko, NoticeKind::Unknown { why }) => format!(
            "“{answer}” 메시지가 도착했는지 알 수 없습니다: {why}. 자동으로 다시 보내지 않으니 고객에게 확인하거나 다시 작성해 주십시오."
        ),
        (Locale::Zh, NoticeKind::Held { why }) => {
            format!("“{answer}”暂未发送：{why}。客户再次发来消息后会立即送出。")
        }
        (Locale::Zh, NoticeKind::Refused { why }) => format!("“{answer}”未能发送，也不会重试：{why}。"),
        (Locale::Zh, NoticeKind::Unknown { why }) => {
            format!("“{answer}”是否送达无法确认：{why}。系统不会自动重发，请向客户确认或重新发送。")
        }
    };
    format!("{NOTICE_PREFIX}{text}")
}

/// The name of a medium in a notice; `None` if the agent gets no notice.
pub(super) fn media_label(locale: Locale, kind: MediaKind) -> Option<&'static str> {
    Some(match (locale, kind) {
        (_, MediaKind::Thumb) => return None,
        (Locale::En, MediaKind::Image) => "picture",
        (Locale::En, MediaKind::Voice) => "voice message",
        (Locale::En, MediaKind::Video) => "video",
        (Locale::Ko, MediaKind::Image) => "사진",
        (Locale::Ko, MediaKind::Voice) => "음성 메시지",
        (Locale::Ko, MediaKind::Video) => "동영상",
        (Locale::Zh, MediaKind::Image) => "图片",
        (Locale::Zh, MediaKind::Voice) => "语音",
        (Locale::Zh, MediaKind::Video) => "视频",
    })
}

/// Returns the text of the notice that a customer's medium cannot be fetched.
pub(super) fn media_unavailable(locale: Locale, label: &str, why: &str) -> String {
    let text = match locale {
        Locale::En => format!("The customer's {label} cannot be shown: {why}. Ask for it again."),
        Locale::Ko => {
            format!("고객이 보낸 {label} 파일을 표시할 수 없습니다: {why}. 다시 보내 달라고 요청해 주십시오.")
        }
        Locale::Zh => format!("客户发来的{label}无法显示：{why}。请客户重新发送。"),
    };
    format!("{NOTICE_PREFIX}{text}")
}

/// Returns the notice that an element cannot go to the customer at all.
pub(super) fn untranslatable(locale: Locale, why: Untranslatable) -> String {
    let text = match (locale, why) {
        (Locale::En, Untranslatable::Call) => "WeChat customers cannot be called. Nothing was sent.",
        (Locale::Ko, Untranslatable::Call) => {
            "WeChat 고객에게는 전화를 걸 수 없습니다. 전송된 내용이 없습니다."
        }
        (Locale::Zh, Untranslatable::Call) => "无法向微信客户发起通话，未发送任何内容。",
        (Locale::En, Untranslatable::Custom) => {
            "This kind of message does not exist in WeChat. Nothing was sent."
        }
        (Locale::Ko, Untranslatable::Custom) => {
            "WeChat에는 이 종류의 메시지가 없습니다. 전송된 내용이 없습니다."
        }
        (Locale::Zh, Untranslatable::Custom) => "微信没有这种类型的消息，未发送任何内容。",
    };
    format!("{NOTICE_PREFIX}{text}")
}

/// Returns the notice that something came from the customer that the bridge could not read.
pub(super) fn unreadable(locale: Locale) -> String {
    let text = match locale {
        Locale::En => {
            "The customer sent something that the bridge could not read. Ask for it again, or look at mp.weixin.qq.com."
        }
        Locale::Ko => {
            "고객이 보낸 메시지를 읽을 수 없습니다. 다시 보내 달라고 요청하거나 mp.weixin.qq.com에서 확인해 주십시오."
        }
        Locale::Zh => "客户发来的一条消息无法读取。请客户重新发送，或到 mp.weixin.qq.com 查看。",
    };
    format!("{NOTICE_PREFIX}{text}")
}

/// Returns the notice that the customer has left; `dropped` answers had not reached the customer.
pub(super) fn customer_left(locale: Locale, dropped: usize) -> String {
    let left = match locale {
        Locale::En => "The customer has left: nothing that you write here arrives any more.",
        Locale::Ko => "고객이 떠났습니다. 여기에 작성하는 내용은 더 이상 전달되지 않습니다.",
        Locale::Zh => "客户已离开，您在此发送的内容将无法送达。",
    };
    let dropped = match (locale, dropped) {
        (_, 0) => String::new(),
        (Locale::En, 1) => " 1 message that had not been delivered is dropped.".to_owned(),
        (Locale::En, count) => format!(" {count} messages that had not been delivered are dropped."),
        (Locale::Ko, count) => format!(" 전달되지 않은 메시지 {count}개는 삭제되었습니다."),
        (Locale::Zh, count) => format!("{count}条未送达的消息已丢弃。"),
    };
    format!("{NOTICE_PREFIX}{left}{dropped}")
}

/// Returns the notice to someone who is no agent that the customer does not get the message.
pub(super) fn not_an_agent(locale: Locale) -> String {
    let text = match locale {
        Locale::En => {
            "The customer does not get your messages: your account is not one of the bridge's agents. \
             Ask the operator to add it to im.agents."
        }
        Locale::Ko => {
            "고객에게 메시지가 전달되지 않습니다. 이 계정은 브리지의 상담원이 아닙니다. 운영자에게 im.agents에 추가해 달라고 요청해 주십시오."
        }
        Locale::Zh => "客户收不到您的消息：您的账号不是客服账号。请联系管理员将其加入 im.agents。",
    };
    format!("{NOTICE_PREFIX}{text}")
}

/// Returns the notice that the customer got only the word for a medium.
pub(super) fn without_address(locale: Locale, label: &str) -> String {
    let text = match locale {
        Locale::En => format!(
            "The customer got only the word {label}: your client sent no address for the file. Send it again."
        ),
        Locale::Ko => format!(
            "고객에게 {label} 표시만 전송되었습니다. 클라이언트가 파일 주소를 보내지 않았습니다. 다시 보내 주십시오."
        ),
        Locale::Zh => format!("客户只收到了{label}字样：您的客户端没有提供文件地址。请重新发送。"),
    };
    format!("{NOTICE_PREFIX}{text}")
}

/// Returns the reason why a message is held, as the agent reads it.
pub fn hold_reason(locale: Locale, reason: HoldReason) -> &'static str {
    match (locale, reason) {
        (Locale::En, HoldReason::WindowClosed) => "the customer has not written for too long",
        (Locale::En, HoldReason::QuotaUsedUp) => {
            "WeChat allows no more messages until the customer writes again"
        }
        (Locale::En, HoldReason::NotAllowed) => "this account may answer only when the customer writes",
        (Locale::En, HoldReason::Banned) => "WeChat has restricted this account",
        (Locale::En, HoldReason::EarlierHeld) => "earlier messages are still held",
        (Locale::Ko, HoldReason::WindowClosed) => "고객이 오랫동안 메시지를 보내지 않았습니다",
        (Locale::Ko, HoldReason::QuotaUsedUp) => "고객이 다시 메시지를 보낼 때까지 더 보낼 수 없습니다",
        (Locale::Ko, HoldReason::NotAllowed) => "이 계정은 고객이 메시지를 보낼 때만 답할 수 있습니다",
        (Locale::Ko, HoldReason::Banned) => "WeChat이 이 계정을 제한했습니다",
        (Locale::Ko, HoldReason::EarlierHeld) => "이전 메시지가 아직 보류 중입니다",
        (Locale::Zh, HoldReason::WindowClosed) => "客户太久没有发来消息",
        (Locale::Zh, HoldReason::QuotaUsedUp) => "在客户再次发来消息之前，微信不允许再发送",
        (Locale::Zh, HoldReason::NotAllowed) => "此账号只能在客户发来消息时回复",
        (Locale::Zh, HoldReason::Banned) => "微信限制了此账号",
        (Locale::Zh, HoldReason::EarlierHeld) => "之前的消息仍在等待",
    }
}

/// Returns the reason why WeChat's answer is missing, as the agent reads it.
pub fn no_answer(locale: Locale, reason: NoAnswer) -> String {
    let text = match (locale, reason) {
        (Locale::En, NoAnswer::Status(status)) => {
            return format!("WeChat answered with HTTP status {status}");
        }
        (Locale::Ko, NoAnswer::Status(status)) => return format!("WeChat의 응답이 HTTP 상태 {status}입니다"),
        (Locale::Zh, NoAnswer::Status(status)) => return format!("微信返回了HTTP状态{status}"),
        (Locale::En, NoAnswer::ConnectionLost) => "the connection to WeChat broke off",
        (Locale::En, NoAnswer::Timeout) => "WeChat gave no answer in time",
        (Locale::En, NoAnswer::Unreadable) => "WeChat's answer could not be read",
        (Locale::Ko, NoAnswer::ConnectionLost) => "WeChat과의 연결이 끊어졌습니다",
        (Locale::Ko, NoAnswer::Timeout) => "WeChat의 응답이 제시간에 오지 않았습니다",
        (Locale::Ko, NoAnswer::Unreadable) => "WeChat의 응답을 읽을 수 없습니다",
        (Locale::Zh, NoAnswer::ConnectionLost) => "与微信的连接中断",
        (Locale::Zh, NoAnswer::Timeout) => "微信未及时应答",
        (Locale::Zh, NoAnswer::Unreadable) => "微信的应答无法读取",
    };
    text.to_owned()
}

/// Why the bridge or the operator ended a message, without an answer from WeChat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It waited for an attempt for 30 days, the longest that a message is kept.
    WaitedTooLong,
    /// The customer did not write for 30 days, the longest that a message is kept.
    HeldTooLong,
    /// The bridge was interrupted while it sent the message.
    Interrupted,
    /// The bridge was interrupted while the message was attached to a passive reply.
    InterruptedReply,
    /// An operator discarded it.
    Discarded,
}

/// Returns the reason why a message ended, as the agent reads it.
pub fn end_reason(locale: Locale, ended: EndReason) -> &'static str {
    match (locale, ended) {
        (Locale::En, EndReason::WaitedTooLong) => "it waited for 30 days",
        (Locale::En, EndReason::HeldTooLong) => "the customer did not write for 30 days",
        (Locale::En, EndReason::Interrupted) => "the bridge was interrupted while sending it",
        (Locale::En, EndReason::InterruptedReply) => "the bridge was interrupted while sending it in a reply",
        (Locale::En, EndReason::Discarded) => "discarded by the operator",
        (Locale::Ko, EndReason::WaitedTooLong) => "30일 동안 보내지 못했습니다",
        (Locale::Ko, EndReason::HeldTooLong) => "고객이 30일 동안 메시지를 보내지 않았습니다",
        (Locale::Ko, EndReason::Interrupted) => "보내는 도중에 브리지가 중단되었습니다",
        (Locale::Ko, EndReason::InterruptedReply) => "답장에 실어 보내는 도중에 브리지가 중단되었습니다",
        (Locale::Ko, EndReason::Discarded) => "운영자가 폐기했습니다",
        (Locale::Zh, EndReason::WaitedTooLong) => "等待发送已超过30天",
        (Locale::Zh, EndReason::HeldTooLong) => "客户30天没有发来消息",
        (Locale::Zh, EndReason::Interrupted) => "发送过程中系统中断",
        (Locale::Zh, EndReason::InterruptedReply) => "随回复发送时系统中断",
        (Locale::Zh, EndReason::Discarded) => "已被管理员丢弃",
    }
}

/// The calls of a notice.
pub fn calls(text: &str) -> Vec<OutboundCall> {
    vec![OutboundCall::TextToAgent(text.to_owned())]
}

/// The calls of a waiting notice with one more line; `None` if it became too long.
pub fn append(waiting: &[OutboundCall], text: &str) -> Option<Vec<OutboundCall>> {
    let [OutboundCall::TextToAgent(present)] = waiting else { return None };
    let more = text.strip_prefix(NOTICE_PREFIX).unwrap_or(text);
    let joined = format!("{present}\n{more}");
    (joined.len() <= MAX_NOTICE_BYTES).then(|| calls(&joined))
}

fn excerpt(answer: &str) -> String {
    let answer = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    match split_text(&answer, MAX_EXCERPT_BYTES).as_slice() {
        [] => String::new(),
        [whole] => (*whole).to_owned(),
        [first, ..] => format!("{}…", first.trim_end()),
    }
}

#[cfg(test)]
mod tests;
