//! The command line, as the real binary: what it prints, where, and with which exit status.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use wechat_im_bridge::internals::clock::Clock;
use wechat_im_bridge::internals::metrics::Metrics;
use wechat_im_bridge::internals::model::{
    Direction, ImUserId, MessageId, MessageKind, Move, OpenId, OutboundCall,
};
use wechat_im_bridge::internals::store::{
    Closing, Customer, NewMessage, Settlement, Store, StoreError, StoreLocation, Tx,
};

use crate::child;

/// Used as the value of every secret: if it appears in any output, a secret has leaked.
const SECRET: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
const OPENID: &str = "oABCD1234efgh5678IJKL90_-mno";

/// A working folder with a configuration.
struct Folder(TempDir);

#[derive(Debug)]
struct Output {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Folder {
    fn new(im: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "{more}\n[wechat]\ntoken = \"BridgeToken2024\"\n[im]\n{im}\n[server]\nlisten = \"127.0.0.1:0\"\nops_listen = \"\"\n"
        );
        std::fs::write(folder.path().join("config.toml"), text).unwrap();
        Self(folder)
    }

    fn valid() -> Self {
        Self::new(&format!("sdk_app_id = 1400000000\nsecret_key = \"{SECRET}\""), "")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, line: &str) -> Output {
        self.run_words(&line.split(' ').collect::<Vec<_>>())
    }

