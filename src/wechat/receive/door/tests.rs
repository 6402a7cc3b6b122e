use proptest::prelude::*;
use url::form_urlencoded;

use super::super::vectors::{self, Account, Sealed};
use super::*;
use crate::model::{Content, Event, PushBody};

const NOW: Millis = Millis(1_700_000_001_000);
const ACCOUNT: &str = "gh_bridge000001";
const ENCRYPTED: &str = "timestamp=1700000001&nonce=987654321&encrypt_type=aes\
                         &msg_signature=397fa7f8a64034d6a236114d426836ade9fc34f4";
const SIGNED: &str =
    "signature=fceb4a53d136f480622a04924881a40304cbba72&timestamp=1700000001&nonce=987654321";

fn settings(mode: Mode, account: &Account) -> DoorSettings {
    DoorSettings {
        token: account.token.into(),
        previous_token: None,
        app_id: Some(account.app_id.to_owned()),
        account_id: None,
        mode,
        key: Some(account.key()),
        previous_key: None,
        max_skew_s: 0,
    }
}

fn door(mode: Mode) -> Door {
    Door::new(settings(mode, &vectors::C))
}

fn envelope(to: &str, encrypt: &str) -> String {
    format!("<xml><ToUserName><![CDATA[{to}]]></ToUserName><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>")
}

/// A query with a valid signature of `encrypt`.
fn query_for(account: &Account, encrypt: &str) -> String {
    let signature = signature::sign(&account.token.into(), &["1", "2", encrypt]);
    format!("timestamp=1&nonce=2&encrypt_type=aes&msg_signature={signature}")
}

fn receive(door: &Door, query: &str, body: &str) -> Result<Opened, Unopened> {
    door.open(&door.knock(query, NOW)?, body.as_bytes())
}

fn refused(door: &Door, query: &str, body: &str) -> Option<Refusal> {
    match receive(door, query, body) {
        Err(Unopened::Refused(refusal)) => Some(refusal),
        _ => None,
    }
}

#[test]
fn a_rightly_signed_echostr_comes_back_decoded() {
    let door = door(Mode::Safe);
    assert_eq!(
        door.echo(&format!("{SIGNED}&echostr=5577006791947779410")).as_deref(),
        Some(&b"5577006791947779410"[..])
    );
    assert_eq!(
        door.echo(&format!("echostr=a%20b%2B+%E4%BD%A0&{SIGNED}&own=1&own=2")).as_deref(),
        Some("a b+ 你".as_bytes())
    );
    let documented = Door::new(settings(Mode::Plain, &vectors::A));
    assert_eq!(
        documented
            .echo(
                "signature=f464b24fc39322e44b38aa78f5edd27bd1441696&timestamp=1714036504&nonce=1514711492\
                 &echostr=4375120948345356249"
            )
            .as_deref(),
        Some(&b"4375120948345356249"[..])
    );
}

#[test]
fn an_echostr_does_not_come_back_when_a_parameter_is_wrong_missing_or_repeated() {
    let door = door(Mode::Plain);
    let good = format!("{SIGNED}&echostr=1");
    assert!(door.echo(&good).is_some());
    for name in ["signature", "timestamp", "nonce", "echostr"] {
        let without: Vec<_> = good.split('&').filter(|pair| !pair.starts_with(&format!("{name}="))).collect();
        assert_eq!(door.echo(&without.join("&")), None, "without {name}");
        let again = good.split('&').find(|pair| pair.starts_with(name)).unwrap();
        assert_eq!(door.echo(&format!("{good}&{again}")), None, "{name} twice");
        assert_eq!(door.echo(&format!("{good}&{name}=")), None, "{name} twice, once empty");
    }
    for (right, wrong) in [("fceb", "fcec"), ("1700000001", "1700000002"), ("987654321", "987654322")] {
        assert_eq!(door.echo(&good.replace(right, wrong)), None, "{wrong}");
    }
    assert_eq!(door.echo(""), None);
}

