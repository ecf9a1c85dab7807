mod layers;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::context::{Context, Criticality};
use crate::event::{Event as Told, Sink};
use crate::time::ManualTimer;
use crate::{Class, Reason};

fn throttle(timer: &ManualTimer) -> ClientThrottleBuilder {
    ClientThrottle::builder().name("search").timer(timer.clone()).seed(7)
}

/// Sends so many, of which the backend accepts this share; how many were sent.
fn send(throttle: &ClientThrottle, requests: u32, accepts: impl Fn(u32) -> bool) -> u32 {
    let mut sent = 0;
    for _ in 0..requests {
        if let Ok(permit) = throttle.try_acquire() {
            permit.settle(if accepts(sent) { Class::Success } else { Class::Failure });
            sent += 1;
        }
    }
    sent
}

#[test]
fn a_backend_with_room_for_a_tenth_gets_about_twice_that() {
    // LS1's point for clients: the backend should not be kept busy with refusing. It has room for one in ten.
    let throttle = throttle(&ManualTimer::new()).build().unwrap();
    let (mut sent, mut room) = (0, 0.0_f64);
    for _ in 0..20_000 {
        room = (room + 0.1).min(5.0);
        if let Ok(permit) = throttle.try_acquire() {
            sent += 1;
            let has_room = room >= 1.0;
            room -= f64::from(u8::from(has_room));
            permit.settle(if has_room { Class::Success } else { Class::Failure });
        }
    }
    let accepts = throttle.snapshot(Criticality::Critical).accepts;
    assert!(accepts > 1_800, "what it has room for is used: {accepts}");
    assert!((15 * accepts..25 * accepts).contains(&(10 * sent)), "{sent} sent for {accepts}");
}

#[test]
fn a_backend_that_is_well_again_gets_everything_again() {
    // With everything accepted, what is sent doubles with each window.
    let timer = ManualTimer::new();
    let throttle = throttle(&timer).window(Duration::from_secs(10)).build().unwrap();
    send(&throttle, 1_000, |_| false);
    assert!(throttle.snapshot(Criticality::Critical).probability > 0.9);
    for _ in 0..150 {
        timer.advance(Duration::from_secs(1));
        send(&throttle, 1_000, |_| true);
    }
    assert_eq!(send(&throttle, 100, |_| true), 100);
}

#[tokio::test]
async fn batch_work_that_is_shed_does_not_cost_critical_work() {
    let throttle = throttle(&ManualTimer::new()).build().unwrap();
    let batch = Context::new().with_criticality(Criticality::Sheddable);
    batch.scope(async { send(&throttle, 1_000, |_| false) }).await;
    assert!(throttle.snapshot(Criticality::Sheddable).probability > 0.9);
    assert_eq!(send(&throttle, 100, |_| true), 100);
}

#[test]
fn a_dry_run_counts_and_refuses_nothing() {
    #[derive(Default)]
    struct Names(Mutex<Vec<&'static str>>);
    impl Sink for Names {
        fn on_event(&self, event: &Told<'_>) {
            self.0.lock().unwrap().push(event.fact.name());
        }
    }
    let names = Arc::new(Names::default());
    let throttle = throttle(&ManualTimer::new()).dry_run(true).listener(names.clone()).build().unwrap();
    assert_eq!(send(&throttle, 100, |_| false), 100);
    assert!(throttle.snapshot(Criticality::Critical).would_reject > 50);
    assert!(names.0.lock().unwrap().iter().all(|name| *name == "would_reject"));
}

#[test]
fn a_call_given_up_is_not_counted() {
    let throttle = throttle(&ManualTimer::new()).build().unwrap();
    drop(throttle.try_acquire());
    throttle.try_acquire().unwrap().settle(Class::Ignore);
    assert_eq!(throttle.snapshot(Criticality::Critical).requests, 0);
    assert_eq!(Reason::Throttled.label(), "throttled");
}
