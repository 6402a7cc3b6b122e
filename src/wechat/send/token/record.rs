//! What the store keeps of the access token, and how it changes. The caller excludes other changes.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::forced::ForcedTimes;
use super::store::CLAIM;
use super::{Claim, ForcedLimits, HolderId, Spent, StoredToken, Wanted};
use crate::clock::millis;
use crate::model::Millis;

/// The stored JSON object. Earlier versions know only the first three fields, and read a record without
/// a token as an expired token.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// Empty if there is no token yet.
    value: String,
    generation: u64,
    expires_at: Millis,
    forced: ForcedTimes,
    claim: Option<ClaimRecord>,
}

/// Who fetches, and until when the others wait for it.
#[derive(Serialize, Deserialize)]
struct ClaimRecord {
    holder: HolderId,
    until: Millis,
}

impl ClaimRecord {
    fn new(holder: HolderId, now: Millis) -> Self {
        Self { holder, until: now.plus(millis(CLAIM)) }
    }
}

impl Record {
    /// Reads a stored record. One that cannot be read is like none: the next change replaces it.
    pub fn read(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::default() };
        serde_json::from_str(text).unwrap_or_else(|error| {
            // The error's own text may quote the record, and so the token.
            let column = error.column();
            tracing::warn!(column, "cannot read the stored access token; going on without it");
            Self::default()
        })
    }

    fn token(&self) -> Option<StoredToken> {
        let is_present = !self.value.is_empty();
        is_present.then(|| StoredToken {
            value: SecretString::from(self.value.as_str()),
            generation: self.generation,
            expires_at: self.expires_at,
        })
    }

    /// Ends the claim of whoever has it.
    pub fn end_claim(&mut self) {
        self.claim = None;
    }

    /// Returns the token if it is wanted, or else claims the fetching for `holder`.
    pub fn claim(&mut self, holder: HolderId, wanted: &Wanted, now: Millis) -> Claim {
        let token = self.token();
        if let Some(token) = token.clone().filter(|token| wanted.is_met_by(token)) {
            return Claim::Newer(token);
        }
        if let Some(claim) = self.claim.as_mut().filter(|claim| claim.holder != holder) {
            // A claim that would last longer was made before the clock was set back, or by an
            // instance whose clock is ahead. Its time runs from now, or it would block until the
            // clock is there again.
            claim.until = claim.until.min(now.plus(millis(CLAIM)));
            if now < claim.until {
                return Claim::Busy;
            }
        }
        self.claim = Some(ClaimRecord::new(holder, now));
        Claim::Claimed(token)
    }

    /// Takes one forced refresh from the budget and renews the claim for it.
    pub fn spend_forced(&mut self, holder: HolderId, limits: ForcedLimits, now: Millis) -> Spent {
        // Whoever has taken over the claim may have forced a refresh already; another one would
        // invalidate its token.
        let Some(claim) = self.claim.as_mut().filter(|claim| claim.holder == holder) else {
            return Spent::ClaimLost;
        };
        if let Some(retry_at) = self.forced.blocked_until(limits, now) {
            return Spent::Budget { retry_at };
        }
        self.forced.push(now);
        *claim = ClaimRecord::new(holder, now);
        Spent::Granted
    }

    /// Keeps the newer of `token` and the present one, and ends the claim.
    pub fn save(&mut self, holder: HolderId, token: StoredToken) -> StoredToken {
        self.release(holder);
        let value = token.value.expose_secret();
        if let Some(present) = self.token() {
            let lasts_longer = self.value == value && self.expires_at < token.expires_at;
            let is_newer =
                self.generation < token.generation || (self.generation == token.generation && lasts_longer);
            if !is_newer {
                return present;
            }
        }
        value.clone_into(&mut self.value);
        self.generation = token.generation;
        self.expires_at = token.expires_at;
        token
    }

    /// Ends the claim of `holder`, if it still has it.
    pub fn release(&mut self, holder: HolderId) {
        self.claim.take_if(|claim| claim.holder == holder);
    }
}
