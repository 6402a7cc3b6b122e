//! Checks `[desk]` and its groups, and `[replies]`.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::tz::TimeZone;
use unicode_normalization::UnicodeNormalization as _;

use super::im::own_user;
use super::pairs;
use crate::config::hours::{self, CLOSED_FIX, HOURS_FIX};
use crate::config::settings::Settings;
use crate::config::texts;
use crate::config::{Desk, Group};
use crate::model::hours::{ClosedDays, WorkingHours};
use crate::model::{Card, ImUserId};

/// The longest name of a group, in characters, and the longest scene, menu key or word, in bytes.
const MAX_NAME_CHARS: usize = 32;
const MAX_ENTRY_BYTES: usize = 128;
/// The most entries of `desk.closed`, and of one list of a group.
const MAX_ENTRIES: usize = 366;

pub(super) fn desk(settings: &mut Settings) -> Option<Desk> {
    let duration = |settings: &Settings, key| Some(settings.seconds(key)).filter(|it| !it.is_zero());
    let zone = time_zone(settings);
    let hours = working_hours(settings, zone.clone());
    let supervisor = supervisor(settings);
    let groups = groups(settings);
    if settings.flag("desk.ask") && settings.tables("desk.group").is_empty() {
        settings.warn("desk.ask", "is true, but there is no [[desk.group]], so that nobody is asked");
    }
    let (kf_accounts, names) = (pairs::kf_accounts(settings), pairs::names(settings));
    Some(Desk {
        sticky: duration(settings, "desk.sticky_s"),
        presence: settings.flag("desk.presence"),
        capacity: NonZeroU32::new(settings.number_u32("desk.capacity")),
        hours,
        after_hours: settings.choice("desk.after_hours")?,
        first_answer: duration(settings, "desk.first_answer_s"),
        supervisor,
        remind_before: duration(settings, "desk.remind_before_s"),
        merge_below: settings.number_u32("desk.merge_below"),
        merge_wait: Duration::from_millis(settings.number("desk.merge_wait_ms")),
        rating: settings.flag("desk.rating"),
        kf_accounts,
        signature: settings.flag("desk.signature"),
        names,
        ask: settings.flag("desk.ask"),
        zone: zone?,
        groups,
    })
}

fn time_zone(settings: &mut Settings) -> Option<TimeZone> {
    let name = settings.text("desk.time_zone");
    hours::zone(&name)
        .map_err(|fix| settings.add_value_fault("desk.time_zone", "is not the name of a time zone", &fix))
        .ok()
}

/// `None`: always open, or faulty.
fn working_hours(settings: &mut Settings, zone: Option<TimeZone>) -> Option<WorkingHours> {
    const FIX_COUNT: &str = "remove days that have passed";
    let text = settings.text("desk.hours");
    let week = if text.trim().is_empty() {
        Some(WorkingHours::whole_week())
    } else {
        let read = hours::week(&text);
        read.map_err(|problem| settings.add_value_fault("desk.hours", problem, HOURS_FIX)).ok()
    };
    let entries = settings.list("desk.closed");
    if entries.len() > MAX_ENTRIES {
        settings.add_value_fault("desk.closed", format!("has more than {MAX_ENTRIES} entries"), FIX_COUNT);
    }
    let mut closed: Vec<ClosedDays> = Vec::new();
    for (number, entry) in (1..).zip(&entries) {
        match hours::closed(entry) {
            Ok(days) => closed.push(days),
            Err(problem) => {
                settings.add_value_fault("desk.closed", format!("entry {number} {problem}"), CLOSED_FIX);
            }
        }
    }
    let is_limited = !text.trim().is_empty() || !closed.is_empty();
    is_limited.then_some(WorkingHours::new(week?, closed, zone?))
}

/// The supervisor may be one of the agents.
fn supervisor(settings: &mut Settings) -> Option<ImUserId> {
    const KEY: &str = "desk.supervisor";
    let text = settings.text(KEY);
    let supervisor = if text.is_empty() { None } else { own_user(settings, KEY, &text, "") }?;
    if supervisor.as_str() == settings.text("im.admin") {
        settings.add_value_fault(
            KEY,
            "is im.admin, in whose name the bridge calls IM",
            "name a person's account",
        );
    }
    Some(supervisor)
}