#[test]
fn an_empty_token_signs_nothing() {
    let anyone = signature::sign(&"".into(), &["1", "2"]);
    let query = format!("signature={anyone}&timestamp=1&nonce=2&echostr=3");
    for token in ["", "BridgeToken2024"] {
        let door = Door::new(DoorSettings {
            token: token.into(),
            previous_token: Some("".into()),
            ..settings(Mode::Plain, &vectors::C)
        });
        assert_eq!(door.echo(&query), None);
        assert_eq!(door.knock(&query, NOW).unwrap_err(), Refusal::Token);
    }
}

#[test]
fn a_plain_push_is_opened_and_answered_plainly() {
    for mode in [Mode::Plain, Mode::Compatible] {
        let opened = receive(&door(mode), SIGNED, vectors::C_PUSH.message).unwrap();
        assert_eq!(opened.push.account, ACCOUNT);
        assert!(matches!(opened.push.body, PushBody::Message(Content::Text { .. })));
        assert_eq!(opened.seal.wrap("<xml/>".to_owned(), NOW), "<xml/>");
    }
    let documented = Door::new(settings(Mode::Plain, &vectors::A));
    let query = "signature=899cf89e464efb63f54ddac96b0a0a235f53aa78&timestamp=1714037059&nonce=486452656";
    assert!(documented.knock(query, NOW).is_ok());
}

#[test]
fn the_encrypted_vectors_are_opened() {
    for mode in [Mode::Safe, Mode::Compatible] {
        let opened = receive(&door(mode), ENCRYPTED, &envelope(ACCOUNT, vectors::C_PUSH.encrypt)).unwrap();
        assert_eq!(opened.push, push::parse(vectors::C_PUSH.message.as_bytes()).unwrap());
        assert!(opened.seal.wrap("<xml/>".to_owned(), NOW).starts_with("<xml><Encrypt>"));

        let Sealed { timestamp, nonce, encrypt, msg_signature, .. } = vectors::B_PUSH;
        let query =
            format!("timestamp={timestamp}&nonce={nonce}&encrypt_type=aes&msg_signature={msg_signature}");
        let door = Door::new(settings(mode, &vectors::B));
        let opened = receive(&door, &query, &envelope("gh_10f6c3c3ac5a", encrypt)).unwrap();
        assert_eq!(
            opened.push.dedup_key.0,
            "m:6054768590064713728:oyORnuP8q7ou2gfYjqLzSIWZf0rs:gh_10f6c3c3ac5a"
        );
    }
}

#[test]
fn a_payload_that_is_no_xml_is_unusable_and_not_refused() {
    let Sealed { timestamp, nonce, encrypt, msg_signature, .. } = vectors::A_PUSH;
    let query = format!("timestamp={timestamp}&nonce={nonce}&encrypt_type=aes&msg_signature={msg_signature}");
    let door = Door::new(settings(Mode::Safe, &vectors::A));
    let got = receive(&door, &query, &envelope("gh_97417a04a28d", encrypt));
    assert!(matches!(got, Err(Unopened::Unusable(Unusable::Xml(_)))), "{got:?}");
}

#[test]
fn a_signed_body_that_is_no_xml_is_unusable() {
    for body in ["", "hello", "{}", "<xml>", "<html/>", "<!DOCTYPE xml><xml/>", "<xml></xml>"] {
        let got = receive(&door(Mode::Plain), SIGNED, body);
        assert!(matches!(got, Err(Unopened::Unusable(_))), "{body}: {got:?}");
    }
    assert_eq!(refused(&door(Mode::Safe), ENCRYPTED, "hello"), Some(Refusal::Plaintext));
    assert_eq!(
        refused(&door(Mode::Compatible), ENCRYPTED, "hello"),
        Some(Refusal::Missing("signature")),
        "msg_signature covers nothing here"
    );
}

