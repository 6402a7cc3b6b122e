//! Signed requests to the bridge's URL (reference: sections 1.2 and 1.3): pushes, the console's
//! check of the URL, and forged requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;
use reqwest::header::HeaderMap;
use reqwest::{Method, header};
use tokio::time::Instant;
use url::Url;

use crate::model::Millis;
use crate::sandbox::instance::Instance;

use super::Platform;
use super::crypto::sign;
use super::draft::Draft;
use super::reply::CheckedAnswer;
use super::settings::Settings;
use super::wire::{self, Direction, WireEvent, masked_body, masked_query};
use super::xml;

/// The longest accepted answer in bytes. A longer one counts as a failure.
const ANSWER_LIMIT: usize = 256 * 1024;
const USER_AGENT: &str = "Mozilla/4.0";
const CONTENT_TYPE: &str = "text/xml";

/// The parameters of a request's query, in order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Sets a parameter. An existing one keeps its place.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value.into(),
            None => self.0.push((name.to_owned(), value.into())),
        }
    }

    /// The value of a parameter, if it is present.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Removes a parameter.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    fn masked(&self) -> String {
        masked_query(self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The HTTP status. `None` if no answer came in time.
    pub status: Option<u16>,
    /// The body of the answer.
    pub body: Bytes,
    /// The duration of the request in real time.
    pub took: Duration,
    /// Why the request counts as failed. `None` if WeChat accepts the answer or nothing checked it.
    pub error: Option<String>,
}

impl Platform {
    /// Implements [`super::WechatSim::push_raw`].
    pub(super) async fn push_raw(
        &self,
        openid: &str,
        body: Bytes,
        tweak: impl FnOnce(&mut Query),
    ) -> Attempt {
        let settings = self.settings();
        let document = std::str::from_utf8(&body).ok().and_then(|text| xml::read(text).ok());
        let encrypt = document.as_ref().and_then(|document| document.text_of("Encrypt").ok());
        let mut query = signed_query(&settings, timestamp_and_nonce(self.clock.now()), openid, encrypt);
        tweak(&mut query);
        self.request(&settings, Method::POST, &query, body, None).await
    }

    /// Implements [`super::WechatSim::verify_raw`].
    pub(super) async fn verify_raw(&self, tweak: impl FnOnce(&mut Query)) -> Attempt {
        let settings = self.settings();
        let mut query = signed_query(&settings, timestamp_and_nonce(self.clock.now()), "", None);
        query.remove("openid");
        query.set("echostr", rand::rng().random_range(10_u64.pow(18)..10_u64.pow(19)).to_string());
        tweak(&mut query);
        self.request(&settings, Method::GET, &query, Bytes::new(), None).await
    }

    /// Implements [`super::WechatSim::verify_url`].
    pub(super) async fn verify_url(&self) -> bool {
        let mut echo = String::new();
        let attempt =
            self.verify_raw(|query| query.get("echostr").unwrap_or_default().clone_into(&mut echo)).await;
        attempt.status == Some(200) && attempt.body == echo.as_bytes()
    }

