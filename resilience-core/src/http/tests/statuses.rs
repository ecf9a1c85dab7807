use std::time::Duration;

use http::Response;
use proptest::prelude::*;

use crate::http::{ByStatus, answer, retry_after, status};
use crate::time::{ManualTimer, Timer, WallTime};
use crate::{Class, Classification, Classify, Elapsed, Error, Reason, Rejected};

type Failure = Error<&'static str>;

fn response(status: u16, headers: &[(&'static str, &str)]) -> Result<Response<()>, Failure> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(()).unwrap())
}

#[test]
fn a_status_says_what_it_says_about_the_service() {
    let by_status = ByStatus::default();
    for (status, meaning) in [
        (101, Classification::SUCCESS),
        (200, Classification::SUCCESS),
        (304, Classification::SUCCESS),
        (400, Classification::IGNORE),
        (404, Classification::IGNORE),
        (408, Classification::TIMED_OUT),
        (429, Classification::FAILURE),
        (499, Classification::IGNORE),
        (500, Classification::FAILURE),
        (501, Classification::PERMANENT),
        (502, Classification::FAILURE),
        (503, Classification::FAILURE),
        (504, Classification::TIMED_OUT),
        (505, Classification::PERMANENT),
        (599, Classification::FAILURE),
        (999, Classification::FAILURE),
    ] {
        assert_eq!(by_status.classify(&response(status, &[])), meaning, "{status}");
    }
    let hinted = |status| by_status.classify(&response(status, &[("retry-after", "3")])).retry_after();
    for status in [408, 429, 500, 503, 504] {
        assert_eq!(hinted(status), Some(Duration::from_secs(3)), "{status}");
    }
    assert_eq!((hinted(200), hinted(301), hinted(404), hinted(501)), (None, None, None, None), "nothing to retry");
}

#[test]
fn refusals_and_timeouts_of_our_own_are_not_the_servers() {
    let by_status = ByStatus::default();
    let classify = |error: Failure| by_status.classify(&Err::<Response<()>, _>(error));
    assert_eq!(classify(Rejected::new("b", Reason::Open).into()), Classification::REFUSED);
    assert_eq!(classify(Elapsed::new(Duration::from_secs(1)).into()), Classification::TIMED_OUT);
    assert_eq!(classify(Error::Service("reset")), Classification::FAILURE);
}

#[test]
fn what_a_house_thinks_of_clients_errors_and_quotas_is_its_own_business() {
    let quota = Classification::IGNORE.retryable(true);
    let by_status = ByStatus::default().client_error(Classification::PERMANENT).rate_limited(quota);
    assert_eq!(by_status.classify(&response(404, &[])), Classification::PERMANENT);
    let limited = by_status.classify(&response(429, &[("retry-after", "1")]));
    assert_eq!((limited.class(), limited.retry_after()), (Class::Ignore, Some(Duration::from_secs(1))));
}

#[test]
fn a_date_in_retry_after_is_held_against_the_clock_of_whoever_wrote_it() {
    let wall = WallTime::from_unix_millis(784_111_000_000);
    let headers = |response: Result<Response<()>, Failure>| response.unwrap().into_parts().0.headers;
    let at = ("retry-after", "Sun, 06 Nov 1994 08:50:00 GMT"); // 784111800
    let by_date = headers(response(503, &[at, ("date", "Sun, 06 Nov 1994 08:49:37 GMT")]));
    assert_eq!(retry_after(&by_date, || unreachable!()), Some(Duration::from_secs(23)));
    let by_clock = headers(response(503, &[at, ("date", "nonsense")]));
    assert_eq!(retry_after(&by_clock, || wall), Some(Duration::from_secs(800)));
    assert_eq!(retry_after(&by_clock, || WallTime::from_unix_millis(u64::MAX)), Some(Duration::ZERO), "it has passed");

    let timer = ManualTimer::new();
    let by_status = ByStatus::default().timer(timer.clone());
    let meaning = by_status.classify(&response(503, &[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")]));
    let left = Duration::from_millis(253_402_300_799_000 - timer.wall().as_unix_millis());
    assert_eq!(meaning.retry_after(), Some(left));
}

#[test]
fn a_malformed_retry_after_is_no_hint() {
    for value in ["", "-1", "1.5", "+1", "soon", "99999999999999999999"] {
        assert_eq!(
            ByStatus::default().classify(&response(503, &[("retry-after", value)])),
            Classification::FAILURE,
            "{value:?}"
        );
    }
    let endless = ByStatus::default().classify(&response(503, &[("retry-after", "9999999999999999999")]));
    assert_eq!(endless.retry_after(), Some(Duration::from_secs(9_999_999_999_999_999_999)));
}

/// RL6: a wait of 200 ms is `Retry-After: 1`, not 0: rounded down, every client that keeps to it is early and refused
/// again.
#[test]
fn a_refusal_is_answered_with_its_wait_rounded_up() {
    let header = |wait| {
        let refused: Failure = Rejected::new("quota", Reason::RateLimited).with_retry_after(wait).into();
        let response = answer::<(), _>(refused);
        response.headers()["retry-after"].to_str().unwrap().to_owned()
    };
    for (millis, seconds) in [(0, "0"), (1, "1"), (200, "1"), (1_000, "1"), (1_001, "2")] {
        assert_eq!(header(Duration::from_millis(millis)), seconds);
    }
    assert_eq!(super::super::retry_after::seconds(Duration::MAX), u64::MAX, "no overflow");
    assert!(header(Duration::MAX).len() >= 11, "for centuries");
    assert!(
        !answer::<(), _>(Failure::from(Rejected::new("b", Reason::Isolated))).headers().contains_key("retry-after")
    );
}

#[test]
fn each_error_has_its_status() {
    for (reason, expected) in [
        (Reason::Open, 503),
        (Reason::Probing, 503),
        (Reason::Isolated, 503),
        (Reason::Full { limit: 1, queued: 0 }, 503),
        (Reason::QueueTimeout, 503),
        (Reason::RateLimited, 429),
        (Reason::Deadline, 504),
        (Reason::NoEndpoint, 503),
        (Reason::Fenced, 409),
    ] {
        assert_eq!(status(&Failure::from(Rejected::new("p", reason))), expected, "{reason:?}");
    }
    assert_eq!(status(&Failure::from(Elapsed::new(Duration::from_secs(1)))), 504);
    assert_eq!(status(&Failure::Service("own")), 500);
}

proptest! {
    #[test]
    fn who_keeps_to_retry_after_is_never_early_and_less_than_a_second_late(nanos in 0..u64::MAX) {
        let wait = Duration::from_nanos(nanos);
        let refused: Failure = Rejected::new("quota", Reason::RateLimited).with_retry_after(wait).into();
        let answered = answer::<(), _>(refused);
        let read = retry_after(answered.headers(), || unreachable!()).unwrap();
        prop_assert!(read >= wait && read - wait < Duration::from_secs(1));
    }

    #[test]
    fn no_retry_after_is_too_strange(value: Vec<u8>, date: Vec<u8>) {
        let mut headers = http::HeaderMap::new();
        for (name, value) in [("retry-after", value), ("date", date)] {
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                headers.insert(name, value);
            }
        }
        let _ = retry_after(&headers, || WallTime::from_unix_millis(0));
    }
}
