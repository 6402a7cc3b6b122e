//! The command `init`: what it asks, writes and never does.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::child;

const APP_SECRET: &str = "0123456789abcdef0123456789abcdef";
const SECRET_KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
const FILES: [&str; 6] =
    ["config.toml", "im-callback-token", "im-secret", "wechat-aes-key", "wechat-secret", "wechat-token"];
const FLAGS: [&str; 13] = [
    "init",
    "--public-url",
    "https://bridge.shop.cn",
    "--tls-cert=",
    "--app-id",
    "wx0123456789abcdef",
    "--sdk-app-id",
    "1400000000",
    "--admin",
    "administrator",
    "--agents=anna,ben",
    "--shop-name=Tea House",
    "--locale=en",
];

fn command(folder: &Path) -> Command {
    let mut command = child::bridge();
    command.current_dir(folder).env("BRIDGE_SERVER__OPS_LISTEN", "127.0.0.1:0");
    command.env("BRIDGE_SERVER__LISTEN", "127.0.0.1:0");
    command
}

/// Runs the command with these answers, and returns exit status, stdout and stderr.
fn answered(mut command: Command, answers: &str) -> (Option<i32>, String, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    running.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn flags_and_variables_make_a_configuration_that_passes_the_check_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let init = || {
        let mut command = command(folder);
        command.args(FLAGS).arg("--offline");
        command.env("BRIDGE_WECHAT__APP_SECRET", APP_SECRET).env("BRIDGE_IM__SECRET_KEY", SECRET_KEY);
        command
    };
    let (status, stdout, stderr) = answered(init(), "");
    assert_eq!((status, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(names(folder), FILES);
    assert_eq!(read(folder, "wechat-secret"), format!("{APP_SECRET}\n"));
    let before: Vec<String> = FILES.iter().map(|name| read(folder, name)).collect();
    let (status, _, stderr) = answered(init(), "");
    assert_eq!(status, Some(1), "{stderr}");
    assert_eq!(FILES.map(|name| read(folder, name)).to_vec(), before);
}

#[test]
fn answers_make_the_same_and_a_wrong_one_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut init = command(folder);
    init.args(["init", "--offline"]);
    let answers = format!(
        "bridge.shop.cn\nhttps://bridge.shop.cn\n\ngh_0123456789ab\nwx0123456789abcdef\n{APP_SECRET}\n1400000000\n\
         {SECRET_KEY}\n\nanna, ben\nTea House\nzh\n"
    );
    let (status, stdout, stderr) = answered(init, &answers);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    for part in [
        "server.public_url is not a URL: ",
        "wechat.app_id is the original id of an account, not an AppID; set the AppID",
        "Its AppSecret, on the same page",
        "The application's administrator [administrator]: ",
    ] {
        assert!(stderr.contains(part), "{part} is not in {stderr}");
    }
    assert!(stdout.starts_with("wrote wechat-token, wechat-secret, "), "{stdout}");
    for part in ["ok    configuration  ", "https://bridge.shop.cn/imcallback", "in the file wechat-aes-key"] {
        assert!(stdout.contains(part), "{part} is not in {stdout}");
    }
    assert_eq!(names(folder), FILES);
    for name in FILES {
        let mode = std::fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(read(folder, "wechat-secret"), format!("{APP_SECRET}\n"));
    assert_eq!(read(folder, "im-secret"), format!("{SECRET_KEY}\n"));
    for (name, characters) in [("wechat-token", 32), ("wechat-aes-key", 43), ("im-callback-token", 32)] {
        let secret = read(folder, name);
        assert_eq!(secret.trim().len(), characters, "{name}");
        assert!(secret.trim().chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
        assert!(!stdout.contains(secret.trim()) && !stderr.contains(secret.trim()), "{name}");
    }
    let config = read(folder, "config.toml");
    assert!(
        config.contains("agents = [\"anna\",\"ben\"]") && config.contains("shop_name = \"Tea House\""),
        "{config}"
    );
    for secret in [APP_SECRET, SECRET_KEY] {
        assert!(![&config, &stdout, &stderr].iter().any(|text| text.contains(secret)));
    }

    // Nothing is ever overwritten.
    for kept in ["config.toml", "im-secret"] {
        for name in FILES.iter().filter(|name| **name != kept) {
            let _ = std::fs::remove_file(folder.join(name));
        }
        let before = read(folder, kept);
        let mut again = command(folder);
        again.args(["init", "--offline"]);
        let (status, _, stderr) = answered(again, &answers);
        assert_eq!(status, Some(1), "{stderr}");
        assert!(
            stderr.starts_with(&format!("error: {kept} exists, and no file is ever overwritten\nhint: ")),
            "{stderr}"
        );
        assert_eq!((names(folder), read(folder, kept)), (vec![kept.to_owned()], before));
        std::fs::write(folder.join("im-secret"), "theirs").unwrap();
        let _ = std::fs::remove_file(folder.join("config.toml"));
    }
}

#[test]
fn what_no_flag_says_is_named_when_nobody_answers() {
    let folder = tempfile::tempdir().unwrap();
    for (more, key, way) in [
        (&[][..], "server.public_url", "--public-url"),
        (&FLAGS[1..6], "wechat.app_secret", "BRIDGE_WECHAT__APP_SECRET"),
    ] {
        let mut init = command(folder.path());
        init.arg("init").args(more);
        let (status, stdout, stderr) = answered(init, "");
        assert_eq!((status, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains(&format!("error: {key}: has no value")) && stderr.contains(way), "{stderr}");
    }
    let mut wrong = command(folder.path());
    wrong.args(FLAGS).arg("--app-id=gh_0123456789ab");
    wrong.args(["--config", "none"]);
    let (status, _, stderr) = answered(wrong, "");
    assert_eq!(status, Some(2), "{stderr}");
    assert_eq!(names(folder.path()), [""; 0], "nothing is written");
}

/// Types into a terminal on which the command runs, each answer after its question, and returns what the terminal shows.
fn typed(folder: &Path, conversation: &[(&str, &str)]) -> Option<String> {
    let Some(script) = child::find(&["script"]) else {
        child::report_skip("init on a terminal", "script", "bsdutils");
        return None;
    };
    let mut command = Command::new(script);
    let line = format!("{} init --offline", env!("CARGO_BIN_EXE_wechat-im-bridge"));
    command
        .args(["-qec", &line, "/dev/null"])
        .current_dir(folder)
        .env("BRIDGE_SERVER__LISTEN", "127.0.0.1:0");
    let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keyboard, mut screen) = (running.stdin.take().unwrap(), running.stdout.take().unwrap());
    let (mut shown, mut buffer, mut seen) = (String::new(), [0; 4096], 0);
    for (question, answer) in conversation {
        while !shown[seen..].contains(question) {
            let read = screen.read(&mut buffer).unwrap();
            assert!(read > 0, "{question} is not asked: {shown}");
            shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        seen = shown.len();
        keyboard.write_all(answer.as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }
    let mut rest = Vec::new();
    screen.read_to_end(&mut rest).unwrap();
    running.wait().unwrap();
    Some(shown + &*String::from_utf8_lossy(&rest))
}

#[test]
fn a_terminal_shows_no_secret_and_ctrl_c_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let before = [
        ("reach this server?", "https://bridge.shop.cn\n"),
        ("The certificate's PEM file", "\n"),
        ("AppID", "wx0123456789abcdef\n"),
    ];
    let interrupted = [
        &before[..],
        &[("AppSecret, on the same page; empty if the account has none (not shown): ", "01\u{3}")],
    ]
    .concat();
    let Some(shown) = typed(folder.path(), &interrupted) else { return };
    assert!(shown.contains("error: cannot read the answer") && shown.contains("interrupted"), "{shown}");
    assert_eq!(names(folder.path()), [""; 0]);

    let mistyped = format!("wrong\u{15}{APP_SECRET}x\u{7f}\n");
    let secret_key = format!("{SECRET_KEY}\n");
    let after = [
        ("(not shown): ", mistyped.as_str()),
        ("SDKAppID", "1400000000\n"),
        ("secret key, on the same page (not shown): ", secret_key.as_str()),
        ("administrator [administrator]: ", "\n"),
        ("agents", "anna\n"),
        ("shop's name", "Tea House\n"),
        ("en, ko or zh [en]: ", "\n"),
    ];
    let shown = typed(folder.path(), &[&before[..], &after[..]].concat()).unwrap();
    assert!(shown.contains("wrote wechat-token") && shown.contains("Tea House"), "{shown}");
    assert!(!shown.contains("0123456789abcdef0123") && !shown.contains(SECRET_KEY), "{shown}");
    assert_eq!(read(folder.path(), "wechat-secret"), format!("{APP_SECRET}\n"));
    assert_eq!(read(folder.path(), "im-secret"), secret_key);
}
