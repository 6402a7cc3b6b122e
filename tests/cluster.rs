//! A PostgreSQL server for the tests of one process: made by `initdb` in a temporary folder, and gone with the process,
//! however that ends; or the one that `BRIDGE_TEST_STORE` names. Each test gets a schema of its own.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config};

/// How long the server may take to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Runs the server until the test's process closes its end of the pipe, then removes the folder. `kill` ends the server
/// as a crash does, `start` starts it again. A signal to the whole group of processes must not keep it from cleaning up.
const KEEPER: &str = r#"trap '' HUP INT TERM
folder=$1; shift
run() { "$@" >>"$folder/log" 2>&1 & server=$!; }
run "$@"
while read -r word; do
    case $word in
        kill) kill -QUIT "$server"; wait "$server" ;;
        start) run "$@" ;;
    esac
done
kill -QUIT "$server"; wait "$server"
rm -rf "$folder""#;

/// A running server.
#[derive(Debug)]
pub struct Cluster {
    /// How its administrator connects to it.
    admin: Config,
    /// The server runs as long as this process holds the other end of the pipe. `None`: it is not ours.
    keeper: Option<Mutex<Child>>,
}

/// Where the tests are to run.
#[derive(Debug)]
enum Choice {
    Sqlite,
    /// On a server that this process makes.
    Postgres,
    /// On the server with this URL.
    Server(String),
}

fn choice() -> Choice {
    match std::env::var("BRIDGE_TEST_STORE").as_deref() {
        Ok("postgres") => Choice::Postgres,
        Ok("sqlite" | "") | Err(_) => Choice::Sqlite,
        Ok(url) if url.starts_with("postgres://") => Choice::Server(url.to_owned()),
        Ok(_) => panic!("BRIDGE_TEST_STORE must be postgres, postgres://USER@HOST/DB or sqlite"),
    }
}

/// Whether the tests are to run on PostgreSQL: `BRIDGE_TEST_STORE=postgres`.
pub fn is_chosen() -> bool {
    !matches!(choice(), Choice::Sqlite)
}

/// A schema for one test.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Connects to it.
    pub config: Config,
    /// Its name.
    pub name: String,
}

/// Makes an empty schema. `None` if PostgreSQL is not installed, which is said aloud, and fails where it was
/// chosen and in CI.
pub fn empty_schema() -> Option<Schema> {
    cluster().map(Cluster::empty_schema)
}

/// The server of this process, which the first call starts.
pub fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| match choice() {
        Choice::Server(url) => Some(Cluster::given(&url)),
        Choice::Sqlite | Choice::Postgres => Cluster::start(),
    });
    if cluster.is_none() {
        let problem = "PostgreSQL's initdb is not installed; to run them: apt-get install postgresql";
        let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!is_chosen() && !is_ci, "{problem}");
        // The test harness discards the output of `eprintln!` when the test passes.
        let line = format!("SKIPPED the tests on PostgreSQL: {problem}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    cluster.as_ref()
}

/// The folder with `initdb` and `postgres`. Debian does not put it on PATH.
fn find_programs() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&on_path).collect();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(debian.map(|version| version.path().join("bin")));
    folders.into_iter().find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

