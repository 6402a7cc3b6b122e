//! Connecting: where the server is, how the way to it is protected, and the settings of each session.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use const_format::formatcp;
use futures_util::{StreamExt as _, stream};
use tokio::runtime::Runtime;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{AsyncMessage, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use super::link::Link;
use super::tls::TlsMode;
use super::{password, tls};
use crate::store::open_error::OpenError;

/// The number of the next connection of this process.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// The longest time that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The oldest version that is still tested by its makers, and has all that the store uses.
const OLDEST_VERSION: i64 = 13;
/// A connection over which nothing comes back is given up after about this time: the kernel's probes, and the limit of
/// data that is not acknowledged.
const SILENCE: Duration = Duration::from_secs(5);

/// How long a transaction waits for what another has locked.
pub(super) const LOCK_TIMEOUT: &str = "5s";

/// The settings of every session.
///
/// Plans are made once and for any values. On the empty tables of a new database they would scan, and go on scanning
/// when the tables have grown. A session that stops in the middle of a transaction must not keep its locks.
const SETTINGS: &str = formatcp!(
    "SET enable_seqscan = off;
    SET plan_cache_mode = force_generic_plan;
    SET jit = off;
    SET lock_timeout = '{LOCK_TIMEOUT}';
    SET idle_in_transaction_session_timeout = '2500ms';
    SET client_min_messages = warning;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';"
);

/// Where a PostgreSQL server is, and how to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresLocation {
    /// Host, port, database, user and options. Debug output hides the password.
    pub config: Config,
    /// What is demanded of the server's certificate.
    pub tls: TlsMode,
    /// A file with the certificates of the authorities to trust; `None`: those of the system.
    pub root_cert: Option<PathBuf>,
}

impl std::fmt::Display for PostgresLocation {
    /// Names the server and the database, and neither the user nor the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(folder)) => folder.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        write!(f, "PostgreSQL's database {database} at {host}:{port}")
    }
}

/// What a connection tells without being asked. It must not block.
pub(super) type OnEvent = Box<dyn Fn(Event) + Send + Sync>;

/// Something that happened on a connection.
pub(super) enum Event {
    /// Another session's NOTIFY.
    Notified(String),
    /// The connection has ended.
    Ended,
}

/// Makes connections to one database. Clones make connections of the same process.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    /// Tells the sessions of one process from those of all others. Processes in containers often have the same number.
    pub process: String,
    /// For errors and log lines.
    pub name: String,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Connector {
    /// Finds the password and the certificates.
    pub fn new(location: &PostgresLocation) -> Result<Self, OpenError> {
        let name = location.to_string();
        let mut config = location.config.clone();
        if config.get_password().is_none()
            && let Some(password) = password::find(&config)
        {
            config.password(password);
        }
        config
            .ssl_mode(match location.tls {
                TlsMode::Disable => SslMode::Disable,
                TlsMode::Prefer => SslMode::Prefer,
                TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
            })
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(SILENCE / 2)
            .keepalives_interval(Duration::from_secs(1))
            .keepalives_retries(2)
            .tcp_user_timeout(SILENCE);
        let tls = tls::connector(location.tls, location.root_cert.as_deref()).map_err(|problem| {
            OpenError::Postgres { name: name.clone(), problem, fix: "correct sslrootcert" }
        })?;
        let process = format!("{:016x}", rand::random::<u64>());
        Ok(Self { config, tls, process, name })
    }

    /// Makes a connection, which `runtime` drives whenever its thread waits for something.
    pub fn connect(&self, runtime: &Rc<Runtime>) -> Result<Link, PostgresError> {
        self.connect_and_hear(runtime, None)
    }

    /// The same for a connection whose events somebody hears.
    pub fn connect_and_hear(
        &self,
        runtime: &Rc<Runtime>,
        on_event: Option<OnEvent>,
    ) -> Result<Link, PostgresError> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("wechat-im-bridge process {} {} {number}", std::process::id(), self.process);
        let mut config = self.config.clone();
        config.application_name(&name);
        let connecting =
            async { tokio::time::timeout(CONNECT_TIMEOUT, config.connect(self.tls.clone())).await };
        let connected = runtime.block_on(connecting);
        let (client, mut connection) =
            connected.map_err(|_| PostgresError::Timeout(CONNECT_TIMEOUT.as_secs()))??;
        let drive = async move {
            let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
            let tell = |event| on_event.as_ref().map_or((), |on_event| on_event(event));
            while let Some(message) = messages.next().await {
                match message {
                    Ok(AsyncMessage::Notification(notification)) => {
                        tell(Event::Notified(notification.payload().to_owned()));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let error = PostgresError::from(error);
                        tracing::debug!(%error, "a connection to PostgreSQL has ended");
                        break;
                    }
                }
            }
            tell(Event::Ended);
        };
        runtime.spawn(drive);
        let mut link = Link::new(client, Rc::clone(runtime), name);
        prepare(&mut link)?;
        Ok(link)
    }

    /// The error, with what the operator can do about it.
    pub fn error(&self, error: &PostgresError) -> OpenError {
        use tokio_postgres::error::SqlState as S;
        let fix = match error {
            PostgresError::Refused { code, .. } if *code == S::INVALID_PASSWORD => {
                "correct the password, in PGPASSWORD, in ~/.pgpass or in store.url_file"
            }
            PostgresError::Refused { code, .. } if *code == S::INVALID_AUTHORIZATION_SPECIFICATION => {
                "let this user log in from here (pg_hba.conf), and correct user, password and sslmode"
            }
            PostgresError::Refused { code, .. } if *code == S::INVALID_CATALOG_NAME => {
                "create it with createdb, or correct the name"
            }
            PostgresError::Refused { code, .. } if *code == S::INSUFFICIENT_PRIVILEGE => {
                "let this user create and change tables in the schema"
            }
            PostgresError::Refused { code, .. } if *code == S::TOO_MANY_CONNECTIONS => {
                "raise max_connections, or end other sessions"
            }
            PostgresError::Refused { .. } => "see the server's log",
            PostgresError::TooOld(_) => "use PostgreSQL 13 or newer",
            PostgresError::Pooled => "connect to the server itself, or set the pooler to pool_mode = session",
            PostgresError::NoSchema => "create the schema, or correct search_path",
            _ => "start the server, and correct host, port and sslmode",
        };
        OpenError::Postgres { name: self.name.clone(), problem: error.to_string(), fix }
    }
}

/// Sets up a new session.
fn prepare(link: &mut Link) -> Result<(), PostgresError> {
    let sql = "SELECT current_setting('server_version_num')::bigint / 10000,
               current_schema()::regnamespace::oid, pg_backend_pid()";
    let (version, schema, pid): (i64, Option<u32>, i32) = link.ask(async |client| {
        let row = client.query_one(sql, &[]).await?;
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
    })?;
    link.pid = pid;
    if version < OLDEST_VERSION {
        return Err(PostgresError::TooOld(version));
    }
    // An old server does not know some of them.
    link.ask(async |client| client.batch_execute(SETTINGS).await)?;
    link.schema = schema.ok_or(PostgresError::NoSchema)?;
    Ok(())
}
