//! Client-side discovery and load balancing for [tower] services.
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
//! [tower]: https://docs.rs/tower
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
#[cfg(feature = "tower")]
pub mod balance;

pub mod discovery;
mod endpoint;
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
