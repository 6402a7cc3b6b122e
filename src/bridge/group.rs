//! Groups of agents: which one a customer belongs to, by a QR code, a menu key, words, or a tap on the menu that asks for
//! it. Pure.

use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;

use super::Settings;
use crate::config::{Group, Locale};
use crate::model::{Content, ImUserId, MenuItem, OutboundCall, VisitAction};

/// The digits with which the id of a menu item begins that is a group. WeChat gives ids back without quotes, so that they
/// must be numbers.
const MENU_PREFIX: &str = "7701";
/// How many digits follow.
const MENU_DIGITS: usize = 10;
/// Scripts from here on are written without spaces between words, or with endings that stick to them.
const FIRST_WITHOUT_SPACES: char = '\u{0e00}';

impl Settings {
    /// The group of this name; `None` if it is no longer configured.
    pub(super) fn group(&self, name: Option<&str>) -> Option<&Group> {
        self.desk.groups.iter().find(|group| Some(group.name.as_str()) == name)
    }

    /// The agents who serve the customers of this group; of a customer without one, all.
    pub(super) fn members(&self, group: Option<&str>) -> &[ImUserId] {
        members(&self.agents, &self.desk.groups, group)
    }

    /// The group that a scan or a tap in the account's menu leads to.
    pub(super) fn group_of_action(&self, action: &VisitAction) -> Option<&Group> {
        let leads = |entries: &[String], key: &str| entries.iter().any(|entry| folded(entry) == folded(key));
        self.desk.groups.iter().find(|group| match action {
            VisitAction::Scan(scene) => leads(&group.scenes, scene),
            VisitAction::Tap(key) => leads(&group.menu, key),
        })
    }

    /// The first group one of whose words a message contains.
    pub(super) fn group_of_words(&self, content: &Content) -> Option<&Group> {
        let text = match content {
            Content::Text { content, .. } => content,
            Content::Voice { recognition: Some(words), .. } => words,
            _ => return None,
        };
        if self.desk.groups.is_empty() {
            return None;
        }
        let text = folded(text);
        self.desk.groups.iter().find(|group| group.words.iter().any(|word| contains(&text, &folded(word))))
    }

    /// The group that agents mean by this name.
    pub(super) fn group_named(&self, typed: &str) -> Option<&Group> {
        self.desk.groups.iter().find(|group| folded(&group.name) == folded(typed))
    }

    /// The group of a customer whom an agent of `group` hands to this agent by name: the same if the agent serves it.
    pub(super) fn group_after_hand_over(&self, group: Option<String>, agent: &ImUserId) -> Option<String> {
        let serves = |group: &&Group| group.agents.contains(agent);
        match self.group(group.as_deref()) {
            Some(own) if own.agents.contains(agent) => group,
            _ => self.desk.groups.iter().find(serves).map(|group| group.name.clone()),
        }
    }

    /// The menu that asks a new follower for the group; `None` if nobody is asked.
    pub(super) fn group_menu(&self) -> Option<OutboundCall> {
        if self.desk.asked.is_empty() {
            return None;
        }
        let head = match self.texts.locale {
            Locale::En => "What can we help you with? Please tap one:",
            Locale::Ko => "무엇을 도와드릴까요? 항목을 눌러 주세요.",
            Locale::Zh => "请问您想咨询什么？请点选：",
        };
        let item = |name: &String| MenuItem { id: menu_id(name), content: name.clone() };
        Some(OutboundCall::MenuToCustomer {
            head: head.to_owned(),
            items: self.desk.asked.iter().map(item).collect(),
            tail: String::new(),
        })
    }

    /// The group behind the id of a menu item that is a group, if there still is one.
    pub(super) fn group_of_menu_id(&self, id: &str) -> Option<&Group> {
        self.desk.groups.iter().find(|group| menu_id(&group.name) == id.trim())
    }
}

/// The agents who serve the customers of `group`: all, if it is no longer configured.
pub(super) fn members<'a>(all: &'a [ImUserId], groups: &'a [Group], group: Option<&str>) -> &'a [ImUserId] {
    let found = groups.iter().find(|known| Some(known.name.as_str()) == group);
    found.map_or(all, |group| group.agents.as_slice())
}

