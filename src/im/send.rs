//! Where we call Tencent IM: the REST client, its calls, the UserSig and the meaning of each error
//! code.
//!
//! The client never sleeps, and it repeats a call only once, after renewing a refused UserSig. The
//! courier paces the calls; backoff and order belong to the outbox. Must never import `receive`.

mod account;
mod api;
mod client;
pub mod code;
mod courier;
mod history;
mod message;
mod outcome;
mod portrait;
mod backfill;
mod media_info;
mod presence;
mod unknown_agents;
pub mod usersig;

pub use api::Api;
pub use backfill::BackfillWorker;
pub use client::{CALL_TIMEOUT, Client, Failure, http_client};
pub use courier::{ImCourier, Searches, show_portraits};
pub use history::{History, HistoryPage, PastMessage};
pub use media_info::MediaInspector;
pub use message::{ImportMode, ImportMsg, OfflinePush, SendMsg};
pub use outcome::{Outcome, import_outcome, repeatable_verdict, send_outcome};
pub use portrait::Portraits;
pub use presence::PresenceWorker;
pub use unknown_agents::UnknownAgents;
