//! Answers that are kept, and fetched once for all who ask.
//!
//! # Why
//!
//! A call that need not be made cannot fail. But a cache that is only a map with a time to live makes failures of its
//! own: the moment a hot key expires, all who ask for it call at once; the moment the backend is down, answers that
//! would still do are thrown away one after another; and a cache behind whose layer readiness is waited for is down with
//! the service it was to stand in for. So here
//!
//! - **one call is made for all who ask** for the same key at once. Whoever makes it may go: one of those who wait goes
//!   on in its place, and the others are not even woken;
//! - **stale answers are served** while one call fetches a new one, and when that call fails, each in a window of its own
//!   (RFC 5861);
//! - **a hit asks nothing of the service** behind: not whether it is ready, not a clone, not a permit;
//! - **an invalidation holds**: an answer that was asked for before it reaches whoever asked, and is not kept.
//!
//! What is kept lies in a map of the crate [quick_cache], bounded, evicting by use (S3-FIFO); all that has to
//! do with time is decided here, so that one clock rules it. Hence the feature `cache`: it brings that crate and the three
//! it needs.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use resilience_core::cache::{Cache, Ttl};
//! use resilience_core::{Error, LiftLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ttl = Ttl::fresh(Duration::from_secs(60))
//!     .stale_while_revalidate(Duration::from_secs(30))
//!     .stale_if_error(Duration::from_secs(3_600));
//! let pages: Cache<u32, Arc<str>, Error<std::num::ParseIntError>> = Cache::builder().name("pages").ttl(ttl).build()?;
//! let service = ServiceBuilder::new()
//!     .layer(pages.layer(|page: &u32| (*page < 100).then_some(*page))) // the others are not kept
//!     .layer(LiftLayer)
//!     .service(service_fn(async |page: u32| Ok(Arc::from(format!("page {page}")))));
//! for _ in 0..3 {
//!     assert_eq!(&*service.clone().oneshot(7).await?, "page 7");
//! }
//! let seen = pages.snapshot();
//! assert_eq!((seen.loads, seen.hits), (1, 2));
//! pages.invalidate(&7);
//! # Ok(())
//! # }
//! ```
//!
//! Without tower: [`Cache::get_or_load`]. With writes, through the cache or behind it: [`mod@write`].
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`capacity`](CacheBuilder::capacity) | 10,000 answers | some megabytes of what is cached most; what is large wants [`weigh`](CacheBuilder::weigh) |
//! | [`ttl`](CacheBuilder::ttl) | 60 s, never stale | long enough to take the load off, short enough to notice a change; that older answers do must be said by whoever knows |
//! | [`negative_ttl`](CacheBuilder::negative_ttl) | no error is kept | a broken connection is not an answer |
//! | [`own_errors`](CacheBuilder::own_errors) | none | which errors are a caller's own only the caller knows |
//! | [`jitter`](CacheBuilder::jitter) | 0 | a time that was asked for is kept; 0.1 is a good value where many answers come at once |
//! | [`pause_after_failure`](CacheBuilder::pause_after_failure) | 1 s | a backend that is down is asked for a stale key once a second, not by each caller |
//! | [`dry_run`](CacheBuilder::dry_run) | off | |
//!
//! # Behaviour
//!
//! ```text
//!        fresh              stale-while-revalidate      stale-if-error
//! |------------------------|--------------------------|-----------------------|
//! answer  served             served; one call fetches   fetched; if that fails,  fetched
//! came                       a new one                  served
//! ```
//!
//! Both windows begin where freshness ends; the second matters where it is longer. Times count from the moment an answer
//! came. At its boundary a window is over, to the nanosecond.
//!
//! Who fetches the new answer while the old one is served? A caller that was served does not poll any more. By default
//! ([`InCall`]) the first caller past expiry makes the call inside its own and waits for it; everybody else is served at
//! once, and it too if the call fails. With [`Background`] (`layer.in_background(Background::tokio())`) a task makes the
//! call and nobody waits; its calls then must be `Send` and `'static`.
//!
//! # Events and errors
//!
//! [`Event`] names what each call came to, with the time of each fetch as a duration; keys are not told. The cache has no
//! errors of its own: it refuses nothing, and a panic of the service is the panic of the caller who made the call.
//!
//! # Interplay
//!
//! Outside of retry, breaker and bulkhead: a hit needs none of them, and a fetch passes them once for all who wait. What
//! they refuse is an error of the fetch: with a window for errors it is answered from the cache. A timeout outside is that
//! of one caller; the call it ends falls to one who waits. A timeout *inside* ends the call for all. The caller that
//! leads makes the call in its own [context](crate::context), its deadline included: if callers differ much in
//! patience, say with `own_errors` that a deadline is nobody else's.
//!
//! # Do and don't
//!
//! - Do make large answers cheap to clone: `Arc<Page>`, `Bytes`.
//! - Do put whatever changes the answer into the key: the tenant, the language. A key that says too little serves one
//!   user's answer to another.
//! - Don't cache by a key an attacker can vary without end and expect hits: the cache stays bounded, but useless.
//! - Don't call the cache from a key's `Hash` or `Eq`, or from an answer's `Clone`: they run under its locks.
//!
//! # Limits
//!
//! The cache is one process's. Answers past all use stay until they make room, or until [`Cache::purge`]. Capacity is
//! shared out evenly to the parts of the map, so it is reached a little early where keys are few. As many callers may
//! wait for a call as there are: bound them outside. Keys are hashed by foldhash, seeded for each process: safe from keys
//! made up to collide by somebody who does not know the seed, not from one who learns it from timing.
//!
//! [quick_cache]: https://docs.rs/quick_cache

mod config;
mod counts;
mod entry;
mod event;
#[cfg(feature = "tower")]
mod future;
mod landing;
#[cfg(feature = "tower")]
mod layer;
mod load;
mod machine;
mod policy;
mod refresh;
#[cfg(feature = "tower")]
mod service;
mod ttl;
pub mod write;

pub use self::config::CacheBuilder;
pub use self::counts::Snapshot;
pub use self::event::Event;
#[cfg(feature = "tower")]
pub use self::future::{CallInner, ResponseFuture};
#[cfg(feature = "tower")]
pub use self::layer::CacheLayer;
pub use self::load::{GetOrLoad, Load};
pub use self::machine::{Age, Lifetime};
pub use self::policy::Cache;
pub use self::refresh::{Background, InCall, Refresh, Refreshing, Spawn, Task};
#[cfg(feature = "tower")]
pub use self::service::CacheService;
pub use self::ttl::Ttl;
#[cfg(feature = "tower")]
pub use crate::oneshot::Oneshot;

#[cfg(all(test, feature = "tokio"))]
mod tests;
