use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use proptest::prelude::*;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::context::{self, Baggage, Context, Criticality, FencingToken, TraceParent, TraceState};
use crate::http::{ExtractLayer, Headers, InjectLayer, LONGEST_ID};
use crate::retry::{Backoff, Retry};
use crate::time::{ManualTimer, SharedTimer, Timer, Timestamp};
use crate::timeout::Timeout;
use crate::{Error, LiftLayer};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn full() -> Context {
    Context::new()
        .with_deadline(Timestamp::ORIGIN + Duration::from_millis(1_500))
        .with_attempt(3)
        .with_criticality(Criticality::SheddablePlus)
        .with_idempotency_key("order-17")
        .with_correlation_id("checkout-9")
        .with_causation_id("click-4")
        .with_fencing_token(FencingToken::new(u64::MAX))
        .with_trace_parent(TraceParent::parse(PARENT).unwrap())
        .with_trace_state(TraceState::parse("congo=t61,rojo=00f").unwrap())
        .with_baggage(Baggage::parse("tenant=blue").unwrap())
}

fn injected(headers: &Headers, context: &Context) -> HeaderMap {
    let mut map = HeaderMap::new();
    headers.inject(context, || Timestamp::ORIGIN, &mut map);
    map
}

fn seen(context: &Context) -> String {
    format!(
        "{:?} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        context.deadline(),
        context.attempt(),
        context.criticality(),
        context.idempotency_key(),
        context.correlation_id(),
        context.causation_id(),
        context.fencing_token(),
        context.trace_parent(),
        context.trace_state(),
        context.baggage()
    )
}

#[test]
fn all_of_a_context_survives_the_wire() {
    for headers in [Headers::http(), Headers::grpc()] {
        let map = injected(&headers, &full());
        assert_eq!(map.len(), 10);
        assert_eq!(seen(&headers.extract(&map, || Timestamp::ORIGIN)), seen(&full()));
    }
    let http = injected(&Headers::http(), &full());
    assert_eq!(http["resilience-timeout-ms"], "1500");
    assert_eq!(
        (&http["resilience-attempt"], &http["resilience-criticality"]),
        (&"3".parse().unwrap(), &"sheddable-plus".parse().unwrap())
    );
    assert_eq!(
        (&http["traceparent"], &http["tracestate"]),
        (&PARENT.parse().unwrap(), &"congo=t61,rojo=00f".parse().unwrap())
    );
    let grpc = injected(&Headers::grpc(), &full());
    assert_eq!(
        (&grpc["grpc-timeout"], &grpc["grpc-previous-rpc-attempts"]),
        (&"1500000u".parse().unwrap(), &"2".parse().unwrap())
    );
}

#[test]
fn an_ordinary_first_attempt_costs_no_header_and_no_clock() {
    let mut map = HeaderMap::new();
    Headers::http().inject(&Context::new(), || unreachable!("no clock is read"), &mut map);
    assert!(map.is_empty());
    let context = Headers::http().extract(&map, || unreachable!("no clock is read"));
    assert_eq!(seen(&context), seen(&Context::new()));
}

/// TO2: 100 ms outside, 500 ms inside: what is sent downstream is what is left of the 100 ms, less at each attempt.
/// Peers send the inner limit, or the same at each attempt, and the server works on for a caller who is gone.
#[tokio::test(start_paused = true)]
async fn each_attempt_is_sent_with_the_time_that_is_left_and_its_number() {
    let limit = |millis| Timeout::builder().limit(Duration::from_millis(millis)).build().unwrap().layer();
    let backoff =
        Backoff::exponential(Duration::from_millis(20), Duration::from_millis(20)).jitter(crate::retry::Jitter::None);
    let sent = std::sync::Mutex::new(Vec::new());
    let client = ServiceBuilder::new()
        .layer(limit(100))
        .layer(Retry::builder().attempts(3).backoff(backoff).build().unwrap().http_layer())
        .layer(limit(500))
        .layer(LiftLayer)
        .layer(InjectLayer::http())
        .service(service_fn(|request: Request<()>| {
            let header =
                |name| request.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
            sent.lock().unwrap().push((header("resilience-timeout-ms").unwrap(), header("resilience-attempt")));
            async { Ok::<_, std::io::Error>(Response::builder().status(502).body(()).unwrap()) }
        }));
    let response = client.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 502);
    let sent = sent.lock().unwrap().clone();
    let expected = [("100", None), ("80", Some("2")), ("60", Some("3"))];
    assert_eq!(sent, expected.map(|(left, attempt)| (left.to_owned(), attempt.map(str::to_owned))));
}

