//! `/imcallback`: Tencent IM's callbacks about its users' messages.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span};

use super::{PublicState, typed};
use crate::bridge::AnswerOutcome;
use crate::clock;
use crate::http::body;
use crate::http::peer::ClientAddress;
use crate::im;
use crate::im::receive::{Callback, Refusal, SkipReason, VerifiedQuery, error_response, ok_response};
use crate::model::{AgentEvent, Answer};
use crate::store::StoreError;

const JSON: &str = "application/json";

pub(super) async fn receive(
    State(state): State<Arc<PublicState>>,
    client: Option<Extension<ClientAddress>>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    // The level `error` keeps these fields on every line that is logged, whatever `log.level` is.
    let span = tracing::error_span!("callback", im.agent = Empty, openid.hash = Empty, message.id = Empty);
    let client = client.map(|Extension(client)| client);
    handle(&state, client, &query.unwrap_or_default(), body).instrument(span).await
}

async fn handle(state: &PublicState, client: Option<ClientAddress>, query: &str, body: Body) -> Response {
    let public = &state.public;
    let query = match verify_query(state, query).await {
        Ok(verified) => verified,
        Err(refusal) => {
            if refusal.may_be_a_setting() {
                public.callback_health.record_refused(refusal.name());
            }
            state.log_refusal("callback", refusal.name(), &refusal);
            return typed(StatusCode::FORBIDDEN, JSON, error_response(&refusal.to_string()));
        }
    };
    public.callback_health.record_accepted();
    let bytes = match body::read(body, &public.limits, &public.body_budget, client).await {
        Ok(bytes) => bytes,
        Err(error) => {
            state.log_refusal("callback", error.name(), &error);
            return error.into_response();
        }
    };
    let parsed = public.callback_verifier.parse(&query, &bytes);
    // What was parsed is a copy, and a commit may take a while.
    let _in_flight = bytes.free();
    if let (Ok(_), Some(event)) = (&parsed, query.event()) {
        record(state, event);
    }
    match parsed {
        Ok(Callback::Answer(answer) | Callback::Skipped(_, answer))
            if state.is_replay(answer.msg_time, public.clock.remote(im::CLOCK).now()) =>
        {
            ignore(state, "too_old")
        }
        Ok(Callback::Answer(answer)) => accept(state, answer).await,
        Ok(Callback::Skipped(reason, answer)) => skip(state, reason, answer).await,
        Ok(Callback::Recalled(id)) => {
            Span::current().record("im.agent", display(&id.from));
            let bridge = public.bridge.clone();
            let change = async move { bridge.accept_recall(id).await };
            revise(state, "accepted the recall of an agent's message", change).await
        }
        Ok(Callback::Edited(edit)) => {
            Span::current().record("im.agent", display(&edit.answer.from));
            let bridge = public.bridge.clone();
            let change = async move { bridge.accept_edit(edit).await };
            revise(state, "accepted the edit of an agent's message", change).await
        }
        Ok(Callback::Typing(signal)) => {
            public.bridge.signal_typing(signal);
            ignore(state, SkipReason::OnlineOnly.name())
        }
        Ok(Callback::Presence(change)) => {
            Span::current().record("im.agent", display(&change.agent));
            let bridge = public.bridge.clone();
            match state
                .run_to_end(public.limits.callback, async move { bridge.accept_presence(change).await })
                .await
            {
                Some(Ok(())) => typed(StatusCode::OK, JSON, ok_response()),
                Some(Err(error)) => unavailable(state, &error),
                None => unavailable(state, &"the commit took too long"),
            }
        }
        Ok(Callback::Ignored(reason)) => ignore(state, reason.name()),
        Err(bad) => {
            state.log_refusal("callback", "body_no_json", &bad);
            typed(StatusCode::BAD_REQUEST, JSON, error_response(&bad.to_string()))
        }
    }
}

/// Records that this callback comes at all. The first time is stored in the background, because no answer depends on
/// it.
fn record(state: &PublicState, event: AgentEvent) {
    let bridge = state.public.bridge.clone();
    if bridge.record_callback(event) {
        state.public.tasks.spawn(async move {
            if let Err(error) = bridge.remember_callback(event).await {
                tracing::debug!(%error, "could not store that a callback came; the next run stores it");
            }
        });
    }
}

/// Verifies the query by IM's clock. After a start or a jump of the machine's clock, a callback that
/// seems stale waits until the time is known.
async fn verify_query(state: &PublicState, query: &str) -> Result<VerifiedQuery, Refusal> {
    let public = &state.public;
    match public.callback_verifier.verify_query(query) {
        Err(Refusal::Stale) if !public.clock.is_settled() => {
            public.clock.settled().await;
            public.callback_verifier.verify_query(query)
        }
        verified => verified,
    }
}

async fn accept(state: &PublicState, answer: Answer) -> Response {
    let started = Instant::now();
    Span::current().record("im.agent", display(&answer.from));
    let bridge = state.public.bridge.clone();
    let within = state.public.limits.callback;
    match state.run_to_end(within, async move { bridge.accept_answer(answer).await }).await {
        Some(Ok(AnswerOutcome::Accepted)) => {
            let took_ms = clock::millis(started.elapsed());
            tracing::info!(took_ms, "accepted an agent's message");
            typed(StatusCode::OK, JSON, ok_response())
        }
        Some(Ok(AnswerOutcome::Ignored(reason))) => ignore(state, reason.name()),
        Some(Err(error)) => unavailable(state, &error),
        None => unavailable(state, &"the commit took too long"),
    }
}

/// Waits for the commit of a recall or an edit, and logs `done` if it changed something.
async fn revise(
    state: &PublicState,
    done: &'static str,
    change: impl Future<Output = Result<AnswerOutcome, StoreError>> + Send + 'static,
) -> Response {
    match state.run_to_end(state.public.limits.callback, change).await {
        Some(Ok(AnswerOutcome::Accepted)) => {
            tracing::info!("{done}");
            typed(StatusCode::OK, JSON, ok_response())
        }
        Some(Ok(AnswerOutcome::Ignored(reason))) => ignore(state, reason.name()),
        Some(Err(error)) => unavailable(state, &error),
        None => unavailable(state, &"the commit took too long"),
    }
}

async fn skip(state: &PublicState, reason: SkipReason, answer: Answer) -> Response {
    let bridge = state.public.bridge.clone();
    match state
        .run_to_end(state.public.limits.callback, async move {
            match reason {
                SkipReason::NotAnAgent => bridge.accept_stray(answer).await,
                _ => bridge.mark_ignored(answer).await,
            }
        })
        .await
    {
        Some(Ok(())) => ignore(state, reason.name()),
        Some(Err(error)) => unavailable(state, &error),
        None => unavailable(state, &"the commit took too long"),
    }
}

fn ignore(state: &PublicState, reason: &'static str) -> Response {
    state.public.metrics.record_ignored_callback(reason);
    tracing::debug!(reason, "ignored a callback");
    typed(StatusCode::OK, JSON, ok_response())
}

fn unavailable(state: &PublicState, why: &dyn std::fmt::Display) -> Response {
    state.log_refusal("callback", "unavailable", why);
    typed(StatusCode::SERVICE_UNAVAILABLE, JSON, error_response("not committed; try again"))
}
