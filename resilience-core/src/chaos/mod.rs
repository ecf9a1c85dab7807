//! Faults on purpose: delays, errors, answers and disturbances, where and when you want them.
//!
//! # Why
//!
//! Retries, breakers and timeouts are code that runs when things go wrong, and so code that seldom runs. To know that they
//! are set up right, things must go wrong where somebody looks: in tests, in a rehearsal, for one call in a thousand in
//! production. A fault that is injected should be the one that was meant (the same for the same seed), hit the calls it
//! was meant for, and be gone when it is switched off.
//!
//! # Behaviour
//!
//! ```text
//! request ── on? ── meant? ─► phase of the script ─► draw ─┬─ disturb, then
//!   │         │        │                                   ├─ delay, then
//!   │ no      │ no     └ no                                ├─ error or answer, without the service
//!   └─────────┴────────────► service ◄─────────────────────┘─ or the service after all
//! ```
//!
//! A [`Chaos`] is made for one kind of request, answer and error, since it must make them. What it does is said by
//! [`Faults`]: with which probability a call is delayed, and with which one it fails, is answered, or is disturbed. The n-th
//! call of a policy meets the same fault whenever the seed is the same, whatever the threads do. A script of [`Phase`]s
//! changes the faults by numbers of calls or by time: an outage that begins after ten calls and lasts for a minute.
//! Faults, script and switch can come from a file, where it is off unless told otherwise; see `config::ChaosConfig`.
//!
//! It is scoped to its policy object: there are no global points of failure, two tests do not meet, and what is not layered
//! in costs nothing. Switched [off](Chaos::off), a layer costs one relaxed load.
//!
//! # Example
//!
//! ```
//! use std::io::ErrorKind;
//! use std::time::Duration;
//! use resilience_core::chaos::{Chaos, Faults};
//! use resilience_core::retry::Retry;
//! use resilience_core::{Error, LiftLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! type Failure = Error<std::io::Error>;
//! let chaos = Chaos::<u32, u32, Failure>::builder()
//!     .seed(1)
//!     .error(|_| Error::Service(ErrorKind::ConnectionReset.into()))
//!     .faults(Faults { error: 0.1, delay: 0.2, delay_for: (Duration::ZERO, Duration::from_millis(40)), ..Faults::NONE })
//!     .build()?;
//! let retry = Retry::builder().attempts(20).build()?;
//! let double = ServiceBuilder::new()
//!     .layer(retry.layer())
//!     .layer(chaos.layer())
//!     .layer(LiftLayer)
//!     .service(service_fn(async |n: u32| Ok::<_, std::io::Error>(2 * n)));
//! for n in 0..100 {
//!     assert_eq!(double.clone().oneshot(n).await?, 2 * n); // in spite of it all
//! }
//! assert!(chaos.snapshot().errors > 5);
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`faults`](ChaosBuilder::faults) | none | a fault is asked for |
//! | [`script`](ChaosBuilder::script) | none: the same faults for ever | |
//! | [`seed`](ChaosBuilder::seed) | from the system | set it in tests |
//! | [`enabled`](ChaosBuilder::enabled) | on | whoever layers it in wants it |
//! | [`dry_run`](ChaosBuilder::dry_run) | off | on, it tells what it would do to production, and does nothing |
//! | [`only`](ChaosBuilder::only) | all requests | |
//!
//! # Events
//!
//! [`Event`], as `resilience.chaos.*`: `injected` and, in a dry run, `would_inject`, with what it was as `reason`, as a warning: in a log of production, a fault
//! that was made must not look like one that happened.
//!
//! # Errors
//!
//! Those you make. [`ConfigError`](crate::ConfigError) for probabilities that are none or add up to more than 1, and for
//! faults nobody said how to make.
//!
//! # Interplay
//!
//! Innermost, in front of the service, it plays a bad network; outermost, a bad neighbour. Inside of a retry each attempt
//! draws anew. A delay is over early if its caller's time is: the future is dropped.
//!
//! # Do and don't
//!
//! - Do write the seed into the failure message of a test.
//! - Do inject what the classifier sees as a failure; an error it ignores teaches nothing.
//! - Don't leave it in production without a switch somebody can reach.
//!
//! # Limits
//!
//! The service's `call` is made before a delay, and its future polled after: with a service that works in `call` itself, the
//! delay and the work overlap. A call that meets a fault allocates; one that does not, does not.
//!
//! # Source
//!
//! The kinds of fault are those of Polly's Simmy (fault, latency, outcome, behaviour), with its rule "inject if the number
//! drawn from `0..1` is below the rate".

mod config;
mod event;
mod future;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod policy;
#[cfg(feature = "tower")]
mod service;

pub use self::config::ChaosBuilder;
pub use self::event::{Event, Kind};
pub use self::future::ResponseFuture;
#[cfg(feature = "tower")]
pub use self::layer::ChaosLayer;
pub use self::machine::{Decision, Faults, Phase, Script};
pub use self::policy::{Chaos, Snapshot};
#[cfg(feature = "tower")]
pub use self::service::ChaosService;

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom)))]
mod tests;
