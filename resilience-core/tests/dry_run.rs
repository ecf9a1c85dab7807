//! Policies on trial: they decide, count and tell, and no call notices.
#![cfg(all(feature = "tokio", feature = "tower", not(loom)))]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use proptest::prelude::*;
use resilience_core::bulkhead::Bulkhead;
use resilience_core::event::{Event, Sink};
use resilience_core::rate_limit::RateLimiter;
use resilience_core::time::{ManualTimer, SharedTimer};
use resilience_core::{Error, LiftLayer};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<&'static str>>>);

impl Sink for Names {
    fn on_event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(event.fact.name());
    }
}

impl Names {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[test]
fn a_bulkhead_on_trial_lets_everybody_in_and_says_who_would_have_waited() {
    let names = Names::default();
    let bulkhead = Bulkhead::builder().limit(1).queue(1).dry_run(true).listener(names.clone()).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(bulkhead.layer())
        .layer(LiftLayer)
        .service(service_fn(|()| std::future::pending::<Result<(), &str>>()));
    let calls: Vec<_> = (0..3).map(|_| service.ready().now_or_never().unwrap().unwrap().call(())).collect();
    let direct = bulkhead.acquire().now_or_never().unwrap().unwrap();
    assert_eq!(
        names.take(),
        ["admitted", "would_queue", "admitted", "would_reject", "admitted", "would_reject", "admitted"]
    );
    let seen = bulkhead.snapshot();
    assert_eq!((seen.in_flight, seen.totals.would_queue, seen.totals.would_reject), (4, 1, 2));
    assert_eq!((seen.totals.full, seen.totals.queued), (0, 0));
    drop((calls, direct));
    assert_eq!(bulkhead.snapshot().in_flight, 0);
}

#[test]
fn a_trial_that_begins_lets_in_who_waits_and_one_that_ends_takes_nothing_back() {
    let settings = |dry: bool| Bulkhead::builder().limit(1).queue(4).dry_run(dry);
    let bulkhead = settings(false).build().unwrap();
    let running = bulkhead.try_acquire().unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(bulkhead.acquire())).collect();
    assert!(waiting.iter_mut().all(|waiting| waiting.as_mut().now_or_never().is_none()));
    bulkhead.reconfigure(settings(true)).unwrap();
    let mut served: Vec<_> = waiting.into_iter().map(|waiting| waiting.now_or_never().unwrap().unwrap()).collect();
    assert_eq!((bulkhead.snapshot().in_flight, bulkhead.snapshot().limit), (4, 1));
    bulkhead.reconfigure(settings(false)).unwrap();
    assert!(bulkhead.try_acquire().is_err());
    served.clear();
    assert!(bulkhead.try_acquire().is_err(), "the first still runs");
    drop(running);
    assert!(bulkhead.try_acquire().is_ok());
}

#[test]
fn a_rate_limiter_on_trial_lets_everybody_in_at_once_and_says_who_would_have_waited() {
    let (names, timer) = (Names::default(), ManualTimer::new());
    let builder = RateLimiter::builder().quota(1, Duration::from_secs(1)).dry_run(true).timer(timer.clone());
    let limiter = builder.clone().max_wait(Duration::from_secs(1)).listener(names.clone()).build().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(limiter.layer())
        .layer(LiftLayer)
        .service(service_fn(|()| async { Ok::<_, &str>(()) }));
    for _ in 0..3 {
        let ready = service.ready().now_or_never().expect("nobody waits").unwrap();
        assert_eq!(ready.call(()).now_or_never().unwrap(), Ok::<_, Error<&str>>(()));
    }
    assert_eq!(names.take(), ["admitted", "would_queue", "admitted", "would_reject", "admitted"]);
    assert_eq!((limiter.snapshot().totals.would_queue, limiter.snapshot().totals.would_reject), (1, 1));
    // The one that would have waited has taken its permit, the one that would have been refused has not.
    assert_eq!(limiter.snapshot().available, -1);
    timer.advance(Duration::from_secs(2));
    limiter.reconfigure(builder.max_wait(Duration::from_secs(1)).dry_run(false)).unwrap();
    limiter.try_acquire().unwrap();
    assert!(limiter.try_acquire().is_err());
}