    fn run_words(&self, words: &[&str]) -> Output {
        let output = command(self.0.path()).args(words).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Output { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

fn command(folder: &Path) -> Command {
    let mut command = child::bridge();
    command.current_dir(folder).stdin(Stdio::null());
    command
}

#[test]
fn a_wrong_configuration_is_reported_by_key_and_fix_and_never_by_value() {
    let secret_file = "secret_key_file = \"/run/secrets/im\"";
    let both = format!("sdk_app_id = 1\nsecret_key = \"{SECRET}\"\n{secret_file}");
    for (im, key, problem, fix) in [
        (
            format!("sdk_app_id = 1\nsecret_key = \"{SECRET}\"\nsecret_kee = \"{SECRET}\""),
            "im.secret_kee",
            "not a known key",
            "im.secret_key",
        ),
        ("sdk_app_id = 1".to_owned(), "im.secret_key", "is missing", "set the secret key"),
        (
            format!("sdk_app_id = \"{SECRET}\"\nsecret_key = \"{SECRET}\""),
            "im.sdk_app_id",
            "must be a whole number",
            "without quotes",
        ),
        (both, "im.secret_key_file", "im.secret_key too", "keep one of the two"),
    ] {
        for line in ["serve", "check --offline", "messages list", "trace 1", "usersig create --identifier a"]
        {
            let output = Folder::new(&im, "").run(line);
            assert_eq!(output.status, Some(2), "{line}: {output:?}");
            assert_eq!(output.stdout, "", "{line}");
            let lines: Vec<_> = output.stderr.lines().collect();
            assert_eq!(lines.len(), 2, "one error and its hint: {output:?}");
            assert!(
                lines[0].starts_with(&format!("error: {key}: ")) && lines[0].contains(problem),
                "{output:?}"
            );
            assert!(lines[1].starts_with("hint: ") && lines[1].contains(fix), "{output:?}");
            assert!(!output.stderr.contains(SECRET), "{output:?}");
        }
    }
}

#[test]
fn a_missing_file_and_a_wrong_command_line_exit_with_2() {
    let folder = Folder::valid();
    for line in [
        "check --offline --config none.toml",
        "frobnicate",
        "messages retry five",
        "messages retry",
        "messages discard --yes",
        "messages discard 1 --state held",
        "messages list --since 5",
        "usersig create",
        "sandbox --config a.toml",
    ] {
        let output = folder.run(line);
        assert_eq!((output.status, output.stdout.as_str()), (Some(2), ""), "{line}: {output:?}");
        assert!(output.stderr.contains("error: "), "{line}: {output:?}");
    }
    let empty = tempfile::tempdir().unwrap();
    let output = command(empty.path()).args(["check", "--offline"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("config.toml"));
}

#[test]
fn the_version_and_the_help_go_to_stdout() {
    let folder = Folder::valid();
    let version = folder.run("--version");
    assert_eq!((version.status, version.stdout.as_str()), (Some(0), "wechat-im-bridge 0.1.0\n"));
    let help = folder.run("--help");
    for name in ["serve", "check", "usersig", "sandbox", "messages", "trace", "--config"] {
        assert!(help.stdout.contains(name), "{name}");
    }
}

#[test]
fn the_configuration_may_come_from_the_environment_alone() {
    let empty = tempfile::tempdir().unwrap();
    let output = command(empty.path())
        .args(["usersig", "create", "--identifier", "user1"])
        .env("BRIDGE_IM__SDK_APP_ID", "1400000000")
        .env("BRIDGE_IM__SECRET_KEY", SECRET)
        .env("BRIDGE_WECHAT__TOKEN", "BridgeToken2024")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_created_usersig_is_valid_and_a_changed_or_foreign_one_is_not() {
    let folder = Folder::valid();
    let created = folder.run("usersig create --identifier user1 --expire 60");
    assert_eq!((created.status, created.stderr.as_str()), (Some(0), ""));
    assert_eq!(created.stdout.lines().count(), 1);
    let sig = created.stdout.trim();

    let verified = folder.run(&format!("usersig verify {sig}"));
    assert_eq!(verified.status, Some(0), "{verified:?}");
    let content: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(content["TLS.identifier"], "user1");
    assert_eq!(content["TLS.sdkappid"], 1_400_000_000);
    assert_eq!(content["TLS.expire"], 60);
    assert!(content["TLS.ver"].is_string() && content["TLS.time"].is_i64() && content["TLS.sig"].is_string());

    let other =
        Folder::new(&format!("sdk_app_id = 1400000000\nsecret_key = \"{}\"", SECRET.replace('5', "6")), "");
    for (folder, sig) in [(&other, sig), (&folder, "eJx"), (&folder, "-")] {
        let refused = folder.run_words(&["usersig", "verify", sig]);
        assert_eq!((refused.status, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
        assert!(refused.stderr.starts_with("error: the UserSig is not valid: "), "{refused:?}");
    }
}

#[test]
fn an_expired_usersig_is_refused_with_the_reason() {
    let made_long_ago = wechat_im_bridge::internals::im::send::usersig::create(
        1_400_000_000,
        SECRET,
        "user1",
        60,
        1_600_000_000,
        None,
    );
    let refused = Folder::valid().run(&format!("usersig verify {made_long_ago}"));
    assert_eq!((refused.status, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.stderr.contains("expired") && refused.stderr.contains("hint: "), "{refused:?}");
}

#[test]
fn the_example_configuration_passes_the_offline_check() {
    let folder = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let mut check = command(folder.path());
    // Port 80 needs a right that the tests may not have.
    check.env("BRIDGE_SERVER__LISTEN", "127.0.0.1:0");
    let output = check.args(["check", "--offline", "--config"]).arg(example).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("ok    configuration  "), "{text}");
    for part in [
        "warn  im.callback_token  ",
        "store.url  bridge.db will be created",
        "/imcallback",
        "the value of wechat.token",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    for secret in ["ChangeMeToken", &"0".repeat(32)] {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the check leaves no file behind");
}

#[test]
fn the_check_says_what_does_not_work_without_ffmpeg() {
    let folder = Folder::valid();
    let with_path = |path: &Path| {
        let output =
            command(folder.0.path()).env("PATH", path).args(["check", "--offline"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let without = with_path(folder.0.path());
    let line = without.lines().find(|line| line.contains("  ffmpeg  ")).unwrap();
    assert!(line.starts_with("warn  ffmpeg  is not on PATH: "), "{line}");
    for part in ["M4A", ".mov", "agents on the Web cannot hear", "install"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let program = folder.path("ffmpeg");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, executable).unwrap();
    assert!(with_path(folder.0.path()).contains(&format!("ok    ffmpeg  found at {}", program.display())));
}

#[test]
fn a_finding_that_stops_the_bridge_exits_with_1() {
    let output = Folder::new(
        &format!("sdk_app_id = 1\nsecret_key = \"{SECRET}\""),
        "[store]\nurl = \"sqlite://none/bridge.db\"",
    )
    .run("check --offline");
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stdout.contains("fail  store.url  "), "{output:?}");
    assert!(output.stderr.starts_with("error: 1 finding stops the bridge from working"), "{output:?}");
}

#[test]
fn both_platforms_out_of_reach_are_named_by_host() {
    let base = "api_base = \"http://127.0.0.1:9\"";
    let output = Folder::new(&format!("sdk_app_id = 1\nsecret_key = \"{SECRET}\"\n{base}"), "").run("check");
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stdout.contains("fail  im.api_base  127.0.0.1: "), "{output:?}");
    assert!(!output.stdout.contains(SECRET) && !output.stdout.contains("usersig="), "{output:?}");
}

/// The folder's store, open as in a running bridge, with three messages: held, unknown and
/// delivered, in this order.
fn store_with_messages(folder: &Folder) -> (Store, Closing) {
    let (store, closing) =
        Store::open(&StoreLocation::File(folder.path("bridge.db")), Clock::system(), Metrics::default())
            .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(store.write(|tx| {
            let openid = OpenId::new(OPENID).unwrap();
            tx.put_customer(&Customer::new(openid.clone()))?;
            for moves in
                [&[Move::Hold][..], &[Move::Attempt, Move::MarkUnknown], &[Move::Attempt, Move::Deliver]]
            {
                let id = message(tx, &openid)?;
                for transition in moves {
                    match transition {
                        Move::Attempt => tx.record_attempt(&tx.pending_call(id)?)?,
                        transition => {
                            let why = Some(format!("{transition:?}\nof a test"));
                            tx.settle(id, *transition, &Settlement { why, ..Settlement::default() })?;
                        }
                    }
                }
                tx.record_step(&openid, Some(id), "custom/send", "an outcome", Some(7))?;
            }
            Ok(())
        }))
        .unwrap();
    (store, closing)
}

fn message(tx: &Tx<'_>, openid: &OpenId) -> Result<MessageId, StoreError> {
    tx.add(&NewMessage {
        direction: Direction::ToWechat,
        kind: MessageKind::Message,
        openid: openid.clone(),
        agent: Some(ImUserId::new("user1").unwrap()),
        calls: vec![OutboundCall::TextToCustomer("private words".to_owned())],
        msg_seq: 1,
        msg_random: 1,
        source: "a".to_owned(),
        erase: false,
    })
}

#[test]
fn messages_are_listed_for_scripts_and_for_people() {
    let folder = Folder::valid();
    let (_store, _closing) = store_with_messages(&folder);
    let json = folder.run("messages list --json");
    assert_eq!((json.status, json.stderr.as_str()), (Some(0), ""));
    let rows: Vec<Value> = json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let states: Vec<_> = rows.iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["held", "unknown"]);
    assert_eq!(folder.run("messages list --all --json").stdout.lines().count(), 3);
    let mut keys: Vec<_> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected =
        ["agent", "attempts", "created_at", "direction", "id", "kind", "last_error", "openid", "state"];
    assert_eq!(keys, expected);
    assert_eq!((&rows[1]["direction"], &rows[1]["openid"]), (&"to_wechat".into(), &OPENID.into()));
    assert_eq!(
        (&rows[1]["agent"], &rows[1]["attempts"], &rows[1]["id"]),
        (&"user1".into(), &1.into(), &2.into())
    );

    let held = folder.run("messages list --state held");
    assert_eq!(held.stdout.lines().count(), 2, "a header and one line: {held:?}");
    assert!(held.stdout.starts_with("ID  STATE") && held.stdout.contains("Hold of a test"), "{held:?}");
    assert_eq!(folder.run("messages list --state waiting").stdout, "no messages\n");
    assert_eq!(folder.run("messages list --state waiting --json").stdout, "");
    assert!(!json.stdout.contains("private") && !held.stdout.contains("private"));
}

#[test]
fn stuck_messages_are_retried_or_discarded_while_the_server_runs() {
    let folder = Folder::valid();
    let (store, closing) = store_with_messages(&folder);
    for (line, status, part) in [
        ("messages retry 2", 0, "retried 1 message"),
        ("messages discard 1", 0, "discarded 1 message"),
        ("messages retry 1 3", 1, "has been delivered"),
        ("messages discard --state waiting --since 1d", 1, "2 messages would be changed"),
        // The notice to the agent waits too.
        ("messages retry --state waiting --yes", 0, "retried 2 messages"),
        ("messages retry 99", 1, "there is no message 99"),
        ("messages discard 99", 1, "there is no message 99"),
    ] {
        let output = folder.run(line);
        assert_eq!(output.status, Some(status), "{line}: {output:?}");
        let text = if status == 0 { &output.stdout } else { &output.stderr };
        assert!(text.contains(part), "{line}: {output:?}");
        assert!(status == 0 || output.stderr.contains("hint: "), "{line}: {output:?}");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let signal = runtime.block_on(store.read(|tx| tx.kv("operator_signal"))).unwrap();
    assert!(signal.is_some_and(|at| at.parse::<i64>().is_ok_and(|at| at > 0)));
    closing.close();
    let json = folder.run("messages list --state refused --json").stdout;
    let row: Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!((&row["id"], &row["last_error"]), (&1.into(), &"discarded by the operator".into()));
}

#[test]
fn a_trace_shows_a_customers_steps_or_one_messages() {
    let folder = Folder::valid();
    let (_store, _closing) = store_with_messages(&folder);
    let all = folder.run(&format!("trace {OPENID}"));
    assert_eq!((all.status, all.stderr.as_str()), (Some(0), ""));
    assert_eq!(all.stdout.matches("custom/send").count(), 3, "{all:?}");
    assert_eq!(all.stdout.matches("accepted").count(), 3, "{all:?}");
    let one = folder.run("trace 2");
    assert_eq!(one.stdout.matches("custom/send").count(), 1, "{one:?}");
    assert!(one.stdout.contains("7 ms") && one.stdout.contains("unknown"), "{one:?}");
    assert!(!all.stdout.contains("private") && !one.stdout.contains("private"));
    for stranger in ["99", "oNobody", "not,an openid"] {
        let said = folder.run_words(&["trace", stranger]);
        assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.stderr.contains(&format!("nothing is stored about {stranger}")), "{said:?}");
    }
}

#[test]
fn a_store_that_cannot_be_read_is_reported() {
    let im = format!("sdk_app_id = 1\nsecret_key = \"{SECRET}\"");
    for (url, part) in [
        ("sqlite::memory:", "only the running bridge"),
        ("postgres://a:hidden@127.0.0.1/b", "PostgreSQL"),
        ("sqlite://none.db", "there is no database at none.db"),
    ] {
        let said = Folder::new(&im, &format!("[store]\nurl = \"{url}\"")).run("messages list");
        assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.stderr.contains(part) && !said.stderr.contains("hidden"), "{said:?}");
    }
}

#[test]
fn a_closed_pipe_on_stdout_is_not_a_failure() {
    let folder = Folder::valid();
    let (_store, _closing) = store_with_messages(&folder);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let said = command(folder.0.path()).args(["messages", "list"]).stdout(writer).output().unwrap();
    assert_eq!((said.status.code(), said.stderr.as_slice()), (Some(0), &b""[..]));
}
