//! The status of each component, as the operations listener shows it in `/readyz`.

use std::sync::Arc;

use serde_json::{Map, json};

use super::clock_watch::{ADVICE, describe};
use super::couriers::WechatClient;
use crate::bridge::Bridge;
use crate::bridge::callbacks::CallbackStatus;
use crate::clock::Clock;
use crate::clock::calendar::rfc3339;
use crate::http::connections::Connections;
use crate::http::ops;
use crate::http::tls::Certificates;
use crate::http::url_checks::UrlChecks;
use crate::im::receive::callback_name;
use crate::im::send as im_send;
use crate::media::Media;
use crate::media::ffmpeg::WITHOUT_FFMPEG;
use crate::model::AgentEvent;
use crate::outbox::Panics;
use crate::upstream::{Degraded, InboundHealth, Refused};

/// Whether the requests of both platforms are refused.
#[derive(Debug)]
pub(super) struct Inbound {
    /// WeChat's pushes.
    pub(super) pushes: Arc<InboundHealth>,
    /// IM's callbacks.
    pub(super) callbacks: Arc<InboundHealth>,
    /// WeChat's checks of the server URL.
    pub(super) url_checks: Arc<UrlChecks>,
}

impl Inbound {
    /// Creates healthy records.
    pub(super) fn new(clock: &Clock) -> Self {
        let health = || Arc::new(InboundHealth::new(clock.clone()));
        Self { pushes: health(), callbacks: health(), url_checks: Arc::new(UrlChecks::new(clock.clone())) }
    }
}

/// All parts of `/readyz`, beside the store and the backlog.
pub(super) fn parts(
    to_im: &Arc<im_send::ImCourier>,
    client: WechatClient,
    bridge: &Bridge,
    inbound: &Inbound,
    of_machine: &Clock,
) -> ops::Parts {
    let mut parts = ops::Parts::default();
    parts.add("im", im(to_im));
    parts.add("im", callbacks(Arc::clone(&inbound.callbacks)));
    parts.add("im", seen_callbacks(bridge.clone()));
    parts.add("wechat", wechat(client, bridge.clone()));
    parts.add("wechat", pushes(Arc::clone(&inbound.pushes)));
    parts.add("wechat", url_checks(Arc::clone(&inbound.url_checks)));
    parts.add("clock", clock(of_machine.clone()));
    parts.add("media", media(bridge.media().clone()));
    parts
}

/// The status of a platform, of which these APIs do not work, the longest first.
fn of_apis(degraded: &[Degraded]) -> ops::ComponentStatus {
    let Some(first) = degraded.first() else { return ops::ComponentStatus::healthy() };
    let api = |api: &Degraded| {
        let Degraded { since, why, advice, .. } = api;
        let since = since.seconds();
        let fault = json!({"since": since, "since_utc": rfc3339(since), "why": why, "advice": advice});
        (api.api.to_owned(), fault)
    };
    let apis: Map<_, _> = degraded.iter().map(api).collect();
    let why = format!("{}: {}", first.api, first.why);
    ops::ComponentStatus::degraded(first.since, why, first.advice.clone()).with("apis", apis)
}

/// The status of a platform whose requests are refused.
fn of_refused(refused: Option<Refused>, what: &str, compare: &str) -> ops::ComponentStatus {
    let Some(Refused { since, count, reason }) = refused else { return ops::ComponentStatus::healthy() };
    let why =
        format!("{count} {what} were refused (the last: {reason}), and none was accepted for five minutes");
    ops::ComponentStatus::degraded(since, why, compare)
}

/// Whether all pushes are refused.
fn pushes(health: Arc<InboundHealth>) -> ops::StatusFn {
    const COMPARE: &str = "compare with WeChat's console: Token with wechat.token, the encryption mode with wechat.mode, \
        EncodingAESKey with wechat.encoding_aes_key, AppID with wechat.app_id; and check this machine's clock";
    Arc::new(move || of_refused(health.trouble(), "pushes", COMPARE))
}

/// The last checks of the server URL. Strangers can make some too, so that they say nothing of the part.
fn url_checks(checks: Arc<UrlChecks>) -> ops::StatusFn {
    Arc::new(move || ops::ComponentStatus::healthy().with("url_checks", checks.to_json()))
}

/// Whether all callbacks are refused.
fn callbacks(health: Arc<InboundHealth>) -> ops::StatusFn {
    const COMPARE: &str = "compare with the IM console: the callback's authentication token with im.callback_token, \
        SDKAppID with im.sdk_app_id; and check this machine's clock";
    Arc::new(move || of_refused(health.trouble(), "callbacks", COMPARE))
}

