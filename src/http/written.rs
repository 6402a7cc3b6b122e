//! Passive replies that carry held answers: whether each was written out, told to the bridge.
//!
//! "Written" means that the kernel took every byte of the answer. Whether WeChat read it cannot be known: where
//! it did not, it asks again within seconds, and the repeat carries the same reply. Must never lose a receipt
//! of a reply that was written, or the customer would get the answers twice; so a place in the queue is
//! reserved before the push is accepted.

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
use crate::bridge::{Bridge, Receipt};

/// Replies whose outcome the store has not been told yet; beyond, pushes wait for a place.
const WAITING: usize = 4096;
/// Outcomes told at once, so that the store commits them together.
const TOGETHER: usize = 256;
/// How often the store is told before the reply counts as "perhaps written".
const TRIES: u32 = 6;
/// The pause after the first failure; it doubles. All of them together stay below the time a ride waits.
const PAUSE: Duration = Duration::from_millis(100);

/// A reply's receipt and whether the reply was written.
pub type Outcome = (Receipt, bool);

/// Where outcomes go, and where [`tell`] takes them from.
pub fn channel() -> (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>) {
    mpsc::channel(WAITING)
}

/// Tells the bridge every outcome; ends when all senders are gone and everything is told.
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
        match bridge.reply_written(receipt.clone(), written).await {
            Ok(()) => {
                fail_point!("reply.settled");
                return;
            }
            Err(error) if left == 0 => {
                tracing::error!(%error, written, "a passive reply's outcome is lost; its answers are looked at again");
            }
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
}

/// One reply on its way out. Dropped before it is written, it tells so.
#[derive(Debug)]
pub struct Handover(Option<(mpsc::OwnedPermit<Outcome>, Receipt)>);

impl Handover {
    pub(super) fn new(place: mpsc::OwnedPermit<Outcome>, receipt: Receipt) -> Self {
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

/// The body of such a reply: one piece, whose handing over is watched.
#[derive(Debug)]
pub(super) struct Watched {
    text: Option<Bytes>,
    handover: Option<Handover>,
    flushes: Option<Flushes>,
}

impl Watched {
    /// Without `flushes` (no connection underneath) a body that was taken counts as written.
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
