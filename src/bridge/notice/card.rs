//! The notice about a card that WeChat would not take. Pure.

use crate::bridge::translate::NOTICE_PREFIX;
use crate::config::Locale;
use crate::model::CardProblem;

/// Returns the notice that a card was not sent, and what is wrong with it.
pub(in crate::bridge) fn bad_card(locale: Locale, problem: CardProblem) -> String {
    let why = match (locale, problem) {
        (Locale::En, _) => problem.to_string(),
        (Locale::Ko, CardProblem::NotJson) => "올바른 JSON이 아닙니다".to_owned(),
        (Locale::Ko, CardProblem::UnknownKind) => {
            "wx 값이 news, miniprogrampage, msgmenu 중 하나가 아닙니다".to_owned()
        }
        (Locale::Ko, CardProblem::Missing(member)) => {
            format!("{} 값이 없거나 비어 있거나 문자열이 아닙니다", member.name())
        }
        (Locale::Ko, CardProblem::TooLong(member)) => format!("{} 값이 너무 깁니다", member.name()),
        (Locale::Ko, CardProblem::NotUrl(member)) => {
            format!("{} 값이 http 또는 https URL이 아닙니다", member.name())
        }
        (Locale::Ko, CardProblem::Strange(member)) => {
            format!("{} 값에 쓸 수 없는 문자가 있습니다", member.name())
        }
        (Locale::Ko, CardProblem::TooManyItems) => "list 항목이 20개를 넘습니다".to_owned(),
        (Locale::Zh, CardProblem::NotJson) => "不是有效的JSON".to_owned(),
        (Locale::Zh, CardProblem::UnknownKind) => "wx不是news、miniprogrampage或msgmenu".to_owned(),
        (Locale::Zh, CardProblem::Missing(member)) => format!("{}缺失、为空或不是文字", member.name()),
        (Locale::Zh, CardProblem::TooLong(member)) => format!("{}太长", member.name()),
        (Locale::Zh, CardProblem::NotUrl(member)) => format!("{}不是http或https网址", member.name()),
        (Locale::Zh, CardProblem::Strange(member)) => format!("{}含有不允许的字符", member.name()),
        (Locale::Zh, CardProblem::TooManyItems) => "list超过20项".to_owned(),
    };
    let text = match locale {
        Locale::En => format!("The card was not sent: {why}."),
        Locale::Ko => format!("카드를 보내지 않았습니다: {why}."),
        Locale::Zh => format!("卡片未发送：{why}。"),
    };
    format!("{NOTICE_PREFIX}{text}")
}
