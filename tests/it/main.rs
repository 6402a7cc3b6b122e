//! Drives the bridge from outside: over real HTTP, between the simulated platforms, on a real store.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod answers;
mod cli;
mod conversation;
mod departures;
mod docs;
mod held;
mod im_calls;
mod observe;
mod rooms;
mod token;
mod unknown;
mod world;
