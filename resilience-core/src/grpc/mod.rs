//! The policies over gRPC, at the level of HTTP: status codes, pushback, refusals as responses.
//!
//! # Why
//!
//! A gRPC call that failed is an HTTP call that succeeded: 200, with the truth in `grpc-status`, most often in the
//! trailers after the last message. A breaker that reads the HTTP status never opens. What gRPC adds to HTTP is read
//! and written here, for stacks around a tonic channel or server as much as for any other that moves gRPC over `http`
//! types. For calls through generated clients, whose error is a `tonic::Status`, the feature `tonic` makes that an
//! error every layer can work with: it is made from a refusal and from a timeout, and is recognised as one.
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
//! # Behaviour
//!
//! ```text
//!  server                          on the wire                      client
//!  answer ──── unary, streamed ──► 200, messages, trailers ───────► until_end: grpc-status settles the permit
//!  refusal ─── answer ───────────► 200, grpc-status 4, 8, 9, 14 ──► ByCode: failure or not, come back when
//!                                  grpc-retry-pushback-ms
//!  deadline ◄─ ExtractLayer ────── grpc-timeout ◄────────────────── InjectLayer: what is left of it
//! ```
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
//!
//! # Defaults
//!
//! What a code means is in [`Code::meaning`], which error gets which code in [`Code::of_error`]; which header carries
//! what in [`Headers`](crate::http::Headers). The time left is written in the finest unit that fits eight digits,
//! rounded down.
//!
//! # Events
//!
//! None of its own, as over [HTTP](crate::http#events).
//!
//! # Interplay
//!
//! As over [HTTP](crate::http#interplay), with the layers of gRPC in their places. Pushback reaches a retry as the
//! server's hint: [`Hint::Exact`](crate::retry::Hint::Exact) heeds it as gRFC A6 does, the default clamps it.
//!
//! # Errors
//!
//! Nothing that a peer sends is an error here. An unreadable status is `UNKNOWN`, an unreadable pushback means "do
//! not", as the specifications say.
//!
//! # Do and don't
//!
//! - Do put [`until_end`] around a channel rather than a breaker's own layer: without it 200 is a success.
//! - Don't let a proxy in between retry as well: two layers of three attempts are nine.
//!
//! # Limits
//!
//! Statuses in trailers are too late for a retry at this level: what has been streamed cannot be taken back. Retry
//! unary calls at the generated client, where the status is the answer.

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
