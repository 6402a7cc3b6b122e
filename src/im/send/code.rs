//! The one table of Tencent IM's error codes and their meaning for the bridge.
//!
//! A code that the table does not list is permanent. Sources: docs 269/1671 and the reference,
//! "Error codes with a handling class".

use std::time::Duration;

/// How to react to a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The call succeeded.
    Success,
    /// IM is busy or has an internal error: retry with backoff.
    Backoff,
    /// More calls per second than the API allows: slow down, then retry.
    Quota,
    /// An allowance of the app's edition is used up until its day or month ends.
    Allowance,
    /// IM refused the UserSig: renew it and retry once, then with backoff.
    RefreshSig,
    /// IM refused too many UserSigs: make no call for at least a minute.
    LockedOut,
    /// An account of the message is not imported: import the customer's and retry once; an agent's is never imported.
    CreateAccount,
    /// This UserID was deleted and may not be used again: the customer needs another one.
    NextUserId,
    /// A setting is wrong, here or in the console; the message is not at fault: wait for the
    /// operator.
    Configuration,
    /// The call can never succeed.
    Permanent,
}

impl Class {
    /// The name in logs, metrics and documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Backoff => "backoff",
            Self::Quota => "quota",
            Self::Allowance => "allowance",
            Self::RefreshSig => "refresh_sig",
            Self::LockedOut => "locked_out",
            Self::CreateAccount => "create_account",
            Self::NextUserId => "next_user_id",
            Self::Configuration => "configuration",
            Self::Permanent => "permanent",
        }
    }

    /// The shortest time before the next attempt, if it is longer than the usual backoff.
    pub fn pause(self) -> Option<Duration> {
        match self {
            Self::LockedOut => Some(Duration::from_mins(1)),
            // It is not documented when the day ends, and the operator may enlarge the package:
            // retry once an hour.
            Self::Allowance => Some(Duration::from_hours(1)),
            _ => None,
        }
    }
}

/// The plan allows no more accounts.
const ACCOUNTS_USED_UP: i64 = 70398;

/// Generates a `match` and a list from one table, so that a test can compare the documentation with
/// the list. The compiler rejects a code that appears twice.
macro_rules! table {
    ($($class:ident: $($code:literal)+;)+) => {
        /// Every listed code with its class.
        pub const TABLE: &[(i64, Class)] = &[$($(($code, Class::$class),)+)+];

        /// The class of `code`.
        pub fn class(code: i64) -> Class {
            let listed = match code {
                $($($code)|+ => Some(Class::$class),)+
                _ => None,
            };
            listed.unwrap_or(Class::Permanent)
        }
    };
}

table! {
    // 20023: the message is already recalled.
    Success: 0 20023;

    // 90995: the newest documentation says that the message may be too long; ours stay below every
    // limit.
    Backoff:
        60008 60013 60014
        70169 70202 70500
        40006
        80003
        20004 20005
        90992 90994 90995 91000
        1004;

    Quota: 60007 60011 60018 60019 90057;

    Allowance: 60028 72000 72002 22007;

    RefreshSig: 60004 60005 60025 70001 70003 70005 70052 20002;

    LockedOut: 70050;

    // 90003 and 90008 also mean a field that is missing or not a String; ours never are.
    CreateAccount: 70107 40003 20003 90003 90008 90012 90048;

    NextUserId: 70399;

    // The platform calls most of these permanent. For a message they are not: it is sent once the
    // setting is fixed.
    Configuration:
        60006 60009 60010 60012 60016 60017 60020 60021 60026
        70009 70013 70014 70016 70020 70398 70403
        40004
        80005
        90009;

    Permanent:
        60002 60003 60015
        70002 70051 70114 70206 70402 71000
        40001 40005 40008 40009 40601 40605 40610
        80001 80002 80004
        20001 20006 20007 20009 20010 20011 20012 20016 20022
        90001 90002 90005 90006 90007 90010 90011 90018 90026 90028 90029 90030 90031 90043 90044 90054 90055
        93000;
}

/// Whether an allowance of the app or of its plan is used up: of calls, messages or accounts.
pub fn is_allowance(code: i64) -> bool {
    class(code) == Class::Allowance || code == ACCOUNTS_USED_UP
}

/// What the operator should do about `code`; `None` if the operator need not act.
pub fn advice(code: i64) -> Option<&'static str> {
    Some(match code {
        60006 | 60012 | 70014 | 70016 | 70020 => {
            "check im.sdk_app_id, and that im.api_base is its region's domain"
        }
        60026 => "set im.api_base to the domain of the app's region",
        60009 => "check im.api_base: it must be the bare domain of the app's region",
        60010 | 70013 | 70403 | 40004 | 90009 => "make im.admin an administrator of the app in the console",
        60016 | 60017 => "the app is disabled: enable it in the console, or ask Tencent why",
        60020 | 80005 => "the package has expired or the Tencent account is in arrears: pay or renew it",
        60021 => "allow this server's address in the console's IP list",
        70009 => "copy im.secret_key from the console again: it belongs to another app or was changed",
        70001 => "if this stays: check this machine's clock, and im.usersig_expire_s",
        60025 => "if this stays: check im.sdk_app_id and im.admin",
        70003 | 70005 | 70052 | 60004 | 60005 | 20002 => "if this stays: check im.secret_key and im.admin",
        70050 => {
            "too many refused UserSigs: check im.secret_key and im.admin; IM answers again after a minute"
        }
        70398 => "the package allows no more accounts: enlarge it, or delete accounts in the console",
        60028 | 72000 | 72002 | 22007 => {
            "the allowance of the app's edition is used up: wait for its reset, or take a larger edition"
        }
        71000 => "allow account deletion in the console, or set im.on_unsubscribe = \"keep\"",
        80003 | 90992 => {
            "another webhook of the app answers wrongly or late: check the before-send webhook's URL"
        }
        80001 | 80004 => "content moderation blocked it: its rules are in the console",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_vendor_says() {
        for (code, expected) in [
            (0, Class::Success),
            (60008, Class::Backoff),
            (60007, Class::Quota),
            (60028, Class::Allowance),
            (70001, Class::RefreshSig),
            (70050, Class::LockedOut),
            (90012, Class::CreateAccount),
            (70399, Class::NextUserId),
            (70009, Class::Configuration),
            (60021, Class::Configuration),
            (80001, Class::Permanent),
            (93000, Class::Permanent),
            (120_010, Class::Permanent),
            (-1, Class::Permanent),
            (i64::MAX, Class::Permanent),
        ] {
            assert_eq!(class(code), expected, "{code}");
        }
    }

    #[test]
    fn the_list_and_the_match_agree() {
        for &(code, listed) in TABLE {
            assert_eq!(class(code), listed, "{code}");
        }
    }

    #[test]
    fn every_operator_fault_has_advice() {
        for &(code, class) in TABLE {
            let needs_operator = matches!(
                class,
                Class::Configuration | Class::Allowance | Class::LockedOut | Class::RefreshSig
            );
            assert!(!needs_operator || advice(code).is_some(), "{code}");
        }
    }
}
