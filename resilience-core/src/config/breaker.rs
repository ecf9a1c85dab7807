//! The circuit breaker as data.

use serde::{Deserialize, Serialize};

use super::Span;
use super::policies::set;
use crate::circuit_breaker::exact::{Evaluate, Ignored, Late, Options, Target};
use crate::circuit_breaker::{Abandoned, CircuitBreaker, CircuitBreakerBuilder};

/// The settings of a breaker, which are those of each key's too.
macro_rules! settings {
    ($($(#[$doc:meta])* $field:ident: $setting:ty,)+) => {
        /// A [`CircuitBreaker`] as data.
        ///
        /// ```
        /// # #[cfg(feature = "toml")] {
        /// use resilience_core::config::CircuitBreakerConfig;
        ///
        /// let config: CircuitBreakerConfig = toml::from_str("consecutive_failures = 5\nopen_for = \"10s\"")?;
        /// let breaker = config.builder().name("stock").build()?;
        /// # let _ = breaker;
        /// # }
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[non_exhaustive]
        pub struct CircuitBreakerConfig {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$setting>,)+
        }

        /// A [`KeyedCircuitBreaker`](crate::circuit_breaker::KeyedCircuitBreaker) as data: the settings of each key's
        /// breaker, and of how many there may be. What its keys are says the program: [`Template::build`](super::Template::build).
        ///
        /// ```
        /// # #[cfg(all(feature = "toml", feature = "tokio"))] {
        /// use resilience_core::config::KeyedCircuitBreakerConfig;
        ///
        /// let config: KeyedCircuitBreakerConfig = toml::from_str("failure_rate = 0.3\nmax_keys = 1_000")?;
        /// let hosts = config.builder().name("crawler").build_keyed::<String>()?;
        /// assert_eq!(hosts.snapshot().max_keys, 1_000);
        /// # }
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[non_exhaustive]
        pub struct KeyedCircuitBreakerConfig {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$setting>,)+
            /// Breakers that may be kept at once.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub max_keys: Option<usize>,
        }

        impl From<CircuitBreakerConfig> for KeyedCircuitBreakerConfig {
            /// These for each key, and as many keys as the builder's default allows.
            fn from(each: CircuitBreakerConfig) -> Self {
                Self { $($field: each.$field,)+ max_keys: None }
            }
        }

        impl KeyedCircuitBreakerConfig {
            /// What each key's breaker is made from.
            pub(super) fn of_each(&self) -> CircuitBreakerConfig {
                CircuitBreakerConfig { $($field: self.$field.clone(),)+ }
            }
        }
    };
}

settings! {
    /// Opens after so many failures in a row, instead of by rate.
    consecutive_failures: u32,
    /// Opens when this share of the calls in the window failed.
    failure_rate: f64,
    /// How far back the rate looks.
    window: Span,
    /// Calls the window must hold before the rate means anything.
    minimum_calls: u32,
    /// How long the circuit stays open before it probes.
    open_for: Span,
    /// Calls a half-open circuit lets pass.
    probes: u32,
    /// The share of probes whose failure opens the circuit again.
    probe_failure_rate: f64,
    /// How long probes may take to decide.
    half_open_for: Span,
    /// What a call counts as whose caller gave it up.
    abandoned: AbandonedConfig,
    /// Looks at the last so many calls instead of at a time.
    count_window: u32,
    /// Opens too when too many calls are slow.
    slow_calls: SlowCallsConfig,
    /// After which answers the circuit is judged.
    evaluate: EvaluateConfig,
    /// What becomes of answers from before the last change of state.
    late: LateConfig,
    /// What an answer counts as that says nothing about the service.
    ignored: IgnoredConfig,
    /// By how much each wait is longer than the one before.
    open_factor: f64,
    /// The longest wait.
    open_at_most: Span,
    /// The share of each wait that is drawn at random.
    open_jitter: f64,
    /// Whether a server that says when to come back is believed.
    honour_hints: bool,
    /// How many of the probes must succeed.
    probe_successes: u32,
    /// Where undecided probes lead.
    undecided: UndecidedConfig,
    /// Lets the traffic come back by stages.
    ramp: RampConfig,
    /// The rules of another project's breaker, instead of all others.
    profile: ProfileConfig,
    /// Tries it out: counts and tells what it would do, and lets every call pass.
    dry_run: bool,
}

/// [Slow calls](CircuitBreakerBuilder::slow_calls) as data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowCallsConfig {
    /// From how long on a call is slow.
    pub threshold: Span,
    /// The share of slow calls that opens the circuit.
    pub rate: f64,
}

