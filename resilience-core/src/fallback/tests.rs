//! What is promised at the edge: what is replaced, by what, and what the caller learns when nothing is left.

use std::cell::Cell;
use std::error::Error as StdError;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use proptest::prelude::*;
use testkit::probe::{Answer, Probe};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::*;
use crate::event::{self, Sink};
use crate::time::{ManualTimer, Timer};
use crate::{Classification, Elapsed, Error, Rejected};

type BoxError = Box<dyn StdError + Send + Sync>;
type Failure = Error<&'static str>;

/// Remembers the facts it is told.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Event>>>);

impl Sink for Heard {
    fn on_event(&self, event: &event::Event<'_>) {
        self.0.lock().unwrap().extend(event.fact::<Event>());
    }
}

impl Heard {
    fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }
}

fn policy() -> FallbackBuilder {
    Fallback::builder().name("test").timer(ManualTimer::new())
}

fn refused() -> Failure {
    Rejected::new("b", crate::Reason::Open).into()
}

fn late() -> Failure {
    Elapsed::new(std::time::Duration::from_secs(1)).into()
}

/// An answer that comes without waiting.
fn now<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("nothing here waits")
}

/// Asks a service that gives this answer, behind a fallback to 0.
fn ask(fallback: &Fallback, answer: Result<u32, Failure>) -> Result<u32, Failure> {
    now(fallback.value(0).layer(service_fn(move |()| std::future::ready(answer.clone()))).oneshot(()))
}

#[test]
fn a_service_that_fails_to_get_ready_is_answered_for() {
    // FB1. tower-resilience hands readiness errors on: the fallback is not asked when a breaker that refuses in
    // `poll_ready`, a closed buffer or an empty balancer is what failed, which is when it is wanted most.
    let heard = Heard::default();
    let fallback = policy().listener(heard.clone()).build().unwrap();
    let probe: Probe<u32, u32, Failure> = Probe::new(Ok);
    let mut service = fallback.value(0).layer(probe.service());
    for error in [refused(), Error::Service("closed"), late()] {
        probe.fail_ready(error);
        assert_eq!(now(now(service.ready()).unwrap().call(7)), Ok(0));
    }
    let fell_back = |reason| Event::FellBack { reason };
    assert_eq!(heard.all(), [fell_back(Reason::Refused), fell_back(Reason::Failed), fell_back(Reason::TimedOut)]);
    assert_eq!(now(now(service.ready()).unwrap().call(7)), Ok(7)); // and is asked again for the next call
    assert_eq!((probe.counts().calls, probe.violations()), (1, vec![]));
}

#[test]
fn readiness_that_failed_is_kept_until_the_call_and_not_inherited() {
    let fallback = policy().build().unwrap();
    let probe: Probe<u32, u32, Failure> = Probe::new(Ok);
    let mut service = fallback.value(0).layer(probe.service());
    probe.fail_ready(refused());
    now(service.ready()).unwrap();
    let polls = probe.counts().ready_polls;
    now(service.ready()).unwrap();
    assert_eq!(probe.counts().ready_polls, polls, "a service that failed was asked on");
    assert_eq!(now(service.clone().oneshot(7)), Ok(7));
    assert_eq!(now(service.call(7)), Ok(0));
}

#[test]
fn a_failure_to_get_ready_that_is_not_replaced_is_told_as_it_is() {
    let fallback = policy().failures(false).build().unwrap();
    let probe: Probe<u32, u32, Failure> = Probe::new(Ok);
    let mut service = fallback.value(0).layer(probe.service());
    probe.fail_ready(Error::Service("closed"));
    assert_eq!(now(service.ready()).err(), Some(Error::Service("closed")));
}

