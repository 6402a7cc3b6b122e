//! The lines that tell an agent who a customer is: the one that precedes the first message of a conversation, and those
//! about menu taps and scans within it. Pure.

use super::translate::{NOTICE_PREFIX, one_line};
use crate::clock::calendar::utc;
use crate::config::Locale;
use crate::model::{ImUserId, Millis, Profile, Visit, VisitAction};

/// The longest key, scene, remark or tag that is shown, in characters.
const MAX_CHARS: usize = 60;
/// The most tags that are shown. WeChat allows 20.
const MAX_TAGS: usize = 20;

/// The last conversation of a customer who is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastTime {
    /// The agent who answered; `None`: nobody did.
    pub agent: Option<ImUserId>,
    /// When the agent answered, or else when the customer wrote.
    pub at: Millis,
}

/// The line that precedes the first message of a conversation. `last`: the conversation before; `None` if the customer
/// is new. `group`: the name of the customer's group.
pub(super) fn first_line(
    locale: Locale,
    last: Option<&LastTime>,
    group: Option<&str>,
    visit: &Visit,
) -> String {
    let mut text = match last {
        None => match locale {
            Locale::En => "New customer.",
            Locale::Ko => "신규 고객입니다.",
            Locale::Zh => "新客户。",
        }
        .to_owned(),
        Some(LastTime { agent, at }) => back(locale, agent.as_ref(), *at),
    };
    text.push_str(&of_group(locale, group));
    text.push_str(&actions(locale, visit));
    format!("{NOTICE_PREFIX}{text}")
}

/// The customer's group, as a sentence that follows others; empty if there is none.
fn of_group(locale: Locale, group: Option<&str>) -> String {
    match (locale, group) {
        (_, None) => String::new(),
        (Locale::En, Some(group)) => format!(" Group: {group}."),
        (Locale::Ko, Some(group)) => format!(" 그룹: {group}."),
        (Locale::Zh, Some(group)) => format!("分组：{group}。"),
    }
}

/// What the customer did, as sentences that follow others; empty if it was nothing.
fn actions(locale: Locale, visit: &Visit) -> String {
    let scene = visit.scene.as_ref().map(|scene| one_line(scene, MAX_CHARS));
    let mut text = match (locale, scene) {
        (_, None) => String::new(),
        (Locale::En, Some(scene)) => format!(" QR code: {scene}."),
        (Locale::Ko, Some(scene)) => format!(" QR 코드: {scene}."),
        (Locale::Zh, Some(scene)) => format!("扫码来源：{scene}。"),
    };
    if !visit.taps.is_empty() {
        let keys = list(locale, &visit.taps);
        let taps = match locale {
            Locale::En => format!(" Tapped in the menu: {keys}."),
            Locale::Ko => format!(" 메뉴 선택: {keys}."),
            Locale::Zh => format!("点击过菜单：{keys}。"),
        };
        text.push_str(&taps);
    }
    text
}

/// What is known of a customer, as sentences that follow others. `since`: when the bridge first met the customer;
/// `group`: the name of the customer's group; `visit`: what the customer did since the last conversation.
pub(super) fn about_customer(
    locale: Locale,
    since: Option<Millis>,
    group: Option<&str>,
    visit: &Visit,
    profile: Option<&Profile>,
) -> String {
    let day = since.map(|since| utc(since).get(..10).unwrap_or_default().to_owned());
    let since = match (locale, day) {
        (_, None) => String::new(),
        (Locale::En, Some(day)) => format!(" Customer since {day}."),
        (Locale::Ko, Some(day)) => format!(" 최초 방문: {day}."),
        (Locale::Zh, Some(day)) => format!("{day}起的客户。"),
    };
    let profile = profile.map_or_else(String::new, |profile| about(locale, profile));
    format!("{since}{}{}{profile}", of_group(locale, group), actions(locale, visit))
}

fn back(locale: Locale, agent: Option<&ImUserId>, at: Millis) -> String {
    let at = utc(at);
    let at = at.get(..16).unwrap_or(&at);
    match (locale, agent) {
        (Locale::En, Some(agent)) => format!("Customer is back. Last served by {agent}, {at} UTC."),
        (Locale::En, None) => format!("Customer is back. Last here {at} UTC."),
        (Locale::Ko, Some(agent)) => format!("재방문 고객입니다. 마지막 상담: {agent}, {at} UTC."),
        (Locale::Ko, None) => format!("재방문 고객입니다. 마지막 방문: {at} UTC."),
        (Locale::Zh, Some(agent)) => format!("老客户。上次由{agent}接待，{at} UTC。"),
        (Locale::Zh, None) => format!("老客户。上次来访：{at} UTC。"),
    }
}

/// A line with what WeChat tells of the customer added.
pub(super) fn with_profile(locale: Locale, line: &str, profile: &Profile) -> String {
    format!("{line}{}", about(locale, profile))
}

