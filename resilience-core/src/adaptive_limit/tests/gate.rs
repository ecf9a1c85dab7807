//! Who is let in, who waits, and what is told.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::executor::block_on;

use super::*;
use crate::context::{Context, Criticality};
use crate::event::{Event as Told, Sink};
use crate::{Error, Reason};

#[derive(Clone, Default)]
struct Facts(Arc<Mutex<Vec<Event>>>);

impl Sink for Facts {
    fn on_event(&self, event: &Told<'_>) {
        self.0.lock().unwrap().extend(event.fact::<Event>());
    }
}

impl Facts {
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn as_critical(criticality: Criticality) -> Context {
    Context::new().with_criticality(criticality)
}

/// Permits until one is refused, for calls of this criticality.
fn fill(limit: &AdaptiveLimit, criticality: Criticality) -> Vec<Permit> {
    as_critical(criticality).run(|| std::iter::from_fn(|| limit.try_acquire().ok()).collect())
}

#[test]
fn the_least_critical_are_refused_first() {
    let limit = limit(&ManualTimer::new()).initial(20).reserve(Criticality::CriticalPlus, 0.2).build().unwrap();
    let sheddable = fill(&limit, Criticality::Sheddable);
    assert_eq!(sheddable.len(), 10);
    let refused = as_critical(Criticality::Sheddable).run(|| limit.try_acquire()).unwrap_err();
    assert_eq!(refused.reason(), Reason::Full { limit: 10, queued: 0 });
    let others = [Criticality::SheddablePlus, Criticality::Critical, Criticality::CriticalPlus];
    let more = others.map(|criticality| fill(&limit, criticality));
    assert_eq!(more.map(|permits| permits.len()), [2, 4, 4]);
}

#[test]
fn the_smallest_limit_leaves_one_call_to_everybody() {
    let limit = limit(&ManualTimer::new()).min(1).initial(1).reserve(Criticality::CriticalPlus, 0.69).build().unwrap();
    assert_eq!(fill(&limit, Criticality::Sheddable).len(), 1);
}

#[test]
fn a_limit_that_grows_lets_waiters_in_and_what_they_waited_is_not_the_servers_time() {
    let timer = ManualTimer::new();
    let limit = limit(&timer).initial(3).queue(2).build().unwrap();
    let running = permits(&limit, 3);
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(limit.acquire())).collect();
    assert!(waiting.iter_mut().all(|waiting| waiting.as_mut().now_or_never().is_none()));
    assert_eq!(limit.try_acquire().unwrap_err().reason(), Reason::Full { limit: 3, queued: 2 });
    assert_eq!(block_on(limit.acquire()).unwrap_err().reason(), Reason::Full { limit: 3, queued: 2 });
    // Both are let in where one slot was freed, because the limit grew, too.
    timer.advance(ms(10));
    let mut running = running.into_iter();
    running.next().unwrap().settle(Class::Success);
    running.next().unwrap().settle(Class::Success);
    let [first, second] = [0, 1].map(|which| waiting[which].as_mut().now_or_never().unwrap().unwrap());
    assert!(limit.snapshot().limit > 3);
    timer.advance(ms(7));
    first.settle(Class::Success);
    assert_eq!(limit.snapshot().last.unwrap().rtt, ms(7));
    drop((second, running));
    assert_eq!((limit.snapshot().in_flight, limit.snapshot().queued), (0, 0));
}

#[test]
fn a_sheddable_call_does_not_wait_for_what_is_kept_from_it() {
    let limit = limit(&ManualTimer::new()).initial(10).queue(10).build().unwrap();
    let _running = fill(&limit, Criticality::Sheddable);
    let refused = as_critical(Criticality::Sheddable).run(|| limit.acquire().now_or_never());
    assert!(refused.unwrap().is_err());
    assert_eq!(limit.snapshot().queued, 0);
}

