//! The desk: hours, groups, canned replies, and the keys whose feature is not built yet.

use super::*;
use crate::model::Millis;

/// The required keys with two agents, and `more`.
fn with_agents(more: &str) -> String {
    format!("{}\nagents = [\"anna\", \"ben\"]\n{more}", REQUIRED.trim_end())
}

fn load(more: &str) -> Config {
    Config::from_toml_str(&with_agents(more), []).unwrap_or_else(|faults| panic!("{faults}")).0
}

const GROUPS: &str = r#"
[[desk.group]]
name = "sales"
agents = ["anna"]
scenes = ["shop42"]
words = ["price", "多少钱"]
[[desk.group]]
name = "Repairs"
agents = ["anna", "ben"]
menu = ["broken"]
[replies]
Hello = "Hello!"
"退款" = "退款说明"
"#;

#[test]
fn zero_means_never_and_the_defaults_are_the_contracts() {
    let desk = load("").desk;
    assert_eq!((desk.sticky, desk.presence), (Some(Duration::from_hours(30 * 24)), true));
    assert!(desk.capacity.is_none() && desk.hours.is_none() && desk.first_answer.is_none());
    assert!(desk.supervisor.is_none() && desk.groups.is_empty() && !desk.rating && !desk.ask);
    assert_eq!((desk.remind_before, desk.merge_below), (Some(Duration::from_hours(1)), 3));
    assert_eq!((desk.merge_wait, desk.after_hours), (Duration::from_secs(3), AfterHours::Hold));
    let desk = load("[desk]\nsticky_s = 0\nremind_before_s = 0\ncapacity = 2\nsupervisor = \"ben\"").desk;
    assert!(desk.sticky.is_none() && desk.remind_before.is_none());
    assert_eq!((desk.capacity.unwrap().get(), desk.supervisor.unwrap().as_str()), (2, "ben"));
}

#[test]
fn hours_apply_in_their_time_zone_and_closed_days_also_without_hours() {
    // 2026-10-01 is a Thursday; 09:00 in Seoul is midnight UTC.
    let midnight = Millis(1_790_812_800_000);
    let hours = |more: &str| load(&format!("[desk]\n{more}")).desk.hours.unwrap();
    let seoul = hours("hours = \"Mon-Fri 09:00-18:00\"\ntime_zone = \"Asia/Seoul\"");
    assert!(seoul.is_open(midnight) && !seoul.is_open(midnight.plus(-1)));
    let shanghai = hours("hours = \"Mon-Fri 09:00-18:00\"");
    assert_eq!(shanghai.next_opening(midnight), Some(midnight.plus(3_600_000)));
    let always = hours("closed = [\"2026-10-01..2026-10-02\"]\ntime_zone = \"UTC\"");
    assert!(always.is_open(midnight.plus(-1)) && !always.is_open(midnight));
    assert_eq!(always.next_opening(midnight), Some(midnight.plus(2 * 86_400_000)));
}