/// A [ramp](CircuitBreakerBuilder::ramp) as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RampConfig {
    /// The share of calls that pass in each stage.
    pub shares: Vec<f64>,
    /// How long a stage lasts.
    pub stage: Span,
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident => $target:ty { $($(#[$variant_doc:meta])* $variant:ident => $value:expr,)+ })+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl From<$name> for $target {
            fn from(config: $name) -> Self {
                match config {
                    $($name::$variant => $value,)+
                }
            }
        }
    )+ };
}

words! {
    /// [`Abandoned`] as data.
    AbandonedConfig => Abandoned {
        /// As nothing.
        Ignore => Self::Ignore,
        /// As a failure, when nothing better is known.
        WhenNothingElse => Self::WhenNothingElse,
        /// As a failure.
        Failure => Self::Failure,
    }

    /// [`Evaluate`] as data.
    EvaluateConfig => Evaluate {
        /// Failures only.
        Failures => Self::Failures,
        /// All of them.
        Everything => Self::Everything,
    }

    /// [`Late`] as data.
    LateConfig => Late {
        /// They count in the state there is now.
        Count => Self::Count,
        /// They are dropped.
        Dropped => Self::Dropped,
    }

    /// [`Ignored`] as data.
    IgnoredConfig => Ignored {
        /// As nothing.
        Neutral => Self::Neutral,
        /// As a success.
        Success => Self::Success,
    }

    /// [`Target`] as data.
    UndecidedConfig => Target {
        /// The circuit opens again.
        Open => Self::Open,
        /// The circuit closes.
        Closed => Self::Closed,
    }

    /// Whose rules [hold](CircuitBreakerBuilder::exact), with that project's defaults.
    ProfileConfig => Options {
        /// [Polly v8](Options::polly).
        Polly => Self::polly(),
        /// [Resilience4j](Options::resilience4j).
        Resilience4j => Self::resilience4j(),
        /// [failsafe-go and Failsafe](Options::failsafe).
        Failsafe => Self::failsafe(),
        /// [gobreaker v2](Options::gobreaker).
        Gobreaker => Self::gobreaker(),
        /// [Sentinel](Options::sentinel).
        Sentinel => Self::sentinel(),
    }
}

impl CircuitBreakerConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> CircuitBreakerBuilder {
        let mut builder = CircuitBreaker::builder();
        // The rate first: the builder takes the later of the two rules for the one that is meant.
        set!(builder,
            self.failure_rate => failure_rate,
            self.consecutive_failures => consecutive_failures,
            self.window => window,
            self.minimum_calls => minimum_calls,
            self.open_for => open_for,
            self.probes => probes,
            self.probe_failure_rate => probe_failure_rate,
            self.half_open_for => half_open_for,
            self.count_window => count_window,
            self.evaluate => evaluate,
            self.late => late,
            self.ignored => ignored,
            self.open_factor => open_factor,
            self.open_at_most => open_at_most,
            self.open_jitter => open_jitter,
            self.honour_hints => honour_hints,
            self.probe_successes => probe_successes,
            self.undecided => undecided,
            self.abandoned => abandoned,
            self.profile => exact,
            self.dry_run => dry_run,
        );
        if let Some(slow) = self.slow_calls {
            builder = builder.slow_calls(slow.threshold.into(), slow.rate);
        }
        if let Some(ramp) = &self.ramp {
            builder = builder.ramp(ramp.shares.iter().copied(), ramp.stage.into());
        }
        builder
    }

    /// The first setting that differs and is fixed when a breaker is built.
    pub(super) fn fixed_difference(&self, after: &Self) -> Option<&'static str> {
        let counts_in_a_row = |config: &Self| config.consecutive_failures.is_some();
        let fields = [
            ("consecutive_failures", counts_in_a_row(self) != counts_in_a_row(after)),
            ("window", self.window != after.window),
            ("count_window", self.count_window != after.count_window),
            ("slow_calls", self.slow_calls.map(|slow| slow.threshold) != after.slow_calls.map(|slow| slow.threshold)),
            ("evaluate", self.evaluate != after.evaluate),
            ("late", self.late != after.late),
            ("ignored", self.ignored != after.ignored),
            ("abandoned", self.abandoned != after.abandoned),
            // Another project's rules are fixed as a whole.
            ("profile", self.profile != after.profile || (self.profile.is_some() && self != after)),
        ];
        fields.into_iter().find(|(_, differs)| *differs).map(|(field, _)| field)
    }

    pub(super) fn check(&self) -> Result<(), crate::ConfigError> {
        if self.consecutive_failures.is_some() && self.failure_rate.is_some() {
            return Err(crate::ConfigError::new("consecutive_failures", "must not be combined with failure_rate"));
        }
        if self.window.is_some() && self.count_window.is_some() {
            return Err(crate::ConfigError::new("count_window", "must not be combined with window"));
        }
        self.builder().timer(crate::time::ManualTimer::new()).build().map(drop)
    }
}
