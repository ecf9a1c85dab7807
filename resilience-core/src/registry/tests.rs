use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::bulkhead::Bulkhead;
use crate::circuit_breaker::{CircuitBreaker, State};
use crate::event::{Event, Sink};
use crate::health::Status;
use crate::retry::{Retry, RetryBudget};
use crate::timeout::Timeout;

fn bulkhead(limit: u32) -> Bulkhead {
    Bulkhead::builder().name("stock").limit(limit).build().unwrap()
}

fn names(registry: &Registry) -> Vec<(&'static str, String)> {
    registry.snapshots().iter().map(|it| (it.pattern, it.name.to_string())).collect()
}

#[test]
fn a_registry_keeps_no_policy_alive() {
    let registry = Registry::new();
    let (first, second) = (bulkhead(1), Bulkhead::builder().name("mail").limit(1).build().unwrap());
    registry.add(&first).unwrap();
    registry.add(&second).unwrap();
    drop(first);
    assert_eq!(names(&registry), [("bulkhead", "mail".to_owned())]);
    drop(second);
    assert!(registry.snapshots().is_empty());
    assert_eq!(registry.to_json(), "[]");
}

#[test]
fn what_is_built_anew_takes_the_place_of_what_it_replaces() {
    let registry = Registry::new();
    let (old, new) = (bulkhead(1), bulkhead(2));
    let breaker = CircuitBreaker::builder().name("stock").build().unwrap();
    registry.add(&old).unwrap();
    registry.add(&breaker).unwrap();
    registry.add(&new).unwrap();
    registry.add(&new.clone()).unwrap();
    assert_eq!(names(&registry), [("bulkhead", "stock".to_owned()), ("circuit_breaker", "stock".to_owned())]);
    assert_eq!(registry.snapshots()[0].figure("limit"), Some(Figure::Count(2)));
    registry.remove("stock");
    assert!(registry.policies().is_empty());
    assert_eq!(old.snapshot().limit, 1);
}

#[test]
fn controls_reach_those_that_have_them_and_say_so_if_none_does() {
    let registry = Registry::new();
    let breaker = CircuitBreaker::builder().name("stock").build().unwrap();
    let (bulkhead, mail) = (bulkhead(1), Retry::builder().name("mail").build().unwrap());
    registry.add(&breaker).unwrap();
    registry.add(&bulkhead).unwrap();
    registry.add(&mail).unwrap();
    for (control, state, status) in [
        (Control::Isolate, State::Isolated, Status::Degraded),
        (Control::Reset, State::Closed, Status::Up),
        (Control::Open(Duration::from_secs(1)), State::Open, Status::Degraded),
    ] {
        assert_eq!(registry.control("stock", control), Ok(1));
        assert_eq!(breaker.state(), state);
        assert_eq!(registry.snapshots()[0].status, status);
    }
    assert_eq!(registry.control("mail", Control::Isolate), Err(ControlError::Unsupported));
    assert_eq!(registry.control("nobody", Control::Isolate), Err(ControlError::Unknown));
}

#[test]
fn a_timeout_that_nobody_shares_is_refused_not_lost() {
    let registry = Registry::new();
    let limit = || Timeout::builder().limit(Duration::from_secs(1));
    assert_eq!(registry.add(&limit().build().unwrap()).unwrap_err().field(), "reconfigurable");
    let timeout = limit().reconfigurable().build().unwrap();
    registry.add(&timeout).unwrap();
    timeout.reconfigure(Timeout::builder().limit(Duration::from_secs(7))).unwrap();
    assert_eq!(registry.snapshots()[0].figure("limit"), Some(Figure::Time(Duration::from_secs(7))));
    drop(timeout);
    assert!(registry.snapshots().is_empty());
}

#[test]
fn an_empty_budget_degrades_the_retry_that_draws_on_it() {
    let registry = Registry::new();
    let budget = RetryBudget::builder().name("outgoing").reserve(1).build().unwrap();
    let retry = Retry::builder().name("mail").budget(budget.clone()).build().unwrap();
    registry.add(&retry).unwrap();
    registry.add(&budget).unwrap();
    let statuses = || registry.snapshots().iter().map(|it| it.status).collect::<Vec<_>>();
    budget.withdraw(Default::default()).unwrap().spend();
    assert_eq!(statuses(), [Status::Up; 2], "used up, but nobody went without");
    assert!(budget.withdraw(Default::default()).is_none());
    assert_eq!(statuses(), [Status::Degraded; 2]);
}

