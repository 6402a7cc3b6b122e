//! The APIs over HTTP. Every answer has status 200, and errors are in the body. Scripted faults are
//! applied here.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header, request};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::sandbox::fault;
use crate::sandbox::serve::SimulatedResponse;

use super::ledger::{Refusal, push_bounded};
use super::media::{Media, check_upload, media_part};
use super::wire::{self, Direction, WireEvent, masked_body, masked_query};
use super::{Platform, codes, control};

/// The longest body that is read, in bytes. The largest valid upload has 10 MB; the limit is higher
/// so that a larger one gets the platform's own error code.
const BODY_LIMIT: usize = 24 * 1024 * 1024;
const JSON: &str = "application/json; encoding=utf-8";

/// The router of the platform's APIs and of the control routes.
pub(super) fn router(platform: Arc<Platform>) -> Router {
    control::routes().fallback(serve).with_state(platform)
}

/// One API call with its body.
struct Call {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    content_type: String,
    body: Bytes,
}

impl Call {
    fn new(parts: &request::Parts, body: Bytes) -> Self {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: url::form_urlencoded::parse(query).into_owned().collect(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body,
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn expect(&self, method: &Method) -> Result<(), i64> {
        match (self.method == *method, method == Method::GET) {
            (true, _) => Ok(()),
            (false, true) => Err(codes::REQUIRE_GET),
            (false, false) => Err(codes::REQUIRE_POST),
        }
    }
}

/// The result of an API call.
enum Payload {
    Json(Value),
    File(Arc<Media>, String),
}

async fn serve(State(platform): State<Arc<Platform>>, request: Request) -> Response {
    let (at, started) = (platform.clock.now(), Instant::now());
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return SimulatedResponse::new(StatusCode::PAYLOAD_TOO_LARGE, "text/html", "<html>413</html>")
            .response;
    };
    let call = Call::new(&parts, body);
    let refuse = |code| render(platform.to_payload(&call, Err(code)), JSON);
    let work = async {
        // The error of a download has a text content type, as is frequent on the real platform.
        let json = if call.path.ends_with("/media/get") { "text/plain" } else { JSON };
        let result = platform.dispatch(&call);
        render(platform.to_payload(&call, result), json)
    };
    let answer = fault::apply(platform.faults.take(&call.path, &call.body), refuse, work).await;
    platform.publish(|| WireEvent {
        at,
        began: started,
        took: started.elapsed(),
        direction: Direction::Api,
        method: call.method.to_string(),
        path: call.path.clone(),
        query: masked_query(call.query.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        status: answer.status(),
        request: masked_body(&call.body),
        response: masked_body(&answer.body),
        encrypted_request: None,
        encrypted_response: None,
        request_headers: wire::headers(&parts.headers),
        response_headers: wire::headers(answer.response.headers()),
        error: answer.status().is_none().then(|| "the connection was cut".to_owned()),
        openid: serde_json::from_slice::<Recipient>(&call.body).ok().map(|body| body.touser),
        msg_id: None,
        instance: parts.extensions.get().copied(),
    });
    answer.response
}

impl Platform {
    fn dispatch(&self, call: &Call) -> Result<Payload, i64> {
        match call.path.as_str() {
            "/cgi-bin/stable_token" => self.stable_token(call),
            "/cgi-bin/token" => self.plain_token(call),
            "/cgi-bin/message/custom/send" => {
                self.check_token(call, &Method::POST)?;
                self.custom_send(&call.body).map(|()| ok())
            }
            "/cgi-bin/message/custom/typing" => {
                self.check_token(call, &Method::POST)?;
                self.typing(&call.body).map(|()| ok())
            }
            "/cgi-bin/media/upload" => self.upload(call),
            "/cgi-bin/media/get" => self.download(call),
            "/cgi-bin/user/info" => {
                self.check_token(call, &Method::GET)?;
                self.user_info(call.parameter("openid")).map(Payload::Json)
            }
            "/cgi-bin/tags/get" => {
                self.check_token(call, &Method::GET)?;
                self.tag_list().map(Payload::Json)
            }
            "/cgi-bin/getcallbackip" => {
                self.check_token(call, &Method::GET)?;
                Ok(Payload::Json(json!({"ip_list": ["127.0.0.1"]})))
            }
            path => self.public_file(path).ok_or(codes::PATH),
        }
    }

    /// Records a refusal in the ledger and turns it into the platform's error body.
    fn to_payload(&self, call: &Call, result: Result<Payload, i64>) -> Payload {
        let code = match result {
            Ok(payload) => return payload,
            Err(code) => code,
        };
        let at = self.clock.now();
        let openid = serde_json::from_slice::<Recipient>(&call.body).ok().map(|body| body.touser);
        let refusal = Refusal { at, path: call.path.clone(), openid, code };
        self.record(|ledger, limit| push_bounded(&mut ledger.refusals, Arc::new(refusal), limit));
        let (seconds, a, b) = (at.seconds(), rand::random::<u32>(), rand::random::<u32>());
        let message = format!("{} rid: {seconds:08x}-{a:08x}-{b:08x}", codes::message(code));
        Payload::Json(json!({"errcode": code, "errmsg": message}))
    }

    fn check_token(&self, call: &Call, method: &Method) -> Result<(), i64> {
        call.expect(method)?;
        self.tokens.lock().check(self.clock.now(), call.parameter("access_token"))
    }

    fn stable_token(&self, call: &Call) -> Result<Payload, i64> {
        call.expect(&Method::POST)?;
        let token_request: StableToken =
            serde_json::from_slice(&call.body).map_err(|_| codes::DATA_FORMAT)?;
        self.check_account(
            Some(&token_request.grant_type),
            Some(&token_request.appid),
            Some(&token_request.secret),
        )?;
        let lifetime_s = self.settings().token_lifetime_s;
        let ((token, expires_in), is_new) =
            self.tokens.lock().stable(self.clock.now(), lifetime_s, token_request.force_refresh)?;
        self.record(|ledger, _| {
            ledger.tokens.stable += 1;
            ledger.tokens.forced += u64::from(token_request.force_refresh);
            ledger.tokens.fresh += u64::from(is_new);
        });
        Ok(Payload::Json(json!({"access_token": token, "expires_in": expires_in})))
    }

    fn plain_token(&self, call: &Call) -> Result<Payload, i64> {
        call.expect(&Method::GET)?;
        self.check_account(call.parameter("grant_type"), call.parameter("appid"), call.parameter("secret"))?;
        let lifetime_s = self.settings().token_lifetime_s;
        let (token, expires_in) = self.tokens.lock().plain(self.clock.now(), lifetime_s);
        self.record(|ledger, _| ledger.tokens.plain += 1);
        Ok(Payload::Json(json!({"access_token": token, "expires_in": expires_in})))
    }

    fn check_account(
        &self,
        grant_type: Option<&str>,
        app_id: Option<&str>,
        secret: Option<&str>,
    ) -> Result<(), i64> {
        let settings = self.settings();
        if grant_type != Some("client_credential") {
            return Err(codes::GRANT_TYPE);
        }
        match app_id {
            None | Some("") => return Err(codes::APP_ID_MISSING),
            Some(app_id) if app_id != settings.app_id => return Err(codes::APP_ID),
            Some(_) => {}
        }
        match secret {
            None | Some("") => Err(codes::APP_SECRET_MISSING),
            Some(secret) if secret != settings.app_secret => Err(codes::APP_SECRET),
            Some(_) => Ok(()),
        }
    }

    fn upload(&self, call: &Call) -> Result<Payload, i64> {
        self.check_token(call, &Method::POST)?;
        let file = media_part(&call.content_type, &call.body).ok_or(codes::MEDIA_MISSING)?;
        let kind = check_upload(call.parameter("type").unwrap_or_default(), &file)?;
        let now = self.clock.now();
        let id = self.media.lock().put(kind, file.bytes, now);
        self.record(|ledger, _| ledger.uploads += 1);
        Ok(Payload::Json(json!({"type": kind, "media_id": id, "created_at": now.seconds()})))
    }

    fn download(&self, call: &Call) -> Result<Payload, i64> {
        self.check_token(call, &Method::GET)?;
        let id = call.parameter("media_id").filter(|id| !id.is_empty()).ok_or(codes::MEDIA_ID_MISSING)?;
        let media = self.media.lock().get(id, self.clock.now()).ok_or(codes::MEDIA_ID)?;
        self.record(|ledger, _| ledger.downloads += 1);
        if media.kind == "video" && self.settings().video_as_url {
            return Ok(Payload::Json(json!({"video_url": format!("{}/mmbiz_video/{id}/0", self.base_url)})));
        }
        Ok(Payload::File(media, id.to_owned()))
    }

    /// The file behind a `PicUrl` or a `video_url`. These URLs need no authentication.
    fn public_file(&self, path: &str) -> Option<Payload> {
        let rest = path.strip_prefix("/mmbiz_jpg/").or_else(|| path.strip_prefix("/mmbiz_video/"))?;
        let id = rest.strip_suffix("/0")?;
        self.media.lock().get(id, self.clock.now()).map(|media| Payload::File(media, id.to_owned()))
    }
}

/// The body of `stable_token`. A missing member counts as empty.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StableToken {
    grant_type: String,
    appid: String,
    secret: String,
    force_refresh: bool,
}

#[derive(Deserialize)]
struct Recipient {
    touser: String,
}

fn ok() -> Payload {
    Payload::Json(json!({"errcode": 0, "errmsg": "ok"}))
}

fn render(payload: Payload, json: &'static str) -> SimulatedResponse {
    match payload {
        Payload::Json(value) => SimulatedResponse::new(StatusCode::OK, json, value.to_string()),
        Payload::File(media, id) => {
            let mut answer = SimulatedResponse::new(StatusCode::OK, media.content_type, media.bytes.clone());
            let disposition = format!("attachment; filename=\"{id}.{}\"", media.extension);
            if let Ok(disposition) = HeaderValue::from_str(&disposition) {
                answer.response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
            }
            answer
        }
    }
}
