//! Settings that change while calls run and wait.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Wake, Waker};

use super::figures;
use crate::bulkhead::*;

/// A waiter's task that looks at the bulkhead when it is called.
struct Looks(Bulkhead, Mutex<Vec<u32>>);

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0.snapshot().limit);
    }
}

/// Two who wait behind one who runs, a change, and the limits they see when they are called.
fn seen_when_called(change: BulkheadBuilder) -> (Vec<u32>, (u32, u32, u32)) {
    let bulkhead = Bulkhead::builder().limit(1).queue(2).build().unwrap();
    let held = bulkhead.try_acquire().unwrap();
    let looks = Arc::new(Looks(bulkhead.clone(), Mutex::default()));
    let waker = Waker::from(looks.clone());
    let mut waiting = [bulkhead.acquire(), bulkhead.acquire()];
    for acquire in &mut waiting {
        assert!(Pin::new(acquire).poll(&mut TaskContext::from_waker(&waker)).is_pending());
    }
    bulkhead.reconfigure(change).unwrap();
    let seen = (std::mem::take(&mut *looks.1.lock().unwrap()), figures(&bulkhead));
    drop((waiting, held));
    assert_eq!(bulkhead.snapshot().in_flight, 0);
    seen
}

#[test]
fn who_is_let_in_when_a_dry_run_begins_finds_the_limit_and_not_a_way_around_it() {
    // They were let in by raising the limit to the highest there is and lowering it again, and called in between: a
    // snapshot said four million, and whoever came then needed no dry run to get in.
    let one = || Bulkhead::builder().limit(1).queue(2);
    assert_eq!(seen_when_called(one().dry_run(true)), (vec![1, 1], (1, 3, 0)));
    assert_eq!(seen_when_called(one().limit(2)), (vec![2], (2, 2, 1)));
    let both = one().limit(2).dry_run(true);
    assert_eq!(seen_when_called(both), (vec![2, 2], (2, 3, 0)), "one change, whatever it is made of");
}
