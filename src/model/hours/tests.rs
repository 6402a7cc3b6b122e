//! The calendar against a naive one, which asks minute by minute what the clock on the wall shows.

use jiff::civil::date;
use proptest::prelude::*;

use super::*;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 1440 * MINUTE_MS;

/// Zones that change their clocks by an hour, at midnight and by half an hour, each with the days, in Unix days, at which it
/// does: in 2026, 03-08 and 11-01, 03-29 and 10-25, 04-24 and 10-29, 04-04 and 10-04. Two that never do, one of them a day
/// ahead.
const CHANGES: [(&str, i64); 10] = [
    ("America/New_York", 20_520),
    ("America/New_York", 20_758),
    ("Europe/Berlin", 20_541),
    ("Europe/Berlin", 20_751),
    ("Africa/Cairo", 20_567),
    ("Africa/Cairo", 20_755),
    ("Australia/Lord_Howe", 20_547),
    ("Australia/Lord_Howe", 20_730),
    ("Asia/Shanghai", 20_619),
    ("Pacific/Kiritimati", 20_619),
];

/// Whether somebody works in the minute that a clock on the wall shows, found by asking for every shift of that day and
/// of the day before.
fn is_open_naively(hours: &WorkingHours, at: Millis) -> bool {
    let now = timestamp(at).to_zoned_datetime(hours.zone.clone());
    let (today, minute) = (now.date(), i64::from(now.hour()) * 60 + i64::from(now.minute()));
    let works = |day: Date, minute: i64| {
        let weekday = usize::try_from(day.weekday().to_monday_zero_offset()).unwrap();
        let is_closed = hours.closed.iter().any(|closed| day >= closed.first && day <= closed.last);
        let shifts = &hours.shifts[weekday];
        !is_closed && shifts.iter().any(|shift| minute >= shift.start.into() && minute < shift.end.into())
    };
    works(today, minute) || works(today.yesterday().unwrap(), minute + 1440)
}

fn shift() -> impl Strategy<Value = Shift> {
    // Many begin or end where clocks are changed.
    let start = prop_oneof![0_u16..1440, 0_u16..240, 1380_u16..1440, Just(0), Just(120), Just(150)];
    let length = prop_oneof![1_u16..=1440, 1_u16..90, 1_u16..30];
    (start, length).prop_map(|(start, length)| Shift { start, end: start + length })
}

