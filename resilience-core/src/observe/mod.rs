//! Sinks that turn events into logs and metrics. The only files that name those crates.
//!
//! # Why
//!
//! A policy that refuses, repeats or replaces calls changes what a program does, and whoever operates it has to see that it
//! does. Each pattern tells [facts](crate::event); these sinks write them for the two ways in which programs are mostly
//! watched, so that logs and metrics have the same words for the same thing.
//!
//! | sink | feature | what it writes |
//! |---|---|---|
//! | `TracingSink` | `tracing` | one `tracing` event per fact, level by [`Severity`](crate::event::Severity) |
//! | `MetricsSink` | `metrics` | `resilience.<pattern>.<event>` counters, one-hot state gauges, histograms in seconds |
//!
//! # Behaviour
//!
//! ```text
//!  policy ── no listener ──► nothing is built
//!         └─ a fact, after its locks ──► sink ──► tracing: target `resilience`, fields policy, pattern, event, reason, ...
//!                                           └───► metrics: resilience.<pattern>.<event> { policy, reason, outcome }
//! ```
//!
//! A sink is called on the path of the call; one that panics is cut off there, and the others still hear.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "metrics")] {
//! use metrics_util::debugging::DebuggingRecorder;
//! use resilience_core::bulkhead::Bulkhead;
//! use resilience_core::observe::MetricsSink;
//!
//! let recorder = DebuggingRecorder::new();
//! let seen = recorder.snapshotter();
//! metrics::with_local_recorder(&recorder, || {
//!     let bulkhead = Bulkhead::builder().name("search").limit(1).listener(MetricsSink).build()?;
//!     let _held = bulkhead.try_acquire().unwrap();
//!     assert!(bulkhead.try_acquire().is_err());
//!     Ok::<(), resilience_core::ConfigError>(())
//! })?;
//! let names: Vec<_> = seen.snapshot().into_vec().into_iter().map(|(key, ..)| key.key().name().to_owned()).collect();
//! assert!(names.iter().any(|name| name == "resilience.bulkhead.rejected"));
//! # }
//! # Ok::<(), resilience_core::ConfigError>(())
//! ```
//!
//! # Defaults
//!
//! Nobody listens: a sink is given to each policy by `.listener(..)`, or to all that a file sets up by `config::Setup`. Which
//! severity a fact has is in the table of events of its pattern.
//!
//! # Events and errors
//!
//! It makes neither. A fact that cannot be written is the subscriber's or the recorder's to drop.
//!
//! # Interplay
//!
//! With a listener, a policy reads the clock for each fact, and a bulkhead also when a permit is given back. A policy with a
//! listener is held by its own counts only, so that it is gone when it is dropped.
//!
//! # Do and don't
//!
//! - Do give each policy of a pattern a name of its own: it is the label by which series differ.
//! - Do alert on states and severities: `opened` is an error, a refusal by an open circuit is debug output.
//! - Don't put what requests bring into a name: labels with many values are what metric stores die of.
//!
//! # Limits
//!
//! A metric's handle is registered at its first fact: a series that never happened is not there, and not 0.

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "metrics")]
pub use self::metrics::MetricsSink;
#[cfg(feature = "tracing")]
pub use self::tracing::TracingSink;

#[cfg(all(test, not(loom), feature = "metrics", feature = "tracing", feature = "tokio", feature = "tower"))]
mod tests;
