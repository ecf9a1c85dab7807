//! What holds of every layer, and of all of them together.
#![cfg(all(feature = "tower", feature = "tokio", feature = "cache"))]

use std::cell::Cell;
use std::error::Error as _;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use resilience_core::adaptive_limit::AdaptiveLimit;
use resilience_core::bulkhead::Bulkhead;
use resilience_core::bulkhead::partitioned::PartitionedBulkhead;
use resilience_core::cache::{Background, Cache, Ttl};
use resilience_core::chaos::Chaos;
use resilience_core::circuit_breaker::{Abandoned, CircuitBreaker, State};
use resilience_core::fallback::Fallback;
use resilience_core::hedge::Hedge;
use resilience_core::load_shed::{AdmissionControl, ClientThrottle, QueueShed, SignalShed};
use resilience_core::rate_limit::RateLimiter;
use resilience_core::retry::{Backoff, Jitter, Retry, RetryBudget};
use resilience_core::time::ManualTimer;
use resilience_core::timeout::{Timeout, TimeoutLayer};
use resilience_core::{AsRejected, Error, LiftLayer, Reason};
use testkit::probe::{Answer, Probe, StrictService};
use testkit::wakes::Task;
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

type Failure = Error<&'static str>;
type Inner = StrictService<u32, u32, Failure>;

const SECOND: Duration = Duration::from_secs(1);

/// Calls the service that the layer makes time and again, over one that is called only by who polled it ready. Two of
/// the calls fail, for the layers that try again.
async fn keeps_to_its_instance<L>(layer: L)
where
    L: Layer<Inner, Service: Service<u32, Response = u32, Error = Failure>>,
{
    let name = std::any::type_name::<L>();
    let probe = Probe::<u32, u32, Failure>::new(Ok);
    let mut service = layer.layer(probe.service());
    for call in 1..=6 {
        if call % 3 == 0 {
            probe.then(Answer::Give(Err(Error::Service("down"))));
        }
        let answer = service.ready().await.unwrap().call(call).await;
        assert!(call % 3 == 0 || answer == Ok(call), "{name}: {answer:?}");
    }
    drop(service);
    tokio::task::yield_now().await; // whatever has a task of its own ends it now
    assert_eq!(probe.violations(), [""; 0], "{name}");
    let counts = probe.counts();
    assert_eq!((counts.granted, counts.reserved, counts.instances), (counts.calls, 0, 0), "{name}: {counts:?}");
    assert!(counts.calls >= 6, "{name}: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn every_layer_calls_the_instance_it_polled_at_first_and_at_later_attempts() {
    // CP1: a layer that calls another clone than the one it polled works, until there is a limit inside. Each layer
    // keeps all of tower's laws in a file of its own (`contract_*.rs`); this is the table of them.
    keeps_to_its_instance(TimeoutLayer::new(SECOND)).await;
    keeps_to_its_instance(TimeoutLayer::new(SECOND).covers_readiness()).await;
    keeps_to_its_instance(TimeoutLayer::new(SECOND).detached()).await;
    let breaker = CircuitBreaker::builder().build().unwrap();
    keeps_to_its_instance(breaker.layer()).await;
    let limits = RateLimiter::builder().quota(1_000, Duration::from_secs(1)).build_keyed().unwrap();
    keeps_to_its_instance(limits.layer(|key: &u32| *key)).await;
    keeps_to_its_instance(CircuitBreaker::builder().build_keyed().unwrap().layer(|key: &u32| *key)).await;
    keeps_to_its_instance(Bulkhead::builder().limit(1).queue(1).build().unwrap().layer()).await;
    let partitioned = PartitionedBulkhead::builder().limit(8).share(0, 0.5).build().unwrap();
    keeps_to_its_instance(partitioned.layer(|request: &u32| request % 2)).await;
    let limiter = RateLimiter::builder().quota(1, SECOND).max_wait(10 * SECOND).build().unwrap();
    keeps_to_its_instance(limiter.layer()).await;
    keeps_to_its_instance(AdaptiveLimit::builder().build().unwrap().layer()).await;
    keeps_to_its_instance(ClientThrottle::builder().build().unwrap().layer()).await;
    keeps_to_its_instance(AdmissionControl::builder().build().unwrap().layer()).await;
    keeps_to_its_instance(QueueShed::builder().build().unwrap().layer()).await;
    keeps_to_its_instance(SignalShed::builder().build().unwrap().layer()).await;
    keeps_to_its_instance(Fallback::builder().build().unwrap().value(0)).await;
    keeps_to_its_instance(Chaos::builder().build().unwrap().layer()).await;
    keeps_to_its_instance(Cache::builder().ttl(SECOND).build().unwrap().layer(|key: &u32| Some(*key))).await;
    let backoff = Backoff::constant(SECOND).jitter(Jitter::None);
    let retry = Retry::builder().attempts(3).backoff(backoff).build().unwrap();
    keeps_to_its_instance(retry.layer()).await;
    assert!(retry.snapshot().budget.is_some_and(|budget| budget.withdrawn == 2), "{:?}", retry.snapshot());
    let hedge = Hedge::builder().delay(Duration::ZERO).attempts(3).build().unwrap();
    keeps_to_its_instance(hedge.layer()).await;
    assert!(hedge.snapshot().launched > 0);
}

/// A service that can be called, on one thread, by whoever owns it.
struct Owned<'a>(&'a Cell<u32>);

