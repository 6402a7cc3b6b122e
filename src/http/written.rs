//! Reports to the bridge whether each passive reply with held answers was written.
//!
//! "Written" means that the kernel took every byte of the response. It is unknown whether WeChat
//! read it: if not, WeChat repeats the push within seconds and gets the same reply again. Must
//! never lose the receipt of a written reply, or the customer would get the answers twice.
//! Therefore a place in the queue is reserved before the push is accepted.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fail::fail_point;
use futures_util::future::join_all;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::wire::Flushes;
use crate::bridge::{AttachedAnswers, Bridge};

/// The number of outcomes that may wait to be reported; while the queue is full, pushes wait.
const WAITING: usize = 4096;
/// The number of outcomes reported at once, so that the store commits them together.
const TOGETHER: usize = 256;
/// The number of attempts to report an outcome before the reply counts as "perhaps written".
const TRIES: u32 = 6;
/// The pause after the first failure; it doubles. All pauses together are shorter than an attached
/// answer waits for its receipt.
const PAUSE: Duration = Duration::from_millis(100);

/// A reply's receipt, and whether the reply was written.
pub type Outcome = (AttachedAnswers, bool);

/// Creates the queue of outcomes; [`report_outcomes`] takes the receiving end.
pub fn channel() -> (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>) {
    mpsc::channel(WAITING)
}

/// Reports every outcome to the bridge. Ends when all senders are gone and every outcome is
/// reported.
pub async fn tell(mut outcomes: mpsc::Receiver<Outcome>, bridge: Bridge) {
    let mut taken = Vec::with_capacity(TOGETHER);
    while outcomes.recv_many(&mut taken, TOGETHER).await > 0 {
        join_all(taken.drain(..).map(|outcome| tell_one(&bridge, outcome))).await;
    }
}

async fn tell_one(bridge: &Bridge, (receipt, written): Outcome) {
    let mut pause = PAUSE;
    fail_point!("reply.written");
    for left in (0..TRIES).rev() {
        match bridge.settle_attached(receipt.clone(), written).await {
            Ok(()) => {
                fail_point!("reply.settled");
                return;
            }
            Err(error) if left == 0 => {
                tracing::error!(%error, written, "cannot store a passive reply's outcome; its answers are settled by timeout");
            }
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
}

/// The receipt of one reply that is being sent. If it is dropped before the reply is written, it
/// reports "unwritten".
#[derive(Debug)]
pub struct Handover(Option<(mpsc::OwnedPermit<Outcome>, AttachedAnswers)>);

impl Handover {
    pub(super) fn new(place: mpsc::OwnedPermit<Outcome>, receipt: AttachedAnswers) -> Self {
        Self(Some((place, receipt)))
    }

    pub(super) fn written(mut self) {
        self.settle(true);
    }

    fn settle(&mut self, written: bool) {
        if let Some((place, receipt)) = self.0.take() {
            place.send((receipt, written));
        }
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        self.settle(false);
    }
}

/// The body of such a reply: one frame, with the receipt that tracks it.
#[derive(Debug)]
pub(super) struct Watched {
    text: Option<Bytes>,
    handover: Option<Handover>,
    flushes: Option<Flushes>,
}

impl Watched {
    /// Without a connection (`None`) a body counts as written once it has been polled.
    pub(super) fn new(text: String, handover: Handover, flushes: Option<Flushes>) -> Self {
        Self { text: Some(text.into()), handover: Some(handover), flushes }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(handover) = self.handover.take() {
            match &self.flushes {
                Some(flushes) => flushes.after(handover),
                None => handover.written(),
            }
        }
        Poll::Ready(self.text.take().map(|text| Ok(Frame::data(text))))
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.text.as_ref().map_or(0, |text| text.len() as u64))
    }
}
