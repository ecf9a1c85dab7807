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
fn a_script_that_is_still_the_same_stays_where_it_stands() {
    let script = || [Phase::calls(2, Faults::NONE), Phase::calls(2, Faults::OUTAGE)];
    let chaos = chaos().script(script(), false).build().unwrap();
    let call = |chaos: &Chaos<u32, u32, &'static str>| chaos.call(&1, async { Ok(1) }).now_or_never().unwrap().is_ok();
    assert!(call(&chaos) && call(&chaos) && !call(&chaos));
    chaos.reconfigure(Chaos::builder().script(script(), false)).unwrap();
    assert!(!call(&chaos) && call(&chaos), "the outage is not played again");
    chaos.reconfigure(Chaos::builder().script(script(), true)).unwrap();
    assert!(call(&chaos) && call(&chaos) && !call(&chaos), "another script is");
}

#[test]
fn a_clock_at_its_end_does_not_send_a_script_round_for_ever() {
    // The end of each phase was taken to be the end of time, which had come: no phase was the present one.
    let now = Timestamp::ORIGIN + Duration::MAX;
    for phase in [Phase::calls(2, Faults::OUTAGE), Phase::lasting(SECOND, Faults::OUTAGE)] {
        let mut script = Script::new([phase, phase], true);
        assert_eq!(script.faults(Timestamp::ORIGIN), Some(Faults::OUTAGE));
        assert!((0..5).all(|_| script.faults(now) == Some(Faults::OUTAGE)));
    }
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

#[test]
fn rates_that_are_one_together_are_taken_and_those_above_it_are_not() {
    let check = |error, response, behaviour| Faults { error, response, behaviour, ..Faults::NONE }.check();
    // Written as decimals, these miss 1 by a bit to either side.
    assert_eq!(check(0.1, 0.2, 0.7), Ok(()));
    assert_eq!(check(0.6, 0.3, 0.1), Ok(()));
    assert_eq!(check(0.0, 0.0, 1.0), Ok(()));
    let bit = f64::EPSILON;
    assert_eq!(check(0.5, 0.5 + 4.0 * bit, 0.0), Ok(()));
    assert!(check(0.5, 0.5 + 6.0 * bit, 0.0).is_err());
    for (error, response, behaviour) in [(0.5, 0.0, 0.6), (0.5, 0.6, 0.0), (0.0, 0.5, 0.6), (0.4, 0.4, 0.4)] {
        assert_eq!(check(error, response, behaviour).unwrap_err().field(), "faults");
    }
    assert_eq!(Faults { delay_for: (SECOND, SECOND), ..Faults::NONE }.check(), Ok(()));
    assert!(Phase::lasting(Duration::ZERO, Faults::NONE).check().is_err());
    assert!(Phase::lasting(SECOND, Faults { error: 2.0, ..Faults::NONE }).check().is_err());
    assert_eq!(Phase::calls(1, Faults::OUTAGE).check(), Ok(()));
}

#[test]
fn what_is_never_to_happen_needs_no_maker() {
    let each = [
        (Kind::Delay, Faults::slow(0.1, SECOND)),
        (Kind::Error, Faults { error: 0.1, ..Faults::NONE }),
        (Kind::Response, Faults { response: 0.1, ..Faults::NONE }),
        (Kind::Behaviour, Faults { behaviour: 0.1, ..Faults::NONE }),
    ];
    for (at, (kind, faults)) in each.iter().enumerate() {
        assert!(faults.needs(*kind) && !Faults::NONE.needs(*kind));
        assert!(each.iter().enumerate().all(|(other, (kind, _))| other == at || !faults.needs(*kind)), "{kind:?}");
    }
    assert_eq!(Faults::slow(0.1, SECOND).delay_for, (SECOND, SECOND));
}

#[test]
fn a_script_cannot_ask_for_a_fault_that_nobody_makes() {
    let script = [Phase::calls(1, Faults::NONE), Phase::calls(1, Faults::OUTAGE)];
    let wrong = Told::builder().script(script, false).timer(ManualTimer::new()).build().map(drop).unwrap_err();
    assert_eq!(wrong.to_string(), "error must be given before it can happen");
}

#[test]
fn whatever_the_seed_each_call_draws_anew() {
    let half = Faults { error: 0.5, ..Faults::NONE };
    for seed in [0, 1, u64::MAX, u64::MAX - 1, 1 << 63] {
        let failed = (0..1_000).filter(|call| half.decide(seed, *call).fault.is_some()).count();
        assert!((430..570).contains(&failed), "{failed} with {seed}");
    }
}

#[test]
fn a_delay_is_drawn_evenly_between_its_bounds() {
    let faults = Faults { delay: 1.0, delay_for: (2 * SECOND, 4 * SECOND), ..Faults::NONE };
    let delays: Vec<_> = (0..1_000).map(|call| faults.decide(5, call).delay.unwrap()).collect();
    for quarter in 0..4 {
        let from = 2 * SECOND + quarter * SECOND / 2;
        let within = delays.iter().filter(|delay| (from..from + SECOND / 2).contains(*delay)).count();
        assert!((190..310).contains(&within), "{within} from {from:?}");
    }
}

#[test]
fn a_script_without_phases_is_over_before_it_begins() {
    assert_eq!(Script::new([], true).faults(Timestamp::ORIGIN), None);
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

    /// Against phases that are walked through one by one, however many rounds a silence takes.
    #[test]
    fn a_script_of_times_and_calls_is_what_its_phases_are_one_by_one(
        phases in proptest::collection::vec((any::<bool>(), 1u64..50), 1..5),
        repeats: bool,
        gaps in proptest::collection::vec(prop_oneof![4 => 0u64..20, 1 => 0u64..500], 0..60),
    ) {
        let faults = |phase: usize| Faults { error: phase as f64 / 10.0, ..Faults::NONE };
        let nanos = Duration::from_nanos;
        let made = phases.iter().enumerate().map(|(at, (by_time, length))| match by_time {
            true => Phase::lasting(nanos(*length), faults(at)),
            false => Phase::calls(*length, faults(at)),
        });
        let mut script = Script::new(made, repeats);
        let (mut at, mut calls, mut began, mut now) = (0, 0, None, 7);
        for gap in gaps {
            now += gap;
            let mut since = began.unwrap_or(now);
            let expected = loop {
                if at == phases.len() && repeats {
                    at = 0;
                }
                let Some((by_time, length)) = phases.get(at) else { break None };
                if if *by_time { now < since + length } else { calls < *length } {
                    calls += 1;
                    break Some(faults(at));
                }
                since = if *by_time { since + length } else { now };
                (at, calls) = (at + 1, 0);
            };
            began = Some(since);
            prop_assert_eq!(script.faults(Timestamp::from_nanos(now)), expected);
        }
    }

    /// Whatever the rates, faults come as often as they should.
    #[test]
    fn faults_come_as_often_as_they_should(
        seed: u64, error in 0.0..0.4, response in 0.0..0.3, behaviour in 0.0..0.3, delay in 0.0..1.0,
    ) {
        let faults = Faults { error, response, behaviour, delay, delay_for: (SECOND, 2 * SECOND) };
        let decisions: Vec<_> = (0..4000).map(|call| faults.decide(seed, call)).collect();
        let share = |is: fn(&Decision) -> bool| decisions.iter().filter(|it| is(it)).count() as f64 / 4000.0;
        prop_assert!((share(|it| it.fault == Some(Kind::Error)) - error).abs() < 0.05);
        prop_assert!((share(|it| it.fault == Some(Kind::Response)) - response).abs() < 0.05);
        prop_assert!((share(|it| it.fault == Some(Kind::Behaviour)) - behaviour).abs() < 0.05);
        prop_assert!((share(|it| it.delay.is_some()) - delay).abs() < 0.05);
        prop_assert!(decisions.iter().filter_map(|it| it.delay).all(|it| (SECOND..=2 * SECOND).contains(&it)));
    }
}
