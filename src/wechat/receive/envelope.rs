//! The AES envelope of compatible and safe mode (reference: "Encryption (WXBizMsgCrypt)").
//!
//! Decrypts and encrypts bytes. The verifier has checked the signature before. No input may make it
//! panic.

use aes::Aes256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};

use super::Refusal;
use crate::config::AesKey;

/// WeChat pads to a multiple of 32 bytes, although AES needs only 16.
const BLOCK_BYTES: u8 = 32;
/// The number of random bytes before the length field.
const RANDOM_BYTES: usize = 16;

fn iv(key: &AesKey) -> [u8; 16] {
    std::array::from_fn(|index| key.expose()[index])
}

/// Decrypts the text of an `Encrypt` element.
///
/// Fails with [`Refusal::Key`] when this key does not decrypt it, and with [`Refusal::AppId`] when
/// the key fits but the envelope names another AppID.
pub fn decrypt(key: &AesKey, app_id: &str, ciphertext: &str) -> Result<Vec<u8>, Refusal> {
    let mut ciphertext = STANDARD.decode(ciphertext).map_err(|_| Refusal::Key)?;
    let plain = cbc::Decryptor::<Aes256>::new(&(*key.expose()).into(), &iv(key).into())
        .decrypt_padded::<NoPadding>(&mut ciphertext)
        .map_err(|_| Refusal::Key)?;
    let (message, found_app_id) = split_plaintext(plain).ok_or(Refusal::Key)?;
    if found_app_id == app_id.as_bytes() { Ok(message.to_vec()) } else { Err(Refusal::AppId) }
}

/// Splits `random(16) ‖ length ‖ message ‖ AppID ‖ padding` into message and AppID.
fn split_plaintext(plain: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&padding, _) = plain.split_last()?;
    if !(1..=BLOCK_BYTES).contains(&padding) {
        return None;
    }
    let unpadded = plain.get(..plain.len().checked_sub(usize::from(padding))?)?;
    let (length, rest) = unpadded.get(RANDOM_BYTES..)?.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Encrypts `message` (at most 4 GiB) into the text of an `Encrypt` element.
pub fn encrypt(key: &AesKey, app_id: &str, message: &[u8], random: [u8; RANDOM_BYTES]) -> String {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut plain = [&random[..], &length, message, app_id.as_bytes()].concat();
    let used = plain.len() % usize::from(BLOCK_BYTES);
    let padding =
        (1..=BLOCK_BYTES).find(|n| used + usize::from(*n) == usize::from(BLOCK_BYTES)).unwrap_or(BLOCK_BYTES);
    plain.resize(plain.len() + usize::from(padding), padding);
    STANDARD.encode(
        cbc::Encryptor::<Aes256>::new(&(*key.expose()).into(), &iv(key).into())
            .encrypt_padded_vec::<NoPadding>(&plain),
    )
}

#[cfg(test)]
mod tests;
