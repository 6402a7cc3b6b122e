//! The commands that an agent can send in a customer's conversation. Pure; `effect` carries them
//! out.

pub(super) mod canned;
mod close;
mod drop;
pub(super) mod effect;
mod help;
mod history;
mod name;
mod note;
mod retry;
mod to;
pub(super) mod words;

use unicode_normalization::UnicodeNormalization as _;

use super::emoji;
use super::impersonation::is_invisible;
use crate::model::AnswerPart;
use name::Name;

/// The characters that begin a command: what the slash key gives on a keyboard for English, and on one for Chinese with
/// wide or with narrow punctuation.
const SLASHES: [char; 3] = ['/', '／', '、'];

/// The longest name that a notice repeats, in characters.
const MAX_NAME_CHARS: usize = 20;

/// A command. A text that begins like one never goes to the customer, whatever follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Show the conversation's agent, the remaining sends and the number of held messages.
    Who,
    /// Assign the conversation to the agent or the group of this name.
    To(String),
    /// End the conversation. The customer's next message begins a new one.
    Close,
    /// Keep these words for other agents.
    Note(String),
    /// List the canned replies.
    Replies,
    /// Send the canned reply of this name. One that exists becomes a message before this is carried out.
    Reply(String),
    /// Show the customer's last messages.
    History,
    /// Send the messages again that failed.
    Retry,
    /// Give up the messages that are held.
    Drop,
    /// Explain the commands. Also used for a command with wrong arguments.
    Help,
    /// There is no such command.
    Unknown {
        /// What was typed after the slash, at most 20 characters.
        name: String,
        /// The command whose name is the most similar.
        nearest: &'static str,
    },
}

/// Parses an agent's message; `None` if it is not a command.
pub(super) fn parse(parts: &[AnswerPart]) -> Option<Command> {
    let [AnswerPart::Text(text), others @ ..] = parts else { return None };
    let rest = after_slash(text)?;
    if !rest.starts_with(char::is_alphabetic) || emoji::starts_with_wechat_name(rest) {
        return None;
    }
    let (typed, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let typed = folded(typed);
    let typed = typed.trim_end_matches(':');
    let found = name::find(typed).map(|name| (name, argument)).or_else(|| name::split_chinese(rest));
    let Some((name, argument)) = found else {
        return Some(Command::Unknown {
            nearest: name::nearest(typed),
            name: typed.chars().take(MAX_NAME_CHARS).filter(|c| !c.is_control()).collect(),
        });
    };
    let argument = argument.trim_start_matches(is_separator).trim_end();
    Some(match (name, argument) {
        _ if !others.is_empty() => Command::Help,
        (Name::Who, "") => Command::Who,
        (Name::Close, "") => Command::Close,
        (Name::Reply, "") => Command::Replies,
        (Name::History, "") => Command::History,
        (Name::Retry, "") => Command::Retry,
        (Name::Drop, "") => Command::Drop,
        // A UserID may contain spaces, and so may the name of a group.
        (Name::To, agent) if !agent.is_empty() => Command::To(agent.to_owned()),
        (Name::Note, words) if !words.is_empty() => Command::Note(words.to_owned()),
        (Name::Reply, reply) => Command::Reply(reply.to_owned()),
        // The help itself, and whatever has too many or too few words.
        _ => Command::Help,
    })
}

/// A typed name as it is compared: in lower case, without the wide forms of letters.
fn folded(name: &str) -> String {
    name.nfkc().flat_map(char::to_lowercase).collect()
}

/// What may stand between a command and its argument.
fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, ':' | '：')
}

/// Removes the first of two slashes, with which an agent sends a text that begins with one.
pub(super) fn unescape(parts: &mut [AnswerPart]) {
    let Some(AnswerPart::Text(text)) = parts.first_mut() else { return };
    if let Some(rest) = after_slash(text).filter(|rest| rest.starts_with(SLASHES)) {
        *text = rest.to_owned();
    }
}

