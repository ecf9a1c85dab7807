use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::*;
use crate::Reason;
use crate::context::{Context, Criticality};
use crate::rng::Rng;
use crate::time::{ManualTimer, Timer};

mod machine;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn shed(timer: &ManualTimer) -> QueueShedBuilder {
    QueueShed::builder().name("front").timer(timer.clone()).seed(7)
}

fn in_class<R>(criticality: Criticality, act: impl FnOnce() -> R) -> R {
    Context::new().with_criticality(criticality).run(act)
}

/// Fills an interval with calls that waited for so long, and begins the next.
fn interval(shed: &QueueShed, timer: &ManualTimer, waited: Duration) {
    for _ in 0..11 {
        timer.advance(ms(10));
        let _ = shed.try_admit(waited);
    }
}

#[test]
fn a_burst_that_drains_is_let_in_and_a_queue_that_stands_is_not() {
    // LS1: above the target for a whole interval, and not a moment sooner.
    let timer = ManualTimer::new();
    let shed = shed(&timer).build().unwrap();
    let sheddable = |waited| in_class(Criticality::Sheddable, || shed.try_admit(waited));
    for waited in [90, 70, 40, 3] {
        timer.advance(ms(30));
        assert!(sheddable(ms(waited)).is_ok(), "a burst, and {waited} ms of it are left");
    }
    interval(&shed, &timer, ms(20));
    interval(&shed, &timer, ms(20));
    let refused = sheddable(ms(20)).unwrap_err();
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::QueueDelay, Some(ms(100))));
    assert!(sheddable(Duration::ZERO).is_ok(), "who did not wait is never refused");
    // Somebody did not wait, so the queue has drained: from the next interval on, all is well.
    interval(&shed, &timer, ms(20));
    assert!((0..100).filter(|_| sheddable(ms(20)).is_err()).count() < 50);
}

#[test]
fn what_was_before_an_idle_while_says_nothing_about_the_burst_after_it() {
    let timer = ManualTimer::new();
    let shed = shed(&timer).build().unwrap();
    let sheddable = |waited| in_class(Criticality::Sheddable, || shed.try_admit(waited));
    interval(&shed, &timer, ms(20));
    timer.advance(Duration::from_secs(3_600));
    for waited in [90, 70, 40] {
        timer.advance(ms(30));
        assert!(sheddable(ms(waited)).is_ok(), "a burst, and {waited} ms of it are left");
    }
}

#[test]
fn the_least_critical_lose_patience_first() {
    let timer = ManualTimer::new();
    let shed = shed(&timer).build().unwrap();
    interval(&shed, &timer, ms(30));
    interval(&shed, &timer, ms(30));
    let admitted =
        |criticality, waited| in_class(criticality, || (0..400).filter(|_| shed.try_admit(ms(waited)).is_ok()).count());
    assert_eq!(admitted(Criticality::Sheddable, 11), 0);
    assert!(admitted(Criticality::SheddablePlus, 20) > 0);
    assert_eq!(admitted(Criticality::SheddablePlus, 21), 0);
    assert_eq!(admitted(Criticality::Critical, 200), 400, "the others were enough");
    assert_eq!(admitted(Criticality::CriticalPlus, 201), 0);
}

#[test]
fn the_share_follows_the_wait_and_goes_when_it_is_gone() {
    let timer = ManualTimer::new();
    let shed = shed(&timer).build().unwrap();
    let after = |waits: &[u64]| {
        waits.iter().for_each(|waited| interval(&shed, &timer, ms(*waited)));
        shed.snapshot().ratio
    };
    assert_eq!(after(&[0, 0]), 0.0);
    // Each interval the wait is half an interval longer: twice as much comes as is done.
    let half = after(&[50, 100, 150, 200]);
    assert!((0.5..0.9).contains(&half), "{half}");
    let less = after(&[100, 10, 0, 0, 0]);
    assert!(less < half / 2.0, "{less}");
    timer.advance(Duration::from_secs(30));
    interval(&shed, &timer, Duration::ZERO);
    assert_eq!(shed.snapshot().ratio, 0.0, "what nobody waited for in half a minute");
}

#[test]
fn a_dry_run_refuses_nobody() {
    let timer = ManualTimer::new();
    let shed = shed(&timer).dry_run(true).build().unwrap();
    for _ in 0..100 {
        timer.advance(ms(10));
        assert!(shed.try_admit(ms(500)).is_ok());
    }
    assert!(shed.snapshot().would_reject > 50);
    assert_eq!(shed.snapshot().wait, ms(500));
}

/// What became of the calls of one criticality.
#[derive(Default)]
struct Fate {
    came: u32,
    served: u32,
    waits: Vec<Duration>,
}

impl Fate {
    fn percentile(&mut self, share: f64) -> Duration {
        self.waits.sort();
        crate::control::percentile(&self.waits, share).unwrap()
    }
}

