//! Every schedule of an old owner and a new one.

use std::time::Duration;

use loom::thread;

use super::{Acquired, Fence, Lease, Leases, MemoryLeases, Ownership};
use crate::context::FencingToken;
use crate::sync::model;
use crate::time::{ManualTimer, Timer};

#[test]
fn loom_a_renewal_that_comes_late_does_not_take_the_newer_proof_away() {
    model(|| {
        let timer = ManualTimer::new();
        let until = timer.now() + Duration::from_secs(10);
        let ownership = Ownership::builder().timer(timer).build().unwrap();
        let lease = move |token| Lease::new("relay", "node-1", FencingToken::new(token), until);
        let other = ownership.clone();
        let late = thread::spawn(move || other.grant(lease(7)));
        ownership.grant(lease(8));
        late.join().unwrap();
        assert_eq!(ownership.token(), Some(FencingToken::new(8)));
    });
}

#[test]
fn loom_behind_the_new_owners_write_none_of_the_old_ones_passes() {
    model(|| {
        let fence = Fence::builder().timer(ManualTimer::new()).build().unwrap();
        let check = |fence: &Fence, token| fence.check("ledger", Some(FencingToken::new(token))).is_ok();
        let other = fence.clone();
        let zombie = thread::spawn(move || (check(&other, 33), other.newest("ledger"), check(&other, 33)));
        assert!(check(&fence, 34), "the newest always passes");
        let (_, seen, passed) = zombie.join().unwrap();
        assert!(!passed || seen == Some(FencingToken::new(33)), "34 was seen, and 33 passed after it");
        assert_eq!(fence.newest("ledger"), Some(FencingToken::new(34)));
        assert!(!check(&fence, 33));
    });
}

#[test]
fn loom_two_who_want_a_lease_do_not_both_get_it() {
    model(|| {
        let leases = MemoryLeases::new(ManualTimer::new());
        let acquire = |leases: &MemoryLeases, owner: &str| {
            let mut acquire = std::pin::pin!(leases.acquire("relay", owner, Duration::from_secs(10)));
            match acquire.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
                std::task::Poll::Ready(acquired) => matches!(acquired, Ok(Acquired::Granted(_))),
                std::task::Poll::Pending => unreachable!("the book is at hand"),
            }
        };
        let other = leases.clone();
        let theirs = thread::spawn(move || acquire(&other, "node-2"));
        let ours = acquire(&leases, "node-1");
        assert!(theirs.join().unwrap() != ours);
    });
}
