//! `/imcallback`: Tencent IM's callbacks about its users' messages.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::{Desk, typed};
use crate::bridge::AnswerOutcome;
use crate::http::body;
use crate::im::receive::{Callback, SkipReason, error_response, ok_response};
use crate::model::Answer;

const JSON: &str = "application/json";

pub(super) async fn receive(
    State(desk): State<Arc<Desk>>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    let public = &desk.public;
    let knock = match public.callbacks.verify_query(&query.unwrap_or_default()) {
        Ok(knock) => knock,
        Err(refusal) => {
            desk.refused("callback", refusal.name(), &refusal);
            return typed(StatusCode::FORBIDDEN, JSON, error_response(&refusal.to_string()));
        }
    };
    let bytes = match body::read(body, &public.limits).await {
        Ok(bytes) => bytes,
        Err(unread) => {
            desk.refused("callback", unread.name(), &unread);
            return unread.into_response();
        }
    };
    match public.callbacks.parse(&knock, &bytes) {
        Ok(Callback::Answer(answer)) => accept(&desk, answer).await,
        Ok(Callback::Skipped(reason, answer)) => pass_over(&desk, reason, answer).await,
        Ok(Callback::Ignored(reason)) => ignored(&desk, reason.name()),
        Err(bad) => {
            desk.refused("callback", "body_no_json", &bad);
            typed(StatusCode::BAD_REQUEST, JSON, error_response(&bad.to_string()))
        }
    }
}

async fn accept(desk: &Desk, answer: Answer) -> Response {
    let started = Instant::now();
    let agent = answer.from.clone();
    let bridge = desk.public.bridge.clone();
    let within = desk.public.limits.callback;
    match desk.finish(within, async move { bridge.accept_answer(answer).await }).await {
        Some(Ok(AnswerOutcome::Accepted)) => {
            let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(im.agent = %agent, took_ms, "accepted an agent's message");
            typed(StatusCode::OK, JSON, ok_response())
        }
        Some(Ok(AnswerOutcome::Ignored(reason))) => ignored(desk, reason.name()),
        Some(Err(error)) => unavailable(desk, &error),
        None => unavailable(desk, &"the commit took too long"),
    }
}

async fn pass_over(desk: &Desk, reason: SkipReason, answer: Answer) -> Response {
    let bridge = desk.public.bridge.clone();
    match desk.finish(desk.public.limits.callback, async move { bridge.mark_ignored(answer).await }).await {
        Some(Ok(())) => ignored(desk, reason.name()),
        Some(Err(error)) => unavailable(desk, &error),
        None => unavailable(desk, &"the commit took too long"),
    }
}

fn ignored(desk: &Desk, reason: &'static str) -> Response {
    desk.public.metrics.record_ignored_callback(reason);
    tracing::debug!(reason, "ignored a callback");
    typed(StatusCode::OK, JSON, ok_response())
}

fn unavailable(desk: &Desk, why: &dyn std::fmt::Display) -> Response {
    desk.refused("callback", "unavailable", why);
    typed(StatusCode::SERVICE_UNAVAILABLE, JSON, error_response("not committed; try again"))
}