impl Service<u32> for Owned<'_> {
    type Response = u32;
    type Error = Failure;
    type Future = Ready<Result<u32, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        self.0.set(self.0.get() + 1);
        ready(Ok(request))
    }
}

#[test]
fn who_does_not_repeat_a_call_needs_no_service_that_can_be_cloned() {
    // CP2: tower-resilience clones the service for each call, to have something `'static` to box. Only a layer that
    // calls twice needs two: retry, hedge, and a cache that others wait for. (The laws ask it of each layer alone.)
    let calls = Cell::new(0);
    let timer = ManualTimer::new();
    let timeout = Timeout::builder().limit(SECOND).timer(timer.clone()).build().unwrap();
    let mut stack = ServiceBuilder::new()
        .layer(timeout.layer())
        .layer(SignalShed::builder().timer(timer.clone()).build().unwrap().layer())
        .layer(CircuitBreaker::builder().timer(timer.clone()).build().unwrap().layer())
        .layer(RateLimiter::builder().quota(10, SECOND).timer(timer.clone()).build().unwrap().layer())
        .layer(AdaptiveLimit::builder().timer(timer.clone()).build().unwrap().layer())
        .layer(Bulkhead::builder().limit(1).timer(timer).build().unwrap().layer())
        .service(Owned(&calls));
    for request in 0..2 {
        let mut call = Task::new(async { stack.ready().await?.call(request).await });
        assert_eq!(call.run(), Poll::Ready(Ok(request)));
    }
    assert_eq!(calls.get(), 2);
}

/// What a driver says, and why.
fn disk() -> std::io::Error {
    std::io::Error::other("disk is full")
}

#[tokio::test(start_paused = true)]
async fn five_layers_have_one_error_that_says_what_it_is_and_leads_to_the_services_own() {
    // CP4: with an error per layer, five layers nest five, and who wants to know whether the circuit is open takes all
    // of them apart; tower-resilience's have no source besides.
    let breaker = CircuitBreaker::builder()
        .name("breaker")
        .abandoned(Abandoned::Ignore)
        .consecutive_failures(1)
        .open_for(5 * SECOND)
        .build()
        .unwrap();
    let bulkhead = Bulkhead::builder().name("bulkhead").limit(1).build().unwrap();
    let limiter = RateLimiter::builder().name("limiter").quota(2, 60 * SECOND).burst(2).build().unwrap();
    let shed = SignalShed::builder().build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(SECOND))
        .layer(breaker.layer())
        .layer(bulkhead.layer())
        .layer(limiter.layer())
        .layer(shed.layer())
        .layer(LiftLayer)
        .service(service_fn(async |hangs: bool| {
            if hangs {
                std::future::pending::<()>().await;
            }
            Err::<(), _>(disk())
        }));
    let call = |hangs: bool| stack.clone().oneshot(hangs);

    let late: Error<std::io::Error> = call(true).await.unwrap_err();
    assert!(late.is_elapsed() && !late.is_rejected() && !late.is_open() && late.source().is_none());
    assert_eq!(late.retry_after(), None);

    let own = call(false).await.unwrap_err();
    assert!(!own.is_elapsed() && !own.is_rejected());
    let cause = own.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    assert_eq!(cause.map(ToString::to_string).as_deref(), Some("disk is full"));

    let open = call(false).await.unwrap_err();
    assert!(open.is_open() && open.is_rejected() && open.source().is_none());
    assert_eq!((open.retry_after(), breaker.state()), (Some(5 * SECOND), State::Open));

    breaker.close();
    let limited = call(false).await.unwrap_err();
    assert!(limited.is_rejected() && !limited.is_open() && limited.retry_after() > Some(SECOND));
    let held = bulkhead.try_acquire().unwrap();
    let full = call(false).await.unwrap_err();
    assert!(matches!(full.as_rejected().map(|refused| refused.reason()), Some(Reason::Full { limit: 1, queued: 0 })));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_stack_of_boxed_errors_says_as_much() {
    // CP4, for who boxes all errors.
    let breaker = CircuitBreaker::builder().consecutive_failures(1).build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(SECOND))
        .layer(breaker.layer())
        .layer(Bulkhead::builder().limit(1).build().unwrap().layer())
        .layer(RateLimiter::builder().quota(10, SECOND).burst(10).build().unwrap().layer())
        .layer(SignalShed::builder().build().unwrap().layer())
        .service(service_fn(async |(): ()| Err::<(), BoxError>(disk().into())));
    let own = stack.clone().oneshot(()).await.unwrap_err();
    assert!(own.is::<std::io::Error>() && own.as_rejected().is_none());
    let refused = stack.oneshot(()).await.unwrap_err();
    assert_eq!(refused.as_rejected().map(|refused| refused.reason()), Some(Reason::Open));
}

