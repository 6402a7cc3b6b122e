//! What WeChat sends us: bytes in, values out.
//!
//! [`Door`] judges a call (signature, encryption, account) and opens it into the model; [`reply`] writes the
//! passive reply and [`Seal`] encrypts it. No HTTP, no store: nothing here acknowledges anything.

mod door;
pub mod envelope;
pub mod event;
mod message;
mod push;
mod query;
mod refusal;
pub mod reply;
mod seal;
mod signature;
#[cfg(test)]
mod vectors;
pub mod xml;

pub use door::{Door, DoorSettings, Knock, Opened, Unopened};
pub use push::{Unusable, parse};
pub use refusal::Refusal;
pub use reply::{NonEmptyText, SUCCESS};
pub use seal::Seal;
