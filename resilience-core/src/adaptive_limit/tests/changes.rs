//! Settings that change while calls run.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context as TaskContext, Wake, Waker};

use super::*;
use crate::control::{Gradient, Limit, Sample};

/// A rule that looks at its limit when it goes.
struct Looks(Gradient, Arc<OnceLock<AdaptiveLimit>>);

impl Limit for Looks {
    fn sample(&mut self, sample: Sample) -> u32 {
        self.0.sample(sample)
    }

    fn limit(&self) -> u32 {
        self.0.limit()
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        let _ = self.1.get().map(AdaptiveLimit::snapshot);
    }
}

#[test]
fn a_rule_of_the_users_goes_outside_of_the_lock() {
    let (timer, own) = (ManualTimer::new(), Arc::new(OnceLock::new()));
    let built = limit(&timer).custom(Looks(Gradient::new(20), own.clone())).build().unwrap();
    own.set(built).unwrap();
    let built = own.get().unwrap();
    built.reconfigure(limit(&timer).custom(Looks(Gradient::new(20), own.clone()))).unwrap();
    built.reconfigure(limit(&timer).vegas()).unwrap();
    built.reconfigure(limit(&timer).custom(Gradient::new(20))).unwrap();
}

#[test]
fn a_limit_that_owned_nothing_of_the_users_does_not_begin_to() {
    // Threads keep shares of such a limit for as long as they please: a rule whose end somebody waits for would wait for
    // them.
    let timer = ManualTimer::new();
    let built = limit(&timer).build().unwrap();
    let error = built.reconfigure(limit(&timer).custom(Gradient::new(20)).dry_run(true).max(5).initial(5)).unwrap_err();
    assert_eq!(error.to_string(), "rule cannot become one of your own while running");
    assert_eq!(built.snapshot().limit, 20, "nothing has changed");
    permits(&built, 20).into_iter().for_each(drop);
    assert!(built.try_acquire().is_ok());
}

#[test]
fn an_average_over_other_windows_is_begun_anew() {
    let timer = ManualTimer::new();
    let over = |windows| limit(&timer).rule(Rule::Gradient2 { tolerance: 1.5, queue: 4, smoothing: 0.2, windows });
    let built = over(600).build().unwrap();
    let calls = permits(&built, 20);
    timer.advance(ms(10));
    settle(calls, Class::Success);
    assert_eq!(built.snapshot().baseline, Some(ms(10)));
    built.reconfigure(over(600)).unwrap();
    assert_eq!(built.snapshot().baseline, Some(ms(10)), "what it has learned stays");
    built.reconfigure(over(60)).unwrap();
    assert_eq!(built.snapshot().baseline, None, "an average over 600 windows is none over 60");
}

#[test]
fn a_waker_that_changes_the_limit_does_not_meet_its_locks() {
    struct Changes(AdaptiveLimit, ManualTimer);
    impl Wake for Changes {
        fn wake(self: Arc<Self>) {
            self.0.reconfigure(limit(&self.1).min(1).max(2).initial(2)).unwrap();
        }
    }
    let timer = ManualTimer::new();
    let built = limit(&timer).min(1).initial(1).queue(1).build().unwrap();
    let _held = built.try_acquire().unwrap();
    let waker = Waker::from(Arc::new(Changes(built.clone(), timer.clone())));
    let mut waits = built.acquire();
    assert!(Pin::new(&mut waits).poll(&mut TaskContext::from_waker(&waker)).is_pending());
    built.reconfigure(limit(&timer).min(4).initial(4)).unwrap();
    assert_eq!((built.snapshot().limit, built.snapshot().in_flight), (2, 2));
}
