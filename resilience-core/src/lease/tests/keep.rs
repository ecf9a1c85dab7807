use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use super::*;
use crate::context::FencingToken;

/// An engine that can be cut off.
struct Cut {
    leases: MemoryLeases,
    off: AtomicBool,
}

#[derive(Debug, PartialEq)]
struct Unreachable;

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot be reached")
    }
}

impl std::error::Error for Unreachable {}

impl Cut {
    /// Asks the engine, unless it is cut off: then nothing reaches it.
    fn ask<T, F: Future<Output = Result<T, Infallible>>>(
        &self,
        question: impl FnOnce() -> F,
    ) -> Result<T, Unreachable> {
        if self.off.load(Ordering::Relaxed) {
            return Err(Unreachable);
        }
        let Ok(answer) = futures::executor::block_on(question());
        Ok(answer)
    }
}

impl Leases for Cut {
    type Error = Unreachable;

    fn acquire(
        &self,
        resource: &str,
        owner: &str,
        ttl: Duration,
    ) -> impl Future<Output = Result<Acquired, Unreachable>> + Send {
        ready(self.ask(|| self.leases.acquire(resource, owner, ttl)))
    }

    fn renew(&self, lease: &Lease, ttl: Duration) -> impl Future<Output = Result<Option<Lease>, Unreachable>> + Send {
        ready(self.ask(|| self.leases.renew(lease, ttl)))
    }

    fn release(&self, lease: &Lease) -> impl Future<Output = Result<bool, Unreachable>> + Send {
        ready(self.ask(|| self.leases.release(lease)))
    }
}

/// A node that keeps the relay, driven by hand.
struct Stage {
    timer: ManualTimer,
    engine: Cut,
    ownership: Ownership,
}

impl Stage {
    fn new() -> Self {
        let timer = ManualTimer::new();
        let engine = Cut { leases: MemoryLeases::new(timer.clone()), off: AtomicBool::new(false) };
        Self { ownership: Ownership::builder().timer(timer.clone()).build().unwrap(), engine, timer }
    }

    /// What the node believes, second by second, while `each` happens.
    fn run(&self, seconds: u64, mut each: impl FnMut(u64)) -> Vec<Option<u64>> {
        let mut keep = pin!(self.ownership.keep(&self.engine, "relay", "node-1", TTL));
        let mut seen = Vec::new();
        for second in 0..seconds {
            each(second);
            let mut cx = std::task::Context::from_waker(Waker::noop());
            assert!(matches!(keep.as_mut().poll(&mut cx), Poll::Pending));
            seen.push(self.ownership.token().map(FencingToken::get));
            self.timer.advance(Duration::from_secs(1));
        }
        seen
    }

    fn other(&self, owner: &str) -> Acquired {
        futures::executor::block_on(self.engine.leases.acquire("relay", owner, TTL)).unwrap()
    }
}

#[test]
fn a_lease_that_is_kept_is_kept_under_one_token() {
    let stage = Stage::new();
    let seen = stage.run(100, |second| {
        if second > 0 {
            assert_eq!(stage.other("node-2").granted(), None, "in second {second}");
        }
    });
    assert_eq!(seen, [Some(1); 100]);
}

#[test]
fn an_owner_that_is_cut_off_stops_when_its_lease_does_and_comes_back_with_a_new_token() {
    let stage = Stage::new();
    let seen = stage.run(60, |second| stage.engine.off.store((10..40).contains(&second), Ordering::Relaxed));
    let lost = seen.iter().position(Option::is_none).unwrap();
    assert!((11..=20).contains(&lost), "{seen:?}: within one lease of the cut");
    assert!(seen[lost..40].iter().all(Option::is_none), "{seen:?}");
    assert!(seen[45..].iter().all(|token| *token > seen[0]), "{seen:?}");
}

