//! The bridge's data types: ids, pushes, answers, messages and the outbound calls they need.
//!
//! Pure data: no I/O, no wire format of either platform, and no dependency on any other module.

mod answer;
mod attachment;
mod card;
mod ending;
pub mod hours;
mod id;
mod media;
mod message;
mod presence;
mod push;
mod rating;
#[cfg(test)]
mod tests;
mod text;
mod verdict;
mod visit;

pub use answer::{AgentEvent, Answer, AnswerEdit, AnswerId, AnswerPart, TypingSignal, Untranslatable};
pub use attachment::{Attachment, AttachmentKind, SmallerPicture};
pub use card::{Card, CardProblem};
pub use ending::Ending;
pub use id::{ImUserId, InvalidId, MessageId, Millis, OpenId};
pub use media::{MediaHash, MediaInfo, MediaInfoKind, MediaKind, MediaName, MediaOrigin, MediaRequest};
pub use message::{Direction, IllegalMove, Lane, MenuItem, MessageKind, Move, OutboundCall, State};
pub use presence::PresenceChange;
pub use push::{
    Content, DEDUP_RETENTION_MS, DedupKey, Event, EventDetails, EventKind, Push, PushBody, UnreadablePush,
};
pub use rating::{Rating, RatingId};
pub use text::{readable_size, split_text};
pub use verdict::{FailureClass, HoldReason, NoAnswer, Resolution, Verdict, return_code};
pub use visit::{Profile, Visit, VisitAction};
