//! The pages about the first day: whoever does what they say has a shop that answers, and they all show the same.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use wechat_im_bridge::internals::sandbox::wechat::Mode;

use crate::child;
use crate::world::{
    SECRET_KEY, SOON, Setup, TRANSFERRING, World, await_shown, await_texts, eventually, openid,
};

const PAGES: [&str; 3] = ["first-day.md", "first-day.zh.md", "first-day.ko.md"];

/// Port 80 needs a right that the tests may not have.
const ANY_PORT: (&str, &str) = ("BRIDGE_SERVER__LISTEN", "127.0.0.1:0");

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The blocks of code in this language. One within a list is indented.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut open: Option<String> = None;
    for line in page.lines() {
        let code = line.trim_start();
        if code.starts_with("```") {
            blocks.extend(open.take());
            open = (code == format!("```{language}")).then(String::new);
        } else if let Some(block) = &mut open {
            block.push_str(code);
            block.push('\n');
        }
    }
    blocks
}

/// The commands, without the remarks behind them.
fn commands(page: &str) -> Vec<String> {
    let blocks = blocks(page, "sh").concat();
    blocks.lines().map(|line| line.split('#').next().unwrap().trim().to_owned()).collect()
}

/// The keys and their values, apart from words for people.
fn settings(page: &str) -> Vec<String> {
    let blocks = blocks(page, "toml").concat();
    let lines = blocks.lines().map(|line| line.split(" #").next().unwrap().trim().to_owned());
    lines
        .filter(|line| !["locale", "shop_name", "inquiry_prefix"].iter().any(|key| line.starts_with(key)))
        .collect()
}

#[test]
fn the_configuration_of_each_page_passes_the_check() {
    for name in PAGES {
        let page = page(name);
        let [configuration] = &blocks(&page, "toml")[..] else { panic!("{name} has one configuration") };
        let folder = tempfile::tempdir().unwrap();
        // What stands for the reader's own value.
        let configuration = configuration.replace("wx…", "wx0123456789abcdef");
        let files = [
            ("config.toml", configuration.as_str()),
            ("wechat-token", "Choose3to32LettersAndDigits\n"),
            ("wechat-secret", "0123456789abcdef0123456789abcdef\n"),
            ("wechat-aes-key", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG\n"),
            ("im-callback-token", "AnotherLongRandomWord\n"),
            ("im-secret", "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e\n"),
        ];
        for (file, content) in files {
            let path = folder.path().join(file);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert!(page.contains(file), "{name} names {file}");
        }
        let output = child::bridge()
            .current_dir(folder.path())
            .args(["check", "--offline"])
            .env(ANY_PORT.0, ANY_PORT.1)
            .output()
            .unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}: {stdout}{stderr}");
    }
}

#[test]
fn all_languages_show_the_same_commands_and_settings() {
    let original = page(PAGES[0]);
    assert!(commands(&original).contains(&"wechat-im-bridge check --offline".to_owned()));
    for name in &PAGES[1..] {
        let page = page(name);
        assert_eq!(commands(&page), commands(&original), "{name}");
        assert_eq!(settings(&page), settings(&original), "{name}");
    }
}

/// Stands in front of the bridge as a proxy does, once it is told where the bridge listens.
#[derive(Clone, Default)]
struct Proxy(Arc<Mutex<Option<SocketAddr>>>);

impl Proxy {
    /// Starts it, and returns its URL.
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let target = self.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let target = *target.0.lock();
                tokio::spawn(async move {
                    let Some(target) = target else {
                        let _ =
                            client.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
                        return;
                    };
                    if let Ok(mut bridge) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut bridge).await;
                    }
                });
            }
        });
        url
    }
}

