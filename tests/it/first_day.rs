//! The pages about the first day: their configuration is one that works, and they all show the same.

use std::os::unix::fs::PermissionsExt as _;

use crate::child;

const PAGES: [&str; 3] = ["first-day.md", "first-day.zh.md", "first-day.ko.md"];

/// Port 80 needs a right that the tests may not have.
const ANY_PORT: (&str, &str) = ("BRIDGE_SERVER__LISTEN", "127.0.0.1:0");

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The blocks of code in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// The commands, without the remarks behind them.
fn commands(page: &str) -> Vec<String> {
    let lines = blocks(page, "sh").into_iter().flat_map(str::lines);
    lines.map(|line| line.split('#').next().unwrap().trim().to_owned()).collect()
}

/// The keys and their values, apart from words for people.
fn settings(page: &str) -> Vec<String> {
    let lines = blocks(page, "toml").into_iter().flat_map(str::lines);
    let lines = lines.map(|line| line.split(" #").next().unwrap().trim().to_owned());
    lines
        .filter(|line| !["locale", "shop_name", "inquiry_prefix"].iter().any(|key| line.starts_with(key)))
        .collect()
}

#[test]
fn the_configuration_of_each_page_passes_the_check() {
    for name in PAGES {
        let page = page(name);
        let [configuration] = blocks(&page, "toml")[..] else { panic!("{name} has one configuration") };
        let folder = tempfile::tempdir().unwrap();
        // What stands for the reader's own value.
        let configuration = configuration.replace("wx…", "wx0123456789abcdef");
        let files = [
            ("config.toml", configuration.as_str()),
            ("wechat-secret", "0123456789abcdef0123456789abcdef\n"),
            ("wechat-aes-key", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG\n"),
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
