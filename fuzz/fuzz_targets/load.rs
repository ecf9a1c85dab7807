//! What limits and sheds load: whatever a builder is told, it says yes or names a field; and whatever a built policy goes
//! through, and is told anew on the way, it neither panics nor keeps anything.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use futures::FutureExt;
use libfuzzer_sys::fuzz_target;
use resilience_core::Class;
use resilience_core::adaptive_limit::{Abandoned, AdaptiveLimit, AdaptiveLimitBuilder, Figure, Rule};
use resilience_core::chaos::{Chaos, ChaosBuilder, Faults, Phase};
use resilience_core::context::{Context, Criticality};
use resilience_core::control::Throttle;
use resilience_core::load_shed::{AdmissionControl, ClientThrottle, Cohort, QueueShed, SignalShed};
use resilience_core::rate_limit::client::ClientRateLimiter;
use resilience_core::rate_limit::distributed::{DistributedRateLimiter, LocalStore, WhenUnavailable};
use resilience_core::time::ManualTimer;

#[derive(Arbitrary, Debug)]
enum Settings {
    Adaptive(Adaptive, Adaptive),
    Throttle([f64; 4], u64, Duration, [f64; 4]),
    Admission([f64; 4], Duration, [f64; 4]),
    Queue(Waits, Waits),
    Signal([f64; 2], Duration, bool, [f64; 2]),
    Client { max_wait: Duration, dry_run: bool, then: Duration },
    Distributed(Shared, Shared),
    Chaos { faults: Odds, script: Vec<(u64, Option<Duration>, Odds)>, repeats: bool, seed: u64, then: Odds },
}

#[derive(Arbitrary, Debug)]
struct Adaptive {
    rule: u8,
    shares: [f64; 2],
    counts: [Option<u32>; 2],
    timeout: Duration,
    bounds: [Option<u32>; 4],
    window: (Duration, Duration),
    percentile: Option<f64>,
    reserve: Option<f64>,
    queue: u32,
    max_wait: Option<Duration>,
    is_loss: bool,
    dry_run: bool,
}

#[derive(Arbitrary, Debug)]
struct Waits {
    target: Duration,
    interval: Duration,
    patience: [f64; 2],
    dry_run: bool,
}

#[derive(Arbitrary, Debug)]
struct Shared {
    permits: u32,
    per: Duration,
    burst: Option<u32>,
    handful: Option<u32>,
    keep_for: Option<Duration>,
    patience: Duration,
    refuses: bool,
    dry_run: bool,
}

#[derive(Arbitrary, Debug)]
struct Odds {
    rates: [f64; 4],
    delay_for: (Duration, Duration),
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// A call begins, so critical.
    Begin(u8),
    /// What was begun at this place ends, some way.
    End(u8, u8),
    /// Time passes, or not.
    Pass(Duration),
    /// The policy is told anew, or a signal is set.
    Force(f64),
}