/// Whether this machine's clock is right.
fn clock(clock: Clock) -> ops::StatusFn {
    Arc::new(move || {
        let status = match clock.check() {
            Ok(()) => ops::ComponentStatus::healthy(),
            Err(wrong) => ops::ComponentStatus::degraded(wrong.since, describe(&wrong), ADVICE),
        };
        let skews = clock.skews().into_iter();
        let skews: Map<_, _> = skews.map(|(name, ms)| (name.to_owned(), (ms / 1000).into())).collect();
        status.with("ahead_of_s", skews)
    })
}

fn im(courier: &Arc<im_send::ImCourier>) -> ops::StatusFn {
    let courier = Arc::clone(courier);
    Arc::new(move || of_apis(&courier.degraded()))
}

fn wechat(client: WechatClient, bridge: Bridge) -> ops::StatusFn {
    Arc::new(move || {
        let degraded = client.as_ref().map(|client| client.degraded()).unwrap_or_default();
        of_apis(&degraded).with("reply", bridge.reply_mode().word())
    })
}

fn media(media: Media) -> ops::StatusFn {
    Arc::new(move || {
        let status = match media.files.failing() {
            None => ops::ComponentStatus::healthy(),
            Some(failing) => {
                let advice = "let this user write to media.dir, and free some disk space";
                ops::ComponentStatus::degraded(failing.since, failing.why, advice)
            }
        };
        // A machine without ffmpeg is a choice, so the part stays healthy.
        let status = status.with("ffmpeg", media.ffmpeg.is_some());
        if media.ffmpeg.is_some() { status } else { status.with("without_ffmpeg", WITHOUT_FFMPEG) }
    })
}

/// Which callbacks IM has ever made, and whether it calls back after agents' messages.
fn seen_callbacks(bridge: Bridge) -> ops::StatusFn {
    Arc::new(move || {
        let CallbackStatus { seen, missing_since } = bridge.callback_status();
        let status = match missing_since {
            None => ops::ComponentStatus::healthy(),
            Some(since) => {
                let why = "agents' messages are in IM's history, and IM made no callback for them";
                ops::ComponentStatus::degraded(since, why, switch_advice(AgentEvent::Sent))
            }
        };
        let callbacks = AgentEvent::ALL.map(|event| {
            let status = if seen.contains(&event) {
                json!({"seen": true})
            } else {
                // Recalls and edits may be rare, so that this is no fault.
                json!({"seen": false, "advice": switch_advice(event)})
            };
            (event.name().to_owned(), status)
        });
        status.with("callbacks", callbacks.into_iter().collect::<Map<_, _>>())
    })
}

fn switch_advice(event: AgentEvent) -> String {
    let name = callback_name(event);
    format!("switch on {name} in the IM console, under the callbacks, and check the callback URL there")
}

/// Logs once what does not work on this machine.
pub(super) fn log_missing_programs(media: &Media) {
    if media.ffmpeg.is_none() {
        tracing::warn!("found no ffmpeg on PATH: {WITHOUT_FFMPEG}; install ffmpeg and restart the bridge");
    }
}

/// Whether the processing of messages or media panicked lately.
pub(super) fn lanes(panics: Panics, clock: Clock) -> ops::StatusFn {
    Arc::new(move || match panics.shown(clock.now()) {
        None => ops::ComponentStatus::healthy(),
        Some(panicked) => ops::ComponentStatus::degraded(
            panicked.since,
            format!("the processing of messages panicked {} times", panicked.count),
            "report this bug with the lines of the log that say \"panicked\"; a message that panics three times is \
             ended, and `messages list` shows it",
        ),
    })
}

/// Whether the public listener has room for more connections.
pub(super) fn connections(connections: Connections) -> ops::StatusFn {
    Arc::new(move || match connections.crowded_since() {
        None => ops::ComponentStatus::healthy(),
        Some(since) => {
            let why =
                format!("{} of {} connections are open", connections.open(), connections.limits().total);
            let advice = "the log names the busiest address: block a stranger in the firewall, name a proxy of yours \
                          in server.trusted_proxies, or raise the limit of open files";
            ops::ComponentStatus::degraded(since, why, advice)
        }
    })
}

/// Whether the TLS certificate is valid for long enough.
pub(super) fn certificates(certificates: Option<Certificates>) -> ops::StatusFn {
    Arc::new(move || match certificates.as_ref().and_then(Certificates::problem) {
        None => ops::ComponentStatus::healthy(),
        Some(problem) => {
            let advice = "renew the files server.tls_cert and server.tls_key; the bridge reads them by itself when \
                          they change";
            ops::ComponentStatus::degraded(problem.since, problem.why, advice)
        }
    })
}
