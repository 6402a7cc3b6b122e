//! Working hours: a week of shifts in a time zone, without the days on which nobody works. Pure: the time is a parameter.
//!
//! All times are those of the wall clock in the zone, also while it is changed: a shift lasts an hour less when an hour
//! is skipped, and a shift within the hour that is repeated takes place twice.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use super::Millis;

/// Minutes of a day.
const DAY_MIN: u16 = 1440;
/// The most days that are looked at for an opening. A week always has one, and days that follow each other and on which
/// nobody works count as one.
const MAX_DAYS: usize = 20_000;

/// A shift: minutes after the midnight with which its day begins. One that ends after 1440 goes on into the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shift {
    /// Its first minute, below 1440.
    pub start: u16,
    /// The minute that is not part of it any more, above `start` and at most `start` + 1440.
    pub end: u16,
}

/// Days on which no shift begins, the last one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedDays {
    /// The first day.
    pub first: Date,
    /// The last day.
    pub last: Date,
}

/// When somebody works.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkingHours {
    /// The shifts that begin on each weekday, from Monday on.
    shifts: [Vec<Shift>; 7],
    closed: Vec<ClosedDays>,
    zone: TimeZone,
}

impl fmt::Debug for WorkingHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkingHours")
            .field("shifts", &self.shifts)
            .field("closed", &self.closed)
            .field("zone", &self.zone.iana_name())
            .finish()
    }
}

/// The time zone of this name in the IANA database that the program contains; `None` if there is none.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// The names of all time zones.
pub fn time_zone_names() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
}

impl WorkingHours {
    /// The hours of a week, from Monday on, except on the `closed` days.
    pub fn new(shifts: [Vec<Shift>; 7], closed: Vec<ClosedDays>, zone: TimeZone) -> Self {
        Self { shifts, closed, zone }
    }

    /// Every hour of the week.
    pub fn whole_week() -> [Vec<Shift>; 7] {
        std::array::from_fn(|_| vec![Shift { start: 0, end: DAY_MIN }])
    }

    /// The date and time that a clock on the wall shows.
    pub fn local(&self, at: Millis) -> DateTime {
        self.zone.to_datetime(timestamp(at))
    }

    /// Whether somebody works at this time.
    pub fn is_open(&self, at: Millis) -> bool {
        self.is_open_locally(self.local(at))
    }

    fn is_open_locally(&self, now: DateTime) -> bool {
        let minute = minute_of_day(now);
        let is_within = |day: Date, minute: u16| {
            self.shifts_of(day).iter().any(|shift| (shift.start..shift.end).contains(&minute))
        };
        is_within(now.date(), minute)
            || now.date().yesterday().is_ok_and(|yesterday| is_within(yesterday, minute + DAY_MIN))
    }

    /// The first time from `at` on at which somebody works: `at` itself if somebody does. `None` only beyond the years
    /// that calendars know.
    pub fn next_opening(&self, at: Millis) -> Option<Millis> {
        if self.is_open(at) {
            return Some(at);
        }
        let at = timestamp(at);
        let mut changes = self.zone.following(at).map(|change| change.timestamp()).peekable();
        let mut day = self.zone.to_datetime(at).date();
        for _ in 0..MAX_DAYS {
            // The desk opens when a shift begins, or when the clock is moved into one.
            let mut candidates: Vec<Timestamp> =
                self.shifts_of(day).iter().flat_map(|shift| self.instants(day, shift.start)).collect();
            while let Some(change) = changes.next_if(|change| self.zone.to_datetime(*change).date() <= day) {
                candidates.push(change);
            }
            let is_opening =
                |instant: &Timestamp| *instant > at && self.is_open_locally(self.zone.to_datetime(*instant));
            if let Some(opening) = candidates.into_iter().filter(is_opening).min() {
                return Some(Millis(opening.as_millisecond()));
            }
            day = self.closed_days(day).map_or(day, |closed| closed.last).tomorrow().ok()?;
        }
        None
    }

    /// The first time after `at`, at which somebody works, at which nobody does. `None` if there is none within many
    /// years.
    fn next_closing(&self, at: Millis) -> Option<Millis> {
        let at = timestamp(at);
        let mut changes = self.zone.following(at).map(|change| change.timestamp()).peekable();
        let mut day = self.zone.to_datetime(at).date();
        for _ in 0..MAX_DAYS {
            // The desk closes when a shift ends, also one of the day before, or when the clock is moved out of one.
            let ends = |day: Date| self.shifts_of(day).iter().map(|shift| shift.end);
            let of_yesterday = day.yesterday().ok().into_iter().flat_map(ends);
            let minutes = ends(day).filter(|end| *end < DAY_MIN);
            let minutes = minutes.chain(of_yesterday.filter_map(|end| end.checked_sub(DAY_MIN)));
            let mut candidates: Vec<Timestamp> =
                minutes.flat_map(|minute| self.instants(day, minute)).collect();
            while let Some(change) = changes.next_if(|change| self.zone.to_datetime(*change).date() <= day) {
                candidates.push(change);
            }
            let is_closing =
                |instant: &Timestamp| *instant > at && !self.is_open_locally(self.zone.to_datetime(*instant));
            if let Some(closing) = candidates.into_iter().filter(is_closing).min() {
                return Some(Millis(closing.as_millisecond()));
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    /// When `worked_ms` milliseconds have passed since `from` in which somebody works. `None` only beyond the years that
    /// calendars know.
    pub fn after_work(&self, from: Millis, mut worked_ms: i64) -> Option<Millis> {
        let mut at = from;
        for _ in 0..MAX_DAYS {
            at = self.next_opening(at)?;
            match self.next_closing(at) {
                Some(closing) if closing.since(at) < worked_ms => {
                    worked_ms -= closing.since(at);
                    at = closing;
                }
                _ => return Some(at.plus(worked_ms)),
            }
        }
        None
    }

    /// The shifts that begin on this day.
    fn shifts_of(&self, day: Date) -> &[Shift] {
        if self.closed_days(day).is_some() {
            return &[];
        }
        let weekday = usize::try_from(day.weekday().to_monday_zero_offset()).unwrap_or_default();
        self.shifts.get(weekday).map_or(&[], Vec::as_slice)
    }

    fn closed_days(&self, day: Date) -> Option<&ClosedDays> {
        self.closed.iter().find(|closed| (closed.first..=closed.last).contains(&day))
    }

    /// When the clock on the wall shows this minute of a day. An hour that is repeated has it twice; where it is skipped,
    /// the clock shows other times then.
    fn instants(&self, day: Date, minute: u16) -> impl Iterator<Item = Timestamp> + use<> {
        let (hour, minute) = (i8::try_from(minute / 60), i8::try_from(minute % 60));
        let time = hour.ok().zip(minute.ok()).and_then(|(hour, minute)| Time::new(hour, minute, 0, 0).ok());
        let shown = day.to_datetime(time.unwrap_or_else(Time::midnight));
        let offsets = match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
            AmbiguousOffset::Gap { before, after } | AmbiguousOffset::Fold { before, after } => {
                [Some(before), Some(after)]
            }
        };
        offsets.into_iter().flatten().filter_map(move |offset| offset.to_timestamp(shown).ok())
    }
}

fn minute_of_day(now: DateTime) -> u16 {
    let (hour, minute) = (now.hour().unsigned_abs(), now.minute().unsigned_abs());
    u16::from(hour) * 60 + u16::from(minute)
}

/// Far beyond any real time the calendar stands still.
fn timestamp(at: Millis) -> Timestamp {
    let outermost = if at.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at.0).unwrap_or(outermost)
}

#[cfg(test)]
mod tests;
