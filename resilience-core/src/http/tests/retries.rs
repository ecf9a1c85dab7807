use std::cell::Cell;
use std::time::Duration;

use http::{Method, Request, Response};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::LiftLayer;
use crate::context::Context;
use crate::http::{Idempotent, is_idempotent};
use crate::retry::{Backoff, Replay, Retry};
use crate::time::ManualTimer;

fn request(method: Method) -> Request<&'static str> {
    Request::builder().method(method).body("a body").unwrap()
}

#[test]
fn methods_that_may_be_repeated_are_those_of_the_standard() {
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
        assert!(is_idempotent(&request(method.clone())), "{method}");
    }
    for method in [Method::POST, Method::PATCH, Method::CONNECT, Method::from_bytes(b"get").unwrap()] {
        assert!(!is_idempotent(&request(method.clone())), "{method}");
        assert!(Idempotent.replay(&request(method)).is_none());
    }
}

/// RT15: a request that may have been done is not done again by the default policy over HTTP: neither after an answer
/// that failed nor after a connection that broke once bytes were sent. reqwest-retry repeats it.
#[tokio::test(start_paused = true)]
async fn a_post_is_sent_once_unless_it_carries_a_key() {
    let retry = Retry::builder().attempts(3).backoff(Backoff::none()).build().unwrap();
    let sent = Cell::new(0);
    for breaks in [false, true] {
        let client = ServiceBuilder::new().layer(retry.http_layer()).layer(LiftLayer).service(service_fn(
            |_: Request<&'static str>| {
                sent.set(sent.get() + 1);
                let response = Response::builder().status(503).body(()).unwrap();
                async move { if breaks { Err("connection reset") } else { Ok(response) } }
            },
        ));
        let _ = client.clone().oneshot(request(Method::POST)).await;
        assert_eq!(sent.replace(0), 1);
        let mut keyed = request(Method::POST);
        keyed.headers_mut().insert("idempotency-key", "order-17".parse().unwrap());
        let _ = client.clone().oneshot(keyed).await;
        assert_eq!(sent.replace(0), 3);
        let in_context = Context::new().with_idempotency_key("order-17");
        let _ = in_context.clone().scope(client.clone().oneshot(request(Method::POST))).await;
        assert_eq!(sent.replace(0), 3);
        // The key of the request being served is not that of the calls made on its behalf.
        let _ = in_context.received().scope(client.oneshot(request(Method::POST))).await;
        assert_eq!(sent.replace(0), 1);
    }
}

#[test]
fn a_server_that_says_when_is_asked_again_then() {
    use std::pin::pin;
    use std::task::{Context as TaskContext, Waker};
    let timer = ManualTimer::new();
    let retry = Retry::builder()
        .attempts(2)
        .backoff(Backoff::none())
        .hint(crate::retry::Hint::UpTo(Duration::from_secs(10)))
        .timer(timer.clone())
        .build()
        .unwrap();
    let sent = Cell::new(0);
    let client =
        ServiceBuilder::new().layer(retry.http_layer()).layer(LiftLayer).service(service_fn(|_: Request<()>| {
            sent.set(sent.get() + 1);
            async { Ok::<_, ()>(Response::builder().status(429).header("retry-after", "2").body(()).unwrap()) }
        }));
    let mut call = pin!(client.oneshot(Request::new(())));
    let mut poll = || call.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_ready();
    assert!(!poll());
    timer.advance(Duration::from_millis(1_999));
    assert!(!poll());
    assert_eq!(sent.get(), 1);
    timer.advance(Duration::from_millis(1));
    assert!(poll());
    assert_eq!(sent.get(), 2);
}
