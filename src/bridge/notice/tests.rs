use super::*;
use crate::model::NoAnswer;

#[test]
fn every_notice_has_the_prefix_and_the_reason_in_every_locale() {
    for locale in [Locale::En, Locale::Ko, Locale::Zh] {
        for kind in [
            NoticeKind::Held { why: "W" },
            NoticeKind::Refused { why: "W" },
            NoticeKind::Unknown { why: "W" },
            NoticeKind::AsLink { why: "W" },
            NoticeKind::AsLabel { why: "W" },
        ] {
            let note = text(
                locale,
                &kind,
                MessageId(4711),
                "size M is in stock, and so is size L, and so are all of the others",
            );
            assert!(
                note.starts_with("[bridge] #4711 ") && note.contains('W') && note.contains('…'),
                "{note}"
            );
        }
    }
}

#[test]
fn a_notice_about_a_recall_or_an_edit_has_the_prefix_and_the_words_in_every_locale() {
    for locale in [Locale::En, Locale::Ko, Locale::Zh] {
        let kinds = [
            NoticeKind::RecalledTooLate,
            NoticeKind::RecalledMaybeTooLate,
            NoticeKind::RecalledInPart,
            NoticeKind::EditedTooLate,
            NoticeKind::EditedToCommand,
        ];
        let texts = kinds.map(|kind| text(locale, &kind, MessageId(1), "size M"));
        for (index, note) in texts.iter().enumerate() {
            assert!(note.starts_with(NOTICE_PREFIX) && note.contains("“size M”"), "{note}");
            assert!(!texts[..index].contains(note), "{note}");
        }
        assert!(!customer_left(locale, 0).contains('2') && customer_left(locale, 2).contains('2'));
    }
}

#[test]
fn a_missing_answer_is_explained_in_the_locales_language() {
    for reason in [NoAnswer::ConnectionLost, NoAnswer::Timeout, NoAnswer::Status(502), NoAnswer::Unreadable] {
        for (locale, script) in [(Locale::Ko, '\u{ac00}'..='\u{d7a3}'), (Locale::Zh, '\u{4e00}'..='\u{9fff}')]
        {
            let text = no_answer(locale, reason);
            assert!(text.chars().any(|letter| script.contains(&letter)), "{text}");
            let rest = text.replace("WeChat", "").replace("HTTP", "");
            assert!(!rest.contains(|letter: char| letter.is_ascii_alphabetic()), "{text}");
        }
    }
}

#[test]
fn waiting_notices_are_merged_up_to_a_limit() {
    let one = calls(&text(Locale::En, &NoticeKind::Held { why: "W" }, MessageId(1), "a"));
    let two = append(&one, &text(Locale::En, &NoticeKind::Held { why: "W" }, MessageId(2), "b")).unwrap();
    let [OutboundCall::TextToAgent(both)] = two.as_slice() else { panic!("{two:?}") };
    assert_eq!(both.matches(NOTICE_PREFIX).count(), 1);
    assert!(both.contains("“a”") && both.contains("“b”"));
    assert_eq!(append(&two, &"x".repeat(MAX_NOTICE_BYTES)), None);
}
