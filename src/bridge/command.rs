//! The commands that an agent can send in a customer's conversation. Pure; `effect` carries them
//! out.

pub(super) mod effect;
mod words;

use crate::model::{AnswerPart, ImUserId};

/// A command. A text that only begins like a command is an ordinary text and goes to the customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Show the conversation's agent, the remaining sends and the number of held messages.
    Who,
    /// Assign the conversation to this agent; `None` if no UserID can have that name.
    To(Option<ImUserId>),
    /// End the conversation. The customer's next message begins a new one.
    Close,
    /// Explain the commands. Also used for a command with wrong arguments: an explanation is better
    /// than sending the text to a customer.
    Help,
}

/// Parses an agent's message; `None` if it is not a command.
pub(super) fn parse(parts: &[AnswerPart]) -> Option<Command> {
    let [AnswerPart::Text(text)] = parts else { return None };
    let mut words = text.split_whitespace();
    let (name, argument, rest) = (words.next()?, words.next(), words.next());
    match (name.to_ascii_lowercase().as_str(), argument, rest) {
        ("/to", Some(agent), None) => Some(Command::To(ImUserId::new(agent).ok())),
        ("/who", None, None) => Some(Command::Who),
        ("/close", None, None) => Some(Command::Close),
        ("/to" | "/who" | "/close" | "/help", ..) => Some(Command::Help),
        _ => None,
    }
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
            ("/to \u{4e8c}", Command::To(None)),
            ("/close", Command::Close),
            ("/help", Command::Help),
        ] {
            assert_eq!(parse_text(text), Some(command), "{text:?}");
        }
        for text in ["who", "/whose", "/", "//who", "/sizes", "see /who", "", "/tomorrow we open at 9"] {
            assert_eq!(parse_text(text), None, "{text:?}");
        }
        let with_picture = [AnswerPart::Text("/who".into()), AnswerPart::Other { kind: "x".into() }];
        assert_eq!(parse(&with_picture), None);
    }

    #[test]
    fn malformed_commands_are_explained_and_never_sent() {
        for text in ["/to", "/to user2 please", "/close the door", "/who are you", "/help me"] {
            assert_eq!(parse_text(text), Some(Command::Help), "{text:?}");
        }
    }
}
