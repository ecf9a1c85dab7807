//! The policies over HTTP: the context in headers, what statuses mean, refusals as responses.
//!
//! # Why
//!
//! A deadline that ends at the process's edge protects nobody behind it: the next service works on for a caller who is
//! gone. A breaker that takes a 503 for an answer never opens, and one that counts an answer when its head is there
//! calls a download that breaks off a success. A retry that repeats a `POST` may order twice. None of this is a
//! policy's own rule; it is how HTTP says what the policies need to know, and it is here, in one place, over the `http`
//! and `http-body` crates alone: hyper, axum, reqwest's tower service and tonic speak them all.
//!
//! | part | what it does | side |
//! |---|---|---|
//! | [`InjectLayer`] | writes deadline, attempt, criticality, keys and trace into requests | client |
//! | [`ExtractLayer`] | reads them into the [context](crate::context) | server |
//! | [`Headers`] | the headers, their names, and whom to believe | both |
//! | [`ByStatus`] | what a status means to breaker and retry; reads `Retry-After` | client |
//! | [`Idempotent`] | which requests may be repeated | client |
//! | [`UntilEndLayer`] | holds a permit until the body has ended, and settles it then, once | both |
//! | [`answer`] | a refusal as 429, 503 or 504 with `Retry-After` | server |
//!
//! gRPC speaks HTTP too: [`grpc`](crate::grpc) has its status, its deadline header and its pushback.
//!
//! # Behaviour
//!
//! ```text
//!  client's context        headers                      server's context      its own calls
//!  deadline in 1.5 s  ──►  resilience-timeout-ms: 1500 ──► deadline in 1.5 s ──► what is left of it
//!  attempt 2          ──►  resilience-attempt: 2       ──► attempt 2              each its own first
//!  idempotency key    ──►  idempotency-key: order-17   ──► to be read             a key of its own, or none
//!  correlation, trace ──►  correlation-id, traceparent ──► the same          ──► the same
//!
//!  permit  ├── call ──┤ head ├─── body: frame … frame ───┤ last frame, error or drop: settled, once
//! ```
//!
//! # Example
//!
//! A client whose request crosses to a server:
//!
//! ```
//! use std::convert::Infallible;
//! use std::time::Duration;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use resilience_core::circuit_breaker::CircuitBreaker;
//! use resilience_core::context::{self, Context};
//! use resilience_core::http::{ExtractLayer, InjectLayer, UntilEndLayer, answer};
//! use resilience_core::retry::Retry;
//! use resilience_core::timeout::TimeoutLayer;
//! use resilience_core::{LiftLayer, LowerLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! type Body = Full<bytes::Bytes>;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ServiceBuilder::new()
//!     .layer(LowerLayer::new(answer))
//!     .layer(ExtractLayer::http())
//!     .layer(TimeoutLayer::new(Duration::from_secs(10)))
//!     .layer(LiftLayer)
//!     .service(service_fn(async |_: Request<Body>| {
//!         let id = context::correlation_id().unwrap_or_else(|| "nobody".into());
//!         Ok::<_, Infallible>(Response::new(Body::from(id.to_string())))
//!     }));
//!
//! let breaker = CircuitBreaker::builder().name("stock").failure_rate(0.5).build()?;
//! let client = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_secs(2)))
//!     .layer(Retry::builder().attempts(3).build()?.http_layer())
//!     .layer(UntilEndLayer::new(breaker.clone()))
//!     .layer(LiftLayer)
//!     .layer(InjectLayer::http())
//!     .service(server); // stands for the network
//!
//! let request = Request::get("/stock").body(Body::default())?;
//! let response = Context::new().with_correlation_id("checkout-9").scope(client.oneshot(request)).await?;
//! assert_eq!(breaker.snapshot().calls, 0); // the head is there, the answer is not
//! let body = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
//! assert_eq!(body, "checkout-9");
//! assert_eq!(breaker.snapshot().calls, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//!
//! | option | default | why |
//! |---|---|---|
//! | [`Headers`]' names | see there | standard ones where there are; `resilience-` before the others, so that they meet nobody's |
//! | [`Headers::at_the_edge`] | off | between services of one house all is believed |
//! | [`ByStatus::client_error`] | ignored | a mistake of the caller says nothing about the server |
//! | [`ByStatus::rate_limited`] | failure | a server that refuses wants fewer calls, from breaker and retry alike |
//! | a [`Classify`](crate::Classify) for the head, a [`ClassifyEnd`] for the end | [`ByStatus`], [`ByHead`] | |
//! | an answer dropped before its end | given up, if its head was a success | who stops reading has not been failed |
//!
//! # Events
//!
//! None of its own: the headers are a layer's input and the statuses a classifier's, and what follows from them is told by the
//! policies.
//!
//! # Interplay
//!
//! A client, from the outside in: total timeout, [`Retry::http_layer`](crate::retry::Retry::http_layer), breaker and
//! bulkhead (each by its own layer, or by [`UntilEndLayer`]), timeout of an attempt, `LiftLayer`, [`InjectLayer`],
//! transport. The context is written innermost, so that each attempt is sent with its own number and its own time. An
//! attempt's timeout ends with the head; what follows is in the body, and a client that wants it bounded too bounds the
//! reading of it.
//!
//! A server: `LowerLayer::new(`[`answer`]`)`, [`ExtractLayer`], timeout, bulkhead or rate limiter, `LiftLayer`, routes.
//! A handler's own calls find the deadline in the context, and send it on.
//!
//! # Do and don't
//!
//! - Do give a `POST` that may be repeated a key: in the [context](crate::context), or as a header.
//! - Do let the caller's deadline in at the edge: it can only shorten the work.
//! - Don't hold a breaker's permit [until the end](UntilEndLayer) of streams that last for hours: the breaker hears of
//!   them when they are over. Settle those by their heads.
//! - Don't answer a mistake of the caller with 503: its breaker opens.
//!
//! # Errors
//!
//! Nothing that a peer sends is an error here: a header that cannot be understood is as if it were not there.
//!
//! # Limits
//!
//! The context ends with the head of the answer: what streams a body after that is polled by the server, outside of it, and
//! takes along what it needs ([`Context::capture`](crate::context::Context::capture)).
//! The time a message is under way is not taken off a deadline. Nothing in here signs or encrypts: on a server that
//! strangers reach, read headers [`at_the_edge`](Headers::at_the_edge).

mod answer;
mod classify;
mod date;
#[cfg(feature = "tower")]
mod extract;
mod headers;
mod idempotent;
#[cfg(feature = "tower")]
mod inject;
mod retry_after;
mod timeout_value;
#[cfg(feature = "tower")]
mod until_end;

pub use self::answer::{answer, status};
pub use self::classify::ByStatus;
#[cfg(feature = "tower")]
pub use self::extract::{ExtractLayer, ExtractService};
pub use self::headers::{Headers, LONGEST_ID};
#[cfg(feature = "tower")]
pub use self::idempotent::Idempotent;
pub use self::idempotent::{IDEMPOTENCY_KEY, is_idempotent};
#[cfg(feature = "tower")]
pub use self::inject::{InjectLayer, InjectService};
pub use self::retry_after::retry_after;
#[cfg(feature = "tower")]
pub use self::until_end::{
    ByHead, ClassifyEnd, End, Gate, Settle, Turn, UntilEndBody, UntilEndFuture, UntilEndLayer, UntilEndService, Waiting,
};

#[cfg(all(test, not(loom), feature = "tokio", feature = "tower"))]
mod tests;
