//! Faults on purpose, as data.

use serde::{Deserialize, Serialize};

use super::policies::set;
use super::{PolicyConfig, Problem, Span, Template};
use crate::ConfigError;
use crate::chaos::{Chaos, ChaosBuilder, Faults, Phase};
use crate::time::ManualTimer;

/// A [`Chaos`] as data: which faults, how often, and whether at all. How they are made says the program:
/// [`Template::build`].
///
/// It is off unless `enabled` says otherwise: that a file names faults is not to mean that they happen.
///
/// ```
/// # #[cfg(all(feature = "toml", feature = "tokio"))] {
/// use resilience_core::config::ChaosConfig;
///
/// let config: ChaosConfig = toml::from_str(r#"
///     enabled = true
///     faults = { error = 0.01, delay = 0.05, delay_for = ["50ms", "200ms"] }
///     script = [{ calls = 1000 }, { lasting = "30s", faults = { error = 1.0 } }]
/// "#)?;
/// let chaos = config.builder::<u32, String, &str>().error(|_| "injected").build()?;
/// assert!(chaos.snapshot().enabled);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ChaosConfig {
    /// Whether it is on. Unless set, it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How likely which fault is; when there is a script, after it.
    #[serde(skip_serializing_if = "is_none")]
    pub faults: Faults,
    /// Phases to be played one after the other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub script: Vec<PhaseConfig>,
    /// Whether the script begins anew when it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<bool>,
    /// What the faults are drawn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Whether faults are only told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// A [`Phase`] as data: for so many calls, or lasting for so long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PhaseConfig {
    /// For so many calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// For so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lasting: Option<Span>,
    /// How likely which fault is.
    #[serde(skip_serializing_if = "is_none")]
    pub faults: Faults,
}

/// To the bit, so that what is read again is what was written.
fn is_none(faults: &Faults) -> bool {
    let rates = [faults.delay, faults.error, faults.response, faults.behaviour];
    rates.iter().all(|rate| rate.to_bits() == 0) && faults.delay_for == Faults::NONE.delay_for
}

impl From<PhaseConfig> for Phase {
    /// One that says neither or both has no length, which the builder refuses.
    fn from(config: PhaseConfig) -> Self {
        match (config.calls, config.lasting) {
            (Some(calls), None) => Self::calls(calls, config.faults),
            (None, Some(time)) => Self::lasting(time.0, config.faults),
            (None, None) | (Some(_), Some(_)) => Self::calls(0, config.faults),
        }
    }
}

impl ChaosConfig {
    /// A builder with these settings.
    pub fn builder<Req, Res, E>(&self) -> ChaosBuilder<Req, Res, E> {
        let mut builder = Chaos::builder().enabled(self.is_on()).faults(self.faults);
        if !self.script.is_empty() {
            let phases = self.script.iter().map(|phase| Phase::from(*phase));
            builder = builder.script(phases, self.repeats.unwrap_or(false));
        }
        set!(builder, self.seed => seed, self.dry_run => dry_run);
        builder
    }

    /// Whether calls may meet a fault.
    pub(super) fn is_on(&self) -> bool {
        self.enabled.unwrap_or(false)
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let check = |faults: Faults| {
            let any = Chaos::<(), (), ()>::builder().error(|()| ()).response(|()| ()).behaviour(|()| async {});
            any.faults(faults).timer(ManualTimer::new()).build().map(drop)
        };
        check(self.faults).map_err(|error| match error.field() {
            "faults" => error.into(),
            _ => Problem::from(error).under("faults"),
        })?;
        for (phase, number) in self.script.iter().zip(1..) {
            let wrong = |rule: String| Problem::new("script", format!("phase {number} {rule}"));
            if phase.calls.is_some() == phase.lasting.is_some() {
                return Err(wrong("must say either `calls` or `lasting`".to_owned()));
            }
            if phase.calls == Some(0) || phase.lasting.is_some_and(|time| time.0.is_zero()) {
                return Err(wrong("must be longer than nothing".to_owned()));
            }
            check(phase.faults).map_err(|error| wrong(format!("has a wrong figure: {error}")))?;
        }
        Ok(())
    }

    /// All faults that are named.
    fn all_faults(&self) -> impl Iterator<Item = &Faults> {
        std::iter::once(&self.faults).chain(self.script.iter().map(|phase| &phase.faults))
    }
}

impl Template<ChaosConfig> {
    /// Builds the policy for requests `Req`, answers `Res` and errors `E`. `set` says how faults are made, and which
    /// requests are meant.
    ///
    /// # Errors
    ///
    /// For faults in the file that `set` does not say how to make, or without a timer (without the feature `tokio`).
    pub fn build<Req: 'static, Res: 'static, E: 'static>(
        &self,
        set: impl FnOnce(ChaosBuilder<Req, Res, E>) -> ChaosBuilder<Req, Res, E>,
    ) -> Result<Chaos<Req, Res, E>, ConfigError> {
        let config = self.config();
        let chaos = super::pipeline::furnish!(set(config.builder()), self.name().clone(), self.setup()).build()?;
        let can_make = chaos.can_make();
        let accepts = move |config: &ChaosConfig| {
            config.all_faults().try_for_each(&can_make).map_err(|error| Problem::from(error).under("faults"))
        };
        self.adopt(&config, &chaos, Box::new(accepts), PolicyConfig::Chaos)?;
        Ok(chaos)
    }
}