#[test]
fn each_kind_of_failure_is_replaced_or_not_as_told() {
    let own = || Error::Service("down");
    for bits in 1..8_u32 {
        let [refusals, timeouts, failures] = [bits & 1 > 0, bits & 2 > 0, bits & 4 > 0];
        let fallback = policy().refusals(refusals).timeouts(timeouts).failures(failures).build().unwrap();
        for (error, is_replaced) in [(refused(), refusals), (late(), timeouts), (own(), failures)] {
            let expected = if is_replaced { Ok(0) } else { Err(error.clone()) };
            assert_eq!(ask(&fallback, Err(error)), expected);
        }
        assert_eq!(ask(&fallback, Ok(7)), Ok(7));
        let seen = fallback.snapshot();
        let counted = [(seen.refused, refusals), (seen.timed_out, timeouts), (seen.failed, failures)];
        assert!(counted.iter().all(|&(count, is_replaced)| count == u64::from(is_replaced)), "{seen:?}");
    }
}

#[test]
fn a_callers_mistake_is_not_papered_over() {
    // "Not found" is an answer. Replaced by a default, a wrong address looks like an empty shop.
    let fallback = policy().build().unwrap();
    let ignoring = |_: &Result<u32, Failure>| Classification::IGNORE;
    let service = fallback.value(0).classify(ignoring).layer(service_fn(async |()| Err(Error::Service("not found"))));
    assert_eq!(now(service.oneshot(())), Err(Error::Service("not found")));
}

#[test]
fn the_failure_of_the_fallback_hides_neither_error() {
    // FB1. The second error alone sends whoever reads the log to the wrong service.
    let heard = Heard::default();
    let fallback = policy().listener(heard.clone()).build().unwrap();
    let layer = fallback.function(|_: &Result<u32, BoxError>| async { Err::<u32, BoxError>("cache is cold".into()) });
    let service = layer.layer(service_fn(async |()| Err::<u32, BoxError>("connection refused".into())));
    let error = now(service.oneshot(())).unwrap_err();
    assert_eq!(error.to_string(), "the fallback failed too: cache is cold");
    assert_eq!(error.source().unwrap().to_string(), "connection refused");
    let reason = Reason::Failed;
    assert_eq!(heard.all(), [Event::FellBack { reason }, Event::FailedToo { reason }]);
    assert_eq!(fallback.snapshot().failed_too, 1);
}

#[test]
fn of_a_lifted_error_both_halves_are_told_and_a_refusal_only_if_nothing_was_sent() {
    let boxed = |text: &str| Error::Service(BoxError::from(text));
    let refused = || Error::<BoxError>::from(Rejected::new("b", crate::Reason::Open));
    let both = refused().join(boxed("cold"));
    let Error::Service(error) = &both else { panic!("{both:?}") };
    assert_eq!(error.source().unwrap().to_string(), "refused by b: circuit is open");
    assert!(!both.is_rejected(), "the fallback was sent");
    assert!(refused().join(refused()).is_rejected());
    let both = boxed("down").join(refused());
    assert_eq!(both.to_string(), "the fallback failed too: refused by b: circuit is open");
}

#[test]
fn what_the_caller_is_told_can_be_said() {
    let fallback = policy().build().unwrap();
    let down = || service_fn(async |()| Err::<u32, Failure>(Error::Service("down")));
    let cold = || fallback.function(|_: &Result<u32, Failure>| async { Err(Error::Service("cold")) });
    assert_eq!(now(cold().original().layer(down()).oneshot(())), Err(Error::Service("down")));
    assert_eq!(now(cold().join(|_, second| second).layer(down()).oneshot(())), Err(Error::Service("cold")));
}

#[test]
fn a_poor_answer_is_better_than_none() {
    let fallback = policy().build().unwrap();
    let layer = fallback.function(|_: &Result<u32, Failure>| async { Err(Error::Service("cold")) });
    let service = layer.original().or_when(|&found: &u32| found == 0).layer(service_fn(async |()| Ok(0)));
    assert_eq!(now(service.oneshot(())), Ok(0));
    assert_eq!(fallback.snapshot().failed_too, 1);
}

#[test]
fn the_call_gives_back_what_it_holds_before_the_fallback_begins() {
    // A connection or a slot that the fallback needs as well would never come free.
    let probe: Probe<u32, u32, Failure> = Probe::new(|_| Err(Error::Service("down")));
    let fallback = policy().build().unwrap();
    let in_flight = {
        let probe = probe.clone();
        move |_: &Result<u32, Failure>| {
            let in_flight = probe.counts().in_flight;
            async move { Ok(u32::try_from(in_flight).unwrap()) }
        }
    };
    let service = fallback.function(in_flight).original().layer(probe.service());
    assert_eq!(now(service.oneshot(7)), Ok(0));
}

