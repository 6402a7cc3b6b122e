//! Encrypts the reply to a push the same way as the push was encrypted.

use std::fmt;

use secrecy::SecretString;

use super::envelope;
use super::reply::cdata;
use super::signature;
use crate::config::AesKey;
use crate::model::Millis;

/// Encrypts the passive reply to one push, if that push was encrypted. `success` is never
/// encrypted.
#[derive(Clone)]
pub struct ReplyCipher(Option<Secrets>);

/// The secrets that decrypted the push. During a rotation WeChat may know only the old key or
/// token, so the reply must use the same ones.
#[derive(Clone)]
pub(super) struct Secrets {
    /// The EncodingAESKey.
    pub key: AesKey,
    /// The token, for the signature.
    pub token: SecretString,
    /// Our AppID.
    pub app_id: String,
}

impl ReplyCipher {
    /// For a push that was not encrypted.
    pub(super) fn plain() -> Self {
        Self(None)
    }

    /// For a push that `secrets` decrypted.
    pub(super) fn encrypted(secrets: Secrets) -> Self {
        Self(Some(secrets))
    }

    /// The body of the HTTP response (`text/xml`). If the push was encrypted, each call encrypts
    /// with fresh random bytes.
    pub fn wrap(&self, xml: String, now: Millis) -> String {
        match &self.0 {
            None => xml,
            Some(secrets) => {
                secrets.wrap(&xml, rand::random(), now.seconds(), &rand::random::<u32>().to_string())
            }
        }
    }
}

impl fmt::Debug for ReplyCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ReplyCipher(encrypted)" } else { "ReplyCipher(plain)" })
    }
}

impl Secrets {
    fn wrap(&self, xml: &str, random: [u8; 16], timestamp: i64, nonce: &str) -> String {
        let encrypt = envelope::encrypt(&self.key, &self.app_id, xml.as_bytes(), random);
        let signature = signature::sign(&self.token, &[&timestamp.to_string(), nonce, &encrypt]);
        let (encrypt, signature, nonce) = (cdata(&encrypt), cdata(&signature), cdata(nonce));
        format!(
            "<xml><Encrypt>{encrypt}</Encrypt><MsgSignature>{signature}</MsgSignature>\
             <TimeStamp>{timestamp}</TimeStamp><Nonce>{nonce}</Nonce></xml>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::vectors::{self, Account, EncryptedSample};
    use super::super::xml;
    use super::*;

    fn secrets(account: &Account) -> Secrets {
        Secrets { key: account.key(), token: account.token.into(), app_id: account.app_id.to_owned() }
    }

    #[test]
    fn the_documented_replies_are_reproduced() {
        for (account, reply) in [(vectors::A, vectors::A_REPLY), (vectors::C, vectors::C_REPLY)] {
            let EncryptedSample { timestamp, nonce, message, encrypt, msg_signature, .. } = reply;
            assert_eq!(
                secrets(&account).wrap(message, reply.random(), timestamp.parse().unwrap(), nonce),
                format!(
                    "<xml><Encrypt><![CDATA[{encrypt}]]></Encrypt><MsgSignature><![CDATA[{msg_signature}]]>\
                     </MsgSignature><TimeStamp>{timestamp}</TimeStamp><Nonce><![CDATA[{nonce}]]></Nonce></xml>"
                )
            );
        }
    }

    #[test]
    fn an_encrypted_reply_round_trips() {
        let secrets = secrets(&vectors::C);
        let reply_cipher = ReplyCipher::encrypted(secrets.clone());
        let (first, second) = (encrypt_sample(&reply_cipher), encrypt_sample(&reply_cipher));
        let encrypt = |xml: &str| xml::read(xml.as_bytes()).unwrap().text("Encrypt").map(str::to_owned);
        assert_ne!(encrypt(&first), encrypt(&second), "each call encrypts with fresh random bytes");
        let root = xml::read(first.as_bytes()).unwrap();
        let text = |name| root.text(name).unwrap();
        let signed = signature::sign(&secrets.token, &[text("TimeStamp"), text("Nonce"), text("Encrypt")]);
        assert_eq!(text("MsgSignature"), signed);
        assert_eq!(text("TimeStamp"), "1700000002");
        let decrypted = envelope::decrypt(&secrets.key, &secrets.app_id, text("Encrypt")).unwrap();
        assert_eq!(decrypted, b"<xml>\xe4\xbd\xa0</xml>");
    }

    #[test]
    fn a_plain_push_gets_a_plain_reply() {
        assert_eq!(encrypt_sample(&ReplyCipher::plain()), "<xml>你</xml>");
    }

    fn encrypt_sample(reply_cipher: &ReplyCipher) -> String {
        reply_cipher.wrap("<xml>你</xml>".to_owned(), Millis(1_700_000_002_999))
    }

    #[test]
    fn debug_shows_no_secret() {
        let reply_cipher = ReplyCipher::encrypted(secrets(&vectors::C));
        assert_eq!(format!("{reply_cipher:?}"), "ReplyCipher(encrypted)");
    }
}