#[test]
fn a_whole_stack_dropped_in_full_flight_leaves_no_task_no_timer_and_no_permit() {
    // CP8: callers in a service, in a queue, between two attempts, in a race and before a limit; then all of it goes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _inside = runtime.enter();
    let timer = ManualTimer::new();
    let millis = Duration::from_millis;
    let budget = RetryBudget::builder().reserve(100).ratio(1.0).build().unwrap();
    let backoff = Backoff::constant(SECOND).jitter(Jitter::None);
    let retry = Retry::builder().attempts(3).backoff(backoff).budget(budget.clone()).timer(timer.clone());
    let hedge = Hedge::builder().delay(millis(10)).budget(budget.clone()).timer(timer.clone()).build().unwrap();
    let bulkhead = Bulkhead::builder().limit(4).queue(4).timer(timer.clone()).build().unwrap();
    let limiter = RateLimiter::builder().quota(1, SECOND).burst(20).max_wait(60 * SECOND).timer(timer.clone());
    let limiter = limiter.build().unwrap();
    let adaptive = AdaptiveLimit::builder().initial(30).timer(timer.clone()).build().unwrap();
    let breaker = CircuitBreaker::builder().consecutive_failures(1_000).timer(timer.clone()).build().unwrap();
    let timeout = |limit| Timeout::builder().limit(limit).timer(timer.clone()).build().unwrap().layer();
    let cache = Cache::<u32, u32, Failure>::builder().ttl(Ttl::FOREVER).timer(timer.clone()).build().unwrap();
    let probe = Probe::<u32, u32, Failure>::new(Ok);
    let service = ServiceBuilder::new()
        .layer(Fallback::builder().timer(timer.clone()).build().unwrap().value(0))
        .layer(timeout(60 * SECOND))
        .layer(cache.layer(|key: &u32| Some(*key)).in_background(Background::tokio()))
        .layer(retry.build().unwrap().layer())
        .layer(breaker.layer())
        .layer(limiter.layer())
        .layer(hedge.layer())
        .layer(adaptive.layer())
        .layer(bulkhead.layer())
        .layer(timeout(10 * SECOND))
        .service(probe.service());
    let service = BoxCloneService::new(service);
    // Three calls fail at once, and are between two attempts; the others hang, wait for a slot, or for the limiter.
    (0..3).for_each(|_| probe.then(Answer::Give(Err(Error::Service("down")))));
    (0..100).for_each(|_| probe.then(Answer::Hold));
    let mut callers: Vec<_> = (0..40).map(|key| Task::new(service.clone().oneshot(key))).collect();
    let done = |callers: &mut Vec<Task<_>>| {
        callers
            .iter_mut()
            .filter_map(|caller| match caller.run() {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            })
            .collect::<Vec<Result<u32, Failure>>>()
            .len()
    };
    let refused = done(&mut callers);
    timer.advance(millis(10));
    callers.retain(|caller| caller.polls() > 0);
    let before = (bulkhead.snapshot(), probe.counts(), timer.sleepers(), budget.snapshot());
    assert!(before.0.in_flight == 4 && before.0.queued == 4 && before.1.in_flight == 4, "{before:?}");
    assert!(before.2 > 8 && before.3.withdrawn >= 3 && refused < 40, "{before:?}, and {refused} done");
    assert!(cache.snapshot().loading > 10 && adaptive.snapshot().in_flight > 4, "{:?}", cache.snapshot());

    drop(callers);
    drop(service);
    let left = (bulkhead.snapshot().in_flight, bulkhead.snapshot().queued, adaptive.snapshot().in_flight);
    assert_eq!((left, cache.snapshot().loading), ((0, 0, 0), 0));
    assert_eq!((timer.sleepers(), runtime.metrics().num_alive_tasks()), (0, 0));
    assert_eq!((probe.counts().in_flight, probe.counts().reserved, probe.counts().instances), (0, 0, 0));
    assert_eq!(probe.violations(), [""; 0]);
    timer.advance(60 * SECOND);
    assert_eq!(limiter.snapshot().available, 20, "who waited for a permit did not take it along");
}
