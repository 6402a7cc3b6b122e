//! The last line of a passive reply that cannot hold all waiting answers. Its link fetches the next
//! ones. Pure.

use crate::config::Locale;

/// Returns the line in `locale`. Tapping its link sends a text in the customer's name, and the
/// passive reply to that text carries the next answers (reference: "Text content", tap-to-send
/// link).
pub(super) fn more_line(locale: Locale) -> &'static str {
    // `msgmenucontent` is percent-encoded: 더보기, 更多.
    match locale {
        Locale::En => {
            r#"There is more: <a href="weixin://bizmsgmenu?msgmenucontent=More&msgmenuid=1">tap here</a>"#
        }
        Locale::Ko => {
            r#"메시지가 더 있습니다: <a href="weixin://bizmsgmenu?msgmenucontent=%EB%8D%94%EB%B3%B4%EA%B8%B0&msgmenuid=1">더보기</a>"#
        }
        Locale::Zh => {
            r#"还有更多消息：<a href="weixin://bizmsgmenu?msgmenucontent=%E6%9B%B4%E5%A4%9A&msgmenuid=1">查看</a>"#
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_sends_a_word_of_the_customers_language() {
        for (locale, word) in [(Locale::En, "More"), (Locale::Ko, "더보기"), (Locale::Zh, "更多")] {
            let line = more_line(locale);
            let (_, rest) = line.split_once("href=\"weixin://bizmsgmenu?").unwrap();
            let (query, _) = rest.split_once('"').unwrap();
            let sent: Vec<(String, String)> =
                url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            let expected = [("msgmenucontent", word), ("msgmenuid", "1")];
            assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
            assert!(line.ends_with("</a>") && line.len() < 160, "{}", line.len());
        }
    }
}
