//! The layers of HTTP under tower's laws.
#![cfg(all(feature = "tower", feature = "tokio", feature = "http"))]

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use resilience_core::Error;
use resilience_core::bulkhead::Bulkhead;
use resilience_core::circuit_breaker::{Abandoned, CircuitBreaker};
use resilience_core::http::{ExtractLayer, Gate, InjectLayer, UntilEndLayer};
use testkit::contract::{Subject, contract_tests};
use testkit::wakes::Task;
use tower::Layer;
use tower::util::{MapRequest, MapResponse};

type Failure = Error<&'static str>;

/// The laws call with numbers: here they are requests and responses on the way through a layer of HTTP, and numbers
/// again behind it.
struct OverHttp<L>(L);

type Number = Response<Empty<Bytes>>;
type Inside<S> = MapResponse<MapRequest<S, fn(Request<u32>) -> u32>, fn(u32) -> Number>;
type Outside<S, B> = MapResponse<MapRequest<S, fn(u32) -> Request<u32>>, fn(Response<B>) -> u32>;

fn response(number: u32) -> Number {
    Response::builder().extension(number).body(Empty::new()).unwrap()
}

fn number<B>(response: Response<B>) -> u32 {
    *response.extensions().get().unwrap()
}

impl<L> OverHttp<L> {
    fn over<S>(&self, inner: S) -> L::Service
    where
        L: Layer<Inside<S>>,
    {
        self.0.layer(MapResponse::new(MapRequest::new(inner, Request::into_body), response))
    }
}

impl<S> Layer<S> for OverHttp<InjectLayer> {
    type Service = Outside<<InjectLayer as Layer<Inside<S>>>::Service, Empty<Bytes>>;

    fn layer(&self, inner: S) -> Self::Service {
        MapResponse::new(MapRequest::new(self.over(inner), Request::new), number)
    }
}

impl<S> Layer<S> for OverHttp<ExtractLayer> {
    type Service = Outside<<ExtractLayer as Layer<Inside<S>>>::Service, Empty<Bytes>>;

    fn layer(&self, inner: S) -> Self::Service {
        MapResponse::new(MapRequest::new(self.over(inner), Request::new), number)
    }
}

type Held<G> = resilience_core::http::UntilEndBody<Empty<Bytes>, <G as Gate>::Permit>;

impl<S, G: Gate + Clone> Layer<S> for OverHttp<UntilEndLayer<G>> {
    type Service = Outside<<UntilEndLayer<G> as Layer<Inside<S>>>::Service, Held<G>>;

    fn layer(&self, inner: S) -> Self::Service {
        MapResponse::new(MapRequest::new(self.over(inner), Request::new), number)
    }
}

fn injecting() -> Subject<OverHttp<InjectLayer>, Failure> {
    Subject::new(OverHttp(InjectLayer::http()), || Error::Service("broken"))
}

fn extracting() -> Subject<OverHttp<ExtractLayer>, Failure> {
    Subject::new(OverHttp(ExtractLayer::http()), || Error::Service("broken"))
}

fn behind_a_breaker() -> Subject<OverHttp<UntilEndLayer<CircuitBreaker>>, Failure> {
    let breaker = CircuitBreaker::builder().abandoned(Abandoned::Ignore).build().unwrap();
    let refuse = breaker.clone();
    Subject::new(OverHttp(UntilEndLayer::new(breaker)), || Error::Service("broken")).refusing(
        move || {
            refuse.isolate();
            let relent = refuse.clone();
            move || relent.close()
        },
        Error::is_rejected,
    )
}

fn behind_a_bulkhead() -> Subject<OverHttp<UntilEndLayer<Bulkhead>>, Failure> {
    let bulkhead = Bulkhead::builder().limit(2).queue(1).build().unwrap();
    let (holding, refusing) = (bulkhead.clone(), bulkhead.clone());
    let fill = move || {
        let permits: Vec<_> = std::iter::from_fn(|| refusing.try_acquire().ok()).collect();
        let mut waiter = Task::new(refusing.acquire());
        assert!(waiter.run().is_pending());
        move || {
            drop(waiter);
            drop(permits);
        }
    };
    let held = move || {
        let snapshot = holding.snapshot();
        (snapshot.in_flight + snapshot.queued) as usize
    };
    Subject::new(OverHttp(UntilEndLayer::new(bulkhead)), || Error::Service("broken"))
        .holding(held)
        .refusing(fill, Error::is_rejected)
}

contract_tests! { mod injecting_keeps_the_laws for injecting }
contract_tests! { mod extracting_keeps_the_laws for extracting }
contract_tests! { mod holding_a_breaker_until_the_end_keeps_the_laws for behind_a_breaker, also refusal }
contract_tests! { mod holding_a_bulkhead_until_the_end_keeps_the_laws for behind_a_bulkhead, also refusal }
