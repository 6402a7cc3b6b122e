//! The state of a supervised bridge.

use std::time::Duration;

use super::addresses::Addresses;

/// The state of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The process was started and is not ready yet.
    Starting,
    /// The process is ready.
    Running {
        /// The process id.
        pid: u32,
        /// The time from its start until it was ready.
        startup_time: Duration,
    },
    /// The process is stopped until it is told to go on.
    Paused {
        /// The process id.
        pid: u32,
        /// The time from its start until it was ready.
        startup_time: Duration,
    },
    /// No process is running.
    Dead,
}

/// The published status of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state of the process.
    pub state: State,
    /// The bridge's listeners.
    pub addresses: Addresses,
    /// The number of restarts.
    pub restarts: u32,
    /// The name of the current store.
    pub store: &'static str,
}
