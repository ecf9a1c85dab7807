//! Whatever a stranger sends in headers: it is read or left out, sent on as it was read, and never a panic.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use libfuzzer_sys::fuzz_target;
use resilience_core::grpc::ByCode;
use resilience_core::http::{ByStatus, Headers, retry_after};
use resilience_core::time::{Timestamp, WallTime};
use resilience_core::{Classify, Error};

const NAMES: [&str; 16] = [
    "resilience-timeout-ms",
    "grpc-timeout",
    "resilience-attempt",
    "grpc-previous-rpc-attempts",
    "resilience-criticality",
    "resilience-fencing-token",
    "idempotency-key",
    "correlation-id",
    "causation-id",
    "traceparent",
    "tracestate",
    "baggage",
    "retry-after",
    "date",
    "grpc-status",
    "grpc-retry-pushback-ms",
];

fuzz_target!(|sent: (u16, Vec<(u8, Vec<u8>)>)| {
    let (status, sent) = sent;
    let mut map = HeaderMap::new();
    for (name, value) in sent {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            map.append(HeaderName::from_static(NAMES[usize::from(name) % NAMES.len()]), value);
        }
    }
    for headers in [Headers::http(), Headers::grpc()] {
        let context = headers.extract(&map, || Timestamp::ORIGIN);
        let mut on = HeaderMap::new();
        headers.inject(&context, || Timestamp::ORIGIN, &mut on);
        let again = headers.extract(&on, || Timestamp::ORIGIN);
        assert_eq!(again.trace_parent(), context.trace_parent());
        assert_eq!(again.trace_state(), context.trace_state());
        assert_eq!(again.baggage(), context.baggage());
        assert_eq!(again.correlation_id(), context.correlation_id());
        assert_eq!(again.fencing_token(), context.fencing_token());
        assert!(again.deadline() <= context.deadline() || context.deadline().is_none(), "time is not made on the way");
    }
    let _ = retry_after(&map, || WallTime::from_unix_millis(0));
    let mut response = Response::new(());
    *response.headers_mut() = map;
    if let Ok(status) = http::StatusCode::from_u16(status) {
        *response.status_mut() = status;
    }
    let answer = Ok::<_, Error<std::io::Error>>(response);
    let _ = (ByStatus::default().classify(&answer), ByCode.classify(&answer));
});
