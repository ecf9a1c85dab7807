use std::future::{pending, ready};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tower::{Layer, Service, ServiceExt, service_fn};

use super::{Answer, SECOND, each_second, limited, poll};
use crate::Error;

#[test]
fn a_service_that_was_ready_and_is_dropped_costs_the_next_caller_nothing() {
    // RL3: tower-resilience keeps the next caller waiting for a minute, for a permit nobody used.
    for max_wait in [Duration::ZERO, 60 * SECOND] {
        let (limiter, _) = each_second(1, max_wait);
        let mut dropped = limiter.layer().layer(service_fn(|(): ()| ready(Answer::Ok("done"))));
        let mut next = dropped.clone();
        assert!(poll(pin!(dropped.ready())).is_ready());
        drop(dropped);
        assert!(poll(pin!(next.ready())).is_ready());
        assert_eq!(poll(pin!(next.call(()))), Poll::Ready(Ok("done")));
        assert_eq!(limiter.snapshot().available, 0);
    }
}

#[test]
fn a_hundred_connections_share_one_limit() {
    // RL8: a server builds its stack anew for each connection. tower's layer makes a limit of its own each time, and a
    // hundred connections have a hundred limits.
    let (limiter, _) = each_second(10, Duration::ZERO);
    let layer = limiter.layer();
    let connections = (0..100).map(|_| layer.clone().layer(service_fn(|(): ()| ready(Answer::Ok("done")))));
    let answers = connections.map(|connection| poll(pin!(connection.oneshot(()))));
    assert_eq!(answers.filter(|answer| *answer == Poll::Ready(Ok("done"))).count(), 10);
    assert_eq!(limiter.snapshot().totals.rate_limited, 90);
}

#[test]
fn services_kept_ready_cannot_hoard_permits() {
    // Each is ready a second after the one before; called together, they would be ten at once.
    let (limiter, timer) = each_second(1, SECOND);
    let service = limiter.layer().layer(service_fn(|(): ()| ready(Answer::Ok("done"))));
    let mut kept: Vec<_> = (0..10).map(|_| service.clone()).collect();
    for service in &mut kept {
        assert!(poll(pin!(service.ready())).is_ready());
        timer.advance(SECOND);
    }
    let answers: Vec<_> = kept.iter_mut().map(|service| poll(pin!(service.call(())))).collect();
    let admitted = answers.iter().filter(|answer| matches!(answer, Poll::Ready(Ok(_)))).count();
    assert!(admitted <= 2, "{admitted} at once: the burst, and one that was due within an interval");
}

#[test]
fn a_service_waits_before_it_asks_the_inner_one_and_is_then_admitted() {
    let (limiter, timer) = each_second(1, SECOND);
    let inner = crate::bulkhead::Bulkhead::builder().limit(1).build().unwrap();
    let mut service = limiter.layer().layer(inner.layer().layer(service_fn(|(): ()| ready(Answer::Ok("done")))));
    limiter.try_acquire().unwrap();
    assert!(poll(pin!(service.ready())).is_pending());
    assert_eq!(inner.snapshot().in_flight, 0, "who waits for a permit holds nothing inside");
    timer.advance(SECOND);
    assert!(poll(pin!(service.ready())).is_ready());
    assert_eq!(poll(pin!(service.call(()))), Poll::Ready(Ok("done")));
}

#[test]
fn a_refusal_is_the_calls_answer_and_holds_nothing_inside() {
    let (limiter, timer) = each_second(1, Duration::ZERO);
    let inner = crate::bulkhead::Bulkhead::builder().limit(1).build().unwrap();
    let mut service = limiter.layer().layer(inner.layer().layer(service_fn(|(): ()| pending::<Answer>())));
    limiter.try_acquire().unwrap();
    assert!(poll(pin!(service.ready())).is_ready());
    assert_eq!(inner.snapshot().in_flight, 0);
    assert_eq!(poll(pin!(service.call(()))), Poll::Ready(Err(Error::Rejected(limited(SECOND)))));
    assert_eq!(limiter.snapshot().totals.rate_limited, 1);
    timer.advance(SECOND);
    assert!(poll(pin!(service.ready())).is_ready());
    assert!(poll(pin!(service.call(()))).is_pending());
}
