//! What agents send besides text, on its way to the customer: over real HTTP, with real files.

mod files;
mod kinds;
mod troubles;
mod uploads;

pub use files::{await_pushed, file, image_at, pushed, trouble};
