//! The status of each component, as the operations listener shows it in `/readyz`.

use std::sync::Arc;

use serde_json::{Map, json};

use super::WechatClient;
use crate::bridge::Bridge;
use crate::bridge::callbacks::CallbackStatus;
use crate::http::ops;
use crate::im::receive::callback_name;
use crate::im::send as im_send;
use crate::media::Media;
use crate::media::ffmpeg::WITHOUT_FFMPEG;
use crate::model::AgentEvent;
use crate::upstream::Degraded;

fn of_health(health: Result<(), Degraded>) -> ops::ComponentStatus {
    match health {
        Ok(()) => ops::ComponentStatus::healthy(),
        Err(degraded) => ops::ComponentStatus {
            ok: false,
            since: Some(degraded.since.seconds()),
            why: degraded.code.map(|code| format!("return code {code}")),
            advice: Some(degraded.advice),
            ..ops::ComponentStatus::healthy()
        },
    }
}

pub(super) fn im(courier: &Arc<im_send::ImCourier>, bridge: Bridge) -> ops::StatusFn {
    let courier = Arc::clone(courier);
    Arc::new(move || {
        let CallbackStatus { seen, missing_since } = bridge.callback_status();
        let mut part = of_health(courier.health());
        if let (true, Some(since)) = (part.ok, missing_since) {
            part.ok = false;
            part.since = Some(since.seconds());
            part.why =
                Some("agents' messages are in IM's history, and IM made no callback for them".to_owned());
            part.advice = Some(switch_advice(AgentEvent::Sent));
        }
        let callbacks = AgentEvent::ALL.map(|event| {
            let status = if seen.contains(&event) {
                json!({"seen": true})
            } else {
                // Recalls and edits may be rare, so that this is no fault.
                json!({"seen": false, "advice": switch_advice(event)})
            };
            (event.name().to_owned(), status)
        });
        part.extra.insert("callbacks".to_owned(), callbacks.into_iter().collect::<Map<_, _>>().into());
        part
    })
}

fn switch_advice(event: AgentEvent) -> String {
    let name = callback_name(event);
    format!("switch on {name} in the IM console, under the callbacks, and check the callback URL there")
}

pub(super) fn wechat(client: WechatClient, bridge: Bridge) -> ops::StatusFn {
    Arc::new(move || {
        let mut part = of_health(client.as_ref().map_or(Ok(()), |client| client.health()));
        part.extra.insert("reply".to_owned(), bridge.reply_mode().word().into());
        part
    })
}

pub(super) fn media(media: Media) -> ops::StatusFn {
    Arc::new(move || {
        let mut part = match media.files.failing() {
            None => ops::ComponentStatus::healthy(),
            Some(failing) => ops::ComponentStatus {
                ok: false,
                since: Some(failing.since.seconds()),
                why: Some(failing.why),
                advice: Some("let this user write to media.dir, and free some disk space".to_owned()),
                ..ops::ComponentStatus::healthy()
            },
        };
        // A machine without ffmpeg is a choice, so the part stays healthy.
        part.extra.insert("ffmpeg".to_owned(), media.ffmpeg.is_some().into());
        if media.ffmpeg.is_none() {
            part.extra.insert("without_ffmpeg".to_owned(), WITHOUT_FFMPEG.into());
        }
        part
    })
}

/// Logs once what does not work on this machine.
pub(super) fn log_missing_programs(media: &Media) {
    if media.ffmpeg.is_none() {
        tracing::warn!("found no ffmpeg on PATH: {WITHOUT_FFMPEG}; install ffmpeg and restart the bridge");
    }
}
