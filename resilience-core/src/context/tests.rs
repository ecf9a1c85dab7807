use std::time::Duration;

use super::ambient::TimeLeft;
use super::*;
use crate::time::{ManualTimer, Timer};

#[test]
fn an_unresolved_timeout_becomes_a_deadline_when_somebody_asks_and_only_then() {
    let manual = ManualTimer::new();
    let timer = SharedTimer::from(manual.clone());
    let entered = ambient::enter_time(TimeLeft { within: Duration::from_secs(2).into(), ..TimeLeft::UNLIMITED });
    let at = manual.now() + Duration::from_secs(2);
    assert_eq!(deadline(&timer), Some(Deadline::at(at)));
    manual.advance(Duration::from_secs(1));
    assert_eq!(deadline(&timer), Some(Deadline::at(at)), "the deadline does not move once it is resolved");
    assert_eq!(entered.leave().deadline, at);
    assert_eq!(deadline(&timer), None);
}

#[test]
fn the_shorter_of_deadline_and_timeout_wins() {
    let manual = ManualTimer::new();
    let timer = SharedTimer::from(manual.clone());
    let soon = manual.now() + Duration::from_secs(1);
    Context::new().with_deadline(soon).run(|| {
        let outer = ambient::time();
        let _entered = ambient::enter_time(TimeLeft { within: Duration::from_secs(5).into(), ..outer });
        assert_eq!(deadline(&timer), Some(Deadline::at(soon)));
    });
}

#[test]
fn keys_travel_with_the_scope_and_end_with_it() {
    let timer = SharedTimer::from(ManualTimer::new());
    let context = Context::new().with_idempotency_key("k1").with_correlation_id("c1").with_attempt(3);
    let seen = futures::executor::block_on(context.scope(async { Context::capture(&timer) }));
    assert_eq!(seen.idempotency_key().map(|key| &**key), Some("k1"));
    assert_eq!(seen.correlation_id().map(|id| &**id), Some("c1"));
    assert_eq!(seen.attempt(), 3);
    let outside = Context::capture(&timer);
    assert_eq!(outside.idempotency_key(), None);
    assert_eq!(outside.attempt(), 1);
}

/// Each poll enters the context anew, and what is around it finds its own again, also when scopes lie within each
/// other.
#[test]
fn keys_are_there_at_every_poll_and_nobody_elses_between() {
    let mut polls = 0;
    let inner = Context::new().with_correlation_id("inner").scope(std::future::poll_fn(move |cx| {
        assert_eq!(correlation_id().as_deref(), Some("inner"));
        polls += 1;
        cx.waker().wake_by_ref();
        if polls == 3 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }));
    let mut inner = std::pin::pin!(inner);
    let outer = Context::new().with_correlation_id("outer").scope(std::future::poll_fn(|cx| {
        let poll = inner.as_mut().poll(cx);
        assert_eq!(correlation_id().as_deref(), Some("outer"));
        poll
    }));
    futures::executor::block_on(outer);
    assert_eq!(correlation_id(), None);
}

#[test]
fn a_panic_inside_a_scope_leaves_the_outer_keys_in_place() {
    let scope = Context::new()
        .with_correlation_id("inner")
        .scope(std::future::poll_fn(|_| -> std::task::Poll<()> { std::panic::resume_unwind(Box::new(())) }));
    Context::new().with_correlation_id("outer").run(|| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| futures::executor::block_on(scope)));
        assert!(result.is_err());
        assert_eq!(correlation_id().as_deref(), Some("outer"));
    });
}

#[test]
fn a_panic_inside_leaves_the_outer_context_in_place() {
    let context = Context::new().with_attempt(7);
    let result = std::panic::catch_unwind(|| context.run(|| std::panic::resume_unwind(Box::new(()))));
    assert!(result.is_err());
    assert_eq!(attempt(), 1);
}
