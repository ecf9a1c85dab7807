//! Sinks that turn events into logs and metrics. The only files that name those crates.
//!
//! | sink | feature | what it writes |
//! |---|---|---|
//! | `TracingSink` | `tracing` | one `tracing` event per fact, level by [`Severity`](crate::event::Severity) |
//! | `MetricsSink` | `metrics` | `resilience.<pattern>.<event>` counters, one-hot state gauges, histograms in seconds |

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