#[test]
fn what_customers_see_of_an_agent_belongs_to_an_agent_and_fits() {
    let desk = load("[desk]\nkf_accounts = [\"anna=anna@shop\"]\nnames = [\"ben = Ben = boss\"]").desk;
    let pairs = |map: &std::collections::BTreeMap<crate::model::ImUserId, String>| {
        map.iter().map(|(agent, value)| format!("{agent}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(pairs(&desk.kf_accounts), ["anna=anna@shop"]);
    assert_eq!(pairs(&desk.names), ["ben=Ben = boss"]);
    for (key, entries, problem) in [
        ("kf_accounts", "\"anna\"", "entry 1 has no `=`"),
        ("kf_accounts", "\"cleo=c@shop\"", "entry 1 names somebody who is not one of im.agents"),
        ("kf_accounts", "\"anna=anna\"", "entry 1 has a value that cannot be used"),
        ("kf_accounts", "\"anna=much_too_long@shop\"", "entry 1 has a value that cannot be used"),
        ("names", "\"anna=\"", "entry 1 has a value that cannot be used"),
        ("names", "\"anna=A\", \"anna=B\"", "entry 2 names an agent a second time"),
    ] {
        let text = with_agents(&format!("[desk]\n{key} = [{entries}]"));
        let faults = Config::from_toml_str(&text, []).unwrap_err().to_string();
        assert!(faults.contains(&format!("desk.{key}: {problem}")), "{faults}");
    }
}

#[test]
fn groups_and_replies_come_from_the_file_and_the_environment() {
    let config = load(GROUPS);
    let names =
        |config: &Config| config.desk.groups.iter().map(|group| group.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&config), ["sales", "Repairs"]);
    let [sales, repairs] = config.desk.groups.as_slice() else { panic!("not two") };
    assert_eq!((sales.words.len(), sales.scenes.as_slice()), (2, &["shop42".to_owned()][..]));
    assert_eq!((repairs.agents.len(), repairs.menu.as_slice()), (2, &["broken".to_owned()][..]));
    assert_eq!(config.replies["hello"], "Hello!");
    assert_eq!(config.replies["退款"], "退款说明");

    let from_env =
        |pairs: &[(&str, &str)]| Config::from_toml_str(&with_agents(GROUPS), env(pairs)).unwrap().0;
    let group = "[{name=\"vip\", agents=[\"ben\"]}]";
    let config = from_env(&[("BRIDGE_DESK__GROUP", group), ("BRIDGE_REPLIES__HELLO", "Hi!")]);
    assert_eq!(names(&config), ["vip"], "the variable replaces all of the file");
    assert_eq!((config.replies["hello"].as_str(), config.replies.len()), ("Hi!", 2));
    assert!(names(&from_env(&[("BRIDGE_DESK__GROUP", "")])).is_empty());
}

#[test]
fn each_fault_of_the_desk_is_told_with_its_key() {
    for (text, expected) in [
        ("[desk]\nhours = \"Mon 9-18\"", "desk.hours: contains a time that is not written as"),
        (
            "[desk]\nclosed = [\"2026-10-01\", \"soon\"]",
            "desk.closed: entry 2 is not a date (line 9); write it as",
        ),
        (
            "[desk]\ntime_zone = \"Asia/Shangai\"",
            "desk.time_zone: is not the name of a time zone (line 9); set a name",
        ),
        ("[desk]\nafter_hours = \"drop\"", "desk.after_hours: is not a known word"),
        ("[desk]\nsupervisor = \"user0\"", "desk.supervisor: is im.admin"),
        ("[desk]\nsupervisor = \"oABCD1234efgh5678IJKL90_-mno\"", "desk.supervisor: looks like an openid"),
        (
            "[desk]\nstickys = 1",
            "desk.stickys: is not a known key (line 9); the nearest known key is desk.sticky_s",
        ),
        ("[desk]\ngroup = \"sales\"", "desk.group: must be a list of tables (line 9); write [[desk.group]]"),
        ("[desk.group]\nname = \"sales\"", "desk.group: must be a list of tables"),
        ("[[group]]\nname = \"sales\"", "group: is not a known section (line 8); write it as [[desk.group]]"),
        ("[[desk.group]]\nagents = [\"ben\"]", "desk.group[1].name: is missing"),
        ("[[desk.group]]\nname = \"a\"", "desk.group[1].agents: is empty"),
        (
            "[[desk.group]]\nname = \"a\"\nagents = [\"ben\", \"eve\"]",
            "desk.group[1].agents: entry 2 is not one of im",
        ),
        ("[[desk.group]]\nname = \":a\"\nagents = [\"ben\"]", "desk.group[1].name: begins with a colon"),
        (
            "[[desk.group]]\nname = \"Ben\"\nagents = [\"ben\"]",
            "desk.group[1].name: is also the name of an agent",
        ),
        (
            "[[desk.group]]\nname = \"a\"\nagents = [\"ben\"]\nword = [\"x\"]",
            "desk.group[1].word: is not a known key (line 11); the nearest known key is words",
        ),
        (
            "[[desk.group]]\nname = \"a\"\nagents = \"ben\"",
            "desk.group[1].agents: must be a list of strings (line 10)",
        ),
        (
            "[[desk.group]]\nname = \"a\"\nagents = [\"ben\"]\nwords = [\"x\"]\n[[desk.group]]\nname = \"b\"\nagents = [\"ben\"]\nwords = [\"X \"]",
            "desk.group[2].words: entry 1 already leads to a group (line 15)",
        ),
        (
            "[replies]\nhello = '{\"wx\":\"news\",\"title\":\"t\"}'",
            "replies.hello: is a card that WeChat would not take: url is missing",
        ),
        ("[replies]\nhello = 5", "replies.hello: must be a string (line 9)"),
        ("[replies]\nhello = \" \"", "replies.hello: is empty (line 9)"),
        ("[replies]\nhello = \"a\"\nHELLO = \"b\"", "replies.hello: is there twice"),
        ("[replies]\n\"good day\" = \"a\"", "replies: contains a name that nobody can type (line 9)"),
        (
            "[texts]\nqueued = \"{number} before you\"",
            "texts.queued: contains braces that are not {ahead} (line 9); write {ahead}",
        ),
        ("[texts]\naway = \"{ahead}\"", "texts.away: contains braces that are not {opens}"),
        ("[alert]\nurl = \"hooks.example\"", "alert.url: is neither an http nor an https URL"),
        ("[canary]\nevery_s = 9", "canary.every_s: is less than 10 seconds"),
        ("[telemetry]\notlp_endpoint = \"collector\"", "telemetry.otlp_endpoint: is not a URL"),
    ] {
        let lines = fault_lines(&with_agents(text), &[]);
        assert!(lines.len() == 1 && lines[0].starts_with(expected), "{text}: {lines:?}");
    }
    for (text, variable) in
        [("[{name=\"a\"", "not TOML"), ("sales", "not TOML"), ("[\"sales\"]", "a list of tables")]
    {
        let fault = only_fault(&[("BRIDGE_DESK__GROUP", text)]);
        assert!(
            fault.starts_with("desk.group: ") && fault.contains("(BRIDGE_DESK__GROUP); "),
            "{variable}: {fault}"
        );
    }
    let (_, warnings) = load_with_env(&[("BRIDGE_DESK__GROUPS", "[]"), ("BRIDGE_REPLIES__A B", "x")]);
    assert!(warnings[0].ends_with("the nearest known one is BRIDGE_DESK__GROUP"), "{warnings:?}");
    assert!(warnings[1].starts_with("BRIDGE_REPLIES__A B: is not a known variable"), "{warnings:?}");
}

#[test]
fn keys_without_an_effect_so_far_are_named_in_one_line() {
    let warnings = |text: &str| {
        let (_, warnings) = Config::from_toml_str(&with_agents(text), []).unwrap();
        warnings.into_iter().filter(|warning| warning.contains("no effect so far")).collect::<Vec<_>>()
    };
    assert!(warnings("[desk]\ncapacity = 0\n[canary]\nevery_s = 0").is_empty(), "these are the defaults");
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "0123456789abcdef").unwrap();
    let text = format!(
        "[server]\nops_token_file = {:?}\n[desk]\nask = true\n\
         [alert]\nurl = \"https://hooks.example/?key=hidden\"",
        token.path()
    );
    let expected = "configuration: these keys have no effect so far: server.ops_token, alert.url";
    assert_eq!(warnings(&text), [expected]);
    let (_, warnings) = Config::from_toml_str(&with_agents("[desk]\nask = true"), []).unwrap();
    assert!(warnings.iter().any(|warning| warning.starts_with("desk.ask: is true, but")), "{warnings:?}");
}
