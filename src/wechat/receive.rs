//! Requests from WeChat: bytes in, values out.
//!
//! [`Verifier`] checks a request (signature, encryption, account) and decrypts it into the model.
//! [`reply`] writes the passive reply, and `ReplyCipher` encrypts it. This module has no HTTP and
//! no store: it acknowledges nothing.

mod verify;
/// Reads a body: strict, lenient or JSON.
pub mod document;
/// The AES envelope of compatible and safe mode.
pub mod envelope;
mod event;
mod message;
mod push;
mod query;
mod refusal;
pub mod reply;
mod reply_cipher;
mod sender;
mod signature;
#[cfg(test)]
mod vectors;
pub mod xml;

pub use push::{PushError, parse};
pub use refusal::Refusal;
pub use reply::{NonEmptyText, SUCCESS};
pub use signature::url_check_query;
pub use verify::{DecryptError, Decrypted, VerifiedQuery, Verifier, VerifierSettings};