/// The reader of the page: a shell, on a machine that has the program, between the simulated platforms.
struct Reader {
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Reader {
    fn command(&self, line: &str) -> Command {
        let mut shell = std::process::Command::new("sh");
        child::without_settings(&mut shell);
        let mut command = Command::from(shell);
        command.args(["-c", line]).current_dir(self.folder.path()).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command with these answers, and returns whether it succeeded, and what it printed.
    async fn run(&self, line: &str, answers: &str) -> (bool, String) {
        let mut running = self.command(line).stdin(Stdio::piped()).spawn().unwrap();
        running.stdin.take().unwrap().write_all(answers.as_bytes()).await.unwrap();
        let output = running.wait_with_output().await.unwrap();
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), printed)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap().trim().to_owned()
    }
}

/// The answers to `init`: the page's values, and for those that it leaves open the platforms'.
fn answers(page: &str, world: &World) -> String {
    let settings: toml::Table = blocks(page, "toml").concat().parse().unwrap();
    let value = |section: &str, key: &str| match &settings[section][key] {
        toml::Value::String(text) => text.clone(),
        other => other.as_integer().unwrap().to_string(),
    };
    let agents: Vec<&str> =
        settings["im"]["agents"].as_array().unwrap().iter().map(|agent| agent.as_str().unwrap()).collect();
    let wechat = world.wechat.settings();
    [
        wechat.app_id.clone(),
        wechat.app_secret.clone(),
        value("im", "sdk_app_id"),
        SECRET_KEY.to_owned(),
        value("im", "admin"),
        agents.join(","),
        value("texts", "shop_name"),
        value("texts", "locale"),
        String::new(),
    ]
    .join("\n")
}

/// A world whose consoles know nothing of the bridge yet.
async fn platforms() -> World {
    let setup = Setup::default().on_sqlite().im(|im| im.admins = vec!["administrator".to_owned()]);
    setup
        .wechat(|wechat| "0123456789abcdef0123456789abcdef".clone_into(&mut wechat.app_secret))
        .without_bridge()
        .await
}

