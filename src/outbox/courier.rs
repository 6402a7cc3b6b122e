//! What a platform does for the outbox, and what it is asked to send.

use std::pin::Pin;

use crate::model::{FailureClass, Resolution, Verdict};
use crate::store::PendingCall;

/// What the agent must know of a text that replaced a file: why, as the agent reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextNotice {
    /// The text offers the file by a link.
    Link(String),
    /// The text is only the word for the file.
    Label(String),
}

/// What the platform is asked to send for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The call as it was accepted.
    AsAccepted,
    /// A text in its place.
    Text {
        /// The text.
        text: String,
        /// What the agent must know of it.
        notice: Option<TextNotice>,
    },
    /// A file that has been uploaded to the platform.
    Uploaded {
        /// The platform's id for the file.
        id: String,
        /// The platform's id for the first picture of a video.
        thumb: Option<String>,
        /// The type it was uploaded as.
        kind: &'static str,
        /// Ids from before this preparation; the platform may have deleted their files since.
        maybe_expired: Vec<String>,
    },
}

/// Why a call could not be prepared; another preparation may succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareError {
    /// The class of the failure, for metrics.
    pub class: FailureClass,
    /// The reason, from the platform or from us; no secrets.
    pub why: String,
}

/// The work that a platform does for the outbox.
pub trait Courier: std::fmt::Debug + Send + Sync {
    /// Prepares a call for its attempt, if it [needs that]. A preparation may be cancelled, and is
    /// repeated freely, also after a crash: no effect of it may reach the receiver.
    ///
    /// [needs that]: crate::model::OutboundCall::needs_preparation
    fn prepare<'a>(
        &'a self,
        _pending: &'a PendingCall,
    ) -> Pin<Box<dyn Future<Output = Result<Payload, PrepareError>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(Payload::AsAccepted)))
    }

    /// Makes one attempt at a call with its prepared `payload`. It repeats the request by itself
    /// only after it refreshed a credential or created an account.
    fn send<'a>(
        &'a self,
        pending: &'a PendingCall,
        payload: &'a Payload,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

    /// Finds out the outcome of an attempt that was not settled.
    fn resolve<'a>(
        &'a self,
        pending: &'a PendingCall,
    ) -> Pin<Box<dyn Future<Output = Resolution> + Send + 'a>>;
}