#[test]
fn what_the_query_tells_is_told_without_the_body() {
    let unsigned = "timestamp=1&nonce=2";
    let wrong = "signature=fceb&timestamp=1700000001&nonce=987654321";
    for (mode, query, refusal) in [
        (Mode::Plain, "", Refusal::Missing("timestamp")),
        (Mode::Plain, unsigned, Refusal::Missing("signature")),
        (Mode::Plain, wrong, Refusal::Token),
        (Mode::Plain, ENCRYPTED, Refusal::Missing("signature")),
        (Mode::Compatible, unsigned, Refusal::Missing("signature")),
        (Mode::Compatible, wrong, Refusal::Token),
        (Mode::Safe, SIGNED, Refusal::Plaintext),
        (Mode::Safe, &format!("{SIGNED}&encrypt_type=aes"), Refusal::Missing("msg_signature")),
        (Mode::Safe, &ENCRYPTED.replace("=aes", "=raw"), Refusal::Plaintext),
        (Mode::Safe, &format!("{ENCRYPTED}&nonce=987654321"), Refusal::Repeated("nonce")),
        (Mode::Safe, &format!("{ENCRYPTED}&encrypt_type=aes"), Refusal::Repeated("encrypt_type")),
        (Mode::Plain, &format!("{SIGNED}&signature="), Refusal::Repeated("signature")),
    ] {
        assert_eq!(door(mode).knock(query, NOW).unwrap_err(), refusal, "{mode:?} {query}");
    }
}

#[test]
fn an_encrypted_push_is_judged_by_its_own_signature() {
    let body = envelope(ACCOUNT, vectors::C_PUSH.encrypt);
    let safe = door(Mode::Safe);
    assert!(receive(&safe, &format!("{ENCRYPTED}&signature=wrong"), &body).is_ok());
    assert_eq!(refused(&safe, &ENCRYPTED.replace("397f", "397e"), &body), Some(Refusal::Token));
    assert_eq!(refused(&safe, &ENCRYPTED.replace("=987654321", "=987654322"), &body), Some(Refusal::Token));

    let both = vectors::C_PUSH.message.replace("</xml>", &format!("<Encrypt>{}</Encrypt></xml>", "AAAA"));
    let compatible = door(Mode::Compatible);
    let query = format!("{SIGNED}&msg_signature=00&encrypt_type=aes");
    assert_eq!(refused(&compatible, &query, &both), Some(Refusal::Token), "`signature` is right");
    assert_eq!(refused(&compatible, SIGNED, &both), Some(Refusal::Missing("msg_signature")));
    assert!(receive(&compatible, &query, vectors::C_PUSH.message).is_ok(), "no Encrypt: `signature` decides");
}

#[test]
fn in_compatible_mode_the_encrypted_half_counts() {
    let forged = "<ToUserName>gh_bridge000001</ToUserName><FromUserName>oForged</FromUserName>\
                  <CreateTime>1</CreateTime><MsgType>text</MsgType><MsgId>1</MsgId>";
    let body = format!("<xml>{forged}<Encrypt>{}</Encrypt></xml>", vectors::C_PUSH.encrypt);
    let opened = receive(&door(Mode::Compatible), ENCRYPTED, &body).unwrap();
    assert_eq!(opened.push.from.as_str(), "oBridgeUser0000000000000001x");
}

#[test]
fn the_mode_must_fit() {
    assert_eq!(
        refused(&door(Mode::Plain), SIGNED, &envelope(ACCOUNT, vectors::C_PUSH.encrypt)),
        Some(Refusal::Encrypted)
    );
    let query = format!("{ENCRYPTED}&{}", SIGNED.split('&').next().unwrap());
    assert_eq!(refused(&door(Mode::Safe), &query, vectors::C_PUSH.message), Some(Refusal::Plaintext));
    let both = vectors::C_PUSH.message.replace("</xml>", "<Encrypt>AAAA</Encrypt></xml>");
    assert!(receive(&door(Mode::Plain), &query, &both).is_ok(), "all of it stands there in plain");
}

