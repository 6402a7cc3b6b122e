//! What can be set of the simulated IM app: identity, console switches, limits, and the generation of its API.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use secrecy::SecretString;

/// The simulated app as its console would show it. Change it at run time with `ImSim::change`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the REST API listens; port 0 takes any free one. Read at start only.
    pub listen: SocketAddr,
    pub sdk_app_id: u32,
    pub secret_key: SecretString,
    /// Accounts that may be the `identifier` of a REST call. They exist from the start.
    pub admins: Vec<String>,
    /// Where webhooks go; `None` means that none are sent.
    pub callback_url: Option<String>,
    /// Set, every webhook carries `Sign` and `RequestTime`.
    pub callback_token: Option<SecretString>,
    /// How long the receiver of a webhook may take (reference: 2 s).
    pub callback_timeout: Duration,
    /// The console's "retry on timeout", for webhooks after the event. The number of retries is not documented: one here.
    pub retry_on_timeout: bool,
    pub webhooks: Webhooks,
    /// Calls a second of each API; those the reference lists with 100 have half. Bursts: one second's worth.
    pub rate_per_second: u32,
    pub edition: Edition,
    /// What `account_import` and `kick` call the account.
    pub account_fields: Generation,
    /// What `admin_getroammsg` calls the two sides.
    pub history_fields: Generation,
    /// Whether a repeat within one second is dropped (reference 4.3).
    pub dedup: bool,
    /// How long a message stays invisible to `admin_getroammsg`.
    pub history_delay_ms: i64,
    /// Largest `MsgBody` and `CloudCustomData` together, in bytes: 12,000, and 8,000 until about 2022.
    pub body_limit: usize,
    /// Messages kept for history; the oldest go first.
    pub history_limit: usize,
    /// Entries kept in each list of the ledger; the oldest go first.
    pub ledger_limit: usize,
}

/// The generation of field names that a server understands; it ignores the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// `UserID`; `Operator_Account` and `Peer_Account`.
    New,
    /// `Identifier`; `From_Account` and `To_Account`.
    Old,
    /// Either; the new one wins.
    Both,
}

impl Generation {
    /// The names to look for, the preferred one first.
    pub(super) fn names(self, new: &'static str, old: &'static str) -> [&'static str; 2] {
        match self {
            Self::New => [new, new],
            Self::Old => [old, old],
            Self::Both => [new, old],
        }
    }
}

/// What the app's package allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    /// Accounts beyond this many are refused with 70398.
    pub account_cap: Option<usize>,
    /// Whether `account_delete` is allowed; otherwise 71000.
    pub deletion: bool,
    /// Whether a deleted UserID may be imported at once; otherwise 70399 for 90 days.
    pub reimport_after_delete: bool,
}

impl Edition {
    /// Trial: 100 accounts, deletion and re-import allowed.
    pub const TRIAL: Self = Self { account_cap: Some(100), deletion: true, reimport_after_delete: true };
    /// Paid, with deletion enabled in the console.
    pub const PAID: Self = Self { account_cap: None, deletion: true, reimport_after_delete: false };
    /// Everything allowed, for tests that are about something else.
    pub const UNLIMITED: Self = Self { account_cap: None, deletion: true, reimport_after_delete: true };
}

/// The console's switch per event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Webhooks {
    pub before_send: BeforeSend,
    /// `C2C.CallbackAfterSendMsg`.
    pub after_send: bool,
    /// `C2C.CallbackAfterMsgReport`.
    pub after_read: bool,
    /// `C2C.CallbackAfterMsgWithDraw`.
    pub after_withdraw: bool,
}

/// `C2C.CallbackBeforeSendMsg`, and what happens to a message whose webhook fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeforeSend {
    Off,
    /// Switched on; a failing webhook lets the message through (the console's default).
    DeliverOnFailure,
    /// Switched on; a failing webhook refuses the message with 80003.
    RefuseOnFailure,
}

impl Settings {
    /// An app with the defaults of the reference, no webhook URL yet, and no limit on accounts.
    pub fn new(sdk_app_id: u32, secret_key: impl Into<SecretString>, admin: impl Into<String>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            sdk_app_id,
            secret_key: secret_key.into(),
            admins: vec![admin.into()],
            callback_url: None,
            callback_token: None,
            callback_timeout: Duration::from_secs(2),
            retry_on_timeout: false,
            webhooks: Webhooks {
                before_send: BeforeSend::Off,
                after_send: true,
                after_read: false,
                after_withdraw: false,
            },
            rate_per_second: 200,
            edition: Edition::UNLIMITED,
            account_fields: Generation::New,
            history_fields: Generation::New,
            dedup: true,
            history_delay_ms: 0,
            body_limit: 12_000,
            history_limit: 200_000,
            ledger_limit: 200_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let mut settings = Settings::new(1, "the-secret-key", "administrator");
        settings.callback_token = Some("the-token".into());
        let shown = format!("{settings:?}");
        assert!(!shown.contains("the-secret-key") && !shown.contains("the-token"), "{shown}");
    }
}
