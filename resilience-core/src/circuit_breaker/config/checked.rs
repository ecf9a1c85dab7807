//! A configuration that can work.

use std::time::Duration;

use super::{Abandoned, CircuitBreakerBuilder};
use crate::circuit_breaker::exact::{self, Evaluate, Ignored, Late};
use crate::circuit_breaker::machine::{Ramp, Rules};
use crate::circuit_breaker::shards;
use crate::circuit_breaker::wait::Waits;
use crate::circuit_breaker::word::MOST_CONSECUTIVE;
use crate::event::Listeners;
use crate::rng::SharedRng;
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// The calls a rate is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WindowKind {
    Time(Duration),
    Count(u32),
}

/// What opens the circuit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trip {
    Consecutive(u32),
    Rate { ratio: f64, minimum: u64 },
}

/// What a breaker is made from.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) name: Name,
    pub(crate) trip: Trip,
    pub(crate) window: WindowKind,
    /// Threshold, rate, and the least number of calls.
    pub(crate) slow: Option<(Duration, f64, u64)>,
    pub(crate) rules: Rules,
    pub(crate) abandoned: Abandoned,
    pub(crate) evaluate: Evaluate,
    pub(crate) late: Late,
    pub(crate) ignored: Ignored,
    pub(crate) exact: Option<exact::Options>,
    pub(crate) dry_run: bool,
    /// Whether there may be a user's rule of waits among the rules, now or later.
    pub(crate) asks_user: bool,
    /// For how many threads at once there are cells of their own.
    pub(crate) shards: usize,
    /// Whether threads may keep a share; see [`held`](crate::held).
    pub(crate) is_kept: bool,
    pub(crate) rng: SharedRng,
    pub(crate) timer: SharedTimer,
    pub(crate) listeners: Listeners,
}

/// The largest count window: 128 KiB of bits.
const MOST_CALLS: u32 = 1 << 20;

/// The longest wait if nothing else is said.
const AT_MOST: Duration = Duration::from_secs(60);

impl CircuitBreakerBuilder {
    pub(in crate::circuit_breaker) fn checked(self) -> Result<Config, ConfigError> {
        let trip = self.trip()?;
        let rules = self.rules()?;
        let slow = self.slow()?;
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("circuit_breaker", &self.name);
        Ok(Config {
            name: self.name,
            trip,
            window: self.window,
            slow,
            rules,
            abandoned: self.abandoned,
            evaluate: self.evaluate,
            late: self.late,
            ignored: self.ignored,
            exact: self.exact,
            dry_run: self.dry_run,
            asks_user: self.generator.is_some(),
            shards: shards::count(),
            is_kept: true,
            rng: self.seed.map_or_else(SharedRng::from_entropy, SharedRng::seeded),
            timer,
            listeners,
        })
    }

    fn trip(&self) -> Result<Trip, ConfigError> {
        match self.consecutive {
            Some(0) => Err(ConfigError::new("consecutive_failures", "must be above zero")),
            Some(failures) if failures > MOST_CONSECUTIVE => {
                Err(ConfigError::new("consecutive_failures", "must be at most 16,383"))
            }
            Some(failures) => Ok(Trip::Consecutive(failures)),
            None => {
                ratio("failure_rate", self.rate)?;
                Ok(Trip::Rate { ratio: self.rate, minimum: self.minimum()? })
            }
        }
    }

    /// The least number of calls, once the window is known to be one.
    fn minimum(&self) -> Result<u64, ConfigError> {
        let most = match self.window {
            WindowKind::Time(window) if window < Duration::from_millis(1) => {
                return Err(ConfigError::new("window", "must be at least 1 ms"));
            }
            WindowKind::Time(_) => u32::MAX,
            WindowKind::Count(0) => return Err(ConfigError::new("count_window", "must be above zero")),
            WindowKind::Count(calls) if calls > MOST_CALLS => {
                return Err(ConfigError::new("count_window", "must be at most 1,048,576"));
            }
            WindowKind::Count(calls) => calls,
        };
        match self.minimum {
            0 => Err(ConfigError::new("minimum_calls", "must be above zero")),
            // A window that holds fewer would never be judged.
            minimum => Ok(minimum.min(most).into()),
        }
    }

    fn slow(&self) -> Result<Option<(Duration, f64, u64)>, ConfigError> {
        let Some((threshold, rate)) = self.slow else { return Ok(None) };
        if threshold < Duration::from_micros(1) {
            return Err(ConfigError::new("slow_calls", "must have a threshold of at least 1 us"));
        }
        ratio("slow_calls", rate)?;
        Ok(Some((threshold, rate, self.minimum()?)))
    }

    fn rules(&self) -> Result<Rules, ConfigError> {
        ratio("probe_failure_rate", self.probe_failure_rate)?;
        if self.probes == 0 {
            return Err(ConfigError::new("probes", "must be above zero"));
        }
        if self.probes > u32::MAX / 4 {
            return Err(ConfigError::new("probes", "must be at most 1,073,741,823"));
        }
        if self.half_open_for.is_zero() {
            return Err(ConfigError::new("half_open_for", "must be above zero"));
        }
        let failed_probes = match self.probe_successes {
            Some(successes) if successes == 0 || successes > self.probes => {
                return Err(ConfigError::new("probe_successes", "must be above zero and at most `probes`"));
            }
            Some(successes) => self.probes - successes + 1,
            // At least one: a rate so low that a fraction of a probe would do means the first failure.
            None => (f64::from(self.probes) * self.probe_failure_rate).ceil().max(1.0) as u32,
        };
        Ok(Rules {
            waits: self.waits()?,
            probes: self.probes,
            failed_probes,
            failure_rate: self.probe_failure_rate,
            half_open_for: self.half_open_for,
            undecided: self.undecided,
            ramp: self.stages()?,
        })
    }

    fn waits(&self) -> Result<Waits, ConfigError> {
        if self.open_for.is_zero() {
            return Err(ConfigError::new("open_for", "must be above zero"));
        }
        if !(self.open_factor >= 1.0 && self.open_factor.is_finite()) {
            return Err(ConfigError::new("open_factor", "must be at least 1"));
        }
        if !(self.open_jitter >= 0.0 && self.open_jitter <= 1.0) {
            return Err(ConfigError::new("open_jitter", "must be between 0 and 1"));
        }
        let at_most = self.open_at_most.unwrap_or_else(|| AT_MOST.max(self.open_for));
        if at_most < self.open_for {
            return Err(ConfigError::new("open_at_most", "must not be below `open_for`"));
        }
        Ok(Waits {
            base: self.open_for,
            factor: self.open_factor,
            at_most,
            jitter: self.open_jitter,
            hints: self.hints,
            generator: self.generator.clone(),
        })
    }

    fn stages(&self) -> Result<Ramp, ConfigError> {
        for share in &*self.ramp {
            ratio("ramp", *share)?;
        }
        if !self.ramp.is_sorted() {
            return Err(ConfigError::new("ramp", "must not fall"));
        }
        if self.ramp_stage.is_zero() {
            return Err(ConfigError::new("ramp", "must have stages above zero"));
        }
        Ok(Ramp { shares: self.ramp.clone(), stage: self.ramp_stage })
    }
}

fn ratio(field: &'static str, ratio: f64) -> Result<(), ConfigError> {
    // Written so that NaN is refused too.
    if ratio > 0.0 && ratio <= 1.0 { Ok(()) } else { Err(ConfigError::new(field, "must be above 0 and at most 1")) }
}
