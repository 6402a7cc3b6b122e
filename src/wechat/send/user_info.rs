//! Asks WeChat what it tells of customers: remark, tags and picture (reference: "User info").
//!
//! Best effort, beside the lanes: never repeats a call, and no failure counts as one of the account's health.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Failure, PLATFORM, outcome_label};
use super::code::{self, Class};
use super::transport;
use crate::bridge::{Bridge, ProfileFailure};
use crate::json;
use crate::metrics::Metrics;
use crate::model::{Millis, NoAnswer, OpenId, Profile};

/// Calls in progress at the same time.
const MAX_CALLS: usize = 16;
/// The time limit of one call.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long the names of the tags count as fresh, milliseconds.
const TAGS_FRESH_MS: i64 = 600_000;
/// The most bytes of a remark or a tag's name that are kept. WeChat allows 30 characters.
const MAX_NAME_BYTES: usize = 256;
/// The most tags that are kept. WeChat allows 20.
const MAX_TAGS: usize = 20;
/// The longest URL of a picture that IM takes, in bytes.
const MAX_URL_BYTES: usize = 500;

/// WeChat's answer about a customer. One who does not follow has no other member.
#[derive(Deserialize)]
struct UserInfo {
    #[serde(default, deserialize_with = "json::optional_text")]
    remark: Option<String>,
    #[serde(default, deserialize_with = "json::optional_text")]
    headimgurl: Option<String>,
    #[serde(default)]
    tagid_list: Vec<serde_json::Value>,
}

/// WeChat's list of the account's tags.
#[derive(Deserialize)]
struct TagList {
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    id: serde_json::Value,
    name: String,
}

/// A refusal; every answer may be one.
#[derive(Deserialize)]
struct ReturnCode {
    #[serde(default, deserialize_with = "json::optional_integer")]
    errcode: Option<i64>,
    #[serde(default, deserialize_with = "json::optional_text")]
    errmsg: Option<String>,
}

/// The names of the account's tags, and when they were read.
type TagNames = Mutex<(HashMap<i64, String>, Option<Millis>)>;

/// Who asks.
#[derive(Debug)]
struct UserInfoReader {
    client: Arc<Client>,
    bridge: Bridge,
    metrics: Metrics,
    tag_names: TagNames,
}

/// Answers the requests for profiles until `stop`.
pub async fn run(client: Arc<Client>, bridge: Bridge, metrics: Metrics, stop: CancellationToken) {
    let Some(mut requests) = bridge.take_profile_requests() else { return };
    let reader = Arc::new(UserInfoReader { client, bridge, metrics, tag_names: TagNames::default() });
    let mut calls = JoinSet::new();
    loop {
        let openid = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = calls.join_next() => continue,
            request = requests.recv(), if calls.len() < MAX_CALLS => match request {
                Some(openid) => openid,
                None => return,
            },
        };
        let reader = Arc::clone(&reader);
        calls.spawn(async move { reader.answer(&openid).await });
    }
}

impl UserInfoReader {
    async fn answer(&self, openid: &OpenId) {
        let profile = self.read(openid).await;
        let answer = profile.map_err(|failure| {
            let meaning = meaning(&failure);
            if meaning == ProfileFailure::Denied {
                tracing::info!(
                    "WeChat does not tell this account its customers' remarks and tags; asking again in a day"
                );
            } else {
                tracing::debug!(%failure, "WeChat does not tell a customer's remark and tags");
            }
            meaning
        });
        self.bridge.end_profile_request(openid, answer).await;
    }

    async fn read(&self, openid: &OpenId) -> Result<Profile, Failure> {
        let info: UserInfo = self.get("user_info", "cgi-bin/user/info", Some(openid)).await?;
        let ids = info.tagid_list.iter().filter_map(json::integer).take(MAX_TAGS);
        let ids: Vec<i64> = ids.collect();
        let tags = if ids.is_empty() { Vec::new() } else { self.names_of(&ids).await };
        let picture = info.headimgurl.unwrap_or_default();
        let is_picture = picture.len() <= MAX_URL_BYTES
            && ["http://", "https://"].iter().any(|scheme| picture.starts_with(scheme));
        Ok(Profile {
            remark: bounded(info.remark.unwrap_or_default().trim()),
            tags,
            picture: if is_picture { picture } else { String::new() },
            read_at: self.client.clock.now(),
        })
    }

