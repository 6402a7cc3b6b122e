//! The accounts of WeChat's customer service as whom customers see agents: which of them WeChat does not take.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::model::Millis;

/// How long an account is not named after WeChat refused it, milliseconds.
const REST_MS: i64 = 3600 * 1000;

/// The return codes that are about the account and not about the message: it does not exist, is not bound, or the
/// feature is off.
const ABOUT_ACCOUNT: [i64; 7] = [61452, 61454, 61455, 65400, 65401, 65402, 65404];

/// Whether WeChat did not take the account.
pub(super) fn is_about_account(code: i64) -> bool {
    ABOUT_ACCOUNT.contains(&code)
}

/// The accounts that WeChat does not take, and since when. There are no more than agents.
#[derive(Debug, Default)]
pub struct RefusedAccounts(Mutex<HashMap<String, Millis>>);

impl RefusedAccounts {
    /// Whether WeChat refused the account not long ago.
    pub(super) fn contains(&self, account: &str, now: Millis) -> bool {
        self.0.lock().get(account).is_some_and(|at| (0..REST_MS).contains(&now.since(*at)))
    }

    /// Records that WeChat refuses the account.
    pub(super) fn record(&self, account: &str, code: i64, now: Millis) {
        self.0.lock().insert(account.to_owned(), now);
        tracing::warn!(
            account,
            code,
            "WeChat does not take an account of desk.kf_accounts; the agent's messages go without it for an hour"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_account_rests_for_an_hour() {
        let (accounts, now) = (RefusedAccounts::default(), Millis(1_700_000_000_000));
        accounts.record("anna@shop", 61452, now);
        assert!(accounts.contains("anna@shop", now) && !accounts.contains("ben@shop", now));
        assert!(accounts.contains("anna@shop", now.plus(REST_MS - 1)));
        assert!(!accounts.contains("anna@shop", now.plus(REST_MS)));
        assert!(!accounts.contains("anna@shop", now.plus(-1)), "the clock was set back");
        assert!(is_about_account(65402) && !is_about_account(45015));
    }
}
