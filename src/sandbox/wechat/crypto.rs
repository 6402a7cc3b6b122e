//! Signatures and WXBizMsgCrypt (reference: sections 1.2 and 5), written from the reference alone.
//!
//! It must share no code with the bridge's own implementation, so that the two readings of the
//! reference check each other.

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine};
use sha1::{Digest as _, Sha1};

/// The padding block in bytes. It is twice the cipher's own block.
const PAD_BLOCK: usize = 32;

/// Decodes an EncodingAESKey. Its 43 characters carry 258 bits, two more than a key has, and the
/// official demo key sets those two. They are ignored.
const KEY_ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a message could not be encrypted or decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The EncodingAESKey is not 43 characters of Base64.
    #[error("the EncodingAESKey is not 43 Base64 characters")]
    Key,
    /// `Encrypt` is not standard Base64.
    #[error("Encrypt is not Base64")]
    Base64,
    /// The ciphertext is empty or its length is not a multiple of the 32-byte padding block.
    #[error("the ciphertext has a wrong length")]
    Length,
    /// The plaintext does not end in 1 to 32 equal padding bytes.
    #[error("the padding is wrong: another key, or a 16-byte padding block")]
    Padding,
    /// The inner length field exceeds the plaintext.
    #[error("the inner length field does not fit the plaintext")]
    Layout,
    /// The message was encrypted for another AppID.
    #[error("the message is encrypted for another AppID")]
    AppId,
}

/// The hex SHA-1 of the parts, sorted by bytes and concatenated.
pub fn sign(parts: &[&str]) -> String {
    let mut sorted = parts.to_vec();
    sorted.sort_unstable();
    let mut sha1 = Sha1::new();
    for part in sorted {
        sha1.update(part);
    }
    hex::encode(sha1.finalize())
}

/// The message encryption of one account.
pub struct Crypt {
    key: [u8; 32],
    app_id: String,
}

impl Crypt {
    /// Decodes the 43 characters from the console into the key of `app_id`. Fails with
    /// [`CryptoError::Key`].
    pub fn new(encoding_aes_key: &str, app_id: &str) -> Result<Self, CryptoError> {
        if encoding_aes_key.len() != 43 {
            return Err(CryptoError::Key);
        }
        let key = KEY_ENGINE.decode(encoding_aes_key).map_err(|_| CryptoError::Key)?;
        let key = key.try_into().map_err(|_| CryptoError::Key)?;
        Ok(Self { key, app_id: app_id.to_owned() })
    }

    /// Encrypts `message` into an `Encrypt` value. `random` must differ from call to call outside
    /// tests.
    pub fn encrypt(&self, message: &[u8], random: [u8; 16]) -> Result<String, CryptoError> {
        let length = u32::try_from(message.len()).map_err(|_| CryptoError::Layout)?;
        let mut plain = Vec::with_capacity(message.len() + self.app_id.len() + 20 + PAD_BLOCK);
        plain.extend_from_slice(&random);
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(message);
        plain.extend_from_slice(self.app_id.as_bytes());
        let pad = PAD_BLOCK - plain.len() % PAD_BLOCK;
        plain.extend(std::iter::repeat_n(u8::try_from(pad).unwrap_or_default(), pad));
        let length = plain.len();
        cbc::Encryptor::<aes::Aes256>::new(&self.key.into(), &self.iv().into())
            .encrypt_padded::<NoPadding>(&mut plain, length)
            .map_err(|_| CryptoError::Length)?;
        Ok(STANDARD.encode(&plain))
    }

