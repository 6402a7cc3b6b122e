//! No statement of the store scans a table: with a million messages a scan would delay every push.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::cluster;

/// Scans that are allowed, and the reason for each.
const ALLOWED_SCANS: [(&str, &str); 12] = [
    ("SCAN message USING INDEX message_open", "the reader counts the backlog, at most once a second"),
    ("SCAN message USING COVERING INDEX message_held", "the reader counts them, at most once a second"),
    ("SCAN message USING COVERING INDEX message_deferred", "the reader counts them, at most once a second"),
    ("SCAN message USING INDEX message_queued", "counts the line, for whoever joins it or asks for it"),
    ("SCAN message USING INDEX message_line", "finds the first message in the line"),
    ("SCAN message USING INDEX message_held", "retention scans the held answers in small steps"),
    ("SCAN upload", "it holds the uploads of three days"),
    ("SCAN unreadable", "it holds at most 1,000 rows"),
    ("SCAN media_orphan", "it holds only files that are about to be removed, and the statement has a limit"),
    ("SCAN media USING INDEX media_at", "from the oldest on, with a limit, and only while all are too large"),
    (
        "SCAN ended_conversation USING COVERING INDEX ended_conversation_uncounted",
        "those that are over since two seconds ago, with a limit",
    ),
    ("SCAN sqlite_master", "the schema, read at start"),
];
/// Scans in a plan that are not scans of the store's tables: `a` is a list of agents, the others are the results of
/// subqueries.
const NOT_TABLES: [&str; 10] = [
    "SCAN CONSTANT ROW",
    "SCAN (subquery",
    "SCAN a VIRTUAL TABLE",
    "SCAN c",
    "SCAN lane",
    "SCAN last",
    "SCAN last_held",
    "SCAN last_pending",
    "SCAN page",
    "SCAN waiting",
];

/// Whether a step of a plan is a scan that is not allowed.
fn is_forbidden(step: &str) -> bool {
    // The name of another table may begin with these words.
    let is_or_begins = |scan: &str| {
        step.strip_prefix(scan).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '-']))
    };
    let allowed = ALLOWED_SCANS.iter().map(|(scan, _)| *scan).chain(NOT_TABLES);
    step.starts_with("SCAN ") && !allowed.into_iter().any(is_or_begins)
}

/// A database with all migrations.
fn migrated() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut migrations: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    migrations.retain(|path| path.is_file());
    migrations.sort();
    for migration in migrations {
        connection.execute_batch(&std::fs::read_to_string(migration).unwrap()).unwrap();
    }
    connection
}

fn sources() -> Vec<PathBuf> {
    let folders = ["src/store", "src/store/sqlite"];
    let entries =
        folders.map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).read_dir().unwrap());
    let mut files: Vec<PathBuf> = entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files
}

