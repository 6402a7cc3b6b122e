//! Reads a request's whole body within the limits of time and size, and within what all bodies
//! together may take.

use std::collections::HashMap;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;

use super::peer::ClientAddress;
use super::{Limits, RETRY_AFTER};
use crate::metrics::Metrics;

/// The most memory that a body gets at its beginning, in bytes. More is added as its bytes arrive, because
/// an announced length is only a claim. Memory that is not written to takes no room, but each time a body
/// outgrows its memory, the old one is left behind.
const FIRST_BYTES: usize = 262_144;

/// Why the body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// It is larger than the limit: 413.
    #[error("the body is too large")]
    TooLarge,
    /// It did not arrive in time: 408.
    #[error("the body did not arrive in time")]
    Late,
    /// The caller closed the connection before its end: 400.
    #[error("the body is incomplete")]
    Broken,
    /// All bodies together take as much memory as they may: 503.
    #[error("too many bodies are being read at once")]
    Busy,
}

impl BodyError {
    /// The metric label and log value.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "body_too_large",
            Self::Late => "body_late",
            Self::Broken => "body_broken",
            Self::Busy => "body_busy",
        }
    }
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        };
        let close = (header::CONNECTION, HeaderValue::from_static("close"));
        let mut response = (status, [close], self.to_string()).into_response();
        if self == Self::Busy {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

/// The bytes that all request bodies together may take, of which one client may take a quarter. Clones
/// share them.
///
/// A body's announced length is taken when its first byte arrives; without one, its bytes are taken as
/// they arrive. Nothing waits for bytes that are taken, so that requests cannot block each other.
#[derive(Clone, Debug)]
pub struct BodyBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: usize,
    of_one_client: usize,
    taken: Mutex<Taken>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    clients: HashMap<ClientAddress, usize>,
}

impl BodyBudget {
    /// Allows `limit` bytes in total, and one client at least one body of `body_limit` bytes.
    pub fn new(limit: usize, body_limit: usize, metrics: Metrics) -> Self {
        let of_one_client = (limit / 4).max(body_limit);
        Self(Arc::new(Budget { limit, of_one_client, taken: Mutex::default(), metrics }))
    }

    fn share(&self, client: Option<ClientAddress>) -> BudgetShare {
        BudgetShare { budget: self.clone(), client, bytes: 0 }
    }
}

/// The bytes that one body takes, given back when it is dropped.
#[derive(Debug)]
pub(super) struct BudgetShare {
    budget: BodyBudget,
    client: Option<ClientAddress>,
    bytes: usize,
}

impl BudgetShare {
    /// Takes more until the body has `bytes`.
    fn grow_to(&mut self, bytes: usize) -> Result<(), BodyError> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let budget = &self.budget.0;
        let mut taken = budget.taken.lock();
        let of_client = self.client.and_then(|client| taken.clients.get(&client).copied()).unwrap_or(0);
        if taken.total.saturating_add(more) > budget.limit
            || of_client.saturating_add(more) > budget.of_one_client
        {
            return Err(BodyError::Busy);
        }
        taken.total += more;
        if let Some(client) = self.client {
            taken.clients.insert(client, of_client + more);
        }
        self.bytes += more;
        budget.metrics.set_body_bytes(taken.total);
        Ok(())
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let budget = &self.budget.0;
        let mut taken = budget.taken.lock();
        taken.total -= self.bytes;
        budget.metrics.set_body_bytes(taken.total);
        let Some(client) = self.client else { return };
        let rest = taken.clients.remove(&client).unwrap_or(0) - self.bytes;
        if rest > 0 {
            taken.clients.insert(client, rest);
        }
    }
}

/// A whole body. It counts as in memory until this is dropped.
#[derive(Debug)]
pub(super) struct WholeBody {
    bytes: BytesMut,
    share: BudgetShare,
}

impl WholeBody {
    /// Frees the bytes, of which the caller has made a copy. They still count until the result is dropped.
    pub(super) fn free(self) -> BudgetShare {
        self.share
    }
}

impl Deref for WholeBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads `body` to its end. A body whose announced length exceeds the limit is refused before any
/// byte is read.
pub(super) async fn read(
    body: Body,
    limits: &Limits,
    budget: &BodyBudget,
    client: Option<ClientAddress>,
) -> Result<WholeBody, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limits.body_bytes {
        return Err(BodyError::TooLarge);
    }
    let collected = collect(body, announced, limits.body_bytes, budget.share(client));
    tokio::time::timeout(limits.body, collected).await.unwrap_or(Err(BodyError::Late))
}

/// Copies the pieces together, because each piece alone would keep a whole read buffer alive.
async fn collect(
    body: Body,
    announced: usize,
    limit: usize,
    mut share: BudgetShare,
) -> Result<WholeBody, BodyError> {
    let mut bytes = BytesMut::new();
    let mut body = pin!(body);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        let Ok(piece) = frame.into_data() else { continue };
        let length = bytes.len().saturating_add(piece.len());
        if length > limit {
            return Err(BodyError::TooLarge);
        }
        share.grow_to(length.max(announced))?;
        if bytes.is_empty() {
            bytes.reserve(announced.min(FIRST_BYTES));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(WholeBody { bytes, share })
}
