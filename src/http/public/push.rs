//! `/`: WeChat's check of the server URL, and its pushes.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span};

use super::{PublicState, text, typed};
use crate::bridge::Reply;
use crate::clock;
use crate::http::body;
use crate::http::peer::ClientAddress;
use crate::http::receipt::{PendingReceipts, ReplyReceipt, TrackedBody};
use crate::http::url_checks;
use crate::model::{Push, PushBody, UnreadablePush};
use crate::store::StoreError;
use crate::wechat;
use crate::wechat::receive::{DecryptError, Decrypted, NonEmptyText, Refusal, SUCCESS, VerifiedQuery, reply};

/// The content type of an XML reply.
const XML: &str = "text/xml; charset=utf-8";

/// Responds to the check that WeChat makes when the server URL is saved in its console.
pub(super) async fn echo(
    State(state): State<Arc<PublicState>>,
    client: Option<Extension<ClientAddress>>,
    RawQuery(query): RawQuery,
) -> Response {
    let (query, client) = (query.unwrap_or_default(), client.map(|Extension(client)| client));
    if let Some(echostr) = state.public.verifier.echo(&query) {
        state.public.url_checks.record(client, None);
        tracing::info!("answered WeChat's check of the server URL: its signature is right");
        return typed(StatusCode::OK, "text/plain; charset=utf-8", echostr);
    }
    if let Some(refusal) = state.public.verifier.echo_refusal(&query) {
        note_refused_check(&state, client, refusal);
    }
    text(StatusCode::OK, "404 not found")
}

/// Counts, records and, once a burst, logs a check of the server URL that was refused.
fn note_refused_check(state: &PublicState, client: Option<ClientAddress>, refusal: Refusal) {
    const SOURCE: &str = "url_check";
    state.public.url_checks.record(client, Some(refusal));
    state.public.metrics.record_refused_request(SOURCE, refusal.name());
    if state.url_check_log_limiter.allow() {
        let client = client.map(|client| client.to_string()).unwrap_or_default();
        tracing::warn!(
            source = SOURCE,
            reason = refusal.name(),
            client,
            "refused a check of the server URL: {refusal}; {}",
            url_checks::advice(refusal)
        );
    }
}

/// Receives a push: an event or a message.
pub(super) async fn receive(
    State(state): State<Arc<PublicState>>,
    pending_receipts: Option<Extension<PendingReceipts>>,
    client: Option<Extension<ClientAddress>>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    let receipts = pending_receipts.map(|Extension(receipts)| receipts);
    // The level `error` keeps these fields on every line that is logged, whatever `log.level` is.
    let span = tracing::error_span!("push", openid.hash = Empty, message.id = Empty);
    let client = client.map(|Extension(client)| client);
    handle(&state, receipts, client, &query.unwrap_or_default(), body).instrument(span).await
}

async fn handle(
    state: &PublicState,
    pending_receipts: Option<PendingReceipts>,
    client: Option<ClientAddress>,
    query: &str,
    body: Body,
) -> Response {
    let public = &state.public;
    let query = match verify_query(state, query).await {
        Ok(verified) => verified,
        Err(refusal) => return refuse(state, refusal),
    };
    let bytes = match body::read(body, &public.limits, &public.body_budget, client).await {
        Ok(bytes) => bytes,
        Err(error) => {
            state.log_refusal("push", error.name(), &error);
            return error.into_response();
        }
    };
    let decrypted = public.verifier.decrypt(&query, &bytes);
    // What was decrypted is a copy, and a commit may take a while.
    let _in_flight = bytes.free();
    match decrypted {
        Ok(decrypted) => {
            public.push_health.record_accepted();
            let now = public.clock.remote(wechat::CLOCK).now();
            if state.is_replay(decrypted.push.create_time, now) {
                state.log_refusal(
                    "push",
                    "too_old",
                    &"it is older than repeats are recognised; it moves nothing",
                );
                return text(StatusCode::OK, SUCCESS);
            }
            accept(state, decrypted, pending_receipts).await
        }
        Err(DecryptError::Unreadable(push)) => {
            public.push_health.record_accepted();
            keep(state, push).await
        }
        Err(DecryptError::Refused(refusal)) => refuse(state, refusal),
    }
}

