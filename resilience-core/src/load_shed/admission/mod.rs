//! Refusal in proportion to what fails, where a success rate is promised.
//!
//! # Why
//!
//! A service that fails a good part of its calls is mostly one that has too much to do: calls time out, and the work on
//! them is lost. Sending it fewer lets it do the rest. Unlike a breaker, which sends all or nothing, this sends as much as
//! succeeds, and a little more, by which it notices that more would.
//!
//! Envoy's admission control filter; the rule is [`Throttle::ENVOY`](crate::control::Throttle::ENVOY): of `n` calls in
//! the window, `s` of which succeeded, `(n - s / success_rate) / (n + 1)` are refused, to the power of `1 / aggression` and
//! at most `most`.
//!
//! # Example
//!
//! ```
//! use resilience_core::load_shed::AdmissionControl;
//! use resilience_core::time::ManualTimer;
//! use resilience_core::{Class, Reason};
//!
//! let control = AdmissionControl::builder().name("search").timer(ManualTimer::new()).seed(7).build()?;
//! for call in 0..1_000 {
//!     match control.try_acquire() {
//!         Ok(permit) => permit.settle(if call % 2 == 0 { Class::Success } else { Class::Failure }),
//!         Err(refused) => assert_eq!(refused.reason(), Reason::Throttled),
//!     }
//! }
//! let seen = control.snapshot();
//! assert!((0.4..0.6).contains(&seen.ratio)); // half of what is sent fails, 5 % may
//! # Ok::<(), resilience_core::ConfigError>(())
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`success_rate`](AdmissionControlBuilder::success_rate) | 0.95 | Envoy's: what fails for other reasons is left alone |
//! | [`aggression`](AdmissionControlBuilder::aggression) | 1 | Envoy's: in proportion |
//! | [`most`](AdmissionControlBuilder::most) | 0.8 | Envoy's: a fifth always goes through and shows when the service is well again |
//! | [`min_rate`](AdmissionControlBuilder::min_rate) | 5 calls a second | Finagle's; Envoy's is 0, by which the first failure refuses half of the calls after it |
//! | [`window`](AdmissionControlBuilder::window) | 30 s | Envoy's |
//! | [`cohort`](AdmissionControlBuilder::cohort) | by chance | |
//! | [`dry_run`](AdmissionControlBuilder::dry_run) | off | |
//!
//! # Behaviour
//!
//! ```text
//!  call ──► of late, more failed than 1 - success_rate? ── yes ──► the excess is refused, the least critical first
//!              │ no, or too few calls to tell
//!              ▼
//!            sent ──► success, or failure: counted for the window, when it ends
//! ```
//!
//! Only calls that were sent count, when they end. A success or a slow answer is a success; what is ignored is not counted;
//! a call dropped before its answer has failed, as with Envoy, because a service that hangs answers nothing else.
//!
//! The share is one of all calls, and the least critical are refused first: with a fifth to refuse and a third of the calls
//! sheddable, three in five of these are refused and no other.
//!
//! # Events and errors
//!
//! [`Event::Rejected`](super::Event::Rejected) and, in a dry run, `WouldReject`, with the probability. The only error is
//! [`Rejected`](crate::Rejected) with [`Reason::Throttled`](crate::Reason::Throttled): nothing was sent.
//!
//! # Interplay
//!
//! Around each attempt, inside retry. Beside a [client throttle](super::ClientThrottle) there is no use for it: this one is
//! for services that fail under load rather than refuse.
//!
//! # Do and don't
//!
//! - Do set `success_rate` below what the service has on a good day, or good days are refused in part.
//! - Do keep `most` below 1: what is let through is how it notices that the service is well again.
//! - Don't put it in front of a service whose failures are answers, a search without results say, unless you classify them.
//!
//! # Limits
//!
//! One process knows what it sent. It cannot tell overload from a bug: do classify mistakes of the caller as ignored.

mod config;
mod policy;
#[cfg(feature = "tower")]
mod service;

pub use self::config::AdmissionControlBuilder;
pub use self::policy::{AdmissionControl, Permit, Snapshot};
#[cfg(feature = "tower")]
pub use self::service::{AdmissionControlLayer, AdmissionControlService};

#[cfg(all(test, not(loom)))]
mod tests;
