//! The page's HTTP server: its files, the state, the events, and the actions of customers and
//! agents.
//!
//! It must never call the bridge for an action: every action goes to the simulated platforms. It
//! serves only its own page and clients at a terminal: see `guard`.

mod events;
mod files;
mod guard;
mod media;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::drill;
use super::session::{self, ActionError, AgentAction, ClientAction, CustomerAction, Session};
use super::show;

/// The largest body in bytes: a file of 2 MB in base64 with its JSON.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// The routes.
pub(super) fn router(session: Arc<Session>) -> Router {
    Router::new()
        .route("/", get(|| async { files::page() }))
        .route("/page/{name}", get(|Path(name): Path<String>| async move { files::file(&name) }))
        .route("/api/state", get(state))
        .route("/api/events", get(events::events))
        .route("/api/media/{key}", get(media::media))
        .route("/api/customers", post(new_customer))
        .route("/api/customers/{openid}", post(customer_action))
        .route("/api/agents/{agent}", post(client_action))
        .route("/api/agents/{agent}/{customer}", post(agent_action))
        .route("/api/script", post(play_script))
        .route("/api/drills/{name}", post(begin_drill))
        .route("/api/reset", post(reset))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(guard::guard))
        .with_state(session)
}

/// The body of a request, or why it could not be read.
type BodyResult = Result<Bytes, BytesRejection>;

/// The answer of a handler: a status and JSON, or an error.
type ApiResult = Result<(StatusCode, Json), ApiError>;

/// JSON that must not be cached.
struct Json(Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (headers, self.0.to_string()).into_response()
    }
}

/// An error answer: its status and the reason.
struct ApiError {
    status: StatusCode,
    reason: String,
}

impl ApiError {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": self.reason}))).into_response()
    }
}

impl From<ActionError> for ApiError {
    fn from(refused: ActionError) -> Self {
        let status = match refused {
            ActionError::NoCustomer
            | ActionError::NoAgent
            | ActionError::NoConversation
            | ActionError::NoMessage => StatusCode::NOT_FOUND,
            ActionError::NotFollowing | ActionError::SignedOut | ActionError::TooManyCustomers => {
                StatusCode::CONFLICT
            }
            ActionError::InvalidText | ActionError::InvalidWord | ActionError::InvalidFile => {
                StatusCode::BAD_REQUEST
            }
            ActionError::TooManyActions | ActionError::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refused.to_string())
    }
}

async fn state(State(session): State<Arc<Session>>) -> Json {
    Json(session::state(&session))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCustomer {
    name: Option<String>,
}

async fn new_customer(State(session): State<Arc<Session>>, body: BodyResult) -> ApiResult {
    let NewCustomer { name } = parse_body(body)?;
    Ok((StatusCode::CREATED, Json(session.new_customer(name).await?)))
}

async fn customer_action(
    State(session): State<Arc<Session>>,
    Path(openid): Path<String>,
    body: BodyResult,
) -> ApiResult {
    session.act_as_customer(&openid, parse_body::<CustomerAction>(body)?).await?;
    Ok(accepted())
}

async fn agent_action(
    State(session): State<Arc<Session>>,
    Path((agent, customer)): Path<(String, String)>,
    body: BodyResult,
) -> ApiResult {
    session.act_as_agent(&agent, &customer, parse_body::<AgentAction>(body)?).await?;
    Ok(accepted())
}

async fn client_action(
    State(session): State<Arc<Session>>,
    Path(agent): Path<String>,
    body: BodyResult,
) -> ApiResult {
    session.act_at_client(&agent, parse_body::<ClientAction>(body)?).await?;
    Ok(accepted())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmptyBody {}

async fn play_script(State(session): State<Arc<Session>>, body: BodyResult) -> ApiResult {
    parse_body::<EmptyBody>(body)?;
    match show::begin(&session) {
        Ok(()) => Ok(accepted()),
        Err(busy) => Err(ApiError::new(StatusCode::CONFLICT, busy.to_string())),
    }
}

async fn begin_drill(
    State(session): State<Arc<Session>>,
    Path(name): Path<String>,
    body: BodyResult,
) -> ApiResult {
    parse_body::<EmptyBody>(body)?;
    session.wait_until_open().await?;
    match drill::begin(&session, &name) {
        Some(Ok(())) => Ok(accepted()),
        Some(Err(busy)) => Err(ApiError::new(StatusCode::CONFLICT, busy.to_string())),
        None => Err(ApiError::new(StatusCode::NOT_FOUND, "there is no such drill")),
    }
}

async fn reset(State(session): State<Arc<Session>>, body: BodyResult) -> ApiResult {
    parse_body::<EmptyBody>(body)?;
    session.event_log.reset();
    Ok(accepted())
}

/// Parses a JSON body.
fn parse_body<T: DeserializeOwned>(body: BodyResult) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| {
        ApiError::new(rejection.status(), "the body is larger than 3 MB or incomplete")
    })?;
    let invalid = |problem| ApiError::new(StatusCode::BAD_REQUEST, format!("the body is invalid: {problem}"));
    serde_json::from_slice(&body).map_err(|problem: serde_json::Error| invalid(problem))
}

/// The answer to an action that was started.
fn accepted() -> (StatusCode, Json) {
    (StatusCode::ACCEPTED, Json(json!({})))
}
