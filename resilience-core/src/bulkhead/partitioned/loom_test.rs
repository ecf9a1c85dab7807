//! Every schedule of two threads around the shares.

use loom::thread;

use super::{PartitionedBulkhead, Permit};
use crate::sync::model;
use crate::time::ManualTimer;

fn tenants() -> PartitionedBulkhead<u8> {
    let builder = PartitionedBulkhead::builder().limit(2).share(1, 0.5).share(2, 0.5);
    builder.timer(ManualTimer::new()).build().unwrap()
}

fn take(tenants: &PartitionedBulkhead<u8>, key: u8) -> Option<Permit> {
    tenants.try_acquire(&key).ok()
}

#[test]
fn loom_what_is_promised_is_kept_beside_a_stranger_that_takes_what_it_can() {
    model(|| {
        let tenants = tenants();
        let stranger = {
            let tenants = tenants.clone();
            thread::spawn(move || (take(&tenants, 9), take(&tenants, 9)))
        };
        let promised = take(&tenants, 1);
        assert!(promised.is_some());
        let (first, second) = stranger.join().unwrap();
        assert!(first.is_some());
        let strangers = u32::from(first.is_some()) + u32::from(second.is_some());
        assert_eq!((tenants.others().in_flight, tenants.snapshot().in_flight), (strangers, strangers + 1));
        drop((promised, first, second));
        assert_eq!(tenants.snapshot().in_flight, 0);
    });
}

#[test]
fn loom_after_a_release_nobody_is_told_that_it_is_full() {
    model(|| {
        let tenants = tenants();
        let held: Vec<_> = [1, 2].into_iter().map(|key| take(&tenants, key)).collect();
        assert!(tenants.shared.is_full());
        let release = thread::spawn(move || drop(held));
        // Whatever is seen and taken meanwhile.
        drop(take(&tenants, 1));
        release.join().unwrap();
        assert!(!tenants.shared.is_full());
        assert!(take(&tenants, 9).is_some());
    });
}

#[test]
fn loom_of_two_changes_at_once_one_is_what_all_read() {
    model(|| {
        let tenants = tenants();
        let change = |limit: u32, dry_run: bool| {
            let builder = PartitionedBulkhead::builder().limit(limit).share(1, 0.5).share(2, 0.5);
            builder.dry_run(dry_run).timer(ManualTimer::new())
        };
        let other = tenants.clone();
        let theirs = thread::spawn(move || other.reconfigure(change(4, true)).unwrap());
        tenants.reconfigure(change(6, false)).unwrap();
        theirs.join().unwrap();
        let seen = (tenants.snapshot().limit, tenants.shared.is_dry_run());
        assert!([(4, true), (6, false)].contains(&seen), "{seen:?}");
    });
}
