//! The checks that need the platforms: credentials and permissions.
//!
//! Requests the same access token as a running bridge (which invalidates no other token), sends one
//! message to an openid that does not exist, and asks IM which accounts exist.

use std::sync::Arc;

use super::Finding;
use crate::clock::{Clock, MAX_SKEW_MS};
use crate::config::{BaseUrl, Config, Im, ReplyMode};
use crate::im::send as im_send;
use crate::im::send::usersig::Signer;
use crate::model::{ImUserId, OpenId};
use crate::wechat::send as wechat_send;
use crate::wechat::send::code::{self, Class};
use crate::wechat::send::token::Settings;
use crate::wechat::send::{Credentials, Failure, NoTokenStore, TokenError, TokenHolder};

/// An openid that cannot exist, because real ones have 28 characters.
const UNKNOWN_OPENID: &str = "wechat-im-bridge-check";
/// The codes that a permitted call gets for [`UNKNOWN_OPENID`]: unknown openid, not a follower, not a
/// customer.
const NO_SUCH_CUSTOMER: [i64; 4] = [40003, 43004, 46004, 50005];
/// The maximum number of accounts in one `account_check` call.
const MAX_ACCOUNTS_PER_CALL: usize = 100;

const TRY_LATER: &str = "try again in a minute";

fn host(base: &BaseUrl) -> &str {
    base.url().host_str().unwrap_or_default()
}

fn network_finding(key: &str, base: &BaseUrl, error: &str) -> Finding {
    let fix = format!("check the network, DNS, the proxy settings and {key}");
    Finding::fail(key, format!("{}: {error}", host(base)), fix)
}

/// Checks the access token, and whether the account may push.
pub(super) async fn wechat(config: &Config, clock: &Clock) -> Vec<Finding> {
    const BASE: &str = "wechat.api_base";
    let wechat = &config.wechat;
    let (Some(app_id), Some(secret)) = (&wechat.app_id, &wechat.app_secret) else {
        // The configuration's own warnings say what this means for replies.
        return vec![Finding::ok("wechat.app_secret", "is not set: WeChat's API is not called")];
    };
    if wechat.reply == ReplyMode::Passive {
        return vec![Finding::ok("wechat.reply", "passive: WeChat's API is not called")];
    }
    let http = match wechat_send::http_client(true) {
        Ok(http) => http,
        Err(error) => return vec![network_finding(BASE, &wechat.api_base, &error.to_string())],
    };
    let credentials = Credentials { app_id: app_id.clone(), secret: secret.expose().into() };
    let base = wechat.api_base.url().clone();
    let (store, settings) = (Arc::new(NoTokenStore), Settings::default());
    let tokens =
        Arc::new(TokenHolder::new(http.clone(), base.clone(), credentials, store, clock.clone(), settings));
    if let Err(error) = tokens.current().await {
        return vec![token_error_finding(&wechat.api_base, &error)];
    }
    let mut findings = vec![Finding::ok("wechat.app_secret", "WeChat gave an access token")];
    let Ok(unknown_openid) = OpenId::new(UNKNOWN_OPENID) else { return findings };
    let client = wechat_send::Client::new(http, base, tokens, clock.clone());
    let outcome = client.send_text(&unknown_openid, "check").await;
    findings.push(push_permission_finding(&wechat.api_base, wechat.reply, outcome));
    findings
}

fn token_error_finding(base: &BaseUrl, error: &TokenError) -> Finding {
    match error {
        TokenError::Unreachable(_) | TokenError::NoAnswer(_) | TokenError::Claimed => {
            network_finding("wechat.api_base", base, &error.to_string())
        }
        TokenError::Code { code: number, msg } => {
            let advice = code::with_address(code::token_advice(*number), *number, msg);
            let key = match number {
                40013 | 41002 => "wechat.app_id",
                40164 => "IP whitelist",
                _ => "wechat.app_secret",
            };
            if matches!(code::token_class(*number), Class::Busy | Class::Quota) {
                return Finding::warn(key, error.to_string(), advice);
            }
            Finding::fail(key, error.to_string(), advice)
        }
        TokenError::Budget { .. } | TokenError::Stale => {
            Finding::fail("wechat.app_secret", error.to_string(), code::advice(40001).unwrap_or_default())
        }
    }
}

