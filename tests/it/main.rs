//! Tests the bridge from outside: over real HTTP, between the simulated platforms, with a real store.
#![expect(clippy::unwrap_used, reason = "a panic shows the line where the test failed")]

mod agent_media;
mod agents;
mod answers;
mod backfill;
mod browser;
mod callbacks;
mod child;
mod circles;
mod cli;
mod conversation;
mod crash;
mod customer_media;
mod departures;
mod docs;
mod fuzz_corpora;
mod held;
mod im_calls;
mod observe;
mod operations;
mod page;
mod properties;
mod pushes;
mod query_plans;
mod raw_http;
mod repeats;
mod rooms;
mod sandbox;
mod serve;
mod surface;
mod token;
mod unfollow;
mod unknown;
mod upgrade;
mod windows;
mod world;