/// The user and the group that the server runs as: PostgreSQL refuses to run as root. `None` if this is not root.
fn other_user(folder: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata(folder).unwrap().uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    ["postgres:", "nobody:"].iter().find_map(|name| {
        let line = users.lines().find(|line| line.starts_with(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
        Some((fields.next()?, fields.next()?))
    })
}

impl Cluster {
    /// Starts a server; `None` if PostgreSQL is not installed.
    pub fn start() -> Option<Self> {
        Self::start_with(None)
    }

    /// Starts a server that also listens on 127.0.0.1 and 127.0.0.2, asks for passwords there, and has this certificate
    /// and its key.
    pub fn start_with_tls(port: u16, certificate: &Path, key: &Path) -> Option<Self> {
        Self::start_with(Some((port, certificate, key)))
    }

    fn start_with(tls: Option<(u16, &Path, &Path)>) -> Option<Self> {
        let programs = find_programs()?;
        let (folder, user) = own_folder();
        let data = folder.join("data");
        let mut initdb = as_user(user);
        initdb.push(programs.join("initdb").into());
        initdb.extend(
            ["--auth=trust", "--username=bridge", "--encoding=UTF8", "--locale=C", "--no-sync"]
                .map(Into::into),
        );
        initdb.extend(["-D".into(), data.clone().into()]);
        let made = Command::new(&initdb[0]).args(&initdb[1..]).current_dir(&folder).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));

        let mut settings = Vec::new();
        let mut admin = Config::new();
        admin.host_path(&folder).user("bridge").dbname("postgres");
        if let Some((port, certificate, key)) = tls {
            let rules = "local all all trust\nhost all all 127.0.0.0/8 scram-sha-256\n";
            std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
            for (name, from) in [("server.crt", certificate), ("server.key", key)] {
                let to = data.join(name);
                std::fs::copy(from, &to).unwrap();
                std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
                if let Some((user, group)) = user {
                    chown(&to, Some(user), Some(group)).unwrap();
                }
            }
            settings.extend(["listen_addresses=127.0.0.1,127.0.0.2".to_owned(), "ssl=on".to_owned()]);
            settings.push(format!("port={port}"));
            admin.port(port);
        } else {
            settings.push("listen_addresses=".to_owned());
        }
        let keeper = keep(&programs, &folder, user, &settings);
        Some(Self { admin, keeper: Some(Mutex::new(keeper)) })
    }

    /// The server at `url`. Schemas that a former run left there are dropped.
    fn given(url: &str) -> Self {
        let given = Self { admin: url.parse().unwrap(), keeper: None };
        let leftovers = r"SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'test\_%'";
        for row in query(&given.admin, leftovers, &[]).unwrap() {
            let name = row[0].as_str().unwrap();
            let process = name.split('_').nth(1).unwrap_or_default();
            if !Path::new("/proc").join(process).exists() {
                given.run(&format!("DROP SCHEMA {name} CASCADE"));
            }
        }
        given
    }

    /// Makes an empty schema.
    pub fn empty_schema(&self) -> Schema {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        self.run(&format!("CREATE SCHEMA {name}"));
        let mut config = self.admin.clone();
        config.options(format!("-csearch_path={name}"));
        Schema { config, name }
    }

    /// Runs statements as its administrator, once it answers.
    pub fn run(&self, sql: &str) {
        let sql = sql.to_owned();
        on_connection(&self.admin, async move |client| client.batch_execute(&sql).await).unwrap();
    }

    /// Ends the server as a crash does, and returns once it is gone.
    pub fn kill(&self) {
        self.tell("kill");
        let admin = self.admin.clone();
        let gone = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while admin.connect(tokio_postgres::NoTls).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        });
        gone.join().unwrap();
    }

    /// Starts the server again.
    pub fn start_again(&self) {
        self.tell("start");
    }

    fn tell(&self, word: &str) {
        let mut keeper = self.keeper.as_ref().unwrap().lock().unwrap();
        writeln!(keeper.stdin.as_mut().unwrap(), "{word}").unwrap();
    }
}

impl Cluster {
    /// Starts a server that follows this one as its standby, from a copy of its data. For the copy, this one crashes and
    /// starts again. The standby runs until this process ends.
    pub fn start_standby(&self) -> Self {
        use tokio_postgres::config::Host;
        let Host::Unix(primary) = self.admin.get_hosts().first().unwrap() else {
            panic!("it is a server of our own")
        };
        let (folder, user) = own_folder();
        let data = folder.join("data");
        self.kill();
        let pid_file = primary.join("data/postmaster.pid");
        while pid_file.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let copied = Command::new("cp").arg("-a").arg(primary.join("data")).arg(&data).status().unwrap();
        assert!(copied.success(), "{copied}");
        self.start_again();
        std::fs::write(data.join("standby.signal"), "").unwrap();
        let primary = format!("primary_conninfo = 'host={} user=bridge'\n", primary.display());
        let mut settings = File::options().append(true).open(data.join("postgresql.auto.conf")).unwrap();
        settings.write_all(primary.as_bytes()).unwrap();
        let mut admin = Config::new();
        admin.host_path(&folder).user("bridge").dbname("postgres");
        let keeper = keep(&find_programs().unwrap(), &folder, user, &["listen_addresses=".to_owned()]);
        let standby = Self { admin, keeper: Some(Mutex::new(keeper)) };
        standby.wait_until("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'", 1);
        standby
    }

