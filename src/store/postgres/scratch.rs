//! Schemas for a store that lives for a while, such as the sandbox's.

use super::connect::{Connector, PostgresLocation};
use super::{password, runtime};
use crate::store::open_error::OpenError;

/// Creates an empty schema. `name` must consist of small letters, digits and underscores. Blocks.
pub fn make_schema(location: &PostgresLocation, name: &str) -> Result<(), OpenError> {
    run(location, &format!("CREATE SCHEMA \"{name}\""))
}

/// Drops a schema and all that is in it. Blocks.
pub fn drop_schema(location: &PostgresLocation, name: &str) -> Result<(), OpenError> {
    run(location, &format!("DROP SCHEMA IF EXISTS \"{name}\" CASCADE"))
}

/// Ends the sessions of all instances that serve the store in a schema, and returns how many they were. Blocks.
pub fn end_sessions(location: &PostgresLocation, name: &str) -> Result<usize, OpenError> {
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE split_part(application_name, ' ', 4) IN (SELECT process FROM \"{name}\".instance)
         AND usename = current_user AND datname = current_database()"
    );
    let connector = Connector::new(location)?;
    let link = connector.connect(&runtime()?).map_err(|error| connector.error(&error))?;
    let ended = link.ask(async |client| client.query(&sql, &[]).await);
    ended.map(|ended| ended.len()).map_err(|error| connector.error(&error))
}

/// The password for `location` that its URL, `PGPASSWORD` or the password file has.
pub fn find_password(location: &PostgresLocation) -> Option<String> {
    let given = location.config.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
    given.or_else(|| password::find(&location.config))
}

fn run(location: &PostgresLocation, sql: &str) -> Result<(), OpenError> {
    let connector = Connector::new(location)?;
    let link = connector.connect(&runtime()?).map_err(|error| connector.error(&error))?;
    let done = link.ask(async |client| client.batch_execute(sql).await);
    done.map_err(|error| connector.error(&error))
}
