//! The stack of four: timeout, retry, circuit breaker, bulkhead, in the order that is recommended.
//!
//! Each layer keeps its promises alone; whether they still hold when four of them share one call, with callers that
//! give up at any moment, is another question. It is asked with the laws first, and then at random.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::time::Duration;

use proptest::prelude::*;
use resilience_core::bulkhead::{Bulkhead, BulkheadLayer};
use resilience_core::circuit_breaker::{Abandoned, CircuitBreaker, CircuitBreakerLayer};
use resilience_core::retry::{Backoff, Jitter, Retry, RetryLayer};
use resilience_core::time::ManualTimer;
use resilience_core::timeout::{Timeout, TimeoutLayer};
use resilience_core::{Classification, Error};
use testkit::contract::{Subject, contract_tests};
use testkit::probe::{Answer, Probe, StrictService};
use testkit::wakes::Task;
use tower::{Layer, Service, ServiceExt};

type Failure = Error<&'static str>;
type Classifier = fn(&Result<u32, Failure>) -> Classification;

const SLOTS: u32 = 2;
const PLACES: u32 = 2;

/// The four policies on one clock.
#[derive(Clone)]
struct Four {
    timer: ManualTimer,
    timeout: Timeout,
    retry: Retry,
    breaker: CircuitBreaker,
    bulkhead: Bulkhead,
}

impl Four {
    fn new() -> Self {
        let timer = ManualTimer::new();
        let millis = Duration::from_millis;
        let backoff = Backoff::constant(millis(100)).jitter(Jitter::None);
        Self {
            timeout: Timeout::builder().limit(millis(1_000)).timer(timer.clone()).build().unwrap(),
            retry: Retry::builder().attempts(3).backoff(backoff).timer(timer.clone()).build().unwrap(),
            breaker: CircuitBreaker::builder()
                .consecutive_failures(3)
                .open_for(millis(500))
                .half_open_for(millis(500))
                .abandoned(Abandoned::Ignore)
                .timer(timer.clone())
                .build()
                .unwrap(),
            bulkhead: Bulkhead::builder().limit(SLOTS).queue(PLACES).timer(timer.clone()).build().unwrap(),
            timer,
        }
    }

    /// What is held for calls: slots, places in the queue, timers.
    fn holding(&self) -> usize {
        let bulkhead = self.bulkhead.snapshot();
        (bulkhead.in_flight + bulkhead.queued) as usize + self.timer.sleepers()
    }
}

impl<S: Clone> Layer<S> for Four
where
    BulkheadLayer: Layer<S, Service: Clone>,
    CircuitBreakerLayer: Layer<<BulkheadLayer as Layer<S>>::Service, Service: Clone>,
{
    type Service = <TimeoutLayer as Layer<
        <RetryLayer<Classifier> as Layer<
            <CircuitBreakerLayer as Layer<<BulkheadLayer as Layer<S>>::Service>>::Service,
        >>::Service,
    >>::Service;

    fn layer(&self, inner: S) -> Self::Service {
        let retry = self.retry.layer().classify(classify as Classifier);
        self.timeout.layer().layer(retry.layer(self.breaker.layer().layer(self.bulkhead.layer().layer(inner))))
    }
}

/// `flaky` may pass, `broken` does not.
fn classify(answer: &Result<u32, Failure>) -> Classification {
    match answer {
        Ok(_) => Classification::SUCCESS,
        Err(Error::Service("flaky")) => Classification::FAILURE,
        Err(Error::Service(_)) => Classification::PERMANENT,
        Err(_) => Classification::IGNORE,
    }
}

fn stack() -> Subject<Four, Failure> {
    let four = Four::new();
    let (held, refusing) = (four.clone(), four.breaker.clone());
    Subject::new(four, || Error::Service("broken")).holding(move || held.holding()).refusing(
        move || {
            refusing.isolate();
            let breaker = refusing.clone();
            move || breaker.close()
        },
        Error::is_rejected,
    )
}

contract_tests! { mod the_stack_keeps_the_laws for stack, also refusal }

/// Something that happens to a stack in use.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// A caller comes; the service will hold its call, answer it, or fail in one of two ways.
    Come(Fate),
    /// The caller at this place, counted round, is polled although nobody woke it.
    Poll(usize),
    /// The caller at this place, counted round, gives up.
    GiveUp(usize),
    /// The service answers a call it held.
    Release { newest: bool },
    /// The service fails a call it held.
    Fail { flaky: bool },
    /// The service becomes ready, or does not.
    Ready(bool),
    /// Time passes.
    Wait { millis: u64 },
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Hold,
    Answer,
    Flaky,
    Broken,
    Panic,
}