    /// Lets a standby follow its primary no longer.
    pub fn cut_off(&self) {
        self.run("ALTER SYSTEM SET primary_conninfo = ''");
        self.run("SELECT pg_reload_conf()");
        self.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", 0);
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        self.run("SELECT pg_promote()");
    }

    /// Waits until a statement of a standby or of the primary returns this number.
    fn wait_until(&self, sql: &str, number: i64) {
        let started = Instant::now();
        while query(&self.admin, sql, &[]).unwrap() != [[serde_json::json!(number)]] {
            assert!(started.elapsed() < START_TIMEOUT, "{sql} is not {number}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The same schema on this server, which has a copy of the data.
    pub fn schema_of(&self, original: &Schema) -> Schema {
        let mut config = self.admin.clone();
        config.options(format!("-csearch_path={}", original.name));
        Schema { config, name: original.name.clone() }
    }
}

/// A folder for a server, and the user that it runs as.
fn own_folder() -> (PathBuf, Option<(u32, u32)>) {
    let folder = tempfile::Builder::new().prefix("bridge-postgres-").tempdir().unwrap().keep();
    let user = other_user(&folder);
    if let Some((user, group)) = user {
        chown(&folder, Some(user), Some(group)).unwrap();
    }
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    (folder, user)
}

/// Starts the server whose data are in `folder`, with these settings.
fn keep(programs: &Path, folder: &Path, user: Option<(u32, u32)>, settings: &[String]) -> Child {
    let mut server = as_user(user);
    server.push(programs.join("postgres").into());
    server.extend(["-D".into(), folder.join("data").into(), "-k".into(), folder.into()]);
    // Nothing of it must survive the machine.
    let always = ["fsync=off", "full_page_writes=off", "max_connections=400", "shared_buffers=64MB"];
    let settings = always.into_iter().chain(settings.iter().map(String::as_str));
    server.extend(settings.flat_map(|setting| ["-c".into(), setting.into()]));
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "keeper"]).arg(folder).args(&server);
    keeper.current_dir("/").stdin(Stdio::piped()).spawn().unwrap()
}

impl Schema {
    /// The URL that a configuration names.
    pub fn url(&self) -> String {
        use tokio_postgres::config::Host;
        let host = match self.config.get_hosts().first().unwrap() {
            Host::Tcp(host) => host.clone(),
            Host::Unix(folder) => folder.to_str().unwrap().replace('/', "%2F"),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let (user, name) = (self.config.get_user().unwrap(), self.config.get_dbname().unwrap());
        format!("postgres://{user}@{host}:{port}/{name}?options=-csearch_path%3D{}", self.name)
    }

    /// The server's socket.
    pub fn socket(&self) -> PathBuf {
        use tokio_postgres::config::Host;
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        match self.config.get_hosts().first().unwrap() {
            Host::Unix(folder) => folder.join(format!(".s.PGSQL.{port}")),
            Host::Tcp(_) => panic!("the tests' own server has a socket"),
        }
    }

    /// The URL of the same schema behind a port of this machine that leads to [`Self::socket`].
    pub fn url_at(&self, port: u16) -> String {
        let (user, name) = (self.config.get_user().unwrap(), self.config.get_dbname().unwrap());
        let schema = &self.name;
        format!("postgres://{user}@127.0.0.1:{port}/{name}?sslmode=disable&options=-csearch_path%3D{schema}")
    }
}

/// Runs one statement, in SQLite's words, and returns its rows. Booleans are numbers, and bytes are arrays.
pub fn query(config: &Config, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, String> {
    let (sql, params) = (sql.replace('?', "$"), params.to_vec());
    on_connection(config, async move |client| {
        let params: Vec<Json> = params.into_iter().map(Json).collect();
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
        let rows = client.query(&sql, &params).await?;
        rows.iter()
            .map(|row| (0..row.len()).map(|at| row.try_get(at).map(|Json(value)| value)).collect())
            .collect()
    })
}

/// Runs one statement, in SQLite's words, and returns how many rows it changed.
pub fn execute(config: &Config, sql: &str, params: &[Value]) -> Result<u64, String> {
    let (sql, params) = (sql.replace('?', "$"), params.to_vec());
    on_connection(config, async move |client| {
        let params: Vec<Json> = params.into_iter().map(Json).collect();
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param as _).collect();
        client.execute(&sql, &params).await
    })
}

/// Runs statements without parameters.
pub fn batch(config: &Config, sql: &str) {
    let sql = sql.to_owned();
    on_connection(config, async move |client| client.batch_execute(&sql).await).unwrap();
}

/// The plans of statements in SQLite's words, for any values of their parameters and as if no table were small.
pub fn plans(config: &Config, statements: Vec<String>) -> Vec<Vec<String>> {
    let explained = on_connection(config, async move |client| {
        let settings = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; SET jit = off";
        client.batch_execute(settings).await?;
        let mut plans = Vec::new();
        for sql in statements {
            let nulls = (1..).take_while(|n| sql.contains(&format!("?{n}"))).map(|_| "NULL");
            let nulls = nulls.collect::<Vec<_>>().join(", ");
            let arguments = if nulls.is_empty() { nulls } else { format!("({nulls})") };
            let mut words: Vec<&str> = sql.split_whitespace().collect();
            while let Some(at) = words.iter().position(|word| *word == "INDEXED") {
                words.drain(at..at + 3);
            }
            client.batch_execute(&format!("PREPARE p AS {}", words.join(" ").replace('?', "$"))).await?;
            let messages = client.simple_query(&format!("EXPLAIN (COSTS OFF) EXECUTE p{arguments}")).await?;
            let steps = messages.iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            plans.push(steps.collect());
            client.batch_execute("DEALLOCATE p").await?;
        }
        Ok(plans)
    });
    explained.unwrap()
}

/// Runs `work` on a connection of its own, once the server answers.
fn on_connection<T: Send + 'static>(
    config: &Config,
    work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error> + Send + 'static,
) -> Result<T, String> {
    let config = config.clone();
    // A test may already be in a runtime, which must not be blocked by another one.
    let run = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let started = Instant::now();
            let (client, connection) = loop {
                let connecting = config.connect(tokio_postgres::NoTls);
                match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                    Ok(Ok(connected)) => break connected,
                    failed => assert!(
                        started.elapsed() < START_TIMEOUT,
                        "PostgreSQL does not answer: {:?}",
                        failed.map(Result::err)
                    ),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            tokio::spawn(connection);
            work(&client).await.map_err(|error| format!("{error:?}"))
        })
    });
    run.join().unwrap()
}