/// Derives the account's permission from the response to a message for [`UNKNOWN_OPENID`].
fn push_permission_finding(base: &BaseUrl, reply: ReplyMode, outcome: Result<(), Failure>) -> Finding {
    const WHAT: &str = "custom/send";
    let failure = match outcome {
        Ok(()) => return Finding::ok(WHAT, "WeChat accepts messages to customers"),
        Err(failure) => failure,
    };
    let (number, msg) = match &failure {
        Failure::NotSent(_) | Failure::LeaseOver(_) | Failure::NoAnswer(..) | Failure::Rejected(_) => {
            return network_finding("wechat.api_base", base, &failure.to_string());
        }
        Failure::Token(error) => return token_error_finding(base, error),
        Failure::Code { code, msg } => (*code, msg),
    };
    let advice = || code::with_address(code::advice(number).unwrap_or_default(), number, msg);
    match (code::class(number), reply) {
        (Class::NotAllowed, ReplyMode::Push) | (Class::Token | Class::Configuration, _) => {
            Finding::fail(WHAT, failure.to_string(), advice())
        }
        (Class::NotAllowed, _) => {
            let evidence = format!("{failure}: answers will be passive, with the customer's next message");
            Finding::warn(WHAT, evidence, "have the account verified if answers should be pushed at once")
        }
        (Class::Busy | Class::Quota, _) => {
            let advice = code::advice(number).unwrap_or(TRY_LATER);
            Finding::warn(WHAT, failure.to_string(), advice)
        }
        // A code with advice is a ban. The others mean that a customer cannot be reached.
        (Class::Hold, _) if code::advice(number).is_some() => {
            Finding::fail(WHAT, failure.to_string(), advice())
        }
        (Class::Hold, _) => Finding::ok(WHAT, "the account may push answers"),
        _ if NO_SUCH_CUSTOMER.contains(&number) => Finding::ok(WHAT, "the account may push answers"),
        _ => {
            let fix = "look up the code in WeChat's documentation of custom/send";
            Finding::warn(WHAT, format!("unexpected reply to a message to an unknown user: {failure}"), fix)
        }
    }
}

/// Checks the credential, and whether the admin and the agents exist.
pub(super) async fn im(config: &Config, clock: &Clock) -> Vec<Finding> {
    const BASE: &str = "im.api_base";
    let im = &config.im;
    let client = match client(im, clock) {
        Ok(client) => client,
        Err(error) => return vec![network_finding(BASE, &im.api_base, &error)],
    };
    let mut users = vec![im.admin.clone()];
    users.extend(im.agents.iter().filter(|agent| **agent != im.admin).cloned());
    let mut imported = Vec::new();
    for some in users.chunks(MAX_ACCOUNTS_PER_CALL) {
        match client.account_check(some).await {
            Ok(found) => imported.extend(found),
            Err(failure) => return vec![im_failure_finding(&im.api_base, &failure)],
        }
    }
    let mut findings = vec![Finding::ok("im.secret_key", format!("IM accepts our UserSig for {}", im.admin))];
    findings.push(if imported.contains(&im.admin) {
        Finding::ok("im.admin", format!("{} exists", im.admin))
    } else {
        let fix = "make it an administrator under Account management in the IM console";
        Finding::warn("im.admin", format!("IM has no account {}", im.admin), fix)
    });
    findings.extend(im.agents.iter().map(|agent| agent_finding(agent, imported.contains(agent))));
    findings
}

fn client(im: &Im, clock: &Clock) -> Result<im_send::Client, String> {
    let http = im_send::http_client(true).map_err(|error| error.to_string())?;
    let key = im.secret_key.expose().into();
    let expire_s = im.usersig_expire.as_secs();
    let signer = Signer::new(im.sdk_app_id.get(), key, im.admin.clone(), expire_s, clock.clone());
    im_send::Client::new(http, im.api_base.url().clone(), signer, im_send::CALL_TIMEOUT)
        .map_err(|error| error.to_string())
}

fn agent_finding(agent: &ImUserId, imported: bool) -> Finding {
    if imported {
        return Finding::ok("im.agents", format!("{agent} exists"));
    }
    let evidence = format!("IM has no account {agent}: the messages of its customers wait until it has one");
    let fix =
        "compare it with the UserID with which the agent signs in, or create the account in the IM console";
    Finding::fail("im.agents", evidence, fix)
}

fn im_failure_finding(base: &BaseUrl, failure: &im_send::Failure) -> Finding {
    use im_send::code::{Class, advice, class};
    let im_send::Failure::Code { code, .. } = failure else {
        return network_finding("im.api_base", base, &failure.to_string());
    };
    let key = match *code {
        60006 | 60012 | 70014 | 70016 | 70020 => "im.sdk_app_id",
        60009 | 60026 => "im.api_base",
        60010 | 70013 | 70403 | 40004 | 90009 => "im.admin",
        _ if matches!(class(*code), Class::RefreshSig | Class::LockedOut) || *code == 70009 => {
            "im.secret_key"
        }
        _ => "account_check",
    };
    let evidence = failure.to_string();
    match class(*code) {
        Class::Backoff | Class::Quota => Finding::warn(key, evidence, advice(*code).unwrap_or(TRY_LATER)),
        _ => {
            let advice = advice(*code).unwrap_or("look up the code in Tencent IM's documentation");
            Finding::fail(key, evidence, advice)
        }
    }
}

/// Compares this machine's clock with the platforms', as their answers to the other checks showed
/// them.
pub(super) fn clock(clock: &Clock) -> Vec<Finding> {
    let compared = clock.skews().into_iter().map(|(platform, ahead_ms)| {
        let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
        let evidence = format!("this machine's is {} s {side} {platform}'s", ahead_ms.abs() / 1000);
        if ahead_ms.abs() < MAX_SKEW_MS {
            return Finding::ok("clock", evidence);
        }
        Finding::warn("clock", evidence, "set it, and keep it right with NTP (`timedatectl set-ntp true`)")
    });
    compared.collect()
}

#[cfg(test)]
mod tests;
