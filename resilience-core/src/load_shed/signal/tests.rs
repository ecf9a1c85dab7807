use std::time::Duration;

use super::*;
use crate::Reason;
use crate::context::{Context, Criticality};
use crate::load_shed::Cohort;
use crate::time::ManualTimer;

const ORDER: [Criticality; 4] =
    [Criticality::Sheddable, Criticality::SheddablePlus, Criticality::Critical, Criticality::CriticalPlus];

fn shed(timer: &ManualTimer) -> SignalShedBuilder {
    SignalShed::builder().name("front").timer(timer.clone()).seed(7)
}

/// Of a thousand of each criticality, in turn, how many are let in.
fn admitted(shed: &SignalShed) -> [u32; 4] {
    let mut admitted = [0; 4];
    for _ in 0..1_000 {
        for (criticality, admitted) in ORDER.into_iter().zip(&mut admitted) {
            let is_in = Context::new().with_criticality(criticality).run(|| shed.try_admit().is_ok());
            *admitted += u32::from(is_in);
        }
    }
    admitted
}

#[test]
fn calls_are_refused_in_the_order_of_their_criticality() {
    let shed = shed(&ManualTimer::new()).from(0.0).build().unwrap();
    let near = |level, expected: [i32; 4]| {
        shed.signal().set(level);
        let admitted = admitted(&shed);
        for (seen, expected) in admitted.iter().zip(expected) {
            assert!(seen.abs_diff(expected as u32) <= 60, "{admitted:?} at {level}");
        }
    };
    near(0.0, [1_000, 1_000, 1_000, 1_000]);
    near(0.125, [500, 1_000, 1_000, 1_000]);
    near(0.25, [0, 1_000, 1_000, 1_000]);
    near(0.4, [0, 400, 1_000, 1_000]);
    near(0.6, [0, 0, 600, 1_000]);
    near(0.9, [0, 0, 0, 400]);
    near(1.0, [0, 0, 0, 0]);
}

#[test]
fn a_signal_below_its_mark_refuses_nobody_and_reads_no_clock() {
    struct NoClock;
    impl crate::time::Timer for NoClock {
        fn now(&self) -> crate::time::Timestamp {
            unreachable!("nothing is to be refused")
        }
        fn sleep_until(&self, _: crate::time::Timestamp) -> crate::time::Sleep {
            unreachable!()
        }
        fn wall(&self) -> crate::time::WallTime {
            unreachable!()
        }
    }
    let timer: std::sync::Arc<dyn crate::time::Timer> = std::sync::Arc::new(NoClock);
    let shed = SignalShed::builder().timer(timer).build().unwrap();
    shed.signal().set(0.8);
    assert_eq!(admitted(&shed), [1_000; 4]);
}

#[test]
fn above_its_mark_the_share_grows_to_the_most() {
    let shed = shed(&ManualTimer::new()).from(0.8).most(0.5).build().unwrap();
    for (level, ratio) in [(0.8, 0.0), (0.9, 0.25), (1.0, 0.5)] {
        shed.signal().set(level);
        assert!((shed.snapshot().ratio - ratio).abs() < 1e-9, "{level}");
    }
    let refused = (0..1_000).filter(|_| shed.try_admit().is_err()).count();
    assert!((450..550).contains(&refused), "{refused}");
}

#[test]
fn a_signal_nobody_sets_any_more_is_not_believed_for_ever() {
    // The thread that measures the processor dies at the height of the overload. Its last word was "refuse everybody".
    let timer = ManualTimer::new();
    let shed = shed(&timer).fresh_for(Duration::from_secs(10)).build().unwrap();
    shed.signal().set(1.0);
    assert_eq!(shed.try_admit().unwrap_err().reason(), Reason::Overloaded);
    timer.advance(Duration::from_secs(10));
    assert!(shed.try_admit().is_err());
    timer.advance(Duration::from_nanos(1));
    assert!(shed.try_admit().is_ok());
    // Somebody measures again, and finds the same.
    shed.signal().set(1.0);
    assert!(shed.try_admit().is_err());
}

#[test]
fn one_request_has_one_fate_wherever_it_is_asked_for() {
    let one = |seed| shed(&ManualTimer::new()).seed(seed).from(0.0).cohort(Cohort::Correlation).build().unwrap();
    let (here, there) = (one(1), one(2));
    here.signal().set(0.5);
    there.signal().set(0.5);
    let mut refused = 0;
    for order in 0..1_000 {
        let request = Context::new().with_correlation_id(format!("order-{order}"));
        let fate = request.run(|| here.try_admit().is_err());
        assert_eq!(fate, request.run(|| there.try_admit().is_err()));
        refused += u32::from(fate);
    }
    assert!((450..550).contains(&refused), "{refused}");
}

#[test]
fn the_same_seed_refuses_the_same_calls() {
    let run = || {
        let shed = shed(&ManualTimer::new()).build().unwrap();
        shed.signal().set(0.9);
        (0..100).map(|_| shed.try_admit().is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_dry_run_refuses_nobody() {
    let shed = shed(&ManualTimer::new()).dry_run(true).build().unwrap();
    shed.signal().set(1.0);
    assert_eq!(admitted(&shed), [1_000; 4]);
    assert_eq!((shed.snapshot().rejected, shed.snapshot().would_reject), (0, 4_000));
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let build = SignalShed::builder;
    let cases = [
        (build().from(f64::NAN), "from must be at least 0 and below 1"),
        (build().from(-0.1), "from must be at least 0 and below 1"),
        (build().most(2.0), "most must be between 0 and 1"),
        (build().fresh_for(Duration::ZERO), "fresh_for must be above zero"),
    ];
    for (builder, says) in cases {
        assert_eq!(builder.timer(ManualTimer::new()).build().unwrap_err().to_string(), says);
    }
}