/// A source without its tests.
fn code(file: &Path) -> String {
    let source = std::fs::read_to_string(file).unwrap();
    source.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// The constants that statements are assembled from, by name.
fn constants(code: &str) -> impl Iterator<Item = (String, String)> {
    code.match_indices(": &str =").filter_map(|(at, _)| {
        let name = code[..at].rsplit(' ').next()?.to_owned();
        Some((name, code[at..].split('"').nth(1)?.to_owned()))
    })
}

/// The string literals that begin like an SQL statement.
fn statements(code: &str, constants: &HashMap<String, String>) -> Vec<String> {
    code.split('"')
        .filter(|text| {
            ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "].iter().any(|word| text.starts_with(word))
        })
        .map(|text| {
            let fill = |name: &str| constants.get(name).map_or("", String::as_str);
            let pieces = text.split('{').enumerate().map(|(index, piece)| match piece.split_once('}') {
                Some((name, rest)) if index > 0 => format!("{}{rest}", fill(name)),
                _ => piece.to_owned(),
            });
            pieces.collect::<String>().replace("\\\n", "\n")
        })
        .collect()
}

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
    let rows = statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// The statements of all sources, with their files.
fn all_statements() -> Vec<(PathBuf, String)> {
    let files = sources();
    // Parts of statements that are filled in at run time.
    let runtime_parts = [("in_states".to_owned(), "state IN (0, 1)".to_owned())];
    let constants = files.iter().flat_map(|file| constants(&code(file)).collect::<Vec<_>>());
    let constants = constants.chain(runtime_parts).collect();
    let of_file = |file: PathBuf| {
        let found = statements(&code(&file), &constants);
        found.into_iter().map(move |sql| (file.clone(), sql))
    };
    let all: Vec<_> = files.into_iter().flat_map(of_file).collect();
    assert!(all.len() > 60, "only {} statements were found", all.len());
    all
}

#[test]
fn no_statement_scans_a_table_or_all_messages_of_a_customer() {
    let connection = migrated();
    let mut faults = Vec::new();
    for (file, sql) in all_statements() {
        let plan = plan(&connection, &sql);
        let scans = plan.iter().filter(|step| is_forbidden(step));
        faults.extend(scans.map(|step| format!("{}: {step}: {sql}", file.display())));
        // A customer may have any number of settled messages; open and held messages have
        // indexes of their own.
        let by_state =
            ["state = 3", "state = 9", "state = 1 ", "state IN (0, 1)"].iter().any(|by| sql.contains(by));
        if by_state && !sql.starts_with("DELETE") && plan.iter().any(|step| step.contains("message_of")) {
            faults.push(format!("{}: {plan:?}: {sql}", file.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The whole of an index that PostgreSQL may read.
const ALLOWED_ON_POSTGRESQL: [&str; 9] = [
    // The reader counts the backlog and the held answers, at most once a second.
    "SELECT count(*), min(CASE",
    "SELECT count(*) FROM message",
    // Whoever joins the line counts it; and its first message.
    "SELECT count(DISTINCT openid)",
    "SELECT openid, waiting_since FROM message",
    // Ends with the first row of another customer.
    "SELECT EXISTS (SELECT 1 FROM message INDEXED BY message_deferred",
    "SELECT waiting.desk_group",
    // With a limit; and once a minute.
    "SELECT name, size FROM media",
    "SELECT c.openid, c.number, c.known_since",
    // Two small tables.
    "DELETE FROM u",
];

/// On the empty tables of a new database all plans cost the same, and one that is chosen then stays for a while.
#[test]
fn on_postgresql_no_statement_reads_a_whole_table_or_index() {
    let Some(schema) = cluster::empty_schema() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    let mut migrations: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    // It changes a table that a program makes before the first of them.
    migrations.retain(|path| !path.ends_with("0002-instances.sql"));
    migrations.sort();
    for migration in migrations {
        cluster::batch(&schema.config, &std::fs::read_to_string(migration).unwrap());
    }
    let all: Vec<String> = all_statements()
        .into_iter()
        .filter(|(file, _)| !file.components().any(|part| part.as_os_str() == "sqlite"))
        .map(|(_, sql)| sql)
        .collect();
    let mut faults = Vec::new();
    for (sql, plan) in all.iter().zip(cluster::plans(&schema.config, all.clone())) {
        let reads_all = plan.iter().enumerate().any(|(at, step)| {
            let is_index = step.contains("Index Scan") || step.contains("Index Only Scan");
            let has_condition = plan.get(at + 1).is_some_and(|next| next.contains("Index Cond"));
            let is_large = ["message", "step", "dedup", "customer", "media"].iter().any(|table| {
                step.contains(&format!(" on {table} ")) || step.ends_with(&format!(" on {table}"))
            });
            is_large && (step.contains("Seq Scan") || (is_index && !has_condition))
        });
        if reads_all && !ALLOWED_ON_POSTGRESQL.iter().any(|allowed| sql.starts_with(allowed)) {
            faults.push(format!("{sql}:\n{}", plan.join("\n")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A scan of `customer` once passed, because it begins like the allowed scan of `c`.
#[test]
fn a_scan_of_any_table_is_found() {
    let connection = migrated();
    let mut tables = connection
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        .unwrap();
    let tables = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    for table in tables
        .map(Result::unwrap)
        .filter(|table| !["upload", "media_orphan", "unreadable"].contains(&table.as_str()))
    {
        let plan = plan(&connection, &format!("SELECT * FROM {table}"));
        assert!(plan.iter().any(|step| is_forbidden(step)), "{table}: {plan:?}");
    }
}
