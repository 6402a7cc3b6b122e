//! Points in time and durations, as agents read them. Pure.

use crate::clock::calendar::utc;
use crate::config::Locale;
use crate::model::Millis;

/// How long it is from `now` to `until`, in hours and minutes, rounded up to a whole minute.
pub fn duration(locale: Locale, until: Millis, now: Millis) -> String {
    let minutes = until.since(now).max(0).saturating_add(59_999) / 60_000;
    let (hours, minutes) = (minutes / 60, minutes % 60);
    match locale {
        Locale::En => format!("{hours} h {minutes} min"),
        Locale::Ko => format!("{hours}시간 {minutes}분"),
        Locale::Zh => format!("{hours}小时{minutes}分钟"),
    }
}

/// Month, day, hour and minute of a point in time, in UTC: `11-29 18:40 UTC`.
pub fn minute(at: Millis) -> String {
    let text = utc(at);
    format!("{} UTC", text.get(5..16).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_rounded_up_and_never_negative() {
        for (millis, text) in [
            (172_800_000, "48 h 0 min"),
            (172_740_001, "48 h 0 min"),
            (172_740_000, "47 h 59 min"),
            (1, "0 h 1 min"),
            (0, "0 h 0 min"),
            (-5, "0 h 0 min"),
        ] {
            assert_eq!(duration(Locale::En, Millis(7 + millis), Millis(7)), text);
        }
    }

    #[test]
    fn a_minute_has_no_year_and_no_seconds() {
        assert_eq!(minute(Millis(1_700_000_000_123)), "11-14 22:13 UTC");
    }
}
