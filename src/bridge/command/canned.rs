//! `/r`: the canned replies. One that exists becomes a message like a typed one, in `from_agent`; this lists them, and
//! says that there is none of a name.

use std::collections::BTreeMap;

use super::effect::Effect;
use super::folded;
use super::name::nearest_of;
use crate::bridge::translate::{NOTICE_PREFIX, one_line};
use crate::config::Locale;
use crate::model::{AnswerPart, Card};
use crate::store::{Customer, StoreError, Tx};

/// The canned replies: the text of each name.
pub(in crate::bridge) type Replies = BTreeMap<String, String>;

/// The longest list, in bytes: a notice has at most 2,000.
const MAX_LIST_BYTES: usize = 1_900;
/// How much of a reply is listed, in characters.
const LISTED_CHARS: usize = 40;
/// The longest name that a notice repeats, in characters.
const MAX_NAME_CHARS: usize = 40;

/// The reply of this name, in whatever case it is typed.
pub(in crate::bridge) fn find<'a>(replies: &'a Replies, typed: &str) -> Option<&'a str> {
    let typed = folded(typed);
    replies.iter().find(|(name, _)| folded(name) == typed).map(|(_, text)| text.as_str())
}

/// What the customer gets of a reply: a card if it is written as one.
pub(in crate::bridge) fn part(reply: &str) -> AnswerPart {
    match Card::of_text(reply) {
        None => AnswerPart::Text(reply.to_owned()),
        Some(Ok(card)) => AnswerPart::Card(card),
        Some(Err(problem)) => AnswerPart::BadCard(problem),
    }
}

impl Effect<'_> {
    /// Lists the replies with their beginnings.
    pub(super) fn list_replies(&self, tx: &Tx<'_>, customer: &Customer) -> Result<(), StoreError> {
        self.reply(tx, customer, &list(self.locale(), &self.inner.settings.replies))
    }

    /// Says that no reply has this name, and which one has a similar one.
    pub(super) fn reject_reply(
        &self,
        tx: &Tx<'_>,
        customer: &Customer,
        typed: &str,
    ) -> Result<(), StoreError> {
        self.reply(tx, customer, &unknown(self.locale(), &self.inner.settings.replies, typed))
    }
}

fn list(locale: Locale, replies: &Replies) -> String {
    if replies.is_empty() {
        return none(locale);
    }
    let mut text = match locale {
        Locale::En => format!("{NOTICE_PREFIX}Canned replies. /r NAME sends one:"),
        Locale::Ko => format!("{NOTICE_PREFIX}빠른 답변 목록. /r 이름을 입력하면 전송됩니다:"),
        Locale::Zh => format!("{NOTICE_PREFIX}快捷回复。输入 /r 名称 即可发送："),
    };
    for (name, reply) in replies {
        let card = Card::of_text(reply).and_then(Result::ok);
        let words = card.as_ref().map_or(reply.as_str(), Card::title);
        let line = format!("\n{}: {}", one_line(name, MAX_NAME_CHARS), one_line(words, LISTED_CHARS));
        if text.len() + line.len() > MAX_LIST_BYTES {
            text.push_str("\n…");
            break;
        }
        text.push_str(&line);
    }
    text
}

fn unknown(locale: Locale, replies: &Replies, typed: &str) -> String {
    // By their folded names, because the case of a name counts for nothing.
    let folded_names: BTreeMap<String, &str> =
        replies.keys().map(|name| (folded(name), name.as_str())).collect();
    let all = folded_names.keys().map(String::as_str);
    let nearest = nearest_of(&folded(typed), all).or_else(|| folded_names.keys().next().map(String::as_str));
    let Some(nearest) = nearest.and_then(|name| folded_names.get(name)) else { return none(locale) };
    let (typed, nearest) = (one_line(typed, MAX_NAME_CHARS), one_line(nearest, MAX_NAME_CHARS));
    let text = match locale {
        Locale::En => {
            format!(
                "Not sent: there is no canned reply “{typed}”. Did you mean /r {nearest}? All of them: /r"
            )
        }
        Locale::Ko => format!(
            "전송되지 않았습니다: “{typed}” 빠른 답변은 없습니다. /r {nearest}을(를) 입력하려 하셨습니까? 전체 목록: /r"
        ),
        Locale::Zh => format!("未发出：没有快捷回复“{typed}”。是否要输入 /r {nearest}？全部快捷回复：/r"),
    };
    format!("{NOTICE_PREFIX}{text}")
}

fn none(locale: Locale) -> String {
    let text = match locale {
        Locale::En => {
            "There are no canned replies. The operator adds them to the configuration, below [replies]."
        }
        Locale::Ko => "등록된 빠른 답변이 없습니다. 운영자가 설정의 [replies] 아래에 추가합니다.",
        Locale::Zh => "没有快捷回复。由管理员在配置的 [replies] 下添加。",
    };
    format!("{NOTICE_PREFIX}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replies(names: impl IntoIterator<Item = &'static str>) -> Replies {
        names.into_iter().map(|name| (name.to_owned(), format!("the text of {name}"))).collect()
    }

    #[test]
    fn a_name_is_found_in_any_case_and_width() {
        let replies = replies(["Hours", "营业时间", "Opening hours"]);
        for (typed, found) in [
            ("hours", Some("the text of Hours")),
            ("ＨＯＵＲＳ", Some("the text of Hours")),
            ("营业时间", Some("the text of 营业时间")),
            ("OPENING HOURS", Some("the text of Opening hours")),
            ("hour", None),
            ("", None),
        ] {
            assert_eq!(find(&replies, typed), found, "{typed}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let replies = replies(["Hours", "return"]);
        for locale in [Locale::En, Locale::Ko, Locale::Zh] {
            assert!(unknown(locale, &replies, "HOUR").contains("/r Hours"));
            assert!(unknown(locale, &replies, "retrun").contains("/r return"));
            assert!(unknown(locale, &replies, &"没".repeat(3_000)).len() < 500);
            assert!(unknown(locale, &Replies::new(), "hours").contains("[replies]"));
        }
    }

    #[test]
    fn the_list_fits_into_one_message() {
        let many = (0..500).map(|n| (format!("name {n:03}"), "很长的一段话\n".repeat(100))).collect();
        for locale in [Locale::En, Locale::Ko, Locale::Zh] {
            let text = list(locale, &many);
            assert!(
                text.len() <= 2_000 && text.contains("\nname 000: 很长的一段话 很长") && text.ends_with('…')
            );
            assert!(list(locale, &replies(["hours"])).ends_with("\nhours: the text of hours"));
            assert!(list(locale, &Replies::new()).contains("[replies]"));
        }
    }
}
