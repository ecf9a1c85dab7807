//! What makes, keeps, joins and replaces calls: whatever a builder is told, it says yes or names a field; and whatever a
//! built policy goes through, and is told anew on the way, it neither panics nor keeps anything.
#![no_main]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use arbitrary::Arbitrary;
use futures::FutureExt;
use libfuzzer_sys::fuzz_target;
use resilience_core::batch::{Batch, Unanswered};
use resilience_core::cache::{Cache, Ttl};
use resilience_core::circuit_breaker::{Abandoned, CircuitBreaker};
use resilience_core::fallback::Fallback;
use resilience_core::hedge::{Delay, Hedge, Quantile};
use resilience_core::time::ManualTimer;
use resilience_core::{Class, Error};

#[derive(Arbitrary, Debug)]
enum Settings {
    Hedge(Hedged, Hedged),
    Fallback { replaces: [bool; 3], dry_run: bool },
    Batch(Joined, Joined),
    Cache(Kept, Kept),
    Keyed { keys: usize, failures: u32, open: [Duration; 2], factor: f64, jitter: f64, ramp: Vec<f64>, stage: Duration },
}

#[derive(Arbitrary, Debug)]
struct Hedged {
    attempts: Option<u32>,
    kind: u8,
    delays: Vec<Duration>,
    quantile: f64,
    counts: [u32; 2],
    bounds: [Duration; 3],
    dry_run: bool,
}

#[derive(Arbitrary, Debug)]
struct Joined {
    size: usize,
    weight: u64,
    delay: Duration,
    limit: u32,
    dry_run: bool,
}

#[derive(Arbitrary, Debug)]
struct Kept {
    capacity: u64,
    ttl: [Duration; 3],
    jitter: f64,
    pause: Duration,
    dry_run: bool,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// A call begins, for this key.
    Begin(u8),
    /// The call at this place is polled.
    Poll(u8),
    /// The call at this place is given up.
    Leave(u8),
    /// Backends answer from now on: not at all, with an error, or well.
    Answer(u8),
    /// Time passes, or not.
    Pass(Duration),
    /// The policy is told anew, or what it keeps is declared wrong.
    Force(u8),
}

type Failure = Error<Down>;

#[derive(Clone, Debug)]
struct Down;

impl From<Unanswered> for Down {
    fn from(_: Unanswered) -> Self {
        Self
    }
}

/// Answers as it is told at the time it is polled.
#[derive(Clone, Default)]
struct Backend(Rc<RefCell<u8>>);

impl Backend {
    async fn call<T>(self, value: T) -> Result<T, Failure> {
        let mut value = Some(value);
        std::future::poll_fn(move |_| match *self.0.borrow() % 3 {
            0 => std::task::Poll::Pending,
            1 => std::task::Poll::Ready(Err(Error::Service(Down))),
            _ => std::task::Poll::Ready(Ok(value.take().expect("polled once it is ready"))),
        })
        .await
    }
}

