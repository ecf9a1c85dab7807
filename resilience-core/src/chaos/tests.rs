use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::executor::block_on;
use proptest::prelude::*;

use super::*;
use crate::event::{Event as Heard, Sink};
use crate::time::{ManualTimer, Timestamp};

const SECOND: Duration = Duration::from_secs(1);

type Told = Chaos<u32, u32, &'static str>;

fn chaos() -> ChaosBuilder<u32, u32, &'static str> {
    Told::builder().error(|_| "injected").response(|request| request + 1000).timer(ManualTimer::new())
}

fn outcomes(chaos: &Told, calls: u32) -> Vec<Result<u32, &'static str>> {
    (0..calls).map(|call| block_on(chaos.call(&call, async move { Ok(call) }))).collect()
}

#[test]
fn the_same_seed_brings_the_same_faults_and_another_one_others() {
    // CH1.
    let faults = Faults { error: 0.2, response: 0.2, ..Faults::NONE };
    let run = |seed| outcomes(&chaos().seed(seed).faults(faults).build().unwrap(), 500);
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let errors = run(1).iter().filter(|outcome| outcome.is_err()).count();
    assert!((60..140).contains(&errors), "{errors}");
}

#[test]
fn threads_at_once_meet_the_same_faults_as_one_after_the_other() {
    // CH1: what a call draws depends on its number, and not on who calls when.
    let faults = Faults { error: 0.3, ..Faults::NONE };
    let alone = chaos().seed(9).faults(faults).build().unwrap();
    outcomes(&alone, 4000);
    let shared = chaos().seed(9).faults(faults).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| outcomes(&shared, 1000));
        }
    });
    assert_eq!(alone.snapshot(), shared.snapshot());
}

#[test]
fn two_policies_do_not_meet() {
    // CH1: fail-rs has one registry for a process, and tests that run at once break each other.
    let (down, up) = (chaos().faults(Faults::OUTAGE).build().unwrap(), chaos().build().unwrap());
    assert!(outcomes(&down, 3).iter().all(Result::is_err));
    assert!(outcomes(&up, 3).iter().all(Result::is_ok));
}

#[test]
fn switched_off_it_counts_nothing_and_on_again_it_goes_on_where_it_was() {
    // CH1: whoever runs an experiment in production wants to end it at once, and without a deployment.
    let script = [Phase::calls(2, Faults::NONE), Phase::calls(1, Faults::OUTAGE)];
    let chaos = chaos().enabled(false).script(script, false).build().unwrap();
    assert_eq!(outcomes(&chaos, 5), [Ok(0), Ok(1), Ok(2), Ok(3), Ok(4)]);
    chaos.on();
    assert_eq!(outcomes(&chaos, 2), [Ok(0), Ok(1)]);
    chaos.off();
    assert_eq!(outcomes(&chaos, 1), [Ok(0)]);
    chaos.on();
    assert_eq!(outcomes(&chaos, 2), [Err("injected"), Ok(1)]);
    assert_eq!((chaos.snapshot().calls, chaos.snapshot().errors), (4, 1));
}

#[test]
fn a_delay_comes_before_the_call_and_is_as_long_as_drawn() {
    let timer = ManualTimer::new();
    let faults = Faults { delay: 1.0, delay_for: (2 * SECOND, 4 * SECOND), ..Faults::NONE };
    let chaos = chaos().faults(faults).timer(timer.clone()).build().unwrap();
    let mut waits = Vec::new();
    for _ in 0..50 {
        let called = Arc::new(AtomicU32::new(0));
        let sees = called.clone();
        let mut call = Box::pin(chaos.call(&7, async move { Ok(sees.fetch_add(1, Ordering::Relaxed)) }));
        let mut waited = Duration::ZERO;
        while call.as_mut().now_or_never().is_none() {
            assert_eq!(called.load(Ordering::Relaxed), 0, "not before the delay is over");
            timer.advance(SECOND / 8);
            waited += SECOND / 8;
        }
        waits.push(waited);
    }
    assert!(waits.iter().all(|wait| (2 * SECOND..=4 * SECOND + SECOND / 8).contains(wait)), "{waits:?}");
    assert!(waits.iter().max().unwrap().saturating_sub(*waits.iter().min().unwrap()) > SECOND, "{waits:?}");
}

#[test]
fn a_disturbance_is_over_before_the_call_begins_and_the_call_is_made() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (disturbs, calls) = (seen.clone(), seen.clone());
    let chaos = Told::builder()
        .behaviour(move |request| {
            let (seen, request) = (disturbs.clone(), *request);
            async move { seen.lock().unwrap().push(("disturbed", request)) }
        })
        .faults(Faults { behaviour: 1.0, ..Faults::NONE })
        .timer(ManualTimer::new())
        .build()
        .unwrap();
    let answer = block_on(chaos.call(&7, async move {
        calls.lock().unwrap().push(("called", 7));
        Ok(8)
    }));
    assert_eq!(answer, Ok(8));
    assert_eq!(*seen.lock().unwrap(), [("disturbed", 7), ("called", 7)]);
}

#[test]
fn only_requests_that_are_meant_meet_a_fault_or_move_the_script() {
    let script = [Phase::calls(1, Faults::NONE), Phase::calls(1, Faults::OUTAGE)];
    let chaos = chaos().only(|request| request % 2 == 0).script(script, true).build().unwrap();
    let seen: Vec<_> = outcomes(&chaos, 8).into_iter().map(|outcome| outcome.is_ok()).collect();
    assert_eq!(seen, [true, true, false, true, true, true, false, true]);
    assert_eq!(chaos.snapshot().calls, 4);
}

