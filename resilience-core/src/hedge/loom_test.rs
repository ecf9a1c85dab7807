//! Every schedule of two threads around the rules and what was learnt by them.

use std::time::Duration;

use loom::thread;

use super::latency::Known;
use super::{Delay, Hedge, HedgeBuilder, Quantile};
use crate::sync::model;
use crate::time::ManualTimer;

const MILLI: Duration = Duration::from_millis(1);

fn fixed(attempts: u32, millis: u32) -> HedgeBuilder {
    Hedge::builder().attempts(attempts).delay(millis * MILLI).unlimited().timer(ManualTimer::new())
}

/// A rule that knows enough with the first call.
fn learning(least: Duration) -> HedgeBuilder {
    let quantile = Quantile { window: 10, samples: 1, least, ..Quantile::new(0.5) };
    Hedge::builder().delay(Delay::Quantile(quantile)).unlimited().timer(ManualTimer::new())
}

#[test]
fn loom_of_two_changes_at_once_one_is_what_all_read_in_the_end() {
    // The rules lie in two places. With the attempts of one change and the delay of the other, nobody's rules hold.
    model(|| {
        let hedge = fixed(2, 2).build().unwrap();
        let other = hedge.clone();
        let theirs = thread::spawn(move || other.reconfigure(fixed(3, 30)).unwrap());
        hedge.reconfigure(fixed(4, 40)).unwrap();
        theirs.join().unwrap();
        let seen = (hedge.attempts(), hedge.snapshot().delay);
        assert!([(3, Some(30 * MILLI)), (4, Some(40 * MILLI))].contains(&seen), "{seen:?}");
    });
}

#[test]
fn loom_a_call_that_ends_while_the_rule_changes_publishes_nothing_by_the_older_rule() {
    model(|| {
        let hedge = learning(MILLI).build().unwrap();
        let other = hedge.clone();
        let ends = thread::spawn(move || other.shared().record(5 * MILLI, Known::Whole));
        hedge.reconfigure(learning(700 * MILLI)).unwrap();
        ends.join().unwrap();
        assert_eq!(hedge.snapshot().delay, Some(700 * MILLI));
    });
}
