//! Formats points in time, in UTC, and reads how long ago something was.

use crate::model::Millis;

/// Formats a point in time as `2023-11-14 22:13:20.123Z`.
pub fn utc(at: Millis) -> String {
    let (seconds, millis) = (at.0.div_euclid(1000), at.0.rem_euclid(1000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date_of_day(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Formats a point in time as RFC 3339 has it, in whole seconds: `2023-11-14T22:13:20Z`.
pub fn rfc3339(seconds: i64) -> String {
    let text = utc(Millis(seconds.saturating_mul(1000)));
    format!("{}Z", text.get(..19).unwrap_or(&text).replace(' ', "T"))
}

/// Converts a number of days since 1970-01-01 to year, month and day.
///
/// Counts years from March, so that the leap day is the last day of its year, and eras of 400
/// years, which all have the same number of days.
fn date_of_day(days: i64) -> (i64, i64, i64) {
    let since_era_0 = days + 719_468;
    let (era, day_of_era) = (since_era_0.div_euclid(146_097), since_era_0.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Reads an age such as `90s`, `15m`, `2h` or `3d`, in milliseconds.
pub fn age_ms(text: &str) -> Result<i64, String> {
    let units = [('s', 1_000), ('m', 60_000), ('h', 3_600_000), ('d', 86_400_000)];
    let parsed = units.into_iter().find_map(|(unit, unit_ms)| {
        let number = text.strip_suffix(unit)?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| number.parse::<i64>().ok()?.checked_mul(unit_ms)).flatten()
    });
    parsed.ok_or_else(|| "write a number with s, m, h or d, such as 90s or 3d".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times_are_formatted() {
        for (millis, text) in [
            (0, "1970-01-01 00:00:00.000Z"),
            (-1, "1969-12-31 23:59:59.999Z"),
            (951_782_400_000, "2000-02-29 00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14 22:13:20.123Z"),
            (4_107_542_399_000, "2100-02-28 23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00.000Z"),
        ] {
            assert_eq!(utc(Millis(millis)), text);
        }
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn an_age_is_a_number_with_a_unit() {
        for (text, age) in
            [("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("3d", 259_200_000), ("0s", 0)]
        {
            assert_eq!(age_ms(text), Ok(age), "{text}");
        }
        for text in ["", "s", "5", "-5s", "+5s", "1.5h", "5 s", "5w", "99999999999999999d"] {
            assert!(age_ms(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_day_after_a_day_is_the_next_of_the_calendar(days in -1_000_000_i64..1_000_000) {
            let (year, month, day) = date_of_day(days);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month { 2 => 28 + i64::from(leap), 4 | 6 | 9 | 11 => 30, _ => 31 };
            let next = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, day) if day == length => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
            prop_assert_eq!(date_of_day(days + 1), next);
        }
    }
}
