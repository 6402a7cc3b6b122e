//! Reports to the bridge whether each passive reply with held answers was written.
//!
//! "Written" means that the kernel took every byte of the response. It is unknown whether WeChat
//! read it: if not, WeChat repeats the push within seconds and gets the same reply again. Must
//! never lose the receipt of a written reply, or the customer would get the answers twice.
//! Therefore a place in the queue is reserved before the push is accepted.

use parking_lot::Mutex;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fail::fail_point;
use futures_util::future::join_all;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::bridge::{AttachedAnswers, Bridge};

/// The number of outcomes that may wait to be reported; while the queue is full, pushes wait.
const QUEUE_CAPACITY: usize = 4096;
/// The number of outcomes reported at once, so that the store commits them together.
const BATCH: usize = 256;
/// The number of attempts to report an outcome before the reply counts as "perhaps written".
const MAX_ATTEMPTS: u32 = 6;
/// The pause after the first failure; it doubles. All pauses together are shorter than an attached
/// answer waits for its receipt.
const PAUSE: Duration = Duration::from_millis(100);

/// A reply's receipt, and whether the reply was written.
pub type ReplyOutcome = (AttachedAnswers, bool);

/// Creates the queue of outcomes; [`report_outcomes`] takes the receiving end.
pub fn channel() -> (mpsc::Sender<ReplyOutcome>, mpsc::Receiver<ReplyOutcome>) {
    mpsc::channel(QUEUE_CAPACITY)
}

/// Reports every outcome to the bridge. Ends when all senders are gone and every outcome is
/// reported.
pub async fn report_outcomes(mut outcomes: mpsc::Receiver<ReplyOutcome>, bridge: Bridge) {
    let mut batch = Vec::with_capacity(BATCH);
    while outcomes.recv_many(&mut batch, BATCH).await > 0 {
        join_all(batch.drain(..).map(|outcome| report_outcome(&bridge, outcome))).await;
    }
}

async fn report_outcome(bridge: &Bridge, (attached, written): ReplyOutcome) {
    let mut pause = PAUSE;
    fail_point!("reply.written");
    for attempts_left in (0..MAX_ATTEMPTS).rev() {
        match bridge.settle_attached(attached.clone(), written).await {
            Ok(()) => {
                fail_point!("reply.settled");
                return;
            }
            Err(error) if attempts_left == 0 => {
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
pub struct ReplyReceipt(Option<(mpsc::OwnedPermit<ReplyOutcome>, AttachedAnswers)>);

impl ReplyReceipt {
    pub(super) fn new(permit: mpsc::OwnedPermit<ReplyOutcome>, attached: AttachedAnswers) -> Self {
        Self(Some((permit, attached)))
    }

    pub(super) fn mark_written(mut self) {
        self.settle(true);
    }

    fn settle(&mut self, written: bool) {
        if let Some((permit, attached)) = self.0.take() {
            permit.send((attached, written));
        }
    }
}

impl Drop for ReplyReceipt {
    fn drop(&mut self) {
        self.settle(false);
    }
}

/// The receipts of replies that are written to one connection but not yet flushed. Clones share
/// them.
#[derive(Clone, Debug, Default)]
pub struct PendingReceipts(Arc<Mutex<Vec<ReplyReceipt>>>);

impl PendingReceipts {
    /// Settles the receipt as written at the next complete flush, or as unwritten if the connection
    /// ends before it.
    pub(super) fn settle_after_flush(&self, receipt: ReplyReceipt) {
        self.0.lock().push(receipt);
    }

    /// Settles every receipt as written: all bytes so far have left.
    pub(super) fn settle_written(&self) {
        let receipts = std::mem::take(&mut *self.0.lock());
        receipts.into_iter().for_each(ReplyReceipt::mark_written);
    }
}

/// The body of such a reply: one frame, with the receipt that tracks it.
#[derive(Debug)]
pub(super) struct TrackedBody {
    text: Option<Bytes>,
    receipt: Option<ReplyReceipt>,
    pending_receipts: Option<PendingReceipts>,
}

impl TrackedBody {
    /// Without a connection (`None`) a body counts as written once it has been polled.
    pub(super) fn new(
        text: String,
        receipt: ReplyReceipt,
        pending_receipts: Option<PendingReceipts>,
    ) -> Self {
        Self { text: Some(text.into()), receipt: Some(receipt), pending_receipts }
    }
}

impl http_body::Body for TrackedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(receipt) = self.receipt.take() {
            match &self.pending_receipts {
                Some(pending_receipts) => pending_receipts.settle_after_flush(receipt),
                None => receipt.mark_written(),
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
