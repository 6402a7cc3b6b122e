//! `/history`: shows the agent who asks what was said before, also in earlier conversations, and also what the agent
//! has received already.
//!
//! It is told in messages of now, not imported into the history as a transfer does it: a client does not show what is
//! imported while the conversation is open, and IM keeps nothing that is older than a week.

use super::effect::Effect;
use super::words::note_by;
use crate::bridge::notice::time_left::minute;
use crate::bridge::translate::{NOTICE_PREFIX, TEXT_BYTES};
use crate::config::Locale;
use crate::model::{Direction, ImUserId, MessageKind, OutboundCall, split_text};
use crate::store::{Customer, NewMessage, PastMessage, StoreError, Tx};

/// The most messages shown.
const MAX_MESSAGES: u32 = 20;
/// The most bytes shown, so that an agent gets few messages. The oldest ones are left out first.
const MAX_BYTES: usize = 16_000;

impl Effect<'_> {
    /// Enqueues the customer's last messages, behind all that already waits for an agent.
    pub(super) fn show_history(&self, tx: &Tx<'_>, mut customer: Customer) -> Result<(), StoreError> {
        let past = tx.last_messages(&customer.openid, MAX_MESSAGES)?;
        let texts = &self.inner.settings.texts;
        let calls = calls(texts.locale, &texts.inquiry_prefix, &past);
        let count = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        tx.add(&NewMessage {
            direction: Direction::ToIm,
            kind: MessageKind::Notice,
            openid: customer.openid.clone(),
            agent: Some(self.sender.clone()),
            calls,
            msg_seq: customer.next_seq,
            msg_random: self.random[0],
            source: self.source.to_owned(),
            erase: false,
        })?;
        // IM orders the messages of one second by their numbers.
        customer.next_seq = customer.next_seq.wrapping_add(count);
        tx.put_customer(&customer)
    }
}

/// The messages to the agent: a headline, and a line for each past message, in as few as possible.
fn calls(locale: Locale, inquiry_prefix: &str, past: &[PastMessage]) -> Vec<OutboundCall> {
    let headline = match (locale, past) {
        (Locale::En, []) => "Nothing was said before.",
        (Locale::Ko, []) => "지난 대화가 없습니다.",
        (Locale::Zh, []) => "之前没有对话。",
        (Locale::En, _) => "What was said before (times are UTC):",
        (Locale::Ko, _) => "지난 대화(시각은 UTC):",
        (Locale::Zh, _) => "之前的对话（时间为UTC）：",
    };
    let lines: Vec<String> = past.iter().map(|message| line(locale, inquiry_prefix, message)).collect();
    let mut bytes = 0;
    let fit_count = lines
        .iter()
        .rev()
        .take_while(|line| {
            bytes += line.len();
            bytes <= MAX_BYTES
        })
        .count();
    // The last message is shown whatever its size.
    let first = lines.len() - fit_count.max(1).min(lines.len());
    let all = std::iter::once(headline).chain(lines[first..].iter().map(String::as_str));
    let text = all.collect::<Vec<_>>().join("\n");
    let parts = split_text(&text, TEXT_BYTES - NOTICE_PREFIX.len()).into_iter();
    parts.map(|part| OutboundCall::TextToAgent(format!("{NOTICE_PREFIX}{part}"))).collect()
}

/// When it was said, by whom, and the words.
fn line(locale: Locale, inquiry_prefix: &str, message: &PastMessage) -> String {
    let author = message.agent.as_ref().map_or("", ImUserId::as_str);
    let words = message.calls.iter().filter_map(words).collect::<Vec<_>>().join("\n");
    let said = match (message.kind, message.direction) {
        (MessageKind::Note, _) => note_by(locale, author, &words),
        (_, Direction::ToWechat) => format!("{author}: {words}"),
        (_, Direction::ToIm) => {
            let customer = match locale {
                Locale::En => "customer",
                Locale::Ko => "고객",
                Locale::Zh => "客户",
            };
            format!("{customer}: {}", words.strip_prefix(inquiry_prefix).unwrap_or(&words))
        }
    };
    format!("{} {said}", minute(message.accepted_at))
}