fuzz_target!(|input: (Settings, Vec<Step>)| {
    let (settings, steps) = input;
    let steps = &steps[..steps.len().min(200)];
    let timer = ManualTimer::new();
    match settings {
        Settings::Adaptive(before, after) => {
            if let Ok(limit) = adaptive(&before).timer(timer.clone()).build() {
                drive_adaptive(&limit, &after, &timer, steps);
            }
        }
        Settings::Throttle([k, pad, most, aggression], min_requests, window, then) => {
            let rule = |[k, pad, most, aggression]: [f64; 4]| Throttle { k, pad, most, aggression, min_requests };
            let builder = ClientThrottle::builder().window(window).timer(timer.clone());
            let Ok(throttle) = builder.rule(rule([k, pad, most, aggression])).build() else { return };
            let again = || throttle.reconfigure(ClientThrottle::builder().window(window).rule(rule(then)));
            drive(&timer, steps, |_| drop(again()), || throttle.try_acquire(), |permit, class| permit.settle(class));
        }
        Settings::Admission([rate, aggression, least, most], window, then) => {
            let builder = |[rate, aggression, least, most]: [f64; 4]| {
                let builder = AdmissionControl::builder().success_rate(rate).aggression(aggression).window(window);
                builder.min_rate(least).most(most).cohort(Cohort::Correlation)
            };
            let built = builder([rate, aggression, least, most]).timer(timer.clone()).build();
            let Ok(control) = built else { return };
            let again = || control.reconfigure(builder(then));
            drive(&timer, steps, |_| drop(again()), || control.try_acquire(), |permit, class| permit.settle(class));
            let ratio = control.snapshot().ratio;
            assert!((0.0..=1.0).contains(&ratio), "{ratio}");
        }
        Settings::Queue(before, after) => {
            let builder = |waits: &Waits| {
                let builder = QueueShed::builder().target(waits.target).interval(waits.interval).dry_run(waits.dry_run);
                builder
                    .patience(Criticality::Sheddable, waits.patience[0])
                    .patience(Criticality::CriticalPlus, waits.patience[1])
            };
            let Ok(shed) = builder(&before).timer(timer.clone()).build() else { return };
            let waited = std::cell::Cell::new(Duration::ZERO);
            let force = |share: f64| {
                waited.set(Duration::try_from_secs_f64(share).unwrap_or(Duration::MAX));
                drop(shed.reconfigure(builder(&after)));
            };
            drive(&timer, steps, force, || shed.try_admit(waited.get()), |(), _| ());
            assert!((0.0..=1.0).contains(&shed.snapshot().ratio), "{:?}", shed.snapshot());
        }
        Settings::Signal([from, most], fresh_for, dry_run, then) => {
            let builder = |[from, most]: [f64; 2]| {
                SignalShed::builder().from(from).most(most).fresh_for(fresh_for).dry_run(dry_run)
            };
            let Ok(shed) = builder([from, most]).timer(timer.clone()).build() else { return };
            let force = |share| {
                shed.signal().set(share);
                drop(shed.reconfigure(builder(then)));
            };
            drive(&timer, steps, force, || shed.try_admit(), |(), _| ());
            assert!((0.0..=1.0).contains(&shed.snapshot().ratio), "{:?}", shed.snapshot());
        }
        Settings::Client { max_wait, dry_run, then } => {
            let builder = ClientRateLimiter::builder().max_wait(max_wait).dry_run(dry_run).timer(timer.clone());
            let limiter = builder.build().expect("any wait will do");
            let mut waiting = Vec::new();
            for step in steps {
                match step {
                    Step::Begin(_) => waiting.push(limiter.acquire()),
                    Step::End(at, _) if !waiting.is_empty() => {
                        let at = usize::from(*at) % waiting.len();
                        if (&mut waiting[at]).now_or_never().is_some() {
                            drop(waiting.swap_remove(at));
                        }
                    }
                    Step::End(_, how) => limiter.answered(how % 2 == 0),
                    Step::Pass(time) => timer.advance(*time),
                    Step::Force(_) => drop(limiter.reconfigure(ClientRateLimiter::builder().max_wait(then))),
                }
                assert!(limiter.rate().is_none_or(|rate| rate > 0.0 && rate.is_finite()), "{:?}", limiter.snapshot());
            }
        }
        Settings::Distributed(before, after) => {
            let store = LocalStore::with_timer(timer.clone());
            let Ok(limiter) = shared(&before, store.clone()).timer(timer.clone()).build() else { return };
            let again = || limiter.reconfigure(shared(&after, store.clone()));
            let ask = || limiter.acquire().now_or_never().unwrap_or(Ok(()));
            drive(&timer, steps, |_| drop(again()), ask, |(), _| ());
        }
        Settings::Chaos { faults: before, script, repeats, seed, then } => {
            let phases = script.iter().take(5).map(|(calls, time, odds)| match time {
                Some(time) => Phase::lasting(*time, faults(odds)),
                None => Phase::calls(*calls, faults(odds)),
            });
            let builder = chaos().faults(faults(&before)).seed(seed).script(phases, repeats).timer(timer.clone());
            let Ok(chaos) = builder.build() else { return };
            for step in steps {
                match step {
                    Step::Pass(time) => timer.advance(*time),
                    Step::Force(_) => drop(chaos.set_faults(faults(&then))),
                    Step::Begin(_) | Step::End(..) => drop(chaos.call(&(), async { Ok(()) }).now_or_never()),
                }
            }
        }
    }
});

