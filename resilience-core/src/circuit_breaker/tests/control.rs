//! One lever for many breakers: what it holds, and what it does under its lock.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::control::Follower;
use super::*;

/// Says whether it was dropped while the control's lock was held.
struct Looks(ManualControl, Arc<AtomicBool>);

impl Sink for Looks {
    fn on_event(&self, _: &Heard<'_>) {}
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.1.fetch_and(self.0.shared.try_lock().is_ok(), Ordering::Relaxed);
    }
}

#[test]
fn a_breaker_that_ends_while_a_control_looks_at_it_is_dropped_outside_the_lock() {
    // Whoever looks holds a share, and may be left with the last one: what the user's listeners do when they are dropped
    // must not happen under the control's lock, which they may want.
    let moves: [fn(&ManualControl); 2] = [ManualControl::isolate, |control| {
        consecutive(1).0.control(control).build().unwrap();
    }];
    for moves in moves {
        let (control, free) = (ManualControl::new(), Arc::new(AtomicBool::new(true)));
        let last = consecutive(1).0.listener(Looks(control.clone(), free.clone())).build().unwrap();
        let last = Mutex::new(Some(last));
        let follower: Follower = Arc::new(move || last.lock().unwrap().take());
        control.shared.lock().unwrap().breakers = vec![follower];
        moves(&control);
        assert_eq!(Arc::strong_count(&free), 1, "it was looked at");
        assert!(free.load(Ordering::Relaxed));
    }
}

#[test]
fn to_attach_a_breaker_does_not_cost_a_look_at_all_others() {
    // A keyed breaker attaches one for each new key: a thousand keys would be half a million looks.
    let (control, looks) = (ManualControl::new(), Arc::new(AtomicUsize::new(0)));
    let (first, counts) = (consecutive(1).0.build().unwrap(), looks.clone());
    let follower = move || {
        counts.fetch_add(1, Ordering::Relaxed);
        Some(first.clone())
    };
    control.shared.lock().unwrap().breakers.push(Arc::new(follower));
    let others: Vec<_> = (0..1000).map(|_| consecutive(1).0.control(&control).build().unwrap()).collect();
    assert!(looks.load(Ordering::Relaxed) <= 12, "{looks:?}");
    drop(others);
    for _ in 0..2000 {
        consecutive(1).0.control(&control).build().unwrap();
    }
    let kept = control.shared.lock().unwrap().breakers.len();
    assert!(kept <= 2048, "those that are gone go: {kept}");
}
