//! Policies set up by a file, and changed by it while they run.
//!
//! # Why
//!
//! How long to wait for a partner, how often to try again, how many calls at once: these figures are found in operation,
//! by whoever operates the program, and a wrong one must be corrected without a release, often without a restart. So
//! every policy has its settings as plain data, a [`Config`] holds whole pipelines of them, and what is read again is
//! applied to the policies that are in use, which keep their state.
//!
//! # Example
//!
//! ```
//! # #[cfg(all(feature = "toml", feature = "tower", feature = "tokio"))] {
//! use resilience_core::LiftLayer;
//! use resilience_core::bulkhead::Bulkhead;
//! use resilience_core::circuit_breaker::CircuitBreaker;
//! use resilience_core::config::{Config, Setup};
//! use resilience_core::retry::Retry;
//! use resilience_core::timeout::Timeout;
//! use tower::util::option_layer;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! const FILE: &str = r#"
//!     [budgets.outgoing]
//!     ratio = 0.1
//!
//!     [pipelines.payments]
//!     layers = ["total", "retry", "circuit_breaker", "attempt"]
//!     total.timeout.limit = "2s"
//!     attempt.timeout.limit = "250ms"
//!     circuit_breaker = { failure_rate = 0.5, window = "10s" }
//!     [pipelines.payments.retry]
//!     attempts = 3
//!     backoff = { base = "50ms", cap = "1s" }
//!     budget.shared = "outgoing"
//! "#;
//! let mut pipelines = Config::from_toml(FILE)?.build(&Setup::new())?;
//! let payments = pipelines.pipeline("payments").unwrap().clone();
//!
//! // The types of a stack are chosen by code: here every layer that may be there, in the one order that is right.
//! payments.expect(&["total", "retry", "circuit_breaker", "bulkhead", "attempt"])?;
//! let service = ServiceBuilder::new()
//!     .option_layer(payments.timeout("total").map(Timeout::layer))
//!     .option_layer(payments.retry("retry").map(Retry::layer))
//!     .option_layer(payments.circuit_breaker("circuit_breaker").map(CircuitBreaker::layer))
//!     .option_layer(payments.bulkhead("bulkhead").map(Bulkhead::layer)) // not in the file: costs a branch
//!     .option_layer(payments.timeout("attempt").map(Timeout::layer))
//!     .layer(LiftLayer)
//!     .service(service_fn(async |cents: u32| Ok::<_, std::io::Error>(cents)));
//! assert_eq!(service.oneshot(995).await?, 995);
//!
//! // The file has changed: what is in use follows.
//! pipelines.reconfigure(&Config::from_toml(&FILE.replace("2s", "5s"))?)?;
//! assert_eq!(payments.timeout("total").unwrap().limit().as_secs(), 5);
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! # }
//! ```
//!
//! # A file
//!
//! | entry | holds |
//! |---|---|
//! | `budgets.NAME` | a [`BudgetConfig`] that several retries may share |
//! | `lints.LINT` | `allow`, `warn` or `deny`: what to do about a doubtful [order](crate::lint) |
//! | `pipelines.NAME.layers` | the names of the pipeline's policies, outermost first |
//! | `pipelines.NAME.PATTERN` | the settings of a policy called as its pattern: `timeout`, `retry`, `circuit_breaker`, ... |
//! | `pipelines.NAME.OTHER.PATTERN` | the settings of a policy with a name of its own |
//!
//! What only the program knows the types of (what a cache keeps, what the keys of a `keyed_circuit_breaker` or a
//! `keyed_rate_limit` are) it builds from a [`Template`].
//!
//! A policy goes by `PIPELINE.ENTRY` in refusals, events and metrics: `payments.retry`. What is not set is the builder's
//! default. Durations have units ([`Span`]). What is not known is refused, not ignored.
//!
//! # Behaviour
//!
//! ```text
//!  text ── from_toml, from_json ──► Config ── build ──► Pipelines ──► policies, for the code that builds the stacks
//!             │ unknown, wrong         │ check, lint        ▲            │ calls
//!             ▼                        ▼                    │            ▼
//!          Problems                 Problems           reconfigure: all of it, or nothing
//! ```
//!
//! # Order
//!
//! A file says which layers there are and in which order they should be; the code that builds the stack decides it, for
//! the order is part of the stack's type. [`Pipeline::expect`] refuses a file that says otherwise when the program
//! starts. The alternative, boxing each layer so that a file could rearrange them, would cost an allocation and an
//! indirect call for each layer of each call, and an order is not a figure to be tuned: there is a right one, and a
//! [linter](crate::lint) for it.
//!
//! # Changing
//!
//! [`Pipelines::reconfigure`] takes a new configuration as a whole or not at all. It may change:
//!
//! | policy | what may change | what it keeps |
//! |---|---|---|
//! | timeout | `limit` | calls under way keep theirs |
//! | retry | attempts, backoffs, hint, longest time | budget and counts |
//! | hedge | attempts, delay, dry run | budget, counts, latencies |
//! | fallback | what is replaced, dry run | counts |
//! | circuit_breaker | thresholds, waits, probes, ramp, dry run | what is counted; a state that has begun |
//! | keyed_circuit_breaker | as circuit_breaker, and `max_keys` | each key's circuit, as circuit_breaker; keys that can go may go if there are to be fewer |
//! | bulkhead | limit, queue, longest wait, discipline, dry run | permits and places in the queue |
//! | partitioned_bulkhead | limit, shares of the same keys, dry run | permits |
//! | adaptive_limit | all but where it began | the limit within new bounds; what its rule has learned |
//! | client_throttle, admission_control | all but the window | what is counted |
//! | queue_shed, signal_shed | all | what was found; the signal |
//! | batch | all | calls that wait |
//! | cache | all | what is kept, with the time it was given; at the end of a dry run nothing |
//! | chaos | faults, script, switch, dry run | seed and number of the call; a script that is still the same, where it stands |
//! | rate_limit | quota, burst, dry run; the longest wait to another | what was taken |
//! | keyed_rate_limit | all | what each key has taken |
//! | client_rate_limit | all | the rate it has found |
//! | distributed_rate_limit | all | permits at hand |
//!
//! The rest, and which layers there are, needs a new stack, and is refused with its path. An unchanged file changes
//! nothing.
//!
//! # Defaults
//!
//! What is not set is the builder's default, and so is in the table of each pattern's page; this module has none of its own.
//! Lints warn.
//!
//! # Events
//!
//! None of its own; what a listener of [`Setup`] hears is what the policies tell, a limit that was
//! [resized](crate::bulkhead::Event::Resized) among it.
//!
//! # Interplay
//!
//! A [registry](crate::registry) changes single policies by the same settings, [`lint`](crate::lint) knows the order of
//! layers. Clocks, listeners and [controls](crate::circuit_breaker::ManualControl) are code and not data: they are in
//! [`Setup`].
//!
//! # Do and don't
//!
//! - Do check the file in a test of the program that reads it, with lints denied.
//! - Do try a new limit out with `dry_run = true`, and read what it would have refused.
//! - Don't give each retry of a process a generous budget of its own: let them share one.
//!
//! # Errors
//!
//! [`Problems`]: everything that is wrong at once, each [`Problem`] with its path, its rule and, in a text, its line.
//!
//! # Limits
//!
//! Settings are figures and words: what is a function (a key, a classifier, a rule of your own) stays in code. Nobody
//! watches the file; read it again when you know that it has changed.