/// The customer's remark and tags, as sentences that follow others; empty if there are none.
pub(super) fn about(locale: Locale, profile: &Profile) -> String {
    let remark = one_line(&profile.remark, MAX_CHARS);
    let mut text = match locale {
        _ if remark.is_empty() => String::new(),
        Locale::En => format!(" Remark: {remark}."),
        Locale::Ko => format!(" 비고: {remark}."),
        Locale::Zh => format!("备注名：{remark}。"),
    };
    if !profile.tags.is_empty() {
        let tags = list(locale, &profile.tags[..profile.tags.len().min(MAX_TAGS)]);
        let tags = match locale {
            Locale::En => format!(" Tags: {tags}."),
            Locale::Ko => format!(" 태그: {tags}."),
            Locale::Zh => format!("标签：{tags}。"),
        };
        text.push_str(&tags);
    }
    text
}

/// The line about something that the customer does within a conversation.
pub(super) fn action(locale: Locale, action: &VisitAction) -> String {
    let text = match (locale, action) {
        (Locale::En, VisitAction::Tap(key)) => {
            format!("The customer tapped {} in the menu.", one_line(key, MAX_CHARS))
        }
        (Locale::En, VisitAction::Scan(scene)) => {
            format!("The customer scanned the QR code {}.", one_line(scene, MAX_CHARS))
        }
        (Locale::Ko, VisitAction::Tap(key)) => {
            format!("고객이 메뉴에서 {} 항목을 눌렀습니다.", one_line(key, MAX_CHARS))
        }
        (Locale::Ko, VisitAction::Scan(scene)) => {
            format!("고객이 QR 코드 {} 항목을 스캔했습니다.", one_line(scene, MAX_CHARS))
        }
        (Locale::Zh, VisitAction::Tap(key)) => format!("客户点击了菜单：{}。", one_line(key, MAX_CHARS)),
        (Locale::Zh, VisitAction::Scan(scene)) => {
            format!("客户扫描了二维码：{}。", one_line(scene, MAX_CHARS))
        }
    };
    format!("{NOTICE_PREFIX}{text}")
}

fn list(locale: Locale, words: &[String]) -> String {
    let separator = if locale == Locale::Zh { "、" } else { ", " };
    words.iter().map(|word| one_line(word, MAX_CHARS)).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_who_comes_and_never_is_long() {
        let visit = Visit { scene: Some("shop42".into()), taps: vec!["PRICES".into(), "HOURS".into()] };
        let at = Millis(1_700_000_000_000);
        let last = LastTime { agent: ImUserId::new("user1").ok(), at };
        for (locale, new, back) in [
            (
                Locale::En,
                "[bridge] New customer. QR code: shop42. Tapped in the menu: PRICES, HOURS.",
                "[bridge] Customer is back. Last served by user1, 2023-11-14 22:13 UTC.",
            ),
            (
                Locale::Ko,
                "[bridge] 신규 고객입니다. QR 코드: shop42. 메뉴 선택: PRICES, HOURS.",
                "[bridge] 재방문 고객입니다. 마지막 상담: user1, 2023-11-14 22:13 UTC.",
            ),
            (
                Locale::Zh,
                "[bridge] 新客户。扫码来源：shop42。点击过菜单：PRICES、HOURS。",
                "[bridge] 老客户。上次由user1接待，2023-11-14 22:13 UTC。",
            ),
        ] {
            assert_eq!(first_line(locale, None, None, &visit), new);
            assert!(first_line(locale, None, Some("Sales"), &visit).contains("Sales"));
            assert_eq!(first_line(locale, Some(&last), None, &Visit::default()), back);
            let unknown = first_line(locale, Some(&LastTime { agent: None, at }), None, &Visit::default());
            assert!(unknown.contains("2023-11-14 22:13 UTC") && !unknown.contains("user1"), "{unknown}");
            let long = "长\n\u{7}".repeat(500);
            let visit = Visit { scene: Some(long.clone()), taps: vec![long.clone(); 10] };
            let profile = Profile {
                remark: long.clone(),
                tags: vec![long.clone(); 40],
                picture: String::new(),
                read_at: at,
            };
            let line =
                with_profile(locale, &first_line(locale, Some(&last), Some("Sales"), &visit), &profile);
            assert!(line.len() < 8_000 && !line.contains(char::is_control), "{}", line.len());
            for action in [VisitAction::Tap("K".into()), VisitAction::Scan(long.clone())] {
                let line = super::action(locale, &action);
                assert!(line.starts_with(NOTICE_PREFIX) && line.len() < 400, "{line}");
            }
        }
    }

    #[test]
    fn a_remark_and_tags_follow_the_line() {
        let mut profile = Profile {
            remark: "Anna\nLi".into(),
            tags: vec!["VIP".into(), "wholesale".into()],
            picture: String::new(),
            read_at: Millis(0),
        };
        let line = with_profile(Locale::En, "[bridge] New customer.", &profile);
        assert_eq!(line, "[bridge] New customer. Remark: Anna Li. Tags: VIP, wholesale.");
        profile = Profile { remark: String::new(), tags: Vec::new(), ..profile };
        assert_eq!(with_profile(Locale::Zh, "[bridge] 新客户。", &profile), "[bridge] 新客户。");
    }
}