fn adaptive(told: &Adaptive) -> AdaptiveLimitBuilder {
    let [first, second] = told.shares;
    let rule = match told.rule % 4 {
        0 => Rule::Aimd { backoff: first, timeout: told.timeout },
        1 => Rule::Vegas { smoothing: first, alpha: told.counts[0], beta: told.counts[1], halves: told.is_loss },
        2 => {
            let [queue, windows] = told.counts.map(|count| count.unwrap_or(4));
            Rule::Gradient2 { tolerance: first, queue, smoothing: second, windows }
        }
        _ => Rule::GRADIENT2,
    };
    let mut builder = AdaptiveLimit::builder().rule(rule).queue(told.queue).dry_run(told.dry_run);
    builder = builder.abandoned(if told.is_loss { Abandoned::Loss } else { Abandoned::Ignore });
    let [initial, min, max, samples] = told.bounds;
    if let Some(initial) = initial {
        builder = builder.initial(initial);
    }
    if let Some(min) = min {
        builder = builder.min(min);
    }
    if let Some(max) = max {
        builder = builder.max(max);
    }
    if let Some(samples) = samples {
        builder = builder.samples(samples).window(told.window.0, told.window.1);
    }
    if let Some(share) = told.percentile {
        builder = builder.figure(Figure::Percentile(share));
    }
    if let Some(share) = told.reserve {
        builder = builder.reserve(Criticality::Critical, share);
    }
    match told.max_wait {
        Some(wait) => builder.max_wait(wait),
        None => builder,
    }
}

fn drive_adaptive(limit: &AdaptiveLimit, after: &Adaptive, timer: &ManualTimer, steps: &[Step]) {
    let (mut permits, mut waiting) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Begin(level) => {
                let mut acquire = Box::pin(context(*level).scope(limit.acquire()));
                match acquire.as_mut().now_or_never() {
                    Some(result) => permits.extend(result),
                    None => waiting.push(acquire),
                }
            }
            Step::End(at, how) if !permits.is_empty() => {
                let permit = permits.swap_remove(usize::from(*at) % permits.len());
                if how % 5 != 0 {
                    permit.settle(class(*how));
                }
            }
            Step::End(at, _) if !waiting.is_empty() => {
                let mut acquire = waiting.swap_remove(usize::from(*at) % waiting.len());
                permits.extend(acquire.as_mut().now_or_never().and_then(Result::ok));
            }
            Step::End(..) => {}
            Step::Pass(time) => timer.advance(*time),
            Step::Force(_) => drop(limit.reconfigure(adaptive(after).timer(timer.clone()))),
        }
        assert!(limit.snapshot().limit > 0, "{:?}", limit.snapshot());
    }
    drop((permits, waiting));
    let seen = limit.snapshot();
    assert_eq!((seen.in_flight, seen.queued), (0, 0), "something was not given back");
}

fn shared<S: resilience_core::rate_limit::PermitStore>(
    told: &Shared,
    store: S,
) -> resilience_core::rate_limit::distributed::DistributedRateLimiterBuilder<S> {
    let mut builder = DistributedRateLimiter::builder(store).quota(told.permits, told.per).patience(told.patience);
    builder = builder.dry_run(told.dry_run);
    builder = builder.when_unavailable(if told.refuses { WhenUnavailable::Refuse } else { WhenUnavailable::Admit });
    if let Some(burst) = told.burst {
        builder = builder.burst(burst);
    }
    if let Some(handful) = told.handful {
        builder = builder.handful(handful);
    }
    match told.keep_for {
        Some(time) => builder.keep_for(time),
        None => builder,
    }
}

fn chaos() -> ChaosBuilder<(), (), ()> {
    Chaos::builder().error(|()| ()).response(|()| ()).behaviour(|()| async {})
}

fn faults(odds: &Odds) -> Faults {
    let [delay, error, response, behaviour] = odds.rates;
    Faults { delay, delay_for: odds.delay_for, error, response, behaviour }
}

fn class(of: u8) -> Class {
    [Class::Success, Class::Failure, Class::Slow, Class::Ignore][usize::from(of % 4)]
}

fn context(level: u8) -> Context {
    let levels = [Criticality::Sheddable, Criticality::SheddablePlus, Criticality::Critical, Criticality::CriticalPlus];
    Context::new().with_criticality(levels[usize::from(level % 4)])
}

/// Calls that a policy lets in or refuses at once.
fn drive<P, E>(
    timer: &ManualTimer,
    steps: &[Step],
    mut force: impl FnMut(f64),
    ask: impl Fn() -> Result<P, E>,
    settle: impl Fn(P, Class),
) {
    let mut permits = Vec::new();
    for step in steps {
        match step {
            Step::Begin(level) => permits.extend(context(*level).run(&ask)),
            Step::End(at, how) if !permits.is_empty() => {
                let permit = permits.swap_remove(usize::from(*at) % permits.len());
                // One in five is given up.
                if how % 5 != 0 {
                    settle(permit, class(*how));
                }
            }
            Step::End(..) => {}
            Step::Pass(time) => timer.advance(*time),
            Step::Force(share) => force(*share),
        }
    }
}
