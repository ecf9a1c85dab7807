//! Many calls as one.
//!
//! # Why
//!
//! A round trip, a transaction, a sync to disk cost the same for one row as for a hundred. Callers that each ask for one
//! row do not know of each other; so somebody has to wait a moment, put what came together into one call, and tell each
//! its own answer. What goes wrong then is known: one caller's cancellation fails the others, a batch is held up by a
//! timer nobody holds any more, an answer too few is handed out one off, and a batch that was sent is sent again since
//! the one who sent it is gone. Here
//!
//! - a batch is sent when it is **full** (by size or weight), when its **time** is over, or when too many others are open,
//!   whichever comes first, its calls in the order in which they came;
//! - it needs **no task of its own**: one of those who wait drives it, and when that one leaves, another goes on, with
//!   the timer as with the call under way, which is never made anew;
//! - who leaves before it is sent is **not in it**; when all have left, the call is dropped;
//! - answers that do not match the calls in number are **nobody's**.
//!
//! # Example
//!
//! ```
//! use resilience_core::Rejected;
//! use resilience_core::batch::{Batch, Unanswered};
//! use tower::{Service, ServiceBuilder, service_fn};
//!
//! #[derive(Clone, Debug, PartialEq)]
//! enum Failed { NoSuch(u32), Busy, Unanswered(Unanswered) }
//! # impl From<Rejected> for Failed { fn from(_: Rejected) -> Self { Self::Busy } }
//! # impl From<Unanswered> for Failed { fn from(error: Unanswered) -> Self { Self::Unanswered(error) } }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let batch = Batch::builder().name("prices").size(100).build()?;
//! let mut prices = ServiceBuilder::new().layer(batch.layer()).service(service_fn(async |skus: Vec<u32>| {
//!     // SELECT price FROM prices WHERE sku = ANY($1)
//!     Ok(skus.into_iter().map(|sku| if sku < 10 { Ok(100 * sku) } else { Err(Failed::NoSuch(sku)) }).collect::<Vec<_>>())
//! }));
//! let answers = futures::join!(prices.call(7), prices.call(12), prices.call(3));
//! assert_eq!(answers, (Ok(700), Err(Failed::NoSuch(12)), Ok(300)));
//! assert_eq!(batch.snapshot().batches, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Without tower: [`Batch::over`].
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`size`](BatchBuilder::size) | 100 | most of what a round trip costs is saved by then |
//! | [`delay`](BatchBuilder::delay) | 2 ms | about a round trip in a data centre: a lone call takes twice as long, and no longer |
//! | [`weight`](BatchBuilder::weight) | any | each request weighs 1 unless [`weigh`](BatchLayer::weigh) says otherwise |
//! | [`limit`](BatchBuilder::limit) | 10,000 calls that wait | bounded memory; above what a destination that is well ever sees |
//! | [`group_by`](BatchLayer::group_by) | all together | |
//! | [`keys`](BatchBuilder::keys) | 1,000 | more shards than most have; by a key that anybody can vary, batches go early and are small, and nothing grows |
//! | [`dry_run`](BatchBuilder::dry_run) | off | for the limit |
//!
//! # Behaviour
//!
//! ```text
//! call 1 ●───────────────┐                         ┌─▶ answer 1
//! call 2     ●───────────┤                         ├─▶ answer 2
//! call 3          ●── left                         │
//! call 4               ●─┴──▶ one call of three ───┴─▶ answer 4
//!        ├──── delay ────┤
//!        open            due, sent                 done
//! ```
//!
//! A batch's time begins with its first call. A call that makes it too heavy sends it on its way and begins the next; one
//! that is too heavy for any goes alone. The call of a batch belongs to many and has the [context](crate::context) of
//! none: no deadline, no trace but what is set inside; a caller's own deadline ends its wait and nobody else's.
//!
//! While it waits, a caller is polled when its batch is done, or when it is to drive it; however often the call
//! itself wakes its driver, the others sleep.
//!
//! # Events and errors
//!
//! [`Event`]: sent, with size and wait; answered, failed. A call fails with its own error from the list, or with that of
//! the batch, cloned; [`Rejected`](crate::Rejected) with [`Full`](crate::Reason::Full) means that it was not sent, and
//! [`Unanswered`] that it was and nobody knows what became of it.
//!
//! # Interplay
//!
//! Retry, breaker and bulkhead inside see one call for each batch: that is what they should count. A retry outside
//! repeats a call in a later batch. A cache belongs outside. A timeout outside is one caller's; put one inside
//! too, since a batch that hangs holds all of its callers.
//!
//! # Do and don't
//!
//! - Do poll each call when it is woken. A `select!` in a loop that polls one of its branches no more for a while, but
//!   keeps it, may keep the driver of a batch.
//! - Don't batch what must not share a fate: one transaction for many is rolled back for many.
//!
//! # Limits
//!
//! What is allocated is a batch's and not a call's: the batch, its call, and its lists, which double as they grow. For a
//! batch of one that is seven allocations, for one of sixteen twelve, the list of answers included (`benches/peers`).
//! Batches of one destination share a lock for the time of joining and leaving.

mod call;
mod config;
mod dispatch;
mod error;
mod event;
mod group;
mod machine;
mod open;
mod policy;
#[cfg(feature = "tower")]
mod service;

pub use self::call::{Batched, Call};
pub use self::config::BatchBuilder;
pub use self::dispatch::{Alike, AllWell, Answers, Dispatch, Each, GroupBy, Split, Together, Weigh};
pub use self::error::Unanswered;
pub use self::event::Event;
pub use self::policy::{Batch, Snapshot};
#[cfg(feature = "tower")]
pub use self::service::{BatchLayer, BatchService, Splitting, ToService};

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom), feature = "tokio"))]
mod tests;