/// A request that is served is not the calls made on its behalf: under its key, two of them would be taken for one; and
/// each is its own first attempt.
#[tokio::test(start_paused = true)]
async fn a_server_passes_on_what_is_the_requests_and_not_what_is_the_hops() {
    let timer = ManualTimer::new();
    let outgoing = InjectLayer::new(Headers::http(), timer.clone());
    let server = ServiceBuilder::new().layer(ExtractLayer::new(Headers::http(), timer.clone())).service(service_fn(
        async |_: Request<()>| {
            assert_eq!((context::attempt(), context::idempotency_key().as_deref()), (3, Some("order-17")));
            timer.advance(Duration::from_millis(500));
            let client = ServiceBuilder::new()
                .layer(outgoing.clone())
                .service(service_fn(async |request: Request<()>| Ok::<_, Error<()>>(request.headers().clone())));
            client.oneshot(Request::new(())).await
        },
    ));
    let mut request = Request::new(());
    *request.headers_mut() = injected(&Headers::http(), &full());
    let sent = server.oneshot(request).await.unwrap();
    assert_eq!(sent["resilience-timeout-ms"], "1000", "and time has passed here");
    for gone in ["resilience-attempt", "idempotency-key", "causation-id"] {
        assert!(!sent.contains_key(gone), "{gone}");
    }
    for kept in
        ["resilience-criticality", "correlation-id", "traceparent", "tracestate", "baggage", "resilience-fencing-token"]
    {
        assert!(sent.contains_key(kept), "{kept}");
    }
}

#[test]
fn a_limit_of_the_servers_own_holds_for_whatever_a_client_asks() {
    let timer = SharedTimer::from(ManualTimer::new());
    let outer = Context::new().with_deadline(timer.now() + Duration::from_secs(1));
    let mut asked = HeaderMap::new();
    asked.insert("resilience-timeout-ms", HeaderValue::from_static("60000"));
    let context = Headers::http().extend(outer.clone(), &asked, || timer.now());
    assert_eq!(context.deadline(), outer.deadline());
}

#[test]
fn a_header_that_is_there_was_set_on_purpose() {
    let mut map = HeaderMap::new();
    let other = "00-11111111111111111111111111111111-2222222222222222-00";
    map.insert("traceparent", HeaderValue::from_static(other));
    map.insert("idempotency-key", HeaderValue::from_static("mine"));
    map.insert("resilience-timeout-ms", HeaderValue::from_static("20"));
    Headers::http().inject(&full(), || Timestamp::ORIGIN, &mut map);
    assert_eq!(map["traceparent"], other);
    assert!(!map.contains_key("tracestate"), "ours belongs to another trace");
    assert_eq!(
        (&map["idempotency-key"], &map["resilience-timeout-ms"]),
        (&"mine".parse().unwrap(), &"20".parse().unwrap())
    );
    map.insert("resilience-timeout-ms", HeaderValue::from_static("2000"));
    Headers::http().inject(&full(), || Timestamp::ORIGIN, &mut map);
    assert_eq!(map["resilience-timeout-ms"], "1500", "the smaller limit holds");
}

#[test]
fn a_state_that_belongs_to_no_trace_does_not_get_into_ours() {
    let mut map = HeaderMap::new();
    map.insert("tracestate", HeaderValue::from_static("stray=1"));
    let context = Context::new().with_trace_parent(TraceParent::parse(PARENT).unwrap());
    Headers::http().inject(&context, || Timestamp::ORIGIN, &mut map);
    assert!(map.contains_key("traceparent") && !map.contains_key("tracestate"));
}

#[test]
fn what_cannot_be_sent_as_it_is_is_not_sent() {
    let long = "k".repeat(LONGEST_ID + 1);
    for key in ["", "a\nb", "a\u{e9}", " a", "\"a\"", &long] {
        let map = injected(&Headers::http(), &Context::new().with_idempotency_key(key));
        assert!(map.is_empty(), "{key:?}");
    }
    let exact = &long[1..];
    assert_eq!(injected(&Headers::http(), &Context::new().with_idempotency_key(exact))["idempotency-key"], exact);
}

#[test]
fn what_is_malformed_or_sent_twice_is_as_if_it_were_not_there() {
    let read = |name: &'static str, values: &[&str]| {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(name, value.parse().unwrap());
        }
        seen(&Headers::http().extract(&map, || Timestamp::ORIGIN))
    };
    let nothing = seen(&Context::new());
    let long = "k".repeat(LONGEST_ID + 1);
    for (name, values) in [
        ("resilience-timeout-ms", &["1.5"][..]),
        ("resilience-timeout-ms", &["5", "6"]),
        ("resilience-attempt", &["0"]),
        ("resilience-attempt", &["+2"]),
        ("resilience-attempt", &["4294967296"]),
        ("resilience-criticality", &["Critical-Plus"]),
        ("resilience-criticality", &["sheddable", "sheddable"]),
        ("resilience-fencing-token", &["18446744073709551616"]),
        ("resilience-fencing-token", &["-1"]),
        ("idempotency-key", &["a", "b"]),
        ("idempotency-key", &["\"a"]),
        ("idempotency-key", &["\"a\\\"b\""]),
        ("correlation-id", &[&long]),
        ("traceparent", &[PARENT, PARENT]),
        ("tracestate", &["a=1"]),
        ("baggage", &["a=1", "b"]),
    ] {
        assert_eq!(read(name, values), nothing, "{name}: {values:?}");
    }
    assert!(read("idempotency-key", &["\"quoted\""]).contains("Some(\"quoted\")"));
    assert!(read("baggage", &["a=1", "b=2"]).contains("a=1,b=2"));
}

