//! Settings that change while the bridge runs, on the real binary: at SIGHUP, and when the file changes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::observe::await_notice;
use crate::raw_http::{self, text_message};
use crate::serve::{ServeProcess, connect, world_without_bridge};
use crate::world::{
    INQUIRY, SOON, TRANSFERRING, World, await_shown, await_texts, eventually, get_json, openid, texts,
};

/// Working hours that are some days away from now, wherever that is.
fn other_day() -> String {
    let days = usize::try_from(raw_http::started_s()).unwrap() / 86_400;
    // 1970-01-01 was a Thursday; three days later it is never today.
    let day = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][days % 7];
    format!("[desk]\nhours = \"{day} 09:00-09:01\"")
}

/// Replaces the configuration file in one step, as an editor does.
fn write(folder: &Path, config: &str) {
    let new = folder.join("config.new");
    std::fs::write(&new, config).unwrap();
    std::fs::rename(new, folder.join("config.toml")).unwrap();
}

/// The world's configuration with other keys of `[im]`, `[wechat]` and `[server]`, and more sections.
fn config(world: &World, server: &str, wechat: &str, im: &str, sections: &str) -> String {
    let with = |text: String, section: &str, keys: &str| {
        text.replacen(&format!("[{section}]"), &format!("[{section}]\n{keys}\n"), 1)
    };
    let text = with(world.config_toml(), "server", server);
    let text = with(with(text, "wechat", wechat), "im", im);
    // The world's configuration has this section already.
    let (before, desk) = sections.split_once("[desk]\n").unwrap_or((sections, ""));
    format!("{}\n{before}\n", with(text, "desk", desk))
}

async fn await_log(serving: &ServeProcess, part: &str) {
    let logged = eventually(SOON, async || serving.log().iter().any(|line| line.contains(part))).await;
    assert!(logged, "{part:?} is not in the log: {:#?}", serving.log());
}

async fn await_settings(ops: &str, is: impl Fn(&Value) -> bool) -> Value {
    let settings = async || get_json(&format!("{ops}/readyz")).await.1["settings"].clone();
    let came = eventually(SOON, async || is(&settings().await)).await;
    let last = settings().await;
    assert!(came, "{last}");
    last
}

#[tokio::test]
async fn sighup_applies_agents_texts_replies_hours_and_quotas() {
    let world = world_without_bridge().await;
    world.im.import("user2").unwrap();
    let (first, second) = (world.agent(), world.im.agent("user2").unwrap());
    let serving = ServeProcess::start(world.folder.path(), &world.config_toml());
    let (public, ops) = serving.await_listening().await;
    connect(&world, &public);
    let apply = async |wechat: &str, im: &str, sections: &str, keys: &str| {
        write(world.folder.path(), &config(&world, "", wechat, im, sections));
        serving.signal("HUP");
        await_log(&serving, &format!("the changed settings are in use: {keys}")).await;
    };
    let (old, new) = (world.follower("old"), world.follower("new"));
    assert_eq!(old.say("hello").await.text(), Some(TRANSFERRING));
    await_texts(&first, old.openid(), 1).await;
    // The second account is no agent yet.
    second.say(old.openid(), "may I?").await.unwrap();
    await_notice(&second, old.openid(), "does not get your messages").await;
    let push_as_second = async || {
        let push = text_message("user2", 77, "hello");
        raw_http::post(&public, &format!("/?{}", raw_http::query(&world)), push).await.status
    };

    let agents = "agents = [\"user1\", \"user2\"]";
    let words = "[texts]\ntransferring = \"One moment.\"\n[replies]\nprice = \"It costs 5.\"\n[[desk.group]]\n\
                 name = \"samples\"\nagents = [\"user2\"]\nwords = [\"sample\"]";
    let keys = "desk.group[1].agents, desk.group[1].name, desk.group[1].words, im.agents, replies.price, \
                texts.transferring";
    apply("", agents, words, keys).await;
    assert_eq!(push_as_second().await, 403, "a customer can no longer write as this agent");
    assert_eq!(new.say("hello").await.text(), Some("One moment."));
    await_texts(&second, new.openid(), 1).await;
    second.say(new.openid(), "/r price").await.unwrap();
    await_shown(&new, "It costs 5.").await;
    // The other agent has as many conversations.
    let sampled = world.follower("sampled");
    sampled.say("a sample, please").await;
    await_texts(&second, sampled.openid(), 1).await;

    apply("", agents, &format!("{words}\n{}", other_day()), "desk.hours").await;
    let night = world.follower("night");
    let away = night.say("is anybody there?").await;
    assert!(away.text().is_some_and(|text| text.starts_with("Nobody is here")), "{away:?}");
    apply("quota_messages = 1", agents, words, "desk.hours, wechat.quota_messages").await;
    let arrived = eventually(SOON, async || {
        [&first, &second].iter().any(|agent| {
            agent
                .conversation(night.openid())
                .iter()
                .any(|message| message.text() == format!("{INQUIRY}is anybody there?"))
        })
    });
    assert!(arrived.await, "the desk is open again: {:#?}", serving.log());

    new.say("one question more").await;
    await_texts(&second, new.openid(), 2).await;
    for text in ["the first", "the second"] {
        second.say(new.openid(), text).await.unwrap();
    }
    await_shown(&new, "the first").await;
    await_notice(&second, new.openid(), "is held").await;
    assert_eq!(await_settings(&ops, |it| it["ok"] == true).await["need_restart"], Value::Null);
}

