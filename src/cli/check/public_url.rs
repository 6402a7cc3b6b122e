//! Whether the internet reaches the bridge by `server.public_url`.
//!
//! Calls that URL as WeChat's console does. Must never show the signature of that call.

use std::error::Error as _;
use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;
use url::Host;

use super::Finding;
use crate::clock::Clock;
use crate::config::{BaseUrl, Config};
use crate::media::download::is_public;
use crate::wechat::receive::url_check_query;
use crate::wechat::send::http_client;

const KEY: &str = "server.public_url";
/// How long the name server and the bridge may take to answer: WeChat waits no longer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than the bridge answers.
const MAX_ANSWER_BYTES: usize = 1024;
/// The bridge's answer to a check with a wrong signature.
const REFUSAL: &[u8] = b"404 not found";
/// The ends of names that no name server on the internet knows.
const LOCAL_NAMES: [&str; 6] = ["localhost", "local", "internal", "lan", "home", "home.arpa"];

/// What the URL itself shows.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let Some(base) = &config.server.public_url else {
        let evidence = "is empty: agents are told that a picture or recording came, but cannot open it";
        let fix = "set the URL of server.listen as the internet reaches it";
        return vec![Finding::warn(KEY, evidence, fix)];
    };
    let url = base.url();
    let mut findings = Vec::new();
    if is_local(url.host().as_ref()) {
        let evidence = format!("{} is no host that the internet reaches", url.host_str().unwrap_or_default());
        findings.push(Finding::warn(KEY, evidence, "set the public name of this server"));
    }
    // WeChat calls only two ports (reference, "Console configuration").
    if let Some(port) = url.port() {
        let evidence = format!("names port {port}, but WeChat calls only 80 for http and 443 for https");
        findings.push(Finding::warn(KEY, evidence, "forward one of these ports, and omit the port here"));
    }
    if url.scheme() == "http" {
        let evidence = "is plain http: whoever is on the way can read and change pictures and recordings";
        let fix = "use https: a proxy such as Caddy gets a certificate by itself, or set server.tls_cert";
        findings.push(Finding::warn(KEY, evidence, fix));
    }
    findings
}

fn is_local(host: Option<&Host<&str>>) -> bool {
    match host {
        Some(Host::Ipv4(address)) => !is_public(IpAddr::V4(*address)),
        Some(Host::Ipv6(address)) => !is_public(IpAddr::V6(*address)),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            let ends_with = |end: &&str| name.strip_suffix(*end).is_some_and(|before| before.ends_with('.'));
            !name.contains('.') || LOCAL_NAMES.iter().any(ends_with)
        }
        None => false,
    }
}

/// What a call of the URL shows.
pub(super) async fn call(config: &Config, clock: &Clock) -> Vec<Finding> {
    let Some(base) = &config.server.public_url else { return Vec::new() };
    let mut findings = Vec::new();
    if let Some(Host::Domain(name)) = base.url().host() {
        match resolve(name, base).await {
            Ok(addresses) => {
                let private = addresses.into_iter().find(|address| !is_public(*address));
                findings.extend(private.filter(|_| !is_local(base.url().host().as_ref())).map(|address| {
                    let evidence = format!("{name} leads to {address}, which the internet does not reach");
                    let fix = "fine if that is so only in this network; else correct the DNS entry";
                    Finding::warn(KEY, evidence, fix)
                }));
            }
            Err(problem) => {
                let fix = "make a DNS entry for it that leads to this server, or correct the name";
                return vec![Finding::fail(KEY, format!("the name {name} leads nowhere: {problem}"), fix)];
            }
        }
    }
    findings.push(answer(config, base, clock).await);
    findings
}

async fn resolve(name: &str, base: &BaseUrl) -> Result<Vec<IpAddr>, String> {
    let port = base.url().port_or_known_default().unwrap_or_default();
    let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((name, port))).await;
    let found = found.map_err(|_| "the name server does not answer".to_owned())?;
    let addresses: Vec<IpAddr> =
        found.map_err(|error| error.to_string())?.map(|address| address.ip()).collect();
    if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses) }
}

/// Calls the URL as WeChat's console does when somebody saves it there.
async fn answer(config: &Config, base: &BaseUrl, clock: &Clock) -> Finding {
    let token = SecretString::from(config.wechat.token.expose());
    let echostr = format!("{:016x}", rand::random::<u64>());
    let nonce = rand::random::<u32>().to_string();
    let query = url_check_query(&token, clock.now().seconds(), &nonce, &echostr);
    match get(&format!("{}/?{query}", base.as_str())).await {
        Ok((200, body)) if body == echostr.as_bytes() => {
            Finding::ok(KEY, "the bridge answers there as WeChat's console expects")
        }
        Ok((200, body)) if body == REFUSAL => {
            let evidence = "a bridge answers there, but it has another wechat.token";
            Finding::fail(KEY, evidence, "restart it if the token has been changed, or correct the URL")
        }
        Ok((status @ (502..=504), _)) => {
            let evidence = format!("the proxy answers with {status}: it reaches no bridge");
            let fix = "fine while `serve` does not run; else lead the proxy to server.listen";
            Finding::warn(KEY, evidence, fix)
        }
        Ok((status, _)) => {
            let evidence = format!("something else answers there, with status {status}");
            Finding::fail(KEY, evidence, "lead this URL to server.listen, path and query unchanged")
        }
        Err(problem) if problem.contains("certificate") => {
            let fix = "WeChat and IM do not accept it either: give the proxy, or server.tls_cert, one for this host \
                       with its whole chain";
            Finding::fail(KEY, format!("the certificate there is not accepted: {problem}"), fix)
        }
        Err(problem) => {
            let fix = "fine while `serve` does not run, or if this network cannot call its own public address; else \
                       look at DNS, firewall and proxy";
            Finding::warn(KEY, format!("does not answer: {problem}"), fix)
        }
    }
}

/// The status, and the start of the body.
async fn get(url: &str) -> Result<(u16, Vec<u8>), String> {
    let http = http_client(true).map_err(describe)?;
    let mut response = http.get(url).timeout(TIMEOUT).send().await.map_err(describe)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(describe)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            break;
        }
    }
    Ok((response.status().as_u16(), body))
}

/// The error with its causes, without the URL, which has the signature.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(known) = cause {
        text = format!("{text}: {known}");
        cause = known.source();
    }
    text
}

#[cfg(test)]
mod tests;