/// Twice the calls that a server with room for fifty at 10 ms can do, of which `critical` are, in a queue without end.
fn overload(mut admits: impl FnMut(Criticality, Duration) -> bool, timer: &ManualTimer, critical: f64) -> [Fate; 2] {
    let mut rng = Rng::seeded(3);
    let mut exponential = move |mean: f64| Duration::from_secs_f64(-(1.0 - rng.unit()).ln() * mean);
    let mut kinds = Rng::seeded(5);
    let (mut fates, mut queue, mut working) = ([Fate::default(), Fate::default()], VecDeque::new(), 0);
    let (start, mut events) = (timer.now(), BinaryHeap::from([Reverse((Duration::ZERO, true))]));
    while let Some(Reverse((at, is_arrival))) = events.pop() {
        if at > Duration::from_secs(20) {
            break;
        }
        timer.advance(at.saturating_sub(timer.now() - start));
        if is_arrival {
            events.push(Reverse((at + exponential(1.0 / 10_000.0), true)));
            let kind = usize::from(kinds.unit() < critical);
            fates[kind].came += 1;
            queue.push_back((at, kind));
        } else {
            working -= 1;
        }
        while working < 50
            && let Some((came, kind)) = queue.pop_front()
        {
            let criticality = [Criticality::Sheddable, Criticality::Critical][kind];
            let waited = at - came;
            if admits(criticality, waited) {
                working += 1;
                fates[kind].served += 1;
                fates[kind].waits.push(waited);
                events.push(Reverse((at + exponential(0.010), false)));
            }
        }
    }
    fates
}

#[test]
fn under_overload_the_queue_stays_short_the_server_busy_and_the_critical_served() {
    // LS1: without it, whoever comes at the end waits for ten seconds behind those who have long hung up.
    let timer = ManualTimer::new();
    let [_, mut critical] = overload(|_, _| true, &timer, 0.4);
    assert!(critical.percentile(0.9) > Duration::from_secs(5));
    let shed = shed(&timer).build().unwrap();
    let by_both = |criticality, waited| in_class(criticality, || shed.try_admit(waited)).is_ok();
    let [sheddable, mut critical] = overload(by_both, &timer, 0.4);
    let served = sheddable.served + critical.served;
    assert!(served >= 95_000, "{served} of 100,000 that it can do");
    let share = f64::from(critical.served) / f64::from(critical.came);
    // The figures on the module's page.
    assert_eq!((1e3 * share).round(), 999.0, "{share} of the critical");
    assert_eq!((critical.percentile(0.5).as_secs_f64() * 1e3).round(), 10.0);
    assert!(critical.percentile(0.5) < ms(20) && critical.percentile(0.99) < ms(100));
    // With nothing but critical calls, half of them must go, and the others do not wait.
    let [_, mut critical] = overload(by_both, &timer, 1.0);
    assert!(critical.served >= 95_000 && critical.percentile(0.5) < ms(50));
}

#[test]
fn a_standing_queue_alone_does_not_say_how_many_to_refuse() {
    // What the module's page says of CoDel without the controller, with folly's patience: one target for who is to go first,
    // two for the others.
    let timer = ManualTimer::new();
    let (mut codel, start) = (crate::control::CoDel::new(ms(100), ms(5), 1), timer.now());
    let alone = |criticality, waited| {
        let longest = if criticality == Criticality::Critical { ms(10) } else { ms(5) };
        let stands = codel.is_overloaded(waited, timer.now() - start);
        !(stands && waited > longest)
    };
    let [_, critical] = overload(alone, &timer, 0.4);
    let share = f64::from(critical.served) / f64::from(critical.came);
    assert_eq!((100.0 * share).round(), 74.0, "{share} of the critical");
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let build = QueueShed::builder;
    let cases = [
        (build().target(Duration::ZERO), "target must be above zero"),
        (build().target(Duration::MAX), "target must be below interval"),
        (build().interval(Duration::MAX), "interval must be at most an hour"),
        (build().patience(Criticality::Critical, f64::NAN), "patience must be from 1 to 1000"),
        (build().patience(Criticality::Critical, 0.5), "patience must be from 1 to 1000"),
        (build().patience(Criticality::Critical, 3.0), "patience must not be below that of less critical calls"),
    ];
    for (builder, says) in cases {
        assert_eq!(builder.timer(ManualTimer::new()).build().unwrap_err().to_string(), says);
    }
    let timer = ManualTimer::new();
    let shed = shed(&timer).target(Duration::from_nanos(1)).interval(Duration::from_secs(3_600)).build().unwrap();
    for waited in [Duration::MAX, Duration::ZERO] {
        timer.advance(Duration::from_secs(u64::MAX / 4_000_000_000));
        assert!(shed.try_admit(waited).is_ok());
    }
}
