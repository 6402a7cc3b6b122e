//! Errors of PostgreSQL and of the way to it. Their texts never contain values of rows or of the URL.

use tokio_postgres::error::SqlState;

/// Why PostgreSQL did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PostgresError {
    /// The server refused it.
    #[error("PostgreSQL: {message} (SQLSTATE {})", .code.code())]
    Refused {
        /// Its code.
        code: SqlState,
        /// Its message, without the details, which contain values of rows.
        message: String,
    },
    /// The connection is lost.
    #[error("the connection to PostgreSQL is lost: {0}")]
    Lost(String),
    /// The server answered nothing in time.
    #[error("PostgreSQL has not answered for {0} seconds")]
    Timeout(u64),
    /// The server's version is too old.
    #[error("PostgreSQL has version {0}, which lacks what the store needs")]
    TooOld(i64),
    /// No schema can hold the tables.
    #[error("PostgreSQL's search path names no schema that exists")]
    NoSchema,
    /// The server gave two connections one session.
    #[error("a transaction pooler stands before PostgreSQL: two connections share a session")]
    Pooled,
    /// The client could not ask: a value does not fit its parameter.
    #[error("PostgreSQL cannot be asked: {0}")]
    Client(String),
}

impl PostgresError {
    /// Whether the connection cannot be used any more.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Timeout(_) => true,
            Self::Client(_) | Self::TooOld(_) | Self::NoSchema | Self::Pooled => false,
            // The classes: connection exception, operator intervention (but not a cancelled statement); and the end
            // of a session that was idle in its transaction.
            Self::Refused { code, .. } => {
                (code.code().starts_with("08") || code.code().starts_with("57P"))
                    || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
            }
        }
    }

    /// Whether the transaction met another one, and succeeds when it is run again.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Refused { code, .. } = self else { return false };
        [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code)
    }

    /// Whether every other transaction would fail for the same reason: no resources, read-only, no rights, a fault
    /// of the system.
    pub(super) fn is_outage(&self) -> bool {
        let Self::Refused { code, .. } = self else { return !matches!(self, Self::Client(_)) };
        let outages = [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::INSUFFICIENT_PRIVILEGE];
        let classes = ["53", "58", "XX"];
        self.is_lost() || outages.contains(code) || classes.iter().any(|class| code.code().starts_with(class))
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(refused) = error.as_db_error() {
            return Self::Refused { code: refused.code().clone(), message: refused.message().to_owned() };
        }
        // The text of the error names only its kind.
        let text = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let is_io =
            std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
        if error.is_closed() || is_io { Self::Lost(text) } else { Self::Client(text) }
    }
}