#[test]
fn an_outage_by_time_is_over_when_it_is_over_whoever_calls() {
    let timer = ManualTimer::new();
    let script = [Phase::lasting(10 * SECOND, Faults::NONE), Phase::lasting(5 * SECOND, Faults::OUTAGE)];
    let chaos = chaos().script(script, true).timer(timer.clone()).build().unwrap();
    let is_up = || outcomes(&chaos, 1)[0].is_ok();
    assert!(is_up());
    timer.advance(10 * SECOND - Duration::from_nanos(1));
    assert!(is_up());
    timer.advance(Duration::from_nanos(1));
    assert!(!is_up());
    // Two and a half rounds without a call.
    timer.advance(38 * SECOND);
    assert!(is_up(), "48 s: the third of a round's first ten seconds");
    timer.advance(8 * SECOND);
    assert!(!is_up());
    timer.advance(Duration::from_secs(15 * 100_000_000));
    assert!(!is_up());
}

#[test]
fn a_new_set_of_faults_ends_the_script_and_a_wrong_one_changes_nothing() {
    let chaos = chaos().script([Phase::calls(100, Faults::OUTAGE)], false).build().unwrap();
    let wrong = chaos.set_faults(Faults { behaviour: 1.0, ..Faults::NONE }).unwrap_err();
    assert_eq!(wrong.to_string(), "behaviour must be given before it can happen");
    assert!(outcomes(&chaos, 1)[0].is_err());
    chaos.set_faults(Faults { response: 1.0, ..Faults::NONE }).unwrap();
    assert_eq!(outcomes(&chaos, 2), [Ok(1000), Ok(1001)]);
}

#[test]
fn every_fault_is_told_with_the_number_that_brings_it_back() {
    struct Told3(Arc<Mutex<Vec<(Kind, u64)>>>);
    impl Sink for Told3 {
        fn on_event(&self, event: &Heard<'_>) {
            let Some(Event::Injected { kind, call, .. }) = event.fact() else { return };
            self.0.lock().unwrap().push((*kind, *call));
        }
    }
    let heard = Arc::new(Mutex::new(Vec::new()));
    let faults = Faults { error: 0.5, ..Faults::NONE };
    let chaos = chaos().seed(3).faults(faults).listener(Told3(heard.clone())).build().unwrap();
    outcomes(&chaos, 100);
    let expected: Vec<_> =
        (0..100).filter(|call| faults.decide(3, *call).fault.is_some()).map(|call| (Kind::Error, call)).collect();
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[test]
fn nonsense_is_refused_by_name() {
    let refused = |faults| chaos().faults(faults).build().map(drop).unwrap_err().to_string();
    assert_eq!(refused(Faults { error: f64::NAN, ..Faults::NONE }), "error must be between 0 and 1");
    assert_eq!(refused(Faults { delay: 1.1, ..Faults::NONE }), "delay must be between 0 and 1");
    assert_eq!(refused(Faults { error: 0.7, response: 0.4, ..Faults::NONE }), "faults must not add up to more than 1");
    let inverted = Faults { delay_for: (SECOND, Duration::ZERO), ..Faults::NONE };
    assert_eq!(refused(inverted), "delay_for must not have its least above its most");
    let empty = chaos().script([Phase::calls(0, Faults::NONE)], true).build();
    assert_eq!(empty.map(drop).unwrap_err().to_string(), "script must have phases above zero");
    let nothing = Told::builder().faults(Faults::OUTAGE).timer(ManualTimer::new()).build();
    assert_eq!(nothing.map(drop).unwrap_err().to_string(), "error must be given before it can happen");
    let longest = Faults { delay: 1.0, delay_for: (Duration::ZERO, Duration::MAX), ..Faults::NONE };
    drop(chaos().faults(longest).build().unwrap().call(&1, async { Ok(1) }));
}

proptest! {
    /// Against a list of phases that is walked through call by call.
    #[test]
    fn a_script_of_calls_is_what_a_list_of_calls_is(lengths in proptest::collection::vec(1u64..5, 1..6), repeats: bool, calls in 0usize..60) {
        let faults = |phase: usize| Faults { error: phase as f64 / 10.0, ..Faults::NONE };
        let phases: Vec<_> = lengths.iter().enumerate().map(|(at, length)| Phase::calls(*length, faults(at))).collect();
        let mut script = Script::new(phases, repeats);
        let once: Vec<_> = lengths.iter().enumerate().flat_map(|(at, length)| vec![at; *length as usize]).collect();
        for call in 0..calls {
            let at = if repeats { once.get(call % once.len()) } else { once.get(call) };
            prop_assert_eq!(script.faults(Timestamp::ORIGIN), at.map(|at| faults(*at)));
        }
    }

    /// Whatever the rates, faults come as often as they should.
    #[test]
    fn faults_come_as_often_as_they_should(seed: u64, error in 0.0..0.5, response in 0.0..0.5, delay in 0.0..1.0) {
        let faults = Faults { error, response, delay, delay_for: (SECOND, 2 * SECOND), ..Faults::NONE };
        let decisions: Vec<_> = (0..4000).map(|call| faults.decide(seed, call)).collect();
        let share = |is: fn(&Decision) -> bool| decisions.iter().filter(|it| is(it)).count() as f64 / 4000.0;
        prop_assert!((share(|it| it.fault == Some(Kind::Error)) - error).abs() < 0.05);
        prop_assert!((share(|it| it.fault == Some(Kind::Response)) - response).abs() < 0.05);
        prop_assert!((share(|it| it.delay.is_some()) - delay).abs() < 0.05);
        prop_assert!(decisions.iter().filter_map(|it| it.delay).all(|it| (SECOND..=2 * SECOND).contains(&it)));
    }
}
