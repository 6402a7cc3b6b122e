//! Reads `desk.hours`, `desk.closed` and `desk.time_zone`. Error texts are phrases about the value and never contain it.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::names::nearest_name;
use crate::model::hours::{ClosedDays, Shift, time_zone, time_zone_names};

/// What `desk.hours` looks like.
pub(super) const HOURS_FIX: &str = "write it as \"Mon-Fri 09:00-18:00, Sat 10:00-16:00\", several times a day as \"Mon-Fri 09:00-12:00 13:00-18:00\"";
/// What an entry of `desk.closed` looks like.
pub(super) const CLOSED_FIX: &str = "write it as \"2026-10-01\" or \"2026-10-01..2026-10-07\"";

/// The days of the week, from Monday on.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Minutes.
const DAY_MIN: u16 = 1440;
/// The most shifts of one day, and the most days of one entry of `desk.closed`.
const MAX_SHIFTS: usize = 10;
const MAX_CLOSED_DAYS: i32 = 366;

/// Reads a week: entries separated by commas, each of days (`Mon`, `Mon-Fri`) followed by times (`09:00-18:00`). Times
/// without days are further times of the days before them, and days without times get the next times. A time that does
/// not end after it begins ends on the next day.
pub(super) fn week(text: &str) -> Result<[Vec<Shift>; 7], String> {
    let mut week: [Vec<Shift>; 7] = std::array::from_fn(|_| Vec::new());
    let (mut days, mut has_times) = ([false; 7], true);
    for word in text.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            if days == [false; 7] {
                return Err("begins with a time, without a day".to_owned());
            }
            let shift = shift(word)?;
            for shifts in
                week.iter_mut().zip(days).filter(|(_, is_meant)| *is_meant).map(|(shifts, _)| shifts)
            {
                shifts.push(shift);
            }
            has_times = true;
        } else {
            if std::mem::take(&mut has_times) {
                days = [false; 7];
            }
            name_days(word, &mut days)?;
        }
    }
    if !has_times {
        return Err("ends with a day, without a time".to_owned());
    }
    for shifts in &mut week {
        shifts.sort_unstable();
        if shifts.len() > MAX_SHIFTS {
            return Err(format!("has more than {MAX_SHIFTS} times on one day"));
        }
    }
    if week.iter().all(Vec::is_empty) {
        return Err("names no time".to_owned());
    }
    Ok(week)
}

/// Adds `Mon` or `Fri-Mon` to the days that are meant.
fn name_days(word: &str, days: &mut [bool; 7]) -> Result<(), String> {
    let unknown =
        || "contains a word that is neither a day (Mon, Tue, Wed, Thu, Fri, Sat, Sun) nor a time".to_owned();
    let number = |name: &str| DAYS.iter().position(|day| name.eq_ignore_ascii_case(day)).ok_or_else(unknown);
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (number(first)?, number(last)?);
    let count = (last + 7 - first) % 7 + 1;
    (0..7).cycle().skip(first).take(count).for_each(|day: usize| days[day] = true);
    Ok(())
}

/// Reads `09:00-18:00`.
fn shift(word: &str) -> Result<Shift, String> {
    let malformed = || "contains a time that is not written as 09:00-18:00, from 00:00 to 24:00".to_owned();
    let (start, end) = word.split_once('-').ok_or_else(malformed)?;
    let (start, end) = (minute(start).ok_or_else(malformed)?, minute(end).ok_or_else(malformed)?);
    if start == DAY_MIN {
        return Err(malformed());
    }
    if start == end {
        return Err("contains a time that ends when it begins; a whole day is 00:00-24:00".to_owned());
    }
    Ok(Shift { start, end: if end < start { end + DAY_MIN } else { end } })
}

/// Reads a time of day, up to 24:00, as minutes.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str, lengths: std::ops::RangeInclusive<usize>| {
        let is_plain = lengths.contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
        is_plain.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (number(hour, 1..=2)?, number(minute, 2..=2)?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY_MIN).then_some(minutes)
}