mod adaptive;
mod batch;
mod breaker;
mod budget;
#[cfg(feature = "cache")]
mod cache;
mod change;
mod chaos;
mod check;
mod file;
mod hedge;
mod keyed;
#[cfg(any(feature = "toml", feature = "json"))]
mod locate;
mod partitioned;
mod pipeline;
mod policies;
mod problem;
mod rates;
#[cfg(any(feature = "toml", feature = "json"))]
mod read;
mod retry;
mod setup;
mod shed;
mod span;
mod template;

pub use self::adaptive::{AdaptiveLimitConfig, ByCriticality, FigureConfig, RuleConfig, WindowConfig};
pub use self::batch::BatchConfig;
pub use self::breaker::{
    AbandonedConfig, CircuitBreakerConfig, EvaluateConfig, IgnoredConfig, KeyedCircuitBreakerConfig, LateConfig,
    ProfileConfig, RampConfig, SlowCallsConfig, UndecidedConfig,
};
pub use self::budget::{BudgetConfig, BudgetRule};
#[cfg(feature = "cache")]
pub use self::cache::CacheConfig;
pub(crate) use self::change::OTHER_PATTERN;
pub use self::chaos::{ChaosConfig, PhaseConfig};
pub use self::file::{Config, PipelineConfig, PolicyConfig};
pub use self::hedge::{DelayConfig, FallbackConfig, HedgeConfig, QuantileConfig};
pub use self::keyed::KeyedRateLimitConfig;
pub use self::partitioned::PartitionedBulkheadConfig;
pub use self::pipeline::{Pipeline, Pipelines, Policy};
pub use self::policies::{BulkheadConfig, DisciplineConfig, Quota, RateLimitConfig, TimeoutConfig};
pub use self::problem::{Problem, Problems};
pub(crate) use self::rates::NoStore;
pub use self::rates::{ClientRateLimitConfig, DistributedRateLimitConfig, WhenUnavailableConfig};
pub use self::retry::{BackoffConfig, BudgetChoice, Curve, HintConfig, JitterConfig, RetryConfig};
pub use self::setup::Setup;
pub use self::shed::{
    AdmissionControlConfig, ClientThrottleConfig, CohortConfig, QueueShedConfig, SignalShedConfig, ThrottleConfig,
};
pub use self::span::{Span, SpanError};
pub use self::template::Template;

#[cfg(all(test, feature = "cache", feature = "toml", feature = "json", feature = "tokio"))]
mod tests;
