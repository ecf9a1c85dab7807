//! Refusing some calls early, so that the others are answered.
//!
//! | policy | refuses | goes by | place |
//! |---|---|---|---|
//! | [`ClientThrottle`] | what the backend would refuse | what it accepted, for each criticality | client |
//! | [`AdmissionControl`] | as much as fails | the success rate that is promised | client or sidecar |
//! | [`QueueShed`] | who waited too long, and as many as make everybody wait | time in the queue | server |
//! | [`SignalShed`] | as much as you say | any figure of yours: processor, memory, a controller | server |
//!
//! All refuse the least critical calls first, by the [criticality](crate::context::Criticality) in the context: the client
//! throttle because each criticality has figures of its own, the others by drawing from the lowest whose calls are enough.
//! Where a limit on the calls that run at once is what is missing, [`adaptive_limit`](crate::adaptive_limit) finds it, and
//! bounds the queue as well.
//!
//! The rest of this page is about [`ClientThrottle`]; [`admission`], [`queue`] and [`signal`] have their own.
//!
//! # Why
//!
//! A backend that is overloaded spends what it has left on refusing: a refused request still has to be received, parsed
//! and answered. If its clients keep sending at full rate, refusing is all it does. So the client counts what it sends
//! and what is accepted, and refuses by itself in proportion to what would not be: locally, for nothing, and with a few
//! requests still going through, by which it notices that the backend is well again. Unlike a breaker it has no state
//! to be in: a backend that takes half of the traffic gets half of it.
//!
//! Google's SRE book, chapter 21, "Client-side throttling"; the rule is [`Throttle`](crate::control::Throttle), with
//! the variations of Envoy, aegis and failsafe-go as presets.
//!
//! # Example
//!
//! ```
//! use resilience_core::load_shed::ClientThrottle;
//! use resilience_core::time::ManualTimer;
//! use resilience_core::{Class, Reason};
//!
//! let throttle = ClientThrottle::builder().name("search").timer(ManualTimer::new()).seed(7).build()?;
//! let mut refused = 0;
//! for _ in 0..1_000 {
//!     match throttle.try_acquire() {
//!         Ok(permit) => permit.settle(Class::Failure), // the backend is overloaded
//!         Err(error) => {
//!             assert_eq!(error.reason(), Reason::Throttled);
//!             refused += 1;
//!         }
//!     }
//! }
//! assert!((900..1_000).contains(&refused)); // a few go through
//! # Ok::<(), resilience_core::ConfigError>(())
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`rule`](ClientThrottleBuilder::rule) | [`Throttle::SRE`](crate::control::Throttle::SRE): twice what is accepted is sent | the SRE book's; the backend hears enough to recover unaided |
//! | [`window`](ClientThrottleBuilder::window) | 2 min | the SRE book's: long enough for a steady figure |
//! | [`dry_run`](ClientThrottleBuilder::dry_run) | off | |
//!
//! # Behaviour
//!
//! ```text
//!  call ──► refused with probability (requests - 2 × accepts) / (requests + 1)? ── yes ──► refused, and counted as sent
//!              │ no                                                                │
//!              ▼                                                                   ▼
//!            sent ──► accepted: requests + 1, accepts + 1             requests + 1 of this criticality,
//!                 └─► failed:   requests + 1                          each forgotten after the window
//! ```
//!
//! Each [`Criticality`](crate::context::Criticality) has figures of its own: a backend that sheds batch work first makes
//! the client shed batch work, and nothing else. A success or a slow answer is an accept; a failure is none; an ignored
//! or abandoned call is not counted at all. Classify so that only overload is a failure, or the throttle answers
//! mistakes with silence.
//!
//! # Events and errors
//!
//! [`Event::Rejected`] and, in a dry run, [`Event::WouldReject`]. The only error is [`Rejected`](crate::Rejected) with
//! [`Reason::Throttled`](crate::Reason::Throttled): nothing was sent.
//!
//! # Interplay
//!
//! Around each attempt, inside retry: its refusals are not worth a retry, and a retry budget above bounds what is sent in
//! the first place. A breaker beside it is for a backend that is gone, the throttle for one that has too much to do.
//!
//! # Do and don't
//!
//! - Do classify so that only overload is a failure; a 404 is an answer like another.
//! - Do try it with `dry_run`: [`Snapshot::would_reject`] then says what it would have refused.
//! - Don't put one throttle in front of several backends: it would refuse to all what one of them refuses.
//! - Don't take it for a rate limit: with everything accepted, it refuses nobody, however many they are.
//!
//! # Limits
//!
//! Recovery takes a few windows: with everything accepted, what is sent doubles with each. One process knows what it
//! sent. Calls count when they end: against a backend that hangs, put a timeout inside.

pub mod admission;
mod config;
mod event;
#[cfg(feature = "tower")]
mod future;
mod order;
mod policy;
pub mod queue;
mod refusals;
#[cfg(feature = "tower")]
mod service;
pub mod signal;

pub use self::admission::AdmissionControl;
pub use self::config::ClientThrottleBuilder;
pub use self::event::Event;
#[cfg(feature = "tower")]
pub use self::future::{AdmittedFuture, ResponseFuture};
pub use self::order::Cohort;
pub use self::policy::{ClientThrottle, Permit, Snapshot};
pub use self::queue::QueueShed;
#[cfg(feature = "tower")]
pub use self::service::{ClientThrottleLayer, ClientThrottleService};
pub use self::signal::{Signal, SignalShed};

/// The place of a criticality in what is kept for each, the least critical first.
fn class(criticality: crate::context::Criticality) -> usize {
    match criticality {
        crate::context::Criticality::Sheddable => 0,
        crate::context::Criticality::SheddablePlus => 1,
        crate::context::Criticality::Critical => 2,
        crate::context::Criticality::CriticalPlus => 3,
    }
}

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, feature = "tokio", not(loom)))]
mod tests;
