//! The texts that customers and agents read, one set for each language.

use super::choice::Locale;

/// The texts in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// The language of the default texts and of the bridge's notices.
    pub locale: Locale,
    /// The reply to a new follower.
    pub welcome: String,
    /// The reply to a message that goes to an agent.
    pub transferring: String,
    /// The prefix of a customer's text, as the agent sees it. May be empty.
    pub inquiry_prefix: String,
    /// The reply to a customer who waits in line, with [`AHEAD`]. Empty: none.
    pub queued: String,
    /// The reply outside the working hours, with [`OPENS`]. Empty: none.
    pub away: String,
}

/// Stands in [`Texts::queued`] for the number of customers before this one.
pub(super) const AHEAD: &str = "{ahead}";
/// Stands in [`Texts::away`] for the time at which the desk opens.
pub(super) const OPENS: &str = "{opens}";
/// Stands for the shop's name until it is set.
const NO_NAME: &str = "XX";
/// The longest words that replace either of them, in bytes.
const LONGEST_WORDS: usize = 64;

/// The maximum length of a text, in bytes of UTF-8: WeChat's limit for one text to a customer.
pub(super) const MAX_BYTES: usize = 2000;

impl Texts {
    /// The default texts of `locale`.
    pub fn defaults(locale: Locale, shop_name: &str) -> Self {
        let (welcome, transferring, inquiry_prefix, queued, away) = match locale {
            Locale::En => (
                format!("Thanks for following {shop_name}. We want to offer you the best service."),
                "Transferring you to a customer service agent, please wait.",
                "Inquiry from a WeChat subscription account: ",
                "All our agents are busy. Customers ahead of you: {ahead}. Please wait, it will be your turn.",
                "Nobody is here at the moment. We open {opens} and will answer your message then.",
            ),
            Locale::Ko => (
                format!(
                    "팔로우해주셔서 감사합니다. {shop_name}는 언제나 최선을 다해 최고의 서비스를 제공합니다!"
                ),
                "고객 서비스 상담원에게 연결하는 중입니다. 잠시만 기다려 주십시오.",
                "WeChat 구독 계정에서 온 문의:",
                "지금은 모든 상담원이 상담 중입니다. 앞에 {ahead}명의 고객이 기다리고 있습니다. 순서대로 연결해 드리겠습니다.",
                "지금은 상담 시간이 아닙니다. 상담은 {opens}에 시작되며, 남겨 주신 메시지에 그때 답변드리겠습니다.",
            ),
            Locale::Zh => (
                format!("感谢您关注{shop_name}，我们将竭诚为您提供最优质的服务！"),
                "正在为您转接人工客服，请稍候。",
                "来自微信公众号的咨询：",
                "客服正忙，您前面还有{ahead}位顾客，请稍候，我们会按顺序为您服务。",
                "现在不是服务时间，我们将于{opens}开始服务，届时会回复您的留言。",
            ),
        };
        Self {
            locale,
            welcome,
            transferring: transferring.to_owned(),
            inquiry_prefix: inquiry_prefix.to_owned(),
            queued: queued.to_owned(),
            away: away.to_owned(),
        }
    }

    /// A phrase that describes what followers read while `texts.shop_name` is not set; `None` if it is, or if the welcome
    /// text is another.
    pub fn missing_name(&self) -> Option<String> {
        let is_missing = self.welcome == Self::defaults(self.locale, NO_NAME).welcome;
        is_missing.then(|| format!("is not set, so that followers read \"{}\"", self.welcome))
    }

    /// The reply to a customer who joins the line. `None`: there is none.
    pub fn queued(&self, ahead: u32) -> Option<String> {
        (!self.queued.trim().is_empty()).then(|| self.queued.replace(AHEAD, &ahead.to_string()))
    }

    /// The reply outside the working hours. `opens`: when the desk opens, in words. `None`: there is none.
    pub fn away(&self, opens: &str) -> Option<String> {
        (!self.away.trim().is_empty()).then(|| self.away.replace(OPENS, opens))
    }
}

/// A phrase that describes why a text with a placeholder cannot be sent; `None` if it can. No other braces may be in
/// it: they are most probably a misspelt placeholder, and a customer would read it.
pub(super) fn template_problem(text: &str, placeholder: &str) -> Option<String> {
    if text.replace(placeholder, "").contains(['{', '}']) {
        return Some(format!("contains braces that are not {placeholder}"));
    }
    text_problem(&text.replace(placeholder, &"x".repeat(LONGEST_WORDS)), true).map(str::to_owned)
}

/// A phrase that describes why a text cannot be sent as XML; `None` if it can.
pub(super) fn text_problem(text: &str, may_be_empty: bool) -> Option<&'static str> {
    let unprintable = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || matches!(c, '\u{FFFE}' | '\u{FFFF}')
    };
    if text.trim().is_empty() && !may_be_empty {
        Some("is empty")
    } else if text.len() > MAX_BYTES {
        Some("is longer than 2000 bytes")
    } else if text.contains(unprintable) {
        Some("contains control characters")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_texts_match_the_contract_exactly() {
        let en = Texts::defaults(Locale::En, "XX");
        assert_eq!(en.welcome, "Thanks for following XX. We want to offer you the best service.");
        assert_eq!(en.transferring, "Transferring you to a customer service agent, please wait.");
        assert_eq!(en.inquiry_prefix, "Inquiry from a WeChat subscription account: ");
        let ko = Texts::defaults(Locale::Ko, "XX");
        assert_eq!(
            ko.welcome,
            "팔로우해주셔서 감사합니다. XX는 언제나 최선을 다해 최고의 서비스를 제공합니다!"
        );
        assert_eq!(ko.transferring, "고객 서비스 상담원에게 연결하는 중입니다. 잠시만 기다려 주십시오.");
        assert_eq!(ko.inquiry_prefix, "WeChat 구독 계정에서 온 문의:");
        assert!(Texts::defaults(Locale::Zh, "小店").welcome.contains("关注小店，"));
    }

    #[test]
    fn templates_know_one_placeholder_and_their_defaults_use_it() {
        for locale in [Locale::En, Locale::Ko, Locale::Zh] {
            let texts = Texts::defaults(locale, "XX");
            for (text, placeholder) in [(&texts.queued, AHEAD), (&texts.away, OPENS)] {
                assert_eq!(text.matches(placeholder).count(), 1, "{text}");
                assert_eq!(template_problem(text, placeholder), None, "{text}");
            }
            assert!(texts.away("09:00").is_some_and(|text| text.contains("09:00") && !text.contains('{')));
        }
        for bad in ["{open}", "{ahead}", "{opens", "opens}", "{}", "{ opens }"] {
            assert!(template_problem(bad, OPENS).is_some(), "{bad}");
        }
        assert_eq!(template_problem("", OPENS), None);
        assert_eq!(template_problem(&format!("{}{OPENS}", "x".repeat(1936)), OPENS), None);
        assert!(template_problem(&format!("{}{OPENS}", "x".repeat(1937)), OPENS).is_some());
    }

    #[test]
    fn unsendable_texts_are_reported() {
        assert_eq!(text_problem("two\nlines", false), None);
        assert_eq!(text_problem("", true), None);
        assert_eq!(text_problem(" ", false), Some("is empty"));
        assert_eq!(text_problem(&"é".repeat(1000), false), None);
        assert_eq!(text_problem(&"é".repeat(1001), false), Some("is longer than 2000 bytes"));
        for bad in ["bell\u{7}", "nul\0", "\u{FFFF}"] {
            assert_eq!(text_problem(bad, true), Some("contains control characters"), "{bad:?}");
        }
    }
}
