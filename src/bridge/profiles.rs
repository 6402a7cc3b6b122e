//! What WeChat tells of customers: asked for when the first line of a conversation is sent, and kept in the store.
//!
//! Best effort: a first line waits for an answer only for a moment, and a customer's message never waits for anything
//! else. While WeChat does not answer, or does not tell this account, nobody asks.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::{Bridge, first_line};
use crate::model::{Millis, OpenId, Profile};
use crate::store::{Scope, StoreError};

/// How long what WeChat told counts as fresh, milliseconds.
const FRESH_MS: i64 = 3600 * 1000;
/// How long a first line waits for WeChat's answer.
const WAIT: Duration = Duration::from_millis(400);
/// How long nobody asks after WeChat did not answer, milliseconds.
const REST_MS: i64 = 60 * 1000;
/// How long nobody asks after WeChat said that the account may not, milliseconds.
const DENIED_MS: i64 = 24 * 3600 * 1000;
/// The most requests that wait or run. Others are dropped.
const MAX_REQUESTS: usize = 256;

/// Why WeChat told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileFailure {
    /// It does not know the customer.
    Customer,
    /// It does not answer, or not now.
    Unavailable,
    /// It does not tell this account.
    Denied,
}

/// The requests for profiles.
#[derive(Debug)]
pub(super) struct Profiles {
    running: Mutex<HashSet<OpenId>>,
    requests: mpsc::Sender<OpenId>,
    receiver: Mutex<Option<mpsc::Receiver<OpenId>>>,
    ended: watch::Sender<()>,
    /// Nobody asks before this time, Unix milliseconds.
    not_before: AtomicI64,
}

impl Default for Profiles {
    fn default() -> Self {
        let (requests, receiver) = mpsc::channel(MAX_REQUESTS);
        Self {
            running: Mutex::default(),
            requests,
            receiver: Mutex::new(Some(receiver)),
            ended: watch::Sender::new(()),
            not_before: AtomicI64::new(0),
        }
    }
}

impl Profiles {
    fn may_ask(&self, now: Millis) -> bool {
        let not_before = self.not_before.load(Ordering::Relaxed);
        // It can only be further off because the clock was set back.
        !(1..=DENIED_MS).contains(&Millis(not_before).since(now))
    }

    /// Requests a profile. Returns whether an answer can be awaited.
    fn request(&self, openid: &OpenId) -> bool {
        // Whoever has taken the receiver answers. Without credentials nobody has.
        if self.receiver.lock().is_some() || !self.running.lock().insert(openid.clone()) {
            return false;
        }
        let is_requested = self.requests.try_send(openid.clone()).is_ok();
        if !is_requested {
            self.running.lock().remove(openid);
        }
        is_requested
    }

    async fn ended(&self, openid: &OpenId) {
        let mut ended = self.ended.subscribe();
        while self.running.lock().contains(openid) {
            if ended.changed().await.is_err() {
                return;
            }
        }
    }

    fn end(&self, openid: &OpenId) {
        self.running.lock().remove(openid);
        self.ended.send_replace(());
    }
}

impl Bridge {
    /// The requests for profiles, for the one who asks WeChat; `None` if they were taken before.
    pub fn take_profile_requests(&self) -> Option<mpsc::Receiver<OpenId>> {
        self.0.profiles.receiver.lock().take()
    }

    /// Stores what WeChat answered to a request.
    pub async fn end_profile_request(&self, openid: &OpenId, answer: Result<Profile, ProfileFailure>) {
        let profiles = &self.0.profiles;
        let rest_ms = match &answer {
            Ok(_) | Err(ProfileFailure::Customer) => 0,
            Err(ProfileFailure::Unavailable) => REST_MS,
            Err(ProfileFailure::Denied) => DENIED_MS,
        };
        if rest_ms > 0 {
            profiles.not_before.store(self.0.clock.now().plus(rest_ms).0, Ordering::Relaxed);
        }
        if let Ok(profile) = answer {
            let customer = openid.clone();
            let put = self.0.store.write_for(Scope::customer(openid).in_background(), move |tx| {
                tx.put_profile(&customer, &profile)
            });
            if let Err(error) = put.await {
                tracing::debug!(%error, "cannot store what WeChat tells of a customer");
            }
        }
        profiles.end(openid);
    }

    /// What WeChat tells of the customer, as far as it is known within a moment.
    pub async fn profile(&self, openid: &OpenId) -> Option<Profile> {
        let profiles = &self.0.profiles;
        let stored = self.stored_profile(openid).await;
        let now = self.0.clock.now();
        let is_fresh = |profile: &Profile| (0..FRESH_MS).contains(&now.since(profile.read_at));
        // An account that may not push has no such API either.
        let may_ask = self.may_push(now) && profiles.may_ask(now);
        if stored.as_ref().is_some_and(is_fresh) || !may_ask || !profiles.request(openid) {
            return stored;
        }
        // The request goes on if this wait ends before it, and the next line has its answer.
        if tokio::time::timeout(WAIT, profiles.ended(openid)).await.is_err() {
            return stored;
        }
        self.stored_profile(openid).await
    }

    /// What WeChat told of the customer last.
    pub async fn stored_profile(&self, openid: &OpenId) -> Option<Profile> {
        let customer = openid.clone();
        let read: Result<_, StoreError> = self.0.store.read(move |tx| tx.profile(&customer)).await;
        read.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot read what WeChat told of a customer");
            None
        })
    }

    /// The first line of a conversation as it is sent.
    pub fn complete_first_line(&self, line: &str, profile: Option<&Profile>) -> String {
        match profile {
            Some(profile) => first_line::with_profile(self.locale(), line, profile),
            None => line.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_request_for_a_customer_runs_at_a_time_and_none_without_someone_to_ask() {
        let profiles = Profiles::default();
        let anna = OpenId::new("oAnna").unwrap();
        assert!(!profiles.request(&anna), "nobody answers");
        let mut requests = profiles.receiver.lock().take().unwrap();
        assert!(profiles.request(&anna) && !profiles.request(&anna));
        assert_eq!(requests.recv().await, Some(anna.clone()));
        tokio::join!(profiles.ended(&anna), async { profiles.end(&anna) });
        assert!(profiles.request(&anna));
        for n in 0..MAX_REQUESTS {
            profiles.request(&OpenId::new(format!("o{n}")).unwrap());
        }
        assert!(!profiles.request(&OpenId::new("oLate").unwrap()), "at the limit it is dropped");
        assert_eq!(profiles.running.lock().len(), MAX_REQUESTS);
    }

    #[test]
    fn after_a_failure_nobody_asks_for_a_while_whatever_the_clock_does() {
        let profiles = Profiles::default();
        let now = Millis(1_700_000_000_000);
        assert!(profiles.may_ask(now));
        profiles.not_before.store(now.plus(REST_MS).0, Ordering::Relaxed);
        assert!(!profiles.may_ask(now) && profiles.may_ask(now.plus(REST_MS)));
        assert!(profiles.may_ask(now.plus(-2 * DENIED_MS)), "the clock was set back");
    }
}
