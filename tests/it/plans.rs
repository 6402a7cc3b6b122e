//! No statement of the store walks through a table: with a million messages a scan would hold up every push.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

/// Statements that walk through something, and why they may.
const MAY_SCAN: [(&str, &str); 7] = [
    ("SCAN message USING INDEX message_open", "the backlog is counted once a second at most, by the reader"),
    ("SCAN message USING COVERING INDEX message_held", "so are the held answers"),
    ("SCAN message USING INDEX message_held", "retention walks through the held answers in steps"),
    ("SCAN customer USING INDEX customer_active", "once a minute, by the reader"),
    ("SCAN upload", "it holds three days' uploads"),
    ("SCAN media_orphan", "it holds what is about to be removed, and is limited"),
    ("SCAN sqlite_master", "the schema, at start"),
];
/// Steps of a plan that are no tables of ours.
const NO_TABLES: [&str; 4] = ["SCAN CONSTANT ROW", "SCAN (subquery", "SCAN a VIRTUAL TABLE", "SCAN c"];

fn sources() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files
}

/// A source without its tests.
fn code(file: &Path) -> String {
    let source = std::fs::read_to_string(file).unwrap();
    source.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// The texts that statements are put together from, by their names.
fn constants(code: &str) -> impl Iterator<Item = (String, String)> {
    code.match_indices(": &str =").filter_map(|(at, _)| {
        let name = code[..at].rsplit(' ').next()?.to_owned();
        Some((name, code[at..].split('"').nth(1)?.to_owned()))
    })
}

/// The literals that begin like a statement.
fn statements(code: &str, constants: &HashMap<String, String>) -> Vec<String> {
    code.split('"')
        .filter(|text| ["SELECT ", "INSERT ", "UPDATE ", "DELETE "].iter().any(|word| text.starts_with(word)))
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

#[test]
fn no_statement_scans_a_table_or_all_messages_of_a_customer() {
    let connection = Connection::open_in_memory().unwrap();
    for number in 1.. {
        let path = format!("{}/src/store/schema/{number}.sql", env!("CARGO_MANIFEST_DIR"));
        let Ok(schema) = std::fs::read_to_string(path) else { break };
        connection.execute_batch(&schema).unwrap();
    }
    let files = sources();
    // What a statement is given at run time.
    let given = [("condition", " AND kind = 3"), ("", "0, 1")].map(|(name, text)| (name.into(), text.into()));
    let constants = files.iter().flat_map(|file| constants(&code(file)).collect::<Vec<_>>());
    let constants = constants.chain(given).collect();
    let (mut seen, mut faults) = (0, Vec::new());
    for file in files {
        for sql in statements(&code(&file), &constants) {
            seen += 1;
            let plan = plan(&connection, &sql);
            let scans = plan.iter().filter(|step| {
                let may = MAY_SCAN.iter().map(|(scan, _)| scan).chain(&NO_TABLES);
                step.starts_with("SCAN ") && !may.clone().any(|scan| step.starts_with(*scan))
            });
            faults.extend(scans.map(|step| format!("{}: {step}: {sql}", file.display())));
            // A customer may have any number of settled messages; what is open or held has indexes of its own.
            let by_state = ["state = 3", "state = 1 ", "state IN (0, 1)"].iter().any(|by| sql.contains(by));
            if by_state && !sql.starts_with("DELETE") && plan.iter().any(|step| step.contains("message_of")) {
                faults.push(format!("{}: {plan:?}: {sql}", file.display()));
            }
        }
    }
    assert!(seen > 60, "only {seen} statements were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
