//! Authenticates requests: is this request from WeChat and for this account? Then decrypts and
//! parses it.
//!
//! Everything that the query alone can decide is decided before the body is read. Must never accept
//! a push whose signature does not cover everything that the mode requires it to cover.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::push::{self, PushError};
use super::query::Query;
use super::reply_cipher::{ReplyCipher, Secrets};
use super::xml::{Element, XmlError};
use super::{Refusal, sender, signature};
use super::{document, envelope};
use crate::config::{AesKey, EncryptionMode};
use crate::live::Live;
use crate::model::{Millis, Push, UnreadablePush};

/// Settings from WeChat's console and from the configuration. Empty strings count as not set.
#[derive(Clone, Debug)]
pub struct VerifierSettings {
    /// The token of the server configuration, with which WeChat signs.
    pub token: SecretString,
    /// The previous token, still accepted during a rotation.
    pub previous_token: Option<SecretString>,
    /// Our AppID; without it no encrypted push is accepted.
    pub app_id: Option<String>,
    /// The account's original id (`gh_...`). When it is set, pushes for any other account are
    /// refused.
    pub account_id: Option<String>,
    /// The encryption mode that the console is set to.
    pub mode: EncryptionMode,
    /// The EncodingAESKey.
    pub key: Option<AesKey>,
    /// The previous EncodingAESKey, still accepted during a rotation.
    pub previous_key: Option<AesKey>,
    /// Senders that are never customers: pushes in their name are refused. They may change at any time.
    pub reserved_senders: Live<Vec<String>>,
    /// The largest accepted distance between `timestamp` and WeChat's clock, either way, in seconds; 0
    /// switches the check off.
    pub max_skew_s: u64,
}

/// Authenticates and decrypts requests from WeChat.
#[derive(Clone, Debug)]
pub struct Verifier(VerifierSettings);

/// The query of a push, verified; its body has not been read yet.
#[derive(Clone)]
pub struct VerifiedQuery {
    timestamp: String,
    nonce: String,
    msg_signature: Option<String>,
    /// The result of checking `signature`. It decides about a body that is not encrypted.
    plain_signature: Result<(), Refusal>,
}

/// A push that comes from WeChat and is for this account, decrypted and parsed.
#[derive(Debug)]
pub struct Decrypted {
    /// The push.
    pub push: Push,
    /// Encrypts the reply the way the push was encrypted.
    pub reply_cipher: ReplyCipher,
}

/// Why a body yields no push.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// The request is not from WeChat, or not for this account: answer 403 and store nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The push is from WeChat, but cannot be read: keep it and answer `success`.
    #[error(transparent)]
    Unreadable(UnreadablePush),
}

impl Verifier {
    /// Creates a verifier. In a mode with encryption, it refuses encrypted pushes while key or
    /// AppID is missing.
    pub fn new(mut settings: VerifierSettings) -> Self {
        // Anyone can make the signatures of an empty token.
        settings.previous_token = settings.previous_token.filter(|token| !token.expose_secret().is_empty());
        settings.app_id = settings.app_id.filter(|id| !id.is_empty());
        settings.account_id = settings.account_id.filter(|id| !id.is_empty());
        Self(settings)
    }

    /// Answers WeChat's check of the server configuration: returns the decoded `echostr`, byte for
    /// byte, if the raw query string carries a valid signature. `None` when a parameter is wrong,
    /// missing or repeated.
    pub fn echo(&self, query: &str) -> Option<Vec<u8>> {
        let query = Query::read(query).ok()?;
        self.check_signature(&query).ok()?;
        query.echostr()
    }

    /// Why [`Self::echo`] gives no answer to this query; `None` if it is not meant as a check of the server URL at all.
    pub fn echo_refusal(&self, query: &str) -> Option<Refusal> {
        let query = match Query::read(query) {
            Ok(query) => query,
            Err(refusal) => return Some(refusal),
        };
        let has_echostr = query.echostr().is_some();
        if !has_echostr && query.signature().is_err() {
            return None;
        }
        self.check_signature(&query).err().or((!has_echostr).then_some(Refusal::Missing("echostr")))
    }

    /// Verifies the raw query string of a push. `now`, by WeChat's clock, is compared with its
    /// `timestamp`.
    pub fn verify_query(&self, query: &str, now: Millis) -> Result<VerifiedQuery, Refusal> {
        let query = Query::read(query)?;
        let (timestamp, nonce) = (query.timestamp()?, query.nonce()?);
        let plain_signature = self.check_signature(&query);
        let msg_signature = query.msg_signature();
        // WeChat sends `signature` in every mode. It covers nothing of the body, but a wrong one shows before
        // the body is read that the request is not from WeChat.
        if query.signature().is_ok() {
            plain_signature?;
        }
        match self.0.mode {
            EncryptionMode::Plain => plain_signature?,
            EncryptionMode::Compatible if msg_signature.is_err() => plain_signature?,
            EncryptionMode::Compatible => {}
            // While the console is set to plain mode, WeChat sends no `encrypt_type` at all.
            EncryptionMode::Safe if query.encrypt_type() != Ok("aes") => return Err(Refusal::Plaintext),
            EncryptionMode::Safe => {
                msg_signature?;
            }
        }
        self.check_time(timestamp, now)?;
        Ok(VerifiedQuery {
            timestamp: timestamp.to_owned(),
            nonce: nonce.to_owned(),
            msg_signature: msg_signature.ok().map(str::to_owned),
            plain_signature,
        })
    }

