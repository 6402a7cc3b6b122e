//! The byte stream of one connection: it fails when a caller stops reading a response, and it knows
//! when everything written so far has been passed to the kernel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fail::fail_point;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::connections::OpenConnection;
use super::receipt::PendingReceipts;

/// A stream with a limit on how long a write may stall.
#[derive(Debug)]
pub(super) struct ConnectionStream<S> {
    stream: S,
    pending_receipts: PendingReceipts,
    stall_timeout: Duration,
    stall_timer: Option<Pin<Box<Sleep>>>,
    connection: Arc<OpenConnection>,
}

impl<S> ConnectionStream<S> {
    pub(super) fn new(
        stream: S,
        pending_receipts: PendingReceipts,
        stall_timeout: Duration,
        connection: Arc<OpenConnection>,
    ) -> Self {
        Self { stream, pending_receipts, stall_timeout, stall_timer: None, connection }
    }

    fn limit_stall<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stall_timer = None;
            return outcome;
        }
        let stall_timeout = self.stall_timeout;
        let stall_timer = self.stall_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_timeout)));
        ready!(stall_timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

fn hit_written_fail_point(outcome: &Poll<io::Result<usize>>) {
    if matches!(outcome, Poll::Ready(Ok(_))) {
        fail_point!("answer.written");
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ConnectionStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ConnectionStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        hit_written_fail_point(&outcome);
        self.limit_stall(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        hit_written_fail_point(&outcome);
        self.limit_stall(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Hyper flushes only when its own buffer is empty, so a successful flush covers every response
    /// that hyper took.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        let outcome = self.limit_stall(cx, outcome);
        if matches!(outcome, Poll::Ready(Ok(()))) {
            self.pending_receipts.settle_written();
            self.connection.flushed();
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.limit_stall(cx, outcome)
    }
}
