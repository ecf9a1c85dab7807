//! Every schedule of two callers of one node.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::thread;

use super::{DistributedRateLimiter, PermitStore, Quota, Taken};
use crate::Name;
use crate::sync::model;
use crate::time::ManualTimer;

/// Grants whatever is asked for, and counts how often.
#[derive(Clone, Default)]
struct Generous(std::sync::Arc<AtomicU32>);

impl PermitStore for Generous {
    type Error = Infallible;

    async fn take(&self, _: &Name, permits: u32, _: Quota) -> Result<Taken, Infallible> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Taken { granted: permits, retry_after: None })
    }
}

fn acquire(limiter: &DistributedRateLimiter<Generous>) -> bool {
    let mut acquire = std::pin::pin!(limiter.acquire());
    loop {
        match acquire.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(acquired) => return acquired.is_ok(),
            Poll::Pending => thread::yield_now(),
        }
    }
}

#[test]
fn loom_two_who_find_nothing_at_hand_ask_the_store_once_and_share() {
    model(|| {
        let store = Generous::default();
        let builder = DistributedRateLimiter::builder(store.clone()).quota(10, Duration::from_secs(1)).handful(2);
        let limiter = builder.timer(ManualTimer::new()).build().unwrap();
        let other = limiter.clone();
        let theirs = thread::spawn(move || acquire(&other));
        assert!(acquire(&limiter));
        assert!(theirs.join().unwrap());
        assert_eq!((store.0.load(Ordering::SeqCst), limiter.snapshot().at_hand), (1, 0));
    });
}
