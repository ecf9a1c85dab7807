//! A breaker with every option other projects' breakers have, as a pure machine under a lock of the caller's.
//!
//! # Why
//!
//! [`CircuitBreaker`](super::CircuitBreaker) has the rules this family stands for, and costs a closed circuit nothing.
//! Who comes from another breaker may need *its* rules, to the boundary: whether the threshold itself trips, whether a
//! late answer counts, when an ignored one gives its slot back. [`ExactBreaker`] reaches the semantics of Polly,
//! Resilience4j, failsafe-go, gobreaker and Sentinel by [`Options`], and is held to those projects' own test suites
//! (`cargo run -p testkit --bin vectors`).
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::circuit_breaker::exact::{ExactBreaker, Options, Outcome, State};
//!
//! let second = Duration::from_secs;
//! // gobreaker's defaults: more than five failures in a row, one probe after a minute.
//! let mut breaker = ExactBreaker::new(Options::gobreaker(), Duration::ZERO);
//! for _ in 0..6 {
//!     let permit = breaker.acquire(Duration::ZERO).unwrap();
//!     breaker.finish(permit, Outcome::FAILURE, Duration::ZERO);
//! }
//! assert_eq!(breaker.state(second(60)), State::Open); // at the minute, not after it
//! assert_eq!(breaker.state(second(61)), State::HalfOpen);
//! ```
//!
//! # Which rules are whose
//!
//! | option | [Polly](Options::polly) | [Resilience4j](Options::resilience4j) | [failsafe](Options::failsafe) | [gobreaker](Options::gobreaker) | [Sentinel](Options::sentinel) |
//! |---|---|---|---|---|---|
//! | window | ten parts from the first touch | last N, or aligned seconds | last N, or ten aligned parts | since the last change, or rolling | aligned, thrown away whole |
//! | evaluated on | failures | every result | every result | failures | every result |
//! | threshold | trips | trips | trips | the user's | does not trip |
//! | open ends | at its end | after its end | at its end | after its end | at its end |
//! | half-open | one call | N calls, then the rates | until decided | N in a row | one call |
//! | ignored | counts as success | neutral | counts as success | neutral | - |
//! | late results | count | count | count | dropped | count |
//!
//! # Limits
//!
//! Times are durations since an origin of the caller's. The machine is `O(1)` a call but for windows of parts, which it
//! sums: ten or so. It holds one record for each call of a count window, one sum for each part of a time window.

mod machine;
mod options;
mod window;

pub use self::machine::{Counts, ExactBreaker, Permit, Refused, State};
pub use self::options::{
    Compare, Ends, Evaluate, HalfOpen, Ignored, Late, Limit, Options, Slots, Target, Trip, Verdict, Window,
};
pub use self::window::{Outcome, Stats, Sums};

#[cfg(all(test, not(loom)))]
mod tests;
