//! Ownership for a while, and proof against those who have lost it without knowing.
//!
//! # Why
//!
//! A lease says who may act: one node runs the saga engine, one relays the outbox. It cannot say who *does* act. A
//! process that is stopped for a minute (a collector, a debugger, a virtual machine that moves) wakes up in the belief
//! that its lease is fresh, and writes. No clock on its side can prevent that, for the write may already be under way.
//! So the lease is for liveness only, and safety is checked where the write arrives: each new owner gets a higher
//! [`FencingToken`], every call carries it, and the receiver refuses what is older than the newest it has seen (M.
//! Kleppmann, "How to do distributed locking", 2016; C. Gray and D. Cheriton, "Leases", SOSP 1989).
//!
//! | part | what it does | side |
//! |---|---|---|
//! | [`Leases`] | who owns what: acquire, renew, release; a trait, for engines that outlive a process | owner |
//! | [`MemoryLeases`] | the engine for one process, and for tests | owner |
//! | [`Ownership`] | what this process owns now, and [keeps](Ownership::keep); its layer stamps outgoing calls, and refuses them once it is over | owner |
//! | [`Fence`] | the newest token of each resource; its layer refuses what is older | receiver |
//! | [`conformance`] | the laws every engine keeps, to be run on yours | tests |
//!
//! # Behaviour
//!
//! ```text
//!            acquire: token 33          stopped ▒▒▒▒▒▒▒▒▒▒▒▒ wakes up, and its write arrives
//! node-1 ────●━━━━━━━━━ renew ━━━━━━━━━━▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒●─────────────╮ 33
//! lease      ├──────── until ───────┤├───── until ──────┤                  │
//! node-2 ────────── held ───── held ──────── acquire: token 34 ●━━━╮ 34    │
//! fence      newest 33                                             ▼ 34    ▼ 33 < 34: refused
//! ```
//!
//! A lease is over at its end, by the engine's clock, whether or not anybody is looking. A renewal keeps the token;
//! every other way to get the lease back gives a higher one. A fence raises its mark with each newer token, lets equal
//! ones through and refuses older ones.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::lease::{Fence, Leases, MemoryLeases, Ownership};
//! use resilience_core::time::ManualTimer;
//! use resilience_core::{Error, context};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # futures::executor::block_on(async {
//! let timer = ManualTimer::new();
//! let leases = MemoryLeases::new(timer.clone());
//! let ttl = Duration::from_secs(10);
//!
//! // The resource: it remembers the newest owner it has heard of.
//! let fence = Fence::builder().name("ledger").build()?;
//! let ledger = ServiceBuilder::new()
//!     .layer(fence.layer(|_: &&str| "accounts"))
//!     .service(service_fn(async |entry: &'static str| Ok::<_, Error<std::io::Error>>(entry)));
//!
//! // Two owners, one after the other.
//! let mine = Ownership::builder().timer(timer.clone()).build()?;
//! let theirs = Ownership::builder().timer(timer.clone()).build()?;
//! let first = leases.acquire("accounts", "node-1", ttl).await?.granted().unwrap();
//! mine.grant(first.clone());
//! let asleep = mine.layer().token(); // what a call that was about to be sent has in hand
//! timer.advance(ttl);
//! theirs.grant(leases.acquire("accounts", "node-2", ttl).await?.granted().unwrap());
//!
//! let write = |owner: &Ownership| ServiceBuilder::new().layer(owner.layer()).service(ledger.clone()).oneshot("+5");
//! assert_eq!(write(&theirs).await.unwrap(), "+5");
//! assert!(write(&mine).await.unwrap_err().is_rejected()); // knows by its own clock that it is over
//!
//! let zombie = context::Context::new().with_fencing_token(asleep.unwrap()); // does not look at a clock any more
//! let refused = zombie.scope(ledger.oneshot("-5")).await.unwrap_err();
//! assert_eq!(refused.to_string(), "refused by ledger: not from the owner");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # Defaults
//!
//! | option | default | why |
//! |---|---|---|
//! | `Fence`: calls without a token | refused | who does not say who it is may be anybody |
//! | `Fence`: `max_resources` | 65,536 | forgetting a token would let its zombies in, so a fence that is full refuses new resources |
//! | `Fence`: `dry_run` | off | |
//! | `name` | `fence`, `ownership` | |
//!
//! # Events
//!
//! [`Event`], as `resilience.lease.*`: `granted`, `lost`, `advanced`, and `rejected` and `would_reject` with their
//! reason.
//!
//! # Errors
//!
//! [`Rejected`](crate::Rejected) with [`Reason::Fenced`](crate::Reason::Fenced): not sent, or not let through; to
//! repeat it is of no use. Engines have an error of their own.
//!
//! # Interplay
//!
//! Over HTTP and gRPC the token goes in a header: [`InjectLayer`] inside of the stamp, [`ExtractLayer`] outside of the
//! fence. A fence holds for what it guards and for as long as its process runs: one in front of a store forgets with
//! each restart, so tell it what the store knows ([`Fence::observe`]), or better, check the token in the store's own
//! transaction, as `resilience-cqrs` does.
//!
//! # Do and don't
//!
//! - Do check the token where the effect is made, in the same transaction if there is one.
//! - Do choose `ttl` by how long nobody may own the resource, and let [`Ownership::keep`] renew it at a third of that.
//! - Don't ask [`Ownership::token`] once and work on for minutes: ask for each effect, or send through the layer.
//! - Don't take tokens of two engines to one fence.
//!
//! # Limits
//!
//! A fence compares; it does not authenticate. Tokens of one resource must come from one engine.
//!
//! [`InjectLayer`]: https://docs.rs/resilience-core/latest/resilience_core/http/struct.InjectLayer.html
//! [`ExtractLayer`]: https://docs.rs/resilience-core/latest/resilience_core/http/struct.ExtractLayer.html
//! [`FencingToken`]: crate::context::FencingToken

pub mod conformance;
mod event;
mod fence;
#[cfg(feature = "tower")]
mod future;
mod keep;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod memory;
mod ownership;
mod store;

pub use self::event::Event;
pub use self::fence::{Fence, FenceBuilder};
#[cfg(feature = "tower")]
pub use self::future::ResponseFuture;
#[cfg(feature = "tower")]
pub use self::layer::{FenceLayer, FenceService, StampLayer, StampService};
pub use self::memory::MemoryLeases;
pub use self::ownership::{Ownership, OwnershipBuilder};
pub use self::store::{Acquired, Lease, Leases};

#[cfg(all(test, loom))]
mod loom_test;
#[cfg(all(test, not(loom), feature = "tokio", feature = "tower"))]
mod tests;
