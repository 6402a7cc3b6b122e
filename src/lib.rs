//! A bridge between **WeChat Official Accounts** and **Tencent Cloud IM**.
//!
//! ```text
//! customer ▶ WeChat ▶ wechat/receive ▶ bridge/to_im ▶ store ▶ outbox ▶ im/send ▶ Tencent IM ▶ agent
//! customer ◀ WeChat ◀ wechat/send ◀ outbox ◀ store ◀ bridge/to_wechat ◀ im/receive ◀ Tencent IM ◀ agent
//! ```
//!
//! A request arrives at a platform's `receive`, which verifies the raw bytes, decrypts them and
//! parses them into the `model`. The `bridge` decides how to answer and which outbound calls to
//! make, and writes that decision in one durable commit. Only then does it answer the request. The
//! `outbox` makes the outbound calls through the other platform's `send`.
//!
//! Five words that a newcomer may not know:
//!
//! - **lane**: the queue of one customer's messages in one direction. A lane is sent in order, and
//!   a stuck lane does not delay the others.
//! - **courier**: the part of a platform's `send` that makes an outbound call for the outbox.
//! - **verdict**: the outcome of one attempt (delivered, retry, hold, refuse, unsettled, unknown),
//!   which decides the next step.
//! - **held**: the state of a message that cannot be sent before its customer writes again.
//! - **settle**: to record the outcome of an attempt, which moves the message to its next state.
//!
//! Read the modules in the order they are declared here: each uses only those above it.

mod model;
mod clock;
mod http_client;
mod json;
mod live;
mod owner_only;
mod config;
mod telemetry;
mod metrics;
mod store;
mod fleet;
mod media;
mod upstream;
mod bridge;
mod outbox;
mod wechat;
mod im;
mod lifecycle;
mod http;
#[cfg(feature = "sandbox")]
mod sandbox;
mod app;
mod cli;

pub use cli::Cli;

/// What the tests, the benches and the fuzz targets reach from outside. Nothing else may use it. Whatever is not
/// named here is private to the crate, so that the compiler sees what nothing uses.
#[doc(hidden)]
pub mod internals {
    pub mod app {
        pub use crate::app::{Running, start};
    }
    pub mod clock {
        pub use crate::clock::Clock;
    }
    pub mod config {
        pub use crate::config::{AesKey, Config, EncryptionMode, Locale, StoreUrl, Texts};
    }
    #[cfg(feature = "sandbox")]
    pub mod http_client {
        pub use crate::http_client::{builder, get, loopback};
    }
    pub mod im {
        pub mod element {
            pub use crate::im::element::Element;
        }
        pub mod receive {
            pub use crate::im::receive::{Callback, CallbackVerifier, VerifiedQuery};
        }
        pub mod send {
            pub use crate::im::send::{CALL_TIMEOUT, Client, HistoryPage, OfflinePush, SendMsg, http_client};
            pub mod code {
                pub use crate::im::send::code::{TABLE, advice};
            }
            pub mod usersig {
                pub use crate::im::send::usersig::{Signer, create};
            }
        }
    }
    pub mod json {
        pub use crate::json::from_slice;
    }
    pub mod lifecycle {
        pub use crate::lifecycle::open_files;
    }
    pub mod metrics {
        pub use crate::metrics::Metrics;
    }
    pub mod model {
        pub use crate::model::{
            Answer, AnswerPart, Content, Direction, ImUserId, MessageId, MessageKind, Millis, Move, OpenId,
            OutboundCall, Push, PushBody, State, split_text,
        };
    }
    #[cfg(feature = "sandbox")]
    pub mod sandbox {
        pub use crate::sandbox::stores::Stores;
        pub use crate::sandbox::{Sandbox, Settings};
        pub mod fault {
            pub use crate::sandbox::fault::{Fault, Faults};
        }
        pub mod im {
            pub use crate::sandbox::im::{
                AccountChangeKind, AgentClient, Direction, Edition, Exchange, ImSim, Outcome, SendRecord,
                SentMessage, Settings, UploadedFile, sign,
            };
        }
        pub mod session {
            pub use crate::sandbox::session::Change;
        }
        pub mod wechat {
            pub use crate::sandbox::wechat::{
                Draft, Field, Ledger, Mode, Phone, PhoneLanguage, PushResult, Refusal, ScreenEntry, Settings,
                Via, WechatSim, WindowRule, WireEvent, tiny_png,
            };
            pub mod crypto {
                pub use crate::sandbox::wechat::crypto::{Crypt, CryptoError, sign};
            }
        }
    }
    pub mod store {
        pub use crate::store::{
            Closing, Customer, MessageFilter, MessageSummary, NewMessage, PostgresLocation, Settlement,
            Store, StoreError, StoreLocation, TlsMode, Tx,
        };
    }
    pub mod wechat {
        pub mod receive {
            pub use crate::wechat::receive::{
                DecryptError, PushError, Refusal, VerifiedQuery, Verifier, VerifierSettings, parse,
            };
            pub mod document {
                pub use crate::wechat::receive::document::read;
            }
            pub mod envelope {
                pub use crate::wechat::receive::envelope::{decrypt, encrypt};
            }
            pub mod reply {
                pub use crate::wechat::receive::reply::{NonEmptyText, text_xml};
            }
            pub mod xml {
                pub use crate::wechat::receive::xml::{Element, XmlError, read};
            }
        }
        pub mod send {
            pub use crate::wechat::send::{Failure, read_outcome};
            pub mod code {
                pub use crate::wechat::send::code::CODES;
            }
        }
    }
}
