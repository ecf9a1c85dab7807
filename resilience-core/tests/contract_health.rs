//! The probes in front of a service, under tower's laws: whatever is no probe passes as if they were not there.
//!
//! The service has to be one that can be cloned, since a probe must not wait for one that is not ready; so this is not
//! undemanding.
#![cfg(all(feature = "tower", feature = "tokio", feature = "http"))]

use http::{Request, Response};
use resilience_core::Error;
use resilience_core::health::{Health, HealthLayer, InFront};
use testkit::contract::{Subject, contract_tests};
use tower::Layer;
use tower::util::{MapRequest, MapResponse};

#[global_allocator]
static ALLOCATOR: testkit::alloc::Counting = testkit::alloc::Counting;

type Failure = Error<&'static str>;

/// The laws call with numbers; on the way through they are requests and responses.
struct OverHttp(HealthLayer);

type Inside<S> = MapResponse<MapRequest<S, fn(Request<u32>) -> u32>, fn(u32) -> Response<String>>;
type Outside<S> = MapResponse<MapRequest<S, fn(u32) -> Request<u32>>, fn(Response<String>) -> u32>;

fn response(number: u32) -> Response<String> {
    Response::builder().extension(number).body(String::new()).unwrap()
}

fn number(response: Response<String>) -> u32 {
    *response.extensions().get().unwrap()
}

impl<S> Layer<S> for OverHttp {
    type Service = Outside<InFront<Inside<S>>>;

    fn layer(&self, inner: S) -> Self::Service {
        let inside: Inside<S> = MapResponse::new(MapRequest::new(inner, Request::into_body), response);
        MapResponse::new(MapRequest::new(self.0.layer(inside), Request::new), number)
    }
}

fn in_front() -> Subject<OverHttp, Failure> {
    let health = Health::builder().build().unwrap();
    Subject::new(OverHttp(HealthLayer::new(health)), || Error::Service("broken"))
}

contract_tests! { mod probes_in_front_keep_the_laws for in_front }

#[test]
fn what_is_no_probe_allocates_nothing_on_its_way() {
    use std::task::{Context, Poll, Waker};
    use tower::{Service, service_fn};

    let health = Health::builder().build().unwrap();
    let inner = service_fn(|_: Request<()>| std::future::ready(Ok::<_, Failure>(Response::new(String::new()))));
    let mut service = HealthLayer::new(health).layer(inner);
    let mut request = Some(Request::get("/sku/7").body(()).unwrap());
    let (allocated, ()) = testkit::alloc::allocations(|| {
        let mut context = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut context).is_ready());
        let answer = std::pin::pin!(service.call(request.take().unwrap())).poll(&mut context);
        assert!(matches!(answer, Poll::Ready(Ok(_))));
    });
    assert_eq!(allocated.count, 0);
}
