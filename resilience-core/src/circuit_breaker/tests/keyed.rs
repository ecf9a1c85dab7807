//! A breaker for each key: apart from each other, and not too many.

use super::*;

fn keyed(max_keys: usize) -> (KeyedCircuitBreaker<u32>, ManualTimer) {
    let (builder, timer) = consecutive(1);
    (builder.max_keys(max_keys).build_keyed().unwrap(), timer)
}

fn fail(keyed: &KeyedCircuitBreaker<u32>, key: u32) {
    keyed.try_acquire(&key).unwrap().settle(Class::Failure);
}

#[test]
fn one_keys_outage_is_its_own() {
    // CB26.
    let (keyed, timer) = keyed(100);
    fail(&keyed, 1);
    assert!(keyed.try_acquire(&1).is_err());
    assert!(keyed.try_acquire(&2).is_ok());
    timer.advance(5 * SECOND);
    assert!(keyed.try_acquire(&1).unwrap().is_probe());
}

#[test]
fn a_million_keys_cost_the_memory_of_a_thousand_and_forget_no_outage() {
    // CB26.
    let (keyed, _) = keyed(1_000);
    for down in 0..100 {
        fail(&keyed, down);
    }
    for key in 100..1_000_100 {
        keyed.try_acquire(&key).unwrap().settle(Class::Success);
    }
    let seen = keyed.snapshot();
    assert!(seen.keys <= 1_000, "{seen:?}");
    assert_eq!((seen.not_closed, seen.unwatched), (100, 0));
    assert!((0..100).all(|down| keyed.try_acquire(&down).is_err()));
}

#[test]
fn keys_with_a_call_in_flight_and_keys_moved_by_hand_stay() {
    let (keyed, _) = keyed(3);
    let calls: Vec<_> = (0..2).map(|key| keyed.try_acquire(&key).unwrap()).collect();
    drop(keyed.try_acquire(&2));
    keyed.get(&2).unwrap().isolate();
    // Nothing can go: the newcomer passes, and nobody watches.
    fail(&keyed, 3);
    assert!(keyed.try_acquire(&3).is_ok());
    assert_eq!(keyed.snapshot().unwatched, 2);
    for call in calls {
        call.settle(Class::Failure);
    }
    assert_eq!(keyed.snapshot().not_closed, 3);
}

#[test]
fn a_key_that_is_used_outlives_one_that_is_not() {
    // A count window never empties by itself: what is used stays, what is not goes.
    let builder = CircuitBreaker::builder().count_window(10).max_keys(10).timer(ManualTimer::new());
    let keyed = builder.build_keyed::<u32>().unwrap();
    let call = |key: u32| keyed.try_acquire(&key).unwrap().settle(Class::Success);
    for key in 0..10 {
        call(key);
    }
    call(10); // all were used: a few went
    let stayed: Vec<_> = (0..10).filter(|key| keyed.get(key).is_some()).collect();
    assert!(stayed.len() >= 8, "{stayed:?}");
    let favourite = stayed[0];
    for key in 100..140 {
        call(favourite);
        call(key);
    }
    assert_eq!(keyed.get(&favourite).unwrap().snapshot().calls, 10);
    assert_eq!(keyed.snapshot().unwatched, 0);
}

#[test]
fn a_control_reaches_the_keys_that_come_later() {
    let control = ManualControl::new();
    let keyed = consecutive(1).0.control(&control).build_keyed::<u32>().unwrap();
    drop(keyed.try_acquire(&1));
    control.isolate();
    assert_eq!(keyed.try_acquire(&1).unwrap_err().reason(), Reason::Isolated);
    assert_eq!(keyed.try_acquire(&2).unwrap_err().reason(), Reason::Isolated);
}

#[test]
fn a_key_for_which_there_is_no_room_is_isolated_with_the_rest() {
    let control = ManualControl::new();
    let keyed = consecutive(1).0.control(&control).max_keys(1).build_keyed::<u32>().unwrap();
    let holds = keyed.try_acquire(&1).unwrap();
    assert!(keyed.try_acquire(&2).is_ok());
    control.isolate();
    assert_eq!(keyed.try_acquire(&2).unwrap_err().reason(), Reason::Isolated);
    control.close();
    assert!(keyed.try_acquire(&2).is_ok());
    assert_eq!(keyed.snapshot().unwatched, 3);
    drop(holds);
}

#[test]
fn nobody_finds_a_new_key_before_its_control_has_isolated_it() {
    // The listener hears of the isolation: whoever finds the key by then has been told what the control says. If it can
    // be found before, a second caller's request slips through to what an operator has taken out.
    #[derive(Clone, Default)]
    struct Finds(Arc<Mutex<Option<KeyedCircuitBreaker<u32>>>>, Arc<Mutex<Vec<bool>>>);
    impl Sink for Finds {
        fn on_event(&self, event: &Heard<'_>) {
            if let Some(Event::Changed(_)) = event.fact::<Event>() {
                let keyed = self.0.lock().unwrap().clone().unwrap();
                self.1.lock().unwrap().push(keyed.get(&1).is_some());
            }
        }
    }
    let finds = Finds::default();
    let builder = consecutive(1).0.listener(finds.clone()).control(&ManualControl::isolated());
    let keyed = builder.build_keyed::<u32>().unwrap();
    *finds.0.lock().unwrap() = Some(keyed.clone());
    assert!(keyed.try_acquire(&1).is_err());
    assert_eq!(*finds.1.lock().unwrap(), [false]);
    *finds.0.lock().unwrap() = None;
}
