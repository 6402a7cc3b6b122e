//! `/help`: one line for each command, with the names of the agent's language. Pure.

use super::name::{Name, shown};
use super::words::{groups_text, names};
use crate::bridge::translate::NOTICE_PREFIX;
use crate::config::{Group, Locale};
use crate::model::ImUserId;

/// Returns the text of the notice, which fits into one message.
pub(super) fn text(locale: Locale, agents: &[ImUserId], groups: &[Group]) -> String {
    let name = |name| shown(name, locale);
    let agents = format!("{}{}", names(agents), groups_text(locale, groups));
    let (who, to, close, note) = (name(Name::Who), name(Name::To), name(Name::Close), name(Name::Note));
    let (reply, history, retry) = (name(Name::Reply), name(Name::History), name(Name::Retry));
    let (drop, help) = (name(Name::Drop), name(Name::Help));
    let text = match locale {
        Locale::En => format!(
            "{who}: whose conversation this is, what may still be sent and until when, what is held\n\
             {to} AGENT or {to} GROUP: hands it over; agents: {agents}\n\
             {close}: ends it; the customer's next message begins a new one\n\
             {note} TEXT: keeps a note for agents; the customer does not get it\n\
             {reply}: lists the canned replies; {reply} NAME: sends one\n\
             {history}: shows what was said before\n\
             {retry}: sends again what was refused or may not have arrived\n\
             {drop}: gives up what is held\n\
             {help}: this\n\
             //TEXT: sends /TEXT to the customer; any other text that begins with / is not sent"
        ),
        Locale::Ko => format!(
            "{who}: 담당 상담원, 남은 발송 횟수와 기한, 보류된 메시지\n\
             {to} 상담원 또는 그룹: 대화를 넘깁니다. 상담원: {agents}\n\
             {close}: 대화를 끝냅니다. 고객의 다음 메시지는 새 대화가 됩니다\n\
             {note} 내용: 상담원용 메모를 남깁니다. 고객에게는 전송되지 않습니다\n\
             {reply}: 빠른 답변 목록, 뒤에 이름을 쓰면 그 답변을 보냅니다\n\
             {history}: 지난 대화를 보여 줍니다\n\
             {retry}: 거부되었거나 도착이 확인되지 않은 메시지를 다시 보냅니다\n\
             {drop}: 보류된 메시지를 폐기합니다\n\
             {help}: 이 안내\n\
             //내용: /내용을 고객에게 보냅니다. /로 시작하는 다른 내용은 전송되지 않습니다"
        ),
        Locale::Zh => format!(
            "{who}：会话归属、剩余可发条数和期限、暂存的消息\n\
             {to} 客服或分组：转交会话，客服：{agents}\n\
             {close}：结束会话，客户下一条消息将开始新会话\n\
             {note} 文字：为客服留下备注，不会发给客户\n\
             {reply}：列出快捷回复；后加名称则发送该条\n\
             {history}：显示之前的对话\n\
             {retry}：重发被拒绝或未确认送达的消息\n\
             {drop}：丢弃暂存的消息\n\
             {help}：本说明\n\
             //文字：把/文字发给客户；其他以/开头的文字不会发出"
        ),
    };
    format!("{NOTICE_PREFIX}{text}")
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::many_groups;
    use super::*;

    #[test]
    fn the_help_has_every_command_and_fits_into_one_message_in_every_locale() {
        let agents: Vec<ImUserId> = (0..100).map(|n| ImUserId::new(format!("{n:032}")).unwrap()).collect();
        for (locale, alias) in [(Locale::En, "//TEXT"), (Locale::Ko, "/재전송"), (Locale::Zh, "/重发")] {
            let text = text(locale, &agents, &many_groups());
            assert!(text.starts_with(NOTICE_PREFIX) && text.len() <= 2_000, "{} bytes: {text}", text.len());
            let all = ["/who", "/to", "/close", "/note", "/r", "/history", "/retry", "/drop", "/help", "//"];
            for name in all.into_iter().chain([alias, agents[7].as_str(), "…", "售后07"]) {
                assert!(text.contains(name), "{name} in {text}");
            }
        }
    }
}
