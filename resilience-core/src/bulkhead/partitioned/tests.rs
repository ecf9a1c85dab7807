use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::bulkhead::Event;
use crate::event::Sink;
use crate::time::ManualTimer;
use crate::{Reason, Rejected};

type Tenants = PartitionedBulkhead<&'static str>;

fn builder(limit: u32) -> PartitionedBulkheadBuilder<&'static str> {
    PartitionedBulkhead::builder().limit(limit).share("gold", 0.5).share("silver", 0.3)
}

fn tenants(limit: u32) -> Tenants {
    builder(limit).build().unwrap()
}

fn take(tenants: &Tenants, key: &str) -> Vec<Permit> {
    std::iter::from_fn(|| tenants.try_acquire(key).ok()).collect()
}

#[test]
fn a_tenant_that_comes_late_gets_its_share_from_a_bulkhead_that_is_full() {
    let tenants = tenants(10);
    let crawlers = take(&tenants, "crawler");
    assert_eq!(crawlers.len(), 10, "nobody else was there");
    let (gold, silver) = (take(&tenants, "gold"), take(&tenants, "silver"));
    assert_eq!((gold.len(), silver.len()), (5, 3));
    let refused = tenants.try_acquire("gold").unwrap_err();
    assert_eq!(refused, Rejected::new("bulkhead", Reason::Full { limit: 10, queued: 0 }));
    // What the crawler gives back is nobody's until the whole is below its limit again.
    drop(crawlers);
    assert_eq!(tenants.snapshot().in_flight, 8);
    assert_eq!(take(&tenants, "another").len(), 2);
    drop((gold, silver));
    assert_eq!(tenants.snapshot().in_flight, 0);
    assert!(tenants.partitions().all(|(_, seen)| seen.in_flight == 0));
}

#[test]
fn a_million_strangers_share_what_is_left_and_cost_nothing() {
    // A limiter that remembers each key it sees can be filled up from outside.
    let bulkhead = PartitionedBulkhead::builder().limit(4).share(0_u64, 0.5).others(0.25).build().unwrap();
    let known: Vec<_> = std::iter::from_fn(|| bulkhead.try_acquire(&0).ok()).collect();
    assert_eq!((known.len(), bulkhead.others().guaranteed), (4, 1));
    let stranger = bulkhead.try_acquire(&1).unwrap();
    for key in 2..1_000_000 {
        assert!(bulkhead.try_acquire(&key).is_err());
    }
    assert_eq!(bulkhead.partitions().count(), 1);
    assert_eq!((bulkhead.others().in_flight, bulkhead.others().full), (1, 999_998));
    drop((known, stranger));
}

#[test]
fn shares_follow_the_limit_and_a_lowered_one_takes_no_permit() {
    let tenants = tenants(10);
    let held = take(&tenants, "silver");
    tenants.resize(4).unwrap();
    assert_eq!(tenants.snapshot().in_flight, 10);
    assert_eq!((tenants.partition("gold").guaranteed, tenants.partition("silver").guaranteed), (2, 2));
    assert_eq!(take(&tenants, "gold").len(), 2, "promised, though the whole is far above its limit");
    drop(held);
    tenants.resize(100).unwrap();
    assert_eq!((tenants.partition("gold").guaranteed, take(&tenants, "other").len()), (50, 100));
    assert_eq!(tenants.resize(0).unwrap_err().field(), "limit");
}

