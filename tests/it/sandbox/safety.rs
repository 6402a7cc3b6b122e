//! The sandbox accepts requests from its own page and from a terminal, but not from other websites in the
//! browser.

use serde_json::json;

use super::{FIRST, Lab};

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_can_neither_read_nor_act() {
    let lab = Lab::start().await;
    let address = lab.sandbox.address().to_string();
    let act = lab.url(&format!("/api/customers/{FIRST}"));
    let follow = json!({"do": "follow"}).to_string();
    for (name, value) in [
        ("host", "evil.example"),
        ("host", "evil.example:80"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost"),
    ] {
        for path in ["/", "/api/state", "/api/events", "/page/main.js", "/nothing"] {
            let response = lab.http.get(lab.url(path)).header(name, value).send().await.unwrap();
            assert_eq!(response.status(), 403, "GET {path} {name}: {value}");
        }
        let json = lab.http.post(&act).header("content-type", "application/json").body(follow.clone());
        assert_eq!(json.header(name, value).send().await.unwrap().status(), 403, "{name}: {value}");
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let form = lab.http.post(&act).header("content-type", content_type).body(follow.clone());
        assert_eq!(form.send().await.unwrap().status(), 403, "{content_type}");
    }
    assert_eq!(lab.state().await["customers"][0]["following"], false, "no forged request had an effect");

    let own = lab.http.post(&act).header("content-type", "application/json; charset=utf-8");
    let own = own.header("origin", format!("http://{address}")).body(follow);
    assert_eq!(own.send().await.unwrap().status(), 202);
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_may_load_only_its_own_files_and_they_exist() {
    let lab = Lab::start().await;
    let page = lab.http.get(lab.url("/")).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.split("; ").all(|rule| rule.ends_with("'self'") || rule.ends_with("'none'")), "{policy}");
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let html = page.text().await.unwrap();
    let mut files = 0;
    for (at, _) in html.match_indices("/page/") {
        let path = html[at..].split(['"', '\'']).next().unwrap();
        let file = lab.http.get(lab.url(path)).send().await.unwrap();
        assert_eq!(file.status(), 200, "{path}");
        assert_eq!(file.headers()["x-content-type-options"], "nosniff");
        assert_eq!(file.headers()["cache-control"], "no-cache");
        files += 1;
    }
    assert!(files > 1, "{html}");
    for path in
        ["/page/none.js", "/page/..%2fpage_server.rs", "/api/none", "/api/media/none", "/api/media/link-AAAA"]
    {
        assert_eq!(lab.http.get(lab.url(path)).send().await.unwrap().status(), 404, "{path}");
    }
    // The sandbox does not fetch "http://127.0.0.1:9/x", which is neither a platform's URL nor the bridge's.
    let foreign = lab.url("/api/media/link-aHR0cDovLzEyNy4wLjAuMTo5L3g");
    assert_eq!(lab.http.get(foreign).send().await.unwrap().status(), 404);
    let wrong = lab.http.put(lab.url("/api/state")).json(&json!({})).send().await.unwrap();
    assert_eq!(wrong.status(), 405);
    lab.stop().await;
}
