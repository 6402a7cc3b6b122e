//! The working hours of the desk: whether it is open, until when what a customer writes is deferred, and the words for
//! when it opens.

use jiff::civil::{DateTime, Weekday};

use super::{Bridge, Settings};
use crate::config::{AfterHours, Locale};
use crate::model::Millis;
use crate::model::hours::WorkingHours;

/// Within so many days a weekday says when the desk opens; later the date does.
const WEEKDAY_DAYS: i32 = 6;

impl Settings {
    /// When the desk opens; `None` while it is open.
    pub(super) fn closed_until(&self, now: Millis) -> Option<Millis> {
        let opening = self.hours.as_ref()?.next_opening(now)?;
        (opening > now).then_some(opening)
    }

    /// Until when a customer's message that comes now is deferred; `None`: it is not.
    pub(super) fn deferred_until(&self, now: Millis) -> Option<Millis> {
        match self.after_hours {
            AfterHours::Hold => self.closed_until(now),
            AfterHours::Deliver => None,
        }
    }

    /// The text for a customer who writes while the desk is closed; `None`: there is none.
    pub(super) fn away_text(&self, now: Millis, opening: Millis) -> Option<String> {
        let words = opening_words(self.texts.locale, self.hours.as_ref()?, now, opening);
        self.texts.away(&words)
    }
}

impl Bridge {
    /// Until when customers' messages are deferred; `None`: those that are deferred may leave.
    pub fn deferred_until(&self, now: Millis) -> Option<Millis> {
        self.0.live.get().deferred_until(now)
    }
}

/// When the desk opens, as it stands in a sentence: "tomorrow at 09:00".
fn opening_words(locale: Locale, hours: &WorkingHours, now: Millis, opening: Millis) -> String {
    let (now, opening) = (hours.local(now), hours.local(opening));
    let days = now.date().until(opening.date()).map_or(i32::MAX, |days| days.get_days());
    let time = format!("{:02}:{:02}", opening.hour(), opening.minute());
    match (locale, days) {
        (Locale::En, 0) => format!("today at {time}"),
        (Locale::En, 1) => format!("tomorrow at {time}"),
        (Locale::En, days) => {
            let weekday = weekday(locale, opening);
            let date = format!(", {} {}", opening.day(), month(opening));
            format!("on {weekday}{} at {time}", if days <= WEEKDAY_DAYS { "" } else { date.as_str() })
        }
        (Locale::Ko, 0) => format!("오늘 {time}"),
        (Locale::Ko, 1) => format!("내일 {time}"),
        (Locale::Ko, 2..=WEEKDAY_DAYS) => format!("{} {time}", weekday(locale, opening)),
        (Locale::Ko, _) => {
            format!("{}월 {}일 {} {time}", opening.month(), opening.day(), weekday(locale, opening))
        }
        (Locale::Zh, 0) => format!("今天{time}"),
        (Locale::Zh, 1) => format!("明天{time}"),
        (Locale::Zh, 2..=WEEKDAY_DAYS) => format!("{}{time}", weekday(locale, opening)),
        (Locale::Zh, _) => {
            format!("{}月{}日（{}）{time}", opening.month(), opening.day(), weekday(locale, opening))
        }
    }
}

fn weekday(locale: Locale, at: DateTime) -> &'static str {
    let [en, ko, zh] = match at.weekday() {
        Weekday::Monday => ["Monday", "월요일", "周一"],
        Weekday::Tuesday => ["Tuesday", "화요일", "周二"],
        Weekday::Wednesday => ["Wednesday", "수요일", "周三"],
        Weekday::Thursday => ["Thursday", "목요일", "周四"],
        Weekday::Friday => ["Friday", "금요일", "周五"],
        Weekday::Saturday => ["Saturday", "토요일", "周六"],
        Weekday::Sunday => ["Sunday", "일요일", "周日"],
    };
    match locale {
        Locale::En => en,
        Locale::Ko => ko,
        Locale::Zh => zh,
    }
}

fn month(at: DateTime) -> &'static str {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let index = usize::from(at.month().unsigned_abs()).saturating_sub(1);
    MONTHS.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hours::time_zone;

    #[test]
    fn the_opening_is_told_as_people_say_it() {
        let zone = time_zone("Asia/Shanghai").unwrap();
        let at = |text: &str| Millis(zone.to_timestamp(text.parse().unwrap()).unwrap().as_millisecond());
        let hours = WorkingHours::new(WorkingHours::whole_week(), Vec::new(), zone.clone());
        // 2026-09-28 is a Monday.
        for (now, opening, en, ko, zh) in [
            ("2026-09-28T07:59:59", "2026-09-28T08:05", "today at 08:05", "오늘 08:05", "今天08:05"),
            ("2026-09-28T23:59:59", "2026-09-29T09:00", "tomorrow at 09:00", "내일 09:00", "明天09:00"),
            ("2026-09-28T00:00:00", "2026-09-30T00:00", "on Wednesday at 00:00", "수요일 00:00", "周三00:00"),
            ("2026-09-28T23:00:00", "2026-10-04T09:00", "on Sunday at 09:00", "일요일 09:00", "周日09:00"),
            (
                "2026-09-28T23:00:00",
                "2026-10-05T09:00",
                "on Monday, 5 October at 09:00",
                "10월 5일 월요일 09:00",
                "10月5日（周一）09:00",
            ),
            (
                "2026-09-28T23:00:00",
                "2027-09-29T17:30",
                "on Wednesday, 29 September at 17:30",
                "9월 29일 수요일 17:30",
                "9月29日（周三）17:30",
            ),
        ] {
            for (locale, words) in [(Locale::En, en), (Locale::Ko, ko), (Locale::Zh, zh)] {
                assert_eq!(opening_words(locale, &hours, at(now), at(opening)), words);
                assert!(words.len() <= 64, "the limit that the configuration's check assumes");
            }
        }
    }
}
