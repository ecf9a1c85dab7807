//! What an admitted call allocates: nothing.
#![cfg(all(feature = "tower", feature = "tokio"))]

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use resilience_core::adaptive_limit::AdaptiveLimit;
use resilience_core::bulkhead::partitioned::PartitionedBulkhead;
use resilience_core::bulkhead::{Bulkhead, BulkheadLayer, Discipline};
use resilience_core::chaos::{Chaos, Faults};
use resilience_core::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, exact};
use resilience_core::fallback::Fallback;
use resilience_core::hedge::{Hedge, Quantile};
use resilience_core::load_shed::{AdmissionControl, ClientThrottle, QueueShed, SignalShed};
use resilience_core::rate_limit::RateLimiter;
use resilience_core::retry::{Retry, RetryLayer, RetryService};
use resilience_core::timeout::TimeoutLayer;
use resilience_core::{Class, Error, LiftLayer};
use testkit::alloc::{Counting, allocations};
use testkit::wakes::poll_once;
use tower::{Layer, Service};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers at once.
#[derive(Clone, Copy)]
struct Echo;

impl Service<u32> for Echo {
    type Response = u32;
    type Error = Infallible;
    type Future = Ready<Result<u32, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        ready(Ok(request))
    }
}

/// Answers at the second poll, so that whoever wants a timer sets one.
#[derive(Clone, Copy)]
struct Later;

impl Service<u32> for Later {
    type Response = u32;
    type Error = Infallible;
    type Future = Pending;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        Pending { request, polled: false }
    }
}

struct Pending {
    request: u32,
    polled: bool,
}

impl Future for Pending {
    type Output = Result<u32, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::replace(&mut self.polled, true) { Poll::Ready(Ok(self.request)) } else { Poll::Pending }
    }
}

const CALLS: u32 = 1_000;

/// What calls allocate over all of them: an allocation now and then counts too.
fn allocated<S>(mut service: S) -> u64
where
    S: Service<u32, Response = u32, Error = Error<Infallible>>,
{
    let mut call = |request| {
        let is_ready = poll_once(pin!(poll_fn(|cx| service.poll_ready(cx))));
        assert_eq!(is_ready, Poll::Ready(Ok(())));
        let mut answer = pin!(service.call(request));
        let answer = match poll_once(answer.as_mut()) {
            Poll::Pending => poll_once(answer),
            ready => ready,
        };
        assert_eq!(answer, Poll::Ready(Ok(request)));
    };
    // What is made once, at the first call of a thread, is not the price of a call.
    call(0);
    allocations(|| (1..=CALLS).for_each(&mut call)).0.count
}

/// Runs a test where timers can be made.
fn in_a_runtime<T>(test: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _inside = runtime.enter();
    test()
}

#[cfg(feature = "cache")]
#[test]
fn a_hit_in_a_cache_allocates_nothing() {
    use resilience_core::cache::{Cache, Ttl};
    let stale = Ttl::fresh(Duration::ZERO).stale_if_error(Duration::MAX);
    in_a_runtime(|| {
        let cache = Cache::<u32, u32, Error<Infallible>>::builder().build().unwrap();
        (0..=CALLS).for_each(|key| cache.insert(key, key));
        assert_eq!(allocated(cache.layer(|key: &u32| Some(*key)).layer(LiftLayer.layer(Echo))), 0);
        let (direct, ()) = allocations(|| {
            let hit = pin!(cache.get_or_load(7, std::future::pending::<Result<u32, _>>));
            assert_eq!(poll_once(hit), Poll::Ready(Ok(7)));
        });
        assert_eq!(direct.count, 0, "without tower");
        cache.insert_for(7, 7, stale);
        let fails = || ready(Err(Error::Elapsed(resilience_core::Elapsed::new(Duration::ZERO))));
        assert_eq!(poll_once(pin!(cache.get_or_load(7, fails))), Poll::Ready(Ok(7)));
        let (calm, ()) = allocations(|| {
            let stale = pin!(cache.get_or_load(7, std::future::pending::<Result<u32, _>>));
            assert_eq!(poll_once(stale), Poll::Ready(Ok(7)));
        });
        assert_eq!(calm.count, 0, "stale, after a call has failed");
    });
}

