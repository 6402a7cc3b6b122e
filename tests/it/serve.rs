//! `serve` as the real binary: its first line, signals, ports and TLS, and no secrets in its log.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::child;
use crate::raw_http::{self, Connection, text_message};
use crate::world::{
    AES_KEY, CALLBACK_TOKEN, SECRET_KEY, SOON, TRANSFERRING, World, await_shown, await_texts, eventually,
    openid,
};

/// A running `serve`; killed when dropped.
pub struct ServeProcess {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl ServeProcess {
    pub fn start(folder: &Path, config: &str) -> Self {
        Self::start_as(child::bridge(), folder, config)
    }

    /// Starts it with a limit of open files that it can raise to `hard` and no further.
    pub fn start_with_open_files(folder: &Path, config: &str, soft: u64, hard: u64) -> Self {
        let mut limited = Command::new("sh");
        child::without_settings(&mut limited);
        let run = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$@\"");
        limited.args(["-c", &run, "sh"]).arg(child::bridge().get_program());
        Self::start_as(limited, folder, config)
    }

    fn start_as(bridge: Command, folder: &Path, config: &str) -> Self {
        std::fs::write(folder.join("config.toml"), config).unwrap();
        Self::spawn(bridge, folder)
    }

    /// Starts it with the file that is there.
    pub fn start_with_the_file(folder: &Path) -> Self {
        Self::spawn(child::bridge(), folder)
    }

    fn spawn(mut bridge: Command, folder: &Path) -> Self {
        let mut child = bridge
            .current_dir(folder)
            .args(["serve", "--config", "config.toml"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (sink, stderr) = (Arc::clone(&log), child.stderr.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                sink.lock().unwrap().push(line.unwrap());
            }
        });
        Self { child, log, reader: Some(reader) }
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for the line that says it listens, and returns the public and the operations address.
    pub async fn await_listening(&self) -> (String, String) {
        let is_listening =
            eventually(SOON, async || self.log().iter().any(|line| line.contains("listening"))).await;
        assert!(is_listening, "{:?}", self.log());
        let log = self.log();
        let line = log.iter().find(|line| line.contains("listening")).unwrap();
        let after = |words: &str| {
            let (_, rest) = line.split_once(words).unwrap();
            let end =
                rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ':')).unwrap_or(rest.len());
            format!("http://{}", &rest[..end])
        };
        (after("listening on "), after("operations on "))
    }

    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for the process to end, and returns its status and the whole log.
    pub async fn wait_end(mut self) -> (ExitStatus, Vec<String>) {
        let ended = eventually(SOON * 3, async || self.child.try_wait().unwrap().is_some()).await;
        assert!(ended, "the process does not end: {:?}", self.log());
        self.reader.take().unwrap().join().unwrap();
        (self.child.wait().unwrap(), self.log())
    }
}

impl Drop for ServeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A world whose bridge the test runs as a process.
pub async fn world_without_bridge() -> World {
    let mut world = World::start().await;
    world.stop_bridge().await;
    world
}

