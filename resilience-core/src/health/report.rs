//! What a probe is answered.

use std::time::Duration;

use super::machine::Weight;
use super::{Probe, Status};
use crate::Name;
use crate::json::Object;
use crate::time::WallTime;

/// The health of a program at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// What was asked.
    pub probe: Probe,
    /// All in all: down if a critical check is, degraded if any other is not up.
    pub status: Status,
    /// Each check that was asked for, in the order in which they were added.
    pub checks: Vec<Checked>,
    /// When, on the calendar.
    pub timestamp: WallTime,
}

/// What one check says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Checked {
    /// Its name. A policy's is `PATTERN/NAME`.
    pub name: Name,
    /// What its answer means.
    pub status: Status,
    /// Whether it can take the program out of service.
    pub critical: bool,
    /// Why its last run failed, if it did.
    pub error: Option<String>,
    /// How long the last run took.
    pub took: Option<Duration>,
    /// How long ago the last run ended.
    pub age: Option<Duration>,
    /// How long ago it was good.
    pub last_good: Option<Duration>,
}

impl Checked {
    /// Something that is known without asking.
    pub(super) fn known(name: impl Into<Name>, status: Status, critical: bool, error: Option<String>) -> Self {
        Self { name: name.into(), status, critical, error, took: None, age: None, last_good: None }
    }

    pub(super) fn of(name: Name, memory: &super::machine::Memory, now: crate::time::Timestamp, weight: Weight) -> Self {
        Self {
            name,
            status: memory.status(now, weight),
            critical: weight.critical,
            error: memory.last.as_ref().and_then(|run| run.error.clone()),
            took: memory.last.as_ref().map(|run| run.took),
            age: memory.last.as_ref().map(|run| now.since(run.ended)),
            last_good: memory.last_good.map(|good| now.since(good)),
        }
    }
}

impl Report {
    pub(super) fn new(probe: Probe, checks: Vec<Checked>, timestamp: WallTime) -> Self {
        let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Up);
        Self { probe, status, checks, timestamp }
    }

    /// The check called `name`.
    pub fn check(&self, name: &str) -> Option<&Checked> {
        self.checks.iter().find(|check| check.name.as_str() == name)
    }

    /// As JSON: `{status, checks: {NAME: {status, critical, ...}}, timestamp}`. Times are in seconds, the timestamp is of
    /// RFC 3339.
    pub fn to_json(&self) -> String {
        self.json(true)
    }

    /// As [`to_json`](Self::to_json), without what the checks gave as errors: for those who should not read them.
    pub fn to_json_without_errors(&self) -> String {
        self.json(false)
    }

    fn json(&self, errors: bool) -> String {
        let mut out = String::with_capacity(64 + 96 * self.checks.len());
        let mut report = Object::begin(&mut out);
        report.text("status", self.status.label());
        report.object("checks", |checks| {
            for check in &self.checks {
                checks.object(&check.name, |out| check.write(out, errors));
            }
        });
        report.text("timestamp", &rfc3339(self.timestamp));
        report.end();
        out
    }
}

impl Checked {
    fn write(&self, out: &mut Object<'_>, errors: bool) {
        out.text("status", self.status.label());
        out.flag("critical", self.critical);
        if let Some(error) = self.error.as_ref().filter(|_| errors) {
            out.text("error", error);
        }
        for (name, time) in [("took", self.took), ("age", self.age), ("last_good", self.last_good)] {
            if let Some(time) = time {
                out.number(name, time.as_secs_f64());
            }
        }
    }
}

/// `2026-11-21T03:37:22.120Z`. The days are turned into a date by Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn rfc3339(time: WallTime) -> String {
    let millis = time.as_unix_millis();
    let (days, of_day) = (millis / 86_400_000, millis % 86_400_000);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March, so that the leap day comes last.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, early) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year_of_era + era * 400 + early;
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", millis % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days_and_the_ends_of_years() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(WallTime::from_unix_millis(millis)), text);
        }
        let _ = rfc3339(WallTime::from_unix_millis(u64::MAX));
    }
}