#[test]
fn a_batch_allocates_for_itself_and_next_to_nothing_for_each_of_its_calls() {
    use resilience_core::batch::{Batch, Call, Unanswered};
    #[derive(Clone, Debug, PartialEq)]
    struct Lost;
    impl From<Unanswered> for Lost {
        fn from(_: Unanswered) -> Self {
            Self
        }
    }
    in_a_runtime(|| {
        let cost = |calls: u32| {
            let batch = Batch::builder().size(calls as usize).build().unwrap();
            let echo = batch.over(|requests: Vec<u32>| {
                ready(Ok::<Vec<Result<u32, Error<Lost>>>, _>(requests.into_iter().map(Ok).collect()))
            });
            let round = || {
                let mut calls: Vec<Call<_, _>> = (0..calls).map(|request| echo.call(request)).collect();
                let (cost, ()) = allocations(|| {
                    let ready = calls.iter_mut().rev().map(|call| poll_once(pin!(call))).filter(Poll::is_ready);
                    assert_eq!(ready.count(), 1, "who fills it");
                });
                assert!(calls.iter_mut().skip(1).all(|call| poll_once(pin!(call)).is_ready()));
                cost.count
            };
            round();
            round()
        };
        // The batch, its relay, its call, its timer; and the lists of seats, requests, answers and wakers.
        let (alone, hundred) = (cost(1), cost(100));
        assert!(alone <= 12, "{alone} for one");
        assert!(hundred <= alone + 30, "{hundred} for a hundred");
    });
}

fn timeout() -> TimeoutLayer {
    TimeoutLayer::new(Duration::from_secs(60))
}

#[test]
fn a_timeout_allocates_nothing() {
    // CP3, as the other admitted calls here: a pattern that costs an allocation a call is left out of the hot path,
    // where it is needed most.
    in_a_runtime(|| assert_eq!(allocated(timeout().layer(LiftLayer.layer(Echo))), 0));
}

fn breaker() -> CircuitBreakerLayer {
    CircuitBreaker::builder().build().unwrap().layer()
}

#[test]
fn a_window_with_a_million_records_is_no_larger_than_an_empty_one() {
    // CB4: tower-resilience keeps each of them for as long as the window is long.
    in_a_runtime(|| {
        let breaker =
            CircuitBreaker::builder().minimum_calls(u32::MAX).window(Duration::from_secs(10)).build().unwrap();
        let record = || breaker.try_acquire().unwrap().settle(Class::Success);
        record();
        assert_eq!(allocations(|| (0..1_000_000).for_each(|_| record())).0.count, 0);
        assert_eq!(breaker.snapshot().calls, 1_000_001);
    });
}

#[test]
fn a_closed_breaker_allocates_nothing() {
    // CP3.
    in_a_runtime(|| {
        assert_eq!(allocated(breaker().layer(LiftLayer.layer(Echo))), 0, "with a window");
        let in_a_row = CircuitBreaker::builder().consecutive_failures(5).build().unwrap();
        assert_eq!(allocated(in_a_row.layer().layer(LiftLayer.layer(Echo))), 0, "counting failures in a row");
        let slow = CircuitBreaker::builder().count_window(100).slow_calls(Duration::from_secs(1), 0.5).build().unwrap();
        assert_eq!(
            allocated(slow.layer().layer(LiftLayer.layer(Echo))),
            0,
            "watching slow calls among the last hundred"
        );
        let exact = CircuitBreaker::builder().exact(exact::Options::resilience4j()).build().unwrap();
        assert_eq!(allocated(exact.layer().layer(LiftLayer.layer(Echo))), 0, "by the rules of another");
        let keyed = CircuitBreaker::builder().build_keyed::<u32>().unwrap();
        assert_eq!(allocated(keyed.layer(|_: &u32| 7).layer(LiftLayer.layer(Echo))), 0, "with a key that is known");
    });
}

#[test]
fn chaos_that_is_off_or_spares_the_call_allocates_nothing() {
    // CH1.
    in_a_runtime(|| {
        let builder = || Chaos::<u32, u32, Error<Infallible>>::builder().response(|_| 0);
        let off = builder().faults(Faults { response: 1.0, ..Faults::NONE }).enabled(false).build().unwrap();
        assert_eq!(allocated(off.layer().layer(LiftLayer.layer(Echo))), 0, "off");
        assert_eq!(allocated(builder().build().unwrap().layer().layer(LiftLayer.layer(Echo))), 0, "on");
    });
}

