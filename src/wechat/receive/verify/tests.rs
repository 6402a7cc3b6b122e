use proptest::prelude::*;
use url::form_urlencoded;

use super::super::vectors::{self, Account, EncryptedSample};
use super::*;
use crate::model::{Content, PushBody};

const NOW: Millis = Millis(1_700_000_001_000);
const ACCOUNT: &str = "gh_bridge000001";
const ENCRYPTED: &str = "timestamp=1700000001&nonce=987654321&encrypt_type=aes\
                         &msg_signature=397fa7f8a64034d6a236114d426836ade9fc34f4";
const SIGNED: &str =
    "signature=fceb4a53d136f480622a04924881a40304cbba72&timestamp=1700000001&nonce=987654321";

fn settings(mode: EncryptionMode, account: &Account) -> VerifierSettings {
    VerifierSettings {
        token: account.token.into(),
        previous_token: None,
        app_id: Some(account.app_id.to_owned()),
        account_id: None,
        mode,
        key: Some(account.key()),
        previous_key: None,
        reserved_senders: vec!["user1".to_owned()].into(),
        max_skew_s: 0,
    }
}

fn verifier(mode: EncryptionMode) -> Verifier {
    Verifier::new(settings(mode, &vectors::C))
}

fn envelope(to: &str, encrypt: &str) -> String {
    format!("<xml><ToUserName><![CDATA[{to}]]></ToUserName><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>")
}

/// A query with a valid signature of `encrypt`.
fn query_for(account: &Account, encrypt: &str) -> String {
    let signature = signature::sign(&account.token.into(), &["1", "2", encrypt]);
    format!("timestamp=1&nonce=2&encrypt_type=aes&msg_signature={signature}")
}

fn receive(verifier: &Verifier, query: &str, body: &str) -> Result<Decrypted, DecryptError> {
    verifier.decrypt(&verifier.verify_query(query, NOW)?, body.as_bytes())
}

fn refused(verifier: &Verifier, query: &str, body: &str) -> Option<Refusal> {
    match receive(verifier, query, body) {
        Err(DecryptError::Refused(refusal)) => Some(refusal),
        _ => None,
    }
}