fuzz_target!(|input: (Settings, Vec<Step>)| {
    let (settings, steps) = input;
    let steps = &steps[..steps.len().min(200)];
    let (timer, backend) = (ManualTimer::new(), Backend::default());
    match settings {
        Settings::Hedge(before, after) => {
            let Ok(hedge) = hedged(&before).timer(timer.clone()).build() else { return };
            let begin = |_| {
                let backend = backend.clone();
                hedge.run(move |attempt| backend.clone().call(attempt))
            };
            drive(&timer, &backend, steps, begin, |_| drop(hedge.reconfigure(hedged(&after))));
            let _ = hedge.snapshot();
        }
        Settings::Fallback { replaces: [refusals, timeouts, failures], dry_run } => {
            let builder = || Fallback::builder().refusals(refusals).timeouts(timeouts).failures(failures);
            let Ok(fallback) = builder().dry_run(dry_run).timer(timer.clone()).build() else { return };
            let begin = |key| fallback.run_or(backend.clone().call(key), 0);
            drive(&timer, &backend, steps, begin, |_| drop(fallback.reconfigure(builder())));
        }
        Settings::Batch(before, after) => {
            let Ok(batch) = joined(&before).timer(timer.clone()).build() else { return };
            let answering = backend.clone();
            let squares = batch.over_groups(
                move |keys: Vec<u8>| {
                    // One answer too few for some.
                    let count = keys.len() - usize::from(keys.first() == Some(&7));
                    answering.clone().call(keys.into_iter().take(count).map(Ok).collect::<Vec<_>>())
                },
                |key: &u8| key % 2,
                |key: &u8| u64::from(*key) << (key % 64),
            );
            drive(&timer, &backend, steps, |key| squares.call(key), |_| drop(batch.reconfigure(joined(&after))));
            assert_eq!(batch.snapshot().waiting, 0, "something was not given back");
        }
        Settings::Cache(before, after) => {
            let Ok(cache) = kept(&before).timer(timer.clone()).build() else { return };
            let begin = |key: u8| {
                let backend = backend.clone();
                cache.get_or_load(key % 8, move || backend.call(key))
            };
            let force = |how: u8| match how % 4 {
                0 => drop(cache.reconfigure(kept(&after))),
                1 => drop(cache.invalidate(&(how % 8))),
                2 => drop(cache.purge()),
                _ => cache.insert(how % 8, how),
            };
            drive(&timer, &backend, steps, begin, force);
            assert_eq!(cache.snapshot().loading, 0, "something was not given back");
        }
        Settings::Keyed { keys, failures, open: [open_for, at_most], factor, jitter, ramp, stage } => {
            let builder = CircuitBreaker::builder().consecutive_failures(failures).max_keys(keys.min(1_000));
            let builder = builder.open_for(open_for).open_at_most(at_most).open_factor(factor).open_jitter(jitter);
            let mut builder = builder.abandoned(Abandoned::WhenNothingElse).timer(timer.clone());
            if !ramp.is_empty() {
                builder = builder.ramp(ramp, stage);
            }
            let Ok(breakers) = builder.build_keyed::<u8>() else { return };
            let mut permits = Vec::new();
            for step in steps {
                match step {
                    Step::Begin(key) => permits.extend(breakers.try_acquire(key)),
                    Step::Poll(at) if !permits.is_empty() => {
                        permits.swap_remove(usize::from(*at) % permits.len()).settle(Class::Failure);
                    }
                    Step::Leave(at) if !permits.is_empty() => {
                        drop(permits.swap_remove(usize::from(*at) % permits.len()));
                    }
                    Step::Answer(at) if !permits.is_empty() => {
                        permits.swap_remove(usize::from(*at) % permits.len()).settle(Class::Success);
                    }
                    Step::Pass(time) => timer.advance(*time),
                    Step::Force(key) => drop(breakers.get(key).map(|breaker| breaker.open_for(open_for))),
                    _ => {}
                }
                let _ = breakers.snapshot();
            }
        }
    }
});

fn hedged(told: &Hedged) -> resilience_core::hedge::HedgeBuilder {
    let [window, samples] = told.counts;
    let [before, least, most] = told.bounds;
    let delay = match told.kind % 3 {
        0 => Delay::Fixed(before),
        1 => Delay::Schedule(told.delays.iter().copied().take(12).collect()),
        // A window of a million is memory, and no other history.
        _ => {
            let before = Some(before).filter(|before| !before.is_zero());
            let window = window % 4_096;
            Delay::Quantile(Quantile { window, samples, before, least, most, ..Quantile::new(told.quantile) })
        }
    };
    let builder = Hedge::builder().delay(delay).dry_run(told.dry_run).unlimited();
    match told.attempts {
        Some(attempts) => builder.attempts(attempts),
        None => builder,
    }
}

fn joined(told: &Joined) -> resilience_core::batch::BatchBuilder {
    let Joined { size, weight, delay, limit, dry_run } = *told;
    Batch::builder().size(size).weight(weight).delay(delay).limit(limit).dry_run(dry_run)
}

fn kept(told: &Kept) -> resilience_core::cache::CacheBuilder<u8, u8, Failure> {
    let [fresh, revalidate, on_error] = told.ttl;
    let ttl = Ttl::fresh(fresh).stale_while_revalidate(revalidate).stale_if_error(on_error);
    let builder = Cache::builder().capacity(told.capacity).ttl(ttl).jitter(told.jitter);
    builder.pause_after_failure(told.pause).dry_run(told.dry_run).negative_ttl(move |_: &Failure| Some(revalidate))
}

/// Calls that come, wait, go on and are given up in any order.
fn drive<F: Future>(
    timer: &ManualTimer,
    backend: &Backend,
    steps: &[Step],
    begin: impl Fn(u8) -> F,
    force: impl Fn(u8),
) {
    let mut calls = Vec::new();
    for step in steps {
        match step {
            Step::Begin(key) => calls.push(Box::pin(begin(*key))),
            Step::Poll(at) if !calls.is_empty() => {
                let at = usize::from(*at) % calls.len();
                if calls[at].as_mut().now_or_never().is_some() {
                    drop(calls.swap_remove(at));
                }
            }
            Step::Leave(at) if !calls.is_empty() => drop(calls.swap_remove(usize::from(*at) % calls.len())),
            Step::Poll(_) | Step::Leave(_) => {}
            Step::Answer(how) => *backend.0.borrow_mut() = *how,
            Step::Pass(time) => timer.advance(*time),
            Step::Force(how) => force(*how),
        }
    }
}