fn retry() -> RetryLayer {
    Retry::builder().build().unwrap().layer()
}

#[test]
fn a_retry_that_is_not_needed_allocates_nothing() {
    in_a_runtime(|| assert_eq!(allocated(retry().layer(LiftLayer.layer(Echo))), 0));
}

fn bulkhead() -> BulkheadLayer {
    Bulkhead::builder().limit(64).queue(16).build().unwrap().layer()
}

#[test]
fn a_bulkhead_with_a_free_slot_allocates_nothing() {
    // CP3.
    in_a_runtime(|| assert_eq!(allocated(bulkhead().layer(LiftLayer.layer(Echo))), 0));
}

#[test]
fn a_place_in_a_queue_that_has_grown_allocates_nothing_under_any_discipline() {
    let hour = Duration::from_secs(3600);
    let disciplines =
        [Discipline::fifo(), Discipline::codel(hour, hour), Discipline::deadline_first(), Discipline::priority()];
    for discipline in disciplines {
        let builder = Bulkhead::builder().limit(1).queue(8).discipline(discipline);
        let bulkhead = in_a_runtime(|| builder.build().unwrap());
        let round = || {
            let held = bulkhead.try_acquire().unwrap();
            let mut waiting = [const { None }; 8];
            for place in &mut waiting {
                let acquire = place.insert(bulkhead.acquire());
                assert!(poll_once(Pin::new(acquire)).is_pending());
            }
            drop(waiting[3].take());
            drop(held);
            for mut acquire in waiting.into_iter().flatten() {
                assert!(poll_once(Pin::new(&mut acquire)).is_ready());
            }
        };
        in_a_runtime(|| {
            round();
            assert_eq!(allocations(round).0.count, 0, "{discipline:?}");
        });
    }
}

#[test]
fn an_adaptive_limit_with_a_free_slot_allocates_nothing_while_it_learns() {
    let builder = || AdaptiveLimit::builder().window(Duration::ZERO, Duration::ZERO).samples(1).initial(3);
    in_a_runtime(|| {
        for builder in [builder(), builder().aimd(), builder().gradient2()] {
            let limit = builder.build().unwrap();
            assert_eq!(allocated(limit.layer().layer(LiftLayer.layer(Echo))), 0);
            assert!(limit.snapshot().windows > u64::from(CALLS));
        }
    });
}

#[test]
fn a_partitioned_bulkhead_allocates_nothing_for_those_it_knows_and_those_it_does_not() {
    let bulkhead = PartitionedBulkhead::builder().limit(8).share(0, 0.5);
    let bulkhead = in_a_runtime(|| bulkhead.build().unwrap());
    let layer = bulkhead.layer(|request: &u32| request % 4);
    in_a_runtime(|| assert_eq!(allocated(layer.layer(LiftLayer.layer(Echo))), 0));
}

#[test]
fn a_call_that_is_not_shed_allocates_nothing() {
    // CP3.
    in_a_runtime(|| {
        let throttle = ClientThrottle::builder().build().unwrap();
        assert_eq!(allocated(throttle.layer().layer(LiftLayer.layer(Echo))), 0);
        let admission = AdmissionControl::builder().build().unwrap();
        assert_eq!(allocated(admission.layer().layer(LiftLayer.layer(Echo))), 0);
        let queue = QueueShed::builder().build().unwrap();
        assert_eq!(allocated(queue.layer().layer(LiftLayer.layer(Echo))), 0);
        let signal = SignalShed::builder().build().unwrap();
        assert_eq!(allocated(signal.layer().layer(LiftLayer.layer(Echo))), 0);
    });
}

#[test]
fn a_rate_limiter_with_a_free_permit_allocates_nothing() {
    // CP3.
    let limiter = RateLimiter::builder().quota(10_000, Duration::from_secs(1)).build();
    let keyed = RateLimiter::builder().quota(10_000, Duration::from_secs(1)).build_keyed::<u32>();
    in_a_runtime(|| {
        assert_eq!(allocated(limiter.unwrap().layer().layer(LiftLayer.layer(Echo))), 0);
        let keyed = keyed.unwrap().layer(|_: &u32| 7);
        assert_eq!(allocated(keyed.layer(LiftLayer.layer(Echo))), 0, "with a key that is known");
    });
}

