//! The commands of the REST API that the bridge calls, each a rate class of its own: Tencent counts calls per
//! service and command.

/// One command. Source: reference, "Commands used"; docs 269/1520.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// Makes an account; repeating it is harmless.
    AccountImport,
    /// Deletes accounts.
    AccountDelete,
    /// Says which accounts exist.
    AccountCheck,
    /// Sends one message.
    SendMsg,
    /// Adds one message to a conversation, without a webhook; idempotent.
    ImportMsg,
    /// A page of a conversation's history.
    GetRoamMsg,
}

impl Api {
    /// Every command, for rate classes and metrics.
    pub const ALL: [Self; 6] = [
        Self::AccountImport,
        Self::AccountDelete,
        Self::AccountCheck,
        Self::SendMsg,
        Self::ImportMsg,
        Self::GetRoamMsg,
    ];

    /// Tencent's name of the service.
    pub fn service(self) -> &'static str {
        match self {
            Self::AccountImport | Self::AccountDelete | Self::AccountCheck => "im_open_login_svc",
            Self::SendMsg | Self::ImportMsg | Self::GetRoamMsg => "openim",
        }
    }

    /// Tencent's name of the command; also the metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccountImport => "account_import",
            Self::AccountDelete => "account_delete",
            Self::AccountCheck => "account_check",
            Self::SendMsg => "sendmsg",
            Self::ImportMsg => "importmsg",
            Self::GetRoamMsg => "admin_getroammsg",
        }
    }

    /// The calls a second that Tencent allows unless the console says otherwise (error 60007 beyond it).
    pub fn calls_per_second(self) -> u32 {
        match self {
            Self::AccountDelete | Self::AccountCheck => 100,
            Self::AccountImport | Self::SendMsg | Self::ImportMsg | Self::GetRoamMsg => 200,
        }
    }
}
