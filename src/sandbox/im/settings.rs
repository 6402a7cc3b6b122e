//! Settings of the simulated IM app: identity, console switches, limits, and the generation of its
//! API.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use secrecy::SecretString;

/// The settings of the simulated app. `ImSim::change` changes them at run time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address on which the REST API listens. Port 0 takes a free one. It is read at the start
    /// only.
    pub listen: SocketAddr,
    /// The SDKAppID.
    pub sdk_app_id: u32,
    /// The key that signs UserSigs.
    pub secret_key: SecretString,
    /// The accounts that may be the `identifier` of a REST call. They exist from the start.
    pub admins: Vec<String>,
    /// The URL that receives webhooks. `None` sends no webhooks.
    pub callback_url: Option<String>,
    /// The token that signs webhooks. If it is set, every webhook has `Sign` and `RequestTime`.
    pub callback_token: Option<SecretString>,
    /// How long the platform waits for the answer to a webhook (reference: 2 s).
    pub callback_timeout: Duration,
    /// The console's "retry on timeout", for webhooks after the event. The number of retries is not
    /// documented; this platform makes one.
    pub retry_on_timeout: bool,
    /// The webhooks that are switched on.
    pub webhooks: Webhooks,
    /// The calls per second of each API. The APIs that the reference lists with 100 have half. A
    /// burst may have the calls of one second.
    pub rate_per_second: u32,
    /// The limits of the app's package.
    pub edition: Edition,
    /// The name of the account field in `account_import` and `kick`.
    pub account_fields: Generation,
    /// The names of the two account fields in `admin_getroammsg`.
    pub history_fields: Generation,
    /// Whether an account that was never signed in or out counts as signed in.
    pub signed_in_from_import: bool,
    /// Whether a repeat within one second is dropped (reference 4.3).
    pub dedup: bool,
    /// How long a new message stays invisible to `admin_getroammsg`, in milliseconds.
    pub history_delay_ms: i64,
    /// The largest total size of `MsgBody` and `CloudCustomData` in bytes: 12,000 now, and 8,000
    /// until about 2022.
    pub body_limit: usize,
    /// The most stored messages. The oldest are dropped first.
    pub history_limit: usize,
    /// The most entries in each list of the ledger. The oldest are dropped first.
    pub ledger_limit: usize,
}

/// The generation of field names that the server reads. It ignores the names of the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// `UserID`; `Operator_Account` and `Peer_Account`.
    New,
    /// `Identifier`; `From_Account` and `To_Account`.
    Old,
    /// Both. The new name takes precedence.
    Both,
}

impl Generation {
    /// The names to read, the preferred one first.
    pub(super) fn names(self, new: &'static str, old: &'static str) -> [&'static str; 2] {
        match self {
            Self::New => [new, new],
            Self::Old => [old, old],
            Self::Both => [new, old],
        }
    }
}

/// The limits of the app's package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    /// Accounts beyond this many are refused with 70398.
    pub account_cap: Option<usize>,
    /// Whether `account_delete` is allowed. Otherwise it is refused with 71000.
    pub deletion: bool,
    /// Whether a deleted UserID may be imported at once. Otherwise it is refused with 70399 for 90
    /// days.
    pub reimport_after_delete: bool,
}

impl Edition {
    /// The trial package: 100 accounts; deletion and re-import are allowed.
    pub const TRIAL: Self = Self { account_cap: Some(100), deletion: true, reimport_after_delete: true };
    /// A paid package with deletion enabled in the console.
    pub const PAID: Self = Self { account_cap: None, deletion: true, reimport_after_delete: false };
    /// No limits, for tests of other features.
    pub const UNLIMITED: Self = Self { account_cap: None, deletion: true, reimport_after_delete: true };
}

/// The console's switch for each webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch of the console")]
pub struct Webhooks {
    /// The webhook `C2C.CallbackBeforeSendMsg`.
    pub before_send: BeforeSend,
    /// Whether `C2C.CallbackAfterSendMsg` is on.
    pub after_send: bool,
    /// Whether `C2C.CallbackAfterMsgReport` is on.
    pub after_read: bool,
    /// Whether `C2C.CallbackAfterMsgWithDraw` is on.
    pub after_withdraw: bool,
    /// Whether `C2C.CallbackAfterModifyMsg` is on.
    pub after_modify: bool,
    /// Whether `State.StateChange` is on.
    pub state_change: bool,
}

/// The switch of `C2C.CallbackBeforeSendMsg`, and the fate of a message whose webhook fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeforeSend {
    /// Switched off.
    Off,
    /// Switched on. The message is delivered if the webhook fails (the console's default).
    DeliverOnFailure,
    /// Switched on. The message is refused with 80003 if the webhook fails.
    RefuseOnFailure,
}

impl Settings {
    /// Creates settings with the defaults of the reference, no webhook URL, and no limit on
    /// accounts.
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
                after_withdraw: true,
                after_modify: true,
                state_change: true,
            },
            rate_per_second: 200,
            edition: Edition::UNLIMITED,
            account_fields: Generation::New,
            history_fields: Generation::New,
            signed_in_from_import: true,
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