fn act() -> impl Strategy<Value = Act> {
    let fate = prop_oneof![
        4 => Just(Fate::Hold),
        2 => Just(Fate::Answer),
        3 => Just(Fate::Flaky),
        1 => Just(Fate::Broken),
        1 => Just(Fate::Panic),
    ];
    prop_oneof![
        5 => fate.prop_map(Act::Come),
        1 => any::<usize>().prop_map(Act::Poll),
        3 => any::<usize>().prop_map(Act::GiveUp),
        2 => any::<bool>().prop_map(|newest| Act::Release { newest }),
        2 => any::<bool>().prop_map(|flaky| Act::Fail { flaky }),
        2 => any::<bool>().prop_map(Act::Ready),
        3 => (1_u64..700).prop_map(|millis| Act::Wait { millis }),
    ]
}

/// What happens at once: a caller may be woken and give up before it is polled.
fn moment() -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(act(), 1..4)
}

/// A stack in use: callers that come, are polled when woken, and go.
struct Use<S: Service<u32>> {
    four: Four,
    probe: Probe<u32, u32, Failure>,
    service: S,
    callers: Vec<Task<tower::util::Oneshot<S, u32>>>,
}

impl<S> Use<S>
where
    S: Service<u32, Response = u32, Error = Failure> + Clone,
{
    fn act(&mut self, act: Act) {
        match act {
            Act::Come(fate) => {
                self.probe.then(match fate {
                    Fate::Hold => Answer::Hold,
                    Fate::Answer => Answer::Give(Ok(7)),
                    Fate::Flaky => Answer::Give(Err(Error::Service("flaky"))),
                    Fate::Broken => Answer::Give(Err(Error::Service("broken"))),
                    Fate::Panic => Answer::Panic,
                });
                self.callers.push(Task::new(self.service.clone().oneshot(7)));
            }
            Act::Poll(place) if !self.callers.is_empty() => {
                let place = place % self.callers.len();
                if run(|| self.callers[place].poll().is_ready()) {
                    self.callers.swap_remove(place);
                }
            }
            Act::GiveUp(place) if !self.callers.is_empty() => {
                let place = place % self.callers.len();
                drop(self.callers.swap_remove(place));
            }
            Act::Release { newest: true } => drop(self.probe.release_newest()),
            Act::Release { newest: false } => drop(self.probe.release_oldest()),
            Act::Fail { flaky } => {
                let error = if flaky { "flaky" } else { "broken" };
                self.probe.release_with(Err(Error::Service(error)));
            }
            Act::Ready(ready) => self.probe.set_ready(ready),
            Act::Wait { millis } => self.four.timer.advance(Duration::from_millis(millis)),
            Act::Poll(_) | Act::GiveUp(_) => {}
        }
    }

    /// Polls whoever was woken until nobody is, and lets go whoever is done.
    fn settle(&mut self) {
        loop {
            let before = self.callers.iter().map(Task::polls).sum::<usize>();
            self.callers.retain_mut(|caller| !run(|| caller.run().is_ready()));
            let after = self.callers.iter().map(Task::polls).sum::<usize>();
            if before == after {
                return;
            }
        }
    }
}

/// Whether a caller is done: it has its answer, or the service's panic.
fn run(poll: impl FnOnce() -> bool) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)).unwrap_or(true)
}

fn in_use(probe: Probe<u32, u32, Failure>) -> Use<<Four as Layer<StrictService<u32, u32, Failure>>>::Service> {
    let four = Four::new();
    Use { service: four.layer(probe.service()), four, probe, callers: Vec::new() }
}

proptest! {
    /// Whatever callers and service do, in whatever order: the limit holds, nobody waits who could run, and when all
    /// callers are gone nothing is held and the next call is served.
    #[test]
    fn whatever_happens_everything_is_given_back(moments in prop::collection::vec(moment(), 1..40)) {
        let mut stack = in_use(Probe::new(Ok));
        for acts in moments {
            acts.into_iter().for_each(|act| stack.act(act));
            stack.settle();
            let (bulkhead, counts) = (stack.four.bulkhead.snapshot(), stack.probe.counts());
            prop_assert!(bulkhead.in_flight <= SLOTS && counts.in_flight <= SLOTS as usize, "{bulkhead:?} {counts:?}");
            prop_assert!(bulkhead.queued == 0 || bulkhead.in_flight == SLOTS, "somebody waits beside a free slot");
        }
        stack.callers.clear();
        prop_assert_eq!((stack.four.holding(), stack.probe.counts().in_flight, stack.probe.counts().reserved), (0, 0, 0));
        // An hour later every circuit may be tried again, and the service is well.
        stack.probe.set_ready(true);
        stack.four.timer.advance(Duration::from_secs(3_600));
        let probe = Probe::<u32, u32, Failure>::new(Ok);
        let next = Task::new(stack.four.layer(probe.service()).oneshot(9)).run();
        prop_assert_eq!(next, std::task::Poll::Ready(Ok(9)));
        let watched = stack.probe.clone();
        drop(stack);
        prop_assert_eq!(watched.violations(), Vec::<String>::new());
        prop_assert_eq!(watched.counts().instances, 0);
    }
}
