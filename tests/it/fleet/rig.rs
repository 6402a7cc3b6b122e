//! Bridges as child processes on one database, with nginx in front as `deploy/nginx/bridges.conf` configures it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::child;
use crate::cluster::{self, Schema};
use crate::crash::oracle::Stored;
use crate::crash::rig::{Rig, TIMEOUT, end_of, free_port};
use crate::world::{eventually, get_json};

/// One of the bridges.
pub struct Instance {
    pub public: u16,
    pub ops: u16,
    /// Its way to the database; `None`: the direct one.
    database: Option<String>,
    child: Option<Child>,
}

/// The platforms, the instances and nginx.
pub struct Fleet {
    /// The platforms and the database. It runs no bridge itself.
    pub rig: Rig,
    pub instances: Vec<Instance>,
    pub schema: Schema,
    nginx: Child,
}

/// nginx's program; `None` if it is not installed, which is said aloud, and fails in CI.
fn find_nginx() -> Option<PathBuf> {
    let found = child::find(&["nginx"])
        .or_else(|| Some(PathBuf::from("/usr/sbin/nginx")).filter(|path| path.exists()));
    if found.is_none() {
        child::report_skip("the tests of several instances", "nginx", "nginx");
    }
    found
}

/// What an instance listens on, beside the ports of others.
const ADDRESSES: [&str; 3] = ["10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080"];

impl Fleet {
    /// Starts the platforms, three instances and nginx. `None` if nginx or PostgreSQL is not installed.
    pub async fn start() -> Option<Self> {
        let fleet = Self::without_instances().await?;
        Some(fleet.with_instances().await)
    }

    /// Starts the platforms and nginx.
    pub async fn without_instances() -> Option<Self> {
        Self::on_schema(cluster::empty_schema()?).await
    }

    /// The same, with a store in this schema.
    pub async fn on_schema(schema: Schema) -> Option<Self> {
        let nginx = find_nginx()?;
        let rig = Rig::with_schema(Some(schema.clone())).await;
        let instance = |_| Instance { public: free_port(), ops: free_port(), database: None, child: None };
        let instances: Vec<Instance> = ADDRESSES.iter().map(instance).collect();
        let deployed = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx/bridges.conf");
        let mut bridges = std::fs::read_to_string(deployed).unwrap();
        for (address, instance) in ADDRESSES.iter().zip(&instances) {
            assert!(bridges.contains(address), "{address} is in {deployed}");
            bridges = bridges.replace(address, &format!("127.0.0.1:{}", instance.public));
        }
        let bridges = bridges.replace("listen 80;", &format!("listen 127.0.0.1:{};", rig.public));
        let folder = rig.folder.path().display().to_string();
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {folder}/{kind};"));
        let user = if is_root() { "user root;" } else { "" };
        let config = format!(
            "daemon off; {user} worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
             events {{ worker_connections 2048; }}
             http {{
                 log_format all '$status $request_time $request_method $uri $upstream_addr $upstream_status';
                 access_log {folder}/access.log all;
                 {}
                 {bridges}
             }}",
            paths.join(" ")
        );
        std::fs::write(rig.path("nginx.conf"), config).unwrap();
        let nginx = Command::new(nginx)
            .args(["-c", &format!("{folder}/nginx.conf"), "-e", &format!("{folder}/nginx.log")])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let fleet = Self { rig, instances, schema, nginx };
        fleet.rig.wait_until_listening().await;
        Some(fleet)
    }

    /// Starts three instances.
    pub async fn with_instances(mut self) -> Self {
        for number in 0..self.instances.len() {
            self.spawn(number, &[]);
        }
        self.wait_until_even().await;
        self
    }

    /// The instance reaches the database by this URL from now on.
    pub fn set_database(&mut self, number: usize, url: String) {
        self.instances[number].database = Some(url);
    }

    /// Starts an instance with these environment variables.
    pub fn spawn(&mut self, number: usize, variables: &[(&str, &str)]) {
        self.spawn_program(number, Path::new(env!("CARGO_BIN_EXE_wechat-im-bridge")), variables);
    }

