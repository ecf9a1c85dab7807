//! A limit a client finds by itself, from what the server throttles.
//!
//! # Why
//!
//! A server that says "too many requests" does not say how many would be few enough. A client that only waits and repeats
//! keeps it busy refusing. The adaptive mode of the AWS SDKs treats a throttled answer as TCP treats a lost packet: it
//! cuts its own rate to 70 % of what it measured, and then follows the CUBIC curve back to where it was and carefully
//! past it. Until the first throttled answer, nothing is limited.
//!
//! # Behaviour
//!
//! ```text
//!  rate │      ╭──╮ throttled                    ╭ past it, slowly at first
//!       │   ╭──╯  │            ╭─────────────────╯
//!       │ ──╯     │      ╭─────╯ back, quickly at first
//!       │         ╰──────╯ 70 % of what was measured
//!       └──────────────────────────────────────────────► time
//! ```
//!
//! One congestion cuts the rate once. When a server begins to throttle, all that is under way comes back throttled, and with
//! it what is sent until the server's own count has forgotten the rate from before. The SDKs cut for each of these answers:
//! a client with twenty calls at once is at half a call a second at once, and needs seconds to come back. Here an answer
//! cuts if its call was sent since the last cut, and if that is half a second ago, which is how long a rate is measured.
//!
//! # Example
//!
//! ```
//! use resilience_core::LiftLayer;
//! use resilience_core::rate_limit::ClientRateLimiter;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = ClientRateLimiter::builder().name("dynamo").build()?;
//! let table = ServiceBuilder::new()
//!     .layer(limiter.layer(|answer: &Result<u16, _>| matches!(answer, Ok(429 | 503))))
//!     .layer(LiftLayer)
//!     .service(service_fn(async |status: u16| Ok::<_, std::io::Error>(status)));
//! table.clone().oneshot(200).await?;
//! assert_eq!(limiter.rate(), None); // nothing is limited yet
//! table.clone().oneshot(429).await?;
//! assert!(limiter.rate().is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`max_wait`](ClientRateLimiterBuilder::max_wait) | 20 s | as long as the SDKs' longest backoff |
//! | [`dry_run`](ClientRateLimiterBuilder::dry_run) | off | |
//!
//! The constants of the curve are the SDKs': 0.7 and 0.4, rates measured over half seconds with a weight of 0.8, and never
//! below one call in two seconds.
//!
//! # Events
//!
//! [`Event`], as `resilience.rate_limit.*`: `throttled` with the rate from then on, `queued` and `rejected`.
//!
//! # Errors
//!
//! [`Rejected`](crate::Rejected) with [`RateLimited`](crate::Reason::RateLimited) when the wait would be longer than
//! allowed, with [`Deadline`](crate::Reason::Deadline) when the deadline of the context comes first.
//!
//! # Interplay
//!
//! Inside of retry, so that every attempt takes its token; beside a retry budget, which bounds how much is repeated while
//! this bounds how much is sent at all. With a [`RateLimiter`](crate::rate_limit::RateLimiter) for a quota that is known, this
//! one goes outside: it does not keep a permit while another waits for its token.
//!
//! # Do and don't
//!
//! - Do take for throttled what asks for less, a 429 or a 503, and nothing else: other failures say nothing about a rate.
//! - Do put one in front of each account that is throttled as one.
//! - Don't use it where the quota is known: a [`RateLimiter`](super::RateLimiter) keeps to it without first exceeding it.
//!
//! # Limits
//!
//! Every answer moves the curve, under a short lock. Calls that wait are not served in the order in which they came: as in
//! the SDKs, each sleeps until there should be a token, and tries again.
//!
//! # Source
//!
//! botocore `retries/adaptive.py` and smithy-rs `client_rate_limiter.rs`; the rules are [`ClientRate`](crate::control::ClientRate),
//! which is theirs to the letter: that a cut counts once is decided in front of it.

mod event;
mod future;
mod policy;
#[cfg(feature = "tower")]
mod service;

pub use self::event::Event;
pub use self::future::{Acquire, ResponseFuture};
pub use self::policy::{ClientRateLimiter, ClientRateLimiterBuilder, Snapshot};
#[cfg(feature = "tower")]
pub use self::service::{ClientRateLimiterLayer, ClientRateLimiterService};

#[cfg(all(test, not(loom), feature = "tokio"))]
mod tests;
