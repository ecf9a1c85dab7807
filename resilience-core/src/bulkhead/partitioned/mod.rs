//! One limit for many tenants, of which each has a share it can always have.
//!
//! # Why
//!
//! A limit that all tenants share is spent by the one that sends most. A limit for each wastes what the others do not
//! use. With shares, whoever comes uses what is free, and a tenant that comes late still gets what it was promised.
//!
//! # Behaviour
//!
//! A call is refused only while the whole is full *and* its own partition has its share. So the whole may exceed the limit,
//! by no more than the shares that others have not taken up when it fills: with a limit of 10 and shares of 0.5 and 0.3, a
//! tenant without a share may hold all 10 slots, and the two may still have their 8. The rule is
//! [`control::Shares`](crate::control::Shares), after Netflix's partitioned limiter.
//!
//! ```text
//!  limit 10   gold: 5 of its own   silver: 3 of its own   anybody: none
//!
//!  anybody ██████████            all 10, while nobody else wants them
//!  gold    ▒▒▒▒▒                 comes late, and still gets its 5: 15 in all
//!  silver  ▒▒▒                   and its 3: 18, and no more
//! ```
//!
//! A share is a ratio of the limit, rounded up, and at least one slot; it follows the limit when that is resized, by hand
//! or by an adaptive limit.
//!
//! Keys that were given no share have one partition between them, so that strangers cost no memory however many they are.
//! What they can always have, together, is [`others`](PartitionedBulkheadBuilder::others): nothing, unless it is said.
//!
//! There is no queue: a call of one tenant that waits for another's slot would have to be ordered by who deserves it, and
//! the limit is there to protect those behind it, not to be fair to the one that exceeds its share. Put a queueing
//! [`Bulkhead`](super::Bulkhead) outside if bursts of all together should wait.
//!
//! # Example
//!
//! ```
//! use resilience_core::bulkhead::partitioned::PartitionedBulkhead;
//! use resilience_core::{Error, LiftLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # futures::executor::block_on(async {
//! struct Query { tenant: &'static str }
//!
//! let tenants = PartitionedBulkhead::builder().name("search").limit(4).share("gold", 0.5).build()?;
//! let mut service = ServiceBuilder::new()
//!     .layer(tenants.layer(|query: &Query| query.tenant))
//!     .layer(LiftLayer)
//!     .service(service_fn(async |query: Query| Ok::<_, std::io::Error>(query.tenant.len())));
//!
//! let crawlers: Vec<_> = (0..4).map(|_| tenants.try_acquire("crawler").unwrap()).collect(); // all that is there
//! let refused = service.ready().await.unwrap().call(Query { tenant: "another" }).await.unwrap_err();
//! assert_eq!(refused.to_string(), "refused by search: all 4 slots taken and 0 calls waiting");
//! assert_eq!(service.ready().await.unwrap().call(Query { tenant: "gold" }).await.unwrap(), 4);
//! # drop(crawlers);
//! # Ok::<_, resilience_core::ConfigError>(()) }).unwrap();
//! ```
//!
//! # Defaults
//!
//! | option | default | why |
//! |---|---|---|
//! | `limit` | none, must be given | it is the capacity of what lies behind |
//! | `share` | none, at least one must be given | without any, it is a bulkhead |
//! | `others` | 0 | what nobody was promised is not kept free for anybody |
//! | `dry_run` | off | on, it counts and tells what it would refuse, and lets all pass |
//! | `name` | `bulkhead` | |
//! | `timer` | tokio's | read for listeners only |
//!
//! # Events and errors
//!
//! Those of the [bulkhead](super#events): `admitted`, `released`, `rejected`, `would_reject`, `resized`. A refusal is
//! [`Reason::Full`](crate::Reason::Full), with the limit; [`partition`](PartitionedBulkhead::partition) says how many each
//! partition had.
//!
//! # Interplay
//!
//! As the bulkhead's. As a layer, it learns the key from the request, which is there only after readiness: a call of a
//! tenant that is refused for itself waits for the inner service to be ready, as any call does. While nobody at all can
//! get in, the service is ready at once and refuses whoever comes.
//!
//! # Do and don't
//!
//! - Do leave some of the limit unpromised: it is what bursts live on.
//! - Do size what lies behind for the limit and the largest share that may come late, or lower the limit by it.
//! - Don't take the key from what a stranger may write: a header is a claim, a token is a proof.
//!
//! # Limits
//!
//! 4,194,303 calls at once. An admission takes a short lock, which all keys share, twice: to take the slot and to give it
//! back. Key and shares are looked up in a table that is made once.

mod config;
mod policy;
#[cfg(feature = "tower")]
mod service;
mod shared;

pub use self::config::PartitionedBulkheadBuilder;
pub use self::policy::{Partition, PartitionedBulkhead, PartitionedSnapshot, Permit};
#[cfg(feature = "tower")]
pub use self::service::{PartitionedBulkheadLayer, PartitionedBulkheadService, ResponseFuture};

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom), feature = "tokio"))]
mod tests;
