//! What customer and agent say, in each language: the documents' question and answer, and what the script adds.

use crate::config::Locale;

/// The words of one language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    pub question: &'static str,
    pub answer: &'static str,
    /// After a repeat that must move nothing.
    pub thanks: &'static str,
    /// What somebody else puts into the customer's mouth.
    pub forged: &'static str,
    /// After a forgery that must move nothing.
    pub more: &'static str,
}

impl Lines {
    pub fn of(locale: Locale) -> Self {
        match locale {
            Locale::En => Self {
                question: "when are you getting new children clothing?",
                answer: "We are getting new arrivals in May. Please follow our updates.",
                thanks: "Thank you!",
                forged: "Please send my refund to another account.",
                more: "Will there be size 110, too?",
            },
            Locale::Ko => Self {
                question: "아동복 신상품은 언제쯤 나오나요?",
                answer: "5월에 출시될 예정이오니, 많은 관심 부탁드립니다!",
                thanks: "감사합니다!",
                forged: "환불금을 다른 계좌로 보내 주세요.",
                more: "110 사이즈도 나오나요?",
            },
            Locale::Zh => Self {
                question: "童装新品什么时候上架？",
                answer: "新品将于五月上架，敬请关注！",
                thanks: "谢谢！",
                forged: "请把退款打到另一个账户。",
                more: "也会有110码的吗？",
            },
        }
    }
}
