//! Points in time as HTTP writes them.

use crate::time::WallTime;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Reads an `HTTP-date` (RFC 9110, section 5.6.7) in any of its three forms; `None` if it is malformed or before 1970.
///
/// The name of the weekday must be one, but is not held against the date: it adds nothing but a way to be wrong.
pub(super) fn parse(text: &str) -> Option<WallTime> {
    let (day, rest) = match text.split_once(", ") {
        Some(split) => split,
        None => return asctime(text),
    };
    let short = DAYS.iter().any(|name| &name[..3] == day);
    if short {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let [day, month, year, time, "GMT"] = words(rest)? else { return None };
        return moment(number(year, 4)?, month, number(day, 2)?, time);
    }
    // Sunday, 06-Nov-94 08:49:37 GMT
    let (date, time) = rest.strip_suffix(" GMT")?.split_once(' ')?;
    let mut parts = date.split('-');
    let (date, month, year) = (parts.next()?, parts.next()?, number(parts.next()?, 2)?);
    // A two-digit year that seems to be far ahead is in the past; seventy is where every implementation turns.
    let year = if year < 70 { 2000 + year } else { 1900 + year };
    if parts.next().is_some() || !DAYS.contains(&day) {
        return None;
    }
    moment(year, month, number(date, 2)?, time)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &str) -> Option<WallTime> {
    let (weekday, rest) = text.split_at_checked(3)?;
    let (month, rest) = rest.strip_prefix(' ')?.split_at_checked(3)?;
    let (day, rest) = rest.strip_prefix(' ')?.split_at_checked(2)?;
    let (time, year) = rest.strip_prefix(' ')?.split_once(' ')?;
    if !DAYS.iter().any(|name| &name[..3] == weekday) {
        return None;
    }
    let day = day.strip_prefix(' ').map_or_else(|| number(day, 2), |day| number(day, 1))?;
    moment(number(year, 4)?, month, day, time)
}

fn words(text: &str) -> Option<[&str; 5]> {
    let mut words = text.split(' ');
    let found = [words.next()?, words.next()?, words.next()?, words.next()?, words.next()?];
    words.next().is_none().then_some(found)
}

/// A number of exactly `length` digits.
fn number(text: &str, length: usize) -> Option<u64> {
    (text.len() == length).then(|| super::timeout_value::digits(text.as_bytes(), length))?
}

fn moment(year: u64, month: &str, day: u64, time: &str) -> Option<WallTime> {
    let month = MONTHS.iter().position(|name| *name == month)?;
    let mut parts = time.split(':').map(|part| number(part, 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        1 => 28 + u64::from(leap),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    // A leap second is the first of the next minute to everybody who counts seconds of the epoch.
    let valid = (1..=length).contains(&day) && hour < 24 && minute < 60 && second <= 60 && parts.next().is_none();
    if !valid || year < 1970 {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    Some(WallTime::from_unix_millis((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000))
}

/// Days from 1970-01-01 to the first of `month` (from 0), counted in years that begin in March, so that the leap day is
/// the last (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days_before(year: u64, month: usize) -> u64 {
    let month = month as u64;
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 - 719_468
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_three_forms_of_one_moment_are_one_moment() {
        let moment = Some(WallTime::from_unix_millis(784_111_777_000));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), moment);
        assert_eq!(parse("Sunday, 06-Nov-94 08:49:37 GMT"), moment);
        assert_eq!(parse("Sun Nov  6 08:49:37 1994"), moment);
    }

    #[test]
    fn the_calendar_is_the_calendar() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Thu, 01 Mar 2001 00:00:00 GMT", 983_404_800),
            ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800), // a leap second
            ("Thursday, 01-Jan-70 00:00:00 GMT", 0),
            ("Monday, 31-Dec-69 23:59:59 GMT", 3_155_759_999), // of 2069
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ] {
            assert_eq!(parse(text), Some(WallTime::from_unix_millis(seconds * 1_000)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_date_is_none() {
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 30 Feb 1994 08:49:37 GMT",
            "Sun, 29 Feb 1900 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Xun, 06 Nov 1994 08:49:37 GMT",
            "Xunday, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06-Nov-94-1 08:49:37 GMT",
            "Sun Nov 06 08:49:37 94",
            "Xun Nov  6 08:49:37 1994",
            "Sué Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(any: String, near in "[A-Z][a-z]{2}(day)?,? [0-9A-Za-z :-]{0,30}(GMT)?") {
            let _ = (parse(&any), parse(&near));
        }
    }
}
