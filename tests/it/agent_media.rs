//! Agents' messages other than text, sent to the customer over real HTTP with real files.

mod bad_urls;
mod files;
mod kept;
mod kinds;
mod recorded;
mod uploads;

pub use files::{await_pushed, file, image_at, pushed, start_bad_server};