/// What follows the slash that `text` begins with. Characters that are not drawn may stand before it.
fn after_slash(text: &str) -> Option<&str> {
    text.trim_start_matches(is_invisible).strip_prefix(SLASHES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Option<Command> {
        parse(&[AnswerPart::Text(text.to_owned())])
    }

    #[test]
    fn commands_are_parsed_and_other_text_goes_to_the_customer() {
        let user2 = Command::To("user2".to_owned());
        for (text, command) in [
            ("/who", Command::Who),
            (" /WHO \n", Command::Who),
            ("/to user2", user2.clone()),
            ("/To  user2 ", user2),
            ("/to Anna Li", Command::To("Anna Li".to_owned())),
            ("/to \u{4e8c}", Command::To("\u{4e8c}".to_owned())),
            ("/close", Command::Close),
            ("/help", Command::Help),
            ("/note wants an invoice\nby mail ", Command::Note("wants an invoice\nby mail".to_owned())),
            ("/Note: wants an invoice", Command::Note("wants an invoice".to_owned())),
            ("/r", Command::Replies),
            ("/R Opening hours", Command::Reply("Opening hours".to_owned())),
            ("/history", Command::History),
            ("/retry", Command::Retry),
            ("/drop", Command::Drop),
            ("/查询", Command::Who),
            ("、转接 user2", Command::To("user2".to_owned())),
            ("/转接售后", Command::To("售后".to_owned())),
            ("/结束", Command::Close),
            ("／备注　要发票", Command::Note("要发票".to_owned())),
            ("/备注客户要发票 急", Command::Note("客户要发票 急".to_owned())),
            ("/备注：要发票", Command::Note("要发票".to_owned())),
            ("/快捷", Command::Replies),
            ("/快捷营业时间", Command::Reply("营业时间".to_owned())),
            ("/历史", Command::History),
            ("/重发", Command::Retry),
            ("/丢弃", Command::Drop),
            ("/帮助", Command::Help),
            ("/조회", Command::Who),
            ("/\u{110c}\u{1169}\u{1112}\u{116c}", Command::Who),
            ("/이관 user2", Command::To("user2".to_owned())),
            ("/종료", Command::Close),
            ("/메모 세금계산서", Command::Note("세금계산서".to_owned())),
            ("/답변 영업시간", Command::Reply("영업시간".to_owned())),
            ("/이력", Command::History),
            ("/재전송", Command::Retry),
            ("/폐기", Command::Drop),
            ("/도움말", Command::Help),
            ("／who", Command::Who),
            ("、who", Command::Who),
            ("／ｗｈｏ", Command::Who),
            ("\u{200b}\u{feff} /who", Command::Who),
        ] {
            assert_eq!(parse_text(text), Some(command), "{text:?}");
        }
        for text in ["who", "/", "//who", "see /who", "", "/::)", "/:rose", "/微笑", "/ who", "/5"] {
            assert_eq!(parse_text(text), None, "{text:?}");
        }
        let after_picture = [AnswerPart::Other { kind: "x".into() }, AnswerPart::Text("/who".into())];
        assert_eq!(parse(&after_picture), None);
    }

    #[test]
    fn a_text_with_two_slashes_loses_the_first() {
        for (typed, sent) in [
            ("//who", "/who"),
            ("\u{200b}//who", "/who"),
            ("／／who", "／who"),
            ("///", "//"),
            ("/who", "/who"),
            ("/::)", "/::)"),
            ("a//b", "a//b"),
        ] {
            let mut parts = [AnswerPart::Text(typed.into())];
            unescape(&mut parts);
            assert_eq!(parts, [AnswerPart::Text(sent.into())], "{typed:?}");
        }
    }

    #[test]
    fn malformed_commands_are_explained_and_never_sent() {
        for text in [
            "/to",
            "/to ",
            "/close the door",
            "/who are you",
            "/help me",
            "/note",
            "/备注：",
            "/history 5",
            "/retry 17",
            "/drop it",
        ] {
            assert_eq!(parse_text(text), Some(Command::Help), "{text:?}");
        }
        for text in ["/who", "/note see this", "/r hours"] {
            let with_picture = [AnswerPart::Text(text.into()), AnswerPart::Other { kind: "x".into() }];
            assert_eq!(parse(&with_picture), Some(Command::Help), "{text}");
        }
    }

    #[test]
    fn a_mistyped_command_names_the_nearest_one() {
        for (typed, name, nearest) in
            [("/whose", "whose", "who"), ("/colse", "colse", "close"), ("/t user2", "t", "to")]
        {
            let name = name.to_owned();
            assert_eq!(parse_text(typed), Some(Command::Unknown { name, nearest }), "{typed}");
        }
        for typed in ["/tomorrow we open at 9", "/关闭", "、明天九点开门"] {
            assert!(matches!(parse_text(typed), Some(Command::Unknown { .. })), "{typed}");
        }
    }
}
