//! What tests of several rooms store, and where: `BRIDGE_TEST_STORE` chooses the engine. Must not be used outside
//! tests.

mod differential;
mod dump;
mod ended;
mod groups;
mod line;

#[path = "../../tests/cluster.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
pub mod cluster;

use super::{NewMessage, PostgresLocation, StoreLocation, TlsMode};
use crate::model::{Direction, MessageKind, OpenId, OutboundCall};

/// A message with one call, as the bridge would add it.
pub fn message(direction: Direction, openid: &OpenId, call: OutboundCall) -> NewMessage {
    NewMessage {
        direction,
        kind: MessageKind::Message,
        openid: openid.clone(),
        agent: None,
        calls: vec![call],
        msg_seq: 1,
        msg_random: 1,
        source: "a test".to_owned(),
        erase: false,
    }
}

/// An empty store: in memory, or in a schema of its own on PostgreSQL.
pub fn location() -> StoreLocation {
    if !cluster::is_chosen() {
        return StoreLocation::Memory;
    }
    on_postgres().unwrap_or(StoreLocation::Memory)
}

/// An empty store on PostgreSQL; `None` if it is not installed.
pub fn on_postgres() -> Option<StoreLocation> {
    let schema = cluster::empty_schema()?;
    let server = PostgresLocation { config: schema.config, tls: TlsMode::Prefer, root_cert: None };
    Some(StoreLocation::Postgres(Box::new(server)))
}