    /// The names of tags. A tag whose name cannot be read is named by its id.
    async fn names_of(&self, ids: &[i64]) -> Vec<String> {
        let now = self.client.clock.now();
        let is_fresh = {
            let known = self.tag_names.lock();
            let is_recent = known.1.is_some_and(|at| (0..TAGS_FRESH_MS).contains(&now.since(at)));
            is_recent && ids.iter().all(|id| known.0.contains_key(id))
        };
        if !is_fresh {
            match self.get::<TagList>("tags", "cgi-bin/tags/get", None).await {
                Ok(list) => {
                    let named = |tag: Tag| Some((json::integer(&tag.id)?, bounded(&tag.name)));
                    *self.tag_names.lock() = (list.tags.into_iter().filter_map(named).collect(), Some(now));
                }
                Err(failure) => tracing::debug!(%failure, "cannot read the names of the account's tags"),
            }
        }
        let known = self.tag_names.lock();
        ids.iter().map(|id| known.0.get(id).cloned().unwrap_or_else(|| id.to_string())).collect()
    }

    async fn get<T: DeserializeOwned>(
        &self,
        api: &'static str,
        path: &str,
        openid: Option<&OpenId>,
    ) -> Result<T, Failure> {
        let started = std::time::Instant::now();
        let outcome = self.client.get(path, openid).await;
        self.metrics.record_call(PLATFORM, api, outcome_label(&outcome), started.elapsed());
        outcome
    }
}

impl Client {
    /// Makes one call that only reads.
    async fn get<T: DeserializeOwned>(&self, path: &str, openid: Option<&OpenId>) -> Result<T, Failure> {
        let token = self.tokens.current().await?;
        let token = token.value.expose_secret();
        let mut url = transport::endpoint(&self.base, path);
        url.query_pairs_mut().append_pair("access_token", token);
        if let Some(openid) = openid {
            url.query_pairs_mut().append_pair("openid", openid.as_str()).append_pair("lang", "zh_CN");
        }
        let body = transport::get(&self.http, url, TIMEOUT, &self.clock).await?;
        let unreadable =
            |_| Failure::NoAnswer(NoAnswer::Unreadable, "the response is not the expected JSON".into());
        let code: ReturnCode = json::from_slice(&body).map_err(unreadable)?;
        match code.errcode {
            None | Some(0) => json::from_slice(&body).map_err(unreadable),
            Some(errcode) => {
                let msg = transport::sanitize_errmsg(code.errmsg.as_deref().unwrap_or_default(), token);
                Err(Failure::Code { code: errcode, msg })
            }
        }
    }
}

/// What a failure means for later requests.
fn meaning(failure: &Failure) -> ProfileFailure {
    match failure {
        Failure::Code { code, .. } => match code::class(*code) {
            Class::NotAllowed => ProfileFailure::Denied,
            Class::Refuse => ProfileFailure::Customer,
            _ => ProfileFailure::Unavailable,
        },
        _ => ProfileFailure::Unavailable,
    }
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_NAME_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_may_not_ask_stops_asking_and_a_strange_customer_stops_nobody() {
        let of_code = |code| meaning(&Failure::Code { code, msg: String::new() });
        assert_eq!(of_code(48001), ProfileFailure::Denied);
        assert_eq!(of_code(40003), ProfileFailure::Customer);
        assert_eq!(of_code(45009), ProfileFailure::Unavailable);
        assert_eq!(meaning(&Failure::Rejected(404)), ProfileFailure::Unavailable);
    }

    #[test]
    fn an_answer_of_any_kind_is_read() {
        let read = |text: &str| json::from_slice::<UserInfo>(text.as_bytes()).unwrap();
        let left = read(r#"{"subscribe":0,"openid":"o"}"#);
        assert!(left.remark.is_none() && left.tagid_list.is_empty());
        let full =
            read(r#"{"subscribe":1,"remark":"Anna","tagid_list":[2,"100"],"headimgurl":"https://x/0"}"#);
        assert_eq!(full.remark.as_deref(), Some("Anna"));
        assert_eq!(full.tagid_list.iter().filter_map(json::integer).collect::<Vec<_>>(), [2, 100]);
        assert_eq!(bounded(&"名".repeat(100)).len(), 255);
    }
}
