//! Builds what authenticates the platforms' requests, from the configuration.

use secrecy::SecretString;

use crate::clock::Clock;
use crate::config::{Config, Secret};
use crate::im::receive::CallbackVerifier;
use crate::wechat::receive::{Verifier, VerifierSettings};

pub(super) fn secret(secret: &Secret) -> SecretString {
    SecretString::from(secret.expose().to_owned())
}

pub(super) fn verifier(config: &Config) -> Verifier {
    let wechat = &config.wechat;
    Verifier::new(VerifierSettings {
        token: secret(&wechat.token),
        previous_token: wechat.previous_token.as_ref().map(secret),
        app_id: wechat.app_id.clone(),
        account_id: wechat.account_id.clone(),
        mode: wechat.mode,
        key: wechat.encoding_aes_key.clone(),
        previous_key: wechat.previous_encoding_aes_key.clone(),
        max_skew_s: wechat.max_skew.map_or(0, |skew| skew.as_secs()),
    })
}

pub(super) fn callback_verifier(config: &Config, clock: &Clock) -> CallbackVerifier {
    CallbackVerifier::new(
        config.im.sdk_app_id.get(),
        config.im.callback_token.as_ref().map(secret),
        config.im.callback_max_skew.as_secs(),
        config.im.agents.clone(),
        clock.clone(),
    )
    .with_rest_answers(config.im.rest_answers)
}
