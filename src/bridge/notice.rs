//! The bridge's own notices to an agent, in the conversation that they are about. Pure.

mod budget;
mod card;
mod reason;
pub(super) mod time_left;
mod unanswered;
mod wording;

use crate::config::Locale;
use crate::media::download::Forbidden;
use crate::model::{MediaKind, MessageId, OutboundCall, Untranslatable, split_text};

use super::translate::NOTICE_PREFIX;

pub(super) use budget::budget;
pub(super) use card::bad_card;
pub use reason::{EndReason, end_reason, hold_reason, no_answer, waits_in_line};
pub(super) use unanswered::{goes_to_another, waits_for_answer, window_closes};

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
    /// The customer got only the word for the file.
    AsLabel {
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
    /// It has waited for long, and still does.
    Waiting {
        /// The reason, as the agent reads it.
        why: &'a str,
    },
    /// It was delivered after the agent was told that it waits.
    DeliveredLate,
    /// A message of the customer will not reach the agent.
    CustomerRefused {
        /// The reason, as the agent reads it.
        why: &'a str,
    },
    /// A message of the customer may or may not have reached the agent.
    CustomerUnknown {
        /// The reason, as the agent reads it.
        why: &'a str,
    },
}

/// Returns the text of a notice about message `id`. About an agent's message, it quotes the
/// beginning of `answer`.
pub fn text(locale: Locale, kind: &NoticeKind<'_>, id: MessageId, answer: &str) -> String {
    text_of_all(locale, kind, &[id], answer)
}

/// The same about several messages that shared a call, whose words together are `answer`.
pub(super) fn text_of_all(locale: Locale, kind: &NoticeKind<'_>, ids: &[MessageId], answer: &str) -> String {
    let numbers = ids.iter().map(|id| format!("#{id} ")).collect::<Vec<_>>().concat();
    match kind {
        // The customer's words are not quoted: they may be the reason of the refusal.
        NoticeKind::CustomerRefused { .. } | NoticeKind::CustomerUnknown { .. } => {
            format!("{NOTICE_PREFIX}{numbers}{}", wording::about(locale, kind, ""))
        }
        _ => format!("{NOTICE_PREFIX}{numbers}{}", wording::about(locale, kind, &excerpt(answer))),
    }
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
             Ask the operator to make it one."
        }
        Locale::Ko => {
            "고객에게 메시지가 전달되지 않습니다. 이 계정은 브리지의 상담원이 아닙니다. 운영자에게 상담원으로 추가해 달라고 요청해 주십시오."
        }
        Locale::Zh => "客户收不到您的消息：您的账号不是客服账号。请联系管理员将其设为客服。",
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

/// Returns the notice that the customer does not read the address of a file, because of `why`.
pub(super) fn refused_address(locale: Locale, label: &str, why: Forbidden) -> String {
    let text = match locale {
        Locale::En => format!("The customer got only the word {label}: {why}. Send the file itself."),
        Locale::Ko => {
            format!("고객에게 {label} 표시만 전송되었습니다: {why}. 파일을 직접 보내 주십시오.")
        }
        Locale::Zh => format!("客户只收到了{label}字样：{why}。请直接发送文件。"),
    };
    format!("{NOTICE_PREFIX}{text}")
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
