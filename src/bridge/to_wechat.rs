//! From what an agent sent to what is owed to the customer. Pure.

use crate::model::{AnswerPart, Order, parts};

/// The longest text WeChat surely takes in one message, in bytes ("Text content", "Length").
pub const TEXT_BYTES: usize = 2_000;

/// The orders that carry an agent's message to the customer, in the order of its elements.
pub fn orders(answer: &[AnswerPart]) -> Vec<Order> {
    answer.iter().flat_map(part).collect()
}

fn part(part: &AnswerPart) -> Vec<Order> {
    match part {
        AnswerPart::Text(text) => texts(text),
        AnswerPart::Image { url, .. } => texts(&lines(&["[image]", url])),
        AnswerPart::Sound { url, .. } => texts(&lines(&["[voice message]", url])),
        AnswerPart::File { url, name, .. } => texts(&lines(&["[file]", name, url])),
        AnswerPart::Video { url, .. } => texts(&lines(&["[video]", url])),
        AnswerPart::Location { latitude, longitude, description } => {
            texts(&lines(&["[location]", description, &format!("{latitude},{longitude}")]))
        }
        AnswerPart::Face { data, .. } => texts(if data.trim().is_empty() { "[sticker]" } else { data }),
        AnswerPart::Custom { data, description } => {
            texts(if description.trim().is_empty() { data } else { description })
        }
        AnswerPart::Relay { title, text, lines: digest } => {
            if text.trim().is_empty() {
                texts(&lines(&[title, &digest.join("\n")]))
            } else {
                texts(text)
            }
        }
        AnswerPart::Other { kind } => texts(&format!("[{kind}]")),
    }
}

fn lines(lines: &[&str]) -> String {
    let present: Vec<&str> = lines.iter().copied().filter(|line| !line.is_empty()).collect();
    present.join("\n")
}

/// WeChat refuses empty text, and there is nothing in it to deliver.
///
/// Control characters show nothing and would have to be written as `\u` escapes, which WeChat may refuse (40033).
fn texts(text: &str) -> Vec<Order> {
    let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')).collect();
    if text.trim().is_empty() {
        return Vec::new();
    }
    parts(&text, TEXT_BYTES).into_iter().map(|part| Order::TextToCustomer(part.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(order: &Order) -> &str {
        match order {
            Order::TextToCustomer(text) => text,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn the_parts_put_together_are_the_text(answer in "[a-z世界😀👩‍👩‍👧 \n]{0,4000}") {
            prop_assume!(!answer.trim().is_empty());
            let sent = orders(&[AnswerPart::Text(answer.clone())]);
            prop_assert!(sent.iter().all(|order| text(order).len() <= TEXT_BYTES));
            prop_assert_eq!(sent.iter().map(text).collect::<String>(), answer);
        }
    }

    #[test]
    fn elements_keep_their_order_and_empty_ones_are_dropped() {
        let sent = orders(&[
            AnswerPart::Text("first".into()),
            AnswerPart::Text("  ".into()),
            AnswerPart::File { url: "https://example.com/f".into(), size: 1, name: "a.pdf".into() },
        ]);
        assert_eq!(
            sent.iter().map(text).collect::<Vec<_>>(),
            ["first", "[file]\na.pdf\nhttps://example.com/f"]
        );
    }
}
