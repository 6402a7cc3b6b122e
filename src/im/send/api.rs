//! The commands of the REST API that the bridge calls. Each has its own rate limit: Tencent counts
//! calls per service and command.

/// One command. Source: reference, "Commands used"; docs 269/1520.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// Creates an account; idempotent.
    AccountImport,
    /// Deletes accounts.
    AccountDelete,
    /// Checks which accounts exist.
    AccountCheck,
    /// Sends one message.
    SendMsg,
    /// Adds one message to a conversation, without a callback; idempotent.
    ImportMsg,
    /// Reads a page of a conversation's history.
    GetRoamMsg,
    /// Asks who is signed in.
    OnlineStatus,
    /// Sets an account's nickname and picture.
    PortraitSet,
}

impl Api {
    /// Tencent's name of the service.
    pub fn service(self) -> &'static str {
        match self {
            Self::AccountImport | Self::AccountDelete | Self::AccountCheck => "im_open_login_svc",
            Self::SendMsg | Self::ImportMsg | Self::GetRoamMsg | Self::OnlineStatus => "openim",
            Self::PortraitSet => "profile",
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
            Self::OnlineStatus => "query_online_status",
            Self::PortraitSet => "portrait_set",
        }
    }
}
