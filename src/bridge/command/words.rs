//! The replies to the commands about the conversation itself, in the configured locale. Pure.

use crate::bridge::notice;
use crate::bridge::notice::time_left::{duration, minute};
use crate::bridge::quota::{Budget, NoBudget};
use crate::bridge::translate::NOTICE_PREFIX;
use crate::config::{Group, Locale};
use crate::model::{HoldReason, ImUserId, Millis};
use crate::store::Line;

/// The most agents named in one notice.
const MAX_NAMED: usize = 20;
/// The most bytes of the names of groups in one notice.
const MAX_GROUPS_BYTES: usize = 200;

/// The reply to a command.
#[derive(Clone, Copy, Debug)]
pub(in crate::bridge) enum CommandReply<'a> {
    /// There is no such command; nothing was sent.
    NoSuchCommand { name: &'a str, nearest: &'a str },
    /// Shows the state of the conversation.
    Who {
        agent: Option<&'a ImUserId>,
        budget: Result<Budget, HoldReason>,
        held: u32,
        line: Line,
        now: Millis,
    },
    /// The conversation has ended.
    Closed,
    /// There is no such agent.
    NoSuchAgent { agents: &'a [ImUserId], groups: &'a [Group] },
    /// Nobody of the group is there who could take the conversation.
    NobodyThere { group: &'a str },
    /// The agent already has the conversation.
    AlreadyAssigned { agent: &'a ImUserId },
    /// The conversation now belongs to that agent.
    HandedOver { agent: &'a ImUserId },
    /// Tells the new agent that the conversation is now theirs.
    Assigned { by: &'a ImUserId },
}

/// Returns the text of the notice.
pub(in crate::bridge) fn text(locale: Locale, reply: CommandReply<'_>) -> String {
    let text = match (locale, reply) {
        (_, CommandReply::Who { agent, budget: left, held, line, now }) => {
            let state = state_text(locale, agent, left, held, now);
            format!("{state}{}", line_text(locale, line, now))
        }
        (Locale::En, CommandReply::NoSuchCommand { name, nearest }) => format!(
            "Not sent: there is no command /{name}. Did you mean /{nearest}? To send a text that begins with /, \
             type // in place of the first /. All commands: /help"
        ),
        (Locale::En, CommandReply::Closed) => {
            "Closed. The customer's next message begins a new conversation.".to_owned()
        }
        (Locale::En, CommandReply::NoSuchAgent { agents, groups }) => {
            format!(
                "There is no such agent or group. Agents: {}{}",
                names(agents),
                groups_text(locale, groups)
            )
        }
        (Locale::En, CommandReply::NobodyThere { group }) => {
            format!("Not handed over: no other agent of {group} is there. /to AGENT hands it over even so.")
        }
        (Locale::En, CommandReply::AlreadyAssigned { agent }) => {
            format!("{agent} already has this conversation.")
        }
        (Locale::En, CommandReply::HandedOver { agent }) => {
            format!("This is {agent}'s conversation from now on.")
        }
        (Locale::En, CommandReply::Assigned { by }) => {
            format!("This conversation is now yours (assigned by {by}).")
        }
        (Locale::Ko, CommandReply::NoSuchCommand { name, nearest }) => format!(
            "전송되지 않았습니다: /{name} 명령은 없습니다. /{nearest}을(를) 입력하려 하셨습니까? /로 시작하는 내용을 \
             보내려면 맨 앞에 //를 입력하십시오. 모든 명령: /help"
        ),
        (Locale::Ko, CommandReply::Closed) => {
            "대화를 종료했습니다. 고객의 다음 메시지부터 새 대화가 시작됩니다.".to_owned()
        }
        (Locale::Ko, CommandReply::NoSuchAgent { agents, groups }) => {
            format!(
                "그런 상담원이나 그룹이 없습니다. 상담원: {}{}",
                names(agents),
                groups_text(locale, groups)
            )
        }
        (Locale::Ko, CommandReply::NobodyThere { group }) => format!(
            "넘기지 않았습니다: {group} 그룹에 지금 있는 다른 상담원이 없습니다. /to 상담원을 입력하면 그래도 넘길 수 있습니다."
        ),
        (Locale::Ko, CommandReply::AlreadyAssigned { agent }) => {
            format!("이미 {agent} 님이 담당하는 대화입니다.")
        }
        (Locale::Ko, CommandReply::HandedOver { agent }) => {
            format!("이제부터 {agent} 님이 이 대화를 담당합니다.")
        }
        (Locale::Ko, CommandReply::Assigned { by }) => {
            format!("{by} 님이 이 대화를 넘겼습니다. 이제부터 담당하십니다.")
        }
        (Locale::Zh, CommandReply::NoSuchCommand { name, nearest }) => format!(
            "未发出：没有命令/{name}。是否要输入/{nearest}？要发送以/开头的文字，请在开头输入//。全部命令：/help"
        ),
        (Locale::Zh, CommandReply::Closed) => "会话已结束，客户的下一条消息将开始新会话。".to_owned(),
        (Locale::Zh, CommandReply::NoSuchAgent { agents, groups }) => {
            format!("没有这位客服或分组。客服：{}{}", names(agents), groups_text(locale, groups))
        }
        (Locale::Zh, CommandReply::NobodyThere { group }) => {
            format!("未转交：{group}没有其他客服在线。输入/to 客服名仍可转交。")
        }
        (Locale::Zh, CommandReply::AlreadyAssigned { agent }) => format!("此会话已由{agent}负责。"),
        (Locale::Zh, CommandReply::HandedOver { agent }) => format!("此会话从现在起由{agent}负责。"),
        (Locale::Zh, CommandReply::Assigned { by }) => format!("{by}将此会话转交给您，从现在起由您负责。"),
    };
    format!("{NOTICE_PREFIX}{text}")
}

fn state_text(
    locale: Locale,
    agent: Option<&ImUserId>,
    budget: Result<Budget, HoldReason>,
    held: u32,
    now: Millis,
) -> String {
    let owner = match (locale, agent) {
        (Locale::En, Some(agent)) => format!("{agent}'s conversation."),
        (Locale::En, None) => "No agent has this conversation.".to_owned(),
        (Locale::Ko, Some(agent)) => format!("담당: {agent}."),
        (Locale::Ko, None) => "담당 상담원이 없습니다.".to_owned(),
        (Locale::Zh, Some(agent)) => format!("由{agent}负责。"),
        (Locale::Zh, None) => "无人负责。".to_owned(),
    };
    let budget_text = match budget {
        Ok(Budget { sends, until }) => {
            let (time, until) = (duration(locale, until, now), minute(until));
            match locale {
                Locale::En => format!("Messages left: {sends}, for {time} (until {until})."),
                Locale::Ko => format!("남은 메시지: {sends}건, {time} 동안({until}까지)."),
                Locale::Zh => format!("剩余可发：{sends}条，{time}内（至{until}）。"),
            }
        }
        Err(reason) => {
            let reason_text = match (locale, reason) {
                // Nothing else here says when it ends.
                (Locale::En, HoldReason::QuotaUsedUp) => {
                    "WeChat allows no more messages until the customer writes again"
                }
                (Locale::Ko, HoldReason::QuotaUsedUp) => {
                    "고객이 다시 메시지를 보낼 때까지 더 보낼 수 없습니다"
                }
                (Locale::Zh, HoldReason::QuotaUsedUp) => "在客户再次发来消息之前，微信不允许再发送",
                _ => notice::hold_reason(locale, reason),
            };
            match locale {
                Locale::En => format!("Messages left: 0, {reason_text}."),
                Locale::Ko => format!("남은 메시지: 0건, {reason_text}."),
                Locale::Zh => format!("剩余可发：0条，{reason_text}。"),
            }
        }
    };
    let held_text = match locale {
        Locale::En => format!("Held: {held}."),
        Locale::Ko => format!("보류: {held}건."),
        Locale::Zh => format!("暂存：{held}条。"),
    };
    format!("{owner} {budget_text} {held_text}")
}

/// Who waits for an agent.
fn line_text(locale: Locale, line: Line, now: Millis) -> String {
    let Line { length, since: Some(since) } = line else { return String::new() };
    let time = duration(locale, now, since);
    match locale {
        Locale::En => format!(" In line: {length}, the first for {time}."),
        Locale::Ko => format!(" 대기: {length}명, 가장 오래 기다린 시간 {time}."),
        Locale::Zh => format!("排队：{length}人，最久已等{time}。"),
    }
}

/// A note as other agents read it.
pub(in crate::bridge) fn note_by(locale: Locale, author: &str, words: &str) -> String {
    match locale {
        Locale::En => format!("note by {author}: {words}"),
        Locale::Ko => format!("{author} 님의 메모: {words}"),
        Locale::Zh => format!("{author}的备注：{words}"),
    }
}

/// The agents' names, as far as a notice has room for them.
pub(super) fn names(agents: &[ImUserId]) -> String {
    let more = if agents.len() > MAX_NAMED { ", …" } else { "" };
    let names: Vec<&str> = agents.iter().take(MAX_NAMED).map(ImUserId::as_str).collect();
    format!("{}{more}", names.join(", "))
}

/// The names of the groups behind those of the agents, as far as a notice has room for them; empty if there are none.
pub(super) fn groups_text(locale: Locale, groups: &[Group]) -> String {
    let mut text = String::new();
    for group in groups {
        let separator = if text.is_empty() { "" } else { ", " };
        if text.len() + group.name.len() > MAX_GROUPS_BYTES {
            text.push_str(separator);
            text.push('…');
            break;
        }
        text.push_str(separator);
        text.push_str(&group.name);
    }
    match locale {
        _ if text.is_empty() => text,
        Locale::En => format!("; groups: {text}"),
        Locale::Ko => format!("; 그룹: {text}"),
        Locale::Zh => format!("；分组：{text}"),
    }
}

/// Converts the reason why nothing may be sent into the reason used in notices.
pub(super) fn hold_reason(no_budget: NoBudget) -> HoldReason {
    match no_budget {
        NoBudget::WindowClosed => HoldReason::WindowClosed,
        NoBudget::UsedUp => HoldReason::QuotaUsedUp,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// More groups than a notice has room for.
    pub(in crate::bridge::command) fn many_groups() -> Vec<Group> {
        let group = |n| Group {
            name: format!("售后{n:02}"),
            agents: Vec::new(),
            scenes: Vec::new(),
            menu: Vec::new(),
            words: Vec::new(),
        };
        (0..50).map(group).collect()
    }

    #[test]
    fn every_command_reply_has_the_prefix_in_every_locale() {
        let agents: Vec<ImUserId> = (0..100).map(|n| ImUserId::new(format!("{n:032}")).unwrap()).collect();
        let agent = &agents[7];
        let budget = Ok(Budget { sends: 4, until: Millis(172_800_000) });
        let groups = many_groups();
        for locale in [Locale::En, Locale::Ko, Locale::Zh] {
            for (reply, words) in [
                (
                    CommandReply::NoSuchCommand { name: "colse", nearest: "close" },
                    vec!["/colse", "/close", "//", "/help"],
                ),
                (
                    CommandReply::NoSuchAgent { agents: &agents, groups: &groups },
                    vec![agent.as_str(), "…", "售后07"],
                ),
                (CommandReply::NobodyThere { group: "售后" }, vec!["售后", "/to "]),
                (CommandReply::AlreadyAssigned { agent }, vec![agent.as_str()]),
                (CommandReply::HandedOver { agent }, vec![agent.as_str()]),
                (CommandReply::Assigned { by: agent }, vec![agent.as_str()]),
                (CommandReply::Closed, vec![]),
                (
                    CommandReply::Who {
                        agent: Some(agent),
                        budget,
                        held: 2,
                        line: Line { length: 7, since: Some(Millis(0)) },
                        now: Millis(60_001),
                    },
                    vec![agent.as_str(), "4", "47", "59", "01-03 00:00 UTC", "2", "7"],
                ),
                (
                    CommandReply::Who {
                        agent: None,
                        budget: Err(HoldReason::WindowClosed),
                        held: 0,
                        line: Line::default(),
                        now: Millis(0),
                    },
                    vec!["0", notice::hold_reason(locale, HoldReason::WindowClosed)],
                ),
            ] {
                let text = text(locale, reply);
                assert!(text.starts_with(NOTICE_PREFIX) && text.len() <= 2_000, "{text}");
                assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
            }
        }
    }
}
