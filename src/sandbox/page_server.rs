//! The page's HTTP server: its files, the state, the events, and the actions of customers and
//! agents.
//!
//! It must never call the bridge for an action: every action goes to the simulated platforms. It
//! serves only its own page and clients at a terminal: see [`guard`].

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

use super::live::{self, AgentDoes, CustomerDoes, Live, Refused};

/// The largest body in bytes: a file of 2 MB in base64 with its JSON.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// The routes.
pub(super) fn router(live: Arc<Live>) -> Router {
    Router::new()
        .route("/", get(|| async { files::page() }))
        .route("/page/{name}", get(|Path(name): Path<String>| async move { files::file(&name) }))
        .route("/api/state", get(state))
        .route("/api/events", get(events::events))
        .route("/api/media/{key}", get(media::media))
        .route("/api/customers", post(new_customer))
        .route("/api/customers/{openid}", post(customer_does))
        .route("/api/agents/{agent}/{customer}", post(agent_does))
        .route("/api/drills/{name}", post(drill))
        .route("/api/reset", post(reset))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(guard::guard))
        .with_state(live)
}

/// The body of a request, or why it could not be read.
type Body = Result<Bytes, BytesRejection>;

/// The answer of a handler: a status and JSON, or an error.
type Done = Result<(StatusCode, Json), Problem>;

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
struct Problem {
    status: StatusCode,
    why: String,
}

impl Problem {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": self.why}))).into_response()
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::NoCustomer | Refused::NoAgent | Refused::NoConversation => StatusCode::NOT_FOUND,
            Refused::NotFollowing | Refused::TooManyCustomers => StatusCode::CONFLICT,
            Refused::Text | Refused::Word | Refused::File => StatusCode::BAD_REQUEST,
            Refused::TooMuch | Refused::Ending => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refused.to_string())
    }
}

async fn state(State(live): State<Arc<Live>>) -> Json {
    Json(live::state(&live))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCustomer {
    name: Option<String>,
}

async fn new_customer(State(live): State<Arc<Live>>, body: Body) -> Done {
    let NewCustomer { name } = read(body)?;
    Ok((StatusCode::CREATED, Json(live.new_customer(name).await?)))
}

async fn customer_does(State(live): State<Arc<Live>>, Path(openid): Path<String>, body: Body) -> Done {
    live.customer_does(&openid, read::<CustomerDoes>(body)?).await?;
    Ok(begun())
}

async fn agent_does(
    State(live): State<Arc<Live>>,
    Path((agent, customer)): Path<(String, String)>,
    body: Body,
) -> Done {
    live.agent_does(&agent, &customer, read::<AgentDoes>(body)?).await?;
    Ok(begun())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn drill(State(live): State<Arc<Live>>, Path(name): Path<String>, body: Body) -> Done {
    read::<Nothing>(body)?;
    live.open().await?;
    match live.begin_drill(&name) {
        Some(Ok(())) => Ok(begun()),
        Some(Err(busy)) => Err(Problem::new(StatusCode::CONFLICT, busy.to_string())),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "there is no such drill")),
    }
}

async fn reset(State(live): State<Arc<Live>>, body: Body) -> Done {
    read::<Nothing>(body)?;
    live.book.reset();
    Ok(begun())
}

/// Parses a JSON body.
fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let body = body.map_err(|rejection| {
        Problem::new(rejection.status(), "the body is larger than 3 MB or incomplete")
    })?;
    let unusable = |problem| Problem::new(StatusCode::BAD_REQUEST, format!("the body is invalid: {problem}"));
    serde_json::from_slice(&body).map_err(|problem: serde_json::Error| unusable(problem))
}

/// The answer to an action that was started.
fn begun() -> (StatusCode, Json) {
    (StatusCode::ACCEPTED, Json(json!({})))
}
