//! Every schedule of two calls on one script.

use loom::thread;

use super::{Chaos, Faults, Phase};
use crate::sync::model;
use crate::time::ManualTimer;

type Told = Chaos<u32, u32, &'static str>;

fn chaos(phases: [Phase; 2]) -> Told {
    Told::builder().error(|_| "injected").script(phases, false).timer(ManualTimer::new()).build().unwrap()
}

#[test]
fn loom_a_phase_of_one_call_is_met_by_one_of_two() {
    model(|| {
        let chaos = chaos([Phase::calls(1, Faults::OUTAGE), Phase::calls(1, Faults::NONE)]);
        let other = chaos.clone();
        let theirs = thread::spawn(move || other.plan(&1).is_some());
        let ours = chaos.plan(&2).is_some();
        assert!(theirs.join().unwrap() != ours);
        assert_eq!((chaos.snapshot().calls, chaos.snapshot().errors), (2, 1));
    });
}

#[test]
fn loom_faults_set_beside_a_call_end_the_script_for_good() {
    model(|| {
        let chaos = chaos([Phase::calls(9, Faults::OUTAGE), Phase::calls(9, Faults::OUTAGE)]);
        let other = chaos.clone();
        let call = thread::spawn(move || drop(other.plan(&1)));
        chaos.set_faults(Faults::NONE).unwrap();
        assert!(chaos.plan(&2).is_none(), "whoever asks afterwards meets what was set");
        call.join().unwrap();
        assert!(chaos.plan(&3).is_none());
    });
}