/// Keeps a push that cannot be read. WeChat must not repeat it, because a repeat could not be read either.
async fn keep(state: &PublicState, push: UnreadablePush) -> Response {
    state.public.metrics.record_refused_request("push", "unreadable");
    if state.log_limiter.allow() {
        tracing::warn!(
            bytes = push.bytes.len(),
            "a push from WeChat cannot be read and is kept for 30 days: {push}"
        );
    }
    let bridge = state.public.bridge.clone();
    let kept =
        state.run_to_end(state.public.limits.push, async move { bridge.accept_unreadable(push).await });
    match kept.await {
        Some(Ok(())) => text(StatusCode::OK, SUCCESS),
        Some(Err(error)) => unavailable(state, &error),
        None => unavailable(state, &"the commit took too long"),
    }
}

/// Verifies the query by WeChat's clock, or else by ours: one wrong `Date` must not make the bridge
/// refuse every push, because WeChat does not repeat those. After a start or a jump of the machine's clock, a push that
/// seems stale waits until the time is known.
async fn verify_query(state: &PublicState, query: &str) -> Result<VerifiedQuery, Refusal> {
    let public = &state.public;
    let (theirs, ours) = (public.clock.remote(wechat::CLOCK), &public.clock);
    let verify = || match public.verifier.verify_query(query, theirs.now()) {
        Err(Refusal::Stale) => public.verifier.verify_query(query, ours.now()),
        verified => verified,
    };
    match verify() {
        Err(Refusal::Stale) if !public.clock.is_settled() => {
            public.clock.settled().await;
            verify()
        }
        verified => verified,
    }
}

fn refuse(state: &PublicState, refusal: Refusal) -> Response {
    if refusal.may_be_a_setting() {
        state.public.push_health.record_refused(refusal.name());
    }
    state.log_refusal("push", refusal.name(), &refusal);
    text(StatusCode::FORBIDDEN, "")
}

async fn accept(
    state: &PublicState,
    decrypted: Decrypted,
    pending_receipts: Option<PendingReceipts>,
) -> Response {
    let started = Instant::now();
    let Decrypted { push, reply_cipher } = decrypted;
    Span::current().record("openid.hash", display(push.from.log_hash()));
    let (to, account) = (push.from.clone(), push.account.clone());
    let kind = kind(&push).to_owned();
    let (bridge, outcomes) = (state.public.bridge.clone(), state.public.outcomes.clone());
    let accepted = state
        .run_to_end(state.public.limits.push, async move {
            // Reserve a place in the queue first: the outcome of a reply with held answers must
            // never be lost.
            let permit = outcomes.reserve_owned().await.map_err(|_| StoreError::Closed)?;
            let Reply { text, at, attached: receipt } = bridge.accept_push(push).await?;
            Ok::<_, StoreError>((text, at, receipt.map(|receipt| ReplyReceipt::new(permit, receipt))))
        })
        .await;
    let (content, at, reply_receipt) = match accepted {
        Some(Ok(accepted)) => accepted,
        Some(Err(error)) => return unavailable(state, &error),
        None => return unavailable(state, &"the commit took too long"),
    };
    let took_ms = clock::millis(started.elapsed());
    tracing::info!(push.kind = kind, took_ms, "accepted a push");
    let (content_type, body) = match content.as_deref().and_then(NonEmptyText::new) {
        Some(content) => {
            let xml = reply::text_xml(&to, &account, &content, at.seconds());
            (XML, reply_cipher.wrap(xml, state.public.clock.now()))
        }
        None => ("text/plain; charset=utf-8", SUCCESS.to_owned()),
    };
    let Some(reply_receipt) = reply_receipt else { return typed(StatusCode::OK, content_type, body) };
    let body = Body::new(TrackedBody::new(body, reply_receipt, pending_receipts));
    ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], body).into_response()
}

/// WeChat repeats the push after any status but 200, so refusing loses nothing.
fn unavailable(state: &PublicState, why: &dyn std::fmt::Display) -> Response {
    state.log_refusal("push", "unavailable", why);
    text(StatusCode::SERVICE_UNAVAILABLE, "not committed")
}

fn kind(push: &Push) -> &str {
    match &push.body {
        PushBody::Message(content) => content.msg_type(),
        PushBody::Event(event) => event.name(),
    }
}