fn hours() -> impl Strategy<Value = (WorkingHours, i64)> {
    let week = prop::collection::vec(prop::collection::vec(shift(), 0..3), 7);
    let closed = prop::collection::vec((-3_i32..4, 0_i32..4), 0..3);
    (week, closed, prop::sample::select(&CHANGES[..])).prop_map(|(mut week, closed, (zone, day))| {
        // Somebody works on one day at least.
        week[0].push(Shift { start: 540, end: 600 });
        let near =
            |days: i64| timestamp(Millis((day + days) * DAY_MS)).to_zoned_datetime(TimeZone::UTC).date();
        let closed = closed
            .into_iter()
            .map(|(first, more)| ClosedDays { first: near(first.into()), last: near((first + more).into()) });
        let week: [Vec<Shift>; 7] = week.try_into().unwrap();
        (WorkingHours::new(week, closed.collect(), time_zone(zone).unwrap()), day)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_calendar_agrees_with_a_naive_one_minute_by_minute((hours, day) in hours(), from in 0_i64..1440) {
        // From a day before the change of the clocks on.
        let start = (day - 1) * DAY_MS + from * MINUTE_MS;
        let mut promised: Option<Millis> = None;
        for minute in 0..3 * 1440 {
            let now = Millis(start + minute * MINUTE_MS);
            let is_open = is_open_naively(&hours, now);
            prop_assert_eq!(hours.is_open(now), is_open, "{} {:?}", timestamp(now), hours);
            if is_open {
                // Clocks are changed at a full minute.
                prop_assert!(promised.is_none_or(|at| at == now), "{:?} {} {:?}", promised, timestamp(now), hours);
                promised = None;
            } else if promised.is_none() || minute % 97 == 0 {
                let next = hours.next_opening(now).unwrap();
                prop_assert!(next > now && promised.is_none_or(|at| at == next), "{} {:?}", timestamp(now), hours);
                promised = Some(next);
            }
        }
        if let Some(opening) = promised {
            prop_assert!(is_open_naively(&hours, opening));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn time_at_work_is_that_of_the_minutes_in_which_somebody_works(
        (hours, day) in hours(), from in 0_i64..1440, work in 1_i64..1440
    ) {
        let start = Millis((day - 1) * DAY_MS + from * MINUTE_MS);
        let mut worked = 0;
        for minute in 0..4 * 1440 {
            worked += i64::from(is_open_naively(&hours, start.plus(minute * MINUTE_MS)));
            if worked == work {
                let expected = start.plus((minute + 1) * MINUTE_MS);
                prop_assert_eq!(hours.after_work(start, work * MINUTE_MS), Some(expected), "{:?}", hours);
                break;
            }
        }
    }
}

#[test]
fn work_that_begins_on_friday_evening_goes_on_on_monday() {
    let zone = "Asia/Shanghai";
    let hours = office(zone, vec![]);
    for (from, minutes, until) in [
        ("2026-10-09T17:30:00", 29, "2026-10-09T17:59:00"),
        ("2026-10-09T17:30:00", 30, "2026-10-09T18:00:00"),
        ("2026-10-09T17:30:00", 31, "2026-10-12T09:01:00"),
        ("2026-10-10T12:00:00", 1, "2026-10-12T09:01:00"),
        ("2026-10-12T08:00:00", 24 * 60, "2026-10-14T15:00:00"),
    ] {
        assert_eq!(
            hours.after_work(at(zone, from), minutes * MINUTE_MS),
            Some(at(zone, until)),
            "{from} {minutes}"
        );
    }
    let always = WorkingHours::new(WorkingHours::whole_week(), Vec::new(), time_zone(zone).unwrap());
    assert_eq!(
        always.after_work(at(zone, "2026-10-09T17:30:00"), DAY_MS),
        Some(at(zone, "2026-10-10T17:30:00"))
    );
}

fn at(zone: &str, text: &str) -> Millis {
    let shown: DateTime = text.parse().unwrap();
    Millis(time_zone(zone).unwrap().to_timestamp(shown).unwrap().as_millisecond())
}

fn office(zone: &str, closed: Vec<ClosedDays>) -> WorkingHours {
    let day = vec![Shift { start: 540, end: 1080 }];
    let week = [day.clone(), day.clone(), day.clone(), day.clone(), day, Vec::new(), Vec::new()];
    WorkingHours::new(week, closed, time_zone(zone).unwrap())
}

#[test]
fn a_week_has_its_hours_and_holidays_do_not() {
    let golden_week = ClosedDays { first: date(2026, 10, 1), last: date(2026, 10, 8) };
    let hours = office("Asia/Shanghai", vec![golden_week]);
    let opening = |text| hours.next_opening(at("Asia/Shanghai", text)).unwrap();
    for (now, opens) in [
        ("2026-09-30T08:59:59", "2026-09-30T09:00:00"),
        ("2026-09-30T09:00:00", "2026-09-30T09:00:00"),
        ("2026-09-30T17:59:59", "2026-09-30T17:59:59"),
        ("2026-09-30T18:00:00", "2026-10-09T09:00:00"),
        ("2026-10-09T18:00:00", "2026-10-12T09:00:00"),
    ] {
        assert_eq!(opening(now), at("Asia/Shanghai", opens), "{now}");
    }
}

#[test]
fn years_without_work_are_passed_quickly_and_an_end_of_time_is_no_panic() {
    let closed = ClosedDays { first: date(2026, 1, 1), last: date(2999, 12, 31) };
    let hours = office("Europe/Berlin", vec![closed]);
    let opens = hours.next_opening(at("Europe/Berlin", "2026-06-01T12:00:00")).unwrap();
    assert_eq!(hours.local(opens).to_string(), "3000-01-01T09:00:00");
    for beyond in [i64::MIN, i64::MAX] {
        let _ = hours.next_opening(Millis(beyond));
    }
}

#[test]
fn time_zones_come_with_the_program() {
    assert!(time_zone("Asia/Shanghai").is_some() && time_zone("asia/seoul").is_some());
    assert!(time_zone("Asia/Atlantis").is_none() && time_zone("../etc/passwd").is_none());
    assert!(time_zone_names().iter().any(|name| name == "Asia/Shanghai"));
}