#[test]
fn shares_given_in_another_order_are_still_those_of_their_keys_and_permits_stay_taken() {
    let tenants = tenants(10);
    let gold = take(&tenants, "gold");
    let swapped = |dry| {
        let builder = PartitionedBulkhead::builder().limit(10).share("silver", 0.7).share("gold", 0.1);
        builder.others(0.2).dry_run(dry)
    };
    tenants.reconfigure(swapped(false)).unwrap();
    let seen = (tenants.partition("gold"), tenants.partition("silver"), tenants.others());
    assert_eq!((seen.0.guaranteed, seen.1.guaranteed, seen.2.guaranteed), (1, 7, 2));
    assert_eq!((seen.0.in_flight, seen.1.in_flight, seen.2.in_flight), (10, 0, 0));
    assert_eq!((take(&tenants, "silver").len(), take(&tenants, "other").len()), (7, 2));
    tenants.reconfigure(swapped(true)).unwrap();
    drop(tenants.try_acquire("gold").unwrap());
    assert_eq!((tenants.snapshot().would_reject, tenants.snapshot().in_flight), (1, 10));
    let others = PartitionedBulkhead::builder().limit(1).share("gold", 0.5).share("bronze", 0.5);
    let refused = tenants.reconfigure(others).unwrap_err();
    assert_eq!(refused.to_string(), "shares cannot come or go while running, only change");
    assert_eq!(tenants.snapshot().limit, 10);
    drop(gold);
}

#[test]
fn a_partitioned_bulkhead_that_cannot_work_is_refused_when_built() {
    let rule = |builder: PartitionedBulkheadBuilder<u8>| builder.build().unwrap_err().to_string();
    let one = || PartitionedBulkhead::builder().limit(1).share(1, 0.5);
    assert_eq!(rule(PartitionedBulkhead::builder().share(1, 0.5)), "limit must be set");
    assert_eq!(rule(one().limit(0)), "limit must be above zero");
    assert_eq!(rule(one().limit(u32::MAX)), "limit must be at most 4194303");
    assert_eq!(rule(PartitionedBulkhead::builder().limit(1)), "shares must be given for at least one key");
    assert_eq!(rule(one().share(1, 0.1)), "shares must be given once for each key");
    for odd in [0.0, -0.5, 1.1, f64::NAN, f64::INFINITY, -f64::INFINITY] {
        assert_eq!(rule(one().share(2, odd)), "shares must be above 0 and at most 1");
    }
    for odd in [-0.5, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(rule(one().others(odd)), "others must be from 0 to 1");
    }
    assert_eq!(rule(one().share(2, 0.3).others(0.3)), "shares must add up to at most 1 with all others");
    let tenths = (0..10).fold(PartitionedBulkhead::builder().limit(10), |builder, key| builder.share(key, 0.1));
    assert!(tenths.build().is_ok(), "ten times a tenth is one, whatever the last bit of the sum says");
}

#[test]
fn listeners_hear_admissions_refusals_and_changes() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);
    impl Sink for Heard {
        fn on_event(&self, event: &crate::event::Event<'_>) {
            self.0.lock().unwrap().extend(event.fact::<Event>().copied());
        }
    }
    let (timer, heard) = (ManualTimer::new(), Arc::new(Heard::default()));
    let tenants = builder(1).timer(timer.clone()).listener(heard.clone()).build().unwrap();
    let held = tenants.try_acquire("crawler").unwrap();
    let refused = tenants.try_acquire("crawler").unwrap_err();
    timer.advance(Duration::from_secs(2));
    drop(held);
    tenants.resize(3).unwrap();
    let expected = [
        Event::Admitted { waited: Duration::ZERO },
        Event::Rejected { reason: refused.reason() },
        Event::Released { held: Duration::from_secs(2) },
        Event::Resized { limit: 3 },
    ];
    assert_eq!(*heard.0.lock().unwrap(), expected);
}

proptest! {
    /// Whoever comes and goes: what is promised is kept, what is not is never above the limit, and all is given back.
    #[test]
    fn what_is_promised_is_kept_and_nothing_else_exceeds_the_limit(
        limit in 1..20_u32, steps in proptest::collection::vec((0..4_usize, 0..5_u8, 1..20_u32), 0..200),
    ) {
        const KEYS: [&str; 4] = ["gold", "silver", "crawler", "bot"];
        let tenants = tenants(limit);
        let mut held: [Vec<Permit>; 4] = Default::default();
        let mut most = 0;
        for (who, what, next_limit) in steps {
            let (total, own) = (tenants.snapshot().in_flight, tenants.partition(KEYS[who]));
            match what {
                0 | 1 => {
                    let admitted = tenants.try_acquire(KEYS[who]);
                    let may = total < tenants.snapshot().limit || own.in_flight < own.guaranteed;
                    prop_assert_eq!(admitted.is_ok(), may);
                    held[who].extend(admitted);
                }
                2 | 3 => drop(held[who].pop()),
                _ => tenants.resize(next_limit).unwrap(),
            }
            let seen = tenants.snapshot();
            most = most.max(seen.limit + tenants.partitions().map(|(_, it)| it.guaranteed).sum::<u32>());
            prop_assert!(seen.in_flight <= most);
            prop_assert_eq!(seen.in_flight as usize, held.iter().map(Vec::len).sum::<usize>());
            prop_assert_eq!(tenants.others().in_flight as usize, held[2].len() + held[3].len());
        }
        drop(held);
        prop_assert_eq!(tenants.snapshot().in_flight, 0);
    }
}

