//! Refusal by whatever tells a process that it has too much to do.
//!
//! # Why
//!
//! What runs out first differs: the processor, memory, connections to a database, the time until a queue is empty. Whoever
//! wrote the service knows, and can measure it; what is difficult to get right is whom to refuse then, and how many. So
//! the measure is yours, a figure between 0 and 1, and the rest is here: above a mark calls are refused, more as the figure
//! grows, the least critical first.
//!
//! # Example
//!
//! ```
//! use resilience_core::Reason;
//! use resilience_core::context::{Context, Criticality};
//! use resilience_core::load_shed::{Signal, SignalShed};
//!
//! let cpu = Signal::new();
//! let shed = SignalShed::builder().name("front").signal(cpu.clone()).seed(7).build()?;
//! let crawler = Context::new().with_criticality(Criticality::Sheddable);
//! let mut admitted = || {
//!     let [mut crawled, mut served] = [0, 0];
//!     for _ in 0..1_000 {
//!         crawled += u32::from(crawler.run(|| shed.try_admit().is_ok()));
//!         served += u32::from(shed.try_admit().is_ok());
//!     }
//!     [crawled, served]
//! };
//! cpu.set(0.7); // by a task that reads the load of the processor every second
//! assert_eq!(admitted(), [1_000, 1_000]);
//! cpu.set(0.85); // a quarter of all calls is to be refused: half of the crawler's
//! let [crawled, served] = admitted();
//! assert!((450..550).contains(&crawled) && served == 1_000);
//! cpu.set(1.0);
//! assert_eq!(crawler.run(|| shed.try_admit()).unwrap_err().reason(), Reason::Overloaded);
//! # Ok::<(), resilience_core::ConfigError>(())
//! ```
//!
//! Rules that make such figures are in [`control`](crate::control): what is in flight over
//! [`Bbr::max_in_flight`](crate::control::Bbr::max_in_flight), or, with [`from`](SignalShedBuilder::from) at 0, the sum of a
//! controller over [`pid_error`](crate::control::pid_error).
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`from`](SignalShedBuilder::from) | 0.8 | kratos' aegis has it for processors |
//! | [`most`](SignalShedBuilder::most) | 1 | a signal of 1 means it |
//! | [`fresh_for`](SignalShedBuilder::fresh_for) | 30 s | whoever measures may die with the figure at its height; counted from the first call that finds it above `from` |
//! | [`cohort`](SignalShedBuilder::cohort) | by chance | [`Cohort::Correlation`](super::Cohort::Correlation) refuses whole requests, in all services alike |
//! | [`dry_run`](SignalShedBuilder::dry_run) | off | |
//!
//! # Behaviour
//!
//! ```text
//!  refused
//!    most ┤              ╱
//!         │            ╱
//!         │          ╱
//!       0 ┼────────╱─────┬──► signal        a signal nobody has set for `fresh_for`: as 0
//!         0      from    1
//! ```
//!
//! Of all calls, `most * (signal - from) / (1 - from)` are refused. The calls of late are counted by criticality; the
//! lowest that is enough is refused in part, those below altogether, those above not at all.
//!
//! # Events and errors
//!
//! [`Event::Rejected`](super::Event::Rejected) and, in a dry run, `WouldReject`, with the probability. The only error is
//! [`Rejected`](crate::Rejected) with [`Reason::Overloaded`](crate::Reason::Overloaded): nothing was done.
//!
//! # Interplay
//!
//! In a server, outermost: a refusal should cost nothing. It refuses in `poll_ready`, so the criticality must be in the
//! context by then; put it inside the layer that reads headers.
//!
//! # Do and don't
//!
//! - Do smooth the figure: the load of a processor over ten milliseconds is 0 or 1.
//! - Do leave a margin: above `from` there must be room for the work under way.
//! - Don't feed it from a task that starves when the process is overloaded: a figure that is not renewed counts for nothing.
//!
//! # Limits
//!
//! It follows the signal at once: smooth it where you measure. Below the mark it costs one shared write a call.

mod config;
mod level;
mod policy;
#[cfg(feature = "tower")]
mod service;

pub use self::config::SignalShedBuilder;
pub use self::level::Signal;
pub use self::policy::{SignalShed, Snapshot};
#[cfg(feature = "tower")]
pub use self::service::{SignalShedLayer, SignalShedService};

#[cfg(all(test, not(loom)))]
mod tests;