#[tokio::test]
async fn a_shorter_time_to_the_first_answer_counts_for_what_is_asked_from_then_on() {
    let world = world_without_bridge().await;
    let config_with =
        |seconds: u32| config(&world, "", "", "", &format!("[desk]\nfirst_answer_s = {seconds}"));
    let serving = ServeProcess::start(world.folder.path(), &config_with(3_600));
    let (public, _) = serving.await_listening().await;
    connect(&world, &public);
    let (agent, old, new) = (world.agent(), world.follower("old"), world.follower("new"));
    old.say("hello").await;
    await_texts(&agent, old.openid(), 1).await;
    write(world.folder.path(), &config_with(1));
    serving.signal("HUP");
    await_log(&serving, "the changed settings are in use: desk.first_answer_s").await;
    let waited = "The customer has waited ";
    let is_told = async |customer: &str| {
        eventually(SOON, async || texts(&agent, customer).iter().any(|text| text.contains(waited))).await
    };
    new.say("hello").await;
    assert!(is_told(new.openid()).await, "{:#?}", serving.log());
    assert_eq!(texts(&agent, old.openid()).len(), 1);
    // Who writes on asks again.
    old.say("anybody?").await;
    assert!(is_told(old.openid()).await, "{:#?}", serving.log());
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_a_key_that_needs_a_restart_is_named() {
    let world = world_without_bridge().await;
    let serving = ServeProcess::start(world.folder.path(), &world.config_toml());
    let (public, ops) = serving.await_listening().await;
    connect(&world, &public);
    let write = |server: &str, im: &str, sections: &str| {
        write(world.folder.path(), &config(&world, server, "", im, sections));
        serving.signal("HUP");
    };
    write("", "agents = []", "[texts]\ntransferring = \"never\"");
    let broken = await_settings(&ops, |it| it["ok"] == false).await;
    assert!(broken["since"].is_i64() && broken["since_utc"].is_string(), "{broken}");
    assert!(broken["why"].as_str().unwrap().starts_with("im.agents: "), "{broken}");
    assert!(broken["advice"].as_str().unwrap().contains("check --offline"), "{broken}");
    await_log(&serving, "the settings before it stay in use: im.agents: ").await;
    assert_eq!(get_json(&format!("{ops}/readyz")).await.0, 200);
    let phone = world.follower("a");
    assert_eq!(phone.say("hello").await.text(), Some(TRANSFERRING));
    await_texts(&world.agent(), phone.openid(), 1).await;
    // What the bridge calls itself at IM cannot become an agent before a restart.
    write("", "admin = \"other\"\nagents = [\"user0\"]", "");
    await_log(&serving, "im.agents: names the account with which the bridge calls IM").await;

    write("body_limit_bytes = 300000", "", "[texts]\nshop_name = \"Tea\"\n[log]\nlevel = \"debug\"");
    let applied = await_settings(&ops, |it| it["ok"] == true).await;
    assert_eq!(applied["need_restart"], serde_json::json!(["log.level", "server.body_limit_bytes"]));
    await_log(&serving, "have no effect before the bridge is restarted: log.level, server.body_limit_bytes")
        .await;
    await_log(&serving, "the changed settings are in use: texts.shop_name").await;
    let log = serving.log();
    assert!(log.iter().any(|line| line.contains("WARN") && line.contains("log.level")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("ERROR") && line.contains("im.agents: ")), "{log:#?}");
    write("", "", "[texts]\nshop_name = \"Tea\"");
    await_settings(&ops, |it| it["need_restart"] == Value::Null).await;
}

#[tokio::test]
async fn a_watched_file_is_applied_when_it_changes() {
    let world = world_without_bridge().await;
    let watched = |texts: &str| config(&world, "watch_config = true", "", "", texts);
    let serving = ServeProcess::start(world.folder.path(), &watched(""));
    let (public, ops) = serving.await_listening().await;
    connect(&world, &public);
    write(world.folder.path(), &watched("[texts]\nlocale = \"xx\""));
    await_settings(&ops, |it| it["ok"] == false).await;
    write(world.folder.path(), &watched("[texts]\ntransferring = \"One moment.\""));
    await_settings(&ops, |it| it["ok"] == true).await;
    assert_eq!(world.follower("a").say("hello").await.text(), Some("One moment."));
    await_texts(&world.agent(), &openid("a"), 1).await;
    let log = serving.log();
    assert!(!log.iter().any(|line| line.contains("no effect so far")), "{log:#?}");
}

/// The configuration is a pipe, so that the start waits until the test has sent the signal.
#[tokio::test]
async fn sighup_during_the_start_is_kept_until_the_bridge_runs() {
    let world = world_without_bridge().await;
    let folder = world.folder.path().to_owned();
    let pipe = folder.join("config.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let serving = ServeProcess::start_with_the_file(&folder);
    let give = async |config: String| {
        let pipe = pipe.clone();
        // Opening a pipe waits until somebody reads it.
        let written = tokio::task::spawn_blocking(move || std::fs::write(pipe, config));
        tokio::time::timeout(Duration::from_secs(20), written).await.unwrap().unwrap().unwrap();
    };
    let mut opened = tokio::process::Command::new("sh");
    // The shell has the pipe open when the bridge has.
    let opened = opened.args(["-c", "exec 3>config.toml; echo; cat >&3"]).current_dir(&folder);
    let mut writer = opened
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut byte = [0];
    let read = tokio::io::AsyncReadExt::read(writer.stdout.as_mut().unwrap(), &mut byte);
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap(), 1);
    serving.signal("HUP");
    let mut stdin = writer.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, world.config_toml().as_bytes()).await.unwrap();
    drop(stdin);
    let (public, ops) = serving.await_listening().await;
    give(config(&world, "", "", "", "[texts]\ntransferring = \"One moment.\"")).await;
    await_log(&serving, "the changed settings are in use: texts.transferring").await;
    connect(&world, &public);
    assert_eq!(world.follower("a").say("hello").await.text(), Some("One moment."));
    await_texts(&world.agent(), &openid("a"), 1).await;
    assert_eq!(raw_http::get(&ops, "/healthz").await.status, 200);
    serving.signal("TERM");
    assert_eq!(serving.wait_end().await.0.code(), Some(0));
}
