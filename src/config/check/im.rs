//! Checks `[im]`.

use std::num::NonZeroU32;

use super::{WECHAT_HOSTS, api_base};
use crate::config::Im;
use crate::config::secret::Secret;
use crate::config::settings::Settings;
use crate::model::ImUserId;

/// In a UserID these are left over from a list in another notation.
const QUOTES_AND_BRACKETS: [char; 7] = ['"', '\'', '`', '[', ']', '{', '}'];

pub(super) fn im(settings: &mut Settings) -> Option<Im> {
    let sdk_app_id = NonZeroU32::new(settings.number_u32("im.sdk_app_id"));
    if sdk_app_id.is_none() {
        settings.add_value_fault("im.sdk_app_id", "is missing", "set the SDKAppID that the IM console shows");
    }
    let secret_key = secret_key(settings);
    let admin = own_user(settings, "im.admin", &settings.text("im.admin"), "");
    let agents = agents(settings);
    if let Some(admin) = &admin
        && agents.contains(admin)
    {
        settings.warn(
            "im.agents",
            "contains im.admin: an agent who signs in as the admin can act for every customer",
        );
    }
    let callback_token = settings.secret("im.callback_token");
    let previous_callback_token = settings.secret("im.previous_callback_token");
    if previous_callback_token.is_some()
        && callback_token.is_none()
        && !settings.is_faulty("im.callback_token")
    {
        let problem = "is missing, though im.previous_callback_token is set";
        let fix = "set the current token, or remove the previous one";
        settings.add_value_fault("im.callback_token", problem, fix);
    }
    let previous_secret_key = settings.secret("im.previous_secret_key");
    let message_lifetime = settings.seconds("im.message_lifetime_s");
    if message_lifetime.is_zero() {
        settings.warn("im.message_lifetime_s", "is 0: an agent who is not online never sees a message");
    }
    let api_base = api_base(settings, "im.api_base", "https://console.tim.qq.com", "/v4", WECHAT_HOSTS);
    Some(Im {
        sdk_app_id: sdk_app_id?,
        secret_key: secret_key?,
        admin: admin?,
        agents,
        callback_token,
        rest_answers: settings.flag("im.rest_answers"),
        previous_callback_token,
        previous_secret_key,
        callback_max_skew: settings.seconds("im.callback_max_skew_s"),
        api_base: api_base?,
        on_unsubscribe: settings.choice("im.on_unsubscribe")?,
        message_lifetime,
        rate_per_second: NonZeroU32::new(settings.number_u32("im.rate_per_second"))?,
        usersig_expire: settings.seconds("im.usersig_expire_s"),
    })
}

fn secret_key(settings: &mut Settings) -> Option<Secret> {
    let Some(key) = settings.secret("im.secret_key") else {
        let fix = "set the secret key that the IM console shows; without it no call can be signed";
        settings.add_value_fault("im.secret_key", "is missing", fix);
        return None;
    };
    let text = key.expose();
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        settings.warn("im.secret_key", "is not 64 hexadecimal digits, as the IM console's keys are");
    } else if text.bytes().all(|byte| byte == b'0') {
        settings.warn("im.secret_key", "is still the example's; set the key that the IM console shows");
    }
    Some(key)
}

fn agents(settings: &mut Settings) -> Vec<ImUserId> {
    let mut agents = Vec::new();
    for (number, entry) in (1..).zip(settings.list("im.agents")) {
        let entry_prefix = format!("entry {number} ");
        let Some(agent) = own_user(settings, "im.agents", &entry, &entry_prefix) else { continue };
        if agents.contains(&agent) {
            settings.add_value_fault("im.agents", format!("{entry_prefix}is a duplicate"), "remove it");
        }
        agents.push(agent);
    }
    if agents.is_empty() {
        settings.add_value_fault(
            "im.agents",
            "is empty",
            "name at least one IM UserID to whom customers are transferred",
        );
    }
    agents
}

/// The UserID of an agent, the supervisor or the admin: valid, and impossible for a customer's account.
pub(super) fn own_user(
    settings: &mut Settings,
    key: &str,
    text: &str,
    entry_prefix: &str,
) -> Option<ImUserId> {
    let Ok(user) = ImUserId::new(text) else {
        let problem = format!("{entry_prefix}is not an IM UserID");
        settings.add_value_fault(key, problem, "set 1 to 32 bytes of printable ASCII");
        return None;
    };
    if text.contains(QUOTES_AND_BRACKETS) {
        let problem = format!("{entry_prefix}contains a quote or a bracket, which no UserID of an agent has");
        let fix = if entry_prefix.is_empty() {
            "set the UserID alone"
        } else {
            "write a list as [\"user1\", \"user2\"], in the environment also as user1,user2"
        };
        settings.add_value_fault(key, problem, fix);
        return None;
    }
    if user.possible_openids().iter().any(|openid| looks_like_an_openid(openid.as_str())) {
        let problem =
            format!("{entry_prefix}looks like an openid, which is the UserID of a customer's account");
        settings.add_value_fault(key, problem, "use another UserID, such as kf_anna");
        return None;
    }
    Some(user)
}

/// Openids have 28 characters and begin with `o` (reference "Identity rules and account limits").
fn looks_like_an_openid(text: &str) -> bool {
    text.len() == 28
        && text.starts_with('o')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
