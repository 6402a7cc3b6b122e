//! Where we call Tencent IM: the REST client, its calls, the UserSig and the meaning of each error
//! code.
//!
//! The client never sleeps, and it repeats a call only once, after renewing a refused UserSig. Rate
//! limits, backoff and order belong to the outbox. Must never import `receive`.

mod account;
mod api;
mod client;
/// The table of error codes.
pub mod code;
mod courier;
mod history;
mod message;
mod outcome;
mod recovery;
mod showing;
/// The credential of every call.
pub mod usersig;

pub use api::Api;
pub use client::{CALL_TIMEOUT, Client, Failure, InvalidBase, http_client};
pub use courier::ImCourier;
pub use history::{History, Page, PastMessage};
pub use message::{Import, ImportMsg, SendMsg, Sent};
pub use outcome::{Outcome, of_account, of_import, of_send};
pub use recovery::Recovery;
pub use showing::Showing;
