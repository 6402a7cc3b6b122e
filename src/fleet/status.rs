//! What is known of the instances, for operators.

use crate::model::Millis;

/// The instances on one database, as this one sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetStatus {
    /// The number of this instance.
    pub id: i64,
    /// How many instances are alive.
    pub alive: usize,
    /// How many shards this one owns.
    pub owned: usize,
    /// The number of the present era.
    pub era: i64,
    /// Since when the database was not reached, if others may take this instance for dead.
    pub out_of_reach_since: Option<Millis>,
    /// Since when another program serves the database alone, so that nobody else may send.
    pub served_alone_since: Option<Millis>,
    /// Instances whose settings differ, with since when.
    pub different_settings: Option<(Millis, Vec<String>)>,
    /// How far the database's clock is ahead of this machine's, if it is far, milliseconds, with since when.
    pub clock_ahead: Option<(Millis, i64)>,
}