#[test]
fn a_malformed_trace_parent_takes_its_state_along_and_a_malformed_state_goes_alone() {
    let mut map = HeaderMap::new();
    map.insert("traceparent", HeaderValue::from_static("00-nonsense"));
    map.insert("tracestate", HeaderValue::from_static("a=1"));
    let context = Headers::http().extract(&map, || Timestamp::ORIGIN);
    assert_eq!((context.trace_parent(), context.trace_state()), (None, None));
    map.insert("traceparent", HeaderValue::from_static(PARENT));
    map.append("tracestate", HeaderValue::from_static("A=1"));
    let context = Headers::http().extract(&map, || Timestamp::ORIGIN);
    assert_eq!((context.trace_parent(), context.trace_state()), (TraceParent::parse(PARENT), None));
}

#[test]
fn at_the_edge_a_stranger_cannot_make_itself_important() {
    let map = injected(&Headers::http(), &full());
    let context = Headers::http().at_the_edge().extract(&map, || Timestamp::ORIGIN);
    let harmless = Context::new()
        .with_deadline(Timestamp::ORIGIN + Duration::from_millis(1_500))
        .with_idempotency_key("order-17")
        .with_correlation_id("checkout-9")
        .with_trace_parent(TraceParent::parse(PARENT).unwrap())
        .with_trace_state(TraceState::parse("congo=t61,rojo=00f").unwrap());
    assert_eq!(seen(&context), seen(&harmless));
}

#[test]
fn a_deadline_that_has_passed_is_sent_as_no_time_at_all() {
    let timer = ManualTimer::new();
    let context = Context::new().with_deadline(timer.now());
    timer.advance(Duration::from_secs(1));
    for (headers, name, value) in
        [(Headers::http(), "resilience-timeout-ms", "0"), (Headers::grpc(), "grpc-timeout", "0n")]
    {
        let mut map = HeaderMap::new();
        headers.inject(&context, || timer.now(), &mut map);
        assert_eq!(map[name], value);
        let there = headers.extract(&map, || timer.now()).deadline().unwrap();
        assert_eq!(there.remaining(timer.now()), None);
    }
}

#[test]
fn a_house_keeps_its_own_names() {
    let name = |name| HeaderName::from_static(name);
    let house = Headers::http()
        .timeout(name("x-timeout"))
        .attempt(name("x-attempt"))
        .criticality(name("x-criticality"))
        .correlation_id(name("x-request-id"))
        .causation_id(name("x-cause"))
        .fencing_token(name("x-fence"));
    let map = injected(&house, &full());
    for name in ["x-timeout", "x-attempt", "x-criticality", "x-request-id", "x-cause", "x-fence"] {
        assert!(map.contains_key(name), "{name}");
    }
    assert_eq!(seen(&house.extract(&map, || Timestamp::ORIGIN)), seen(&full()));
}

proptest! {
    /// A stranger may send any bytes under any of the names: it costs at most what they say.
    #[test]
    fn no_header_is_too_strange(values in prop::collection::vec((0..11_usize, any::<Vec<u8>>()), 0..20)) {
        const NAMES: [&str; 11] = [
            "resilience-timeout-ms", "grpc-timeout", "resilience-attempt", "grpc-previous-rpc-attempts", "traceparent",
            "tracestate", "baggage", "idempotency-key", "correlation-id", "resilience-fencing-token",
            "resilience-criticality",
        ];
        let mut map = HeaderMap::new();
        for (name, value) in values {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                map.append(NAMES[name], value);
            }
        }
        for headers in [Headers::http(), Headers::grpc()] {
            let context = headers.extract(&map, || Timestamp::ORIGIN);
            let mut sent = HeaderMap::new();
            headers.inject(&context, || Timestamp::ORIGIN, &mut sent);
            let again = headers.extract(&sent, || Timestamp::ORIGIN);
            prop_assert_eq!(again.correlation_id(), context.correlation_id());
            prop_assert_eq!(again.trace_state(), context.trace_state());
            prop_assert_eq!(again.baggage(), context.baggage());
            prop_assert!(again.deadline() <= context.deadline() || context.deadline().is_none());
        }
    }
}
