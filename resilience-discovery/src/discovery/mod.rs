//! Decides which of a source's statements to believe, and keeps the last good endpoints.
//!
//! # Why
//!
//! A registry is the weakest part of the path it describes. It restarts, loses its quorum, answers with an empty list while it
//! recovers, and its watch streams die without a word. A client that takes each statement at face value turns the registry's
//! trouble into an outage of services that are up; a client that passes the stream's error on ends with it. So the rules
//! for belief are in one place, the same for every [`Source`](crate::Source), as a pure machine ([`EndpointSet`]); a task feeds it.
//!
//! # Behaviour
//!
//! - **The last good endpoints stay.** A source that fails, panics or falls silent changes the freshness and nothing else.
//!   It is tried again, for ever, with a growing wait or after the [time it names](crate::SourceError::with_retry_after).
//! - **"There are none" must be said twice.** Emptiness is believed when it was stated
//!   [`empty_confirmations`](Rules::empty_confirmations) times over [`empty_span`](Rules::empty_span). Until then the snapshot is stale. At a
//!   cold start it is believed at once: there is nothing to lose.
//! - **A fleet does not halve in a moment.** A statement that names fewer than half of what the last believed one did keeps those it
//!   leaves out, as [suspects](crate::Snapshot::suspects), until it is repeated after [`shrink_span`](Rules::shrink_span); whom it adds is
//!   used at once. This is Eureka's self-preservation, on the client's side. Slower losses pass: the guard is for broken statements, not for
//!   broken fleets, whose endpoints the balancer avoids one by one.
//! - **Who flaps may stay.** With a [`removal_grace`](Rules::removal_grace) an endpoint is dropped only after missing for that long.
//! - **Changes are gathered.** At most one snapshot per [`debounce`](Rules::debounce) has other endpoints than the one before, except
//!   from none to some, for which a call may be waiting, and from some to none.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_discovery::{Discovery, FileSource, Freshness};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("payments.toml");
//! # std::fs::write(&path, "[[endpoints]]\naddress = \"10.0.0.7:8080\"\n")?;
//! let discovery = Discovery::builder()
//!     .name("payments")
//!     .removal_grace(Duration::from_secs(10))
//!     .build(FileSource::new(path))?;
//! let snapshot = discovery.first().await;
//! assert_eq!(snapshot.endpoints()[0].to_string(), "10.0.0.7:8080@10.0.0.7:8080");
//! assert_eq!(snapshot.freshness(), Freshness::Live);
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | `confirm_empty` | 2 statements over 30 s | longer than a registry's restart, shorter than anybody's patience with a service that is gone |
//! | `max_shrink` | 0.5, repeated after 30 s | a rollout replaces a quarter at a time; a registry that lost a shard loses half |
//! | `removal_grace` | none | a source that says "gone" is believed; set it where registrations flap |
//! | `debounce` | 100 ms | ten rebuilds a second at the most, and no person notices |
//! | `backoff` | 1 s doubling to 30 s, less up to half at random | a registry that comes back is not met by everybody at once |
//! | silence | two [heartbeats](crate::Source::heartbeat) | one may be late |
//!
//! # Events
//!
//! | event | severity | when |
//! |---|---|---|
//! | `updated` | info | endpoints were added, removed or changed |
//! | `source_failed` | warn | an attempt failed; with the cause and the wait |
//! | `stale` | warn | the source does not stand by the endpoints any more |
//! | `recovered` | info | it does again, or for the first time; with how long it did not |
//! | `withheld` | warn | endpoints are kept against the source's word |
//!
//! # Errors
//!
//! None after `build()`: knowledge gets old, it does not fail. Whether old knowledge is good enough is for its user to say, who
//! finds [`Freshness`](crate::Freshness) in each snapshot; a health check would report `stale` as degraded, not as down.
//!
//! # Interplay
//!
//! A balancer follows a discovery, and several may follow one: the registry is asked once per discovery,
//! not once per balancer. The rules speak about the registry only; an endpoint that is listed and does not answer is the balancer's
//! and the endpoint's own breaker's business, and comes back without the registry's help.
//!
//! # Limits
//!
//! - What is known is kept in memory: after a restart with the registry down there are no endpoints. Write a [`Source`](crate::Source) that
//!   falls back to a file if that matters.
//! - A registry that is wrong by less than `max_shrink` at a time, and goes on being wrong, is believed.
//! - A source that says the same wrong thing twice over the span is believed as well: time and repetition are all there is to go by.

#[cfg(feature = "tokio")]
mod config;
#[cfg(feature = "tokio")]
mod driver;
mod event;
mod machine;
#[cfg(feature = "tokio")]
mod policy;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(feature = "tokio")]
pub use self::config::DiscoveryBuilder;
pub use self::event::Event;
pub use self::machine::{Changes, EndpointSet, Rules};
#[cfg(feature = "tokio")]
pub use self::policy::{Discovery, Subscription};
