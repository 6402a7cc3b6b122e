//! The commands on a store in PostgreSQL.

use std::process::{Output, Stdio};

use serde_json::json;

use crate::child;
use crate::cluster::{self, Schema};
use crate::database::Database;
use crate::world::{Setup, World, openid};

/// Runs a command with a configuration whose store is at `url`, to its end.
fn run(url: &str, words: &[&str]) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let world = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nops_listen = \"127.0.0.1:0\"\n[wechat]\ntoken = \"abc\"\n\
         app_id = \"wx1\"\napp_secret = \"s\"\naccount_id = \"gh_1\"\n[im]\nsdk_app_id = 1400000000\n\
         secret_key = \"5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e\"\n\
         callback_token = \"t\"\n[store]\nurl = \"{url}\"\n"
    );
    std::fs::write(folder.path().join("config.toml"), world).unwrap();
    let Output { status, stdout, stderr } =
        child::bridge().args(words).current_dir(folder.path()).output().unwrap();
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (status.success(), text)
}

fn finding(url: &str) -> String {
    let (_, text) = run(url, &["check", "--offline"]);
    let line = text.lines().find(|line| line.contains("  store.url  "));
    line.unwrap_or_else(|| panic!("no finding: {text}")).to_owned()
}

fn of_role(schema: &Schema, role: &str) -> String {
    schema.url().replace("bridge@", &format!("{role}@"))
}

#[tokio::test]
async fn check_says_what_a_database_is_good_for() {
    let Some(schema) = cluster::empty_schema() else { return };
    let empty = finding(&schema.url());
    assert!(empty.starts_with("ok  ") && empty.ends_with("is empty, and will be set up"), "{empty}");
    let count = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()";
    assert_eq!(Database::in_schema(&schema).value::<i64>(count, &[]), 0, "check changes nothing");

    let role = format!("stranger_{}", schema.name);
    let database = Database::in_schema(&schema);
    database.execute(&format!("CREATE ROLE {role} LOGIN"), &[]);
    database.execute(&format!("GRANT USAGE ON SCHEMA {} TO {role}", schema.name), &[]);
    let refused = finding(&of_role(&schema, &role));
    assert!(
        refused.starts_with("fail")
            && refused.ends_with("grant CREATE on the schema, or connect as its owner"),
        "{refused}"
    );

    let world = Setup::default().in_schema(schema.clone()).start().await;
    let used = finding(&schema.url());
    assert!(used.starts_with("warn") && used.contains("is in use by wechat-im-bridge process"), "{used}");
    let refused = finding(&of_role(&schema, &role));
    assert!(refused.starts_with("fail") && refused.contains("may not change the table"), "{refused}");
    world.finish().await;
    let usable = finding(&schema.url());
    assert!(usable.starts_with("ok  ") && usable.ends_with("can be read and written"), "{usable}");

    database.execute(&format!("ALTER ROLE {role} SET default_transaction_read_only = on"), &[]);
    let refused = finding(&of_role(&schema, &role));
    assert!(refused.ends_with("reset default_transaction_read_only for this user and database"), "{refused}");
    database.execute(&format!("DROP OWNED BY {role}"), &[]);
    database.execute(&format!("DROP ROLE {role}"), &[]);
    let gone = finding(&of_role(&schema, &role));
    assert!(gone.starts_with("fail") && gone.contains("cannot be used"), "{gone}");
}

#[tokio::test]
async fn commands_read_and_change_the_store_beside_the_bridge() {
    let Some(schema) = cluster::empty_schema() else { return };
    let (succeeded, text) = run(&schema.url(), &["messages", "list"]);
    assert!(!succeeded && text.contains("holds no store yet; run `serve` first"), "{text}");
    let world: World = Setup::default().in_schema(schema.clone()).start().await;
    let customer = openid("pg");
    world.follower("pg").say("hello").await;
    let (succeeded, traced) = run(&schema.url(), &["trace", &customer]);
    assert!(succeeded && traced.contains("accepted"), "{traced}");
    let (succeeded, listed) = run(&schema.url(), &["messages", "list", "--all"]);
    assert!(succeeded && listed.contains(&customer), "{listed}");
    let stored: i64 =
        world.database().value("SELECT count(*) FROM customer WHERE openid = ?1", &[json!(customer)]);
    assert_eq!(stored, 1);
    world.finish().await;
}

#[test]
fn the_sandbox_plays_its_script_on_postgresql_and_leaves_nothing_there() {
    let Some(schema) = cluster::empty_schema() else { return };
    let url = schema.url();
    let url = url.split('?').next().unwrap();
    let mut command = child::bridge();
    command.args(["sandbox", "--script", "--store", url]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let sandbox = command.spawn().unwrap();
    // Other tests may run sandboxes of their own on the same server.
    let left = format!(
        "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'wechat_im_bridge_sandbox_{}_%'",
        sandbox.id()
    );
    let Output { status, stdout, stderr } = sandbox.wait_with_output().unwrap();
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(status.success(), "{text}");
    assert_eq!(Database::in_schema(&schema).value::<i64>(&left, &[]), 0);

    for (wrong, problem) in
        [("sqlite://a.db", "names no PostgreSQL database"), (&schema.url(), "has options")]
    {
        let said = child::bridge().args(["sandbox", "--script", "--store", wrong]).output().unwrap();
        assert_eq!(said.status.code(), Some(2));
        assert!(String::from_utf8(said.stderr).unwrap().contains(problem), "{wrong}");
    }
}
