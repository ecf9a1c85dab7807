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
//! # Behaviour
//!
//! ```text
//!  code that calls ── holds ──► policy ◄┄┄ weak ┄┄ registry ◄── somebody who looks, or acts
//!        └─ drops it: gone from the list              ├─ snapshots, to_json: what they are like
//!                                                     ├─ control: isolate, open, reset
//!                                                     └─ reconfigure: other settings
//! ```
//!
//! It holds nothing: policies are held weakly, and one that is dropped is gone from the list. (A thread may keep a share of a policy
//! whose calls it made, to spare the next call the counting; such a policy, if nobody listens to it, can stay on the
//! list until that thread makes other calls or ends.) A policy and one of another pattern may have the same name, as
//! those in front of one dependency often do; a policy of the same pattern and name takes the place of the older one,
//! so that what is built anew is what is shown and controlled.
//!
//! # Defaults
//!
//! A new registry is empty; nothing puts itself on a list, and a policy may be on several or on none.
//!
//! # Conditions
//!
//! Each policy has a [`Status`](crate::health::Status), which the [health report](crate::health) shows, too:
//!
//! | policy | is degraded when |
//! |---|---|
//! | circuit breaker | its circuit is open, half open or isolated |
//! | keyed circuit breaker | the circuit of one of its keys is |
//! | retry, hedge | its budget has less than one attempt left, and somebody went without |
//! | client throttle, admission control, queue shed, signal shed | it refuses a share of the calls, and not only in a dry run |
//! | any other | never: to be full or to refuse for a moment is what they are for, and shows in the figures |
//!
//! # Controls
//!
//! | control | circuit breaker | others |
//! |---|---|---|
//! | [`Isolate`](Control::Isolate) | opens until `Reset` | not supported |
//! | [`Open`](Control::Open) | opens for a time, then probes | not supported |
//! | [`Reset`](Control::Reset) | closes | a keyed circuit breaker closes those of all its keys, a cache forgets everything, chaos is switched off; others: not supported |
//!
//! A control reaches every policy of the name, of whatever pattern: `Reset` of a name that a breaker and a cache share closes
//! the one and empties the other.
//!
//! A keyed breaker is isolated, with the keys that come later, by a
//! [`ManualControl`](crate::circuit_breaker::ManualControl) that it is built with.
//!
//! With the feature `serde`, `Registry::reconfigure` changes the settings of any policy that can change; see `config`.
//!
//! # Events
//!
//! None of its own. What is done by hand is told by the policy it is done to: a circuit that is isolated emits
//! `isolated`, whoever isolated it.
//!
//! # Errors
//!
//! [`Registry::add`] refuses what nobody can share, a timeout that is not
//! [reconfigurable](crate::timeout::TimeoutBuilder::reconfigurable) say. [`Registry::control`] gives a [`ControlError`] if
//! there is no policy of that name, or none that can do it.
//!
//! # Interplay
//!
//! It stands beside the stacks: layers do not know whether their policy is on a list. [`Health`](crate::health::Health)
//! takes one, and shows its policies in readiness.
//!
//! # Do and don't
//!
//! - Do name policies by what they stand in front of; name and pattern are what they are found by.
//! - Do put the page behind the same door as other pages for operators: who can read it may also be let to act.
//! - Don't let two policies of one pattern share a name: the list knows the younger one alone.
//!
//! # Limits
//!
//! It knows one process. To look at the list locks it for as long as it takes to copy it, and takes time in proportion to
//! its length; calls through the policies are not touched.

mod managed;
#[cfg(not(loom))] // Its weak references are to what loom counts.
mod policies;
mod registered;
mod snapshot;
#[cfg(not(loom))] // As `policies`.
#[allow(unused_imports)] // Which of them there are depends on the features.
mod typed;

pub use self::managed::{Control, ControlError, Handle, Managed, Register};
pub use self::registered::Registry;
pub use self::snapshot::{Figure, Snapshot};

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom), feature = "tokio"))]
mod tests;
