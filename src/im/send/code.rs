//! What each of Tencent IM's error codes means to the bridge: the one table.
//!
//! A code that the table does not list is permanent. Sources: docs 269/1671 and the reference, "Error codes with
//! a handling class".

use std::time::Duration;

/// What to do about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// It is done.
    Success,
    /// Not done, IM is busy or broken inside: again, with backoff.
    Backoff,
    /// Not done, more calls a second than the API allows: slow down, then again.
    Quota,
    /// Not done, an allowance of the app's edition is used up until its day or month ends.
    Allowance,
    /// Not done, the UserSig was refused: renew it and try once more, then with backoff.
    RefreshSig,
    /// Not done, too many refused UserSigs: leave IM alone for at least a minute.
    LockedOut,
    /// Not done, an account of the message is not imported: import it and try once more.
    CreateAccount,
    /// Not done, this UserID was deleted and may not come back: the customer needs another.
    NextUserId,
    /// Not done, a setting is wrong here or in the console, the message is not at fault: wait for the operator.
    Configuration,
    /// It can never succeed.
    Permanent,
}

impl Class {
    /// The name in logs, metrics and documents.
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

    /// The least time before the next attempt, where it is longer than the ordinary backoff reaches.
    pub fn pause(self) -> Option<Duration> {
        match self {
            Self::LockedOut => Some(Duration::from_mins(1)),
            // When the day ends is not documented, and an operator may enlarge the package: ask once an hour.
            Self::Allowance => Some(Duration::from_hours(1)),
            _ => None,
        }
    }
}

/// Writes the table once, as a `match` and as a list, so that documents can be tested against the list. The
/// compiler refuses a code that stands in it twice.
macro_rules! table {
    ($($class:ident: $($code:literal)+;)+) => {
        /// Every listed code with its class.
        pub const TABLE: &[(i64, Class)] = &[$($(($code, Class::$class),)+)+];

        /// What to do about `code`.
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
    // 20023: the message that should be recalled already is.
    Success: 0 20023;

    // 90995: the newest text says that the message may be too long; ours are kept below every documented limit.
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

    // 90003 and 90008 also stand for a field that is missing or no String, which ours never are.
    CreateAccount: 70107 40003 20003 90003 90008 90012 90048;

    NextUserId: 70399;

    // Most are "permanent" to the platform; to a message they are not, since a repaired setting lets it pass.
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

/// What an operator can do about `code`, where it is theirs to do.
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
    fn whoever_must_repair_something_is_told_what() {
        for &(code, class) in TABLE {
            let operators = matches!(
                class,
                Class::Configuration | Class::Allowance | Class::LockedOut | Class::RefreshSig
            );
            assert!(!operators || advice(code).is_some(), "{code}");
        }
    }
}
