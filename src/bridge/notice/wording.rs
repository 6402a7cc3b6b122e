//! The sentences of the notices about one message, in each language. Pure.

use super::NoticeKind;
use crate::config::Locale;

/// The sentence of `kind` about the message that begins with `answer`.
pub(super) fn about(locale: Locale, kind: &NoticeKind<'_>, answer: &str) -> String {
    match locale {
        Locale::En => english(kind, answer),
        Locale::Ko => korean(kind, answer),
        Locale::Zh => chinese(kind, answer),
    }
}

fn english(kind: &NoticeKind<'_>, answer: &str) -> String {
    match kind {
        NoticeKind::Held { why } => {
            format!("“{answer}” is held: {why}. It goes out as soon as the customer writes again.")
        }
        NoticeKind::Refused { why } => {
            format!("“{answer}” was not sent and will not be: {why}.")
        }
        NoticeKind::Unknown { why } => format!(
            "“{answer}” may or may not have arrived: {why}. \
             The bridge does not send it again by itself; ask the customer, or write it again."
        ),
        NoticeKind::RecalledTooLate => {
            format!("“{answer}” was recalled too late: the customer has it, and WeChat cannot take it back.")
        }
        NoticeKind::RecalledMaybeTooLate => format!(
            "“{answer}” was recalled too late: the customer may have it, and WeChat cannot take it back."
        ),
        NoticeKind::RecalledInPart => format!(
            "“{answer}” was recalled too late: the customer has the first part, and WeChat cannot take it back. \
             The rest is not sent."
        ),
        NoticeKind::EditedTooLate => {
            format!("“{answer}” was changed too late: it had left, and the customer has the old wording.")
        }
        NoticeKind::EditedToCommand => format!(
            "“{answer}” was changed into a command: it is not sent, and the command has no effect. \
             Send the command as a new message."
        ),
        NoticeKind::AsLink { why } => {
            format!("“{answer}” went to the customer as a text with a link: {why}.")
        }
        NoticeKind::AsLabel { why } => {
            format!("Of “{answer}” the customer got only the word for it: {why}. Send the file itself.")
        }
        NoticeKind::Waiting { why } => {
            format!("“{answer}” has not left yet: {why}. It goes out by itself as soon as it can.")
        }
        NoticeKind::DeliveredLate => format!("“{answer}” has been delivered now."),
        NoticeKind::CustomerRefused { why } => {
            format!("A message of the customer cannot be shown to you: {why}. Ask for it again.")
        }
        NoticeKind::CustomerUnknown { why } => {
            format!(
                "A message of the customer may not have reached you: {why}. If it is missing, ask for it again."
            )
        }
    }
}

fn korean(kind: &NoticeKind<'_>, answer: &str) -> String {
    match kind {
        NoticeKind::RecalledTooLate => format!(
            "“{answer}” 메시지는 너무 늦게 회수되었습니다: 고객이 이미 받았으며 WeChat에서는 취소할 수 없습니다."
        ),
        NoticeKind::RecalledMaybeTooLate => format!(
            "“{answer}” 메시지는 너무 늦게 회수되었습니다: 고객이 받았을 수 있으며 WeChat에서는 취소할 수 없습니다."
        ),
        NoticeKind::RecalledInPart => format!(
            "“{answer}” 메시지는 너무 늦게 회수되었습니다: 고객이 앞부분을 이미 받았으며 WeChat에서는 취소할 수 없습니다. 나머지는 보내지 않습니다."
        ),
        NoticeKind::EditedTooLate => format!(
            "“{answer}” 메시지는 너무 늦게 수정되었습니다: 이미 전송되어 고객은 수정 전 내용을 받습니다."
        ),
        NoticeKind::EditedToCommand => format!(
            "“{answer}” 메시지가 명령으로 수정되었습니다: 메시지는 전송되지 않고 명령도 실행되지 않습니다. 명령은 새 메시지로 보내 주십시오."
        ),
        NoticeKind::AsLink { why } => {
            format!("“{answer}” 파일은 링크가 포함된 텍스트로 고객에게 전송되었습니다: {why}.")
        }
        NoticeKind::AsLabel { why } => {
            format!("“{answer}” 파일 대신 표시만 고객에게 전송되었습니다: {why}. 파일을 직접 보내 주십시오.")
        }
        NoticeKind::Held { why } => {
            format!("“{answer}” 메시지가 보류되었습니다: {why}. 고객이 다시 메시지를 보내면 바로 전송됩니다.")
        }
        NoticeKind::Refused { why } => {
            format!("“{answer}” 메시지를 보내지 못했으며 다시 보내지 않습니다: {why}.")
        }
        NoticeKind::Unknown { why } => format!(
            "“{answer}” 메시지가 도착했는지 알 수 없습니다: {why}. 자동으로 다시 보내지 않으니 고객에게 확인하거나 다시 작성해 주십시오."
        ),
        NoticeKind::Waiting { why } => {
            format!("“{answer}” 메시지가 아직 전송되지 않았습니다: {why}. 가능해지면 자동으로 전송됩니다.")
        }
        NoticeKind::DeliveredLate => format!("“{answer}” 메시지가 이제 전송되었습니다."),
        NoticeKind::CustomerRefused { why } => {
            format!("고객의 메시지를 표시할 수 없습니다: {why}. 다시 보내 달라고 요청해 주십시오.")
        }
        NoticeKind::CustomerUnknown { why } => {
            format!(
                "고객의 메시지가 도착하지 않았을 수 있습니다: {why}. 보이지 않으면 다시 보내 달라고 요청해 주십시오."
            )
        }
    }
}

fn chinese(kind: &NoticeKind<'_>, answer: &str) -> String {
    match kind {
        NoticeKind::RecalledTooLate => {
            format!("“{answer}”撤回太晚：客户已经收到，微信无法撤回。")
        }
        NoticeKind::RecalledMaybeTooLate => {
            format!("“{answer}”撤回太晚：客户可能已经收到，微信无法撤回。")
        }
        NoticeKind::RecalledInPart => {
            format!("“{answer}”撤回太晚：客户已经收到前一部分，微信无法撤回；其余部分不再发送。")
        }
        NoticeKind::EditedTooLate => {
            format!("“{answer}”修改太晚：消息已经发出，客户看到的是修改前的内容。")
        }
        NoticeKind::EditedToCommand => {
            format!("“{answer}”被改成了命令：消息不再发送，命令也不会执行。请将命令作为新消息发送。")
        }
        NoticeKind::AsLink { why } => format!("“{answer}”已改为带链接的文字发给客户：{why}。"),
        NoticeKind::AsLabel { why } => {
            format!("客户只收到了“{answer}”的类型字样：{why}。请直接发送文件。")
        }
        NoticeKind::Held { why } => {
            format!("“{answer}”已暂存：{why}。客户再次发来消息后会立即送出。")
        }
        NoticeKind::Refused { why } => format!("“{answer}”未能发送，也不会重试：{why}。"),
        NoticeKind::Unknown { why } => {
            format!("“{answer}”是否送达无法确认：{why}。系统不会自动重发，请向客户确认或重新发送。")
        }
        NoticeKind::Waiting { why } => {
            format!("“{answer}”尚未发出：{why}。恢复后会自动发送。")
        }
        NoticeKind::DeliveredLate => format!("“{answer}”现已送达。"),
        NoticeKind::CustomerRefused { why } => {
            format!("客户的一条消息无法显示：{why}。请客户重新发送。")
        }
        NoticeKind::CustomerUnknown { why } => {
            format!("客户的一条消息可能没有送达：{why}。如未看到，请客户重新发送。")
        }
    }
}