/// Starts the bridge, and returns it with the address of its operations listener.
async fn serve(reader: &Reader, line: &str, proxy: &Proxy) -> (Child, SocketAddr) {
    let log = reader.folder.path().join("log");
    let mut command = reader.command(&format!("exec {line}"));
    let serving = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let mut text = String::new();
    let listens = eventually(SOON, async || {
        text = std::fs::read_to_string(&log).unwrap();
        text.contains("operations on ")
    });
    assert!(listens.await, "{text}");
    let after = |words: &str| -> SocketAddr {
        let rest = text.split_once(words).unwrap().1;
        rest.split([',', ' ', '\n'])
            .next()
            .unwrap()
            .trim_end_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .unwrap()
    };
    *proxy.0.lock() = Some(after("listening on "));
    (serving, after("operations on "))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_the_page_has_a_shop_that_answers() {
    let page = page(PAGES[0]);
    let (world, proxy) = (platforms().await, Proxy::default());
    let url = proxy.start().await;
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let environment = vec![
        ("PATH", path),
        (ANY_PORT.0, ANY_PORT.1.to_owned()),
        ("BRIDGE_SERVER__OPS_LISTEN", "127.0.0.1:0".to_owned()),
        ("BRIDGE_SERVER__PUBLIC_URL", url.clone()),
        ("BRIDGE_WECHAT__API_BASE", world.wechat.base_url().to_owned()),
        ("BRIDGE_IM__API_BASE", world.im.base_url()),
    ];
    let mut reader = Reader { folder, environment };
    let mut serving = None;
    for line in commands(&page) {
        match line.as_str() {
            // The tests' own build is installed instead.
            "cargo build --release" => {}
            "install target/release/wechat-im-bridge /usr/local/bin/" => {
                symlink(env!("CARGO_BIN_EXE_wechat-im-bridge"), programs.join("wechat-im-bridge")).unwrap();
            }
            "wechat-im-bridge init" => {
                let (succeeded, printed) = reader.run(&line, &answers(&page, &world)).await;
                assert!(
                    !succeeded && printed.contains("fail  im.agents  IM has no account anna"),
                    "{printed}"
                );
                assert!(printed.contains("ok    wechat.app_secret  "), "{printed}");
                set_im_console(&world, &reader, &url);
            }
            "wechat-im-bridge check --offline" | "wechat-im-bridge check" => {
                let (succeeded, printed) = reader.run(&line, "").await;
                assert!(succeeded, "{line}: {printed}");
            }
            "wechat-im-bridge serve" => {
                let (child, ops) = serve(&reader, &line, &proxy).await;
                serving = Some(child);
                let ops_listen = reader.environment.iter_mut().find(|(name, _)| name.ends_with("OPS_LISTEN"));
                ops_listen.unwrap().1 = ops.to_string();
            }
            "wechat-im-bridge check --wait" => {
                let waiting = reader.command(&line).spawn().unwrap();
                set_wechat_console(&world, &reader, &url);
                // The first presses of the button may come before the command looks.
                let mut waiting = Box::pin(waiting.wait_with_output());
                let output = loop {
                    assert!(world.wechat.verify_url().await);
                    if let Ok(output) = tokio::time::timeout(SOON / 10, &mut waiting).await {
                        break output.unwrap();
                    }
                };
                let printed = String::from_utf8(output.stdout).unwrap();
                assert!(output.status.success() && printed.contains("127.0.0.1  right"), "{printed}");
            }
            other => panic!("nobody has tried `{other}`"),
        }
    }
    assert!(serving.is_some());
    the_first_message(&page, &world, &reader).await;
}

/// Section 4 of the page.
fn set_im_console(world: &World, reader: &Reader, url: &str) {
    for agent in ["anna", "ben"] {
        world.im.import(agent).unwrap();
    }
    world.im.change(|im| im.callback_token = Some(reader.read("im-callback-token").into()));
    world.im.connect(format!("{url}/imcallback"));
}

/// Section 6 of the page.
fn set_wechat_console(world: &World, reader: &Reader, url: &str) {
    world.wechat.connect(&format!("{url}/"));
    let console = world.wechat.change(|wechat| {
        wechat.token = reader.read("wechat-token");
        wechat.encoding_aes_key = reader.read("wechat-aes-key");
        wechat.mode = Mode::Safe;
    });
    console.unwrap();
}

/// Sections 7 and 8 of the page.
async fn the_first_message(page: &str, world: &World, reader: &Reader) {
    let of_page = |start: &str| {
        let quoted = page.split('`').find(|quoted| quoted.starts_with(start));
        quoted.unwrap_or_else(|| panic!("the page has no {start}")).to_owned()
    };
    let (succeeded, usersig) = reader.run(&of_page("wechat-im-bridge usersig create"), "").await;
    assert!(succeeded, "{usersig}");
    let (succeeded, content) =
        reader.run(&format!("wechat-im-bridge usersig verify {}", usersig.trim()), "").await;
    assert!(succeeded && content.contains("\"anna\""), "{content}");

    let agents = ["anna", "ben"].map(|agent| world.im.agent(agent).unwrap());
    let phone = world.wechat.customer(&openid("day1"));
    phone.follow().await;
    await_shown(&phone, "Thanks for following Your shop. We want to offer you the best service.").await;
    phone.say("hello").await;
    await_shown(&phone, TRANSFERRING).await;
    let has_question = |agent: &&_| !crate::world::texts(agent, &openid("day1")).is_empty();
    assert!(eventually(SOON, async || agents.iter().any(|agent| has_question(&agent))).await);
    let agent = agents.iter().find(has_question).unwrap();
    assert_eq!(await_texts(agent, &openid("day1"), 1).await, ["WeChat: hello"]);
    agent.say(&openid("day1"), "Welcome! How can I help?").await.unwrap();
    await_shown(&phone, "Welcome! How can I help?").await;
    let trace = of_page("wechat-im-bridge trace OPENID").replace("OPENID", &openid("day1"));
    let (succeeded, steps) = reader.run(&trace, "").await;
    assert!(succeeded && steps.contains("custom/send"), "{steps}");
    assert!(Path::new(&reader.folder.path().join("bridge.db")).is_file());
}