pub fn connect(world: &World, public: &str) {
    world.wechat.connect(&format!("{public}/"));
    world.im.connect(format!("{public}/imcallback"));
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[tokio::test]
async fn the_first_line_says_where_it_listens_and_then_it_is_ready() {
    let world = world_without_bridge().await;
    let text = ServeProcess::start(world.folder.path(), &world.config_toml());
    let (public, ops) = text.await_listening().await;
    assert!(text.log()[0].contains("listening"), "{:?}", text.log());
    let ready = async || crate::world::get_json(&format!("{ops}/readyz")).await;
    assert!(eventually(SOON, async || ready().await.0 == 200).await, "{:?}", ready().await);
    connect(&world, &public);
    assert!(world.wechat.verify_url().await);
    text.signal("INT");
    assert_eq!(text.wait_end().await.0.code(), Some(0), "SIGINT is a clean stop too");

    let json = ServeProcess::start(
        world.folder.path(),
        &format!("{}\n[log]\nformat = \"json\"\n", world.config_toml()),
    );
    json.await_listening().await;
    let first: Value = serde_json::from_str(&json.log()[0]).unwrap();
    assert!(first["message"].as_str().unwrap().starts_with("listening on "), "{first}");
    assert!(first["public"].is_string() && first["ops"].is_string(), "{first}");
}

#[tokio::test]
async fn a_machine_without_ffmpeg_says_so_once_and_sends_links() {
    let world = world_without_bridge().await;
    let media = "[media]\nallow_hosts = [\"127.0.0.1\"]\nallow_private = true\n";
    let mut bridge = child::bridge();
    bridge.env("PATH", "");
    let serving =
        ServeProcess::start_as(bridge, world.folder.path(), &format!("{}\n{media}", world.config_toml()));
    let (public, ops) = serving.await_listening().await;
    let (_, ready) = crate::world::get_json(&format!("{ops}/readyz")).await;
    assert_eq!(ready["media"]["ok"], true, "{ready}");
    assert_eq!(ready["media"]["ffmpeg"], false, "{ready}");
    let what = ready["media"]["without_ffmpeg"].as_str().unwrap();
    assert!(what.contains("M4A") && what.contains("Web") && what.contains("AMR"), "{what}");
    assert_ne!(ready["status"], "degraded", "{ready}");
    connect(&world, &public);
    let (phone, agent) = (world.follower("mute"), world.agent());
    phone.say("hello").await;
    await_texts(&agent, phone.openid(), 1).await;
    let recording = agent.upload("a.m4a", "\0\0\0\x1cftypM4A and a voice");
    agent.send(phone.openid(), serde_json::json!([recording.sound(2)])).await.unwrap();
    await_shown(&phone, &format!("[voice message]\n{}", recording.url)).await;
    let texts: Vec<String> = agent.conversation(phone.openid()).iter().map(|seen| seen.text()).collect();
    assert_eq!(texts.len(), 3, "no notice for what the operator knows: {texts:?}");
    serving.signal("TERM");
    let (_, log) = serving.wait_end().await;
    let lines = log.iter().filter(|line| line.contains("found no ffmpeg on PATH")).count();
    assert_eq!(lines, 1, "{log:?}");
}

#[tokio::test]
async fn sigterm_finishes_a_running_request_and_exits_0() {
    let world = world_without_bridge().await;
    let config = world.config_toml().replace("[server]", "[server]\nshutdown_grace_s = 30");
    let serving = ServeProcess::start(world.folder.path(), &config);
    let (public, ops) = serving.await_listening().await;
    let message = text_message(&openid("term"), 1, "hello");
    let (first, second) = message.split_at(50);
    let mut connection = Connection::open(&public).await;
    connection.send(raw_http::head(&format!("/?{}", raw_http::query(&world)), message.len())).await;
    connection.send(first).await;
    // A request of which nothing was read yet would not be finished.
    let is_reading = async || {
        let metrics = raw_http::get(&ops, "/metrics").await;
        let taken = metrics.text().lines().find_map(|line| line.strip_prefix("wechat_im_bridge_body_bytes "));
        taken.is_some_and(|bytes| bytes != "0")
    };
    assert!(eventually(SOON, is_reading).await, "{:?}", serving.log());
    serving.signal("TERM");
    let stopping = async || raw_http::get(&ops, "/readyz").await.status == 503;
    assert!(eventually(SOON, stopping).await, "{:?}", serving.log());
    connection.send(second).await;
    let answer = connection.response().await.unwrap();
    assert!(answer.status == 200 && answer.text().contains(TRANSFERRING), "{answer:?}");
    let (status, log) = serving.wait_end().await;
    assert_eq!(status.code(), Some(0), "{log:#?}");
}

#[tokio::test]
async fn open_requests_are_cut_after_the_grace_or_at_once_by_a_second_signal() {
    for (grace, signals) in [(1, 1), (600, 2)] {
        let world = world_without_bridge().await;
        let config =
            world.config_toml().replace("[server]", &format!("[server]\nshutdown_grace_s = {grace}"));
        let serving = ServeProcess::start(world.folder.path(), &config);
        let (public, _) = serving.await_listening().await;
        let mut connection = Connection::open(&public).await;
        connection.send(raw_http::head(&format!("/?{}", raw_http::query(&world)), 100)).await;
        assert_eq!(raw_http::get(&public, "/nothing").await.status, 404);
        let begun = Instant::now();
        serving.signal("TERM");
        // Two signals that come before the first is handled are one signal to a process.
        let is_stopping = async || serving.log().iter().any(|line| line.contains("stopping: "));
        assert!(eventually(SOON, is_stopping).await, "{:?}", serving.log());
        if signals == 2 {
            serving.signal("TERM");
        }
        let (status, log) = serving.wait_end().await;
        assert_eq!(status.code(), Some(0), "{log:#?}");
        // Otherwise the server would wait ten seconds for the body, and ten minutes for the second
        // grace.
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?} {log:#?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_port_or_store_in_use_is_reported_in_one_message_with_its_key_and_fix() {
    let world = world_without_bridge().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["listen", "ops_listen"] {
        let line = format!("{key} = \"127.0.0.1:0\"");
        let config = world.config_toml().replacen(&format!(" {line}"), &format!(" {key} = \"{address}\""), 1);
        let (status, log) = ServeProcess::start(world.folder.path(), &config).wait_end().await;
        assert_eq!(status.code(), Some(1), "{log:?}");
        assert_eq!(log.len(), 1, "{log:#?}");
        assert!(log[0].starts_with(&format!("error: server.{key}: ")), "{log:?}");
        assert!(
            log[0].contains(&address) && log[0].contains("stop the program that has this port"),
            "{log:?}"
        );
    }
    if crate::cluster::is_chosen() {
        // Several may serve one PostgreSQL.
        return;
    }
    let first = ServeProcess::start(world.folder.path(), &world.config_toml());
    first.await_listening().await;
    let (status, log) = ServeProcess::start(world.folder.path(), &world.config_toml()).wait_end().await;
    assert_eq!((status.code(), log.len()), (Some(1), 1), "{log:#?}");
    let holder = format!("process {}", first.child.id());
    assert!(log[0].starts_with("error: store.url: ") && log[0].contains(&holder), "{log:?}");
}

#[tokio::test]
async fn with_a_certificate_the_public_listener_speaks_only_https() {
    let world = world_without_bridge().await;
    let tls =
        format!("[server]\ntls_cert = {:?}\ntls_key = {:?}\n", data("tls.cert.pem"), data("tls.key.pem"));
    let serving = ServeProcess::start(world.folder.path(), &world.config_toml().replace("[server]", &tls));
    let (public, ops) = serving.await_listening().await;
    let port = public.rsplit_once(':').unwrap().1;
    let authority = std::fs::read(data("ca.cert.pem")).unwrap();
    let client = wechat_im_bridge::internals::http_client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
        .resolve("localhost", public.strip_prefix("http://").unwrap().parse().unwrap())
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("https://localhost:{port}/?{}", raw_http::query(&world));
    let echo = client.get(format!("{url}&echostr=42")).send().await.unwrap();
    assert_eq!((echo.status().as_u16(), echo.text().await.unwrap().as_str()), (200, "42"));
    let pushed = client.post(&url).body(text_message(&openid("tls"), 1, "hello")).send().await.unwrap();
    assert_eq!(pushed.status(), 200);
    assert!(pushed.text().await.unwrap().contains(TRANSFERRING));
    await_texts(&world.agent(), &openid("tls"), 1).await;

    let mut plain = Connection::open(&public).await;
    plain.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(plain.response().await.is_none(), "plain HTTP is not answered");
    assert_eq!(raw_http::get(&ops, "/healthz").await.status, 200, "the operations listener stays plain");
}

/// A renewal writes one file after the other; in between, they do not match.
#[tokio::test]
async fn a_changed_certificate_is_used_without_a_restart() {
    let world = world_without_bridge().await;
    let folder = world.folder.path();
    let replace = |cert: &str, key: &str| {
        std::fs::copy(data(cert), folder.join("cert.pem")).unwrap();
        std::fs::copy(data(key), folder.join("key.pem")).unwrap();
    };
    replace("tls.cert.pem", "tls.key.pem");
    let tls = "[server]\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n";
    let serving = ServeProcess::start(folder, &world.config_toml().replace("[server]", tls));
    let (public, _) = serving.await_listening().await;
    let trusts = async |authority: &str| {
        let client = wechat_im_bridge::internals::http_client::builder()
            .tls_certs_only([
                reqwest::Certificate::from_pem(&std::fs::read(data(authority)).unwrap()).unwrap()
            ])
            .resolve("localhost", public.strip_prefix("http://").unwrap().parse().unwrap())
            .no_proxy()
            .build()
            .unwrap();
        let port = public.rsplit_once(':').unwrap().1;
        client.get(format!("https://localhost:{port}/nothing")).send().await.is_ok()
    };
    assert!(trusts("ca.cert.pem").await && !trusts("other.cert.pem").await);
    replace("other.cert.pem", "tls.key.pem");
    serving.signal("HUP");
    let is_reported =
        async || serving.log().iter().any(|line| line.contains("cannot use the changed TLS certificate"));
    assert!(eventually(SOON, is_reported).await, "{:?}", serving.log());
    assert!(trusts("ca.cert.pem").await, "the certificate before it stays in use");
    replace("other.cert.pem", "other.key.pem");
    assert!(eventually(SOON * 2, async || trusts("other.cert.pem").await).await, "{:?}", serving.log());
    assert!(!trusts("ca.cert.pem").await);
}

#[tokio::test]
async fn sighup_does_not_end_a_server_without_a_certificate() {
    let world = world_without_bridge().await;
    let serving = ServeProcess::start(world.folder.path(), &world.config_toml());
    let (_, ops) = serving.await_listening().await;
    serving.signal("HUP");
    serving.signal("HUP");
    for _ in 0..10 {
        assert_eq!(raw_http::get(&ops, "/healthz").await.status, 200);
    }
    serving.signal("TERM");
    assert_eq!(serving.wait_end().await.0.code(), Some(0), "a signal that kills leaves no exit status");
}

/// Contract, sections 2 and 3: no secret is ever printed; at `info` there is one line per message,
/// without its body.
#[tokio::test]
async fn the_log_never_shows_a_secret_and_at_info_no_message_text() {
    for level in ["info", "trace"] {
        let world = world_without_bridge().await;
        let (phone, agent) = (world.wechat.customer(&openid("log")), world.agent());
        let config = format!("{}\n[log]\nlevel = \"{level}\"\n", world.config_toml()).replace(
            "[wechat]",
            &format!("[wechat]\nmode = \"compatible\"\nencoding_aes_key = \"{AES_KEY}\""),
        );
        let serving = ServeProcess::start(world.folder.path(), &config);
        let (public, _) = serving.await_listening().await;
        connect(&world, &public);
        phone.follow().await;
        await_imported(&world).await;
        let before = serving.log().len();
        phone.say("words-of-the-customer").await;
        await_texts(&agent, &openid("log"), 1).await;
        agent.say(&openid("log"), "words-of-the-agent").await.unwrap();
        await_shown(&phone, "words-of-the-agent").await;
        let (mut signature, who) = (String::new(), openid("log"));
        let unusable = world.wechat.push_raw(&who, format!("<xml>no push{:5000}the end", ""), |query| {
            query.get("signature").unwrap().clone_into(&mut signature);
        });
        assert_eq!(unusable.await.status, Some(200));
        let forged = world.wechat.push_raw(&who, "<xml/>", |query| query.set("signature", "f00"));
        assert_eq!(forged.await.status, Some(403));
        serving.signal("TERM");
        let (_, log) = serving.wait_end().await;
        let text = log.join("\n");
        let wechat = world.wechat.settings();
        for secret in [
            SECRET_KEY,
            CALLBACK_TOKEN,
            AES_KEY,
            wechat.app_secret.as_str(),
            wechat.token.as_str(),
            signature.as_str(),
            "usersig=",
            "access_token=",
            "Sign=",
        ] {
            let line = log.iter().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} at {level}: {line:?}");
        }
        let warning = log.iter().find(|line| line.contains("cannot be read")).unwrap();
        assert!(warning.contains(" WARN ") && warning.contains("bytes=5019"), "{warning}");
        assert!(!text.contains("no push") && !text.contains("the end"), "a body is in the log: {text}");
        assert_eq!(text.contains("TRACE hyper"), level == "trace", "the lines of libraries are checked too");
        if level == "info" {
            assert!(!text.contains("words-of-the") && !text.contains(TRANSFERRING), "{text}");
            assert!(!text.contains(&openid("log")), "{text}");
            // The line of the follow may come a moment after the account that it causes.
            let others = ["stopping", "token", "push.kind=\"subscribe\""];
            let lines: Vec<&String> = log[before..]
                .iter()
                .filter(|line| line.contains(" INFO ") && !others.iter().any(|other| line.contains(other)))
                .collect();
            assert_eq!(lines.len(), 2, "one line per message: {lines:#?}");
        }
    }
}

async fn await_imported(world: &World) {
    assert!(eventually(SOON, async || world.im.account(&openid("log")).is_some()).await);
}

#[tokio::test]
async fn settings_by_which_strangers_may_speak_are_told_at_each_start_and_by_readyz_and_check() {
    let world = world_without_bridge().await;
    let config = world.config_toml().replace(&format!("callback_token = \"{CALLBACK_TOKEN}\""), "");
    let file = world.folder.path().join("config.toml");
    std::fs::write(&file, &config).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let process = ServeProcess::start(world.folder.path(), &config);
    let (_, ops) = process.await_listening().await;
    let keys = ["wechat.mode", "im.callback_token", "config.toml"];
    let told = eventually(SOON, async || {
        let log = process.log();
        keys.iter().all(|key| log.iter().any(|line| line.contains("WARN") && line.contains(key)))
    });
    assert!(told.await, "{:?}", process.log());
    let (_, ready) = crate::world::get_json(&format!("{ops}/readyz")).await;
    assert_eq!(ready["settings"]["ok"], true, "{ready}");
    let warnings = ready["settings"]["warnings"].to_string();
    let check =
        child::bridge().current_dir(world.folder.path()).args(["check", "--offline"]).output().unwrap();
    let check = String::from_utf8(check.stdout).unwrap();
    for key in keys {
        assert!(warnings.contains(key), "{key} is not in {warnings}");
        assert!(
            check.lines().any(|line| line.starts_with("warn") && line.contains(key)),
            "{key} is not in {check}"
        );
    }
    drop(process);

    // A bridge of the sandbox is open to nobody else.
    std::fs::write(&file, &config).unwrap();
    let mut parent = child::bridge();
    parent.current_dir(world.folder.path()).args(["serve", "--while-stdin"]);
    let output = parent.stdin(Stdio::piped()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("listening") && !log.contains("im.callback_token"), "{log}");
}
