//! Drives the bridge from outside: over real HTTP, between the simulated platforms, on a real store.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod agent_media;
mod agents;
mod answers;
mod browser;
mod callbacks;
mod child;
mod circles;
mod cli;
mod conversation;
mod crash;
mod departures;
mod docs;
mod fuzz_corpora;
mod held;
mod im_calls;
mod unfollow;
mod observe;
mod operations;
mod page;
mod query_plans;
mod properties;
mod pushes;
mod backfill;
mod repeats;
mod rooms;
mod sandbox;
mod serve;
mod customer_media;
mod surface;
mod token;
mod unknown;
mod upgrade;
mod windows;
mod wire;
mod world;
