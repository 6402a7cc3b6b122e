//! The `sandbox` command with several instances on one PostgreSQL: real processes, and the sandbox's own front.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::drills::{TIMED, drill};
use super::process::{Process, is_running};
use super::{FIRST, SOON};
use crate::child;
use crate::cluster::{self, Schema};
use crate::database::Database;
use crate::world::eventually;

const INSTANCES: usize = 3;
/// Longer than any drill of several instances may take.
const DRILL_TIMEOUT: Duration = Duration::from_secs(250);

/// The URL of the schema's database, without options.
fn database_url(schema: &Schema) -> String {
    schema.url().split('?').next().unwrap().to_owned()
}

/// What a sandbox that was the process `pid` has left in the database.
fn left_by(pid: u32, schema: &Schema) -> i64 {
    let left =
        format!("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'wechat_im_bridge_sandbox_{pid}_%'");
    Database::in_schema(schema).value(&left, &[])
}

#[test]
fn the_script_passes_with_several_instances_and_leaves_nothing_in_the_database() {
    let Some(schema) = cluster::empty_schema() else { return };
    let mut command = child::bridge();
    command.args(["sandbox", "--script", "--instances", "3", "--store", &database_url(&schema)]);
    let piped = command.env("BRIDGE_LOG__LEVEL", "error").stdout(Stdio::piped()).stderr(Stdio::piped());
    let sandbox = piped.spawn().unwrap();
    let pid = sandbox.id();
    let Output { status, stdout, stderr } = sandbox.wait_with_output().unwrap();
    let [output, log] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(status.success(), "{log}\n{output}");
    assert_eq!(output.matches(" steps passed in ").count(), 2, "{output}");
    assert_eq!(left_by(pid, &schema), 0);
}