/// The words of a past call, and a link to its file; `None` if it has none.
fn words(call: &OutboundCall) -> Option<String> {
    Some(match call {
        OutboundCall::TextToAgent(text)
        | OutboundCall::CardToAgent { text, .. }
        | OutboundCall::TextToCustomer(text)
        | OutboundCall::Note(text) => text.clone(),
        OutboundCall::LocationToAgent { latitude, longitude, description } => {
            format!("{description}\n{latitude},{longitude}")
        }
        OutboundCall::MediaToAgent(info) => info.as_text(),
        OutboundCall::CardToCustomer { card, .. } => card.summary(),
        OutboundCall::MediaToCustomer(_) | OutboundCall::MenuToCustomer { .. } => {
            call.text_for_customer()?.into_owned()
        }
        OutboundCall::FirstLineToAgent(_)
        | OutboundCall::ImportAccount
        | OutboundCall::DeleteAccount
        | OutboundCall::EarlierMessageToAgent { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;

    fn said(direction: Direction, calls: Vec<OutboundCall>) -> PastMessage {
        PastMessage {
            kind: MessageKind::Message,
            direction,
            agent: ImUserId::new("user1").ok(),
            calls,
            accepted_at: Millis(1_700_000_000_000),
        }
    }

    fn text(call: &OutboundCall) -> &str {
        match call {
            OutboundCall::TextToAgent(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_line_says_when_and_who_without_the_prefix_of_inquiries() {
        let past = [
            said(Direction::ToIm, vec![OutboundCall::TextToAgent("Q: size M?".into())]),
            said(
                Direction::ToWechat,
                vec![
                    OutboundCall::TextToCustomer("Yes.".into()),
                    OutboundCall::TextToCustomer("Red?".into()),
                ],
            ),
            PastMessage {
                kind: MessageKind::Note,
                ..said(Direction::ToIm, vec![OutboundCall::Note("pays late".into())])
            },
        ];
        let shown = calls(Locale::En, "Q: ", &past);
        assert_eq!(shown.len(), 1);
        let expected = [
            "[bridge] What was said before (times are UTC):",
            "11-14 22:13 UTC customer: size M?",
            "11-14 22:13 UTC user1: Yes.",
            "Red?",
            "11-14 22:13 UTC note by user1: pays late",
        ];
        assert_eq!(text(&shown[0]).lines().collect::<Vec<_>>(), expected);
        for locale in [Locale::En, Locale::Ko, Locale::Zh] {
            assert!(text(&calls(locale, "", &[])[0]).starts_with(NOTICE_PREFIX));
        }
    }

    #[test]
    fn a_long_history_loses_its_oldest_messages_and_every_part_fits() {
        for (count, size, parts) in [(20, 3_000, 3), (1, 30_000, 4)] {
            let past: Vec<PastMessage> = (0..count)
                .map(|n| {
                    let words = format!("m{n:02}{}", "字".repeat(size / 3));
                    said(Direction::ToIm, vec![OutboundCall::TextToAgent(words)])
                })
                .collect();
            let shown = calls(Locale::Zh, "", &past);
            assert_eq!(shown.len(), parts);
            assert!(
                shown
                    .iter()
                    .map(text)
                    .all(|text| text.starts_with(NOTICE_PREFIX) && text.len() <= TEXT_BYTES)
            );
            let all: String =
                shown.iter().map(|call| text(call).strip_prefix(NOTICE_PREFIX).unwrap()).collect();
            assert!(all.contains(&format!("m{:02}", count - 1)) && all.len() >= size);
            assert_eq!(all.contains("m00"), count == 1, "the oldest ones are left out");
        }
    }
}
