//! All the policies of a program, by name: what they look like, and a hand on them.
//!
//! # Why
//!
//! In an outage somebody has to see which circuits are open, and to close one or open another, now and without a
//! release. The policies are spread over the program, each with the code that uses it. A registry is the one place that
//! knows them all.
//!
//! # Example
//!
//! ```
//! use resilience_core::bulkhead::Bulkhead;
//! use resilience_core::circuit_breaker::{CircuitBreaker, State};
//! use resilience_core::registry::{Control, Registry};
//!
//! let registry = Registry::new();
//! let breaker = CircuitBreaker::builder().name("stock").build()?;
//! let bulkhead = Bulkhead::builder().name("stock").limit(8).build()?;
//! registry.add(&breaker)?;
//! registry.add(&bulkhead)?;
//!
//! registry.control("stock", Control::Isolate)?; // whatever is called `stock` and can be isolated
//! assert_eq!(breaker.state(), State::Isolated);
//! let page = registry.to_json();
//! assert!(page.contains(r#"{"pattern":"circuit_breaker","name":"stock","status":"degraded""#), "{page}");
//!
//! drop(bulkhead); // the registry holds nothing
//! assert_eq!(registry.snapshots().len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it holds
//!
//! Nothing: policies are held weakly, and one that is dropped is gone from the list. (A thread may keep a share of a policy
//! whose calls it made, to spare the next call the counting; such a policy, if nobody listens to it, can stay on the
//! list until that thread makes other calls or ends.) A policy and one of another pattern may have the same name, as
//! those in front of one dependency often do; a policy of the same pattern and name takes the place of the older one,
//! so that what is built anew is what is shown and controlled.
//!
//! # Conditions
//!
//! Each policy has a [`Status`](crate::health::Status), which the [health report](crate::health) shows, too:
//!
//! | policy | is degraded when |
//! |---|---|
//! | circuit breaker | its circuit is not closed |
//! | retry | its budget has less than one retry left |
//! | any other | never: to be full or to refuse for a moment is what they are for, and shows in the figures |
//!
//! # Controls
//!
//! | control | circuit breaker | others |
//! |---|---|---|
//! | [`Isolate`](Control::Isolate) | opens until `Reset` | not supported |
//! | [`Open`](Control::Open) | opens for a time, then probes | not supported |
//! | [`Reset`](Control::Reset) | closes | not supported |
//!
//! With the feature `serde`, `Registry::reconfigure` changes the settings of any policy that can change; see `config`.

mod managed;
#[cfg(not(loom))] // Its weak references are to what loom counts.
mod policies;
mod registered;
mod snapshot;
#[allow(unused_imports)] // Which of them there are depends on the features.
mod typed;

pub use self::managed::{Control, ControlError, Handle, Managed, Register};
pub use self::registered::Registry;
pub use self::snapshot::{Figure, Snapshot};

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom), feature = "tokio"))]
mod tests;