/// Whether the id of a menu item is that of a group, perhaps of one that is gone.
pub(super) fn is_menu_id(id: &str) -> bool {
    let digits = id.trim().strip_prefix(MENU_PREFIX);
    digits.is_some_and(|rest| rest.len() == MENU_DIGITS && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The id of a group's menu item: the same as long as the group has its name.
fn menu_id(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let number = digest.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    format!("{MENU_PREFIX}{number:0MENU_DIGITS$}")
}

/// The reply to a tap on the menu. `group`: its name; `None` if it is gone.
pub(super) fn chosen(locale: Locale, group: Option<&str>) -> String {
    match (locale, group) {
        (Locale::En, Some(group)) => {
            format!("You have chosen {group}. Please write to us, and an agent will answer.")
        }
        (Locale::En, None) => {
            "This choice is not offered any more. Please write to us, and an agent will answer.".to_owned()
        }
        (Locale::Ko, Some(group)) => {
            format!("{group}: 선택되었습니다. 메시지를 남겨 주시면 상담원이 답변해 드립니다.")
        }
        (Locale::Ko, None) => {
            "더 이상 제공되지 않는 항목입니다. 메시지를 남겨 주시면 상담원이 답변해 드립니다.".to_owned()
        }
        (Locale::Zh, Some(group)) => format!("您已选择{group}，请直接留言，客服会为您解答。"),
        (Locale::Zh, None) => "该选项已失效，请直接留言，客服会为您解答。".to_owned(),
    }
}

/// A name, key or word as it is compared: without white space around it, in lower case, without the wide forms of letters.
fn folded(text: &str) -> String {
    text.trim().nfkc().flat_map(char::to_lowercase).collect()
}

/// Whether `text` contains `word`; both are folded. A word in a script with spaces between words must stand by itself:
/// `art` is not in `start`.
fn contains(text: &str, word: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() && c < FIRST_WITHOUT_SPACES);
    let (begins, ends) = (joins(word.chars().next()), joins(word.chars().next_back()));
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            !(begins && joins(before) || ends && joins(after))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_letters_stands_by_itself_and_others_are_found_anywhere() {
        for (text, word, expected) in [
            ("I want a REFUND!", "refund", true),
            ("Two refunds", "refund", false),
            ("start", "art", false),
            ("art", "art", true),
            ("the start of art.", "art", true),
            ("我想退货谢谢", "退货", true),
            ("退", "退货", false),
            ("iPhone15坏了", "坏了", true),
            ("我的iphone坏了", "iPhone", true),
            ("환불해 주세요", "환불", true),
            ("ＲＥＦＵＮＤ please", "refund", true),
            ("order no. 15", "15", true),
            ("order no. 150", "15", false),
            ("anything", " ", false),
            ("is it broken or not", "broken or", true),
        ] {
            assert_eq!(contains(&folded(text), &folded(word)), expected, "{word} in {text}");
        }
    }

    #[test]
    fn an_id_of_the_menu_is_a_number_and_is_known_when_its_group_is_gone() {
        let ids: Vec<String> = ["Sales", "sales", "售后服务", "환불"].into_iter().map(menu_id).collect();
        for (at, id) in ids.iter().enumerate() {
            assert!(id.len() == 14 && id.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
            assert!(is_menu_id(id) && is_menu_id(&format!(" {id} ")) && !ids[..at].contains(id));
        }
        for id in ["", "101", "7701", "77000000000001", "7701000000001", "770100000000a1", "770100000000011"]
        {
            assert!(!is_menu_id(id), "{id}");
        }
    }

    #[test]
    fn the_reply_to_a_tap_names_the_group_in_every_language() {
        for locale in [Locale::En, Locale::Ko, Locale::Zh] {
            assert!(chosen(locale, Some("Sales")).contains("Sales"));
            assert_ne!(chosen(locale, None), chosen(locale, Some("")));
        }
    }
}
