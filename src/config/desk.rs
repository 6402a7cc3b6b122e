//! What the checked `[desk]` and the small sections are.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::address::BaseUrl;
use super::choice::AfterHours;
use crate::model::ImUserId;
use crate::model::hours::WorkingHours;

/// `[desk]`: who gets which customer, and when.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
pub struct Desk {
    /// How long a customer who comes back goes to the agent who served last; `None`: never.
    pub sticky: Option<Duration>,
    /// Whether customers go only to agents who are present.
    pub presence: bool,
    /// The most open conversations of one agent; `None`: no limit.
    pub capacity: Option<NonZeroU32>,
    /// The time zone of the hours, and of the days of reports.
    pub zone: TimeZone,
    /// When agents work; `None`: always.
    pub hours: Option<WorkingHours>,
    /// What happens to customers' messages at other times.
    pub after_hours: AfterHours,
    /// How long a customer waits for the first answer until others are told; `None`: for ever.
    pub first_answer: Option<Duration>,
    /// The account that is told in the end. It may be an agent's.
    pub supervisor: Option<ImUserId>,
    /// How long before the window of an unanswered customer closes its agent is reminded; `None`: never.
    pub remind_before: Option<Duration>,
    /// With fewer sends left than this, an agent's lines are merged; 0: never.
    pub merge_below: u32,
    /// How long a line waits for the next one then.
    pub merge_wait: Duration,
    /// Whether a customer is asked for a rating at the end.
    pub rating: bool,
    /// The agents' accounts of WeChat's customer service.
    pub kf_accounts: BTreeMap<ImUserId, String>,
    /// Whether an agent's first answer begins with the agent's name.
    pub signature: bool,
    /// The agents' names, as customers read them.
    pub names: BTreeMap<ImUserId, String>,
    /// Whether a new follower is asked for the group.
    pub ask: bool,
    /// The groups of agents. Each has a name of its own, and no two share a scene, a menu key or a word.
    pub groups: Vec<Group>,
}

/// `[[desk.group]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name, which is no agent's UserID.
    pub name: String,
    /// Its agents: at least one, all of them in `im.agents`.
    pub agents: Vec<ImUserId>,
    /// The scenes of the QR codes that lead to it.
    pub scenes: Vec<String>,
    /// The keys of the menu entries that lead to it.
    pub menu: Vec<String>,
    /// The words in a customer's message that lead to it.
    pub words: Vec<String>,
}

/// `[canary]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// How often a message is sent through the whole bridge to see whether it arrives; `None`: never.
    pub every: Option<Duration>,
}

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// Where traces are sent to; `None`: nowhere.
    pub otlp_endpoint: Option<BaseUrl>,
}
