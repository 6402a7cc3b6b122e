use proptest::prelude::*;

use super::super::vectors;
use super::*;

#[test]
fn the_vectors_decrypt_and_encrypt() {
    for (name, account, sealed) in [
        ("A", vectors::A, vectors::A_PUSH),
        ("A reply", vectors::A, vectors::A_REPLY),
        ("B", vectors::B, vectors::B_PUSH),
        ("C", vectors::C, vectors::C_PUSH),
        ("C reply", vectors::C, vectors::C_REPLY),
    ] {
        let opened = decrypt(&account.key(), account.app_id, sealed.encrypt).unwrap();
        assert_eq!(String::from_utf8(opened).unwrap(), sealed.message, "{name}");
        let encrypted_again =
            encrypt(&account.key(), account.app_id, sealed.message.as_bytes(), sealed.random());
        assert_eq!(encrypted_again, sealed.encrypt, "{name}");
    }
}

#[test]
fn the_wrong_key_or_app_id_decrypts_nothing() {
    let ciphertext = vectors::C_PUSH.encrypt;
    assert_eq!(decrypt(&vectors::A.key(), vectors::C.app_id, ciphertext), Err(Refusal::Key));
    for app_id in ["", "wx1234567890abcde", "wx1234567890abcdef0", "x1234567890abcdef"] {
        assert_eq!(decrypt(&vectors::C.key(), app_id, ciphertext), Err(Refusal::AppId), "{app_id}");
    }
}

/// Encrypts exactly these bytes, which must fill whole AES blocks.
fn encrypt_raw(plain: &[u8]) -> String {
    let key = vectors::C.key();
    let cipher = cbc::Encryptor::<Aes256>::new(&(*key.expose()).into(), &iv(&key).into());
    STANDARD.encode(cipher.encrypt_padded_vec::<NoPadding>(plain))
}

#[test]
fn invalid_padding_or_length_is_refused() {
    let with = |length: u32, padding: u8, bytes: usize| {
        let mut plain = vec![b'r'; RANDOM_BYTES];
        plain.extend(length.to_be_bytes());
        plain.resize(bytes, padding);
        decrypt(&vectors::C.key(), "", &encrypt_raw(&plain))
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
        assert_eq!(decrypt(&vectors::C.key(), "", &encrypt_raw(&vec![padding; bytes])), Err(Refusal::Key));
    }
    for ciphertext in ["", "=", "AAAA", "not base64!", "AAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(decrypt(&vectors::C.key(), "", ciphertext), Err(Refusal::Key), "{ciphertext}");
    }
}

proptest! {
    #[test]
    fn encryption_round_trips(
        key in "[A-Za-z0-9]{43}",
        random in any::<[u8; 16]>(),
        message in prop::collection::vec(any::<u8>(), 0..200),
        app_id in "wx[0-9a-f]{16}",
    ) {
        let key = AesKey::decode(&key).unwrap();
        let ciphertext = encrypt(&key, &app_id, &message, random);
        let bytes = STANDARD.decode(&ciphertext).unwrap();
        prop_assert!(bytes.len().is_multiple_of(32) && bytes.len() > 20 + message.len() + app_id.len());
        prop_assert_eq!(decrypt(&key, &app_id, &ciphertext), Ok(message));
    }

    #[test]
    fn no_ciphertext_makes_it_panic(blocks in prop::collection::vec(any::<[u8; 16]>(), 0..6), cut in 0..16_usize) {
        let mut bytes = blocks.concat();
        bytes.truncate(bytes.len().saturating_sub(cut));
        prop_assert!(decrypt(&vectors::C.key(), vectors::C.app_id, &STANDARD.encode(bytes)).is_err());
    }

    #[test]
    fn no_plaintext_makes_it_panic(blocks in prop::collection::vec(any::<[u8; 16]>(), 0..6), padding in 0..40_u8) {
        let mut plain = blocks.concat();
        if let Some(last) = plain.last_mut() {
            *last = padding;
        }
        prop_assert!(decrypt(&vectors::C.key(), vectors::C.app_id, &encrypt_raw(&plain)).is_err());
    }
}