    /// The same with another program.
    pub fn spawn_program(&mut self, number: usize, program: &Path, variables: &[(&str, &str)]) {
        let log = File::options().append(true).create(true).open(self.log_path(number)).unwrap();
        let of_rig = self.rig.command();
        let mut command = Command::new(program);
        command.current_dir(self.rig.folder.path()).stdin(Stdio::null());
        child::without_settings(&mut command);
        command.envs(of_rig.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let Instance { public, ops, database, child } = &mut self.instances[number];
        assert!(child.is_none(), "the instance still runs");
        command
            .arg("serve")
            .env("BRIDGE_SERVER__LISTEN", format!("127.0.0.1:{public}"))
            .env("BRIDGE_SERVER__OPS_LISTEN", format!("127.0.0.1:{ops}"))
            .env("BRIDGE_MEDIA__DIR", self.rig.folder.path().join(format!("media-{number}")))
            .envs(database.iter().map(|url| ("BRIDGE_STORE__URL", url)))
            .envs(variables.iter().copied());
        *child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    fn log_path(&self, number: usize) -> PathBuf {
        self.rig.path(&format!("log-{number}"))
    }

    /// The last lines of all logs.
    pub fn logs(&self) -> String {
        let tail = |number: usize| {
            let log = std::fs::read_to_string(self.log_path(number)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("instance {number}:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"))
        };
        (0..self.instances.len()).map(tail).collect::<Vec<_>>().join("\n")
    }

    pub fn log_of(&self, number: usize) -> String {
        std::fs::read_to_string(self.log_path(number)).unwrap_or_default()
    }

    pub fn base(&self, number: usize) -> String {
        format!("http://127.0.0.1:{}", self.instances[number].public)
    }

    fn signal(&self, number: usize, signal: &str) {
        let pid = self.instances[number].child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn kill(&mut self, number: usize) {
        let mut child = self.instances[number].child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until an instance has exited by itself.
    pub async fn wait_for_exit(&mut self, number: usize) -> ExitStatus {
        let child = self.instances[number].child.take().unwrap();
        end_of(child).await.unwrap_or_else(|| panic!("it still runs\n{}", self.logs()))
    }

    /// Whether an instance still runs.
    pub fn is_running(&mut self, number: usize) -> bool {
        self.instances[number].child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Lets an instance go on that has stopped itself, or was stopped.
    pub fn go_on(&self, number: usize) {
        self.signal(number, "-CONT");
    }

    /// Waits until an instance has stopped itself.
    pub async fn wait_until_paused(&self, number: usize) {
        let pid = self.instances[number].child.as_ref().unwrap().id();
        let is_paused = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
        };
        assert!(eventually(TIMEOUT, async || is_paused()).await, "{}", self.logs());
    }

    /// Sends SIGTERM and waits until the instance has exited.
    pub async fn terminate(&mut self, number: usize) -> ExitStatus {
        self.signal(number, "-TERM");
        let child = self.instances[number].child.take().unwrap();
        end_of(child).await.unwrap_or_else(|| panic!("it still runs\n{}", self.logs()))
    }

    /// `/readyz` of an instance.
    pub async fn ready(&self, number: usize) -> Option<(u16, Value)> {
        let url = format!("http://127.0.0.1:{}/readyz", self.instances[number].ops);
        let client = wechat_im_bridge::internals::http_client::loopback()
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let answer = client.get(url).send().await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.ok()?))
    }

    /// Waits until the server of the database has been running for so long that instances take others for dead.
    pub async fn wait_until_server_is_old(&self) {
        let sql = "SELECT CASE WHEN clock_timestamp() - pg_postmaster_start_time() > interval '3.5 s' THEN 1 ELSE 0 END";
        let is_old = async || self.rig.database().column::<i64>(sql, &[]) == [1];
        assert!(eventually(TIMEOUT, is_old).await);
    }

    /// Waits until each running instance is ready and owns its share. Returns how long that took.
    pub async fn wait_until_even(&self) -> Duration {
        let started = Instant::now();
        let running: Vec<usize> =
            (0..self.instances.len()).filter(|number| self.instances[*number].child.is_some()).collect();
        let share = 256 / running.len();
        let even = eventually(TIMEOUT, async || {
            let mut owned = 0;
            for number in &running {
                let Some((200, body)) = self.ready(*number).await else { return false };
                let (alive, shards) =
                    (&body["fleet"]["alive"], body["fleet"]["shards"].as_u64().unwrap_or(0));
                if *alive != running.len() || usize::try_from(shards).unwrap() < share - 2 {
                    return false;
                }
                owned += shards;
            }
            owned == 256
        });
        assert!(even.await, "{}", self.logs());
        started.elapsed()
    }

    /// The shards of an instance, by the database.
    pub async fn shards_of(&self, number: usize) -> Vec<i64> {
        let (_, body) = get_json(&format!("http://127.0.0.1:{}/readyz", self.instances[number].ops)).await;
        let id = i64::from_str_radix(body["fleet"]["instance"].as_str().unwrap(), 16).unwrap();
        self.rig.database().column("SELECT id FROM shard WHERE owner = ?1", &[serde_json::json!(id)])
    }

    /// Waits until no message waits, stops all instances, and reads the store.
    pub async fn stop_and_read_store(&mut self) -> Stored {
        self.rig.wait_until_idle().await;
        for number in 0..self.instances.len() {
            if self.instances[number].child.is_some() {
                let status = self.terminate(number).await;
                assert!(status.success(), "{status}\n{}", self.logs());
            }
        }
        Stored::read(&self.rig.database())
    }

    /// The answers of nginx to pushes and callbacks: how many, the slowest, and those that were not 200.
    pub fn answers(&self) -> (usize, f64, Vec<String>) {
        let log = std::fs::read_to_string(self.rig.path("access.log")).unwrap();
        let (mut count, mut slowest, mut others) = (0, 0_f64, Vec::new());
        for line in log.lines() {
            let mut words = line.split(' ');
            let (status, time) = (words.next().unwrap(), words.next().unwrap());
            count += 1;
            slowest = slowest.max(time.parse().unwrap());
            // The client went away: the test has ended.
            if !matches!(status, "200" | "499") {
                others.push(line.to_owned());
            }
        }
        (count, slowest, others)
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|proc| proc.uid() == 0)
}

/// The shard of a customer: FNV-1a, as the program computes it.
pub fn shard_of(openid: &str) -> i64 {
    let hash =
        openid.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from((hash ^ (hash << 12)).to_be_bytes()[0])
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.instances.iter_mut().filter_map(|instance| instance.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        let pid = self.nginx.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.nginx.wait();
    }
}
