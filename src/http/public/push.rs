//! `/`: WeChat's check of the server URL, and its pushes.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use super::{Desk, text, typed};
use crate::bridge::Reply;
use crate::http::body;
use crate::http::wire::Flushes;
use crate::http::written::{Handover, Watched};
use crate::model::{OpenId, Push, PushBody};
use crate::store::StoreError;
use crate::wechat::receive::{DecryptError, Decrypted, NonEmptyText, SUCCESS, reply};

/// How much of an unusable push is logged, in bytes.
const LOGGED: usize = 1024;
/// The content type of an XML reply.
const XML: &str = "text/xml; charset=utf-8";

/// Responds to the check that WeChat makes when the server URL is saved in its console.
pub(super) async fn echo(State(desk): State<Arc<Desk>>, RawQuery(query): RawQuery) -> Response {
    match desk.public.door.echo(&query.unwrap_or_default()) {
        Some(echostr) => {
            tracing::debug!("WeChat checked the server URL");
            typed(StatusCode::OK, "text/plain; charset=utf-8", echostr)
        }
        None => text(StatusCode::OK, "404 not found"),
    }
}

/// Receives a push: an event or a message.
pub(super) async fn receive(
    State(desk): State<Arc<Desk>>,
    flushes: Option<Extension<Flushes>>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    let public = &desk.public;
    let knock = match public.door.verify_query(&query.unwrap_or_default(), public.clock.now()) {
        Ok(knock) => knock,
        Err(refusal) => {
            desk.refused("push", refusal.name(), &refusal);
            return text(StatusCode::FORBIDDEN, "");
        }
    };
    let bytes = match body::read(body, &public.limits).await {
        Ok(bytes) => bytes,
        Err(unread) => {
            desk.refused("push", unread.name(), &unread);
            return unread.into_response();
        }
    };
    match public.door.decrypt(&knock, &bytes) {
        Ok(opened) => accept(&desk, opened, flushes.map(|Extension(flushes)| flushes)).await,
        Err(DecryptError::Refused(refusal)) => {
            desk.refused("push", refusal.name(), &refusal);
            text(StatusCode::FORBIDDEN, "")
        }
        Err(DecryptError::Unusable(why)) => {
            public.metrics.record_refused_request("push", "unusable");
            let start = String::from_utf8_lossy(&bytes[..bytes.len().min(LOGGED)]);
            let raw = start.escape_debug();
            tracing::warn!(bytes = bytes.len(), %raw, "WeChat sent an unusable push; it is acknowledged and dropped: {why}");
            text(StatusCode::OK, SUCCESS)
        }
    }
}

async fn accept(desk: &Desk, opened: Decrypted, flushes: Option<Flushes>) -> Response {
    let started = Instant::now();
    let Decrypted { push, reply_cipher: seal } = opened;
    let (to, account) = (push.from.clone(), push.account.clone());
    let kind = kind(&push).to_owned();
    let (bridge, outcomes) = (desk.public.bridge.clone(), desk.public.outcomes.clone());
    let accepted = desk
        .finish(desk.public.limits.push, async move {
            // Reserve a place in the queue first: the outcome of a reply with held answers must
            // never be lost.
            let place = outcomes.reserve_owned().await.map_err(|_| StoreError::Closed)?;
            let Reply { text, at, attached: receipt } = bridge.accept_push(push).await?;
            Ok::<_, StoreError>((text, at, receipt.map(|receipt| Handover::new(place, receipt))))
        })
        .await;
    let (content, at, handover) = match accepted {
        Some(Ok(accepted)) => accepted,
        Some(Err(error)) => return unavailable(desk, &error),
        None => return unavailable(desk, &"the commit took too long"),
    };
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(push.kind = kind, wechat.openid = hashed(&to), took_ms, "accepted a push");
    let (content_type, body) = match content.as_deref().and_then(NonEmptyText::new) {
        Some(content) => {
            let xml = reply::text_xml(&to, &account, &content, at.seconds());
            (XML, seal.wrap(xml, desk.public.clock.now()))
        }
        None => ("text/plain; charset=utf-8", SUCCESS.to_owned()),
    };
    let Some(handover) = handover else { return typed(StatusCode::OK, content_type, body) };
    let body = Body::new(Watched::new(body, handover, flushes));
    ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], body).into_response()
}

/// WeChat repeats the push after any status but 200, so refusing loses nothing.
fn unavailable(desk: &Desk, why: &dyn std::fmt::Display) -> Response {
    desk.refused("push", "unavailable", why);
    text(StatusCode::SERVICE_UNAVAILABLE, "not committed")
}

fn kind(push: &Push) -> &str {
    match &push.body {
        PushBody::Message(content) => content.msg_type(),
        PushBody::Event(event) => event.name(),
    }
}

/// A customer's pseudonym for the log: the first bytes of the openid's SHA-256.
fn hashed(openid: &OpenId) -> String {
    let digest = Sha256::digest(openid.as_str());
    format!("sha256:{}", hex::encode(digest.get(..6).unwrap_or_default()))
}
