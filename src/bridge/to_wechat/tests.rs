use super::*;
use proptest::prelude::*;

fn answer(parts: &[AnswerPart]) -> Answer {
    let user = |id: &str| crate::model::ImUserId::new(id).unwrap();
    Answer {
        from: user("user1"),
        to: user("o1"),
        msg_key: "1".to_owned(),
        msg_time: 1,
        msg_seq: 1,
        msg_random: 1,
        quoted: None,
        parts: parts.to_vec(),
    }
}

fn translate_answer(answer: &Answer, locale: Locale) -> Vec<OutboundCall> {
    let mut drawn = 0;
    calls(answer, Wording { locale, inquiry_prefix: "Inquiry: ", refused: &[] }, || {
        drawn += 1;
        MediaName::of_bits(drawn)
    })
}

fn translate(parts: &[AnswerPart], locale: Locale) -> Vec<OutboundCall> {
    translate_answer(&answer(parts), locale)
}

fn texts(answer: &Answer) -> Vec<String> {
    translate_answer(answer, Locale::En).iter().map(text).collect()
}

/// The text that a customer would read if nothing could be uploaded.
fn text(order: &OutboundCall) -> String {
    match order {
        OutboundCall::TextToCustomer(text) => text.clone(),
        OutboundCall::MediaToCustomer(attachment) => attachment.as_text(&attachment.url),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn parts_concatenate_to_the_text(answer in "[a-z世界😀👩‍👩‍👧 \n]{0,4000}") {
        prop_assume!(!answer.trim().is_empty());
        let sent = translate(&[AnswerPart::Text(answer.clone())], Locale::En);
        prop_assert!(sent.iter().all(|order| text(order).len() <= TEXT_BYTES));
        prop_assert_eq!(sent.iter().map(text).collect::<String>(), answer);
    }

    #[test]
    fn every_text_fits_whatever_the_url_is(url in ".{0,3000}") {
        let part = AnswerPart::Image { url: url.clone(), smaller: None, size: 1, format: 1 };
        let sent = translate(&[part], Locale::Zh);
        prop_assert!(!sent.is_empty() && sent.iter().all(|order| text(order).len() <= TEXT_BYTES));
    }
}

#[test]
fn elements_keep_their_order_and_empty_ones_are_dropped() {
    let (url, size) = ("https://example.com/f".to_owned(), 1);
    let sent = translate(
        &[
            AnswerPart::Text("first".into()),
            AnswerPart::Text("  ".into()),
            AnswerPart::Image {
                url: url.clone(),
                smaller: Some("https://example.com/s".into()),
                size,
                format: 1,
            },
            AnswerPart::File { url: url.clone(), size, name: "a.pdf".into() },
            AnswerPart::Sound { url: url.clone(), size, second: 6 },
            AnswerPart::Video {
                url: url.clone(),
                size,
                second: 5,
                format: "mp4".into(),
                thumb_url: "https://example.com/t".into(),
            },
            AnswerPart::Location { latitude: 22.5, longitude: 114.0, description: "Station Rd 5".into() },
            AnswerPart::Face { index: 3, data: "smile".into() },
            AnswerPart::Face { index: 3, data: String::new() },
            AnswerPart::Custom { text: "[order 7]".into() },
            AnswerPart::Untranslatable(crate::model::Untranslatable::Custom),
            AnswerPart::Relay { title: "Chat".into(), text: String::new(), lines: vec!["Lin: M".into()] },
            AnswerPart::Relay { title: "Chat".into(), text: "[chat history]".into(), lines: Vec::new() },
            AnswerPart::Other { kind: "TIMStickerElem".into() },
            AnswerPart::Image { url: String::new(), smaller: None, size: 0, format: 255 },
        ],
        Locale::En,
    );
    assert_eq!(
        sent.iter().map(text).collect::<Vec<_>>(),
        [
            "first",
            "[image]\nhttps://example.com/f",
            "[file]\na.pdf (1 B)\nhttps://example.com/f",
            "[voice message]\nhttps://example.com/f",
            "[video]\nhttps://example.com/f",
            "[location]\nStation Rd 5\n22.5,114",
            "[sticker]",
            "[sticker]",
            "[order 7]",
            "Chat\nLin: M",
            "Chat",
            "[TIMStickerElem]",
            "[image]",
        ]
    );
    assert_eq!(sent.iter().filter(|order| order.needs_preparation()).count(), 4, "{sent:?}");
    let names: std::collections::BTreeSet<_> = sent
        .iter()
        .filter_map(|order| match order {
            OutboundCall::MediaToCustomer(attachment) => {
                Some(attachment.names().cloned().collect::<Vec<_>>())
            }
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(names.len(), 6, "every file has a name of its own");
}

#[test]
fn labels_are_in_the_configured_language() {
    let part = AnswerPart::Sound { url: "https://example.com/v".into(), size: 1, second: 1 };
    assert_eq!(text(&translate(&[part], Locale::Ko)[0]), "[음성 메시지]\nhttps://example.com/v");
}

#[test]
fn a_quote_stands_before_the_answer() {
    let quoting = |words: &str, parts: &[AnswerPart]| {
        texts(&Answer { quoted: Some(words.to_owned()), ..answer(parts) })
    };
    let yes = [AnswerPart::Text("是的".into())];
    assert_eq!(quoting("Inquiry: 几点发货?", &yes), ["「几点发货?」\n是的"]);
    assert_eq!(quoting("[TUIEmoji_Smile]  a\nb", &yes), ["「🙂 a b」\n是的"]);
    let long = format!("「{}…」\n是的", "字".repeat(40));
    assert_eq!(quoting(&"字".repeat(41), &yes), [long.as_str()]);
    // The bridge's own words mean nothing to the customer.
    assert_eq!(quoting("[bridge] “x” is held", &yes), ["是的"]);
    let picture = [AnswerPart::Image { url: "https://e.com/1".into(), smaller: None, size: 1, format: 1 }];
    assert_eq!(quoting("which one?", &picture), ["「which one?」", "[image]\nhttps://e.com/1"]);
}

#[test]
fn what_an_agent_forwards_and_types_is_made_readable() {
    for (typed, read) in [
        ("Inquiry: is it in stock?", "is it in stock?"),
        ("您好[TUIEmoji_Smile]稍等", "您好🙂稍等"),
        ("no prefix", "no prefix"),
    ] {
        assert_eq!(texts(&answer(&[AnswerPart::Text(typed.into())])), [read]);
    }
    let merged =
        AnswerPart::Relay { title: String::new(), text: "please upgrade the SDK".into(), lines: Vec::new() };
    assert_eq!(texts(&answer(&[merged])), ["please upgrade the SDK"], "nothing else is there");
}

#[test]
fn the_agent_is_told_what_does_not_go() {
    let parts = [
        AnswerPart::Text("hello".into()),
        AnswerPart::Untranslatable(crate::model::Untranslatable::Call),
        AnswerPart::File { url: String::new(), size: 7, name: "a.pdf".into() },
        AnswerPart::Sound { url: " ".into(), size: 7, second: 1 },
        AnswerPart::Image { url: "https://e.com/1".into(), smaller: None, size: 1, format: 1 },
    ];
    assert_eq!(texts(&answer(&parts))[..3], ["hello", "[file]\na.pdf (7 B)", "[voice message]"]);
    for locale in [Locale::En, Locale::Ko, Locale::Zh] {
        let notices = notices(&answer(&parts), Wording { locale, inquiry_prefix: "", refused: &[] });
        assert_eq!(notices.len(), 3);
        assert!(notices.iter().all(|text| text.starts_with(NOTICE_PREFIX)), "{notices:?}");
    }
}