#[test]
fn a_wait_that_is_over_is_told_and_counted() {
    let (timer, facts) = (ManualTimer::new(), Facts::default());
    let builder = limit(&timer).min(1).initial(1).queue(1).max_wait(ms(5)).listener(facts.clone());
    let limit = builder.build().unwrap();
    let _running = limit.try_acquire().unwrap();
    let mut waiting = Box::pin(limit.acquire());
    assert!(waiting.as_mut().now_or_never().is_none());
    timer.advance(ms(5));
    assert_eq!(waiting.now_or_never().unwrap().unwrap_err().reason(), Reason::QueueTimeout);
    assert_eq!(facts.take(), [Event::Rejected { reason: Reason::QueueTimeout }]);
    assert_eq!(limit.snapshot().rejected, 1);
}

#[test]
fn a_dry_run_refuses_nobody_and_learns_all_the_same() {
    let (timer, facts) = (ManualTimer::new(), Facts::default());
    let limit = limit(&timer).aimd().initial(10).dry_run(true).listener(facts.clone()).build().unwrap();
    let sheddable: Vec<_> = as_critical(Criticality::Sheddable).run(|| permits(&limit, 8));
    assert_eq!(facts.take(), [Event::WouldReject { reason: Reason::Full { limit: 7, queued: 0 } }]);
    let others = permits(&limit, 3);
    assert_eq!(facts.take(), [Event::WouldReject { reason: Reason::Full { limit: 10, queued: 0 } }]);
    assert_eq!((limit.snapshot().rejected, limit.snapshot().would_reject), (0, 2));
    timer.advance(ms(10));
    settle(others, Class::Failure);
    assert_eq!(facts.take(), [Event::Changed { from: 10, to: 9, cause: Cause::Loss }]);
    drop(sheddable);
    assert_eq!(limit.snapshot().in_flight, 0);
}

#[test]
fn bounds_that_change_take_nothing_from_calls_that_run() {
    let (timer, facts) = (ManualTimer::new(), Facts::default());
    let limit = limit(&timer).initial(20).listener(facts.clone()).build().unwrap();
    settle(permits(&limit, 2), Class::Success);
    let running = permits(&limit, 20);
    limit.reconfigure(AdaptiveLimit::builder().min(2).max(10).timer(timer.clone())).unwrap();
    assert_eq!(facts.take(), [Event::Changed { from: 20, to: 10, cause: Cause::Reconfigured }]);
    assert_eq!((limit.snapshot().limit, limit.snapshot().in_flight), (10, 20));
    assert!(limit.snapshot().baseline.is_some(), "a rule of the same kind keeps what it knows");
    let error = limit.reconfigure(AdaptiveLimit::builder().max(0)).unwrap_err();
    assert_eq!(error.to_string(), "min must be above zero");
    settle(running, Class::Success);
    limit.reconfigure(AdaptiveLimit::builder().gradient2().dry_run(true)).unwrap();
    assert_eq!((limit.snapshot().limit, limit.snapshot().baseline), (10, None));
    assert_eq!(permits(&limit, 40).len(), 40);
}

