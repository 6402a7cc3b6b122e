//! The reasons in notices: why a message is held, ended or waits, as the agent reads them. Pure.

use crate::config::Locale;
use crate::model::{HoldReason, NoAnswer};

/// Returns the reason why a message is held, as the agent reads it.
pub fn hold_reason(locale: Locale, reason: HoldReason) -> &'static str {
    match (locale, reason) {
        (Locale::En, HoldReason::WindowClosed) => "the customer has not written for too long",
        (Locale::En, HoldReason::QuotaUsedUp) => "WeChat allows no more messages for now",
        (Locale::En, HoldReason::NotAllowed) => "this account may answer only when the customer writes",
        (Locale::En, HoldReason::Banned) => "WeChat has restricted this account",
        (Locale::En, HoldReason::EarlierHeld) => "earlier messages are still held",
        (Locale::Ko, HoldReason::WindowClosed) => "고객이 오랫동안 메시지를 보내지 않았습니다",
        (Locale::Ko, HoldReason::QuotaUsedUp) => "WeChat이 허용하는 메시지를 모두 보냈습니다",
        (Locale::Ko, HoldReason::NotAllowed) => "이 계정은 고객이 메시지를 보낼 때만 답할 수 있습니다",
        (Locale::Ko, HoldReason::Banned) => "WeChat이 이 계정을 제한했습니다",
        (Locale::Ko, HoldReason::EarlierHeld) => "이전 메시지가 아직 보류 중입니다",
        (Locale::Zh, HoldReason::WindowClosed) => "客户太久没有发来消息",
        (Locale::Zh, HoldReason::QuotaUsedUp) => "微信目前不允许再发送",
        (Locale::Zh, HoldReason::NotAllowed) => "此账号只能在客户发来消息时回复",
        (Locale::Zh, HoldReason::Banned) => "微信限制了此账号",
        (Locale::Zh, HoldReason::EarlierHeld) => "之前的消息仍在暂存",
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
    /// An agent dropped it.
    Dropped,
    /// IM answered none of several sends, and does not have the message.
    Unanswered,
    /// The customer's IM account could not be made for too long.
    NoAccount,
    /// Its processing failed because of a bug.
    Panicked,
    /// It has no content.
    Blank,
}

/// Returns the reason why a message ended, as the agent reads it.
pub fn end_reason(locale: Locale, ended: EndReason) -> &'static str {
    match (locale, ended) {
        (Locale::En, EndReason::WaitedTooLong) => "it waited for 30 days",
        (Locale::En, EndReason::HeldTooLong) => "the customer did not write for 30 days",
        (Locale::En, EndReason::Interrupted) => "the bridge was interrupted while sending it",
        (Locale::En, EndReason::InterruptedReply) => "the bridge was interrupted while sending it in a reply",
        (Locale::En, EndReason::Discarded) => "discarded by the operator",
        (Locale::En, EndReason::Dropped) => "dropped by an agent",
        (Locale::En, EndReason::Unanswered) => "IM answered none of the attempts and does not have it",
        (Locale::En, EndReason::NoAccount) => "the customer's IM account could not be made",
        (Locale::En, EndReason::Panicked) => "an internal error of the bridge",
        (Locale::En, EndReason::Blank) => "it is blank",
        (Locale::Ko, EndReason::WaitedTooLong) => "30일 동안 보내지 못했습니다",
        (Locale::Ko, EndReason::HeldTooLong) => "고객이 30일 동안 메시지를 보내지 않았습니다",
        (Locale::Ko, EndReason::Interrupted) => "보내는 도중에 브리지가 중단되었습니다",
        (Locale::Ko, EndReason::InterruptedReply) => "답장에 실어 보내는 도중에 브리지가 중단되었습니다",
        (Locale::Ko, EndReason::Discarded) => "운영자가 폐기했습니다",
        (Locale::Ko, EndReason::Dropped) => "상담원이 폐기했습니다",
        (Locale::Ko, EndReason::Unanswered) => "IM이 여러 번의 전송에 응답하지 않았고 기록에도 없습니다",
        (Locale::Ko, EndReason::NoAccount) => "고객의 IM 계정을 만들 수 없었습니다",
        (Locale::Ko, EndReason::Panicked) => "브리지 내부 오류입니다",
        (Locale::Ko, EndReason::Blank) => "내용이 없습니다",
        (Locale::Zh, EndReason::WaitedTooLong) => "等待发送已超过30天",
        (Locale::Zh, EndReason::HeldTooLong) => "客户30天没有发来消息",
        (Locale::Zh, EndReason::Interrupted) => "发送过程中系统中断",
        (Locale::Zh, EndReason::InterruptedReply) => "随回复发送时系统中断",
        (Locale::Zh, EndReason::Discarded) => "已被管理员丢弃",
        (Locale::Zh, EndReason::Dropped) => "已被客服丢弃",
        (Locale::Zh, EndReason::Unanswered) => "IM多次未应答，历史记录中也没有",
        (Locale::Zh, EndReason::NoAccount) => "无法创建客户的IM账号",
        (Locale::Zh, EndReason::Panicked) => "系统内部错误",
        (Locale::Zh, EndReason::Blank) => "内容为空",
    }
}

/// Returns the reason why a message waits for which no failure is known.
pub fn waits_in_line(locale: Locale) -> &'static str {
    match locale {
        Locale::En => "earlier messages of the conversation still wait",
        Locale::Ko => "대화의 이전 메시지가 아직 대기 중입니다",
        Locale::Zh => "该对话中之前的消息仍在等待",
    }
}
