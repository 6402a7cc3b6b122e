//! The files of the store, as the real binary makes, mends, locks and refuses them.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wechat_im_bridge::internals::sandbox::wechat::tiny_png;

use crate::child;
use crate::raw_http;
use crate::world::{SOON, Setup, World, await_texts, eventually, openid};

/// A running `serve`; killed when dropped.
struct Serve(Child, PathBuf);

impl Serve {
    /// Starts it with this umask. Its log goes to `log` in `folder`.
    fn start(folder: &Path, config: &str, umask: &str) -> Self {
        std::fs::write(folder.join("config.toml"), config).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let script = format!("umask {umask}; exec \"$0\" serve --config config.toml");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_wechat-im-bridge")]).current_dir(folder);
        child::without_settings(&mut command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self(child, folder.join("log"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.1).unwrap()
    }

    async fn await_listening(&self) -> String {
        let listens = eventually(SOON, async || self.log().contains("listening on ")).await;
        assert!(listens, "{}", self.log());
        let log = self.log();
        let (_, rest) = log.split_once("listening on ").unwrap();
        format!("http://{}", rest.split([',', ' ', '\n']).next().unwrap())
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn world_without_bridge() -> World {
    let mut world = Setup::default().on_sqlite().start().await;
    world.stop_bridge().await;
    for end in ["bridge.db", "bridge.db-lock"] {
        std::fs::remove_file(world.folder.path().join(end)).unwrap();
    }
    std::fs::remove_dir_all(world.folder.path().join("media")).unwrap();
    world
}

/// Runs a command to its end in `folder`. Returns exit status, stdout and stderr. A server that should
/// have refused to start is killed after a minute.
fn run(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = child::bridge();
    command.current_dir(folder).args(words).stdin(Stdio::null());
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while running.try_wait().unwrap().is_none() && started.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = running.kill();
    let output = running.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The files and folders that the bridge made in `folder`, with their modes.
fn made(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("config.toml") || path.ends_with("log") {
            continue;
        }
        found.push((path.clone(), std::fs::metadata(&path).unwrap().permissions().mode() & 0o777));
        if path.is_dir() {
            found.extend(made(&path));
        }
    }
    found
}

fn wrong_modes(folder: &Path) -> Vec<(PathBuf, u32)> {
    let right = |path: &Path| if path.is_dir() { 0o700 } else { 0o600 };
    made(folder).into_iter().filter(|(path, mode)| *mode != right(path)).collect()
}

#[tokio::test]
async fn every_file_is_its_owners_whatever_the_umask_and_older_ones_are_mended() {
    for umask in ["0000", "0022", "0777"] {
        let world = world_without_bridge().await;
        let folder = world.folder.path();
        let config =
            world.config_toml().replacen("[server]", "[server]\npublic_url = \"http://127.0.0.1\"", 1);
        let serve = Serve::start(folder, &config, umask);
        let public = serve.await_listening().await;
        world.wechat.connect(&format!("{public}/"));
        world.im.connect(format!("{public}/imcallback"));
        let phone = world.follower("pic");
        phone.say("hello").await;
        await_texts(&world.agent(), &openid("pic"), 1).await;
        phone.send_image(tiny_png()).await;
        let stored = eventually(SOON, async || std::fs::read_dir(folder.join("media")).unwrap().count() > 1);
        assert!(stored.await, "{:?}", made(folder));
        let names: Vec<_> = made(folder).into_iter().map(|(path, _)| path).collect();
        for name in
            ["bridge.db", "bridge.db-wal", "bridge.db-shm", "bridge.db-lock", "media", "media/incoming"]
        {
            assert!(names.contains(&folder.join(name)), "{name}: {names:?}");
        }
        assert_eq!(wrong_modes(folder), [], "umask {umask}");
        drop(serve);

        // As an earlier version left them.
        for (path, _) in made(folder) {
            let mode = if path.is_dir() { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        let serve = Serve::start(folder, &config, umask);
        serve.await_listening().await;
        let mended = eventually(SOON, async || wrong_modes(folder).is_empty()).await;
        assert!(mended, "{:?}", wrong_modes(folder));
        for kind in ["database files", "media folders", "media files"] {
            let line = format!("other users could read {kind}");
            let is_logged = eventually(SOON, async || serve.log().matches(&line).count() == 1).await;
            assert!(is_logged, "{line}: {}", serve.log());
        }
    }
}

#[tokio::test]
async fn check_names_what_others_may_read() {
    let world = world_without_bridge().await;
    let folder = world.folder.path();
    std::fs::write(folder.join("key"), world.im.settings().sdk_app_id.to_string()).unwrap();
    let config = world.config_toml().replacen(
        "callback_token = \"callback-token\"",
        "callback_token_file = \"key\"",
        1,
    );
    assert!(config.contains("_file"));
    drop(Serve::start(folder, &config, "0022").await_listening().await);
    let set = |mode: u32| {
        for name in ["config.toml", "key", "bridge.db"] {
            std::fs::set_permissions(folder.join(name), Permissions::from_mode(mode)).unwrap();
        }
    };
    set(0o640);
    let (_, named, _) = run(folder, &["check", "--offline"]);
    for (key, file) in
        [("configuration", "config.toml"), ("im.callback_token_file", "key"), ("store.url", "bridge.db")]
    {
        let found = named.lines().any(|line| {
            line.starts_with(&format!("warn  {key}  ")) && line.contains(&format!("{file} has mode 0640"))
        });
        assert!(found, "{key}: {named}");
    }
    set(0o600);
    let (_, quiet, _) = run(folder, &["check", "--offline"]);
    assert!(!quiet.contains("other users can read"), "{quiet}");
}

#[tokio::test]
async fn a_foreign_database_is_refused_and_no_byte_of_it_changes() {
    let world = world_without_bridge().await;
    let folder = world.folder.path();
    for journal in ["DELETE", "WAL"] {
        let path = folder.join("bridge.db");
        let theirs = rusqlite::Connection::open(&path).unwrap();
        theirs.execute_batch(&format!("PRAGMA journal_mode = {journal}; CREATE TABLE a (x)")).unwrap();
        theirs.execute_batch("INSERT INTO a VALUES (1)").unwrap();
        // In WAL mode the log stays, as after a crash of that program.
        let copies = folder.join("copies");
        std::fs::create_dir_all(&copies).unwrap();
        let files = || {
            let mut files: Vec<_> =
                std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.retain(|path| path.to_str().unwrap().contains("bridge.db"));
            files.sort();
            files
        };
        for file in files() {
            std::fs::copy(&file, copies.join(file.file_name().unwrap())).unwrap();
        }
        drop(theirs);
        for file in files() {
            std::fs::remove_file(file).unwrap();
        }
        for entry in std::fs::read_dir(&copies).unwrap() {
            let file = entry.unwrap().path();
            std::fs::rename(&file, folder.join(file.file_name().unwrap())).unwrap();
        }
        let contents = || {
            files().into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect::<Vec<_>>()
        };
        let before = contents();
        assert_eq!(before.len(), if journal == "WAL" { 3 } else { 1 }, "{:?}", files());
        std::fs::write(folder.join("config.toml"), world.config_toml()).unwrap();
        for words in [&["serve"][..], &["messages", "list"], &["trace", "1"], &["check", "--offline"]] {
            let (status, out, err) = run(folder, words);
            assert_eq!(status, Some(1), "{words:?} {journal}: {out} {err}");
            assert!(
                format!("{out}{err}").contains("is not a database of this program"),
                "{words:?}: {out} {err}"
            );
            let same = contents() == before;
            assert!(same, "{words:?} changed a file in mode {journal}: {:?}", files());
        }
        for file in files() {
            std::fs::remove_file(file).unwrap();
        }
    }
}

#[tokio::test]
async fn a_command_migrates_no_store_of_another_version() {
    let world = world_without_bridge().await;
    let folder = world.folder.path();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/files/store-87e3d2b/bridge.db");
    std::fs::copy(fixture, folder.join("bridge.db")).unwrap();
    std::fs::write(folder.join("config.toml"), world.config_toml()).unwrap();
    let before = std::fs::read(folder.join("bridge.db")).unwrap();
    for words in [&["messages", "list"][..], &["messages", "retry", "1"], &["trace", "1"]] {
        let (status, out, err) = run(folder, words);
        assert_eq!((status, out.as_str()), (Some(1), ""), "{words:?}: {err}");
        assert!(err.contains("belongs to another version") && err.contains("never migrates"), "{err}");
        assert!(std::fs::read(folder.join("bridge.db")).unwrap() == before, "{words:?} changed the file");
    }
}

#[tokio::test]
async fn a_database_that_another_program_has_locked_is_noticed_within_two_seconds() {
    let world = world_without_bridge().await;
    let folder = world.folder.path();
    drop(Serve::start(folder, &world.config_toml(), "0077").await_listening().await);
    for lock in ["BEGIN EXCLUSIVE", "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE"] {
        let other = rusqlite::Connection::open(folder.join("bridge.db")).unwrap();
        let locked = eventually(SOON, async || other.execute_batch(lock).is_ok()).await;
        assert!(locked, "{lock}");
        let started = Instant::now();
        let (status, _, err) = run(folder, &["serve"]);
        let took = started.elapsed();
        assert_eq!(status, Some(1), "{err}");
        assert!(err.contains("another program has locked it: stop that program"), "{lock}: {err}");
        // The machine may be busy; the old limit was ten seconds.
        assert!(took < Duration::from_secs(2 + 3), "{lock}: {took:?}");
    }
}

#[tokio::test]
async fn no_second_name_of_the_database_lets_a_second_server_start() {
    let world = world_without_bridge().await;
    let folder = world.folder.path();
    let first = Serve::start(folder, &world.config_toml(), "0077");
    first.await_listening().await;
    for kind in ["symbolic", "hard"] {
        let other = folder.join(kind);
        std::fs::create_dir(&other).unwrap();
        let link = other.join("bridge.db");
        match kind {
            "symbolic" => symlink(folder.join("bridge.db"), &link).unwrap(),
            _ => std::fs::hard_link(folder.join("bridge.db"), &link).unwrap(),
        }
        let config =
            world.config_toml().replace(folder.join("bridge.db").to_str().unwrap(), link.to_str().unwrap());
        std::fs::write(other.join("config.toml"), config).unwrap();
        let (status, _, err) = run(&other, &["serve"]);
        assert_eq!(status, Some(1), "{kind}: {err}");
        let expected = if kind == "hard" { "hard links" } else { &format!("process {}", first.0.id()) };
        assert!(err.starts_with("error: store.url: ") && err.contains(expected), "{kind}: {err}");
    }
    assert_eq!(
        raw_http::get(&first.await_listening().await, "/nothing").await.status,
        404,
        "the first goes on"
    );
}

/// Runs `check --offline` in `folder` as somebody to whom the files' modes apply.
fn check_without_privileges(folder: &Path) -> (Option<i32>, String) {
    use std::os::unix::fs::MetadataExt as _;
    let mut command = match std::fs::metadata("/proc/self").unwrap().uid() {
        0 => {
            let mut command = Command::new("setpriv");
            command.args(["--bounding-set", "-dac_override", "--inh-caps", "-dac_override"]);
            command.arg(env!("CARGO_BIN_EXE_wechat-im-bridge"));
            child::without_settings(&mut command);
            command
        }
        _ => child::bridge(),
    };
    let output = command.args(["check", "--offline"]).current_dir(folder).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test]
async fn check_fails_where_the_store_could_not_be_written() {
    let world = world_without_bridge().await;
    let folder = world.folder.path();
    drop(Serve::start(folder, &world.config_toml(), "0077").await_listening().await);
    let (status, text) = check_without_privileges(folder);
    assert!(status == Some(0) && text.contains("bridge.db can be opened and written"), "{text}");
    for (file, part) in [
        ("bridge.db", "attempt to write a readonly database; let this user write to the file and its folder"),
        ("bridge.db-lock", "bridge.db-lock: Permission denied (os error 13); the folder must exist"),
    ] {
        let path = folder.join(file);
        std::fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        let (status, text) = check_without_privileges(folder);
        assert_eq!(status, Some(1), "{file}: {text}");
        assert!(
            text.lines().any(|line| line.starts_with("fail  store.url  ") && line.contains(part)),
            "{text}"
        );
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
}