#[test]
fn a_call_without_tower_is_measured_and_an_error_of_its_own_is_not() {
    let timer = ManualTimer::new();
    let limit = limit(&timer).build().unwrap();
    let call = limit.call(async {
        timer.advance(ms(4));
        Ok::<_, Error<&str>>(())
    });
    block_on(call).unwrap();
    assert_eq!(limit.snapshot().last.unwrap().rtt, ms(4));
    block_on(limit.call(async { Err::<(), _>(Error::Service("no such order")) })).unwrap_err();
    assert_eq!((limit.snapshot().windows, limit.snapshot().in_flight), (1, 0));
    let lost = async { Err::<(), Error<&str>>(crate::Elapsed::new(ms(1)).into()) };
    block_on(limit.call(lost)).unwrap_err();
    assert!(limit.snapshot().last.unwrap().dropped);
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let nan = Rule::Aimd { backoff: f64::NAN, timeout: ms(1) };
    let flat = Rule::Gradient2 { tolerance: 0.5, queue: 4, smoothing: 0.2, windows: 600 };
    let heavy = Rule::Vegas { smoothing: 1.5, alpha: None, beta: None, halves: false };
    let inverted = Rule::Vegas { smoothing: 1.0, alpha: Some(9), beta: Some(3), halves: false };
    let cases = [
        (AdaptiveLimit::builder().min(0), "min must be above zero"),
        (AdaptiveLimit::builder().max(u32::MAX), "max must be at most 4194303"),
        (AdaptiveLimit::builder().min(9).max(8), "min must be at most max"),
        (AdaptiveLimit::builder().initial(0), "initial must be within min and max"),
        (AdaptiveLimit::builder().rule(nan), "rule.backoff must be above 0 and below 1"),
        (AdaptiveLimit::builder().rule(flat), "rule.tolerance must be a number at least 1"),
        (AdaptiveLimit::builder().rule(heavy), "rule.smoothing must be above 0 and at most 1"),
        (AdaptiveLimit::builder().rule(inverted), "rule.alpha must be at most rule.beta"),
        (AdaptiveLimit::builder().window(ms(2), ms(1)), "window must not be shorter at most than at least"),
        (AdaptiveLimit::builder().samples(0), "samples must be above zero"),
        (
            AdaptiveLimit::builder().figure(Figure::Percentile(f64::NAN)),
            "figure must be a percentile above 0 and at most 1",
        ),
        (
            AdaptiveLimit::builder().reserve(Criticality::Sheddable, 0.1),
            "reserve must be for a criticality above Sheddable",
        ),
        (AdaptiveLimit::builder().reserve(Criticality::Critical, f64::NAN), "reserve must be at least 0 and below 1"),
        (AdaptiveLimit::builder().reserve(Criticality::Critical, 0.9), "reserve must leave something to all"),
        (AdaptiveLimit::builder().max_wait(ms(1)), "max_wait needs a queue to wait in"),
    ];
    for (builder, says) in cases {
        assert_eq!(builder.build().unwrap_err().to_string(), says);
    }
}

#[test]
fn extremes_are_survived() {
    let timer = ManualTimer::new();
    let extremes = Rule::Gradient2 { tolerance: f64::MAX, queue: u32::MAX, smoothing: 1.0, windows: u32::MAX };
    let rules = [
        Rule::Aimd { backoff: f64::MIN_POSITIVE, timeout: Duration::MAX },
        Rule::Vegas { smoothing: f64::MIN_POSITIVE, alpha: Some(u32::MAX), beta: Some(u32::MAX), halves: true },
        extremes,
    ];
    for rule in rules {
        let builder = limit(&timer).rule(rule).samples(u32::MAX).window(Duration::MAX, Duration::MAX);
        let limit = builder.max(4_194_303).queue(1_048_575).max_wait(Duration::MAX).build().unwrap();
        for class in [Class::Success, Class::Failure, Class::Slow, Class::Ignore] {
            let permit = limit.try_acquire().unwrap();
            timer.advance(Duration::from_secs(1 << 32));
            permit.settle(class);
        }
        limit.reconfigure(limit_of_one(&timer)).unwrap();
        assert_eq!(limit.snapshot().limit, 1);
    }
}

fn limit_of_one(timer: &ManualTimer) -> AdaptiveLimitBuilder {
    limit(timer).min(1).max(1)
}

/// A bug in a call is no congestion: caught around the call, the permit is dropped later, when nothing panics any more, and
/// a call that had been given up would be a loss.
#[test]
fn a_call_that_panics_is_not_taken_for_one_that_was_given_up() {
    let timer = ManualTimer::new();
    let limit = limit(&timer).aimd().initial(10).abandoned(Abandoned::Loss).build().unwrap();
    let panics = async || -> Result<(), Error<()>> { panic!("a bug") };
    let mut call = Box::pin(std::panic::AssertUnwindSafe(limit.call(panics())).catch_unwind());
    assert!(call.as_mut().now_or_never().unwrap().is_err());
    drop(call);
    assert_eq!((limit.snapshot().limit, limit.snapshot().in_flight), (10, 0));
    // One that is given up is.
    let mut call = Box::pin(limit.call(std::future::pending::<Result<(), Error<()>>>()));
    assert!(call.as_mut().now_or_never().is_none());
    drop(call);
    assert_eq!(limit.snapshot().limit, 9);
}
