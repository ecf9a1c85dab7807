//! One variant of a scenario, from the first arrival to the last answer.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failsafe::clock::{MockClock, freeze};
use resilience_core::context::{Context, Criticality};
use resilience_core::rng::Rng;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tower::ServiceExt;

use super::distribution::exponential;
use super::{Call, Clock, Failure, Seen, Station};
use crate::scenario::{self, Load, Scenario, Time, Variant};
use crate::stack::{self, Problem, Stack};

/// What became of a variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Every call of every load, in the order in which they ended.
    pub outcomes: Vec<Outcome>,
    /// What the stations saw, in the scenario's order.
    pub stations: Vec<Seen>,
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Its load.
    pub load: usize,
    /// Its number in its load.
    pub id: u64,
    /// What it asked for.
    pub key: u64,
    /// When it came.
    pub arrived: Duration,
    /// How long its caller was busy with it.
    pub took: Duration,
    /// How it ended.
    pub end: End,
}

/// How a call ended for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With an answer.
    Answered,
    /// The stack refused it.
    Refused,
    /// The stack gave up waiting.
    TimedOut,
    /// The server's error came through.
    Failed,
    /// The caller's patience ended first.
    Left,
}

/// Runs one variant in a runtime of its own.
///
/// # Errors
///
/// If one of the variant's layers cannot be built from its settings.
pub fn run(scenario: &Scenario, variant: &Variant) -> Result<Run, Problem> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time();
    if variant.time == Time::Virtual {
        builder.start_paused(true);
    }
    let runtime = builder.build().map_err(|error| Problem::new("runtime", error))?;
    if variant.time == Time::Wall {
        return runtime.block_on(LocalSet::new().run_until(experiment(scenario, variant)));
    }
    // failsafe has a clock of its own that can be set by hand, for this thread and the time of a call. It is set to
    // tokio's whenever anything is about to run; paused time moves only when nothing is.
    freeze(|mock| {
        let local = LocalSet::new();
        runtime.block_on(async move {
            let mut work = pin!(local.run_until(experiment(scenario, variant)));
            let clock = Clock::start();
            let mut shown = Duration::ZERO;
            std::future::poll_fn(|cx| {
                follow(mock, &mut shown, clock.now());
                work.as_mut().poll(cx)
            })
            .await
        })
    })
}

fn follow(mock: &mut MockClock, shown: &mut Duration, now: Duration) {
    mock.advance(now.saturating_sub(*shown));
    *shown = now;
}

async fn experiment(scenario: &Scenario, variant: &Variant) -> Result<Run, Problem> {
    let clock = Clock::start();
    let mut seeds = Rng::seeded(scenario.seed);
    // In this order, whatever the variant: all of them meet the same arrivals.
    let arrivals: Vec<_> = scenario.load.iter().map(|_| seeds.fork()).collect();
    let station = |spec: &scenario::Station| {
        let mut spec = spec.clone();
        if !variant.faults {
            spec.fault.clear();
        }
        Station::new(spec, clock, seeds.next_u64())
    };
    let stations: Vec<_> = scenario.station.iter().map(station).collect();
    for station in &stations {
        station.change_shifts();
        station.antagonise(&mut seeds);
    }
    let stacks = stack::build(variant, &stations, clock, &mut seeds)?;
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let slots = scenario.process.as_ref().map(|process| Arc::new(Semaphore::new(process.slots)));
    let mut patience = Duration::ZERO;
    let mut drivers = Vec::new();
    for ((index, load), rng) in scenario.load.iter().enumerate().zip(arrivals) {
        let stack = scenario.station(&load.station).and_then(|at| stacks.get(at).cloned());
        let stack = stack.ok_or_else(|| Problem::new(&load.name, "calls nobody"))?;
        patience = patience.max(load.patience.0);
        let driver = Driver {
            index,
            load: load.clone(),
            rate: load.rate * variant.rate_factor,
            // Longer than is looked at, so that the last callers who count are not alone with the server.
            end: scenario.duration.0 + load.patience.0,
            stack,
            slots: slots.clone(),
            clock,
            rng,
            outcomes: outcomes.clone(),
        };
        drivers.push(tokio::task::spawn_local(driver.drive()));
    }
    let mut sent = 0;
    for driver in drivers {
        sent += driver.await.map_err(|error| Problem::new("arrivals", error))?;
    }
    // Nobody stays longer.
    clock.sleep_until(scenario.duration.0 + 2 * patience + Duration::from_secs(1)).await;
    let outcomes = std::mem::take(&mut *outcomes.lock().unwrap_or_else(PoisonError::into_inner));
    if outcomes.len() != sent {
        // A task that panics takes its caller with it, who would count as nobody.
        let why = format!("{} of {sent} callers were never told anything: a layer panicked", sent - outcomes.len());
        return Err(Problem::new(&variant.name, why));
    }
    Ok(Run { outcomes, stations: stations.iter().map(Station::seen).collect() })
}

/// The callers of one load: they come whether or not those before them were served.
struct Driver {
    index: usize,
    load: Load,
    rate: f64,
    end: Duration,
    stack: Stack,
    slots: Option<Arc<Semaphore>>,
    clock: Clock,
    rng: Rng,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
}

impl Driver {
    /// How many came.
    async fn drive(mut self) -> usize {
        let mut sent = 0;
        // Drawn at the highest rate and thinned where it is lower, so that the process is exact where the rate changes.
        let highest = self.load.surge.iter().map(|surge| surge.factor).fold(1.0, f64::max);
        let gap = Duration::from_secs_f64(1.0 / (self.rate * highest));
        let mut at = Duration::ZERO;
        for id in 0.. {
            at += exponential(gap, &mut self.rng);
            if at >= self.end {
                break;
            }
            let (keep, key) = (self.rng.unit(), self.rng.below(self.load.keys.max(1)));
            let factor = self.load.surge.iter().filter(|surge| surge.from.0 <= at && at < surge.to.0);
            let factor = factor.map(|surge| surge.factor).fold(1.0, |_, factor| factor);
            if keep * highest < factor {
                self.clock.sleep_until(at).await;
                self.send(Call { load: self.index, id, key, items: 1, sent: Arc::default() });
                sent += 1;
            }
        }
        sent
    }

    fn send(&self, call: Call) {
        let (clock, patience) = (self.clock, self.load.patience.0);
        let (stack, slots, outcomes) = (self.stack.clone(), self.slots.clone(), self.outcomes.clone());
        let context = Context::new().with_criticality(Criticality::from(self.load.criticality));
        let Call { load, id, key, .. } = call;
        drop(tokio::task::spawn_local(async move {
            let arrived = clock.now();
            let answer = context.scope(async move {
                let _slot = match slots {
                    Some(slots) => slots.acquire_owned().await.ok(),
                    None => None,
                };
                stack.oneshot(call).await
            });
            let end = match clock.until(arrived + patience, answer).await {
                None => End::Left,
                Some(Ok(_)) => End::Answered,
                Some(Err(failure)) => End::from(&failure),
            };
            let outcome = Outcome { load, id, key, arrived, took: clock.now() - arrived, end };
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
        }));
    }
}

impl From<&Failure> for End {
    fn from(failure: &Failure) -> Self {
        if failure.is_refused() {
            Self::Refused
        } else if failure.is_late() {
            Self::TimedOut
        } else {
            Self::Failed
        }
    }
}
