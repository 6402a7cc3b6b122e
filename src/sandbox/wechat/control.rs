//! Control routes for people at a terminal: send a text as a customer, and read a customer's
//! screen.
//!
//! They only wrap [`Phone`]. They are not part of the platform, and the bridge must
//! never call them.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::OpenId;
use crate::sandbox::serve::SimulatedResponse;

use super::Platform;
use super::phone::Phone;
use super::push::PushResult;
use super::screen::{ScreenEntry, Via};

/// The number of customers at which these routes stop creating more.
const MAX_CUSTOMERS: usize = 10_000;

/// `POST /sandbox/say` and `GET /sandbox/screen`.
pub(super) fn routes() -> Router<Arc<Platform>> {
    Router::new().route("/sandbox/say", post(say)).route("/sandbox/screen", get(screen))
}

#[derive(Deserialize)]
struct SayRequest {
    openid: String,
    text: String,
}

#[derive(Deserialize)]
struct ScreenQuery {
    openid: String,
}

/// Sends a text as the customer. A customer who does not follow yet follows first. The response
/// shows how the bridge answered.
async fn say(State(platform): State<Arc<Platform>>, body: Bytes) -> Response {
    // The content type is ignored, because a pasted curl command sends that of a form.
    let SayRequest { openid, text } = match serde_json::from_slice(&body) {
        Ok(say) => say,
        Err(error) => return refuse(&format!("the body is not {{\"openid\", \"text\"}}: {error}")),
    };
    if OpenId::new(openid.as_str()).is_err() {
        return refuse("openid must be 1 to 32 bytes of printable ASCII without spaces");
    }
    if !has_room_for(&platform, &openid) {
        return refuse("there are too many customers");
    }
    let phone = platform.phone(&openid);
    let followed = if phone.is_following() { None } else { Some(answer_json(&phone.follow().await)) };
    let result = phone.say(&text).await;
    let summary = json!({
        "openid": openid, "text": text, "msg_id": result.msg_id, "followed": followed, "answer": answer_json(&result),
    });
    SimulatedResponse::pretty_json(StatusCode::OK, &summary).response
}

/// Returns the customer's screen, oldest entry first.
async fn screen(State(platform): State<Arc<Platform>>, Query(query): Query<ScreenQuery>) -> Response {
    let known = platform.customers.lock().get(&query.openid).cloned();
    let Some(customer) = known else { return refuse("no customer with this openid exists yet") };
    let entries: Vec<Value> = Phone::new(platform, customer).screen().iter().map(entry_json).collect();
    SimulatedResponse::pretty_json(StatusCode::OK, &json!(entries)).response
}

fn has_room_for(platform: &Platform, openid: &str) -> bool {
    let known = platform.customers.lock();
    known.len() < MAX_CUSTOMERS || known.contains_key(openid)
}

fn answer_json(result: &PushResult) -> Value {
    let last_attempt = result.attempts.last();
    json!({
        "requests": result.attempts.len(),
        "status": last_attempt.and_then(|made| made.status),
        "reply": result.text(),
        "error": last_attempt.and_then(|made| made.error.as_deref()),
    })
}

fn entry_json(entry: &ScreenEntry) -> Value {
    let via = match entry.via {
        Via::Passive => "passive reply",
        Via::CustomSend => "message/custom/send",
        Via::Fault => "fault line",
    };
    json!({"at_ms": entry.at.0, "via": via, "kind": entry.kind, "text": entry.text})
}

fn refuse(reason: &str) -> Response {
    SimulatedResponse::pretty_json(StatusCode::BAD_REQUEST, &json!({"error": reason})).response
}
