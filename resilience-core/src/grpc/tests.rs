use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::circuit_breaker::{CircuitBreaker, State};
use crate::{Classification, Classify, Elapsed, Error, Reason, Rejected};

type Failure = Error<&'static str>;

fn metadata(entries: &[(&'static str, &str)]) -> HeaderMap {
    entries.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

#[test]
fn a_code_says_what_it_says_about_the_service() {
    for (number, meaning) in [
        (0, Classification::SUCCESS),
        (1, Classification::IGNORE),
        (2, Classification::PERMANENT),
        (3, Classification::IGNORE),
        (4, Classification::TIMED_OUT),
        (5, Classification::IGNORE),
        (8, Classification::FAILURE),
        (10, Classification::IGNORE.retryable(true)),
        (12, Classification::IGNORE),
        (13, Classification::PERMANENT),
        (14, Classification::FAILURE),
        (15, Classification::PERMANENT),
        (16, Classification::IGNORE),
        (17, Classification::PERMANENT),
    ] {
        assert_eq!(Code::from_number(number).meaning(), meaning, "{number}");
    }
    assert!((0..17).all(|number| Code::from_number(number).number() == number));
    assert_eq!(Code::of(&metadata(&[("grpc-status", "fine")])), Some(Code::Unknown));
    assert_eq!(Code::of(&metadata(&[])), None);
}

/// A6: a wait is a wait, and anything that is none says "do not retry"; it is obeyed, and never asks for a retry that
/// the code does not allow.
#[test]
fn pushback_says_when_or_never() {
    let meaning = |code, pushback: &str| ByCode::meaning(code, &metadata(&[("grpc-retry-pushback-ms", pushback)]));
    assert_eq!(meaning(Code::Unavailable, "0"), Classification::FAILURE.after(Duration::ZERO));
    assert_eq!(meaning(Code::DeadlineExceeded, "1500"), Classification::TIMED_OUT.after(Duration::from_millis(1_500)));
    for never in ["-1", "", "soon", "99999999999"] {
        assert_eq!(meaning(Code::Unavailable, never), Classification::FAILURE.retryable(false), "{never:?}");
    }
    assert_eq!(meaning(Code::InvalidArgument, "5"), Classification::IGNORE);
}

#[test]
fn an_answer_from_a_proxy_that_knows_no_grpc_is_read_by_its_status() {
    let classify = |status: u16, headers: &[(&'static str, &str)]| {
        let mut response = Response::builder().status(status).body(()).unwrap();
        *response.headers_mut() = metadata(headers);
        ByCode.classify(&Ok::<_, Failure>(response))
    };
    assert_eq!(classify(503, &[("retry-after", "2")]), Classification::FAILURE.after(Duration::from_secs(2)));
    assert_eq!(classify(503, &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]), Classification::FAILURE);
    assert_eq!(classify(404, &[]), Classification::IGNORE, "no such method");
    assert_eq!(classify(200, &[]), Classification::SUCCESS, "so far");
    assert_eq!(classify(200, &[("grpc-status", "14")]), Classification::FAILURE);
}

/// CP7, for gRPC: the truth is in the trailers.
#[tokio::test]
async fn a_stream_is_judged_by_its_trailers_and_a_stream_without_any_is_a_failure() {
    for (head, trailer, opens) in [
        (None, Some("0"), false),
        (None, Some("14"), true),
        (None, Some("5"), false),
        (None, None, true), // messages, and then nothing
        (Some("14"), None, true),
        (Some("5"), None, false),
    ] {
        let breaker = CircuitBreaker::builder().consecutive_failures(1).build().unwrap();
        let channel = until_end(breaker.clone()).layer(service_fn(async |_: Request<()>| {
            let trailers = trailer.map(|code| Ok(metadata(&[("grpc-status", code)])));
            let body = Full::<Bytes>::from("a message").with_trailers(async { trailers });
            let mut response = Response::new(body);
            *response.headers_mut() = metadata(&head.map(|code| ("grpc-status", code)).into_iter().collect::<Vec<_>>());
            Ok::<_, Failure>(response)
        }));
        channel.oneshot(Request::new(())).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(breaker.state() == State::Open, opens, "{head:?} {trailer:?}");
    }
}

#[test]
fn each_error_has_its_code_and_its_pushback_rounded_up() {
    for (error, code) in [
        (Failure::from(Rejected::new("p", Reason::Open)), "14"),
        (Rejected::new("p", Reason::NoEndpoint).into(), "14"),
        (Rejected::new("p", Reason::QueueTimeout).into(), "14"),
        (Rejected::new("p", Reason::RateLimited).into(), "8"),
        (Rejected::new("p", Reason::Full { limit: 1, queued: 0 }).into(), "8"),
        (Rejected::new("p", Reason::Deadline).into(), "4"),
        (Rejected::new("p", Reason::Fenced).into(), "9"),
        (Elapsed::new(Duration::from_secs(1)).into(), "4"),
        (Error::Service("a secret"), "2"),
    ] {
        let response = answer::<String, _>(error.clone());
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"application/grpc".parse().unwrap())
        );
        assert_eq!(response.headers()["grpc-status"], code, "{error:?}");
        assert_eq!(response.headers().contains_key("grpc-message"), error.clone().into_service().is_none());
    }
    let wait = |nanos| Failure::from(Rejected::new("p", Reason::Open).with_retry_after(Duration::from_nanos(nanos)));
    assert_eq!(answer::<(), _>(wait(1_000_001)).headers()["grpc-retry-pushback-ms"], "2");
    assert_eq!(answer::<(), _>(wait(u64::MAX)).headers()["grpc-retry-pushback-ms"], i32::MAX.to_string());
}

#[test]
fn a_message_survives_whatever_a_policy_is_called() {
    let refused = Failure::from(Rejected::new(String::from("p\u{e9}%\n"), Reason::Open));
    assert_eq!(answer::<(), _>(refused).headers()["grpc-message"], "refused by p%C3%A9%25%0A: circuit is open");
}

proptest! {
    #[test]
    fn a_pushback_that_is_answered_is_read_and_never_early(nanos in 0..2_000_000_000_000_000_u64) {
        let wait = Duration::from_nanos(nanos);
        let refused = Failure::from(Rejected::new("p", Reason::Open).with_retry_after(wait));
        let read = ByCode.classify(&Ok::<_, Failure>(answer::<(), _>(refused))).retry_after().unwrap();
        prop_assert!(read >= wait && read - wait < Duration::from_millis(1));
    }
}
