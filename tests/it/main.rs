//! Tests the bridge from outside: over real HTTP, between the simulated platforms, with a real store.
#![expect(clippy::unwrap_used, reason = "a panic shows the line where the test failed")]

mod agent_media;
mod agents;
mod answers;
mod backfill;
mod browser;
mod callbacks;
mod cases;
mod child;
mod circles;
mod cli;
#[path = "../cluster.rs"]
#[expect(dead_code, reason = "the unit tests use the rest")]
mod cluster;
mod commands;
mod conversation;
mod crash;
mod customer_media;
mod database;
mod departures;
mod desk_hours;
mod docs;
mod fleet;
mod fuzz_corpora;
mod health;
mod held;
mod im_calls;
mod mutations;
mod observe;
mod operations;
mod page;
mod paths;
mod postgres;
mod properties;
mod pushes;
mod query_plans;
mod raw_http;
mod real_clients;
mod recalls;
mod repeats;
mod rooms;
mod sandbox;
mod strays;
mod serve;
mod staying_faults;
mod store_files;
mod strangers;
mod surface;
mod token;
mod unfollow;
mod unknown;
mod unreadable;
mod upgrade;
mod windows;
mod working_day;
mod world;
