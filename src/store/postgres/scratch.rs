//! Schemas for a store that lives for a while, such as the sandbox's.

use super::connect::{Connector, PostgresLocation};
use super::runtime;
use crate::store::open_error::OpenError;

/// Creates an empty schema. `name` must consist of small letters, digits and underscores. Blocks.
pub fn make_schema(location: &PostgresLocation, name: &str) -> Result<(), OpenError> {
    run(location, &format!("CREATE SCHEMA \"{name}\""))
}

/// Drops a schema and all that is in it. Blocks.
pub fn drop_schema(location: &PostgresLocation, name: &str) -> Result<(), OpenError> {
    run(location, &format!("DROP SCHEMA IF EXISTS \"{name}\" CASCADE"))
}

fn run(location: &PostgresLocation, sql: &str) -> Result<(), OpenError> {
    let connector = Connector::new(location)?;
    let link = connector.connect(&runtime()?).map_err(|error| connector.error(&error))?;
    let done = link.ask(async |client| client.batch_execute(sql).await);
    done.map_err(|error| connector.error(&error))
}
