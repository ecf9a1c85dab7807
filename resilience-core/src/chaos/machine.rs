//! Which call meets which fault: from the seed, the number of the call, and the phase of the script.

use std::time::Duration;

use super::event::Kind;
use crate::ConfigError;
use crate::rng::Rng;
use crate::time::Timestamp;

/// How likely each fault is, from 0 to 1.
///
/// A call may be delayed, and may meet one of the others. Of those it meets at most one, so they add up to no more than 1. A
/// disturbance comes before the delay, an error or an answer after it.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::chaos::Faults;
///
/// let bad_day = Faults { error: 0.3, ..Faults::slow(0.5, Duration::from_millis(200)) };
/// assert_eq!((bad_day.error, bad_day.delay), (0.3, 0.5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(all(feature = "serde", not(loom)), derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(all(feature = "serde", not(loom)), serde(default, deny_unknown_fields))]
pub struct Faults {
    /// A delay before the call.
    pub delay: f64,
    /// How long a delay is: at least and at most, drawn evenly between.
    #[cfg_attr(all(feature = "serde", not(loom)), serde(with = "spans"))]
    pub delay_for: (Duration, Duration),
    /// An error instead of the call.
    pub error: f64,
    /// An answer instead of the call.
    pub response: f64,
    /// A disturbance before the delay and the call.
    pub behaviour: f64,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self =
        Self { delay: 0.0, delay_for: (Duration::ZERO, Duration::ZERO), error: 0.0, response: 0.0, behaviour: 0.0 };

    /// Every call fails.
    pub const OUTAGE: Self = Self { error: 1.0, ..Self::NONE };

    /// A share of the calls is delayed by so much.
    pub const fn slow(share: f64, by: Duration) -> Self {
        Self { delay: share, delay_for: (by, by), ..Self::NONE }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (field, rate) in
            [("delay", self.delay), ("error", self.error), ("response", self.response), ("behaviour", self.behaviour)]
        {
            // NaN is in no range.
            if !(0.0..=1.0).contains(&rate) {
                return Err(ConfigError::new(field, "must be between 0 and 1"));
            }
        }
        // The sum of rates that make one together may miss it by a bit.
        if self.error + self.response + self.behaviour > 1.0 + f64::EPSILON * 4.0 {
            return Err(ConfigError::new("faults", "must not add up to more than 1"));
        }
        if self.delay_for.0 > self.delay_for.1 {
            return Err(ConfigError::new("delay_for", "must not have its least above its most"));
        }
        Ok(())
    }

    /// Whether one of them needs to be made, and is possible.
    pub(super) const fn needs(&self, kind: Kind) -> bool {
        match kind {
            Kind::Delay => self.delay > 0.0,
            Kind::Error => self.error > 0.0,
            Kind::Response => self.response > 0.0,
            Kind::Behaviour => self.behaviour > 0.0,
        }
    }

    /// What the call of this number meets. The same for the same seed.
    ///
    /// ```
    /// use resilience_core::chaos::Faults;
    ///
    /// let half = Faults { error: 0.5, ..Faults::NONE };
    /// let failed = |seed| (0..1000).filter(|call| half.decide(seed, *call).fault.is_some()).count();
    /// assert_eq!(failed(7), failed(7));
    /// assert!((450..550).contains(&failed(7)));
    /// ```
    pub fn decide(&self, seed: u64, call: u64) -> Decision {
        // A generator for each call, so that what one call draws does not depend on how many there are at once.
        let mut rng = Rng::seeded(Rng::seeded(seed ^ call.wrapping_mul(0x9E37_79B9_7F4A_7C15)).next_u64());
        let (is_delayed, how_long, which) = (rng.unit() < self.delay, rng.unit(), rng.unit());
        let (least, most) = self.delay_for;
        let delay = is_delayed.then(|| least.saturating_add((most - least).mul_f64(how_long).min(most - least)));
        let fault = if which < self.error {
            Some(Kind::Error)
        } else if which < self.error + self.response {
            Some(Kind::Response)
        } else if which < self.error + self.response + self.behaviour {
            Some(Kind::Behaviour)
        } else {
            None
        };
        Decision { delay, fault }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::NONE
    }
}

