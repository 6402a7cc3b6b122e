//! Caches one UserSig of the admin, and renews it before it expires or when IM refuses it.

use parking_lot::{Mutex, MutexGuard};

use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::Clock;
use crate::model::{ImUserId, Millis};

/// How long before its expiry a UserSig is replaced, in seconds.
const AHEAD_S: u64 = 100;

/// The shortest time between two renewals that IM's refusals cause: two UserSigs created in the
/// same second are identical.
const FORCED_APART_MS: i64 = 1000;

/// Signs for the admin account with the app's secret key.
#[derive(Debug)]
pub struct Signer {
    sdk_app_id: u32,
    key: SecretString,
    admin: ImUserId,
    expire_s: u64,
    clock: Clock,
    cached: Mutex<Option<Cached>>,
}

#[derive(Clone, Debug)]
struct Cached {
    sig: SecretString,
    renew_at_s: i64,
    forced_at: Option<Millis>,
}

impl Signer {
    /// Creates a signer for the admin; each UserSig is valid for `expire_s` seconds.
    pub fn new(sdk_app_id: u32, key: SecretString, admin: ImUserId, expire_s: u64, clock: Clock) -> Self {
        Self { sdk_app_id, key, admin, expire_s, clock, cached: Mutex::new(None) }
    }

    /// The app it signs for.
    pub fn sdk_app_id(&self) -> u32 {
        self.sdk_app_id
    }

    /// The account it signs for.
    pub fn admin(&self) -> &ImUserId {
        &self.admin
    }

    /// The clock by which it signs.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns a UserSig that stays valid for a while: the cached one, or a new one if the cached
    /// one is close to its expiry (100 s, or a tenth of its validity if that is less).
    pub fn current(&self) -> SecretString {
        let mut cached = self.cached();
        if let Some(cached) = cached.as_ref().filter(|cached| self.clock.now().seconds() < cached.renew_at_s)
        {
            return cached.sig.clone();
        }
        let forced_at = cached.as_ref().and_then(|cached| cached.forced_at);
        cached.insert(self.create_cached(forced_at)).sig.clone()
    }

    /// Creates a new UserSig because IM refused `used`, unless another caller already has, or a
    /// renewal was forced within the last second.
    pub fn refresh(&self, used: &str) {
        let now = self.clock.now();
        let mut cached = self.cached();
        let Some(old) = cached.as_ref().filter(|old| old.sig.expose_secret() == used) else { return };
        // A clock that was set back makes the distance negative; that must not block renewals until
        // the clock has caught up.
        let just_forced = old.forced_at.is_some_and(|at| (0..FORCED_APART_MS).contains(&now.since(at)));
        if !just_forced {
            *cached = Some(self.create_cached(Some(now)));
        }
    }

    fn create_cached(&self, forced_at: Option<Millis>) -> Cached {
        let now_s = self.clock.now().seconds();
        let key = self.key.expose_secret();
        let sig = super::create(self.sdk_app_id, key, self.admin.as_str(), self.expire_s, now_s, None);
        let ahead_s = AHEAD_S.min(self.expire_s / 10);
        let renew_at_s = now_s.saturating_add_unsigned(self.expire_s - ahead_s);
        Cached { sig: sig.into(), renew_at_s, forced_at }
    }

    fn cached(&self) -> MutexGuard<'_, Option<Cached>> {
        self.cached.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::im::send::usersig::verify;

    const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";

    fn signer(expire_s: u64) -> (Signer, Clock) {
        let clock = Clock::movable();
        let admin = ImUserId::new("administrator").unwrap();
        (Signer::new(1_400_000_000, KEY.into(), admin, expire_s, clock.clone()), clock)
    }

    fn current(signer: &Signer) -> String {
        signer.current().expose_secret().to_owned()
    }

    #[test]
    fn one_sig_is_used_until_shortly_before_it_expires() {
        for (expire_s, kept_s) in [(86_400, 86_290), (100, 85)] {
            let (signer, clock) = signer(expire_s);
            let first = current(&signer);
            clock.advance(kept_s * 1000);
            assert_eq!(current(&signer), first);
            clock.advance(12 * 1000);
            let second = current(&signer);
            assert_ne!(second, first);
            let now_s = clock.now().seconds();
            assert!(verify(&first, 1_400_000_000, KEY, now_s).is_ok(), "it was renewed too late");
            assert_eq!(verify(&second, 1_400_000_000, KEY, now_s).unwrap().identifier, "administrator");
        }
    }

    #[test]
    fn a_refused_sig_is_renewed_once_for_all_callers() {
        let (signer, clock) = signer(86_400);
        let first = current(&signer);
        clock.advance(5_000);
        signer.refresh(&first);
        let second = current(&signer);
        assert_ne!(second, first);
        clock.advance(5_000);
        signer.refresh(&first);
        assert_eq!(current(&signer), second, "a late refusal of the old one renews nothing");
    }

    #[test]
    fn refusals_renew_at_most_once_a_second() {
        let (signer, clock) = signer(86_400);
        clock.advance(2_000);
        signer.refresh(&current(&signer));
        let forced = |signer: &Signer| signer.cached().as_ref().and_then(|cached| cached.forced_at);
        let first = forced(&signer);
        assert!(first.is_some());
        clock.advance(100);
        signer.refresh(&current(&signer));
        assert_eq!(forced(&signer), first);
        clock.advance(1_000);
        signer.refresh(&current(&signer));
        assert_ne!(forced(&signer), first);
    }

    #[test]
    fn a_clock_set_back_does_not_forbid_renewal() {
        let (signer, clock) = signer(86_400);
        signer.refresh(&current(&signer));
        let second = current(&signer);
        clock.advance(-3_600_000);
        signer.refresh(&second);
        assert_ne!(current(&signer), second);
    }

    #[test]
    fn debug_shows_no_secret() {
        let (signer, _) = signer(86_400);
        let sig = current(&signer);
        let debug_text = format!("{signer:?}");
        assert!(!debug_text.contains(KEY) && !debug_text.contains(&sig), "{debug_text}");
    }
}
