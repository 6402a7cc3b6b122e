//! The `sandbox` command with several instances on one PostgreSQL: real processes, and the sandbox's own front.

use std::process::{Output, Stdio};

use serde_json::{Value, json};

use super::process::{Process, is_running};
use super::{FIRST, SOON};
use crate::child;
use crate::cluster::{self, Schema};
use crate::database::Database;
use crate::world::eventually;

const INSTANCES: usize = 3;

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
        Some(Self { process, schema, http: reqwest::Client::builder().no_proxy().build().unwrap() })
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