    /// Decrypts and parses the body of a push whose query is verified.
    pub fn decrypt(&self, query: &VerifiedQuery, body: &[u8]) -> Result<Decrypted, DecryptError> {
        let document = document::read(body);
        let encrypted = document.as_ref().ok().and_then(|root| Some((root, root.text("Encrypt")?.trim())));
        match (self.0.mode, encrypted) {
            (EncryptionMode::Safe, None) => Err(Refusal::Plaintext.into()),
            (EncryptionMode::Safe | EncryptionMode::Compatible, Some((outer, encrypt))) => {
                let (secrets, message) = self.decrypt_envelope(query, encrypt)?;
                self.check_account(outer)?;
                self.parse(document::read(&message), &message, ReplyCipher::encrypted(secrets))
            }
            (EncryptionMode::Plain, Some((outer, _))) if outer.child("MsgType").is_none() => {
                Err(Refusal::Encrypted.into())
            }
            (EncryptionMode::Plain | EncryptionMode::Compatible, _) => {
                query.plain_signature?;
                self.parse(document, body, ReplyCipher::plain())
            }
        }
    }

    /// Parses a push that was read from `bytes`.
    fn parse(
        &self,
        document: Result<Element, XmlError>,
        bytes: &[u8],
        reply_cipher: ReplyCipher,
    ) -> Result<Decrypted, DecryptError> {
        let unreadable = |why: PushError| {
            let (sender, why) = (sender::find(bytes), why.to_string());
            DecryptError::Unreadable(UnreadablePush { sender, why, bytes: bytes.to_vec() })
        };
        let root = document.map_err(|error| unreadable(error.into()))?;
        self.check_account(&root)?;
        self.check_sender(&root)?;
        let mut push = push::from_xml(&root).map_err(unreadable)?;
        if push.account.is_empty() {
            push.account = self.0.account_id.clone().unwrap_or_default();
        }
        Ok(Decrypted { push, reply_cipher })
    }

    fn tokens(&self) -> impl Iterator<Item = &SecretString> {
        [Some(&self.0.token), self.0.previous_token.as_ref()]
            .into_iter()
            .flatten()
            .filter(|token| !token.expose_secret().is_empty())
    }

    fn check_signature(&self, query: &Query<'_>) -> Result<(), Refusal> {
        let covered = [query.timestamp()?, query.nonce()?];
        signature::matching_token(self.tokens(), &covered, query.signature()?)
            .map(|_| ())
            .ok_or(Refusal::Token)
    }

    fn check_time(&self, timestamp: &str, now: Millis) -> Result<(), Refusal> {
        if self.0.max_skew_s == 0 {
            return Ok(());
        }
        let sent: i64 = timestamp.parse().map_err(|_| Refusal::Stale)?;
        if now.seconds().abs_diff(sent) <= self.0.max_skew_s { Ok(()) } else { Err(Refusal::Stale) }
    }

    fn check_account(&self, root: &Element) -> Result<(), Refusal> {
        match (&self.0.account_id, root.trimmed_text("ToUserName")) {
            (Some(ours), Some(to)) if ours != to => Err(Refusal::Account),
            _ => Ok(()),
        }
    }

    /// The signature of plain mode does not cover the sender, so it proves no account of ours.
    fn check_sender(&self, root: &Element) -> Result<(), Refusal> {
        let from = root.trimmed_text("FromUserName");
        let is_reserved =
            from.is_some_and(|from| self.0.reserved_senders.get().iter().any(|sender| sender == from));
        if is_reserved { Err(Refusal::ReservedSender) } else { Ok(()) }
    }

    /// Verifies `msg_signature`, then decrypts with the current key or the previous one.
    fn decrypt_envelope(&self, query: &VerifiedQuery, encrypt: &str) -> Result<(Secrets, Vec<u8>), Refusal> {
        let given = query.msg_signature.as_deref().ok_or(Refusal::Missing("msg_signature"))?;
        let covered = [query.timestamp.as_str(), query.nonce.as_str(), encrypt];
        let token = signature::matching_token(self.tokens(), &covered, given).ok_or(Refusal::Token)?;
        let app_id = self.0.app_id.as_deref().ok_or(Refusal::AppId)?;
        let mut refusal = Refusal::Key;
        for key in [&self.0.key, &self.0.previous_key].into_iter().flatten() {
            match envelope::decrypt(key, app_id, encrypt) {
                Ok(message) => {
                    let secrets =
                        Secrets { key: key.clone(), token: token.clone(), app_id: app_id.to_owned() };
                    return Ok((secrets, message));
                }
                Err(Refusal::AppId) => refusal = Refusal::AppId,
                Err(_) => {}
            }
        }
        Err(refusal)
    }
}

/// Leaves the signature out.
impl fmt::Debug for VerifiedQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedQuery").field("timestamp", &self.timestamp).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