/// A value on its way to the server and back.
#[derive(Debug)]
struct Json(Value);

type BoxedError = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Json {
    fn to_sql(&self, ty: &Type, out: &mut bytes::BytesMut) -> Result<IsNull, BoxedError> {
        match (&self.0, ty) {
            (Value::Null, _) => return Ok(IsNull::Yes),
            (Value::Number(number), &Type::INT8) => {
                out.extend_from_slice(&number.as_i64().ok_or("too large")?.to_be_bytes());
            }
            (Value::String(text), _) => out.extend_from_slice(text.as_bytes()),
            (value, ty) => return Err(format!("{value} is no {ty}").into()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for Json {
    fn from_sql(ty: &Type, raw: &'r [u8]) -> Result<Self, BoxedError> {
        Ok(Self(match *ty {
            Type::BOOL => i64::from(raw != [0]).into(),
            Type::BYTEA => raw.into(),
            Type::INT4 => i32::from_sql(ty, raw)?.into(),
            Type::INT8 => i64::from_sql(ty, raw)?.into(),
            _ => std::str::from_utf8(raw)?.into(),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, BoxedError> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// How a command begins that runs as `user`.
fn as_user(user: Option<(u32, u32)>) -> Vec<OsString> {
    let Some((user, group)) = user else { return Vec::new() };
    let options = [format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()];
    std::iter::once("setpriv".to_owned()).chain(options).map(Into::into).collect()
}