#[test]
fn a_question_that_is_never_answered_does_not_end_the_keeping() {
    // The connection is dead, and nobody has told this side: without a limit the one question is waited for until the
    // process ends, and the resource with it.
    struct Deaf(MemoryLeases, AtomicBool);
    impl Deaf {
        async fn hear(&self) {
            if self.1.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        }
    }
    impl Leases for Deaf {
        type Error = Infallible;
        async fn acquire(&self, resource: &str, owner: &str, ttl: Duration) -> Result<Acquired, Infallible> {
            self.hear().await;
            self.0.acquire(resource, owner, ttl).await
        }
        async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, Infallible> {
            self.hear().await;
            self.0.renew(lease, ttl).await
        }
        async fn release(&self, lease: &Lease) -> Result<bool, Infallible> {
            self.0.release(lease).await
        }
    }
    let (timer, heard) = (ManualTimer::new(), std::sync::Arc::new(Heard::default()));
    let engine = Deaf(MemoryLeases::new(timer.clone()), AtomicBool::new(false));
    let ownership = Ownership::builder().timer(timer.clone()).listener(heard.clone()).build().unwrap();
    let mut keep = pin!(ownership.keep(&engine, "relay", "node-1", TTL));
    let seen: Vec<_> = (0..60)
        .map(|second| {
            // Deaf for a moment in which a lease survives, and later for one in which it does not.
            engine.1.store((3..5).contains(&second) || (20..40).contains(&second), Ordering::Relaxed);
            assert!(keep.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())).is_pending());
            let token = ownership.token().map(FencingToken::get);
            timer.advance(Duration::from_secs(1));
            token
        })
        .collect();
    assert_eq!(seen[..20], [Some(1); 20]);
    assert!(seen[30..40].iter().all(Option::is_none), "{seen:?}");
    assert!(seen[45..].iter().all(|token| *token > Some(1)), "{seen:?}");
    let lost = Event::Lost { token: FencingToken::new(1) };
    assert!(heard.0.lock().unwrap().contains(&lost));
}

#[test]
fn two_nodes_never_believe_at_once_and_the_second_takes_over() {
    let stage = Stage::new();
    let second = Ownership::builder().timer(stage.timer.clone()).build().unwrap();
    let mut keep = Box::pin(second.keep(&stage.engine.leases, "relay", "node-2", TTL));
    let seen = stage.run(60, |at| {
        // The first cannot reach the engine from the tenth second on; the second always can.
        stage.engine.off.store(at >= 10, Ordering::Relaxed);
        let mut cx = std::task::Context::from_waker(Waker::noop());
        assert!(keep.as_mut().poll(&mut cx).is_pending());
        assert!(stage.ownership.token().is_none() || second.token().is_none(), "two owners in second {at}");
    });
    drop(keep);
    assert!(seen.iter().any(Option::is_none));
}

#[test]
fn who_stops_keeping_owns_nothing() {
    let stage = Stage::new();
    assert_eq!(stage.run(5, |_| {}), [Some(1); 5]);
    assert_eq!((stage.ownership.token(), stage.ownership.lease()), (None, None));
}

#[test]
fn a_lease_that_was_lost_is_asked_for_again_at_once() {
    let stage = Stage::new();
    let seen = stage.run(10, |second| {
        if second == 2 {
            // An operator takes it away.
            let lease = stage.ownership.lease().unwrap();
            assert!(futures::executor::block_on(stage.engine.leases.release(&lease)).unwrap());
        }
    });
    assert_eq!(seen.last(), Some(&Some(2)), "{seen:?}");
    assert!(seen.iter().all(Option::is_some), "{seen:?}");
}

#[test]
fn leases_of_no_time_at_all_are_no_busy_loop() {
    let stage = Stage::new();
    let mut keep = pin!(stage.ownership.keep(&stage.engine, "relay", "node-1", Duration::ZERO));
    for _ in 0..100 {
        assert!(keep.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())).is_pending());
        stage.timer.advance(Duration::from_millis(1));
    }
}
