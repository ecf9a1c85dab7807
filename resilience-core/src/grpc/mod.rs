//! The policies over gRPC, at the level of HTTP: status codes, pushback, refusals as responses.
//!
//! # Why
//!
//! A gRPC call that failed is an HTTP call that succeeded: 200, with the truth in `grpc-status`, most often in the
//! trailers after the last message. A breaker that reads the HTTP status never opens. What gRPC adds to HTTP is read and
//! written here, for stacks around a tonic channel or server as much as for any other that moves gRPC over `http` types.
//! For calls through generated clients, whose error is a `tonic::Status`, the feature `tonic` makes that an error every
//! layer can work with: it is made from a refusal and from a timeout, and is recognised as one.
//!
//! | part | what it does | side |
//! |---|---|---|
//! | [`ByCode`] | what a status code means; reads [`grpc-retry-pushback-ms`](PUSHBACK) | client |
//! | `ByTonicStatus` | the same for answers of generated clients (feature `tonic`) | client |
//! | [`until_end`] | holds a permit until the trailers are there, and settles it by them | client |
//! | [`InjectLayer::grpc`](crate::http::InjectLayer::grpc) | sends the context, with `grpc-timeout` | client |
//! | [`ExtractLayer::grpc`](crate::http::ExtractLayer::grpc) | reads it | server |
//! | [`answer`] | a refusal as a status, with pushback | server |
//!
//! # Example
//!
//! ```
//! use std::convert::Infallible;
//! use http::{Request, Response};
//! use resilience_core::circuit_breaker::CircuitBreaker;
//! use resilience_core::{LiftLayer, LowerLayer, grpc};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let breaker = CircuitBreaker::builder().name("ledger").build()?;
//! breaker.isolate();
//! let server = ServiceBuilder::new()
//!     .layer(LowerLayer::new(grpc::answer))
//!     .layer(breaker.layer())
//!     .layer(LiftLayer)
//!     .service(service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new(String::new()))));
//! let refused = server.oneshot(Request::default()).await?;
//! assert_eq!(refused.headers()["grpc-status"], "14"); // unavailable
//! assert_eq!(refused.headers()["grpc-message"], "refused by ledger: circuit is isolated");
//! # Ok(())
//! # }
//! ```

mod answer;
mod classify;
mod code;
#[cfg(feature = "tonic")]
mod tonic;

pub use self::answer::answer;
#[cfg(feature = "tower")]
pub use self::classify::until_end;
pub use self::classify::{ByCode, PUSHBACK};
pub use self::code::Code;
#[cfg(feature = "tonic")]
pub use self::tonic::ByTonicStatus;

#[cfg(all(test, not(loom), feature = "tokio", feature = "tower"))]
mod tests;
