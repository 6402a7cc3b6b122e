//! The names of the commands: English ones, and what Chinese and Korean desks call the same. Pure.

use std::cmp::max;

use crate::config::Locale;

/// The longest typed name that is compared with the known ones, in characters. The comparison takes time in proportion.
const MAX_COMPARED_CHARS: usize = 40;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Who,
    To,
    Close,
    Note,
    Reply,
    History,
    Retry,
    Drop,
    Help,
}

/// The names of one command, without the slash.
struct Names {
    name: Name,
    english: &'static str,
    chinese: &'static str,
    korean: &'static str,
}

const fn names(name: Name, english: &'static str, chinese: &'static str, korean: &'static str) -> Names {
    Names { name, english, chinese, korean }
}

/// All commands, in the order of `/help`. No name may begin with the name of an emoji, which WeChat draws after a slash.
const NAMES: [Names; 9] = [
    names(Name::Who, "who", "查询", "조회"),
    names(Name::To, "to", "转接", "이관"),
    names(Name::Close, "close", "结束", "종료"),
    names(Name::Note, "note", "备注", "메모"),
    names(Name::Reply, "r", "快捷", "답변"),
    names(Name::History, "history", "历史", "이력"),
    names(Name::Retry, "retry", "重发", "재전송"),
    names(Name::Drop, "drop", "丢弃", "폐기"),
    names(Name::Help, "help", "帮助", "도움말"),
];

/// The command of this name, which is in lower case.
pub(super) fn find(typed: &str) -> Option<Name> {
    let is_it = |names: &&Names| [names.english, names.chinese, names.korean].contains(&typed);
    NAMES.iter().find(is_it).map(|names| names.name)
}

/// Splits what follows the slash at the end of a Chinese name, after which nobody types a space. Only for commands that
/// take words.
pub(super) fn split_chinese(typed: &str) -> Option<(Name, &str)> {
    NAMES
        .iter()
        .filter(|names| matches!(names.name, Name::To | Name::Note | Name::Reply))
        .find_map(|names| Some((names.name, typed.strip_prefix(names.chinese)?)))
}

/// The name that agents of this locale read in `/help`: the English one, with theirs behind it.
pub(super) fn shown(name: Name, locale: Locale) -> String {
    let Some(names) = NAMES.iter().find(|names| names.name == name) else { return String::new() };
    match locale {
        Locale::En => format!("/{}", names.english),
        Locale::Ko => format!("/{} (/{})", names.english, names.korean),
        Locale::Zh => format!("/{}（/{}）", names.english, names.chinese),
    }
}

/// The known name that is the most similar to this one, which is in lower case; that of the help if none is.
pub(super) fn nearest(typed: &str) -> &'static str {
    let known = NAMES.iter().flat_map(|names| [names.english, names.chinese, names.korean]);
    nearest_of(typed, known).unwrap_or("help")
}

/// The one of `known` that is the most similar to `typed`; `None` if no character is at its place in any.
pub(super) fn nearest_of<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: String = typed.chars().take(MAX_COMPARED_CHARS).collect();
    let length = typed.chars().count();
    let distances = known.into_iter().map(|name| (strsim::damerau_levenshtein(&typed, name), name));
    let similar = distances.filter(|(distance, name)| *distance < max(length, name.chars().count()));
    similar.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::emoji;

    #[test]
    fn every_name_finds_its_command_and_no_other() {
        let all = NAMES
            .iter()
            .flat_map(|names| [names.english, names.chinese, names.korean].map(|typed| (typed, names.name)));
        let all: Vec<_> = all.collect();
        for (typed, name) in &all {
            assert_eq!(find(typed), Some(*name), "{typed}");
            assert_eq!(all.iter().filter(|(other, _)| other == typed).count(), 1, "{typed}");
        }
        assert_eq!(find("whose"), None);
    }

    #[test]
    fn no_name_is_one_of_an_emoji_that_wechat_draws() {
        for names in &NAMES {
            for typed in [names.english, names.chinese, names.korean] {
                assert!(!emoji::starts_with_wechat_name(typed), "{typed}");
            }
        }
    }

    #[test]
    fn the_nearest_name_shares_something_with_what_was_typed() {
        for (typed, expected) in [
            ("colse", "close"),
            ("nots", "note"),
            ("histroy", "history"),
            ("retyr", "retry"),
            ("备住", "备注"),
            ("转街", "转接"),
            ("메묘", "메모"),
            ("关闭", "help"),
            ("q", "help"),
            (&"x".repeat(10_000), "help"),
        ] {
            assert_eq!(nearest(typed), expected, "{typed:.20}");
        }
    }

    #[test]
    fn agents_read_the_names_of_their_language() {
        assert_eq!(shown(Name::Note, Locale::En), "/note");
        assert_eq!(shown(Name::Note, Locale::Ko), "/note (/메모)");
        assert_eq!(shown(Name::Note, Locale::Zh), "/note（/备注）");
    }
}
