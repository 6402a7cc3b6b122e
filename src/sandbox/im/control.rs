//! Control routes for people at a terminal: send a text as an agent, and read an agent's inbox.
//!
//! They only wrap [`AgentClient`]. They are not part of the platform, and the
//! bridge must never call them.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AgentClient, Platform, Shared};
use crate::sandbox::serve::SimulatedResponse;

/// `POST /sandbox/say` and `GET /sandbox/inbox`.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/sandbox/say", post(say)).route("/sandbox/inbox", get(inbox))
}

#[derive(Deserialize)]
struct SayRequest {
    agent: String,
    customer: String,
    text: String,
}

#[derive(Deserialize)]
struct InboxQuery {
    agent: String,
}

/// Sends a text from the agent to the customer. The response shows how the bridge answered the
/// webhook.
async fn say(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    // The content type is ignored, because a pasted curl command sends that of a form.
    let SayRequest { agent, customer, text } = match serde_json::from_slice(&body) {
        Ok(say) => say,
        Err(error) => {
            return refuse(&format!("the body is not {{\"agent\", \"customer\", \"text\"}}: {error}"));
        }
    };
    let sent = match (AgentClient { shared, user: agent.clone(), platform: Platform::Web })
        .say(&customer, &text)
        .await
    {
        Ok(sent) => sent,
        Err(refused) => return refuse(&format!("Tencent IM refused the message: {refused}")),
    };
    let webhook = sent.callback.map(|result| {
        json!({"status": result.status, "answer": result.body, "error": result.error.map(|e| e.to_string())})
    });
    let summary = json!({
        "agent": agent, "customer": customer, "text": text, "msg_key": sent.msg_key, "webhook": webhook,
    });
    SimulatedResponse::pretty_json(StatusCode::OK, &summary).response
}

/// Returns the agent's inbox, in order of arrival.
async fn inbox(
    State(shared): State<Arc<Shared>>,
    Query(InboxQuery { agent }): Query<InboxQuery>,
) -> Response {
    if shared.world().accounts.get(&agent).is_none() {
        return refuse("this agent's account is not imported");
    }
    let inbox = AgentClient { shared, user: agent, platform: Platform::Web }.inbox();
    let messages: Vec<Value> = inbox
        .iter()
        .map(|message| {
            json!({"from": message.from, "time_s": message.time, "msg_key": message.key, "elements": *message.elements})
        })
        .collect();
    SimulatedResponse::pretty_json(StatusCode::OK, &json!(messages)).response
}

fn refuse(reason: &str) -> Response {
    SimulatedResponse::pretty_json(StatusCode::BAD_REQUEST, &json!({"error": reason})).response
}
