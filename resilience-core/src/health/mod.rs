//! How the program is: asked by those who send it work, restart it, or wonder.
//!
//! # Why
//!
//! A load balancer has to know whether to send requests here, a supervisor whether to restart the process, and neither
//! should be told by guesswork. But a health endpoint is itself a way to fail: probes that come faster than the database
//! can answer bring it down, a check that hangs hangs the probe, and one that panics takes the program with it; and a
//! process that reports itself dead because a dependency is down is restarted for nothing, again and again. So checks
//! here have a timeout, a least interval and a weight, run one at a time for all who ask, and belong to one probe.
//!
//! # Example
//!
//! ```
//! use resilience_core::circuit_breaker::CircuitBreaker;
//! use resilience_core::health::{Check, Health, Probe, Status};
//! use resilience_core::registry::Registry;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! let registry = Registry::new();
//! let breaker = CircuitBreaker::builder().name("recommendations").build()?;
//! registry.add(&breaker)?;
//! let health = Health::builder()
//!     .check(Check::new("database", || async { Ok::<(), std::io::Error>(()) }))
//!     .check(Check::new("search", || async { Err("no route to host") }).degrading())
//!     .registry(&registry)
//!     .build()?;
//!
//! let report = health.report(Probe::Readiness).await;
//! assert_eq!(report.status, Status::Degraded);
//! assert_eq!(report.check("search").unwrap().error.as_deref(), Some("no route to host"));
//! assert_eq!(health.report(Probe::Liveness).await.status, Status::Up);
//! breaker.isolate();
//! let report = health.report(Probe::Readiness).await;
//! assert_eq!(report.check("circuit_breaker/recommendations").unwrap().status, Status::Degraded);
//! assert!(report.to_json().starts_with(r#"{"status":"degraded","checks":{"database":{"status":"up","critical":true"#));
//! # Ok::<(), resilience_core::ConfigError>(())
//! # }).unwrap();
//! ```
//!
//! # Probes
//!
//! | probe | asks | down means | holds |
//! |---|---|---|---|
//! | [`Liveness`](Probe::Liveness) | would a restart help? | restart it | checks made [`liveness`](Check::liveness); without any, always up |
//! | [`Readiness`](Probe::Readiness) | can it take work? | send it none | the other checks, startup, policies, [`drain`](Health::drain) |
//! | [`Startup`](Probe::Startup) | has it begun? | wait | checks made [`startup`](Check::startup), each until it has been good once |
//! | [`All`](Probe::All) | how is it? | | everything, for people |
//!
//! # Behaviour
//!
//! ```text
//!  prober ─┐                 ┌─ check: asked a moment ago ──────────► its last answer
//!  prober ─┼─► probe ─► all ─┼─ check: under way, for another ──────► the answer of that run
//!  prober ─┘                 ├─ check: runs, at most `timeout` ─────► up, or down (degraded within its `grace`)
//!                            └─ policies of the registry ───────────► up or degraded
//!                                           the worst of them ──────► the report
//! ```
//!
//! All checks of a probe are asked at once. Each runs once for all who ask at the same time, and its answer is given
//! again until [`min_interval`](Check::min_interval) has passed, so a storm of probes is one question. A run that does
//! not end in time, or panics, has failed, and its future is dropped. The report's status is the worst of its checks',
//! where a critical check that failed is down, and one that is [`degrading`](Check::degrading), or was good within its
//! [`grace`](Check::grace), is degraded. Policies of a [registry](crate::registry) are degraded at worst.
//!
//! # Defaults
//!
//! | option | default | why |
//! |---|---|---|
//! | weight | critical | who adds a check means it |
//! | probe | readiness | a dependency that is down is no reason to restart |
//! | `timeout` | 1 s | what Kubernetes gives a probe |
//! | `min_interval` | 1 s | younger than the usual time between probes, older than a storm |
//! | `grace` | zero | what failed has failed |
//!
//! # HTTP
//!
//! With the features `http` and `tower`: `HealthService` answers probes by path with 200 or 503 and the report as JSON,
//! `HealthLayer` does so in front of another service, and does not wait for it: what has too much to do is asked by its
//! liveness probe too, and should not be restarted for it.
//!
//! # Events and errors
//!
//! It emits nothing: a report is what is asked for, and who asks can count it. A wrong configuration is a
//! [`ConfigError`](crate::ConfigError); a check's own error is in the report, as text.
//!
//! # Interplay
//!
//! It stands beside the stacks and not in them. Through the [registry](crate::registry) it shows which circuits are open and
//! which budgets are spent; that degrades a report and never takes the program out of service, since to go on without
//! a dependency is what those policies are for. Behind a [bulkhead](crate::bulkhead) or a rate limiter a probe would be
//! refused when it matters: put `HealthLayer` outside of both.
//!
//! # Do and don't
//!
//! - Do ask a dependency whether it is there. Don't ask a service for the health of all that it needs: one outage then
//!   takes everything out of service.
//! - Do let what the program can do without only [degrade](Check::degrading).
//! - Don't put a database into liveness: those that wait for it are restarted, and it is no better.
//! - Do [`drain`](Health::drain) before the listener closes.
//!
//! # Limits
//!
//! Nothing runs in the background: what is never asked for is never checked. A run belongs to all who wait for it and
//! has the [context](crate::context) of none: no prober's deadline ends it, no prober's trace shows in it. A check that
//! blocks its thread blocks who asked. What is told to a prober may be read by anybody who can reach it; leave errors
//! out where that matters.

mod check;
#[cfg(all(feature = "http", feature = "tower"))]
mod endpoint;
mod flight;
mod machine;
mod policy;
mod report;

pub use self::check::Check;
#[cfg(all(feature = "http", feature = "tower"))]
pub use self::endpoint::{HealthLayer, HealthService, InFront, ResponseFuture};
pub use self::policy::{Health, HealthBuilder, Reporting};
pub use self::report::{Checked, Report};
#[cfg(all(feature = "http", feature = "tower"))]
pub use crate::oneshot::Oneshot;

/// How something is. Ordered: what is worse is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It works.
    #[default]
    Up,
    /// It works, and less well than it should.
    Degraded,
    /// It does not work.
    Down,
}

impl Status {
    /// The status as a word: `up`, `degraded`, `down`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// What is asked; see the [table](self#probes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Probe {
    /// Would a restart help?
    Liveness,
    /// Can it take work?
    Readiness,
    /// Has it begun?
    Startup,
    /// How is it?
    All,
}

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom), feature = "tokio"))]
mod tests;
