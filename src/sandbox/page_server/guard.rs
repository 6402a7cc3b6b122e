//! Serves only the page itself and clients at a terminal.
//!
//! Another site in the same browser must neither read nor act here. It could try in two ways. It
//! could let a name of its own resolve to this address (refused: the host must be an IP address or
//! `localhost`). And it could send requests from its own pages (refused: their origin differs, and
//! a request that changes something must be JSON, which needs a CORS preflight).

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// The page may load and call only its own server, and no other page may embed it.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The headers of every answer.
const RESPONSE_HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Refuses requests from other sites, and adds the headers to every answer.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refusal_reason(request.method(), request.headers()) {
        Some(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in RESPONSE_HEADERS {
        // A handler may have set a stricter policy.
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The reason to refuse a request, or `None`.
fn refusal_reason(method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap_or("\0"));
        // A header that occurs twice is ambiguous.
        if values.next().is_some() { Some("\0") } else { value }
    };
    let host = text(header::HOST).unwrap_or_default();
    if !is_ip_or_localhost(host) {
        return Some("the host must be an IP address or localhost\n");
    }
    if text(header::ORIGIN).is_some_and(|origin| origin.strip_prefix("http://") != Some(host)) {
        return Some("the origin is another site\n");
    }
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let is_json = content_type.split(';').next().is_some_and(|kind| kind.trim() == "application/json");
    if *method != Method::GET && *method != Method::HEAD && !is_json {
        return Some("the content type must be application/json\n");
    }
    None
}

/// Whether a `Host` header is an IP address or `localhost`: any other name could be made to resolve
/// to this address.
fn is_ip_or_localhost(host: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name == "localhost" || matches!(name.parse(), Ok(IpAddr::V4(_))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(method: &Method, pairs: &[(HeaderName, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        refusal_reason(method, &headers).is_some()
    }

    #[test]
    fn only_addresses_are_hosts() {
        for host in
            ["127.0.0.1:8080", "localhost:1", "localhost", "[::1]:80", "[::1]", "10.0.0.7:1", "127.0.0.1"]
        {
            assert!(is_ip_or_localhost(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:80",
            "localhost.evil.example:80",
            "::1",
            "127.0.0.1:x",
            "[x]:1",
        ] {
            assert!(!is_ip_or_localhost(host), "{host}");
        }
    }

    #[test]
    fn other_sites_and_html_forms_are_refused() {
        use header::{CONTENT_TYPE, HOST, ORIGIN};
        let (host, json) = ((HOST, "127.0.0.1:80"), (CONTENT_TYPE, "application/json; charset=utf-8"));
        let own = (ORIGIN, "http://127.0.0.1:80");
        assert!(!is_refused(&Method::GET, std::slice::from_ref(&host)));
        assert!(!is_refused(&Method::POST, &[host.clone(), json.clone()]));
        assert!(!is_refused(&Method::POST, &[host.clone(), json.clone(), own.clone()]));
        assert!(is_refused(&Method::GET, &[]));
        for origin in ["http://evil.example", "null", "https://127.0.0.1:80", "http://127.0.0.1:81", ""] {
            assert!(is_refused(&Method::POST, &[host.clone(), json.clone(), (ORIGIN, origin)]), "{origin}");
            assert!(is_refused(&Method::GET, &[host.clone(), (ORIGIN, origin)]), "{origin}");
        }
        assert!(is_refused(&Method::POST, &[host.clone(), json.clone(), own.clone(), own.clone()]));
        assert!(is_refused(&Method::POST, &[host.clone(), own.clone()]));
        assert!(is_refused(&Method::POST, &[host, (CONTENT_TYPE, "text/plain")]));
    }
}