#[test]
fn instances_without_a_database_and_impossible_numbers_are_refused() {
    let run = |arguments: &[&str]| {
        let output = child::bridge().arg("sandbox").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, said) = run(&["--script", "--instances", "3"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("--instances") && said.contains("add --store postgres://USER@HOST/DB"), "{said}");
    let (status, said) = run(&["--instances", "3", "--store", "sqlite://a.db"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("names no PostgreSQL database"), "{said}");
    for wrong in ["0", "1", "9", "many"] {
        let (status, said) = run(&["--instances", wrong, "--store", "postgres://bridge@127.0.0.1/none"]);
        assert_eq!(status, Some(2), "{wrong}: {said}");
    }
}

/// A running sandbox with several instances, and an HTTP client in place of a browser.
struct Fleet {
    process: Process,
    schema: Schema,
    http: reqwest::Client,
}

impl Fleet {
    /// `None` if PostgreSQL is not installed.
    fn start() -> Option<Self> {
        let schema = cluster::empty_schema()?;
        let (count, url) = (INSTANCES.to_string(), database_url(&schema));
        let process = Process::start_with(&["--instances", &count, "--store", &url], &[]);
        Some(Self {
            process,
            schema,
            http: wechat_im_bridge::internals::http_client::loopback().build().unwrap(),
        })
    }

    async fn post(&self, path: &str, body: Value) {
        let url = format!("{}{path}", self.process.page);
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202, "{path}");
    }

    /// Waits until the state fulfils the condition, and returns the state.
    async fn until(&self, what: &str, mut condition: impl FnMut(&Value) -> bool) -> Value {
        let mut state = Value::Null;
        let fulfilled = eventually(SOON, async || {
            state = self.process.state().await;
            condition(&state)
        });
        assert!(fulfilled.await, "{what} is not in {state:#}");
        state
    }

    /// Runs the drill, asserts that it passes, and returns the values of its outcome. Tries again if a bridge was only
    /// too slow.
    async fn run_drill(&self, name: &str) -> Value {
        let mut ended = Value::Null;
        for _ in 0..4 {
            self.post(&format!("api/drills/{name}"), json!({})).await;
            let has_ended = eventually(DRILL_TIMEOUT, async || {
                ended = drill(&self.process.state().await, name).clone();
                ended["state"] != "running"
            });
            assert!(has_ended.await, "{name} does not end");
            if !TIMED.iter().any(|expected| ended["outcome"]["values"]["expected"] == *expected) {
                break;
            }
        }
        assert_eq!(ended["state"], "passed", "{ended:#}");
        ended["outcome"]["values"].clone()
    }

    /// Lets the first customer follow the account.
    async fn follow(&self) {
        self.post(&format!("api/customers/{FIRST}"), json!({"do": "follow"})).await;
        self.until("the follower", |state| super::customer(state, FIRST)["following"] == true).await;
    }

    async fn say(&self, words: &str) {
        self.post(&format!("api/customers/{FIRST}"), json!({"do": "text", "text": words})).await;
    }

    async fn stop(mut self) {
        let state = self.process.state().await;
        let pids: Vec<u64> = instances(&state).iter().map(|one| one["pid"].as_u64().unwrap()).collect();
        self.process.signal("-TERM");
        let mut status = None;
        let ended = eventually(SOON, async || {
            status = self.process.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended.await && status.unwrap().success(), "{status:?}");
        assert!(!pids.into_iter().any(is_running), "a bridge still runs");
        assert!(self.process.temporary_files().is_empty());
        assert_eq!(left_by(self.process.child.id(), &self.schema), 0);
    }
}

fn instances(state: &Value) -> &[Value] {
    state["bridge"]["instances"].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_instances_work_behind_one_address_and_a_killed_one_comes_back() {
    let Some(fleet) = Fleet::start() else { return };
    let state = fleet.process.state().await;
    assert_eq!(instances(&state).len(), INSTANCES);
    assert!(instances(&state).iter().all(|one| one["state"] == "running"), "{state:#}");
    fleet.follow().await;
    let killed = instances(&state)[0]["pid"].clone();
    let kill = std::process::Command::new("kill").args(["-KILL", &killed.to_string()]).status().unwrap();
    assert!(kill.success());
    for number in 1..=INSTANCES {
        fleet.say(&format!("Question {number}")).await;
    }
    fleet.until("every question at an agent", |state| super::messages(state, FIRST).len() == INSTANCES).await;
    fleet
        .until("the instance is back", |state| {
            let first = &instances(state)[0];
            first["state"] == "running" && first["pid"] != killed && first["restarts"] == 1
        })
        .await;
    fleet.stop().await;
}

/// The calls of one kind with these words in their body, the newest first.
fn calls_with<'a>(state: &'a Value, from: &str, words: &str) -> Vec<&'a Value> {
    let has_words = |call: &&Value| {
        let request = &call["request"];
        [&request["body"], &request["decrypted"]].iter().any(|body| body.to_string().contains(words))
    };
    let calls = state["wire"].as_array().unwrap().iter().rev();
    calls.filter(|call| call["from"] == from).filter(has_words).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_kills_the_instance_that_sends_and_the_calls_name_others() {
    let Some(fleet) = Fleet::start() else { return };
    let killed = fleet.run_drill("instance_killed").await;
    let number = |name: &str| killed[name].as_str().unwrap().parse::<u64>().unwrap();
    let (victim, successor) = (number("instance"), number("successor"));
    assert_ne!(victim, successor);
    let state = fleet.process.state().await;
    assert_eq!(instances(&state)[usize::try_from(victim).unwrap() - 1]["restarts"], 1, "{state:#}");

    // The first question is asked before the kill, the third after it, the fourth when the instance is back.
    assert_eq!(calls_with(&state, "bridge", "Question 1 ")[0]["instance"], victim);
    assert_eq!(calls_with(&state, "bridge", "Question 3 ")[0]["instance"], successor);
    for (from, words) in [("wechat", "Question 3 "), ("im", "Answer 2 "), ("im", "Answer 3 ")] {
        let taken_by = calls_with(&state, from, words)[0]["instance"].as_u64();
        assert!(taken_by.is_some_and(|taken_by| taken_by != victim), "{words}: {taken_by:?}");
    }
    assert!(!state.to_string().contains("x-sandbox"), "the page does not show the front's note");

    fleet.follow().await;
    for words in ["Still there?", "And there?", "And there too?"] {
        fleet.say(words).await;
    }
    let has_all = |state: &Value| super::messages(state, FIRST).len() == 3;
    let state = fleet.until("the questions", has_all).await;
    let pushes = state["wire"].as_array().unwrap().iter().filter(|call| call["from"] == "wechat");
    let took: std::collections::BTreeSet<u64> = pushes.filter_map(|call| call["instance"].as_u64()).collect();
    assert_eq!(took, (1..=3).collect(), "all of them take pushes");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_lost_while_instances_are_paused_cut_off_and_replaced() {
    let Some(fleet) = Fleet::start() else { return };
    for name in ["instance_cut_off", "instance_paused"] {
        let outcome = fleet.run_drill(name).await;
        assert_ne!(outcome["instance"], outcome["successor"], "{name}: {outcome}");
    }
    let ended = fleet.run_drill("sessions_ended").await;
    assert!(ended["sessions"].as_u64().unwrap() >= INSTANCES as u64, "{ended}");
    let replaced = fleet.run_drill("rolling_restart").await;
    assert_eq!(replaced["instances"], INSTANCES);
    let state = fleet.process.state().await;
    assert!(
        instances(&state).iter().all(|one| one["state"] == "running" && one["restarts"] == 1),
        "{state:#}"
    );
    // The drill of one bridge restarts all of them.
    fleet.run_drill("bridge_killed").await;
    fleet.stop().await;
}
