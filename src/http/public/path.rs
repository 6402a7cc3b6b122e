//! The path of a request as consoles and proxies write it: with a trailing or doubled slash, or behind the path of
//! `server.public_url`. It is made plain before the routes see it. A platform that calls an unknown path is reported.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use url::form_urlencoded;

use super::PublicState;

/// The longest path in a log line, in characters.
const MAX_LOGGED_CHARS: usize = 100;

/// Rewrites the request's path to the one that the routes know. `base` is the path of `server.public_url` without a
/// trailing slash; empty if it has none.
pub(super) fn rewrite(mut request: Request, base: &str) -> Request {
    let uri = request.uri();
    if let Cow::Owned(path) = plain(uri.path(), base) {
        let path_and_query = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let mut parts = uri.clone().into_parts();
        // Parts of a valid URI stay valid. If they did not, the request would get 404 as it is.
        parts.path_and_query = PathAndQuery::try_from(path_and_query).ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// The path without doubled and trailing slashes, and without `base` before it.
fn plain<'p>(path: &'p str, base: &str) -> Cow<'p, str> {
    let is_below = |path: &str| {
        !base.is_empty()
            && path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_plain = !path.contains("//") && (path == "/" || !path.ends_with('/'));
    if is_plain && !is_below(path) {
        return Cow::Borrowed(path);
    }
    let mut segments = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .fold(String::with_capacity(path.len()), |joined, segment| joined + "/" + segment);
    if is_below(&segments) {
        segments.drain(..base.len());
    }
    Cow::Owned(if segments.is_empty() { "/".to_owned() } else { segments })
}

/// Answers a request for a path that does not exist. Logs one that looks like a platform's, because its messages are
/// lost until the address in that platform's console is corrected.
pub(super) async fn unknown(State(state): State<Arc<PublicState>>, method: Method, uri: Uri) -> Response {
    if let (true, Some(source)) = (method == Method::POST, platform_request(uri.query().unwrap_or_default()))
    {
        state.public.metrics.record_refused_request(source, "unknown_path");
        if state.path_log_limiter.allow() {
            let path: String = uri.path().chars().take(MAX_LOGGED_CHARS).collect();
            let (console, right) = match source {
                "push" => ("WeChat's console (URL of the server configuration)", "/"),
                _ => ("the IM console (callback URL)", "/imcallback"),
            };
            tracing::warn!(
                source,
                path = ?path,
                "a {source} came to an unknown path and got 404; set server.public_url followed by {right} in {console}"
            );
        }
    }
    StatusCode::NOT_FOUND.into_response()
}

/// The kind of request that the parameters of a query show: a push or a callback.
fn platform_request(query: &str) -> Option<&'static str> {
    let has = |wanted: &str| form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == wanted);
    if has("SdkAppid") || has("CallbackCommand") {
        return Some("callback");
    }
    let is_push = (has("signature") || has("msg_signature")) && has("timestamp") && has("nonce");
    is_push.then_some("push")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_the_public_path_make_no_difference() {
        for (path, base, expected) in [
            ("/", "", "/"),
            ("//", "", "/"),
            ("/imcallback", "", "/imcallback"),
            ("/imcallback/", "", "/imcallback"),
            ("//imcallback", "", "/imcallback"),
            ("/media//a.jpg", "", "/media/a.jpg"),
            ("/shop", "/shop", "/"),
            ("/shop/", "/shop", "/"),
            ("/shop//imcallback/", "/shop", "/imcallback"),
            ("//shop/imcallback", "/shop", "/imcallback"),
            ("/a/b/media/x.jpg", "/a/b", "/media/x.jpg"),
            ("/imcallback", "/shop", "/imcallback"),
            ("/shopping", "/shop", "/shopping"),
            ("/shop/shop/", "/shop", "/shop"),
            ("/other/imcallback", "", "/other/imcallback"),
        ] {
            assert_eq!(plain(path, base), expected, "{path} below {base:?}");
        }
    }

    #[test]
    fn the_query_stays_and_a_plain_path_is_not_copied() {
        let request =
            Request::builder().uri("//imcallback/?a=//&b=%2F").body(axum::body::Body::empty()).unwrap();
        assert_eq!(rewrite(request, "").uri(), "/imcallback?a=//&b=%2F");
        assert!(matches!(plain("/imcallback", "/shop"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_platform_is_known_by_its_parameters() {
        for (query, source) in [
            ("signature=a&timestamp=1&nonce=2", Some("push")),
            ("msg_signature=a&timestamp=1&nonce=2&encrypt_type=aes", Some("push")),
            ("SdkAppid=1&CallbackCommand=x", Some("callback")),
            ("CallbackCommand=x", Some("callback")),
            ("timestamp=1&nonce=2", None),
            ("", None),
        ] {
            assert_eq!(platform_request(query), source, "{query}");
        }
    }
}
