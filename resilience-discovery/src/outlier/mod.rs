//! Outlier detection: which endpoint answers so much worse than the others that it is better left out for a while.
//!
//! # Why
//!
//! A health check asks an endpoint whether it is well; its callers know. One endpoint of twenty that fails every call is
//! a failure rate of 5 %, which no breaker around the whole service takes for an outage and every user notices. Compared
//! with its neighbours the endpoint stands out after a few dozen calls. The rules are those of gRPC (proposal A50) and of
//! Envoy, which most fleets know already; where the two differ, [`Rules`] says by which it goes.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::time::Timestamp;
//! use resilience_discovery::outlier::{Detector, Outcome, Rules};
//!
//! let mut detector = Detector::new(Rules::grpc())?;
//! for endpoint in ["a", "b", "c", "d", "e"] {
//!     detector.insert(endpoint);
//!     for _ in 0..100 {
//!         let outcome = if endpoint == "c" { Outcome::Failure } else { Outcome::Success };
//!         detector.record(&endpoint, outcome, Timestamp::ORIGIN);
//!     }
//! }
//! let tick = Timestamp::ORIGIN + Duration::from_secs(10);
//! let sweep = detector.sweep(tick, || 0.0); // the draw decides only where enforcement is below 100 %
//! assert_eq!(sweep.ejected, ["c"]);
//! assert!(detector.is_ejected(&"c"));
//! # Ok::<(), resilience_core::ConfigError>(())
//! ```
//!
//! # Behaviour
//!
//! Calls are counted per endpoint between sweeps, which the owner makes every [`Rules::interval`]. A sweep takes the
//! counts, ejects who falls below the success rate of the others ([`SuccessRate`]) or above a share of failures
//! ([`FailurePercentage`]), then looks who may return: the n-th ejection in a row lasts n times [`Rules::base`], at most
//! [`Rules::max`], and each sweep through which an endpoint is well takes one from n. Failures in a row
//! ([`Rules::consecutive`]) eject between sweeps. [`Cap`] keeps the detector from emptying the fleet: when everybody is
//! bad, the fault is elsewhere.
//!
//! An endpoint that is ejected already is not ejected again by the second algorithm of the same sweep, as it is in
//! grpc-go, where one bad interval can count twice.
//!
//! # Limits
//!
//! Pure bookkeeping: no clock, no task, no lock. Whoever owns it counts calls, calls [`Detector::sweep`] and leaves the
//! ejected out of the choice. [`Balance`](crate::balance) does not do so by itself: there each endpoint's breaker is its
//! ejection.

mod machine;
mod rules;

pub use self::machine::{Detector, Host, Outcome, Sweep};
pub use self::rules::{Cap, FailurePercentage, Judged, Rules, Spread, SuccessRate};

#[cfg(test)]
mod tests;
