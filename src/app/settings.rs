//! The settings of the bridge and of both verifiers, from the configuration.

use std::num::NonZeroU32;

use secrecy::SecretString;

use crate::bridge::{self, Escalation, MergeRule, quota};
use crate::clock::{Clock, millis};
use crate::config::{Config, Desk, Secret};
use crate::im::receive::CallbackVerifier;
use crate::live::Live;
use crate::media::download::Rules;
use crate::model::ImUserId;
use crate::wechat::receive::{Verifier, VerifierSettings};

pub(super) fn bridge_settings(config: &Config) -> bridge::Settings {
    bridge::Settings {
        agents: config.im.agents.clone(),
        texts: config.texts.clone(),
        replies: config.replies.clone(),
        acknowledge: config.wechat.acknowledge,
        session_idle_ms: millis(config.wechat.session_idle),
        limits: quota::Limits {
            messages: config.wechat.message_quota.sends,
            message_window_ms: millis(config.wechat.message_quota.window),
            event_messages: config.wechat.event_quota.sends,
            event_window_ms: millis(config.wechat.event_quota.window),
        },
        reply: config.wechat.reply,
        on_unsubscribe: config.im.on_unsubscribe,
        may_fetch: config.wechat.app_id.is_some() && config.wechat.app_secret.is_some(),
        download_rules: media_rules(config),
        desk: bridge::DeskSettings {
            sticky_ms: config.desk.sticky.map(millis),
            presence: config.desk.presence,
            capacity: config.desk.capacity.map(NonZeroU32::get),
            groups: config.desk.groups.clone(),
            asked: asked_groups(&config.desk),
            rating: config.desk.rating,
            kf_accounts: config.desk.kf_accounts.clone(),
            signature: config.desk.signature,
            names: config.desk.names.clone(),
        },
        hours: config.desk.hours.clone(),
        after_hours: config.desk.after_hours,
        escalation: Escalation {
            after_ms: config.desk.first_answer.map(millis),
            supervisor: config.desk.supervisor.clone(),
        },
        remind_before_ms: remind_before_ms(config),
        merge: merge_rule(&config.desk),
    }
}

/// The names of the groups among which new followers choose; none: nobody is asked.
fn asked_groups(desk: &Desk) -> Vec<String> {
    if desk.ask { desk.groups.iter().map(|group| group.name.clone()).collect() } else { Vec::new() }
}

/// `None`: nobody is reminded. In a window that is shorter everybody would be reminded at once.
fn remind_before_ms(config: &Config) -> Option<i64> {
    let window = config.wechat.message_quota.window;
    config.desk.remind_before.filter(|before| *before < window).map(millis)
}

/// `None`: lines are never merged.
fn merge_rule(desk: &Desk) -> Option<MergeRule> {
    let rule = MergeRule { below: desk.merge_below, wait_ms: millis(desk.merge_wait) };
    (rule.below > 0 && rule.wait_ms > 0).then_some(rule)
}

pub(super) fn media_rules(config: &Config) -> Rules {
    Rules {
        allow_hosts: config.media.allow_hosts.clone(),
        allow_http: config.media.allow_http,
        allow_private: config.media.allow_private,
    }
}

pub(super) fn secret(secret: &Secret) -> SecretString {
    SecretString::from(secret.expose().to_owned())
}

pub(super) fn verifier(config: &Config, reserved_senders: Live<Vec<String>>) -> Verifier {
    let wechat = &config.wechat;
    Verifier::new(VerifierSettings {
        token: secret(&wechat.token),
        previous_token: wechat.previous_token.as_ref().map(secret),
        app_id: wechat.app_id.clone(),
        account_id: wechat.account_id.clone(),
        mode: wechat.mode,
        key: wechat.encoding_aes_key.clone(),
        previous_key: wechat.previous_encoding_aes_key.clone(),
        reserved_senders,
        max_skew_s: wechat.max_skew.map_or(0, |skew| skew.as_secs()),
    })
}

/// The accounts of IM that act for us, as whom no customer may write.
pub(super) fn reserved_senders(config: &Config) -> Vec<String> {
    let own = std::iter::once(&config.im.admin).chain(&config.im.agents).chain(&config.desk.supervisor);
    own.map(ToString::to_string).collect()
}

/// The accounts whose messages go to customers.
pub(super) fn callback_senders(config: &Config) -> Vec<ImUserId> {
    // The bridge knows which customers the supervisor may answer.
    config.im.agents.iter().chain(&config.desk.supervisor).cloned().collect()
}

pub(super) fn callback_verifier(
    config: &Config,
    senders: Live<Vec<ImUserId>>,
    clock: &Clock,
) -> CallbackVerifier {
    CallbackVerifier::new(
        config.im.sdk_app_id.get(),
        config.im.callback_token.as_ref().map(secret),
        config.im.callback_max_skew.as_secs(),
        senders,
        clock.clone(),
    )
    .with_rest_answers(config.im.rest_answers)
    .also_accepting(config.im.previous_callback_token.as_ref().map(secret))
}