#[test]
fn the_wrong_key_and_the_wrong_app_id_are_told_apart() {
    let body = envelope(ACCOUNT, vectors::C_PUSH.encrypt);
    for (change, refusal) in [
        (
            &(|s: &mut DoorSettings| s.key = Some(vectors::A.key())) as &dyn Fn(&mut DoorSettings),
            Refusal::Key,
        ),
        (&|s| s.key = None, Refusal::Key),
        (&|s| s.app_id = Some("wx0".to_owned()), Refusal::AppId),
        (&|s| s.app_id = Some(String::new()), Refusal::AppId),
        (&|s| s.app_id = None, Refusal::AppId),
        (&|s| s.token = "other".into(), Refusal::Token),
        (&|s| s.account_id = Some("gh_other".to_owned()), Refusal::Account),
    ] {
        let mut settings = settings(Mode::Safe, &vectors::C);
        change(&mut settings);
        assert_eq!(refused(&Door::new(settings), ENCRYPTED, &body), Some(refusal));
    }
}

#[test]
fn a_push_for_another_account_is_refused_wherever_it_says_so() {
    let for_us = |mode| {
        Door::new(DoorSettings { account_id: Some(ACCOUNT.to_owned()), ..settings(mode, &vectors::C) })
    };
    let elsewhere = vectors::C_PUSH.message.replace(ACCOUNT, "gh_elsewhere");
    assert!(receive(&for_us(Mode::Plain), SIGNED, vectors::C_PUSH.message).is_ok());
    assert_eq!(refused(&for_us(Mode::Plain), SIGNED, &elsewhere), Some(Refusal::Account));

    let safe = for_us(Mode::Safe);
    let encrypt = vectors::C_PUSH.encrypt;
    assert!(receive(&safe, ENCRYPTED, &envelope(ACCOUNT, encrypt)).is_ok());
    assert!(receive(&safe, ENCRYPTED, &format!("<xml><Encrypt>{encrypt}</Encrypt></xml>")).is_ok());
    assert_eq!(refused(&safe, ENCRYPTED, &envelope("gh_elsewhere", encrypt)), Some(Refusal::Account));
    let inner = envelope::seal(&vectors::C.key(), vectors::C.app_id, elsewhere.as_bytes(), [0; 16]);
    let query = query_for(&vectors::C, &inner);
    assert_eq!(refused(&safe, &query, &envelope(ACCOUNT, &inner)), Some(Refusal::Account));
}

#[test]
fn while_secrets_are_rotated_the_old_ones_open_and_answer() {
    let old = vectors::C;
    let door = Door::new(DoorSettings {
        token: "NewToken".into(),
        previous_token: Some(old.token.into()),
        key: Some(vectors::B.key()),
        previous_key: Some(old.key()),
        ..settings(Mode::Safe, &old)
    });
    let opened = receive(&door, ENCRYPTED, &envelope(ACCOUNT, vectors::C_PUSH.encrypt)).unwrap();
    let reply = xml::read(opened.seal.wrap("<xml/>".to_owned(), NOW).as_bytes()).unwrap();
    let text = |name| reply.text(name).unwrap();
    assert_eq!(envelope::open(&old.key(), old.app_id, text("Encrypt")).unwrap(), b"<xml/>");
    let signed = signature::sign(&old.token.into(), &[text("TimeStamp"), text("Nonce"), text("Encrypt")]);
    assert_eq!(text("MsgSignature"), signed);
    assert!(door.echo(&format!("{SIGNED}&echostr=1")).is_some());

    let new = envelope::seal(&vectors::B.key(), old.app_id, vectors::C_PUSH.message.as_bytes(), [1; 16]);
    let query = query_for(&Account { token: "NewToken", ..vectors::B }, &new);
    assert!(receive(&door, &query, &envelope(ACCOUNT, &new)).is_ok());
}

#[test]
fn a_timestamp_may_be_off_by_max_skew_and_no_more() {
    let strict = |mode| Door::new(DoorSettings { max_skew_s: 300, ..settings(mode, &vectors::C) });
    for (mode, query) in [(Mode::Plain, SIGNED), (Mode::Compatible, ENCRYPTED), (Mode::Safe, ENCRYPTED)] {
        for off in [-300, -299, 0, 300] {
            assert!(strict(mode).knock(query, NOW.plus(off * 1000)).is_ok(), "{mode:?} {off}");
        }
        for off in [-301, 301, i64::MAX / 1000] {
            let got = strict(mode).knock(query, NOW.plus(off * 1000));
            assert_eq!(got.unwrap_err(), Refusal::Stale, "{mode:?} {off}");
        }
        assert!(door(mode).knock(query, Millis(0)).is_ok(), "0 means no such check");
    }
    let worded = ENCRYPTED.replace("1700000001", "soon");
    assert_eq!(strict(Mode::Safe).knock(&worded, NOW).unwrap_err(), Refusal::Stale);
    let extreme = ENCRYPTED.replace("1700000001", &i64::MIN.to_string());
    assert_eq!(strict(Mode::Safe).knock(&extreme, NOW).unwrap_err(), Refusal::Stale);
}

