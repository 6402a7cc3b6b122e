//! One Official Account in safe mode, with a push that is correctly encrypted and signed for it.

use secrecy::SecretString;
use wechat_im_bridge::internals::config::{AesKey, EncryptionMode};
use wechat_im_bridge::internals::model::Millis;
use wechat_im_bridge::internals::sandbox::wechat::crypto::{Crypt, sign};
use wechat_im_bridge::internals::wechat::receive::{VerifiedQuery, Verifier, VerifierSettings};

pub const APP_ID: &str = "wx1234567890abcdef";
pub const TOKEN: &str = "BridgeToken2024";
pub const CUSTOMER: &str = "oBridgeUser0000000000000001x";
const ENCODING_AES_KEY: &str = "Zb7Kq0mR3xT9vY1cN5sD8fG2hJ4kL6pW0aQ7eU9iOBg";
const TIMESTAMP: &str = "1700000001";
const NONCE: &str = "987654321";
/// The time of every check.
pub const NOW: Millis = Millis(1_700_000_002_000);

/// The bridge's key.
pub fn key() -> AesKey {
    AesKey::decode(ENCODING_AES_KEY).unwrap()
}

/// The simulated platform's implementation with the same key. It shares no code with the bridge's.
pub fn crypt() -> Crypt {
    Crypt::new(ENCODING_AES_KEY, APP_ID).unwrap()
}

/// The bridge's verifier.
pub fn verifier() -> Verifier {
    Verifier::new(VerifierSettings {
        token: SecretString::from(TOKEN),
        previous_token: None,
        app_id: Some(APP_ID.to_owned()),
        account_id: None,
        mode: EncryptionMode::Safe,
        key: Some(key()),
        previous_key: None,
        reserved_senders: Vec::new().into(),
        max_skew_s: 300,
    })
}

/// Signs a query for a push with this `Encrypt`, and verifies it.
pub fn verified_query(verifier: &Verifier, encrypt: &str) -> VerifiedQuery {
    let signature = sign(&[TOKEN, TIMESTAMP, NONCE, encrypt]);
    let query =
        format!("timestamp={TIMESTAMP}&nonce={NONCE}&encrypt_type=aes&msg_signature={signature}&openid=o");
    verifier.verify_query(&query, NOW).unwrap()
}

/// The `Encrypt` of a push whose plaintext is `message`.
pub fn encrypted(message: &[u8]) -> String {
    crypt().encrypt(message, *b"0123456789abcdef").unwrap()
}

/// The body of an encrypted push.
pub fn envelope(encrypt: &str) -> String {
    format!("<xml><ToUserName><![CDATA[gh_bridge000001]]></ToUserName><Encrypt>{encrypt}</Encrypt></xml>")
}

/// A text message.
pub fn message() -> String {
    format!(
        "<xml><ToUserName>gh_bridge000001</ToUserName><FromUserName>{CUSTOMER}</FromUserName>\
         <CreateTime>1700000000</CreateTime><MsgType>text</MsgType><Content>x</Content><MsgId>1</MsgId></xml>"
    )
}