/// Reads an entry of `desk.closed`: a day, or the first and the last of several.
pub(super) fn closed(text: &str) -> Result<ClosedDays, String> {
    let date = |text: &str| {
        let text = text.trim();
        // The parser takes other forms of ISO 8601 too.
        let is_plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let parsed = is_plain.then(|| text.parse::<Date>().ok()).flatten();
        parsed.ok_or_else(|| "is not a date".to_owned())
    };
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (date(first)?, date(last)?);
    if last < first {
        return Err("ends before it begins".to_owned());
    }
    if first.until(last).is_ok_and(|days| days.get_days() >= MAX_CLOSED_DAYS) {
        return Err(format!("has more than {MAX_CLOSED_DAYS} days"));
    }
    Ok(ClosedDays { first, last })
}

/// The time zone of this name. The error says how to fix it.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    time_zone(name).ok_or_else(|| {
        let nearest = nearest_name(name, time_zone_names().into_iter());
        format!("set a name of the IANA database, such as Asia/Shanghai; the nearest known one is {nearest}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &str) -> Vec<(usize, u16, u16)> {
        let week = week(text).unwrap();
        let on = |(day, shifts): (usize, Vec<Shift>)| {
            shifts.into_iter().map(move |shift| (day, shift.start, shift.end))
        };
        week.into_iter().enumerate().flat_map(on).collect()
    }

    #[test]
    fn weeks_are_read() {
        assert_eq!(times("Sat 10:00-16:00"), [(5, 600, 960)]);
        assert_eq!(
            times(" mon-TUE 9:00-12:00 13:00-18:00 "),
            [(0, 540, 720), (0, 780, 1080), (1, 540, 720), (1, 780, 1080)]
        );
        assert_eq!(times("Mon 9:00-12:00, 13:00-18:00"), times("Mon 13:00-18:00,Mon 9:00-12:00"));
        assert_eq!(times("Mon, Wed 00:00-24:00"), [(0, 0, 1440), (2, 0, 1440)]);
        assert_eq!(times("Sun-Mon 20:00-02:00"), [(0, 1200, 1560), (6, 1200, 1560)]);
        assert_eq!(times("Mon-Sun 00:00-24:00").len(), 7);
    }

    #[test]
    fn other_weeks_are_refused() {
        for (text, problem) in [
            ("", "names no time"),
            (" , ", "names no time"),
            ("09:00-18:00", "begins with a time"),
            ("Mon", "ends with a day"),
            ("Mon 09:00-18:00, Tue", "ends with a day"),
            ("Monday 09:00-18:00", "neither a day"),
            ("Mon- 09:00-18:00", "neither a day"),
            ("Mon 09:00", "not written as"),
            ("Mon 9-18", "not written as"),
            ("Mon 09:60-18:00", "not written as"),
            ("Mon 09:00-24:01", "not written as"),
            ("Mon 24:00-02:00", "not written as"),
            ("Mon 09:00-09:00", "ends when it begins"),
            ("Mon 09:00–18:00", "not written as"),
            ("Mon 1:0-2:00", "not written as"),
        ] {
            let found = week(text).unwrap_err();
            assert!(found.contains(problem), "{text:?}: {found}");
        }
        let many: Vec<String> = (0..11).map(|hour| format!("{hour}:00-{hour}:30")).collect();
        assert!(week(&format!("Mon {}", many.join(" "))).unwrap_err().contains("more than 10"));
    }

    #[test]
    fn closed_days_are_read() {
        let day = |text: &str| text.parse::<Date>().unwrap();
        for (text, first, last) in [
            ("2026-10-01", "2026-10-01", "2026-10-01"),
            ("2026-10-01..2026-10-07", "2026-10-01", "2026-10-07"),
            ("2024-02-29 .. 2024-02-29", "2024-02-29", "2024-02-29"),
        ] {
            assert_eq!(closed(text), Ok(ClosedDays { first: day(first), last: day(last) }), "{text}");
        }
        for (text, problem) in [
            ("", "is not a date"),
            ("2026-02-29", "is not a date"),
            ("01.10.2026", "is not a date"),
            ("2026-10-01T00:00", "is not a date"),
            ("2026-10-07..2026-10-01", "ends before it begins"),
            ("2026-01-01..2027-01-02", "has more than 366 days"),
        ] {
            assert_eq!(closed(text), Err(problem.to_owned()), "{text}");
        }
        assert!(closed("2026-01-01..2027-01-01").is_ok());
    }

    #[test]
    fn a_misspelt_zone_is_told_with_the_nearest() {
        assert!(zone("Asia/Shanghai").is_ok());
        assert!(zone("Asia/Shanghia").unwrap_err().ends_with("Asia/Shanghai"));
    }
}
