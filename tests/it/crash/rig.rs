//! One bridge as a child process, between both simulated platforms, on a store that outlives it.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rusqlite::OpenFlags;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};
use wechat_im_bridge::clock::Clock;
use wechat_im_bridge::sandbox::im::{AgentClient, ImSim, Settings as ImSettings};
use wechat_im_bridge::sandbox::wechat::{Phone, Settings as WechatSettings, WechatSim};

use super::verdict::Stored;
use crate::child;
use crate::world::{CALLBACK_TOKEN, SDK_APP_ID, SECRET_KEY, eventually, openid};

/// The promise: after a crash, work goes on within this time.
pub const BACK: Duration = Duration::from_secs(2);
/// For whatever is due to happen within seconds, on a loaded machine.
pub const SETTLED: Duration = Duration::from_secs(45);

/// Below the ports that the system hands out by itself, so that no client's socket takes a dead bridge's port.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

pub fn port() -> u16 {
    let start = u16::try_from(std::process::id() % 20_000).unwrap();
    loop {
        let port = 10_000 + (start + NEXT_PORT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Bridges at once, over all tests: more would only measure each other.
static PLACES: Semaphore = Semaphore::const_new(4);

pub struct Rig {
    pub wechat: WechatSim,
    pub im: Arc<ImSim>,
    pub folder: TempDir,
    pub public: u16,
    pub ops: u16,
    environment: Vec<(&'static str, String)>,
    /// The shell script that begins the bridge by `exec "$@"`, with `$DIR` as the folder; and whether it has mounts
    /// of its own.
    wrapper: Option<(&'static str, bool)>,
    child: Option<Child>,
    _place: SemaphorePermit<'static>,
}

impl Rig {
    /// The platforms and a configuration; no bridge yet.
    pub async fn new() -> Self {
        let place = PLACES.acquire().await.unwrap();
        let wechat = WechatSettings {
            token: "wechattoken".into(),
            attempts: 3,
            retry_pause: Duration::from_millis(300),
            ..WechatSettings::default()
        };
        let mut im = ImSettings::new(SDK_APP_ID, SECRET_KEY, "user0");
        im.callback_token = Some(CALLBACK_TOKEN.into());
        let wechat = WechatSim::start(wechat, Clock::system()).await.unwrap();
        let im = Arc::new(ImSim::start(im, Clock::system()).await.unwrap());
        im.import("user1").unwrap();
        let (public, ops) = (port(), port());
        wechat.connect(&format!("http://127.0.0.1:{public}/"));
        im.connect(format!("http://127.0.0.1:{public}/imcallback"));
        let folder = tempfile::tempdir().unwrap();
        let mut rig = Self {
            wechat,
            im,
            folder,
            public,
            ops,
            environment: Vec::new(),
            wrapper: None,
            child: None,
            _place: place,
        };
        let (im_base, wechat_base) = (rig.im.base_url(), rig.wechat.base_url().to_owned());
        rig.set("BRIDGE_IM__API_BASE", im_base);
        rig.set("BRIDGE_WECHAT__API_BASE", wechat_base);
        rig.write_config();
        rig
    }

    fn write_config(&self) {
        let settings = self.wechat.settings();
        let text = format!(
            r#"
            [server]
            listen = "127.0.0.1:{public}"
            ops_listen = "127.0.0.1:{ops}"
            [wechat]
            token = "{token}"
            app_id = "{app_id}"
            app_secret = "{app_secret}"
            account_id = "{account_id}"
            [im]
            sdk_app_id = {SDK_APP_ID}
            secret_key = "{SECRET_KEY}"
            callback_token = "{CALLBACK_TOKEN}"
            [store]
            url = "sqlite://{store}"
            "#,
            public = self.public,
            ops = self.ops,
            token = settings.token,
            app_id = settings.app_id,
            app_secret = settings.app_secret,
            account_id = settings.account_id,
            store = self.store().display(),
        );
        std::fs::write(self.path("config.toml"), text).unwrap();
    }

    /// A setting of the bridges that are started from now on.
    pub fn set(&mut self, variable: &'static str, value: impl Into<String>) {
        self.environment.retain(|(name, _)| *name != variable);
        self.environment.push((variable, value.into()));
    }

    /// Starts further bridges by this script.
    pub fn wrap(&mut self, script: &'static str, own_mounts: bool) {
        self.wrapper = Some((script, own_mounts));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("bridge.db")
    }

    /// The binary with this rig's surroundings.
    pub fn command(&self) -> Command {
        let bridge = env!("CARGO_BIN_EXE_wechat-im-bridge");
        let words: &[&str] = match &self.wrapper {
            None => &[bridge],
            Some((script, false)) => &["sh", "-c", script, "sh", bridge],
            Some((script, true)) => &["unshare", "-m", "sh", "-c", script, "sh", bridge],
        };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        child::without_settings(&mut command);
        command.env("DIR", self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the bridge; with `kill_at` it ends by itself at that fail point.
    pub fn spawn(&mut self, kill_at: Option<&str>) {
        assert!(self.child.is_none(), "the last bridge has not ended");
        let log = File::options().append(true).create(true).open(self.path("log")).unwrap();
        let mut command = self.command();
        command.arg("serve").stdout(Stdio::null()).stderr(log);
        if let Some(point) = kill_at {
            command.env("BRIDGE_KILL_AT", point);
        }
        self.child = Some(command.spawn().unwrap());
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until the bridge has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let mut status = None;
        eventually(SETTLED, async || {
            status = child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        status.unwrap_or_else(|| panic!("the bridge goes on; its log:\n{}", self.log()))
    }

    /// SIGTERM, and its end.
    pub async fn terminate(&mut self) -> ExitStatus {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.ended().await
    }

    /// Whether the bridge has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// The end of what the bridges have logged.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    pub fn readyz(&self) -> String {
        format!("http://127.0.0.1:{}/readyz", self.ops)
    }

    /// Waits until the public port takes connections. Asks nobody, so that no fail point is passed by it.
    pub async fn listening(&self) {
        let connects = async || tokio::net::TcpStream::connect(("127.0.0.1", self.public)).await.is_ok();
        assert!(eventually(SETTLED, connects).await, "the bridge does not listen:\n{}", self.log());
    }

    /// Waits until the public port takes connections, or the bridge has ended before it did.
    pub async fn listening_or_ended(&mut self) {
        let public = self.public;
        let begun = eventually(SETTLED, async || {
            self.has_ended() || tokio::net::TcpStream::connect(("127.0.0.1", public)).await.is_ok()
        });
        assert!(begun.await, "the bridge does not listen:\n{}", self.log());
    }

    /// Waits until `/readyz` answers 200. How long that took.
    pub async fn ready(&mut self) -> Duration {
        let since = Instant::now();
        let url = self.readyz();
        let http = reqwest::Client::builder().timeout(SETTLED).build().unwrap();
        let mut ended = None;
        let ready = eventually(SETTLED, async || {
            ended = self.child.as_mut().unwrap().try_wait().unwrap();
            ended.is_some() || http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200)
        });
        let ready = ready.await && ended.is_none();
        assert!(ready, "the bridge is not ready: {ended:?}\n{}\n{}", self.threads(), self.log());
        since.elapsed()
    }

    /// What each thread of the bridge is doing, as far as the system tells.
    fn threads(&self) -> String {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", self.pid())) else { return String::new() };
        let tell = |task: std::fs::DirEntry| {
            let told = ["comm", "wchan", "syscall", "stat"].map(|name| {
                std::fs::read_to_string(task.path().join(name)).unwrap_or_default().trim().to_owned()
            });
            told.join(" | ")
        };
        tasks.flatten().map(tell).collect::<Vec<_>>().join("\n")
    }

    /// Starts the bridge and waits until it is ready. How long that took.
    pub async fn start(&mut self) -> Duration {
        self.spawn(None);
        self.ready().await
    }

    /// Waits until nothing waits to be sent. Looks into the running bridge's store: `/readyz` may be a second old.
    pub async fn quiet(&self) {
        let quiet = eventually(SETTLED, async || self.waiting().is_ok_and(|waiting| waiting == 0)).await;
        assert!(quiet, "{:?} are still waiting\n{}", self.waiting(), self.log());
    }

    fn waiting(&self) -> rusqlite::Result<i64> {
        let beside = rusqlite::Connection::open_with_flags(self.store(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        beside.query_row("SELECT count(*) FROM message WHERE state IN (0, 1)", [], |row| row.get(0))
    }

    /// Ends the bridge in order and reads what it has stored.
    pub async fn stored(&mut self) -> Stored {
        self.quiet().await;
        let status = self.terminate().await;
        assert!(status.success(), "{status}\n{}", self.log());
        Stored::read(&self.store())
    }

    /// A follower from before the bridge was there.
    pub fn follower(&self, name: &str) -> Phone {
        let phone = self.wechat.customer(&openid(name));
        phone.set_following(true);
        phone
    }

    pub fn agent(&self) -> AgentClient {
        self.im.agent("user1").unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
