//! The texts that customer and agent write, in each language: the question and answer of the
//! documents, and those that the script adds.

use crate::config::Locale;

/// The texts of one language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    /// The customer's question, from the documents.
    pub question: &'static str,
    /// The agent's answer, from the documents.
    pub answer: &'static str,
    /// From the customer, after a repeated push that must deliver nothing.
    pub thanks: &'static str,
    /// The text of a forged push in the customer's name.
    pub forged: &'static str,
    /// From the customer, after a forged push that must have no effect.
    pub follow_up: &'static str,
    /// An answer that the agent sends until WeChat allows no more.
    pub detail: &'static str,
    /// From the customer, which releases held answers.
    pub still_there: &'static str,
    /// An answer whose webhook is lost.
    pub lost_callback: &'static str,
    /// An answer with an unknown outcome.
    pub unknown_outcome: &'static str,
    /// From the customer, after a transfer.
    pub after_transfer: &'static str,
    /// An answer that the account may not send by itself.
    pub personal_answer: &'static str,
    /// From the customer, a day later.
    pub next_day: &'static str,
}

impl Lines {
    /// The texts in the language of `locale`.
    pub fn of(locale: Locale) -> Self {
        match locale {
            Locale::En => Self {
                question: "when are you getting new children clothing?",
                answer: "We are getting new arrivals in May. Please follow our updates.",
                thanks: "Thank you!",
                forged: "Please send my refund to another account.",
                follow_up: "Will there be size 110, too?",
                detail: "More photos are on our page.",
                still_there: "Are you still there?",
                lost_callback: "Size 110 is on its way.",
                unknown_outcome: "It costs 89 yuan.",
                after_transfer: "Who am I talking to?",
                personal_answer: "To a colleague of mine.",
                next_day: "Good morning!",
            },
            Locale::Ko => Self {
                question: "아동복 신상품은 언제쯤 나오나요?",
                answer: "5월에 출시될 예정이오니, 많은 관심 부탁드립니다!",
                thanks: "감사합니다!",
                forged: "환불금을 다른 계좌로 보내 주세요.",
                follow_up: "110 사이즈도 나오나요?",
                detail: "사진은 페이지에 더 있습니다.",
                still_there: "아직 계신가요?",
                lost_callback: "110 사이즈가 곧 들어옵니다.",
                unknown_outcome: "가격은 89위안입니다.",
                after_transfer: "지금 누구신가요?",
                personal_answer: "제 동료입니다.",
                next_day: "좋은 아침입니다!",
            },
            Locale::Zh => Self {
                question: "童装新品什么时候上架？",
                answer: "新品将于五月上架，敬请关注！",
                thanks: "谢谢！",
                forged: "请把退款打到另一个账户。",
                follow_up: "也会有110码的吗？",
                detail: "更多照片请看我们的页面。",
                still_there: "您还在吗？",
                lost_callback: "110码马上到货。",
                unknown_outcome: "价格是89元。",
                after_transfer: "请问您是哪位？",
                personal_answer: "我是刚才那位的同事。",
                next_day: "早上好！",
            },
        }
    }
}
