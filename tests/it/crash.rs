//! Crash tests. The real binary runs between the simulated platforms. It is killed, cut off from the network,
//! put under load or given a full disk. The oracle compares the platforms' ledgers with the messages that the
//! bridge accepted: none is lost, doubled or reordered. Each test names the invariants of DESIGN that it
//! proves.
#![expect(clippy::print_stdout, reason = "the measured figures are a result of these tests")]

mod attachments;
mod backlog;
mod bursts;
mod clock;
mod database;
mod desk;
mod downloads;
mod fail_points;
mod hanging_disk;
mod moved_time;
pub mod oracle;
mod outage;
mod panics;
mod pictures;
mod proxy;
pub mod rig;
mod starts;
pub mod storm;
mod transitions;
