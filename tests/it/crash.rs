//! The real binary between the simulated platforms, killed and starved in every way that a machine knows: nothing
//! accepted is lost, doubled or reordered. The platforms' ledgers are the oracle. Each test names the invariants of
//! DESIGN that it would turn red for.
#![expect(clippy::print_stdout, reason = "a figure is half of what a crash test is run for")]

mod attachments;
mod backlog;
mod clock;
mod downloads;
mod hands;
mod outage;
mod pictures;
mod points;
mod proxy;
mod rig;
mod starts;
mod storm;
mod verdict;