#[test]
fn a_fallback_allocates_nothing_whether_it_is_needed_or_not() {
    let fallback = Fallback::builder().build().unwrap();
    in_a_runtime(|| {
        assert_eq!(allocated(fallback.value(0).layer(LiftLayer.layer(Echo))), 0);
        let to_backup = fallback.service(LiftLayer.layer(Echo)).original();
        assert_eq!(allocated(to_backup.clone().layer(LiftLayer.layer(Later))), 0);
        let poor = to_backup.or_when(|_: &u32| true);
        assert_eq!(allocated(poor.layer(LiftLayer.layer(Echo))), 0, "each call falls back");
    });
}

#[test]
fn a_hedge_that_is_not_needed_allocates_nothing() {
    let fixed = Hedge::builder().delay(Duration::from_secs(60)).build().unwrap();
    let learnt = Hedge::builder().delay(Quantile { samples: 10, ..Quantile::default() }).build().unwrap();
    in_a_runtime(|| {
        for (hedge, which) in [(fixed, "fixed"), (learnt, "learnt")] {
            assert_eq!(allocated(hedge.layer().layer(LiftLayer.layer(Echo))), 0, "{which}, answered at once");
            assert_eq!(allocated(hedge.layer().layer(LiftLayer.layer(Later))), 0, "{which}, answered in time");
        }
    });
}

fn stack<S>(inner: S) -> impl Service<u32, Response = u32, Error = Error<Infallible>>
where
    S: Service<u32, Response = u32, Error = Infallible> + Clone,
{
    timeout().layer(retry().layer(breaker().layer(bulkhead().layer(LiftLayer.layer(inner)))))
}

#[test]
fn the_stack_of_four_allocates_nothing() {
    in_a_runtime(|| assert_eq!(allocated(stack(Echo)), 0));
}

#[test]
fn the_stack_of_four_allocates_nothing_for_a_call_that_waits_either() {
    in_a_runtime(|| assert_eq!(allocated(stack(Later)), 0));
}

#[test]
fn a_retry_cloned_for_one_call_allocates_nothing_and_one_that_stays_pays_once() {
    in_a_runtime(|| {
        let mut service = retry().layer(LiftLayer.layer(Echo));
        let call = |service: &mut RetryService<_>| {
            let mut answer = pin!(service.call(7));
            assert_eq!(poll_once(answer.as_mut()), Poll::Ready(Ok(7)));
        };
        call(&mut service);
        let mut clones: Vec<_> = (0..8).map(|_| service.clone()).collect();
        assert_eq!(allocations(|| clones.iter_mut().for_each(call)).0.count, 0);
        let stays = &mut clones[0];
        assert_eq!(allocations(|| (0..CALLS).for_each(|_| call(stays))).0.count, 1, "a reference count of its own");
    });
}

/// The layers of HTTP, for a request that brings no context and has none to send.
#[cfg(feature = "http")]
#[test]
fn the_layers_of_http_allocate_nothing_when_they_have_nothing_to_write() {
    use http::{Request, Response};
    use http_body_util::Empty;
    use resilience_core::http::{ExtractLayer, InjectLayer, UntilEndLayer};
    use tower::util::{MapRequest, MapResponse};

    type Body = Empty<bytes::Bytes>;
    let inner = MapResponse::new(MapRequest::new(Echo, |request: Request<u32>| *request.body()), |number| {
        assert!(number <= CALLS);
        Response::new(Body::new())
    });
    in_a_runtime(|| {
        let breaker = CircuitBreaker::builder().build().unwrap();
        let mut service = ExtractLayer::http()
            .layer(UntilEndLayer::new(breaker.clone()).layer(LiftLayer.layer(InjectLayer::http().layer(inner))));
        let mut call = |number| {
            let answer = poll_once(pin!(service.call(Request::new(number))));
            assert!(matches!(answer, Poll::Ready(Ok(response)) if response.status() == 200));
        };
        call(0);
        assert_eq!(allocations(|| (1..=CALLS).for_each(&mut call)).0.count, 0);
        assert_eq!(breaker.snapshot().calls, u64::from(CALLS) + 1);
    });
}
