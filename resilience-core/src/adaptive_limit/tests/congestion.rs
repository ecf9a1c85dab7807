//! What raises the limit, and what lowers it.

use super::*;

/// The same story under each rule.
fn each(story: impl Fn(AdaptiveLimitBuilder, ManualTimer)) {
    type With = fn(AdaptiveLimitBuilder) -> AdaptiveLimitBuilder;
    let rules: [With; 2] = [AdaptiveLimitBuilder::aimd, AdaptiveLimitBuilder::vegas];
    for rule in rules {
        let timer = ManualTimer::new();
        story(rule(limit(&timer)), timer);
    }
}

#[test]
fn a_limit_that_is_not_used_does_not_grow() {
    // AD1: two hundred calls one after the other say nothing about two at once.
    each(|builder, timer| {
        let limit = builder.build().unwrap();
        for _ in 0..200 {
            let permit = limit.try_acquire().unwrap();
            timer.advance(ms(10));
            permit.settle(Class::Success);
        }
        assert_eq!((limit.snapshot().limit, limit.snapshot().windows), (20, 200));
    });
}

#[test]
fn a_limit_that_is_used_grows() {
    each(|builder, timer| {
        let limit = builder.build().unwrap();
        for _ in 0..2 {
            let running = permits(&limit, 20);
            timer.advance(ms(10));
            settle(running, Class::Success);
        }
        assert!(limit.snapshot().limit > 20);
    });
}

#[test]
fn calls_that_fail_together_lower_the_limit_once() {
    // AD2: twenty calls in flight meet one congestion. All of them say so, and it is one.
    each(|builder, timer| {
        let limit = builder.build().unwrap();
        let running = permits(&limit, 20);
        timer.advance(ms(10));
        settle(running, Class::Failure);
        let once = limit.snapshot().limit;
        assert!((18..20).contains(&once), "{once}");
        // The next congestion is met by calls that began after the first.
        let running = permits(&limit, 18);
        timer.advance(ms(10));
        settle(running, Class::Failure);
        let twice = limit.snapshot().limit;
        assert!((16..once).contains(&twice), "{twice}");
    });
}

#[test]
fn what_is_ignored_neither_raises_nor_lowers_the_limit() {
    // AD3: a bug that answers with errors does not close the gate, nor does it open it.
    each(|builder, timer| {
        let limit = builder.build().unwrap();
        for _ in 0..10 {
            let running = permits(&limit, 20);
            timer.advance(ms(10));
            settle(running, Class::Ignore);
        }
        assert_eq!((limit.snapshot().limit, limit.snapshot().windows), (20, 0));
    });
}

#[test]
fn calls_that_are_dropped_count_when_they_are_meant_to() {
    // AD5: a timeout outside drops the calls it gives up. Nothing else tells of them.
    each(|builder, timer| {
        let limit = builder.abandoned(Abandoned::Loss).build().unwrap();
        let running = permits(&limit, 20);
        timer.advance(ms(1_000));
        drop(running);
        assert!(limit.snapshot().limit < 20);
        assert_eq!(limit.snapshot().in_flight, 0);
    });
    each(|builder, timer| {
        let limit = builder.build().unwrap();
        let running = permits(&limit, 20);
        timer.advance(ms(1_000));
        drop(running);
        assert_eq!((limit.snapshot().limit, limit.snapshot().in_flight), (20, 0));
    });
}

#[cfg(feature = "tower")]
#[test]
fn calls_ended_by_a_timeout_outside_lower_the_limit_when_they_are_meant_to() {
    // AD5, with the timeout: neither tower's nor tower-resilience's limit ever hears of a call that was dropped.
    use tower::{Layer, ServiceExt, service_fn};
    for (abandoned, lowered) in [(Abandoned::Loss, true), (Abandoned::Ignore, false)] {
        each(|builder, timer| {
            let limit = builder.abandoned(abandoned).build().unwrap();
            let timeout = crate::timeout::Timeout::builder().limit(ms(100)).timer(timer.clone()).build().unwrap();
            let hangs = service_fn(|(): ()| std::future::pending::<Result<(), crate::Error<()>>>());
            let service = timeout.layer().layer(limit.layer().layer(hangs));
            let mut calls: Vec<_> = (0..20).map(|_| testkit::wakes::Task::new(service.clone().oneshot(()))).collect();
            assert!(calls.iter_mut().all(|call| call.run().is_pending()));
            timer.advance(ms(100));
            assert!(calls.iter_mut().all(|call| call.run().is_ready()), "each has its error");
            assert_eq!((limit.snapshot().limit < 20, limit.snapshot().in_flight), (lowered, 0));
        });
    }
}

#[test]
fn a_server_that_refuses_quickly_is_not_taken_for_an_idle_one() {
    // Vegas takes the least round trip for that of an idle server. A busy one that refuses in no time is not idle.
    let timer = ManualTimer::new();
    let limit = limit(&timer).build().unwrap();
    let running = permits(&limit, 20);
    timer.advance(ms(1));
    settle(running, Class::Failure);
    assert_eq!(limit.snapshot().limit, 19);
    let running = permits(&limit, 19);
    timer.advance(ms(10));
    settle(running, Class::Success);
    assert_eq!(limit.snapshot().baseline, Some(ms(10)));
    let running = permits(&limit, 19);
    timer.advance(ms(1));
    settle(running, Class::Slow);
    assert_eq!(limit.snapshot().baseline, Some(ms(10)));
}

#[test]
fn a_rule_that_always_wants_more_gets_it_only_when_it_is_used() {
    struct More(u32);
    impl crate::control::Limit for More {
        fn sample(&mut self, _: crate::control::Sample) -> u32 {
            self.0 += 10;
            self.0
        }

        fn limit(&self) -> u32 {
            self.0
        }
    }
    let timer = ManualTimer::new();
    let limit = limit(&timer).custom(More(20)).max(50).build().unwrap();
    settle(permits(&limit, 9), Class::Success);
    assert_eq!(limit.snapshot().limit, 20);
    let running = permits(&limit, 20);
    settle(running, Class::Success);
    assert_eq!(limit.snapshot().limit, 50);
}
