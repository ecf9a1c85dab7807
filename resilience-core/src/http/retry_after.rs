//! When a server wants to be called again.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use super::{date, timeout_value};
use crate::time::WallTime;

/// What the `Retry-After` header of a response asks for; `None` without one, and for one that is malformed.
///
/// It is seconds, or a date. A date is held against the server's own `Date` header where there is one, so that clocks
/// which disagree do no harm, and against `now` otherwise. A date that has passed asks for nothing: zero.
///
/// ```
/// use std::time::Duration;
/// use http::HeaderMap;
/// use resilience_core::http::retry_after;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("retry-after", "120".parse()?);
/// assert_eq!(retry_after(&headers, || unreachable!("needs no clock")), Some(Duration::from_secs(120)));
///
/// headers.insert("date", "Sun, 06 Nov 1994 08:49:37 GMT".parse()?);
/// headers.insert("retry-after", "Sun, 06 Nov 1994 08:50:00 GMT".parse()?);
/// assert_eq!(retry_after(&headers, || unreachable!("the server said what time it is")), Some(Duration::from_secs(23)));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn retry_after(headers: &HeaderMap, now: impl FnOnce() -> WallTime) -> Option<Duration> {
    hint(headers, || Some(now()))
}

/// As [`retry_after`], where there may be no clock.
pub(super) fn hint(headers: &HeaderMap, now: impl FnOnce() -> Option<WallTime>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.as_bytes();
    // Nineteen digits fit a `u64`; whoever sends more does not mean it.
    if let Some(seconds) = timeout_value::digits(value, 19) {
        return Some(Duration::from_secs(seconds));
    }
    let at = date::parse(std::str::from_utf8(value).ok()?)?;
    let said = headers.get(DATE).and_then(|value| date::parse(value.to_str().ok()?));
    let now = said.or_else(now)?;
    Some(Duration::from_millis(at.as_unix_millis().saturating_sub(now.as_unix_millis())))
}

/// Whole seconds, rounded up: who comes back a moment early is refused again.
pub(super) fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}
