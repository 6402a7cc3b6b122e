//! Crash tests: the real binary runs between the simulated platforms and is killed, cut off from the network
//! or starved of disk space and memory. The oracle compares the platforms' ledgers with what the bridge
//! accepted: no message is lost, doubled or reordered. Each test names the invariants of DESIGN that it
//! proves.
#![expect(clippy::print_stdout, reason = "the measured figures are a result of these tests")]

mod attachments;
mod backlog;
mod clock;
mod downloads;
mod fail_points;
mod oracle;
mod outage;
mod pictures;
mod proxy;
mod rig;
mod starts;
mod storm;
mod transitions;