#[test]
fn a_keyed_limiter_on_trial_refuses_no_key() {
    let names = Names::default();
    let limiter = RateLimiter::builder().quota(1, Duration::from_secs(1)).max_keys(1).dry_run(true);
    let limiter = limiter.timer(ManualTimer::new()).listener(names.clone()).build_keyed::<String>().unwrap();
    assert!(["a", "a", "b"].iter().all(|key| limiter.try_acquire(*key).is_ok()));
    assert_eq!(limiter.snapshot().would_reject, 2);
    assert_eq!(names.take(), ["admitted", "would_reject", "admitted", "would_reject", "admitted"]);
}

proptest! {
    /// A trial says of every call what the limiter itself says of it.
    #[test]
    fn a_trial_counts_what_the_limiter_would_refuse(
        calls in proptest::collection::vec((0..2_000_u64, 0..4_u32), 1..40), burst in 1..4_u32,
    ) {
        let timer = ManualTimer::new();
        let builder = RateLimiter::builder().quota(2, Duration::from_secs(1)).burst(burst).timer(timer.clone());
        let (real, trial) = (builder.clone().build().unwrap(), builder.dry_run(true).build().unwrap());
        for (millis, permits) in calls {
            timer.advance(Duration::from_millis(millis));
            let _ = real.try_acquire_n(permits);
            prop_assert!(trial.try_acquire_n(permits).is_ok());
            let (real, trial) = (real.snapshot(), trial.snapshot());
            prop_assert_eq!(real.available, trial.available);
            prop_assert_eq!(real.totals.rate_limited, trial.totals.would_reject);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_on_trial_ends_nothing_and_shows_nothing_inside() {
    use resilience_core::context::{self, Context};
    use resilience_core::timeout::Timeout;

    let (names, timer) = (Names::default(), SharedTimer::default());
    let builder = Timeout::builder().limit(Duration::from_secs(1)).dry_run(true).listener(names.clone());
    let timeout = builder.build().unwrap();
    let clock = timer.clone();
    let service =
        ServiceBuilder::new().layer(timeout.layer()).layer(LiftLayer).service(service_fn(move |seconds: u64| {
            let (clock, made) = (clock.clone(), context::deadline(&clock).is_some());
            async move {
                for _ in 0..seconds {
                    clock.sleep(Duration::from_secs(1)).await; // polled often, and told of once
                }
                Ok::<_, &str>(made || context::deadline(&clock).is_some())
            }
        }));
    let start = timer.now();
    assert_eq!(service.clone().oneshot(0).await, Ok::<_, Error<&str>>(false));
    assert_eq!(names.take(), [""; 0]);
    assert_eq!(service.clone().oneshot(5).await, Ok::<_, Error<&str>>(false));
    assert_eq!(timer.now().since(start), Duration::from_secs(5));
    assert_eq!(names.take(), ["would_elapse"]);
    let late = Context::new().with_deadline(timer.now()).scope(service.oneshot(5));
    assert_eq!(late.await, Ok::<_, Error<&str>>(true), "the deadline is the caller's own");
    assert_eq!(names.take(), ["would_reject"]);
    let seen = timeout.trial().unwrap();
    assert_eq!((seen.would_elapse, seen.would_reject), (1, 1));
}

/// Asks so many times, and says how often it was refused.
fn refusals<T, E>(times: u32, mut ask: impl FnMut() -> Result<T, E>) -> usize {
    (0..times).filter(|_| ask().is_err()).count()
}

#[test]
fn a_breaker_on_trial_opens_and_lets_everybody_in() {
    use resilience_core::Class;
    use resilience_core::circuit_breaker::{CircuitBreaker, State};

    let (names, timer) = (Names::default(), ManualTimer::new());
    let builder = CircuitBreaker::builder().consecutive_failures(2).dry_run(true).timer(timer);
    let breaker = builder.listener(names.clone()).build().unwrap();
    for _ in 0..2 {
        breaker.try_acquire().unwrap().settle(Class::Failure);
    }
    assert_eq!(refusals(3, || breaker.try_acquire()), 0);
    let seen = breaker.snapshot();
    assert_eq!((seen.state, seen.would_reject, seen.rejected), (State::Open, 3, 0));
    let told = names.take();
    assert_eq!(told.iter().filter(|name| **name == "would_reject").count(), 3, "{told:?}");
    assert!(told.contains(&"opened") && !told.contains(&"rejected"), "{told:?}");
}

#[test]
fn a_trial_of_a_breaker_for_each_key_counts_for_keys_that_are_forgotten_too() {
    use resilience_core::Class;
    use resilience_core::circuit_breaker::CircuitBreaker;

    let (names, timer) = (Names::default(), ManualTimer::new());
    let settings = |dry: bool| CircuitBreaker::builder().consecutive_failures(1).max_keys(1).dry_run(dry);
    let hosts = settings(true).timer(timer).listener(names.clone()).build_keyed::<u32>().unwrap();
    hosts.try_acquire(&1).unwrap().settle(Class::Failure);
    assert_eq!(refusals(3, || hosts.try_acquire(&1)), 0);
    assert_eq!(names.take().iter().filter(|name| **name == "would_reject").count(), 3);
    hosts.close();
    hosts.try_acquire(&2).unwrap().settle(Class::Failure); // and takes the first one's place
    assert!(hosts.get(&1).is_none());
    let seen = hosts.snapshot();
    assert_eq!((seen.would_reject, seen.rejected, seen.opened), (3, 0, 2));
    hosts.reconfigure(settings(false)).unwrap();
    assert_eq!(refusals(2, || hosts.try_acquire(&2)), 2, "in earnest from now on, for keys there are");
    assert_eq!(hosts.snapshot().rejected, 2);
}

#[test]
fn limits_of_other_kinds_on_trial_let_everybody_in_too() {
    use resilience_core::adaptive_limit::AdaptiveLimit;
    use resilience_core::bulkhead::partitioned::PartitionedBulkhead;

    let (names, timer) = (Names::default(), ManualTimer::new());
    let builder = AdaptiveLimit::builder().initial(1).min(1).dry_run(true).timer(timer.clone());
    let adaptive = builder.listener(names.clone()).build().unwrap();
    let mut running: Vec<_> = (0..3).map(|_| adaptive.try_acquire().unwrap()).collect();
    assert_eq!((adaptive.snapshot().would_reject, adaptive.snapshot().rejected), (2, 0));
    assert_eq!(names.take(), ["would_reject"; 2]);
    running.clear();
    let builder = PartitionedBulkhead::builder().limit(2).share("gold", 0.5).dry_run(true).timer(timer);
    let tenants = builder.listener(names.clone()).build().unwrap();
    let _running: Vec<_> = (0..3).map(|_| tenants.try_acquire("gold").unwrap()).collect();
    assert!(tenants.snapshot().would_reject > 0);
    assert!(names.take().contains(&"would_reject"));
}

#[test]
fn what_sheds_load_on_trial_sheds_nothing() {
    use resilience_core::Class;
    use resilience_core::load_shed::{AdmissionControl, ClientThrottle, QueueShed, SignalShed};

    let (names, timer) = (Names::default(), ManualTimer::new());
    let throttle =
        ClientThrottle::builder().dry_run(true).timer(timer.clone()).listener(names.clone()).build().unwrap();
    let fail = || throttle.try_acquire().map(|permit| permit.settle(Class::Failure));
    assert_eq!(refusals(200, fail), 0);
    let control = AdmissionControl::builder().dry_run(true).timer(timer.clone()).listener(names.clone());
    let control = control.build().unwrap();
    assert_eq!(refusals(500, || control.try_acquire().map(|permit| permit.settle(Class::Failure))), 0);
    assert!(control.snapshot().would_reject > 0);
    let queue = QueueShed::builder().dry_run(true).timer(timer.clone()).listener(names.clone()).build().unwrap();
    let late = || {
        timer.advance(Duration::from_millis(10));
        queue.try_admit(Duration::from_secs(1))
    };
    assert_eq!(refusals(100, late), 0);
    assert!(queue.snapshot().would_reject > 0);
    let signal = SignalShed::builder().dry_run(true).timer(timer.clone()).listener(names.clone()).build().unwrap();
    signal.signal().set(1.0);
    assert_eq!(refusals(100, || signal.try_admit()), 0);
    assert_eq!((signal.snapshot().rejected, signal.snapshot().would_reject), (0, 100));
    let told = names.take();
    assert!(told.len() > 200 && told.iter().all(|name| *name == "would_reject"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hedge_and_a_fallback_on_trial_send_and_replace_nothing() {
    use resilience_core::fallback::Fallback;
    use resilience_core::hedge::Hedge;

    let names = Names::default();
    let hedge =
        Hedge::builder().delay(Duration::from_millis(10)).dry_run(true).listener(names.clone()).build().unwrap();
    let sent = std::cell::Cell::new(0);
    let slow = hedge.run(async |_| {
        sent.set(sent.get() + 1);
        SharedTimer::default().sleep(Duration::from_millis(30)).await;
        Ok::<_, Error<&str>>(1)
    });
    assert_eq!((slow.await, sent.get(), hedge.snapshot().would_launch), (Ok(1), 1, 1));
    assert_eq!(names.take(), ["would_launch"]);
    let fallback = Fallback::builder().dry_run(true).listener(names.clone()).build().unwrap();
    let down = Err::<u32, _>(Error::Service("down"));
    assert_eq!(fallback.run_or(async { down.clone() }, 0).await, down);
    assert_eq!((fallback.snapshot().would_fall_back, names.take()), (1, vec!["would_fall_back"]));
}

#[tokio::test(start_paused = true)]
async fn a_retry_on_trial_sends_nothing_twice_waits_for_nothing_and_pays_nothing() {
    use resilience_core::retry::{self, Backoff, Jitter, Reason, Retry, RetryBudget};

    let names = Names::default();
    let second = Backoff::constant(Duration::from_secs(1)).jitter(Jitter::None);
    let builder = || Retry::builder().backoff(second.clone()).listener(names.clone());
    let budget = RetryBudget::builder().start(1).build().unwrap();
    let trial = builder().budget(budget.clone()).long_poll(true).dry_run(true).build().unwrap();
    let down = async |_| Err::<(), _>(Error::Service("down"));
    let start = SharedTimer::default().now();
    for calls in 1..=20 {
        let (answer, report) = retry::report(trial.run(down)).await;
        let report = report.unwrap();
        assert_eq!((answer, report.attempts, report.gave_up), (Err(Error::Service("down")), 1, Some(Reason::DryRun)));
        let seen = trial.snapshot();
        assert_eq!((seen.would_retry, seen.retries, seen.gave_up), (calls, 0, 0));
        // The budget is for those in earnest: one token was there, and it is still.
        assert!(budget.snapshot().available >= 1.0);
    }
    assert_eq!(names.take(), ["would_retry"; 20]);
    // What would not have been retried is told as in earnest; and a long poll does not wait on trial.
    trial.reconfigure(builder().attempts(1).dry_run(true)).unwrap();
    assert!(trial.run(down).await.is_err());
    let spent = RetryBudget::builder().start(0).build().unwrap();
    let poor = builder().budget(spent).long_poll(true).dry_run(true).build().unwrap();
    assert!(poor.run(down).await.is_err());
    assert_eq!(names.take(), ["gave_up"; 2]);
    assert_eq!(SharedTimer::default().now(), start);
    // In earnest from now on.
    trial.reconfigure(builder().attempts(2)).unwrap();
    assert!(trial.run(down).await.is_err());
    assert_eq!(names.take(), ["retrying", "gave_up"]);
}

#[test]
fn a_batch_on_trial_lets_everybody_wait() {
    use resilience_core::batch::{Batch, Unanswered};

    let names = Names::default();
    let builder = Batch::builder().limit(1).dry_run(true).timer(ManualTimer::new()).listener(names.clone());
    let batch = builder.build().unwrap();
    let echo = batch.over(async |calls: Vec<u32>| Ok::<_, Error<Unanswered>>(calls.into_iter().map(Ok).collect()));
    let mut calls: Vec<_> = (0..3).map(|call| Box::pin(echo.call(call))).collect();
    assert!(calls.iter_mut().all(|call| call.as_mut().now_or_never().is_none()));
    let seen = batch.snapshot();
    assert_eq!((seen.waiting, seen.rejected, seen.would_reject), (3, 0, 2));
    assert_eq!(names.take(), ["would_reject"; 2]);
}

#[cfg(feature = "cache")]
#[test]
fn a_cache_on_trial_serves_nobody() {
    use resilience_core::cache::Cache;

    let names = Names::default();
    let builder = Cache::<u32, u32, ()>::builder().dry_run(true).timer(ManualTimer::new()).listener(names.clone());
    let cache = builder.build().unwrap();
    let ask = |answer| cache.get_or_load(1, async move || Ok(answer)).now_or_never().unwrap();
    assert_eq!((ask(1), ask(2)), (Ok(1), Ok(2)));
    assert_eq!((cache.snapshot().hits, cache.snapshot().would_hit), (0, 1));
    assert!(names.take().contains(&"would_hit"));
}

#[test]
fn chaos_on_trial_draws_the_same_faults_and_injects_none() {
    use resilience_core::chaos::{Chaos, Faults};

    let names = Names::default();
    let half =
        Faults { error: 0.5, delay: 0.5, delay_for: (Duration::from_secs(1), Duration::from_secs(2)), ..Faults::NONE };
    let builder = || Chaos::<(), (), &str>::builder().seed(7).error(|()| "injected").timer(ManualTimer::new());
    let trial = builder().faults(half).dry_run(true).listener(names.clone()).build().unwrap();
    let real = builder().faults(Faults { delay: 0.0, ..half }).build().unwrap();
    let call = |chaos: &Chaos<_, _, _>| chaos.call(&(), async { Ok(()) }).now_or_never().expect("no delay");
    assert_eq!(refusals(100, || call(&trial)), 0);
    let failed = refusals(100, || call(&real));
    let drawn = (0..100).map(|call| half.decide(7, call));
    let would = drawn.map(|it| u64::from(it.delay.is_some()) + u64::from(it.fault.is_some())).sum::<u64>();
    let seen = trial.snapshot();
    assert_eq!((seen.would_inject, seen.errors, seen.delays, seen.calls), (would, 0, 0, 100));
    assert!(failed > 30 && would > 60);
    assert_eq!(names.take(), vec!["would_inject"; would as usize]);
}

#[test]
fn limits_set_by_servers_and_nodes_on_trial_refuse_nobody() {
    use resilience_core::rate_limit::client::ClientRateLimiter;
    use resilience_core::rate_limit::distributed::{DistributedRateLimiter, LocalStore};

    let (names, timer) = (Names::default(), ManualTimer::new());
    let builder = ClientRateLimiter::builder().dry_run(true).timer(timer.clone()).listener(names.clone());
    let client = builder.build().unwrap();
    client.answered(true);
    assert_eq!(names.take(), ["throttled"]);
    assert_eq!(refusals(9, || client.acquire().now_or_never().expect("nobody waits")), 0);
    assert_eq!((client.snapshot().queued, client.snapshot().rejected), (0, 0));
    assert!(client.snapshot().would_queue > 0 && names.take().contains(&"would_queue"));
    client.reconfigure(ClientRateLimiter::builder().dry_run(true).max_wait(Duration::ZERO)).unwrap();
    assert_eq!(refusals(9, || client.acquire().now_or_never().expect("nobody waits")), 0);
    assert!(client.snapshot().would_reject > 0 && names.take().contains(&"would_reject"));

    let store = LocalStore::with_timer(timer.clone());
    let builder = DistributedRateLimiter::builder(store).quota(2, Duration::from_secs(1)).dry_run(true).timer(timer);
    let shared = builder.listener(names.clone()).build().unwrap();
    assert_eq!(refusals(5, || shared.acquire().now_or_never().expect("the store answers")), 0);
    assert_eq!((shared.snapshot().would_reject, shared.snapshot().rejected), (3, 0));
    assert_eq!(names.take().iter().filter(|name| **name == "would_reject").count(), 3);
}

#[test]
fn a_fence_on_trial_lets_old_owners_through() {
    use resilience_core::context::FencingToken;
    use resilience_core::lease::Fence;

    let names = Names::default();
    let fence = Fence::builder().dry_run(true).listener(names.clone()).build().unwrap();
    for token in [2, 1] {
        fence.check("a", Some(FencingToken::new(token))).unwrap();
    }
    assert_eq!(names.take(), ["advanced", "would_reject"]);
}
