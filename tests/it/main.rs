//! Drives the bridge from outside: over real HTTP, between the simulated platforms, on a real store.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod cli;
mod conversation;
mod crash;
mod departures;
mod rooms;
mod world;
