//! Other settings for keys that are in use: no key by the old ones, and no outage forgotten.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn settings(failures: u32, max_keys: usize) -> CircuitBreakerBuilder {
    CircuitBreaker::builder().consecutive_failures(failures).max_keys(max_keys)
}

fn keyed(failures: u32, max_keys: usize) -> (KeyedCircuitBreaker<u32>, ManualTimer) {
    let timer = ManualTimer::new();
    (settings(failures, max_keys).timer(timer.clone()).build_keyed().unwrap(), timer)
}

fn settle(keyed: &KeyedCircuitBreaker<u32>, key: u32, class: Class) {
    keyed.try_acquire(&key).unwrap().settle(class);
}

/// How many failures open the circuit of a key that has none.
fn patience(keyed: &KeyedCircuitBreaker<u32>, key: u32) -> usize {
    (1..100).find(|_| keyed.try_acquire(&key).map(|permit| permit.settle(Class::Failure)).is_err()).unwrap() - 1
}

#[test]
fn a_change_while_a_key_is_half_open_keeps_its_probe_and_judges_by_the_new_rules() {
    // A key whose state were made anew would be closed to the rest of the outage; one whose probes were, would let out more
    // of them than there may be.
    let (keyed, timer) = keyed(1, 100);
    settle(&keyed, 1, Class::Failure);
    timer.advance(5 * SECOND);
    let out = keyed.try_acquire(&1).unwrap();
    keyed.reconfigure(settings(3, 100).probes(2)).unwrap();
    let second = keyed.try_acquire(&1).unwrap();
    assert!(second.is_probe() && keyed.try_acquire(&1).is_err());
    out.settle(Class::Success);
    assert_eq!(keyed.get(&1).unwrap().state(), State::HalfOpen);
    second.settle(Class::Success);
    assert_eq!(keyed.get(&1).unwrap().state(), State::Closed);
    assert_eq!((patience(&keyed, 1), patience(&keyed, 2)), (3, 3));
}

#[test]
fn an_open_key_stays_open_until_it_was_to_end_and_the_next_time_for_as_long_as_is_said_now() {
    let (keyed, timer) = keyed(1, 100);
    settle(&keyed, 1, Class::Failure);
    keyed.reconfigure(settings(1, 100).probes(1).open_for(60 * SECOND)).unwrap();
    timer.advance(5 * SECOND);
    settle(&keyed, 1, Class::Failure); // the probe
    timer.advance(59 * SECOND);
    assert!(keyed.try_acquire(&1).is_err());
    timer.advance(SECOND);
    assert!(keyed.try_acquire(&1).unwrap().is_probe());
}

#[test]
fn a_key_that_comes_while_the_rules_change_does_not_go_by_the_old_ones_for_ever() {
    // Its breaker is made from the old rules, the change walks over all keys there are, and then it is put among them.
    #[derive(Clone, Default)]
    struct Changes(Arc<Mutex<Option<KeyedCircuitBreaker<u32>>>>);
    impl Sink for Changes {
        fn on_event(&self, event: &Heard<'_>) {
            if let Some(Event::Changed(_)) = event.fact::<Event>()
                && let Some(keyed) = self.0.lock().unwrap().take()
            {
                keyed.reconfigure(settings(3, 100)).unwrap();
            }
        }
    }
    let (changes, control) = (Changes::default(), ManualControl::isolated());
    let builder = settings(1, 100).listener(changes.clone()).control(&control).timer(ManualTimer::new());
    let keyed = builder.build_keyed::<u32>().unwrap();
    *changes.0.lock().unwrap() = Some(keyed.clone());
    assert!(keyed.try_acquire(&1).is_err(), "isolated, which is when the rules change");
    control.close();
    assert_eq!(patience(&keyed, 1), 3);
}

#[test]
fn the_bound_of_keys_shrinks_and_no_outage_is_forgotten() {
    let (keyed, timer) = keyed(1, 100_000);
    (0..200).for_each(|down| settle(&keyed, down, Class::Failure));
    (1_000..5_000).for_each(|up| settle(&keyed, up, Class::Success));
    let held = keyed.try_acquire(&1_000).unwrap();
    keyed.reconfigure(settings(1, 100)).unwrap();
    let seen = keyed.snapshot();
    assert_eq!((seen.keys, seen.max_keys, seen.not_closed), (201, 100, 200), "what can go has gone, and nothing else");
    assert!((0..200).all(|down| keyed.try_acquire(&down).is_err()));
    settle(&keyed, 6_000, Class::Failure);
    assert!(keyed.try_acquire(&6_000).is_ok() && keyed.snapshot().unwatched == 2, "there is no room for a newcomer");
    held.settle(Class::Failure);
    assert!(keyed.try_acquire(&1_000).is_err(), "a call that was under way speaks for its key");
    // Once they can go, they do, and the bound holds.
    timer.advance(5 * SECOND);
    for down in (0..200).chain([1_000]) {
        (0..3).for_each(|_| settle(&keyed, down, Class::Success));
    }
    (7_000..7_300).for_each(|up| settle(&keyed, up, Class::Success));
    assert!(keyed.snapshot().keys <= 100, "{:?}", keyed.snapshot());
}

