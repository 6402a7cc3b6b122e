use proptest::prelude::*;

use super::super::vectors;
use super::*;

#[test]
fn the_vectors_open_and_seal() {
    for (name, account, sealed) in [
        ("A", vectors::A, vectors::A_PUSH),
        ("A reply", vectors::A, vectors::A_REPLY),
        ("B", vectors::B, vectors::B_PUSH),
        ("C", vectors::C, vectors::C_PUSH),
        ("C reply", vectors::C, vectors::C_REPLY),
    ] {
        let opened = open(&account.key(), account.app_id, sealed.encrypt).unwrap();
        assert_eq!(String::from_utf8(opened).unwrap(), sealed.message, "{name}");
        let again = seal(&account.key(), account.app_id, sealed.message.as_bytes(), sealed.random());
        assert_eq!(again, sealed.encrypt, "{name}");
    }
}

#[test]
fn the_wrong_key_or_app_id_opens_nothing() {
    let encrypt = vectors::C_PUSH.encrypt;
    assert_eq!(open(&vectors::A.key(), vectors::C.app_id, encrypt), Err(Refusal::Key));
    for app_id in ["", "wx1234567890abcde", "wx1234567890abcdef0", "x1234567890abcdef"] {
        assert_eq!(open(&vectors::C.key(), app_id, encrypt), Err(Refusal::AppId), "{app_id}");
    }
}

/// Encrypts exactly these bytes, which must fill whole AES blocks.
fn encrypted(plain: &[u8]) -> String {
    let key = vectors::C.key();
    let cipher = cbc::Encryptor::<Aes256>::new(&(*key.expose()).into(), &iv(&key).into());
    STANDARD.encode(cipher.encrypt_padded_vec::<NoPadding>(plain))
}

#[test]
fn padding_and_length_that_lead_nowhere_are_refused() {
    let with = |length: u32, padding: u8, bytes: usize| {
        let mut plain = vec![b'r'; RANDOM];
        plain.extend(length.to_be_bytes());
        plain.resize(bytes, padding);
        open(&vectors::C.key(), "", &encrypted(&plain))
    };
    assert_eq!(with(0, 12, 32), Ok(Vec::new()), "the test's own layout is right");
    assert_eq!(with(8, 4, 32), Ok(vec![4; 8]), "the test's own layout is right");
    assert_eq!(with(0, 0, 32), Err(Refusal::Key));
    assert_eq!(with(0, 33, 64), Err(Refusal::Key));
    assert_eq!(with(0, 255, 64), Err(Refusal::Key));
    assert_eq!(with(0, 32, 32), Err(Refusal::Key), "nothing but padding");
    assert_eq!(with(9, 4, 32), Err(Refusal::Key));
    assert_eq!(with(u32::MAX, 4, 32), Err(Refusal::Key));
    for (bytes, padding) in [(16, 1), (16, 16), (16, 17), (32, 13), (32, 31)] {
        assert_eq!(open(&vectors::C.key(), "", &encrypted(&vec![padding; bytes])), Err(Refusal::Key));
    }
    for encrypt in ["", "=", "AAAA", "not base64!", "AAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(open(&vectors::C.key(), "", encrypt), Err(Refusal::Key), "{encrypt}");
    }
}

proptest! {
    #[test]
    fn what_is_sealed_opens(
        key in "[A-Za-z0-9]{43}",
        random in any::<[u8; 16]>(),
        message in prop::collection::vec(any::<u8>(), 0..200),
        app_id in "wx[0-9a-f]{16}",
    ) {
        let key = AesKey::decode(&key).unwrap();
        let encrypt = seal(&key, &app_id, &message, random);
        let sealed = STANDARD.decode(&encrypt).unwrap();
        prop_assert!(sealed.len().is_multiple_of(32) && sealed.len() > 20 + message.len() + app_id.len());
        prop_assert_eq!(open(&key, &app_id, &encrypt), Ok(message));
    }

    #[test]
    fn no_ciphertext_makes_it_panic(blocks in prop::collection::vec(any::<[u8; 16]>(), 0..6), cut in 0..16_usize) {
        let mut bytes = blocks.concat();
        bytes.truncate(bytes.len().saturating_sub(cut));
        prop_assert!(open(&vectors::C.key(), vectors::C.app_id, &STANDARD.encode(bytes)).is_err());
    }

    #[test]
    fn no_plaintext_makes_it_panic(blocks in prop::collection::vec(any::<[u8; 16]>(), 0..6), padding in 0..40_u8) {
        let mut plain = blocks.concat();
        if let Some(last) = plain.last_mut() {
            *last = padding;
        }
        prop_assert!(open(&vectors::C.key(), vectors::C.app_id, &encrypted(&plain)).is_err());
    }
}
