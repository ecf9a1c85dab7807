use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::circuit_breaker::CircuitBreaker;
use crate::registry::Registry;
use crate::time::{ManualTimer, SharedTimer};

/// A check that counts its runs and asks `answer` what to do.
fn counted<F>(name: &'static str, runs: &Arc<AtomicU32>, answer: impl Fn() -> F + Send + Sync + 'static) -> Check
where
    F: Future<Output = Result<(), &'static str>> + Send + 'static,
{
    let runs = runs.clone();
    Check::new(name, move || {
        runs.fetch_add(1, Ordering::Relaxed);
        answer()
    })
}

fn sleeping(millis: u64) -> impl Future<Output = Result<(), &'static str>> + Send {
    let sleep = SharedTimer::default().sleep(Duration::from_millis(millis));
    async move {
        sleep.await;
        Ok(())
    }
}

async fn advance(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_probes_is_one_question() {
    let runs = Arc::new(AtomicU32::new(0));
    let check = counted("database", &runs, || sleeping(200)).min_interval(Duration::from_secs(5));
    let health = Health::builder().check(check).build().unwrap();
    for _ in 0..3 {
        let storm = futures::future::join_all((0..100).map(|_| health.report(Probe::Readiness))).await;
        assert!(storm.iter().all(|report| report.status == Status::Up));
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    advance(4999).await;
    let _ = health.report(Probe::Readiness).await;
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    advance(1).await;
    let _ = health.report(Probe::Readiness).await;
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_given_again_too_and_a_dependency_that_is_down_is_not_stormed() {
    let runs = Arc::new(AtomicU32::new(0));
    let health = Health::builder().check(counted("database", &runs, || async { Err("down") })).build().unwrap();
    for _ in 0..10 {
        assert_eq!(health.report(Probe::Readiness).await.status, Status::Down);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn checks_run_at_once_and_one_that_hangs_costs_its_timeout_and_is_dropped() {
    let held = Arc::new(());
    let hanging = held.clone();
    let hang = Check::new("hang", move || {
        let hanging = hanging.clone();
        async move {
            std::future::pending::<()>().await;
            drop(hanging);
            Ok::<_, &str>(())
        }
    });
    let health = Health::builder()
        .check(hang.timeout(Duration::from_millis(700)).degrading())
        .check(Check::new("slow", || sleeping(600)))
        .check(Check::new("slower", || sleeping(650)))
        .build()
        .unwrap();
    let timer = SharedTimer::default();
    let start = timer.now();
    let report = health.report(Probe::Readiness).await;
    assert_eq!(timer.now().since(start), Duration::from_millis(700));
    assert_eq!(report.status, Status::Degraded);
    assert_eq!(report.check("hang").unwrap().error.as_deref(), Some("no answer within 700ms"));
    assert_eq!(report.check("slow").unwrap().took, Some(Duration::from_millis(600)));
    assert_eq!(Arc::strong_count(&held), 2, "the run is gone, the check's own share is not");
}

#[test]
fn a_check_that_panics_has_failed_and_nothing_else_has() {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let early = || -> std::future::Ready<Result<(), &'static str>> { panic!("while it is made") };
    let late = || async {
        if std::hint::black_box(true) {
            panic!("while it runs");
        }
        Ok::<(), &str>(())
    };
    let health = Health::builder()
        .check(Check::new("early", early))
        .check(Check::new("late", late))
        .check(Check::new("fine", || async { Ok::<(), &str>(()) }))
        .timer(ManualTimer::new())
        .build()
        .unwrap();
    let report = health.report(Probe::Readiness).now_or_never().unwrap();
    std::panic::set_hook(quiet);
    let told: Vec<_> = report.checks.iter().map(|check| (check.status, check.error.as_deref())).collect();
    assert_eq!(told, [(Status::Down, Some("panicked")), (Status::Down, Some("panicked")), (Status::Up, None)]);
    // And it is asked again later: nothing is poisoned.
    assert!(health.report(Probe::Readiness).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_when_the_prober_that_began_it_leaves() {
    let runs = Arc::new(AtomicU32::new(0));
    let health = Health::builder().check(counted("database", &runs, || sleeping(500))).build().unwrap();
    let mut first = Box::pin(health.report(Probe::Readiness));
    assert!(futures::poll!(first.as_mut()).is_pending());
    let second = tokio::spawn(health.report(Probe::Readiness));
    tokio::task::yield_now().await;
    advance(499).await;
    drop(first);
    advance(1).await;
    assert_eq!(second.await.unwrap().status, Status::Up);
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_prober_that_began_a_run_is_not_that_of_the_run() {
    // A prober gives up after 100 ms and says so in its context. The check takes 500 ms, which is well for all others.
    let health = Health::builder().check(Check::new("database", || sleeping(500))).build().unwrap();
    let deadline = SharedTimer::default().now() + Duration::from_millis(100);
    let hasty = crate::context::Context::new().with_deadline(deadline);
    let hasty = tokio::spawn(hasty.scope(health.report(Probe::Readiness)));
    tokio::task::yield_now().await;
    let patient = health.report(Probe::Readiness).await;
    assert_eq!((patient.status, hasty.await.unwrap().status), (Status::Up, Status::Up));
}

#[test]
fn a_wake_up_given_to_a_prober_that_leaves_passes_on_to_the_next() {
    // The run's wake-up reaches both probers. The second polls while the first is at it, finds nothing to poll and goes
    // to sleep again; should the first be dropped then without polling, nobody would poll the run.
    let (send, receive) = futures::channel::oneshot::channel::<()>();
    let receive = futures::lock::Mutex::new(Some(receive));
    let receive = Arc::new(receive);
    let check = Check::new("queue", move || {
        let receive = receive.clone();
        async move {
            if let Some(receive) = receive.lock().await.take() {
                let _ = receive.await;
            }
            Ok::<_, &str>(())
        }
    });
    let health = Health::builder().check(check).timer(ManualTimer::new()).build().unwrap();
    let (mut first, mut second) = (Box::pin(health.report(Probe::All)), Box::pin(health.report(Probe::All)));
    let (wakes, waker) = futures_waker();
    assert!(first.as_mut().poll(&mut std::task::Context::from_waker(futures::task::noop_waker_ref())).is_pending());
    assert!(second.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    let before = wakes.load(Ordering::SeqCst);
    drop(first);
    assert!(wakes.load(Ordering::SeqCst) > before, "the next is told to look");
    send.send(()).unwrap();
    assert!(second.as_mut().now_or_never().is_some());
}

fn futures_waker() -> (Arc<AtomicU32>, std::task::Waker) {
    struct Count(Arc<AtomicU32>);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let wakes = Arc::new(AtomicU32::new(0));
    (wakes.clone(), Arc::new(Count(wakes)).into())
}

#[test]
fn a_run_ends_when_the_last_prober_leaves() {
    let runs = Arc::new(AtomicU32::new(0));
    let held = Arc::new(());
    let inside = held.clone();
    let check = counted("database", &runs, move || {
        let inside = inside.clone();
        async move {
            let _inside = inside;
            std::future::pending().await
        }
    });
    let health = Health::builder().check(check).timer(ManualTimer::new()).build().unwrap();
    let mut probes = [health.report(Probe::All), health.report(Probe::All)].map(Box::pin);
    for probe in &mut probes {
        assert!(probe.as_mut().now_or_never().is_none());
    }
    assert_eq!((Arc::strong_count(&held), runs.load(Ordering::Relaxed)), (3, 1));
    let [first, second] = probes;
    drop(first);
    assert_eq!(Arc::strong_count(&held), 3);
    drop(second);
    assert_eq!(Arc::strong_count(&held), 2);
    assert!(health.report(Probe::All).now_or_never().is_none());
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[test]
fn a_prober_whose_run_is_over_does_not_wait_for_the_next_one() {
    // With probers that come one after the other and no least interval, a slow one could otherwise wait for ever.
    let runs = Arc::new(AtomicU32::new(0));
    let (send, receive) = futures::channel::oneshot::channel::<()>();
    let receive = Arc::new(std::sync::Mutex::new(Some(receive)));
    let check = counted("database", &runs, move || {
        let first = receive.lock().unwrap().take();
        async move {
            match first {
                Some(first) => drop(first.await),
                None => std::future::pending().await,
            }
            Ok(())
        }
    });
    let check = check.min_interval(Duration::ZERO);
    let health = Health::builder().check(check).timer(ManualTimer::new()).build().unwrap();
    let mut probes = [(); 3].map(|()| Box::pin(health.report(Probe::All)));
    assert!(probes[0].as_mut().now_or_never().is_none());
    assert!(probes[1].as_mut().now_or_never().is_none());
    send.send(()).unwrap();
    assert!(probes[0].as_mut().now_or_never().is_some());
    assert!(probes[2].as_mut().now_or_never().is_none(), "begins the second run, which hangs");
    assert_eq!(probes[1].as_mut().now_or_never().unwrap().status, Status::Up);
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn startup_is_over_once_and_readiness_waits_for_it() {
    let runs = Arc::new(AtomicU32::new(0));
    let seen = runs.clone();
    let check = counted("migrations", &runs, move || {
        let done = seen.load(Ordering::Relaxed) == 2;
        async move { if done { Ok(()) } else { Err("2 to go") } }
    });
    let health = Health::builder().check(check.startup().min_interval(Duration::ZERO)).build().unwrap();
    assert_eq!(health.report(Probe::Readiness).await.status, Status::Down);
    assert_eq!(health.report(Probe::Liveness).await.status, Status::Up);
    assert_eq!(health.report(Probe::Startup).await.status, Status::Up);
    for probe in [Probe::Readiness, Probe::Startup, Probe::All] {
        assert_eq!(health.report(probe).await.status, Status::Up);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 2, "what has begun is not asked again whether it has");
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_is_down_restarts_nobody() {
    let health = Health::builder()
        .check(Check::new("database", || async { Err::<(), _>("down") }))
        .check(Check::new("worker", || async { Ok::<(), &str>(()) }).liveness())
        .build()
        .unwrap();
    let alive = health.report(Probe::Liveness).await;
    assert_eq!((alive.status, alive.checks.len()), (Status::Up, 1));
    let ready = health.report(Probe::Readiness).await;
    assert_eq!((ready.status, ready.checks.len()), (Status::Down, 1));
    assert_eq!(health.report(Probe::All).await.checks.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn policies_degrade_and_take_nothing_out_of_service() {
    let registry = Registry::new();
    let breaker = CircuitBreaker::builder().name("stock").build().unwrap();
    registry.add(&breaker).unwrap();
    let health = Health::builder().registry(&registry).build().unwrap();
    assert_eq!(health.report(Probe::Readiness).await.status, Status::Up);
    breaker.isolate();
    assert_eq!(health.report(Probe::Readiness).await.status, Status::Degraded);
    assert_eq!(health.report(Probe::Liveness).await.status, Status::Up);
    drop(breaker);
    assert_eq!(health.report(Probe::Readiness).await.checks, []);
}

#[test]
fn what_cannot_work_is_refused_when_built() {
    let ok = |name: &'static str| Check::new(name, || async { Ok::<(), &str>(()) });
    let refused = |builder: HealthBuilder| builder.build().unwrap_err().to_string();
    assert_eq!(refused(Health::builder().check(ok("a")).check(ok("a"))), "check.name must not be given twice");
    assert_eq!(refused(Health::builder().check(ok(""))), "check.name must not be empty");
    assert_eq!(refused(Health::builder().check(ok("a").timeout(Duration::ZERO))), "check.timeout must be above zero");
    let forever = ok("a").timeout(Duration::MAX).min_interval(Duration::MAX).grace(Duration::MAX);
    let health = Health::builder().check(forever).timer(ManualTimer::new()).build().unwrap();
    assert_eq!(health.report(Probe::All).now_or_never().unwrap().status, Status::Up);
    assert_eq!(health.report(Probe::All).now_or_never().unwrap().status, Status::Up);
}

#[test]
fn probers_on_many_threads_all_get_their_answer() {
    // A lost wake-up or a run that nobody polls shows as a thread that never ends.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let check = Check::new("database", || async {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        Ok::<_, &str>(())
    });
    let check = check.min_interval(Duration::ZERO);
    let health = Health::builder().check(check).timer(ManualTimer::new()).build().unwrap();
    runtime.block_on(async {
        for round in 0..200 {
            let probes: Vec<_> = (0..8).map(|_| tokio::spawn(health.report(Probe::All))).collect();
            for (at, probe) in probes.into_iter().enumerate() {
                if (at + round) % 3 == 0 {
                    probe.abort();
                    let _ = probe.await;
                } else {
                    assert_eq!(probe.await.unwrap().status, Status::Up);
                }
            }
        }
    });
}

#[cfg(feature = "json")]
#[tokio::test(start_paused = true)]
async fn a_report_is_json_whatever_checks_are_called_and_say() {
    let health = Health::builder()
        .check(Check::new("a \"b\"\n\\", || async { Err::<(), _>("\u{0}\u{1f}\u{2028} \"no\"") }))
        .build()
        .unwrap();
    let report = health.report(Probe::All).await;
    let read: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(read["status"], "down");
    assert_eq!(read["checks"]["a \"b\"\n\\"]["error"], "\u{0}\u{1f}\u{2028} \"no\"");
    assert!(read["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(!report.to_json_without_errors().contains("error"));
}

#[cfg(all(feature = "http", feature = "tower"))]
mod over_http;