#[test]
fn a_bound_below_the_number_of_parts_is_kept_to_the_key() {
    // Each part had room for one at least: a bound of ten became one of 64.
    let (keyed, _) = keyed(1, 100_000);
    keyed.reconfigure(settings(1, 10)).unwrap();
    (0..1_000).for_each(|down| drop(keyed.try_acquire(&down).map(|permit| permit.settle(Class::Failure))));
    assert_eq!((keyed.snapshot().keys, keyed.snapshot().not_closed), (10, 10));
    keyed.reconfigure(settings(1, 1_000)).unwrap();
    (1_000..1_500).for_each(|down| settle(&keyed, down, Class::Failure));
    assert_eq!(keyed.snapshot().not_closed, 510, "those from before are found where they are now");
    assert!((1_000..1_500).all(|down| keyed.try_acquire(&down).is_err()));
}

#[test]
fn what_a_keyed_breaker_cannot_become_changes_nothing() {
    let (keyed, _) = keyed(2, 100);
    for (builder, field) in [
        (settings(1, 0), "max_keys"),
        (CircuitBreaker::builder().max_keys(7), "failure_rate"),
        (settings(1, 7).slow_calls(SECOND, 0.5), "slow_calls"),
        (settings(1, 7).open_for_each(|_| SECOND), "open_for_each"),
        (settings(1, 7).exact(exact::Options::polly()), "exact"),
        (settings(0, 7), "consecutive_failures"),
    ] {
        assert_eq!(keyed.reconfigure(builder).unwrap_err().field(), field);
    }
    assert_eq!((patience(&keyed, 1), keyed.snapshot().max_keys), (2, 100));
}

#[test]
fn a_rule_of_ones_own_comes_back_to_keys_that_were_made_without_it() {
    // Each key's breaker says whether it can ask the user: not whether the settings of the day do.
    let timer = ManualTimer::new();
    let own = |seconds| settings(1, 100).open_at_most(900 * SECOND).open_for_each(move |_| seconds * SECOND);
    let keyed = own(30).timer(timer.clone()).build_keyed::<u32>().unwrap();
    keyed.reconfigure(settings(1, 100)).unwrap();
    settle(&keyed, 1, Class::Success);
    keyed.reconfigure(own(70)).unwrap();
    settle(&keyed, 1, Class::Failure);
    assert_eq!(keyed.try_acquire(&1).unwrap_err().retry_after(), Some(70 * SECOND));
}

#[test]
fn changes_and_calls_on_many_threads_end_with_all_keys_alike() {
    let (keyed, _) = keyed(1, 3_000);
    std::thread::scope(|scope| {
        for thread in 0..3_u32 {
            let keyed = &keyed;
            scope.spawn(move || {
                for round in 0..60 {
                    keyed.reconfigure(settings(10 + thread, 2_000 + 500 * ((thread + round) as usize % 5))).unwrap();
                    drop(keyed.try_acquire(&(thread * 60 + round)).map(|permit| permit.settle(Class::Success)));
                }
            });
        }
    });
    let found: BTreeSet<_> = (0..300).map(|key| patience(&keyed, key)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever changes, and however few keys there may be: a key that is open refuses.
    #[test]
    fn no_change_of_rules_or_bound_loses_an_open_key(
        steps in prop::collection::vec((0..400_u32, prop::option::weighted(0.2, (1..400_usize, 1..4_u32))), 1..200),
    ) {
        let (keyed, _) = keyed(1, 200);
        let mut open = BTreeSet::new();
        for (key, change) in steps {
            if let Some((max_keys, failures)) = change {
                keyed.reconfigure(settings(failures, max_keys)).unwrap();
                prop_assert_eq!(keyed.snapshot().max_keys, max_keys);
            }
            if let Ok(permit) = keyed.try_acquire(&key) {
                prop_assert!(!open.contains(&key));
                permit.settle(Class::Failure);
            }
            if keyed.get(&key).is_some_and(|breaker| breaker.state() == State::Open) {
                open.insert(key);
            }
            let seen = keyed.snapshot();
            prop_assert_eq!(seen.not_closed, open.len());
            prop_assert!(seen.keys <= seen.max_keys + open.len());
        }
        prop_assert!(open.iter().all(|key| keyed.try_acquire(key).is_err()));
    }
}
