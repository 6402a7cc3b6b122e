//! Secret values: they print `[REDACTED]`, cannot be serialized, and are cleared when dropped.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretBox, SecretString};

/// A secret string: a token, a key, a URL with a password.
#[derive(Clone, Default)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The secret itself. Never log it, store it or put it into an error.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether the secret is the empty text.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// The text is not an EncodingAESKey. The error does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be exactly 43 letters and digits")]
pub struct InvalidAesKey;

/// The AES key decoded from an EncodingAESKey ("Message encryption", the first step of the
/// algorithm).
pub struct AesKey(SecretBox<[u8; 32]>);

/// 43 characters encode 258 bits. The console chooses the last character at random, so the two
/// spare bits may be set.
const ENCODING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl AesKey {
    /// Decodes the 43 characters that the console shows.
    pub fn decode(encoding_aes_key: &str) -> Result<Self, InvalidAesKey> {
        if encoding_aes_key.len() != 43 || !encoding_aes_key.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            return Err(InvalidAesKey);
        }
        let bytes = ENCODING.decode(encoding_aes_key).map_err(|_| InvalidAesKey)?;
        Ok(Self(SecretBox::new(Box::new(bytes.try_into().map_err(|_| InvalidAesKey)?))))
    }

    /// The key. Its first 16 bytes are also the initialization vector. Never log it.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }
}

impl Clone for AesKey {
    fn clone(&self) -> Self {
        Self(SecretBox::new(Box::new(*self.expose())))
    }
}

impl fmt::Debug for AesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_vendors_sample_key_is_decoded_though_its_spare_bits_are_set() {
        let key = AesKey::decode("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG").unwrap();
        assert_eq!(
            hex::encode(key.expose()),
            "69b71d79f8218a39259a7a29aabb2dbafc31cb3d35db7e39ebbf3d0010831051"
        );
        assert_eq!(AesKey::decode(&"A".repeat(43)).unwrap().expose(), &[0; 32]);
    }

    #[test]
    fn other_texts_are_not_keys() {
        let stem = "A".repeat(42);
        for bad in [
            String::new(),
            stem.clone(),
            "A".repeat(44),
            format!("{stem}="),
            format!("{stem}+"),
            "é".repeat(43),
        ] {
            assert_eq!(AesKey::decode(&bad).unwrap_err(), InvalidAesKey, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_43_letters_and_digits_are_a_key_that_debug_hides(text in "[A-Za-z0-9]{43}") {
            let key = AesKey::decode(&text).unwrap();
            prop_assert_eq!(format!("{key:?}"), "[REDACTED]");
            prop_assert_eq!(format!("{:?}", Secret::new(text)), "[REDACTED]");
        }
    }
}