    /// Decrypts an `Encrypt` value. The caller has verified its signature.
    pub fn decrypt(&self, encrypt: &str) -> Result<Vec<u8>, CryptoError> {
        let mut bytes = STANDARD.decode(encrypt).map_err(|_| CryptoError::Base64)?;
        if bytes.is_empty() || bytes.len() % PAD_BLOCK != 0 {
            return Err(CryptoError::Length);
        }
        cbc::Decryptor::<aes::Aes256>::new(&self.key.into(), &self.iv().into())
            .decrypt_padded::<NoPadding>(&mut bytes)
            .map_err(|_| CryptoError::Length)?;
        let last = bytes.last().copied().unwrap_or_default();
        let pad = usize::from(last);
        if !(1..=PAD_BLOCK).contains(&pad) || bytes[bytes.len() - pad..].iter().any(|byte| *byte != last) {
            return Err(CryptoError::Padding);
        }
        bytes.truncate(bytes.len() - pad);
        let (length, rest) =
            bytes.get(16..).and_then(|rest| rest.split_first_chunk::<4>()).ok_or(CryptoError::Layout)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| CryptoError::Layout)?;
        let (message, app_id) = rest.split_at_checked(length).ok_or(CryptoError::Layout)?;
        if app_id != self.app_id.as_bytes() {
            return Err(CryptoError::AppId);
        }
        Ok(message.to_vec())
    }

    fn iv(&self) -> [u8; 16] {
        std::array::from_fn(|at| self.key[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: (&str, &str) = ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "wxba5fad812f8e6fb9");
    const A_PUSH: &str = "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzDpVzazhZv6JsXUnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04=";
    const A_TEXT: &str = r#"{"ToUserName":"gh_97417a04a28d","FromUserName":"o9AgO5Kd5ggOC-bXrbNODIiE3bGY","CreateTime":1714112445,"MsgType":"event","Event":"debug_demo","debug_str":"hello world"}"#;
    const A_REPLY: &str =
        "ELGduP2YcVatjqIS+eZbp80MNLoAUWvzzyJxgGzxZO/5sAvd070Bs6qrLARC9nVHm48Y4hyRbtzve1L32tmxSQ==";
    const B: (&str, &str) = ("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG", "wx2c2769f8efd9abc2");
    const B_PUSH: &str = "hyzAe4OzmOMbd6TvGdIOO6uBmdJoD0Fk53REIHvxYtJlE2B655HuD0m8KUePWB3+LrPXo87wzQ1QLvbeUgmBM4x6F8PGHQHFVAFmOD2LdJF9FrXpbUAh0B5GIItb52sn896wVsMSHGuPE328HnRGBcrS7C41IzDWyWNlZkyyXwon8T332jisa+h6tEDYsVticbSnyU8dKOIbgU6ux5VTjg3yt+WGzjlpKn6NPhRjpA912xMezR4kw6KWwMrCVKSVCZciVGCgavjIQ6X8tCOp3yZbGpy0VxpAe+77TszTfRd5RJSVO/HTnifJpXgCSUdUue1v6h0EIBYYI1BD1DlD+C0CR8e6OewpusjZ4uBl9FyJvnhvQl+q5rv1ixrcpCumEPo5MJSgM9ehVsNPfUM669WuMyVWQLCzpu9GhglF2PE=";
    const C: (&str, &str) = ("Zb7Kq0mR3xT9vY1cN5sD8fG2hJ4kL6pW0aQ7eU9iOBg", "wx1234567890abcdef");
    const C_PUSH: &str = "8nRCw60LaoEMojC1xIVOjmUQGrmuKFumSUaCZ5+/NrD7WgtLrpEQ4X4bdLi6qkNn10fW5LFEhEXJFxX/OId6eQAkNQvb3tPDw23CiUP2jIuKXUPSxo6vD8/undx5T08lkVS8KuclQubGlLIpdpeW7FmbBC35HYn1C8doWsUc7K7XVsE23WO1DYIUZDWPpYbJTmRCrnCbFHQXsMDddT7A5VJC/lVQsu3jPSncLkFFXGGn/+qEn7NgLkrWwiaXUC6Sa9Z56XuJBF1KbMqOT2IcufvMOv7MHhHqnhleDfR0VvM3lW7AljFgoGcQWuqAgxDY4G9L8n8udA0efa2u8iTy7JjFsxKiytPjEc35aG0m9Np3HWBqiV0Uc00bo2nSaJvFu6Hj0jBgiNNQ8bb8dabtaqgfqEz+oEYu9hEDdlmxj7A=";
    const C_TEXT: &str = "<xml><ToUserName><![CDATA[gh_bridge000001]]></ToUserName><FromUserName><![CDATA[oBridgeUser0000000000000001x]]></FromUserName><CreateTime>1700000000</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[你好, bridge]]></Content><MsgId>24300000000000001</MsgId></xml>";
    const C_REPLY: &str = "eHarcOXdxsp93c/0FrbN9sFgaRDP6oM5X9ahZsiQvr4ICdo7WJuh8snF81td+NfUr+95iwcwBI9U1uyfkyD1a+8+TdafAql8aE4m5/m5goCx/wcEpiVUGhaZR4hR/dcuWFQMLzW+qqhabLyuonDyHIyzqPWcmBqDxpmITyyrESFCiHA7CfS5wxe8LrabzYcHJaAdgKE7Y5MqwkqEfl+v8b7e6EO8grdy4djXUvHQvQdHVlR0GAP8B1vVlPEAULdnzwDFropLoQkrN7L/u025dNeNByizgZA85waYJyihh/EPbrMBKyQH2mgUBAgAgLCBU/UMfPjBj2G1kuAudqkQgaJY6rEMgZ8G4Lw3RF68l1g6mEkKFPUxXFiR3W8nf+aV";
    const C_REPLY_TEXT: &str = "<xml><ToUserName><![CDATA[oBridgeUser0000000000000001x]]></ToUserName><FromUserName><![CDATA[gh_bridge000001]]></FromUserName><CreateTime>1700000002</CreateTime><MsgType><![CDATA[text]]></MsgType><Content><![CDATA[收到]]></Content></xml>";

    #[test]
    fn plain_signatures_match_the_vendor_vectors() {
        for (parts, expected) in [
            (["AAAAA", "1714036504", "1514711492"], "f464b24fc39322e44b38aa78f5edd27bd1441696"),
            (["AAAAA", "1714037059", "486452656"], "899cf89e464efb63f54ddac96b0a0a235f53aa78"),
            (["AAAAA", "1714112445", "415670741"], "6c5c811b55cc85e0e1b54100749188c20beb3f5d"),
            (["spamtest", "1409735669", "1320562132"], "16120ec1b8dbb870f510d87ce6bc2463eae6ca1a"),
            (["BridgeToken2024", "1700000001", "987654321"], "fceb4a53d136f480622a04924881a40304cbba72"),
        ] {
            assert_eq!(sign(&parts), expected);
        }
    }

    #[test]
    fn message_signatures_match_the_vendor_vectors() {
        for (parts, expected) in [
            (["AAAAA", "1714112445", "415670741", A_PUSH], "046e02f8204d34f8ba5fa3b1db94908f3df2e9b3"),
            (["AAAAA", "1713424427", "415670741", A_REPLY], "1b9339964ed2e271e7c7b6ff2b0ef902fc94dea1"),
            (["spamtest", "1409735669", "1320562132", B_PUSH], "5d197aaffba7e9b25a30732f161a50dee96bd5fa"),
            (
                ["BridgeToken2024", "1700000001", "987654321", C_PUSH],
                "397fa7f8a64034d6a236114d426836ade9fc34f4",
            ),
            (
                ["BridgeToken2024", "1700000002", "987654321", C_REPLY],
                "54f8d3ef19dae9f550b432240d3b3d552b8db3eb",
            ),
        ] {
            assert_eq!(sign(&parts), expected);
        }
    }

    #[test]
    fn encryption_matches_the_vectors_and_decryption_reverses_it() {
        for ((key, app_id), random, text, encrypted) in [
            (A, b"a8eedb185eb2fecf", A_TEXT, A_PUSH),
            (A, b"707722b803182950", r#"{"demo_resp":"good luck"}"#, A_REPLY),
            (C, b"0123456789abcdef", C_TEXT, C_PUSH),
            (C, b"fedcba9876543210", C_REPLY_TEXT, C_REPLY),
        ] {
            let crypt = Crypt::new(key, app_id).unwrap();
            assert_eq!(crypt.encrypt(text.as_bytes(), *random).unwrap(), encrypted);
            assert_eq!(crypt.decrypt(encrypted).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn the_demo_key_with_trailing_bits_decrypts_its_message() {
        let crypt = Crypt::new(B.0, B.1).unwrap();
        assert_eq!(
            hex::encode(crypt.key),
            "69b71d79f8218a39259a7a29aabb2dbafc31cb3d35db7e39ebbf3d0010831051"
        );
        let decrypted = crypt.decrypt(B_PUSH).unwrap();
        assert_eq!(decrypted.len(), 280);
        assert!(String::from_utf8(decrypted.clone()).unwrap().contains("<![CDATA[abcdteT]]>"));
        assert_eq!(crypt.encrypt(&decrypted, *b"89465c840c5f116f").unwrap(), B_PUSH);
    }

    #[test]
    fn foreign_or_damaged_messages_are_refused() {
        let ours = Crypt::new(C.0, C.1).unwrap();
        let foreign = Crypt::new(C.0, "wxffffffffffffffff").unwrap();
        assert_eq!(foreign.decrypt(C_PUSH), Err(CryptoError::AppId));
        assert_eq!(Crypt::new(A.0, C.1).unwrap().decrypt(C_PUSH), Err(CryptoError::Padding));
        assert_eq!(ours.decrypt("%%%"), Err(CryptoError::Base64));
        assert_eq!(ours.decrypt(""), Err(CryptoError::Length));
        assert_eq!(ours.decrypt(&STANDARD.encode([7; 48])), Err(CryptoError::Length));
        assert_eq!(Crypt::new("short", C.1).err(), Some(CryptoError::Key));
        assert_eq!(Crypt::new(&"*".repeat(43), C.1).err(), Some(CryptoError::Key));
    }
}
