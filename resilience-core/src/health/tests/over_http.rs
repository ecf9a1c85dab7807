//! Probes over HTTP.

use http::{Method, Request, StatusCode};
use tower::ServiceExt;

use super::*;

#[test]
fn a_probe_is_answered_while_the_service_has_too_much_to_do_and_takes_nobodys_place() {
    // The one place of the bulkhead is taken. A liveness probe that waits for the next has the process restarted.
    use tower::{Layer, Service};

    use crate::bulkhead::Bulkhead;
    let bulkhead = Bulkhead::builder().limit(1).queue(10).timer(ManualTimer::new()).build().unwrap();
    let hangs = tower::service_fn(|_: Request<()>| {
        std::future::pending::<Result<http::Response<String>, crate::Error<&str>>>()
    });
    let health = Health::builder().timer(ManualTimer::new()).build().unwrap();
    let mut service = HealthLayer::new(health).layer(bulkhead.layer().layer(hangs));
    let mut ask = |path: &str| {
        assert!(std::future::poll_fn(|cx| service.poll_ready(cx)).now_or_never().unwrap().is_ok());
        Box::pin(service.call(Request::get(path).body(()).unwrap()))
    };
    let mut works = ask("/sku/7");
    assert!(works.as_mut().now_or_never().is_none());
    for _ in 0..3 {
        assert_eq!(ask("/livez").now_or_never().unwrap().unwrap().status(), StatusCode::OK);
    }
    let mut waits = ask("/sku/8");
    assert!(waits.as_mut().now_or_never().is_none());
    assert_eq!((bulkhead.snapshot().in_flight, bulkhead.snapshot().queued), (1, 1));
    drop(works);
    assert!(waits.as_mut().now_or_never().is_none());
    assert_eq!((bulkhead.snapshot().in_flight, bulkhead.snapshot().queued), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn probes_are_answered_by_path_and_nothing_else_is() {
    let check = Check::new("database", || async { Err::<(), _>("password hunter2 refused") });
    let health = Health::builder().check(check).build().unwrap();
    let ask = |method: Method, path: &str, errors: bool| {
        let endpoint = HealthService::<String>::new(health.clone());
        let endpoint = if errors { endpoint } else { endpoint.without_errors() };
        let request = Request::builder().method(method).uri(path.to_owned()).body(()).unwrap();
        async move {
            let response = endpoint.oneshot(request).await.unwrap();
            assert!(
                response.status() == 404
                    || response.status() == 405
                    || response.headers()["cache-control"] == "no-store"
            );
            (response.status().as_u16(), response.into_body())
        }
    };
    assert_eq!(ask(Method::GET, "/livez", true).await.0, 200);
    assert_eq!(ask(Method::GET, "/startupz?verbose", true).await.0, 200);
    let (status, body) = ask(Method::GET, "/readyz", true).await;
    assert!(status == 503 && body.contains("hunter2"), "{body}");
    let (status, body) = ask(Method::GET, "/readyz", false).await;
    assert!(status == 503 && !body.contains("hunter2"), "{body}");
    assert_eq!(ask(Method::HEAD, "/healthz", true).await, (503, String::new()));
    assert_eq!(ask(Method::POST, "/healthz", true).await, (405, String::new()));
    assert_eq!(ask(Method::GET, "/healthzz", true).await.0, StatusCode::NOT_FOUND.as_u16());
}
