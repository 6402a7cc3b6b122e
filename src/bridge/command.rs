//! The commands that an agent can send in a customer's conversation. Pure; `effect` carries them
//! out.

pub(super) mod effect;
mod words;

use unicode_normalization::UnicodeNormalization as _;

use super::emoji;
use super::impersonation::is_invisible;
use crate::model::{AnswerPart, ImUserId};

/// The characters that begin a command: what the slash key gives on a keyboard for English, and on one for Chinese with
/// wide or with narrow punctuation.
const SLASHES: [char; 3] = ['/', '／', '、'];

/// The names of all commands.
const NAMES: [&str; 4] = ["who", "to", "close", "help"];

/// The longest name that a notice repeats, in characters.
const MAX_NAME_CHARS: usize = 20;

/// A command. A text that begins like one never goes to the customer, whatever follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Show the conversation's agent, the remaining sends and the number of held messages.
    Who,
    /// Assign the conversation to this agent; `None` if no UserID can have that name.
    To(Option<ImUserId>),
    /// End the conversation. The customer's next message begins a new one.
    Close,
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
    let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (name, argument) = (name.nfkc().flat_map(char::to_lowercase).collect::<String>(), argument.trim());
    Some(match (name.as_str(), argument) {
        // A UserID may contain spaces.
        ("to", agent) if !agent.is_empty() && others.is_empty() => Command::To(ImUserId::new(agent).ok()),
        ("who", "") if others.is_empty() => Command::Who,
        ("close", "") if others.is_empty() => Command::Close,
        (name, ..) if NAMES.contains(&name) => Command::Help,
        (name, ..) => Command::Unknown {
            nearest: nearest(name),
            name: name.chars().take(MAX_NAME_CHARS).filter(|c| !c.is_control()).collect(),
        },
    })
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

fn nearest(name: &str) -> &'static str {
    let distance = |known: &&&str| strsim::damerau_levenshtein(name, known);
    NAMES.iter().min_by_key(distance).copied().unwrap_or("help")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Option<Command> {
        parse(&[AnswerPart::Text(text.to_owned())])
    }

    #[test]
    fn commands_are_parsed_and_other_text_goes_to_the_customer() {
        let user2 = Command::To(ImUserId::new("user2").ok());
        for (text, command) in [
            ("/who", Command::Who),
            (" /WHO \n", Command::Who),
            ("/to user2", user2.clone()),
            ("/To  user2 ", user2),
            ("/to Anna Li", Command::To(ImUserId::new("Anna Li").ok())),
            ("/to \u{4e8c}", Command::To(None)),
            ("/close", Command::Close),
            ("/help", Command::Help),
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
        for text in ["/to", "/to ", "/close the door", "/who are you", "/help me"] {
            assert_eq!(parse_text(text), Some(Command::Help), "{text:?}");
        }
        let with_picture = [AnswerPart::Text("/who".into()), AnswerPart::Other { kind: "x".into() }];
        assert_eq!(parse(&with_picture), Some(Command::Help));
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
