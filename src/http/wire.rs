//! The byte stream of one connection: it fails when a caller stops reading a response, and it knows
//! when everything written so far has been passed to the kernel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fail::fail_point;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::written::Handover;

/// The receipts of replies that are written to one connection but not yet flushed. Clones share
/// them.
#[derive(Clone, Debug, Default)]
pub struct Flushes(Arc<Mutex<Vec<Handover>>>);

impl Flushes {
    /// Settles the receipt as written at the next complete flush, or as unwritten if the connection
    /// ends before it.
    pub(super) fn after(&self, handover: Handover) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(handover);
    }

    fn done(&self) {
        let left = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        left.into_iter().for_each(Handover::written);
    }
}

/// A stream with a limit on how long a write may stall.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    flushes: Flushes,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, flushes: Flushes, patience: Duration) -> Self {
        Self { stream, flushes, patience, stalled: None }
    }

    fn watched<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

fn written(outcome: &Poll<io::Result<usize>>) {
    if matches!(outcome, Poll::Ready(Ok(_))) {
        fail_point!("answer.written");
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        written(&outcome);
        self.watched(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        written(&outcome);
        self.watched(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Hyper flushes only when its own buffer is empty, so a successful flush covers every response
    /// that hyper took.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        let outcome = self.watched(cx, outcome);
        if matches!(outcome, Poll::Ready(Ok(()))) {
            self.flushes.done();
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watched(cx, outcome)
    }
}
