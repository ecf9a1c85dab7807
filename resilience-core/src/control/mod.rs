//! The control rules of load: how much to send, how much to take in, whom to turn away.
//!
//! # Why
//!
//! Services measure different things (queueing time, round trips, refusals of the server, processor load) and turn them
//! into one of three figures: a limit of calls at once, a rate, or a probability of refusal. The rules that do so are
//! well known and short, and hard to get right between other code: each is here as a pure machine, values in and values
//! out, with its source named and its constants as data. None reads a clock, draws a number or locks anything.
//!
//! | rule | gives | from | source |
//! |---|---|---|---|
//! | [`Throttle`] | a probability of refusal | requests and how many were accepted | SRE book, Envoy, aegis, failsafe-go |
//! | [`NackThrottle`] | the same | the share of requests that were not refused | Finagle |
//! | [`Vegas`], [`Gradient`], [`Gradient2`], [`Aimd`], [`QueueEstimate`] | a limit of calls at once | round trips | Netflix, failsafe-go |
//! | [`EnvoyGradient`] | the same | round trips against the least | Envoy |
//! | [`Shares`] | who may go beyond it | guaranteed shares | Netflix |
//! | [`ClientRate`] | a rate | throttled answers | AWS SDKs (CUBIC) |
//! | [`Cycle`], [`Smooth`], [`Bursty`] | when a permit is due | time | Resilience4j, failsafe-go |
//! | [`CoDel`], [`queue_timeout`] | who waited too long | queueing time | folly, "Fail at Scale" |
//! | [`Bbr`], [`pid_error`] | how many may be in flight; how much to shed | throughput | aegis, Sentinel, Cinnamon |
//!
//! # Example
//!
//! ```
//! use resilience_core::control::Throttle;
//!
//! // A backend that accepts four of ten: twice what it accepts may still be sent.
//! let throttle = Throttle::SRE;
//! assert_eq!(throttle.refusal(100, 50), 0.0);
//! assert!((throttle.refusal(100, 40) - 20.0 / 101.0).abs() < 1e-12);
//! ```
//!
//! # Limits
//!
//! These are the rules alone: whoever uses one counts, samples and draws.

mod aws;
mod estimate;
mod figures;
mod limit;
mod pace;
mod queue;
mod share;
mod throttle;

pub use self::aws::{ClientRate, Clocker, Cubic, RateBucket};
pub use self::estimate::{EnvoyGradient, QueueEstimate};
pub use self::figures::{MovingAverage, percentile};
pub use self::limit::{Aimd, Gradient, Gradient2, Limit, Sample, Vegas, log10_root, sqrt_root};
pub use self::pace::{Bursty, Cycle, Smooth};
pub use self::queue::{Bbr, CoDel, pid_error, queue_timeout};
pub use self::share::Shares;
pub use self::throttle::{NackThrottle, Throttle};

#[cfg(all(test, not(loom)))]
mod tests;