#[test]
fn the_backup_gets_ready_when_it_is_needed_and_waits_for_nobody_else() {
    // tower-resilience keeps one backup behind a lock, and holds it while that gets ready: one slow call stops all.
    let backup: Probe<u32, u32, Failure> = Probe::new(|request| Ok(request + 100));
    let fallback = policy().build().unwrap();
    let down = service_fn(async |request: u32| match request {
        0 => Ok(0),
        _ => Err(Error::Service("down")),
    });
    let service = fallback.service(backup.service()).original().layer(down);
    assert_eq!(now(service.clone().oneshot(0)), Ok(0));
    assert_eq!(backup.counts().ready_polls, 0, "a backup was troubled for nothing");
    backup.set_ready(false);
    let mut waiting = pin!(service.clone().oneshot(1));
    assert!(waiting.as_mut().now_or_never().is_none());
    let mut other = pin!(service.clone().oneshot(2));
    assert!(other.as_mut().now_or_never().is_none());
    backup.set_ready(true);
    assert_eq!((now(other), now(waiting)), (Ok(102), Ok(101)));
    backup.then(Answer::Hold);
    let mut dropped = Box::pin(service.oneshot(3));
    assert!(dropped.as_mut().now_or_never().is_none());
    assert_eq!(backup.counts().in_flight, 1);
    drop(dropped);
    let left = backup.counts();
    assert_eq!((left.in_flight, left.reserved, backup.violations()), (0, 0, vec![]));
}