#[cfg(feature = "tower")]
mod layer {
    use std::future::pending;
    use std::task::{Context, Poll, Waker};

    use tower::{Layer, Service, ServiceExt, service_fn};

    use super::*;
    use crate::Error;

    type Failure = Error<&'static str>;

    #[test]
    fn a_call_dropped_or_panicking_gives_its_slot_back_to_its_own_partition() {
        let tenants = tenants(1);
        let inner = service_fn(async |key: &'static str| match key {
            "gold" => pending::<Result<(), Failure>>().await,
            _ => panic!("a service breaks"),
        });
        let mut service = tenants.layer(|key: &&'static str| *key).layer(inner);
        let mut cx = Context::from_waker(Waker::noop());
        let mut call = Box::pin(service.call("gold"));
        assert!(call.as_mut().poll(&mut cx).is_pending());
        assert_eq!(tenants.partition("gold").in_flight, 1);
        drop(call);
        let mut call = Box::pin(service.call("crawler"));
        let panics = std::panic::AssertUnwindSafe(|| call.as_mut().poll(&mut cx).is_pending());
        std::panic::catch_unwind(panics).unwrap_err();
        drop(call);
        assert_eq!((tenants.snapshot().in_flight, tenants.others().in_flight), (0, 0));
    }

    #[test]
    fn while_nobody_gets_in_a_refusal_does_not_wait_for_the_inner_service() {
        let tenants = tenants(2);
        // Never ready.
        struct Stuck;
        impl Service<&'static str> for Stuck {
            type Response = ();
            type Error = Failure;
            type Future = std::future::Pending<Result<(), Failure>>;
            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
                Poll::Pending
            }
            fn call(&mut self, _: &'static str) -> Self::Future {
                unreachable!("it was never ready")
            }
        }
        let mut service = tenants.layer(|key: &&'static str| *key).layer(Stuck);
        let mut ready = || service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready();
        let crawlers = take(&tenants, "crawler");
        assert!(!ready(), "whoever has a share gets in");
        let promised = (take(&tenants, "gold"), take(&tenants, "silver"));
        assert!(ready());
        // Room again, but the service behind was not asked: the call that was told to come is refused all the same.
        drop((promised, crawlers));
        let answer = futures::executor::block_on(service.call("gold"));
        assert!(answer.unwrap_err().is_rejected());
        assert_eq!(tenants.partition("gold").full, 2);
        let mut ready = || service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(!ready(), "there is room, and the service behind is asked again");
    }

    #[test]
    fn a_trial_refuses_nobody_and_counts_whom_it_would() {
        let tenants = builder(1).dry_run(true).build().unwrap();
        let held = (take_n(&tenants, "gold", 3), take_n(&tenants, "crawler", 3));
        let service = tenants.layer(|key: &&'static str| *key).layer(service_fn(async |_| Ok::<_, Failure>(7)));
        assert_eq!(futures::executor::block_on(service.oneshot("crawler")), Ok(7));
        let seen = tenants.snapshot();
        assert_eq!((seen.in_flight, seen.would_reject, seen.full), (6, 6, 0));
        drop(held);
    }

    fn take_n(tenants: &Tenants, key: &str, count: usize) -> Vec<Permit> {
        (0..count).map(|_| tenants.try_acquire(key).unwrap()).collect()
    }
}