/// What one call meets: a disturbance, then the delay, and then an error, an answer or the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// A delay, after the disturbance if there is one.
    pub delay: Option<Duration>,
    /// A disturbance before it, or an error or an answer instead of the call.
    pub fault: Option<Kind>,
}

/// A piece of a script.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    faults: Faults,
    calls: u64,
    time: Duration,
}

impl Phase {
    /// These faults for so many calls.
    pub const fn calls(calls: u64, faults: Faults) -> Self {
        Self { faults, calls, time: Duration::MAX }
    }

    /// These faults for so long.
    pub const fn lasting(time: Duration, faults: Faults) -> Self {
        Self { faults, calls: u64::MAX, time }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.calls == 0 || self.time.is_zero() {
            return Err(ConfigError::new("script", "must have phases above zero"));
        }
        self.faults.check()
    }

    pub(super) const fn faults(&self) -> &Faults {
        &self.faults
    }
}

/// Where a script stands.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::chaos::{Faults, Phase, Script};
/// use resilience_core::time::Timestamp;
///
/// let outage = Phase::lasting(Duration::from_secs(60), Faults::OUTAGE);
/// let mut script = Script::new([Phase::calls(10, Faults::NONE), outage], false);
/// let start = Timestamp::ORIGIN;
/// assert!((0..10).all(|_| script.faults(start) == Some(Faults::NONE)));
/// assert_eq!(script.faults(start), Some(Faults::OUTAGE));
/// assert_eq!(script.faults(start + Duration::from_secs(60)), None); // it is over
/// ```
#[derive(Clone, Debug)]
pub struct Script {
    phases: Vec<Phase>,
    repeats: bool,
    at: usize,
    /// Calls of the present phase, and when it began: with the first call, or when the one before was over.
    calls: u64,
    began: Option<Timestamp>,
}

impl Script {
    /// A script at its beginning, that begins anew when it is over or does not.
    pub fn new(phases: impl IntoIterator<Item = Phase>, repeats: bool) -> Self {
        Self { phases: phases.into_iter().collect(), repeats, at: 0, calls: 0, began: None }
    }

    /// Whether it is made of the same phases, wherever it stands.
    pub(super) fn is_made_as(&self, other: &Self) -> bool {
        self.phases == other.phases && self.repeats == other.repeats
    }

    /// The faults of a call made at `now`; `None` when the script is over. Counts the call.
    pub fn faults(&mut self, now: Timestamp) -> Option<Faults> {
        if self.phases.is_empty() {
            return None;
        }
        let mut began = *self.began.get_or_insert(now);
        loop {
            began = self.rounds_over(began, now);
            let phase = *self.phases.get(self.at)?;
            // Not by the time at which it ends: on a clock at its end, every phase would have ended already.
            let is_time_up = now.since(began) >= phase.time;
            if self.calls < phase.calls && !is_time_up {
                self.calls += 1;
                self.began = Some(began);
                return Some(phase.faults);
            }
            // A phase of calls ends when the next call comes, one of time when its time is up, noticed or not.
            began = if is_time_up { began + phase.time } else { now };
            (self.at, self.calls, self.began) = (self.at + 1, 0, Some(began));
            if self.at == self.phases.len() && self.repeats {
                self.at = 0;
            }
        }
    }

    /// When the present phase began in the present round: after a long silence, a script of times alone is not played
    /// through round by round.
    fn rounds_over(&self, began: Timestamp, now: Timestamp) -> Timestamp {
        if !self.repeats {
            return began;
        }
        let round = self.phases.iter().fold(Duration::ZERO, |sum, phase| sum.saturating_add(phase.time));
        let rounds = (now - began).as_nanos() / round.as_nanos().max(1);
        began + Duration::from_nanos(u64::try_from(rounds * round.as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(all(feature = "serde", not(loom)))]
mod spans {
    //! Two spans with units, as in the other settings.

    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::config::Span;

    pub(super) fn serialize<S: Serializer>(spans: &(Duration, Duration), to: S) -> Result<S::Ok, S::Error> {
        (Span(spans.0), Span(spans.1)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<(Duration, Duration), D::Error> {
        let (least, most) = <(Span, Span)>::deserialize(from)?;
        Ok((least.0, most.0))
    }
}
