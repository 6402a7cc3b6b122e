//! Access tokens of both endpoints, which are independent of each other (reference: section 6.1).

use std::collections::VecDeque;

use rand::RngExt as _;

use crate::model::Millis;

use super::codes;

/// How long an old and a new token are valid together, in milliseconds. `stable_token` renews a
/// token in its last five minutes, and `token` leaves the old one five more minutes.
const OVERLAP_MS: i64 = 300_000;
/// The shortest time between two effective forced refreshes, in milliseconds.
const FORCED_SPACING_MS: i64 = 30_000;
/// The most forced refreshes a day.
const FORCED_PER_DAY: u32 = 20;
/// The offset of Beijing time, in milliseconds. Days change at midnight in Beijing.
const BEIJING_MS: i64 = 8 * 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// The most tokens that are remembered. An older token counts as unknown.
const MAX_REMEMBERED: usize = 64;

/// A token and its remaining lifetime in seconds.
pub(super) type TokenGrant = (String, i64);

#[derive(Debug)]
struct Token {
    value: String,
    expires: Millis,
    revoked: bool,
    /// Calls with it are refused, and it is handed out all the same.
    is_distrusted: bool,
}

/// The tokens that were issued lately.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    issued: VecDeque<Token>,
    stable: Option<String>,
    plain: Option<String>,
    forced_at: Option<Millis>,
    /// A day and the number of forced refreshes on that day.
    forced: (i64, u32),
}

impl Tokens {
    /// Serves `stable_token`. Returns the token and whether it is new. The error is a return code.
    pub fn stable(&mut self, now: Millis, lifetime_s: i64, force: bool) -> Result<(TokenGrant, bool), i64> {
        if force && self.forced_at.is_none_or(|at| now.since(at) >= FORCED_SPACING_MS) {
            let day = now.plus(BEIJING_MS).0.div_euclid(DAY_MS);
            if self.forced.0 != day {
                self.forced = (day, 0);
            }
            if self.forced.1 == FORCED_PER_DAY {
                return Err(codes::DAILY_QUOTA);
            }
            self.forced.1 += 1;
            self.forced_at = Some(now);
            let old = self.stable.take();
            for token in self.issued.iter_mut().filter(|token| Some(&token.value) == old.as_ref()) {
                token.revoked = true;
            }
        }
        let overlap = OVERLAP_MS.min(lifetime_s * 500);
        if let Some(token) = self.issued.iter().find(|token| Some(&token.value) == self.stable.as_ref())
            && !token.revoked
            && token.expires.since(now) > overlap
        {
            return Ok(((token.value.clone(), token.expires.since(now) / 1000), false));
        }
        let value = self.issue(now, lifetime_s);
        self.stable = Some(value.clone());
        Ok(((value, lifetime_s), true))
    }

    /// Serves `token`. Issues a new token each time. The previous one lives at most five more
    /// minutes.
    pub fn plain(&mut self, now: Millis, lifetime_s: i64) -> TokenGrant {
        let old = self.plain.take();
        for token in self.issued.iter_mut().filter(|token| Some(&token.value) == old.as_ref()) {
            token.expires = token.expires.min(now.plus(OVERLAP_MS));
        }
        let value = self.issue(now, lifetime_s);
        self.plain = Some(value.clone());
        (value, lifetime_s)
    }

    /// Checks the token of a call. The error is a return code.
    pub fn check(&self, now: Millis, value: Option<&str>) -> Result<(), i64> {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Err(codes::TOKEN_MISSING) };
        match self.issued.iter().find(|token| token.value == value) {
            Some(token) if token.revoked || token.is_distrusted => Err(codes::TOKEN_INVALID),
            Some(token) if token.expires <= now => Err(codes::TOKEN_EXPIRED),
            Some(_) => Ok(()),
            None => Err(codes::TOKEN_INVALID),
        }
    }

    /// Makes every token invalid, as a forced refresh by another program does.
    pub fn revoke_all(&mut self) {
        for token in &mut self.issued {
            token.revoked = true;
        }
    }

    /// Refuses every token from now on, and goes on handing the stable one out until it is forced to make another, as
    /// WeChat does at times.
    pub fn distrust_all(&mut self) {
        for token in &mut self.issued {
            token.is_distrusted = true;
        }
    }

    /// Makes every token expire now.
    pub fn expire_all(&mut self, now: Millis) {
        for token in &mut self.issued {
            token.expires = token.expires.min(now);
        }
    }

    fn issue(&mut self, now: Millis, lifetime_s: i64) -> String {
        let random: [u8; 48] = rand::rng().random();
        let value = format!("77_{}", hex::encode(random));
        if self.issued.len() == MAX_REMEMBERED {
            self.issued.pop_front();
        }
        let expires = now.plus(lifetime_s * 1000);
        self.issued.push_back(Token { value: value.clone(), expires, revoked: false, is_distrusted: false });
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_700_000_000_000);

    #[test]
    fn a_stable_token_stays_until_its_last_five_minutes() {
        let mut tokens = Tokens::default();
        let ((first, lifetime), is_new) = tokens.stable(NOW, 7200, false).unwrap();
        assert_eq!((lifetime, is_new), (7200, true));
        let later = NOW.plus(6_899_000);
        assert_eq!(tokens.stable(later, 7200, false), Ok(((first.clone(), 301), false)));
        let renewal = NOW.plus(6_900_000);
        let ((second, _), is_new) = tokens.stable(renewal, 7200, false).unwrap();
        assert!(is_new && first != second);
        assert_eq!(tokens.check(renewal, Some(&first)), Ok(()));
        assert_eq!(tokens.check(renewal, Some(&second)), Ok(()));
        assert_eq!(tokens.check(NOW.plus(7_200_000), Some(&first)), Err(42001));
        assert_eq!(tokens.check(NOW, Some("other")), Err(40001));
        assert_eq!(tokens.check(NOW, None), Err(41001));
    }

    #[test]
    fn a_forced_refresh_revokes_the_token_and_is_limited() {
        let mut tokens = Tokens::default();
        let ((first, _), _) = tokens.stable(NOW, 7200, false).unwrap();
        let ((second, _), _) = tokens.stable(NOW, 7200, true).unwrap();
        assert_eq!(tokens.check(NOW, Some(&first)), Err(40001));
        let soon = NOW.plus(29_999);
        assert_eq!(tokens.stable(soon, 7200, true).unwrap().0.0, second);
        for n in 1..20 {
            assert!(tokens.stable(NOW.plus(n * 30_000), 7200, true).unwrap().1);
        }
        assert_eq!(tokens.stable(NOW.plus(20 * 30_000), 7200, true), Err(45009));
        assert!(tokens.stable(NOW.plus(20 * 30_000), 7200, false).is_ok());
        assert!(tokens.stable(NOW.plus(DAY_MS), 7200, true).unwrap().1);
    }

    #[test]
    fn the_plain_endpoint_gives_a_new_token_each_time_and_leaves_the_stable_one_alone() {
        let mut tokens = Tokens::default();
        let ((stable, _), _) = tokens.stable(NOW, 7200, false).unwrap();
        let (first, _) = tokens.plain(NOW, 7200);
        let (second, _) = tokens.plain(NOW, 7200);
        assert_eq!(tokens.check(NOW.plus(299_999), Some(&first)), Ok(()));
        assert_eq!(tokens.check(NOW.plus(300_000), Some(&first)), Err(42001));
        assert_eq!(tokens.check(NOW.plus(300_000), Some(&second)), Ok(()));
        assert_eq!(tokens.check(NOW.plus(300_000), Some(&stable)), Ok(()));
    }
}