#[test]
fn an_encrypted_event_is_opened() {
    let event = format!(
        "<xml><ToUserName>{ACCOUNT}</ToUserName><FromUserName>oX</FromUserName><CreateTime>5</CreateTime>\
         <MsgType>event</MsgType><Event>unsubscribe</Event></xml>"
    );
    let encrypt = envelope::seal(&vectors::C.key(), vectors::C.app_id, event.as_bytes(), [7; 16]);
    let query = query_for(&vectors::C, &encrypt);
    let opened = receive(&door(Mode::Safe), &query, &envelope(ACCOUNT, &encrypt)).unwrap();
    assert_eq!(opened.push.body, PushBody::Event(Event::Unsubscribe));
}

#[test]
fn nothing_shows_a_secret() {
    let door = Door::new(DoorSettings {
        previous_token: Some("OldSecret".into()),
        ..settings(Mode::Safe, &vectors::C)
    });
    let knock = door.knock(ENCRYPTED, NOW).unwrap();
    let opened = door.open(&knock, envelope(ACCOUNT, vectors::C_PUSH.encrypt).as_bytes()).unwrap();
    let shown = format!("{door:?} {knock:?} {opened:?}");
    for secret in ["BridgeToken2024", "OldSecret", "397fa7f8", "101, 190, 202", "65beca"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

proptest! {
    #[test]
    fn no_change_to_encrypt_gets_in(at in any::<prop::sample::Index>(), by in any::<char>()) {
        let encrypt = vectors::C_PUSH.encrypt;
        let at = at.index(encrypt.len());
        let tampered = format!("{}{by}{}", &encrypt[..at], &encrypt[at + 1..]);
        prop_assume!(tampered != encrypt);
        for mode in [Mode::Safe, Mode::Compatible] {
            let got = receive(&door(mode), &format!("{ENCRYPTED}&{}", &SIGNED[..50]), &envelope(ACCOUNT, &tampered));
            prop_assert!(matches!(got, Err(Unopened::Refused(_))), "{:?}", got);
        }
    }

    #[test]
    fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        for (mode, query) in [(Mode::Plain, SIGNED), (Mode::Compatible, ENCRYPTED), (Mode::Safe, ENCRYPTED)] {
            let door = door(mode);
            prop_assert!(door.open(&door.knock(query, NOW).unwrap(), &body).is_err());
        }
    }

    #[test]
    fn no_signed_payload_makes_it_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let encrypt = envelope::seal(&vectors::C.key(), vectors::C.app_id, &payload, [0; 16]);
        let got = receive(&door(Mode::Safe), &query_for(&vectors::C, &encrypt), &envelope(ACCOUNT, &encrypt));
        prop_assert!(matches!(got, Err(Unopened::Unusable(_))), "{:?}", got);
    }

    #[test]
    fn no_query_makes_it_panic(query in any::<String>()) {
        let door = door(Mode::Compatible);
        prop_assert!(door.echo(&query).is_none());
        prop_assert!(door.knock(&query, NOW).is_err());
    }

    #[test]
    fn any_echostr_comes_back_byte_for_byte(echostr in prop::collection::vec(any::<u8>(), 0..200)) {
        let query: String = form_urlencoded::byte_serialize(&echostr).collect();
        let query = format!("echostrx=1&echostr={query}");
        let echoed = door(Mode::Plain).echo(&format!("{SIGNED}&{query}"));
        prop_assert_eq!(echoed, Some(echostr));
    }
}
