//! Client-side discovery and load balancing for [tower] services.
//!
//! # Why
//!
//! A client that calls a service with several instances needs to know which there are, to notice when that changes, and
//! to choose one per call. Done by hand, each of the three fails in its own way: the registry's hiccup empties the list,
//! a removed instance takes calls with it, one lock or one task in the middle serialises all callers. Here they are three
//! parts with a contract between each two:
//!
//! | part | does | never |
//! |---|---|---|
//! | a [`Source`] | states which endpoints a registry, a file, a list names | keeps, smooths or doubts |
//! | [`Discovery`] | decides which statements to believe, and keeps the last good endpoints | fails |
//! | [`Balance`] | sends each call to the less loaded of two endpoints | locks, queues, or errs because an endpoint does |
//!
//! # Behaviour
//!
//! The endpoints a source names are believed by [rules](discovery#behaviour): the last good ones stay when the source fails, and a
//! single statement that empties the list or more than halves it removes nobody. Each endpoint gets a service of its own, made by a function of yours and made ready before calls
//! come. A call draws two and takes the one with fewer calls in flight; who is not ready, broken or refuses is [avoided](balance#behaviour).
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::Error;
//! use resilience_discovery::{Balance, Discovery, Endpoint, FileSource};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("payments.toml");
//! # std::fs::write(&path, "[[endpoints]]\nid = \"payments-1\"\naddress = \"10.0.0.7:8080\"\n")?;
//! // The file lists the endpoints, and may be replaced at any time.
//! let discovery = Discovery::builder().name("payments").build(FileSource::new(path))?;
//!
//! // One service per endpoint, made here: usually an HTTP client within a stack of policies of its own.
//! let client = |endpoint: &Endpoint| {
//!     let address = endpoint.address().clone();
//!     tower::service_fn(move |request: u32| {
//!         let address = address.clone();
//!         async move { Ok::<_, Error<std::io::Error>>(format!("{address} answers {request}")) }
//!     })
//! };
//! let payments = Balance::builder().wait(Duration::from_secs(3)).build(&discovery, client)?;
//!
//! // Clones share endpoints and load; each task calls its own.
//! assert_eq!(payments.clone().oneshot(7).await?, "10.0.0.7:8080 answers 7");
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//!
//! Of the [discovery](discovery#defaults), of the [balancer](balance#defaults); a [`FileSource`] looks every 200 ms. The ones to know:
//!
//! | setting | default | change it when |
//! |---|---|---|
//! | [`max_shrink`](discovery::DiscoveryBuilder::max_shrink) | 0.5, confirmed over 30 s | you scale down by more than half at once and want that to show sooner |
//! | [`removal_grace`](discovery::DiscoveryBuilder::removal_grace) | none | registrations flap |
//! | [`wait`](balance::BalanceBuilder::wait) | 3 s | callers would rather be refused at once, or can bridge a longer restart |
//!
//! # Events
//!
//! [`discovery::Event`] tells what is known and how it changed, [`balance::Event`] what became of endpoints and of calls that found none; any
//! [`Sink`](resilience_core::event::Sink) hears both, among them those that write logs and metrics.
//!
//! # Errors
//!
//! A [`Discovery`] has none: see [`Freshness`]. A [`Balance`] refuses with [`Reason::NoEndpoint`](resilience_core::Reason::NoEndpoint) or
//! [`Reason::Deadline`](resilience_core::Reason::Deadline), which means that nothing was sent; an endpoint's answer passes unchanged.
//!
//! # Interplay
//!
//! Retry and total timeout go around a [`Balance`], breaker, bulkhead and per-attempt timeout within, around each endpoint's service: an
//! endpoint's breaker is its outlier ejection. The [balancer's chapter](balance#interplay) says why.
//!
//! # Limits
//!
//! Both parts need a tokio runtime to live in. Weights and zones are carried and not read. One process balances by what it sees itself:
//! two clients do not know of each other's calls.
//!
//! # Features
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `tokio` | yes | [`Discovery`], [`FileSource`], the default timer |
//! | `tower` | yes | [`Balance`] |
//!
//! Without any, the rules remain: [`EndpointSet`] and [`outlier`] detection, driven by hand.
//!
//! [tower]: https://docs.rs/tower
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
#[cfg(feature = "tower")]
pub mod balance;

pub mod discovery;
mod endpoint;
pub mod outlier;
mod snapshot;
mod source;
#[cfg(all(test, feature = "tokio", not(loom)))]
mod testing;

pub use self::address::{Address, InvalidAddress};

#[cfg(feature = "tower")]
pub use self::balance::Balance;
#[cfg(feature = "tokio")]
pub use self::discovery::Discovery;
pub use self::discovery::{Changes, EndpointSet, Rules};
pub use self::endpoint::{Endpoint, EndpointId};
pub use self::snapshot::{Freshness, Snapshot};
#[cfg(feature = "tokio")]
pub use self::source::{FileSource, FileSourceBuilder, Format, ParseError};
pub use self::source::{Source, SourceError, StaticSource, Update};
