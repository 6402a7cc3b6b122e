//! The body of a request that must not be written once the lease is over.
//!
//! Between the last check and the write, a connection may still have to be made, and the process may be paused. So the
//! body itself looks, in the moment in which it is written: without it the platform does not execute the request.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::fleet::{Lease, LeaseOver};

/// The body of a request with these bytes.
pub fn leased(bytes: Bytes, lease: &Lease) -> reqwest::Body {
    if lease.is_unlimited() {
        return bytes.into();
    }
    reqwest::Body::wrap(LeasedBody { bytes: Some(bytes), lease: lease.clone() })
}

/// Whether a request failed because the lease was over, so that the platform cannot have executed it.
pub fn is_lease_over(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LeaseOver>() {
            return true;
        }
        cause = error.source();
    }
    false
}

struct LeasedBody {
    /// `None` when they are written.
    bytes: Option<Bytes>,
    lease: Lease,
}

impl Body for LeasedBody {
    type Data = Bytes;
    type Error = LeaseOver;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LeaseOver>>> {
        Poll::Ready(match self.lease.check() {
            Ok(()) => self.bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Err(over) => self.bytes.take().map(|_| Err(over)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;

    use super::*;

    #[tokio::test]
    async fn a_request_whose_lease_ends_before_it_is_written_is_not_executed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (executed, mut executions) = tokio::sync::mpsc::unbounded_channel();
        let router = Router::new().route("/", post(async move |body: String| executed.send(body).unwrap()));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let http = crate::http_client::builder().build().unwrap();
        let send = |lease: Lease| http.post(&url).body(leased("words".into(), &lease)).send();
        // It was checked when it was valid.
        let error = send(Lease::of_nobody()).await.unwrap_err();
        assert!(is_lease_over(&error), "{error:?}");
        assert!(send(Lease::unlimited()).await.is_ok());
        assert_eq!((executions.recv().await.as_deref(), executions.len()), (Some("words"), 0));
        let refused = http.post("http://127.0.0.1:1").send().await.unwrap_err();
        assert!(!is_lease_over(&refused));
    }
}
