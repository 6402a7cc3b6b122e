//! The bridge's data types: ids, pushes, answers, messages and the outbound calls they need.
//!
//! Pure data: no I/O, no wire format of either platform, and no dependency on any other module.

mod answer;
mod attachment;
mod id;
mod media;
mod message;
mod push;
mod text;
mod verdict;

pub use answer::{Answer, AnswerPart};
pub use attachment::{Attachment, AttachmentKind};
pub use id::{ImUserId, InvalidId, MessageId, Millis, OpenId};
pub use media::{InvalidMedia, MediaHash, MediaName, Origin, Shown, ShownKind, Wanted, WantedKind};
pub use message::{Direction, IllegalMove, Kind, Lane, Move, Order, State};
pub use push::{Content, Event, Push, SeenKey, What};
pub use text::parts;
pub use verdict::{Class, Found, HeldBecause, Silence, Verdict};
