//! Control routes for people at a terminal: send a text as an agent, and read an agent's inbox.
//!
//! They only wrap [`AgentClient`](super::AgentClient). They are not part of the platform, and the
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

use super::{Desk, Shared};
use crate::sandbox::serve::Answer;

/// `POST /sandbox/say` and `GET /sandbox/inbox`.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/sandbox/say", post(say)).route("/sandbox/inbox", get(inbox))
}

#[derive(Deserialize)]
struct Say {
    agent: String,
    customer: String,
    text: String,
}

#[derive(Deserialize)]
struct Whose {
    agent: String,
}

/// Sends a text from the agent to the customer. The response shows how the bridge answered the
/// webhook.
async fn say(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    // The content type is ignored, because a pasted curl command sends that of a form.
    let Say { agent, customer, text } = match serde_json::from_slice(&body) {
        Ok(say) => say,
        Err(error) => {
            return refuse(&format!("the body is not {{\"agent\", \"customer\", \"text\"}}: {error}"));
        }
    };
    let sent = match (Desk { shared, user: agent.clone() }).say(&customer, &text).await {
        Ok(sent) => sent,
        Err(refused) => return refuse(&format!("Tencent IM refused the message: {refused}")),
    };
    let webhook = sent.callback.map(|result| {
        json!({"status": result.status, "answer": result.body, "error": result.error.map(|e| e.to_string())})
    });
    let told = json!({
        "agent": agent, "customer": customer, "text": text, "msg_key": sent.msg_key, "webhook": webhook,
    });
    Answer::readable(StatusCode::OK, &told).response
}

/// Returns the agent's inbox, in order of arrival.
async fn inbox(State(shared): State<Arc<Shared>>, Query(Whose { agent }): Query<Whose>) -> Response {
    if shared.world().accounts.get(&agent).is_none() {
        return refuse("this agent's account is not imported");
    }
    let inbox = Desk { shared, user: agent }.inbox();
    let messages: Vec<Value> = inbox
        .iter()
        .map(|seen| {
            json!({"from": seen.from, "time_s": seen.time, "msg_key": seen.key, "elements": *seen.elements})
        })
        .collect();
    Answer::readable(StatusCode::OK, &json!(messages)).response
}

fn refuse(why: &str) -> Response {
    Answer::readable(StatusCode::BAD_REQUEST, &json!({"error": why})).response
}
