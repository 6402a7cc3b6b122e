//! The HTTP side of the simulated REST API. It reads a call, applies its scripted fault, answers,
//! and publishes the exchange to watchers.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::checks::{self, AdmittedCall, ApiError, Call, Command};
use super::exchange::{Direction, Exchange, body_text, headers, masked_query};
use super::ledger::RefusedCall;
use super::{Shared, accounts, messages, roam};
use crate::sandbox::fault::{self, Fault};
use crate::sandbox::serve::SimulatedResponse;

/// The largest request body in bytes. A larger one gets HTTP 413.
const MAX_BODY: usize = 1024 * 1024;
/// Answers a call on any path.
pub(super) async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let began = Instant::now();
    let at = shared.clock.now();
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let path = head.uri.path();
    let query = query(&head.uri);
    let fault = shared.faults.take(path, &body);
    let published = shared.has_watchers().then(|| (masked_query(&query), body_text(&body)));
    let call =
        Call { api: checks::api(path), is_post: head.method == Method::POST, query, body: body.to_vec() };
    let answer = handle(&shared, call, fault).await;
    if let Some((query, request)) = published {
        shared.publish(|| Exchange {
            at,
            began,
            took: began.elapsed(),
            direction: Direction::Received,
            method: head.method.to_string(),
            path: path.to_owned(),
            query,
            status: answer.status(),
            request,
            response: body_text(&answer.body),
            request_headers: headers(&head.headers),
            response_headers: headers(answer.response.headers()),
            error: answer.status().is_none().then(|| "the connection was cut".to_owned()),
            instance: head.extensions.get().copied(),
        });
    }
    answer.response
}

fn query(uri: &Uri) -> Vec<(String, String)> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

async fn handle(shared: &Arc<Shared>, call: Call, fault: Option<Fault>) -> SimulatedResponse {
    let api = call.api.map_or("unknown", |api| api.path);
    shared.world().recorder.count_call(api);
    shared.notify();
    let json = |text: String| SimulatedResponse::new(StatusCode::OK, "application/json", text);
    let refuse = |code| json(render(shared, api, Err(ApiError::new(code, "a scripted fault"))));
    let work = async {
        // A separate task completes the call even if the caller hangs up.
        match tokio::spawn(execute(Arc::clone(shared), call)).await {
            Ok(result) => json(render(shared, api, result)),
            Err(_) => SimulatedResponse::new(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", ""),
        }
    };
    fault::apply(fault, refuse, work).await
}

async fn execute(shared: Arc<Shared>, call: Call) -> Result<Value, ApiError> {
    let settings = shared.settings();
    let AdmittedCall { api, admin, body } = checks::admit(&shared, &settings, &call)?;
    match api.command {
        Command::AccountImport => accounts::import(&shared, &settings, &body),
        Command::AccountDelete => accounts::delete(&shared, &settings, &body),
        Command::AccountCheck => accounts::check(&shared, &body),
        Command::PortraitSet => accounts::portrait_set(&shared, &body),
        Command::OnlineStatus => accounts::online_status(&shared, &settings, &body),
        Command::SendMsg => messages::sendmsg(&shared, &settings, admin, body).await,
        Command::ImportMsg => messages::importmsg(&shared, &settings, body),
        Command::GetRoamMsg => roam::getroammsg(&shared, &settings, &body),
        Command::Withdraw => messages::withdraw(&shared, &settings, &body),
    }
}

/// Renders a result as the response body (reference, 1.2). Records a refusal in the ledger.
fn render(shared: &Shared, api: &'static str, result: Result<Value, ApiError>) -> String {
    match result {
        Ok(mut answer) => {
            answer["ActionStatus"] = json!("OK");
            answer["ErrorInfo"] = json!("");
            answer["ErrorCode"] = json!(0);
            answer.to_string()
        }
        Err(ApiError { code, info }) => {
            let limit = shared.settings().ledger_limit;
            shared.world().recorder.record_refusal(RefusedCall { api, code, at: shared.clock.now() }, limit);
            shared.notify();
            json!({"ActionStatus": "FAIL", "ErrorCode": code, "ErrorInfo": info}).to_string()
        }
    }
}
