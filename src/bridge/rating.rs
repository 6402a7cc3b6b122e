//! The words by which a customer is asked for a rating, and by which its agent reads it. Pure.

use super::translate::NOTICE_PREFIX;
use crate::config::Locale;
use crate::model::{MenuItem, OutboundCall, Rating, RatingId};

/// A customer is not asked again within this, milliseconds.
pub(super) const ASK_INTERVAL_MS: i64 = 24 * 3600 * 1000;

/// The menu that asks.
pub(super) fn menu(locale: Locale, id: RatingId) -> OutboundCall {
    let head = match locale {
        Locale::En => "How satisfied are you with our service?",
        Locale::Ko => "상담에 만족하셨나요?",
        Locale::Zh => "您对本次服务满意吗？",
    };
    let item = |rating: Rating| MenuItem { id: id.menu_id(rating), content: word(locale, rating).to_owned() };
    OutboundCall::MenuToCustomer {
        head: head.to_owned(),
        items: Rating::ALL.into_iter().map(item).collect(),
        tail: String::new(),
    }
}

/// The reply to a tap.
pub(super) fn thanks(locale: Locale) -> &'static str {
    match locale {
        Locale::En => "Thank you for your rating.",
        Locale::Ko => "평가해 주셔서 감사합니다.",
        Locale::Zh => "感谢您的评价。",
    }
}

/// The line to the agent who was rated.
pub(super) fn line(locale: Locale, rating: Rating) -> String {
    let word = word(locale, rating);
    match locale {
        Locale::En => format!("{NOTICE_PREFIX}The customer's rating: {word}."),
        Locale::Ko => format!("{NOTICE_PREFIX}고객 평가: {word}."),
        Locale::Zh => format!("{NOTICE_PREFIX}客户评价：{word}。"),
    }
}

/// What the customer taps.
fn word(locale: Locale, rating: Rating) -> &'static str {
    match (locale, rating) {
        (Locale::En, Rating::Satisfied) => "Satisfied",
        (Locale::En, Rating::SoSo) => "So-so",
        (Locale::En, Rating::NotSatisfied) => "Not satisfied",
        (Locale::Ko, Rating::Satisfied) => "만족",
        (Locale::Ko, Rating::SoSo) => "보통",
        (Locale::Ko, Rating::NotSatisfied) => "불만족",
        (Locale::Zh, Rating::Satisfied) => "满意",
        (Locale::Zh, Rating::SoSo) => "一般",
        (Locale::Zh, Rating::NotSatisfied) => "不满意",
    }
}
