//! The machine against whole intervals, each a list of the waits in it.

use std::time::Duration;

use proptest::prelude::*;

use super::super::machine::Machine;
use super::ms;
use crate::control::CoDel;
use crate::time::Timestamp;

const TARGET: f64 = 0.05;

/// A queue by the seconds its calls waited; an interval is one second, and the time is in milliseconds.
#[derive(Debug, Default)]
struct Model {
    waits: Vec<f64>,
    ends: u64,
    before: f64,
    ratio: f64,
}

impl Model {
    fn take_up(&mut self, waited: f64, now: u64) {
        if now >= self.ends {
            self.close(now);
        }
        self.waits.push(waited);
    }

    fn close(&mut self, now: u64) {
        let wait = self.waits.drain(..).reduce(f64::min).unwrap_or(0.0);
        self.ratio = if wait < TARGET / 2.0 {
            0.9 * self.ratio
        } else {
            self.ratio + 0.06 * (wait - TARGET) + 0.33 * (wait - self.before)
        };
        // A tenth less for each whole interval that passed without a call.
        for _ in 0..(now - self.ends) / 1_000 {
            self.ratio *= 0.9;
        }
        self.ratio = self.ratio.clamp(0.0, 1.0);
        if self.ratio < 0.001 {
            self.ratio = 0.0;
        }
        (self.before, self.ends) = (wait, now + 1_000);
    }
}

fn waits() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0), 2 => 0..60u64, 4 => 20..1_500u64, 1 => Just(25), 1 => Just(50)]
}

proptest! {
    #[test]
    fn the_share_is_what_the_intervals_add_up_to(
        calls in proptest::collection::vec((prop_oneof![8 => 0..700u64, 1 => 0..5_000u64, 1 => Just(1_000)], waits()), 1..200),
    ) {
        let mut machine = Machine::new(ms(50), ms(1_000));
        let (mut model, mut now) = (Model::default(), 0);
        for (after, waited) in calls {
            now += after;
            model.take_up(waited as f64 / 1_000.0, now);
            let verdict = machine.take_up(ms(waited), Timestamp::from_nanos(now * 1_000_000));
            prop_assert!((verdict.ratio - model.ratio).abs() < 1e-6, "{} and not {}", verdict.ratio, model.ratio);
            prop_assert_eq!(machine.ratio(), verdict.ratio);
            prop_assert_eq!(machine.wait(), ms((model.before * 1_000.0).round() as u64));
        }
    }

    /// Without a pause, the verdict on a single call is that of the rule it is made of, after an interval in which nobody
    /// waited; after a pause of two intervals, it is that of a new one.
    #[test]
    fn a_call_is_late_by_codel_which_forgets_what_was_before_a_pause(
        before in proptest::collection::vec((0..300u64, 0..200u64), 0..30),
        pause in prop_oneof![Just(2_001), Just(10_000)],
        after in proptest::collection::vec((0..300u64, 0..200u64), 1..30),
    ) {
        let codel = || {
            let mut codel = CoDel::new(ms(1_000), ms(50), 1);
            codel.is_overloaded(Duration::ZERO, Duration::ZERO);
            codel
        };
        let (mut machine, mut rule, mut now) = (Machine::new(ms(50), ms(1_000)), codel(), 1);
        for (part, calls) in [before, after].into_iter().enumerate() {
            if part == 1 {
                now += pause;
                rule = codel();
            }
            for (after, waited) in calls {
                now += after;
                let verdict = machine.take_up(ms(waited), Timestamp::from_nanos(now * 1_000_000));
                prop_assert_eq!(verdict.is_late, rule.is_overloaded(ms(waited), ms(now)));
            }
        }
    }
}

#[test]
fn a_machine_told_the_same_again_keeps_what_it_found_and_told_other_figures_goes_by_those() {
    // A file that is read anew every minute must not make every minute a new beginning.
    let at = |millis: u64| Timestamp::from_nanos(millis * 1_000_000);
    let mut machine = Machine::new(ms(50), ms(1_000));
    let stands =
        |machine: &mut Machine, from: u64| (0..25).any(|n| machine.take_up(ms(200), at(from + 100 * n)).is_late);
    assert!(stands(&mut machine, 1));
    machine.set(ms(50), ms(1_000));
    // The first of an interval never is, the next is.
    assert!((2_502..2_504).any(|now| machine.take_up(ms(200), at(now)).is_late), "it stands as before");
    machine.set(ms(300), ms(1_000));
    assert!(!stands(&mut machine, 2_504), "what is below the new target");
    machine.set(ms(100), ms(1_000));
    assert!(stands(&mut machine, 5_004));
}
