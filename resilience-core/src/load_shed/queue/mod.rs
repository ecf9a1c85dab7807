//! Refusal of who waited too long, when everybody does.
//!
//! # Why
//!
//! A server that gets more than it can do answers everybody late: each call waits behind all those before it, until none
//! is answered while somebody still wants to know. Bounding the length of the queue does not help, because a length says
//! nothing about time. So this goes by time: a queue that drains is a burst and fine, a queue that stands is overload, and
//! some have to go so that the others are in time.
//!
//! # Behaviour
//!
//! ```text
//!  calls ──► queue ──► taken up: waited too long for its criticality, while the queue stands? ── yes ──► refused
//!                         │ no                                                                             ▲
//!                         └─ waited at all, and falls into the share to refuse? ── yes ────────────────────┤
//!                         │ no                                                                             │
//!                         ▼                     once an interval: least wait above `target`? share up,     │
//!                       runs                                              below? share down ───────────────┘
//! ```
//!
//! A call is judged when it is taken up, by how long it has waited. Two rules:
//!
//! - **How many.** Once an interval, the wait of the luckiest call in it is compared with the target and with the interval
//!   before, and the share of calls to refuse is counted up or down until that wait is the target: a
//!   proportional-integral controller, as PIE's (RFC 8033). The least critical are refused first. A call that did not wait
//!   is never refused.
//! - **How long.** While the queue stands, that is while even the luckiest call of an interval waited for longer than the
//!   target ([`CoDel`](crate::control::CoDel)), a call is refused that waited for longer than the
//!   [patience](QueueShedBuilder::patience) with its criticality.
//!
//! CoDel alone refuses everybody who is late in one interval and nobody in the next. That is right for TCP, whose senders
//! slow down; requests do not. In a simulation of twice the capacity with two fifths critical, it serves 74 % of the
//! critical though they may wait for twice as long as the others; this serves 99.9 %, at a median wait of 10 ms
//! (`src/load_shed/queue/tests.rs`).
//!
//! # Example
//!
//! As a layer it measures how long the inner service takes to get ready, such as a limit with a queue:
//!
//! ```
//! use resilience_core::bulkhead::Bulkhead;
//! use resilience_core::load_shed::QueueShed;
//! use resilience_core::LiftLayer;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shed = QueueShed::builder().name("front").build()?;
//! let workers = Bulkhead::builder().limit(32).queue(100_000).build()?;
//! let service = ServiceBuilder::new()
//!     .layer(shed.layer())
//!     .layer(workers.layer())
//!     .layer(LiftLayer)
//!     .service(service_fn(async |page: u32| Ok::<_, std::io::Error>(page + 1)));
//! assert_eq!(service.oneshot(1).await?, 2);
//! # Ok(())
//! # }
//! ```
//!
//! For a queue of your own, say how long each call was in it: [`QueueShed::try_admit`].
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`target`](QueueShedBuilder::target) | 5 ms | CoDel's and folly's; little beside the work, enough to keep the server busy |
//! | [`interval`](QueueShedBuilder::interval) | 100 ms | CoDel's and folly's: bursts shorter than that are let in |
//! | [`patience`](QueueShedBuilder::patience) | 2, 4, 40 and 40 targets | folly's 2 for who is to go first; others for longer than it takes the controller to find the share |
//! | [`cohort`](QueueShedBuilder::cohort) | by chance | |
//! | [`dry_run`](QueueShedBuilder::dry_run) | off | |
//!
//! # Events and errors
//!
//! [`Event::Rejected`](super::Event::Rejected) and, in a dry run, `WouldReject`; the probability is 1 for who waited too
//! long. The only error is [`Rejected`](crate::Rejected) with [`Reason::QueueDelay`](crate::Reason::QueueDelay), and a
//! `retry_after` of one interval.
//!
//! # Interplay
//!
//! In a server, outermost, in front of whatever makes calls wait. A [bulkhead](crate::bulkhead) with a CoDel discipline does
//! the like in its own queue, without a controller; not both.
//!
//! # Do and don't
//!
//! - Do give the queue behind it room: how long it may get is decided here, by time.
//! - Do let requests bring their criticality: without, all are equal and chance decides.
//! - Don't set `target` to almost nothing: a server whose queue is always empty stands idle between two calls.
//!
//! # Limits
//!
//! As a layer it sees only the time from the first `poll_ready` on: what a call waited in a socket or a `Buffer` in front,
//! tell it yourself. A call that gives up while it waits is not seen if its service goes with it, as the clone that was made
//! for one call does; where the service stays, the next call's wait is counted from when that one began. A call that is
//! refused after its wait leaves the inner service ready: where that holds a slot, drop the service, as `oneshot` does.

mod config;
mod machine;
mod policy;
#[cfg(feature = "tower")]
mod service;

pub use self::config::QueueShedBuilder;
pub use self::policy::{QueueShed, Snapshot};
#[cfg(feature = "tower")]
pub use self::service::{QueueShedLayer, QueueShedService};

#[cfg(all(test, not(loom)))]
mod tests;