    /// Makes one request of any kind. Watchers see the document of `draft` before encryption.
    pub(super) async fn request(
        &self,
        settings: &Settings,
        method: Method,
        query: &Query,
        body: Bytes,
        draft: Option<&Draft>,
    ) -> Attempt {
        let (at, started) = (self.clock.now(), Instant::now());
        let url = match settings.bridge_url.as_deref().map(Url::parse) {
            Some(Ok(mut url)) => {
                url.query_pairs_mut().extend_pairs(&query.0);
                Ok(url)
            }
            Some(Err(error)) => Err(format!("the URL is malformed: {error}")),
            None => Err("no URL is set".to_owned()),
        };
        let event = self.has_watchers().then(|| WireEvent {
            at,
            began: started,
            took: Duration::ZERO,
            direction: Direction::Push,
            method: method.to_string(),
            path: url.as_ref().map(|url| url.path().to_owned()).unwrap_or_default(),
            query: query.masked(),
            status: None,
            request: draft.map_or_else(|| masked_body(&body), |draft| draft.document().to_owned()),
            response: String::new(),
            encrypted_request: draft.filter(|draft| draft.is_encrypted()).map(|_| masked_body(&body)),
            encrypted_response: None,
            request_headers: vec![
                (header::USER_AGENT.to_string(), USER_AGENT.to_owned()),
                (header::CONTENT_TYPE.to_string(), CONTENT_TYPE.to_owned()),
            ],
            response_headers: Vec::new(),
            error: None,
            openid: query.get("openid").filter(|openid| !openid.is_empty()).map(str::to_owned),
            msg_id: draft.and_then(Draft::msg_id),
            instance: None,
        });
        if let Some(event) = &event {
            // Sending fails only if there is no subscriber.
            let _ = self.started_calls.send(Arc::new(event.clone()));
        }
        let result = match url {
            Ok(url) => self.exchange(settings, method, url, body).await,
            Err(error) => Err(error),
        };
        let took = started.elapsed();
        let (attempt, mut response_headers) = match result {
            Ok((status, headers, body)) => {
                (Attempt { status: Some(status), body, took, error: None }, headers)
            }
            Err(error) => {
                (Attempt { status: None, body: Bytes::new(), took, error: Some(error) }, HeaderMap::new())
            }
        };
        let instance = Instance::take(&mut response_headers);
        if let Some(event) = event {
            let answered_draft = draft.filter(|_| attempt.status == Some(200));
            let answer = answered_draft.map(|draft| self.check_answer(settings, draft, &attempt.body));
            let error = match &answer {
                Some(CheckedAnswer::Invalid(reason)) => Some(reason.clone()),
                _ => attempt.error.clone(),
            };
            let raw_response = masked_body(&attempt.body);
            let (response, sealed_response) = match answer {
                Some(CheckedAnswer::Reply(reply)) if reply.raw_xml.as_bytes() != attempt.body => {
                    (reply.raw_xml, Some(raw_response))
                }
                _ => (raw_response, None),
            };
            self.publish(|| WireEvent {
                took,
                status: attempt.status,
                response: attempt.error.clone().unwrap_or(response),
                encrypted_response: sealed_response,
                response_headers: wire::headers(&response_headers),
                error,
                instance,
                ..event
            });
        }
        attempt
    }

    async fn exchange(
        &self,
        settings: &Settings,
        method: Method,
        url: Url,
        body: Bytes,
    ) -> Result<(u16, HeaderMap, Bytes), String> {
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                format!("no answer within {:?}", settings.attempt_timeout)
            } else {
                // The URL contains the signature, so it must not appear in the error.
                format!("{:#}", anyhow::Error::from(error.without_url()))
            }
        };
        let mut response = self
            .http
            .request(method, url)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .timeout(settings.attempt_timeout)
            .body(body)
            .send()
            .await
            .map_err(failed)?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if answer.len() + chunk.len() > ANSWER_LIMIT {
                return Err(format!("the answer is longer than {ANSWER_LIMIT} bytes"));
            }
            answer.extend_from_slice(&chunk);
        }
        Ok((response.status().as_u16(), std::mem::take(response.headers_mut()), answer.into()))
    }
}

/// A new timestamp and nonce for a request.
pub(super) fn timestamp_and_nonce(now: Millis) -> (String, String) {
    let nonce = rand::rng().random_range(1_u32..=2_147_483_647);
    (now.seconds().to_string(), nonce.to_string())
}

/// The signed query of a request. Contains `msg_signature` if `encrypt` is given.
pub(super) fn signed_query(
    settings: &Settings,
    (timestamp, nonce): (String, String),
    openid: &str,
    encrypt: Option<&str>,
) -> Query {
    let mut query = Query::default();
    query.set("signature", sign(&[&settings.token, &timestamp, &nonce]));
    let message = encrypt.map(|encrypt| sign(&[&settings.token, &timestamp, &nonce, encrypt]));
    query.set("timestamp", timestamp);
    query.set("nonce", nonce);
    query.set("openid", openid);
    if let Some(signature) = message {
        query.set("encrypt_type", "aes");
        query.set("msg_signature", signature);
    }
    query
}