#[test]
fn what_sheds_in_a_dry_run_is_neither_degraded_nor_said_to_refuse() {
    use crate::load_shed::{AdmissionControl, ClientThrottle, QueueShed, SignalShed};
    use crate::time::ManualTimer;

    // Each of them would refuse, and lets all pass: an alert on it would wake somebody for nothing.
    let seen = |dry_run: bool| {
        let (registry, timer) = (Registry::new(), ManualTimer::new());
        let throttle = ClientThrottle::builder().seed(7).dry_run(dry_run).timer(timer.clone()).build().unwrap();
        let admission = AdmissionControl::builder().seed(7).dry_run(dry_run).timer(timer.clone()).build().unwrap();
        let signal = SignalShed::builder().seed(7).dry_run(dry_run).timer(timer.clone()).build().unwrap();
        let queue = QueueShed::builder().seed(7).dry_run(dry_run).timer(timer.clone()).build().unwrap();
        registry.add(&throttle).unwrap();
        registry.add(&admission).unwrap();
        registry.add(&signal).unwrap();
        registry.add(&queue).unwrap();
        signal.signal().set(1.0);
        for _ in 0..1_000 {
            timer.advance(Duration::from_millis(1));
            let _ = throttle.try_acquire().map(|permit| permit.settle(crate::Class::Failure));
            let _ = admission.try_acquire().map(|permit| permit.settle(crate::Class::Failure));
            let _ = (signal.try_admit(), queue.try_admit(Duration::from_millis(500)));
        }
        let positive = |figure: Option<Figure>| matches!(figure, Some(Figure::Count(1..)));
        let each = registry.snapshots();
        let seen =
            each.iter().map(|it| (it.status, positive(it.figure("rejected")), positive(it.figure("would_reject"))));
        seen.collect::<Vec<_>>()
    };
    assert_eq!(seen(true), [(Status::Up, false, true); 4]);
    assert_eq!(seen(false), [(Status::Degraded, true, false); 4]);
}

#[test]
fn a_policy_whose_end_calls_back_does_not_lock_the_registry() {
    // The registry upgrades what it looks at, so its own share can be the last one, and dropping that drops the
    // listeners, which may do anything.
    #[derive(Clone)]
    struct Last(Registry, Arc<Mutex<u32>>);
    impl Sink for Last {
        fn on_event(&self, _: &Event<'_>) {}
    }
    impl Drop for Last {
        fn drop(&mut self) {
            *self.1.lock().unwrap() += 1;
            let _ = self.0.to_json();
        }
    }
    struct Once(Mutex<Option<Bulkhead>>);
    let registry = Registry::new();
    let dropped = Arc::new(Mutex::new(0));
    let sink = Last(registry.clone(), dropped.clone());
    let policy = Bulkhead::builder().name("stock").limit(1).listener(sink).build().unwrap();
    let once = Once(Mutex::new(Some(policy)));
    struct Dying(Arc<Once>);
    impl Register for Dying {
        fn handle(&self) -> Result<Handle, crate::ConfigError> {
            let once = self.0.clone();
            // The first look finds it alive; the share it gets is the last.
            let looks = Mutex::new(0);
            Ok(Handle::new(move || {
                *looks.lock().unwrap() += 1;
                if *looks.lock().unwrap() == 2 { once.0.lock().unwrap().take() } else { once.0.lock().unwrap().clone() }
            }))
        }
    }
    registry.add(&Dying(Arc::new(once))).unwrap();
    registry.remove("another");
    assert!(*dropped.lock().unwrap() >= 1);
    assert!(registry.snapshots().is_empty());
}

#[cfg(all(feature = "json", feature = "toml"))]
#[test]
fn what_is_written_by_hand_is_what_serde_writes() {
    let registry = Registry::new();
    let limiter =
        crate::rate_limit::RateLimiter::builder().name("a \"b\"\n").quota(3, Duration::from_secs(1)).build().unwrap();
    let retry = Retry::builder().name("mail").build().unwrap();
    let breaker = CircuitBreaker::builder().name("stock").build().unwrap();
    registry.add(&limiter).unwrap();
    registry.add(&retry).unwrap();
    registry.add(&breaker).unwrap();
    breaker.isolate();
    let by_hand: serde_json::Value = serde_json::from_str(&registry.to_json()).unwrap();
    let mut by_serde = serde_json::to_value(registry.snapshots()).unwrap();
    // The wait for the next permit is a matter of the moment.
    by_serde[0]["figures"]["wait"] = by_hand[0]["figures"]["wait"].clone();
    assert_eq!(by_hand, by_serde);
    assert_eq!(by_hand[2]["figures"]["state"], "isolated");
}

#[cfg(all(feature = "json", feature = "toml"))]
#[test]
fn what_a_file_made_is_listed_and_can_be_changed_by_name() {
    use crate::config::{Config, Setup};

    let file = r#"
        [pipelines.payments]
        layers = ["timeout", "bulkhead"]
        timeout.limit = "1s"
        bulkhead.limit = 4
    "#;
    let pipelines = Config::from_toml(file).unwrap().build(&Setup::new()).unwrap();
    let registry = Registry::new();
    registry.add_all(&pipelines).unwrap();
    assert_eq!(names(&registry).len(), 2);
    let limit = |limit: u32| Config::from_toml(&file.replace("limit = 4", &format!("limit = {limit}"))).unwrap();
    let changed = limit(9).pipelines["payments"].policies["bulkhead"].clone();
    registry.reconfigure("payments.bulkhead", &changed).unwrap();
    assert_eq!(pipelines.pipeline("payments").unwrap().bulkhead("bulkhead").unwrap().snapshot().limit, 9);
    let wrong = registry.reconfigure("payments.timeout", &changed).unwrap_err();
    assert_eq!(wrong.to_string(), "payments.timeout: there is no bulkhead of that name");
}