#[test]
fn a_request_is_copied_only_for_a_fallback_that_wants_it() {
    struct Counted<'a>(&'a Cell<u32>);
    impl Clone for Counted<'_> {
        fn clone(&self) -> Self {
            self.0.set(self.0.get() + 1);
            Self(self.0)
        }
    }
    let copies = Cell::new(0);
    let fallback = policy().build().unwrap();
    let down = service_fn(|_: Counted<'_>| async { Err::<u32, Failure>(Error::Service("down")) });
    assert_eq!(now(fallback.value(0).layer(down).oneshot(Counted(&copies))), Ok(0));
    assert_eq!(copies.get(), 0);
    let backup = service_fn(|_: Counted<'_>| async { Ok::<u32, Failure>(1) });
    assert_eq!(now(fallback.service(backup).original().layer(down).oneshot(Counted(&copies))), Ok(1));
    assert_eq!(copies.get(), 1);
    // What cannot be copied cannot be sent elsewhere.
    let never = |_: &Counted<'_>| None;
    let service = fallback.service(backup).original().replay(never).layer(down);
    assert_eq!(now(service.oneshot(Counted(&copies))), Err(Error::Service("down")));
    assert_eq!(fallback.snapshot().withheld, 1);
}

#[test]
fn a_request_that_never_reached_the_service_goes_to_the_backup_as_it_is() {
    struct OnlyOne(u32);
    let fallback = policy().build().unwrap();
    let backup = service_fn(|OnlyOne(number): OnlyOne| async move { Ok::<u32, Failure>(number) });
    struct Closed;
    impl Service<OnlyOne> for Closed {
        type Response = u32;
        type Error = Failure;
        type Future = std::future::Ready<Result<u32, Failure>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Failure>> {
            std::task::Poll::Ready(Err(Error::Service("closed")))
        }
        fn call(&mut self, _: OnlyOne) -> Self::Future {
            panic!("it was not ready");
        }
    }
    let service = fallback.service(backup).original().replay(NotKept).layer(Closed);
    assert_eq!(now(service.oneshot(OnlyOne(7))), Ok(7));
}

#[test]
fn a_dry_run_tells_and_replaces_nothing() {
    let heard = Heard::default();
    let fallback = policy().dry_run(true).listener(heard.clone()).build().unwrap();
    assert_eq!(ask(&fallback, Err(refused())), Err(refused()));
    let probe: Probe<u32, u32, Failure> = Probe::new(Ok);
    probe.fail_ready(late());
    assert_eq!(now(fallback.value(0).layer(probe.service()).ready()).err(), Some(late()));
    let would = |reason| Event::WouldFallBack { reason };
    assert_eq!(heard.all(), [would(Reason::Refused), would(Reason::TimedOut)]);
    assert_eq!((fallback.snapshot().would_fall_back, fallback.snapshot().refused), (2, 0));
}

#[test]
fn without_listeners_no_clock_is_read() {
    struct Stopped;
    impl Timer for Stopped {
        fn now(&self) -> crate::time::Timestamp {
            panic!("a clock was read");
        }
        fn sleep_until(&self, _: crate::time::Timestamp) -> crate::time::Sleep {
            panic!("a timer was made");
        }
        fn wall(&self) -> crate::time::WallTime {
            panic!("a calendar was read");
        }
    }
    let timer: Arc<dyn Timer> = Arc::new(Stopped);
    let fallback = Fallback::builder().timer(timer).build().unwrap();
    assert_eq!(ask(&fallback, Err(refused())), Ok(0));
}

#[test]
fn a_strategy_of_ones_own_is_enough() {
    #[derive(Clone)]
    struct Twice;
    impl<E> crate::fallback::Strategy<u32, u32, E> for Twice {
        type Future = std::future::Ready<Result<u32, E>>;
        fn answer(self, request: Option<u32>, _: &Result<u32, E>) -> Option<Self::Future> {
            request.map(|request| std::future::ready(Ok(request * 2)))
        }
    }
    let fallback = policy().build().unwrap();
    let down = service_fn(async |_: u32| Err::<u32, Failure>(Error::Service("down")));
    let service = fallback.layer(Twice).replay(crate::retry::Cloned).layer(down);
    assert_eq!(now(service.oneshot(21)), Ok(42));
}

proptest! {
    /// Whatever is replaced and whoever fails: the caller gets the service's own answer unless that is to be replaced,
    /// then the fallback's, and both errors if there is no answer; and the counts are what happened.
    #[test]
    fn the_caller_gets_the_first_answer_that_may_stand(
        bits in 1..8_u32,
        dry in any::<bool>(),
        calls in prop::collection::vec((0..4_u32, any::<bool>(), any::<bool>()), 0..30),
    ) {
        let [refusals, timeouts, failures] = [bits & 1 > 0, bits & 2 > 0, bits & 4 > 0];
        let rules = policy().refusals(refusals).timeouts(timeouts).failures(failures).dry_run(dry);
        let fallback = rules.build().unwrap();
        let (mut replaced, mut failed_too, mut would) = (0, 0, 0);
        for (kind, in_readiness, fallback_fails) in calls {
            let (answer, is_caught) = match kind {
                0 => (Ok(7), false),
                1 => (Err(refused()), refusals),
                2 => (Err(late()), timeouts),
                _ => (Err(Error::Service("down")), failures),
            };
            let probe: Probe<u32, u32, Failure> = Probe::new(Ok);
            match answer.clone() {
                Err(error) if in_readiness => probe.fail_ready(error),
                answer => probe.then(Answer::Give(answer)),
            }
            let otherwise = move |_: &Result<u32, Failure>| std::future::ready(match fallback_fails {
                true => Err(Error::Service("cold")),
                false => Ok(0),
            });
            let layer = fallback.function(otherwise).join(|_, _| Error::Service("both"));
            let seen = now(layer.layer(probe.service()).oneshot(7));
            let expected = match (is_caught && !dry, fallback_fails) {
                (false, _) => answer,
                (true, false) => Ok(0),
                (true, true) => Err(Error::Service("both")),
            };
            prop_assert_eq!(seen, expected);
            replaced += u64::from(is_caught && !dry);
            failed_too += u64::from(is_caught && !dry && fallback_fails);
            would += u64::from(is_caught && dry);
            prop_assert_eq!(probe.violations(), Vec::<String>::new());
        }
        let seen = fallback.snapshot();
        prop_assert_eq!(seen.refused + seen.timed_out + seen.failed, replaced);
        prop_assert_eq!((seen.failed_too, seen.would_fall_back, seen.withheld), (failed_too, would, 0));
    }
}