#[test]
fn a_correctly_signed_echostr_is_returned_decoded() {
    let verifier = verifier(EncryptionMode::Safe);
    assert_eq!(
        verifier.echo(&format!("{SIGNED}&echostr=5577006791947779410")).as_deref(),
        Some(&b"5577006791947779410"[..])
    );
    assert_eq!(
        verifier.echo(&format!("echostr=a%20b%2B+%E4%BD%A0&{SIGNED}&own=1&own=2")).as_deref(),
        Some("a b+ 你".as_bytes())
    );
    let documented = Verifier::new(settings(EncryptionMode::Plain, &vectors::A));
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
fn an_echostr_is_not_returned_when_a_parameter_is_wrong_missing_or_repeated() {
    let verifier = verifier(EncryptionMode::Plain);
    let good = format!("{SIGNED}&echostr=1");
    assert!(verifier.echo(&good).is_some());
    for name in ["signature", "timestamp", "nonce", "echostr"] {
        let without: Vec<_> = good.split('&').filter(|pair| !pair.starts_with(&format!("{name}="))).collect();
        assert_eq!(verifier.echo(&without.join("&")), None, "without {name}");
        let again = good.split('&').find(|pair| pair.starts_with(name)).unwrap();
        assert_eq!(verifier.echo(&format!("{good}&{again}")), None, "{name} twice");
        assert_eq!(verifier.echo(&format!("{good}&{name}=")), None, "{name} twice, once empty");
    }
    for (right, wrong) in [("fceb", "fcec"), ("1700000001", "1700000002"), ("987654321", "987654322")] {
        assert_eq!(verifier.echo(&good.replace(right, wrong)), None, "{wrong}");
    }
    assert_eq!(verifier.echo(""), None);
}

#[test]
fn an_empty_token_signs_nothing() {
    let anyone = signature::sign(&"".into(), &["1", "2"]);
    let query = format!("signature={anyone}&timestamp=1&nonce=2&echostr=3");
    for token in ["", "BridgeToken2024"] {
        let verifier = Verifier::new(VerifierSettings {
            token: token.into(),
            previous_token: Some("".into()),
            ..settings(EncryptionMode::Plain, &vectors::C)
        });
        assert_eq!(verifier.echo(&query), None);
        assert_eq!(verifier.verify_query(&query, NOW).unwrap_err(), Refusal::Token);
    }
}

#[test]
fn a_plain_push_is_accepted_and_answered_in_plain() {
    for mode in [EncryptionMode::Plain, EncryptionMode::Compatible] {
        let decrypted = receive(&verifier(mode), SIGNED, vectors::C_PUSH.message).unwrap();
        assert_eq!(decrypted.push.account, ACCOUNT);
        assert!(matches!(decrypted.push.body, PushBody::Message(Content::Text { .. })));
        assert_eq!(decrypted.reply_cipher.wrap("<xml/>".to_owned(), NOW), "<xml/>");
    }
    let documented = Verifier::new(settings(EncryptionMode::Plain, &vectors::A));
    let query = "signature=899cf89e464efb63f54ddac96b0a0a235f53aa78&timestamp=1714037059&nonce=486452656";
    assert!(documented.verify_query(query, NOW).is_ok());
}

#[test]
fn the_encrypted_vectors_are_decrypted() {
    for mode in [EncryptionMode::Safe, EncryptionMode::Compatible] {
        let decrypted =
            receive(&verifier(mode), ENCRYPTED, &envelope(ACCOUNT, vectors::C_PUSH.encrypt)).unwrap();
        assert_eq!(decrypted.push, push::parse(vectors::C_PUSH.message.as_bytes()).unwrap());
        assert!(decrypted.reply_cipher.wrap("<xml/>".to_owned(), NOW).starts_with("<xml><Encrypt>"));

        let EncryptedSample { timestamp, nonce, encrypt, msg_signature, .. } = vectors::B_PUSH;
        let query =
            format!("timestamp={timestamp}&nonce={nonce}&encrypt_type=aes&msg_signature={msg_signature}");
        let verifier = Verifier::new(settings(mode, &vectors::B));
        let decrypted = receive(&verifier, &query, &envelope("gh_10f6c3c3ac5a", encrypt)).unwrap();
        assert_eq!(
            decrypted.push.dedup_key.as_str(),
            "m:6054768590064713728:oyORnuP8q7ou2gfYjqLzSIWZf0rs:gh_10f6c3c3ac5a:1409735668"
        );
    }
}

#[test]
fn the_vendors_json_payload_is_read_like_xml() {
    let EncryptedSample { timestamp, nonce, encrypt, msg_signature, .. } = vectors::A_PUSH;
    let query = format!("timestamp={timestamp}&nonce={nonce}&encrypt_type=aes&msg_signature={msg_signature}");
    let verifier = Verifier::new(settings(EncryptionMode::Safe, &vectors::A));
    let decrypted = receive(&verifier, &query, &envelope("gh_97417a04a28d", encrypt)).unwrap();
    assert_eq!(decrypted.push.account, "gh_97417a04a28d");
    assert!(matches!(&decrypted.push.body, PushBody::Event(event) if event.name() == "debug_demo"));
}

#[test]
fn a_signed_body_that_is_not_xml_is_unusable() {
    for body in ["", "hello", "{}", "<xml>", "<html/>", "<!DOCTYPE xml><xml/>", "<xml></xml>"] {
        let result = receive(&verifier(EncryptionMode::Plain), SIGNED, body);
        assert!(matches!(result, Err(DecryptError::Unreadable(_))), "{body}: {result:?}");
    }
    assert_eq!(refused(&verifier(EncryptionMode::Safe), ENCRYPTED, "hello"), Some(Refusal::Plaintext));
    assert_eq!(
        refused(&verifier(EncryptionMode::Compatible), ENCRYPTED, "hello"),
        Some(Refusal::Missing("signature")),
        "msg_signature covers nothing here"
    );
}

#[test]
fn the_query_alone_is_refused_before_the_body() {
    let unsigned = "timestamp=1&nonce=2";
    let wrong = "signature=fceb&timestamp=1700000001&nonce=987654321";
    for (mode, query, refusal) in [
        (EncryptionMode::Plain, "", Refusal::Missing("timestamp")),
        (EncryptionMode::Plain, unsigned, Refusal::Missing("signature")),
        (EncryptionMode::Plain, wrong, Refusal::Token),
        (EncryptionMode::Plain, ENCRYPTED, Refusal::Missing("signature")),
        (EncryptionMode::Compatible, unsigned, Refusal::Missing("signature")),
        (EncryptionMode::Compatible, wrong, Refusal::Token),
        (EncryptionMode::Safe, SIGNED, Refusal::Plaintext),
        (EncryptionMode::Safe, &format!("{SIGNED}&encrypt_type=aes"), Refusal::Missing("msg_signature")),
        (EncryptionMode::Safe, &ENCRYPTED.replace("=aes", "=raw"), Refusal::Plaintext),
        (EncryptionMode::Safe, &format!("{ENCRYPTED}&nonce=987654321"), Refusal::Repeated("nonce")),
        (EncryptionMode::Safe, &format!("{ENCRYPTED}&encrypt_type=aes"), Refusal::Repeated("encrypt_type")),
        (EncryptionMode::Plain, &format!("{SIGNED}&signature="), Refusal::Repeated("signature")),
        (EncryptionMode::Safe, &format!("{ENCRYPTED}&signature=fceb"), Refusal::Token),
        (EncryptionMode::Compatible, &format!("{ENCRYPTED}&signature=fceb"), Refusal::Token),
    ] {
        assert_eq!(verifier(mode).verify_query(query, NOW).unwrap_err(), refusal, "{mode:?} {query}");
    }
}

#[test]
fn an_encrypted_push_is_verified_by_msg_signature() {
    let body = envelope(ACCOUNT, vectors::C_PUSH.encrypt);
    let safe = verifier(EncryptionMode::Safe);
    let plain_signature = SIGNED.split('&').next().unwrap();
    assert!(receive(&safe, &format!("{ENCRYPTED}&{plain_signature}"), &body).is_ok());
    assert_eq!(refused(&safe, &ENCRYPTED.replace("397f", "397e"), &body), Some(Refusal::Token));
    assert_eq!(refused(&safe, &ENCRYPTED.replace("=987654321", "=987654322"), &body), Some(Refusal::Token));

    let both = vectors::C_PUSH.message.replace("</xml>", &format!("<Encrypt>{}</Encrypt></xml>", "AAAA"));
    let compatible = verifier(EncryptionMode::Compatible);
    let query = format!("{SIGNED}&msg_signature=00&encrypt_type=aes");
    assert_eq!(refused(&compatible, &query, &both), Some(Refusal::Token), "`signature` is right");
    assert_eq!(refused(&compatible, SIGNED, &both), Some(Refusal::Missing("msg_signature")));
    assert!(receive(&compatible, &query, vectors::C_PUSH.message).is_ok(), "no Encrypt: `signature` decides");
}

#[test]
fn in_compatible_mode_the_encrypted_part_is_used() {
    let forged = "<ToUserName>gh_bridge000001</ToUserName><FromUserName>oForged</FromUserName>\
                  <CreateTime>1</CreateTime><MsgType>text</MsgType><MsgId>1</MsgId>";
    let body = format!("<xml>{forged}<Encrypt>{}</Encrypt></xml>", vectors::C_PUSH.encrypt);
    let decrypted = receive(&verifier(EncryptionMode::Compatible), ENCRYPTED, &body).unwrap();
    assert_eq!(decrypted.push.from.as_str(), "oBridgeUser0000000000000001x");
}

#[test]
fn a_push_must_match_the_mode() {
    assert_eq!(
        refused(&verifier(EncryptionMode::Plain), SIGNED, &envelope(ACCOUNT, vectors::C_PUSH.encrypt)),
        Some(Refusal::Encrypted)
    );
    let query = format!("{ENCRYPTED}&{}", SIGNED.split('&').next().unwrap());
    assert_eq!(
        refused(&verifier(EncryptionMode::Safe), &query, vectors::C_PUSH.message),
        Some(Refusal::Plaintext)
    );
    let both = vectors::C_PUSH.message.replace("</xml>", "<Encrypt>AAAA</Encrypt></xml>");
    assert!(
        receive(&verifier(EncryptionMode::Plain), &query, &both).is_ok(),
        "all of it stands there in plain"
    );
}

#[test]
fn the_wrong_key_and_the_wrong_app_id_give_different_refusals() {
    let body = envelope(ACCOUNT, vectors::C_PUSH.encrypt);
    for (change, refusal) in [
        (
            &(|s: &mut VerifierSettings| s.key = Some(vectors::A.key())) as &dyn Fn(&mut VerifierSettings),
            Refusal::Key,
        ),
        (&|s| s.key = None, Refusal::Key),
        (&|s| s.app_id = Some("wx0".to_owned()), Refusal::AppId),
        (&|s| s.app_id = Some(String::new()), Refusal::AppId),
        (&|s| s.app_id = None, Refusal::AppId),
        (&|s| s.token = "other".into(), Refusal::Token),
        (&|s| s.account_id = Some("gh_other".to_owned()), Refusal::Account),
    ] {
        let mut settings = settings(EncryptionMode::Safe, &vectors::C);
        change(&mut settings);
        assert_eq!(refused(&Verifier::new(settings), ENCRYPTED, &body), Some(refusal));
    }
}

#[test]
fn a_push_for_another_account_is_refused_inside_and_outside_the_envelope() {
    let for_us = |mode| {
        Verifier::new(VerifierSettings {
            account_id: Some(ACCOUNT.to_owned()),
            ..settings(mode, &vectors::C)
        })
    };
    let elsewhere = vectors::C_PUSH.message.replace(ACCOUNT, "gh_elsewhere");
    assert!(receive(&for_us(EncryptionMode::Plain), SIGNED, vectors::C_PUSH.message).is_ok());
    assert_eq!(refused(&for_us(EncryptionMode::Plain), SIGNED, &elsewhere), Some(Refusal::Account));

    let safe = for_us(EncryptionMode::Safe);
    let encrypt = vectors::C_PUSH.encrypt;
    assert!(receive(&safe, ENCRYPTED, &envelope(ACCOUNT, encrypt)).is_ok());
    assert!(receive(&safe, ENCRYPTED, &format!("<xml><Encrypt>{encrypt}</Encrypt></xml>")).is_ok());
    assert_eq!(refused(&safe, ENCRYPTED, &envelope("gh_elsewhere", encrypt)), Some(Refusal::Account));
    let inner = envelope::encrypt(&vectors::C.key(), vectors::C.app_id, elsewhere.as_bytes(), [0; 16]);
    let query = query_for(&vectors::C, &inner);
    assert_eq!(refused(&safe, &query, &envelope(ACCOUNT, &inner)), Some(Refusal::Account));
}

#[test]
fn during_a_rotation_the_previous_secrets_decrypt_and_encrypt_the_reply() {
    let old = vectors::C;
    let verifier = Verifier::new(VerifierSettings {
        token: "NewToken".into(),
        previous_token: Some(old.token.into()),
        key: Some(vectors::B.key()),
        previous_key: Some(old.key()),
        ..settings(EncryptionMode::Safe, &old)
    });
    let decrypted = receive(&verifier, ENCRYPTED, &envelope(ACCOUNT, vectors::C_PUSH.encrypt)).unwrap();
    let reply =
        crate::wechat::receive::xml::read(decrypted.reply_cipher.wrap("<xml/>".to_owned(), NOW).as_bytes())
            .unwrap();
    let text = |name| reply.text(name).unwrap();
    assert_eq!(envelope::decrypt(&old.key(), old.app_id, text("Encrypt")).unwrap(), b"<xml/>");
    let signed = signature::sign(&old.token.into(), &[text("TimeStamp"), text("Nonce"), text("Encrypt")]);
    assert_eq!(text("MsgSignature"), signed);
    assert!(verifier.echo(&format!("{SIGNED}&echostr=1")).is_some());

    let new = envelope::encrypt(&vectors::B.key(), old.app_id, vectors::C_PUSH.message.as_bytes(), [1; 16]);
    let query = query_for(&Account { token: "NewToken", ..vectors::B }, &new);
    assert!(receive(&verifier, &query, &envelope(ACCOUNT, &new)).is_ok());
}

#[test]
fn a_timestamp_may_differ_by_max_skew_and_no_more() {
    let strict = |mode| Verifier::new(VerifierSettings { max_skew_s: 300, ..settings(mode, &vectors::C) });
    for (mode, query) in [
        (EncryptionMode::Plain, SIGNED),
        (EncryptionMode::Compatible, ENCRYPTED),
        (EncryptionMode::Safe, ENCRYPTED),
    ] {
        for off in [-300, -299, 0, 300] {
            assert!(strict(mode).verify_query(query, NOW.plus(off * 1000)).is_ok(), "{mode:?} {off}");
        }
        for off in [-301, 301, i64::MAX / 1000] {
            let result = strict(mode).verify_query(query, NOW.plus(off * 1000));
            assert_eq!(result.unwrap_err(), Refusal::Stale, "{mode:?} {off}");
        }
        assert!(verifier(mode).verify_query(query, Millis(0)).is_ok(), "0 means no such check");
    }
    let worded = ENCRYPTED.replace("1700000001", "soon");
    assert_eq!(strict(EncryptionMode::Safe).verify_query(&worded, NOW).unwrap_err(), Refusal::Stale);
    let extreme = ENCRYPTED.replace("1700000001", &i64::MIN.to_string());
    assert_eq!(strict(EncryptionMode::Safe).verify_query(&extreme, NOW).unwrap_err(), Refusal::Stale);
}

#[test]
fn an_encrypted_event_is_decrypted() {
    let event = format!(
        "<xml><ToUserName>{ACCOUNT}</ToUserName><FromUserName>oX</FromUserName><CreateTime>5</CreateTime>\
         <MsgType>event</MsgType><Event>unsubscribe</Event></xml>"
    );
    let encrypt = envelope::encrypt(&vectors::C.key(), vectors::C.app_id, event.as_bytes(), [7; 16]);
    let query = query_for(&vectors::C, &encrypt);
    let decrypted = receive(&verifier(EncryptionMode::Safe), &query, &envelope(ACCOUNT, &encrypt)).unwrap();
    assert!(decrypted.push.is_unsubscribe(), "{:?}", decrypted.push.body);
}

#[test]
fn debug_output_shows_no_secret() {
    let verifier = Verifier::new(VerifierSettings {
        previous_token: Some("OldSecret".into()),
        ..settings(EncryptionMode::Safe, &vectors::C)
    });
    let query = verifier.verify_query(ENCRYPTED, NOW).unwrap();
    let decrypted = verifier.decrypt(&query, envelope(ACCOUNT, vectors::C_PUSH.encrypt).as_bytes()).unwrap();
    let debug_text = format!("{verifier:?} {query:?} {decrypted:?}");
    for secret in ["BridgeToken2024", "OldSecret", "397fa7f8", "101, 190, 202", "65beca"] {
        assert!(!debug_text.contains(secret), "{secret} in {debug_text}");
    }
}

proptest! {
    #[test]
    fn no_change_to_the_ciphertext_is_accepted(at in any::<prop::sample::Index>(), by in any::<char>()) {
        let encrypt = vectors::C_PUSH.encrypt;
        let at = at.index(encrypt.len());
        let tampered = format!("{}{by}{}", &encrypt[..at], &encrypt[at + 1..]);
        prop_assume!(tampered != encrypt);
        for mode in [EncryptionMode::Safe, EncryptionMode::Compatible] {
            let result = receive(&verifier(mode), &format!("{ENCRYPTED}&{}", &SIGNED[..50]), &envelope(ACCOUNT, &tampered));
            prop_assert!(matches!(result, Err(DecryptError::Refused(_))), "{:?}", result);
        }
    }

    #[test]
    fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        for (mode, query) in [(EncryptionMode::Plain, SIGNED), (EncryptionMode::Compatible, ENCRYPTED), (EncryptionMode::Safe, ENCRYPTED)] {
            let verifier = verifier(mode);
            prop_assert!(verifier.decrypt(&verifier.verify_query(query, NOW).unwrap(), &body).is_err());
        }
    }

    #[test]
    fn no_signed_payload_makes_it_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let encrypt = envelope::encrypt(&vectors::C.key(), vectors::C.app_id, &payload, [0; 16]);
        let result = receive(&verifier(EncryptionMode::Safe), &query_for(&vectors::C, &encrypt), &envelope(ACCOUNT, &encrypt));
        prop_assert!(matches!(result, Err(DecryptError::Unreadable(_))), "{:?}", result);
    }

    #[test]
    fn no_query_makes_it_panic(query in any::<String>()) {
        let verifier = verifier(EncryptionMode::Compatible);
        prop_assert!(verifier.echo(&query).is_none());
        prop_assert!(verifier.verify_query(&query, NOW).is_err());
    }

    #[test]
    fn any_echostr_is_returned_byte_for_byte(echostr in prop::collection::vec(any::<u8>(), 0..200)) {
        let query: String = form_urlencoded::byte_serialize(&echostr).collect();
        let query = format!("echostrx=1&echostr={query}");
        let echoed = verifier(EncryptionMode::Plain).echo(&format!("{SIGNED}&{query}"));
        prop_assert_eq!(echoed, Some(echostr));
    }
}
