//! Checks lists of pairs `AGENT=VALUE`: what customers see of each agent.

use std::collections::BTreeMap;

use crate::config::settings::Settings;
use crate::model::ImUserId;

/// The longest name of an agent, in characters.
const MAX_NAME_CHARS: usize = 32;
/// The longest part of a WeChat account of customer service before the `@`, in bytes.
const MAX_PREFIX_BYTES: usize = 10;
/// The longest part behind it, in bytes.
const MAX_ACCOUNT_BYTES: usize = 64;

/// The agents' accounts of WeChat's customer service, as `custom/send` names them.
pub(super) fn kf_accounts(settings: &mut Settings) -> BTreeMap<ImUserId, String> {
    const FIX: &str = "name each account once as AGENT=PREFIX@ACCOUNT, such as \"anna=anna@shop\"";
    pairs(settings, "desk.kf_accounts", FIX, |account| {
        let is_word = |text: &str, max: usize| {
            (1..=max).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        let (prefix, account) = account.split_once('@')?;
        (is_word(prefix, MAX_PREFIX_BYTES) && is_word(account, MAX_ACCOUNT_BYTES)).then_some(())
    })
}

/// The agents' names, as customers read them.
pub(super) fn names(settings: &mut Settings) -> BTreeMap<ImUserId, String> {
    const FIX: &str = "name each agent once as AGENT=NAME, with 1 to 32 characters, such as \"user1=Anna\"";
    pairs(settings, "desk.names", FIX, |name| {
        let is_plain = name.trim() == name && !name.contains(char::is_control);
        (is_plain && (1..=MAX_NAME_CHARS).contains(&name.chars().count())).then_some(())
    })
}

fn pairs(
    settings: &mut Settings,
    key: &str,
    fix: &str,
    is_valid: impl Fn(&str) -> Option<()>,
) -> BTreeMap<ImUserId, String> {
    let agents: Vec<String> = settings.list("im.agents");
    let mut pairs = BTreeMap::new();
    for (number, entry) in (1..).zip(settings.list(key)) {
        let found = entry.split_once('=').map(|(agent, value)| (agent.trim(), value.trim()));
        let problem = match found {
            None => "has no `=`",
            // A faulty list of agents has a fault of its own.
            Some((agent, _))
                if !agents.iter().any(|known| known == agent) && !settings.is_faulty("im.agents") =>
            {
                "names somebody who is not one of im.agents"
            }
            Some((_, value)) if is_valid(value).is_none() => "has a value that cannot be used",
            Some((agent, value)) => {
                let Ok(agent) = ImUserId::new(agent) else { continue };
                match pairs.insert(agent, value.to_owned()) {
                    None => continue,
                    Some(_) => "names an agent a second time",
                }
            }
        };
        settings.add_value_fault(key, format!("entry {number} {problem}"), fix);
    }
    pairs
}
