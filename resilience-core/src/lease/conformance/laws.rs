//! The laws.

use std::thread;
use std::time::Duration;

use super::{Engine, Trial};

/// While one owner has it, nobody else is granted it.
pub fn a_resource_has_one_owner_at_a_time<E: Engine>(engine: &E) {
    let trial = Trial::new(engine);
    trial.granted("relay", "node-1");
    assert_eq!(trial.ask("relay", "node-2"), None);
    trial.pass(engine.ttl() / 2);
    assert_eq!(trial.ask("relay", "node-3"), None);
}

/// A race has one winner.
pub fn of_many_who_ask_at_once_one_is_granted<E: Engine>(engine: &E) {
    let trial = Trial::new(engine);
    let owners = ["node-1", "node-2", "node-3", "node-4", "node-5", "node-6", "node-7", "node-8"];
    let granted: usize = thread::scope(|scope| {
        let trial = &trial;
        let racing = owners.map(|owner| scope.spawn(move || usize::from(trial.ask("relay", owner).is_some())));
        racing.into_iter().map(|racer| racer.join().expect("the engine does not panic")).sum()
    });
    assert_eq!(granted, 1);
}

/// Who does not renew it loses it, and not before.
pub fn a_lease_is_over_when_its_time_is<E: Engine>(engine: &E) {
    let trial = Trial::new(engine);
    let lease = trial.granted("relay", "node-1");
    trial.pass(engine.ttl() / 2);
    assert_eq!(trial.ask("relay", "node-2"), None, "it has half its time left");
    trial.pass(engine.ttl());
    let next = trial.granted("relay", "node-2");
    assert!(next.until() > lease.until());
}

/// A renewal changes the time and nothing else.
pub fn a_renewed_lease_keeps_its_token_and_lives_on<E: Engine>(engine: &E) {
    let trial = Trial::new(engine);
    let lease = trial.granted("relay", "node-1");
    let mut last = lease.clone();
    for _ in 0..3 {
        trial.pass(engine.ttl() / 2);
        let renewed = trial.renew(&last).expect("it was not over");
        assert_eq!((renewed.token(), renewed.resource(), renewed.owner()), (lease.token(), "relay", "node-1"));
        assert!(renewed.until() > last.until());
        assert_eq!(trial.ask("relay", "node-2"), None);
        last = renewed;
    }
    assert!(trial.renew(&lease).is_some(), "an older copy of the same lease is the same lease");
}

/// Whether it was released, ran out or was taken over: the next token is higher.
pub fn tokens_grow_with_each_owner_however_the_last_one_ended<E: Engine>(engine: &E) {
    let trial = Trial::new(engine);
    let first = trial.granted("relay", "node-1");
    assert!(trial.release(&first));
    let second = trial.granted("relay", "node-2");
    trial.pass(engine.ttl() * 2);
    let third = trial.granted("relay", "node-1");
    let fourth = trial.granted("relay", "node-1");
    assert!(first.token() < second.token() && second.token() < third.token() && third.token() < fourth.token());
}

/// A restarted node may go on at once; the one it was before may not.
pub fn an_owner_that_comes_back_gets_a_new_token_and_its_former_self_is_out<E: Engine>(engine: &E) {
    let trial = Trial::new(engine);
    let before = trial.granted("relay", "node-1");
    let after = trial.granted("relay", "node-1");
    assert!(before.token() < after.token());
    assert_eq!(trial.renew(&before), None);
    assert!(!trial.release(&before));
    assert!(trial.renew(&after).is_some());
}

/// What wakes up late cannot take away what is another's by now.
pub fn a_zombie_can_neither_renew_nor_release<E: Engine>(engine: &E) {
    let trial = Trial::new(engine);
    let zombie = trial.granted("relay", "node-1");
    trial.pass(engine.ttl() * 2);
    let owner = trial.granted("relay", "node-2");
    assert_eq!(trial.renew(&zombie), None);
    assert!(!trial.release(&zombie));
    assert_eq!(trial.ask("relay", "node-1"), None);
    assert!(trial.renew(&owner).is_some(), "the owner has noticed nothing");
}

/// Being late is being late, whoever is looking.
pub fn a_lease_that_is_over_is_lost_even_if_nobody_took_it<E: Engine>(engine: &E) {
    let trial = Trial::new(engine);
    let lease = trial.granted("relay", "node-1");
    trial.pass(engine.ttl() * 2);
    assert_eq!(trial.renew(&lease), None);
    assert!(!trial.release(&lease));
    assert!(trial.ask("relay", "node-2").is_some());
}

/// Giving up is quick, and no harm if it is repeated.
pub fn a_released_lease_is_free_at_once_and_released_once<E: Engine>(engine: &E) {
    let trial = Trial::new(engine);
    let lease = trial.granted("relay", "node-1");
    assert!(trial.release(&lease));
    assert!(!trial.release(&lease));
    assert_eq!(trial.renew(&lease), None);
    let next = trial.granted("relay", "node-2");
    assert!(!trial.release(&lease));
    assert!(trial.renew(&next).is_some());
}

/// What happens to one resource is nothing to another.
pub fn resources_do_not_meet<E: Engine>(engine: &E) {
    let trial = Trial::new(engine);
    let relay = trial.granted("relay", "node-1");
    let outbox = trial.granted("outbox", "node-2");
    assert!(trial.release(&relay));
    assert_eq!(trial.ask("outbox", "node-1"), None);
    assert!(trial.renew(&outbox).is_some());
    assert!(trial.ask("relay", "node-2").is_some(), "one owner may have two");
}

/// The longest time there is, is a time.
pub fn a_lease_for_ever_is_no_overflow<E: Engine>(engine: &E) {
    let trial = Trial::new(engine);
    let lease = trial.ask_for("relay", "node-1", Duration::MAX).expect("nobody else has it");
    trial.pass(engine.ttl() * 2);
    assert_eq!(trial.ask("relay", "node-2"), None);
    assert!(trial.release(&lease));
}