fn groups(settings: &mut Settings) -> Vec<Group> {
    let agents: Vec<String> = settings.list("im.agents");
    let mut names: Vec<String> = agents.iter().map(|agent| folded(agent)).collect();
    // What already leads to a group, by the name of the list.
    let mut claimed: BTreeMap<&str, HashSet<String>> = BTreeMap::new();
    let mut groups = Vec::new();
    for table in settings.tables("desk.group") {
        let name = group_name(settings, &format!("{table}.name"), &mut names);
        let members = group_agents(settings, &format!("{table}.agents"), &agents);
        let mut list = |list: &'static str| {
            claimed_entries(settings, &format!("{table}.{list}"), claimed.entry(list).or_default())
        };
        let (scenes, menu, words) = (list("scenes"), list("menu"), list("words"));
        if let Some(name) = name {
            groups.push(Group { name, agents: members, scenes, menu, words });
        }
    }
    groups
}

/// The name, by which agents hand a customer over: `/to GROUP`.
fn group_name(settings: &mut Settings, key: &str, taken: &mut Vec<String>) -> Option<String> {
    let name = settings.text(key);
    let problem = if name.is_empty() {
        "is missing"
    } else if name.trim() != name || name.contains(char::is_control) {
        "contains line breaks, or begins or ends with white space"
    } else if name.chars().count() > MAX_NAME_CHARS {
        "is longer than 32 characters"
    } else if name.starts_with([':', '：']) {
        "begins with a colon, so that no agent can type it after /to"
    } else if taken.contains(&folded(&name)) {
        "is also the name of an agent or of an earlier group"
    } else {
        taken.push(folded(&name));
        return Some(name);
    };
    settings.add_value_fault(key, problem, "set a name of its own, of 1 to 32 characters");
    None
}

fn group_agents(settings: &mut Settings, key: &str, agents: &[String]) -> Vec<ImUserId> {
    const FIX: &str = "name each of its agents once, as in im.agents";
    let entries = settings.list(key);
    if entries.is_empty() {
        settings.add_value_fault(key, "is empty", FIX);
    }
    let mut members = Vec::new();
    for (number, entry) in (1..).zip(&entries) {
        // A faulty list of agents has a fault of its own.
        if !agents.contains(entry) && !settings.is_faulty("im.agents") {
            settings.add_value_fault(key, format!("entry {number} is not one of im.agents"), FIX);
        }
        let Ok(member) = ImUserId::new(entry.as_str()) else { continue };
        if members.contains(&member) {
            settings.add_value_fault(key, format!("entry {number} is a duplicate"), FIX);
        }
        members.push(member);
    }
    members
}

/// The entries of a list, none of which may lead to two groups. Capitals make no difference.
fn claimed_entries(settings: &mut Settings, key: &str, claimed: &mut HashSet<String>) -> Vec<String> {
    let entries = settings.list(key);
    if entries.len() > MAX_ENTRIES {
        let problem = format!("has more than {MAX_ENTRIES} entries");
        settings.add_value_fault(key, problem, "remove some");
    }
    for (number, entry) in (1..).zip(&entries) {
        let problem = if entry.trim().is_empty() || entry.contains(char::is_control) {
            "is empty or contains line breaks"
        } else if entry.len() > MAX_ENTRY_BYTES {
            "is longer than 128 bytes"
        } else if !claimed.insert(folded(entry)) {
            "already leads to a group"
        } else {
            continue;
        };
        settings.add_value_fault(key, format!("entry {number} {problem}"), "correct it, or remove it");
    }
    entries
}

/// A name, key or word as the bridge compares it.
fn folded(text: &str) -> String {
    text.trim().nfkc().flat_map(char::to_lowercase).collect()
}

/// The canned replies by name, in small letters.
pub(super) fn replies(settings: &mut Settings) -> BTreeMap<String, String> {
    let mut replies = BTreeMap::new();
    for key in settings.keys_of("replies") {
        let text = settings.text(&key);
        if let Some(problem) = texts::text_problem(&text, false) {
            settings.add_named_fault(&key, problem, "set 1 to 2000 bytes of plain text, or remove it");
        } else if let Some(Err(problem)) = Card::of_text(&text) {
            let problem = format!("is a card that WeChat would not take: {problem}");
            settings.add_named_fault(&key, &problem, "write it as docs/cards.md shows, or remove it");
        }
        if let Some((_, name)) = key.split_once('.') {
            replies.insert(name.to_owned(), text);
        }
    }
    replies
}
