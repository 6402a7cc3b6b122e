//! Reads a request's whole body within the limits of time and size.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::Limits;

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
}

impl BodyError {
    /// The metric label and log value.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "body_too_large",
            Self::Late => "body_late",
            Self::Broken => "body_broken",
        }
    }
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        };
        let close = (header::CONNECTION, HeaderValue::from_static("close"));
        (status, [close], self.to_string()).into_response()
    }
}

/// Reads `body` to its end. A body whose announced length exceeds the limit is refused before any
/// byte is read.
pub(super) async fn read(body: Body, limits: &Limits) -> Result<Bytes, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limits.body_bytes {
        return Err(BodyError::TooLarge);
    }
    let collected = Limited::new(body, limits.body_bytes).collect();
    match tokio::time::timeout(limits.body, collected).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::Late),
    }
}
