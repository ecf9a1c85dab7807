//! Every interleaving of a withdrawal with what moves the same word.

use loom::thread;

use super::*;

fn budget(reserve: u32, start: u32) -> RetryBudget {
    RetryBudget::builder().ratio(0.5).reserve(reserve).start(start).build().unwrap()
}

#[test]
fn loom_one_token_is_granted_once() {
    loom::model(|| {
        let budget = budget(1, 1);
        let other = budget.clone();
        let thread = thread::spawn(move || other.withdraw(Kind::Failure).map(|mut permit| permit.spend()).is_some());
        let here = budget.withdraw(Kind::Failure).map(|mut permit| permit.spend()).is_some();
        assert!(here ^ thread.join().unwrap());
        assert_eq!(budget.snapshot().available, 0.0);
    });
}

#[test]
fn loom_deposits_and_withdrawals_lose_nothing() {
    loom::model(|| {
        let budget = budget(10, 1);
        let other = budget.clone();
        let thread = thread::spawn(move || {
            drop(other.request());
            drop(other.request());
        });
        let granted = budget.withdraw(Kind::Failure).map(|mut permit| permit.spend()).is_some();
        thread.join().unwrap();
        assert!(granted);
        assert_eq!(budget.snapshot().available, 1.0);
    });
}

#[test]
fn loom_a_refund_makes_room_for_exactly_one_other() {
    loom::model(|| {
        let budget = budget(1, 1);
        let permit = budget.withdraw(Kind::Failure);
        let other = budget.clone();
        let thread = thread::spawn(move || other.withdraw(Kind::Failure).map(|mut permit| permit.spend()).is_some());
        drop(permit);
        let granted = thread.join().unwrap();
        assert_eq!(budget.snapshot().available, if granted { 0.0 } else { 1.0 });
    });
}

#[test]
fn loom_a_share_counts_what_is_in_flight_to_the_end() {
    loom::model(|| {
        let share = Share { ratio: 0.0, floor: 1, counts_itself: true };
        let budget = RetryBudget::builder().rule(Rule::Share(share)).build().unwrap();
        let other = budget.clone();
        let thread = thread::spawn(move || drop(other.request()));
        drop(budget.withdraw(Kind::Failure));
        thread.join().unwrap();
        assert_eq!(budget.snapshot().available, 1.0, "nothing is in flight");
    });
}
