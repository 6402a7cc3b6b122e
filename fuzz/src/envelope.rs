//! The AES envelope: encryption and decryption agree with the simulated platform, and a body
//! without the right signature is refused.

use aes::Aes256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use wechat_im_bridge::internals::sandbox::wechat::crypto::Crypt;
use wechat_im_bridge::internals::wechat::receive::{DecryptError, Refusal, envelope, parse};

use super::account::{self, APP_ID};

/// `input` is used in turn as the text of an `Encrypt`, the bytes under it, the plaintext, the
/// message, the AppID and a body.
pub fn check(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        decrypts_as_the_simulated_platform_does(text);
        round_trip(b"", text);
        round_trip(input, text);
    }
    decrypts_as_the_simulated_platform_does(&STANDARD.encode(input));
    decrypts_a_well_formed_plaintext(input);
    round_trip(input, APP_ID);
    no_body_with_another_signature_is_accepted(input);
    parses_the_same_encrypted_or_not(input);
}

/// Both implementations decrypt the same. The bridge may be more lenient, but only about padding.
fn decrypts_as_the_simulated_platform_does(encrypt: &str) {
    use wechat_im_bridge::internals::sandbox::wechat::crypto::CryptoError::{Length, Padding};
    match (envelope::decrypt(&account::key(), APP_ID, encrypt), account::crypt().decrypt(encrypt)) {
        (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs),
        (Ok(_), Err(why)) => assert!(matches!(why, Length | Padding), "{why}"),
        (Err(why), Ok(_)) => panic!("{why}"),
        (Err(why), Err(_)) => assert!(matches!(why, Refusal::Key | Refusal::AppId), "{why}"),
    }
}

fn decrypts_a_well_formed_plaintext(input: &[u8]) {
    let mut plain = input.to_vec();
    plain.truncate(input.len() / 16 * 16);
    let key = *account::key().expose();
    let iv: [u8; 16] = std::array::from_fn(|at| key[at]);
    let cipher = cbc::Encryptor::<Aes256>::new(&key.into(), &iv.into());
    let encrypt = STANDARD.encode(cipher.encrypt_padded_vec::<NoPadding>(&plain));
    let decrypted = envelope::decrypt(&account::key(), APP_ID, &encrypt);
    assert_eq!(decrypted.ok().as_deref(), expected_message(&plain));
}

/// The message in a plaintext, found from the end: the AppID precedes the padding, and the length
/// field gives the length of the rest.
fn expected_message(plain: &[u8]) -> Option<&[u8]> {
    let padding = usize::from(*plain.last()?);
    let unpadded = plain.get(..plain.len().checked_sub(padding)?)?;
    let head = unpadded.strip_suffix(APP_ID.as_bytes())?;
    let length = u32::from_be_bytes(head.get(16..20)?.try_into().ok()?);
    ((1..=32).contains(&padding) && head.len() - 20 == usize::try_from(length).ok()?).then(|| &head[20..])
}

fn round_trip(message: &[u8], app_id: &str) {
    let random = std::array::from_fn(|at| message.get(at).copied().unwrap_or(7));
    let encrypt = envelope::encrypt(&account::key(), app_id, message, random);
    assert_eq!(envelope::decrypt(&account::key(), app_id, &encrypt).as_deref(), Ok(message));
    assert_eq!(envelope::decrypt(&account::key(), &format!("{app_id}x"), &encrypt), Err(Refusal::AppId));
    if app_id == APP_ID {
        let crypt: Crypt = account::crypt();
        assert_eq!(crypt.encrypt(message, random).as_ref(), Ok(&encrypt));
        assert_eq!(crypt.decrypt(&encrypt).as_deref(), Ok(message));
    }
}

/// No body is decrypted with a signature that was made for another `Encrypt`.
fn no_body_with_another_signature_is_accepted(body: &[u8]) {
    let verifier = account::verifier();
    let query = account::verified_query(&verifier, &account::encrypted(account::message().as_bytes()));
    let outcome = verifier.decrypt(&query, body);
    assert!(
        matches!(outcome, Err(DecryptError::Refused(Refusal::Token | Refusal::Plaintext))),
        "{outcome:?}"
    );
}

/// A message gives the same push or the same error, whether it comes in the clear or encrypted.
fn parses_the_same_encrypted_or_not(message: &[u8]) {
    let verifier = account::verifier();
    let encrypt = account::encrypted(message);
    let decrypted = verifier
        .decrypt(&account::verified_query(&verifier, &encrypt), account::envelope(&encrypt).as_bytes());
    match (decrypted, parse(message)) {
        (Ok(decrypted), Ok(push)) => assert_eq!(decrypted.push, push),
        (Err(DecryptError::Unreadable(push)), Err(plain_error)) => {
            assert_eq!((push.why, &push.bytes[..]), (plain_error.to_string(), message));
        }
        (decrypted, parsed) => panic!("{decrypted:?} {parsed:?}"),
    }
}
