//! The door: whether a call is WeChat's and for us, and what it says.
//!
//! What can be told from the query is told before the body is read. Must never let a push in on the strength of a
//! signature that does not cover what the mode says it must cover.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::envelope;
use super::push::{self, Unusable};
use super::query::Query;
use super::seal::{Seal, Secrets};
use super::xml::{self, Element};
use super::{Refusal, signature};
use crate::config::{AesKey, Mode};
use crate::model::{Millis, Push};

/// What the console and the configuration say. Empty strings count as not set.
#[derive(Clone, Debug)]
pub struct DoorSettings {
    pub token: SecretString,
    /// Still accepted while the token is being changed.
    pub previous_token: Option<SecretString>,
    /// Our AppID; no encrypted push is accepted without it.
    pub app_id: Option<String>,
    /// `gh_...`; when set, pushes for any other account are refused.
    pub account_id: Option<String>,
    pub mode: Mode,
    pub key: Option<AesKey>,
    /// Still accepted while the key is being changed.
    pub previous_key: Option<AesKey>,
    /// When above 0, a push whose `timestamp` is further off than this, either way, is refused. Seconds.
    pub max_skew_s: u64,
}

/// Judges and opens what WeChat sends.
#[derive(Clone, Debug)]
pub struct Door(DoorSettings);

/// A push whose query has passed; the body is still to come.
#[derive(Clone)]
pub struct Knock {
    timestamp: String,
    nonce: String,
    msg_signature: Option<String>,
    /// What `signature` came to: it decides about a body that is not encrypted.
    plain: Result<(), Refusal>,
}

/// A push that is WeChat's and for us.
#[derive(Debug)]
pub struct Opened {
    pub push: Push,
    /// Wraps the reply to it.
    pub seal: Seal,
}

/// Why no push came of a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// Not WeChat's or not for us: 403, nothing stored.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// WeChat's, but nothing can be done with it: log it and answer `success`.
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

impl Door {
    /// A door with these settings. A mode with encryption but without key or AppID refuses what is encrypted.
    pub fn new(mut settings: DoorSettings) -> Self {
        // An empty token would make signatures that anyone can make.
        settings.previous_token = settings.previous_token.filter(|token| !token.expose_secret().is_empty());
        settings.app_id = settings.app_id.filter(|id| !id.is_empty());
        settings.account_id = settings.account_id.filter(|id| !id.is_empty());
        Self(settings)
    }

    /// The check that WeChat makes when the server configuration is saved: the decoded `echostr`, byte for
    /// byte, if the raw query string is rightly signed. `None` when anything is wrong, missing or repeated.
    pub fn echo(&self, query: &str) -> Option<Vec<u8>> {
        let query = Query::read(query).ok()?;
        self.judge_signature(&query).ok()?;
        query.echostr()
    }

    /// Judges the raw query string of a push.
    pub fn knock(&self, query: &str, now: Millis) -> Result<Knock, Refusal> {
        let query = Query::read(query)?;
        let (timestamp, nonce) = (query.timestamp()?, query.nonce()?);
        let plain = self.judge_signature(&query);
        let msg_signature = query.msg_signature();
        match self.0.mode {
            Mode::Plain => plain?,
            Mode::Compatible if msg_signature.is_err() => plain?,
            Mode::Compatible => {}
            // What WeChat sends while its console says otherwise has no such parameter at all.
            Mode::Safe if query.encrypt_type() != Ok("aes") => return Err(Refusal::Plaintext),
            Mode::Safe => {
                msg_signature?;
            }
        }
        self.judge_time(timestamp, now)?;
        Ok(Knock {
            timestamp: timestamp.to_owned(),
            nonce: nonce.to_owned(),
            msg_signature: msg_signature.ok().map(str::to_owned),
            plain,
        })
    }

    /// Judges and opens the body of a push that has knocked.
    pub fn open(&self, knock: &Knock, body: &[u8]) -> Result<Opened, Unopened> {
        let read = xml::read(body);
        let encrypted = read.as_ref().ok().and_then(|root| Some((root, root.text("Encrypt")?.trim())));
        match (self.0.mode, encrypted) {
            (Mode::Safe, None) => Err(Refusal::Plaintext.into()),
            (Mode::Safe | Mode::Compatible, Some((outer, encrypt))) => {
                let (secrets, message) = self.decrypt(knock, encrypt)?;
                self.judge_account(outer)?;
                let inner = xml::read(&message).map_err(Unusable::from)?;
                self.enter(&inner, Seal::encrypted(secrets))
            }
            (Mode::Plain, Some((outer, _))) if outer.child("MsgType").is_none() => {
                Err(Refusal::Encrypted.into())
            }
            (Mode::Plain | Mode::Compatible, _) => {
                knock.plain?;
                self.enter(&read.map_err(Unusable::from)?, Seal::plain())
            }
        }
    }

    fn enter(&self, root: &Element, seal: Seal) -> Result<Opened, Unopened> {
        self.judge_account(root)?;
        Ok(Opened { push: push::of(root)?, seal })
    }

    fn tokens(&self) -> impl Iterator<Item = &SecretString> {
        [Some(&self.0.token), self.0.previous_token.as_ref()]
            .into_iter()
            .flatten()
            .filter(|token| !token.expose_secret().is_empty())
    }

    fn judge_signature(&self, query: &Query<'_>) -> Result<(), Refusal> {
        let covered = [query.timestamp()?, query.nonce()?];
        signature::judge(self.tokens(), &covered, query.signature()?).map(|_| ()).ok_or(Refusal::Token)
    }

    fn judge_time(&self, timestamp: &str, now: Millis) -> Result<(), Refusal> {
        if self.0.max_skew_s == 0 {
            return Ok(());
        }
        let sent: i64 = timestamp.parse().map_err(|_| Refusal::Stale)?;
        if now.seconds().abs_diff(sent) <= self.0.max_skew_s { Ok(()) } else { Err(Refusal::Stale) }
    }

    fn judge_account(&self, root: &Element) -> Result<(), Refusal> {
        match (&self.0.account_id, root.word("ToUserName")) {
            (Some(ours), Some(to)) if ours != to => Err(Refusal::Account),
            _ => Ok(()),
        }
    }

    /// Verifies `msg_signature`, then opens with the current or the previous key.
    fn decrypt(&self, knock: &Knock, encrypt: &str) -> Result<(Secrets, Vec<u8>), Refusal> {
        let given = knock.msg_signature.as_deref().ok_or(Refusal::Missing("msg_signature"))?;
        let covered = [knock.timestamp.as_str(), knock.nonce.as_str(), encrypt];
        let token = signature::judge(self.tokens(), &covered, given).ok_or(Refusal::Token)?;
        let app_id = self.0.app_id.as_deref().ok_or(Refusal::AppId)?;
        let mut refusal = Refusal::Key;
        for key in [&self.0.key, &self.0.previous_key].into_iter().flatten() {
            match envelope::open(key, app_id, encrypt) {
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

/// Without the signature.
impl fmt::Debug for Knock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Knock").field("timestamp", &self.timestamp).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
