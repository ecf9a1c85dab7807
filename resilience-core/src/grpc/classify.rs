//! What a status code means, and when the server wants to be called again.

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, Response, StatusCode};

use super::Code;
use crate::http::retry_after;
use crate::time::WallTime;
use crate::{AsRejected, ByResult, Classification, Classify};

/// The metadata by which a server says when to retry: milliseconds, or anything negative or unreadable for "do not"
/// (gRFC A6).
pub const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// Classifies gRPC responses by their status code, and errors as [`ByResult`] does.
///
/// As a [`Classify`] it reads the head: a response without messages has its status there ("trailers-only"), and one
/// that has any is a success so far. As the end of an [`until_end`](super::until_end) it reads the trailers, too;
/// messages without a status after them are a failure.
///
/// ```
/// use std::time::Duration;
/// use http::Response;
/// use resilience_core::grpc::ByCode;
/// use resilience_core::{Classification, Classify, Error};
///
/// let answer = |code: &str, pushback: &str| {
///     let response = Response::builder().header("grpc-status", code).header("grpc-retry-pushback-ms", pushback);
///     Ok::<_, Error<std::io::Error>>(response.body(()).unwrap())
/// };
/// let later = ByCode.classify(&answer("14", "250"));
/// assert_eq!(later, Classification::FAILURE.after(Duration::from_millis(250)));
/// assert!(!ByCode.classify(&answer("14", "-1")).is_retryable()); // "do not"
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByCode;

impl ByCode {
    /// What `code` means, with the pushback in `metadata`.
    ///
    /// Pushback overrules the code where a retry would be made; it never asks for one.
    pub fn meaning(code: Code, metadata: &HeaderMap) -> Classification {
        let meaning = code.meaning();
        match (meaning.is_retryable(), metadata.get(PUSHBACK)) {
            (true, Some(value)) => match value.to_str().ok().and_then(|text| text.parse::<u32>().ok()) {
                Some(wait) => meaning.after(Duration::from_millis(wait.into())),
                None => meaning.retryable(false),
            },
            _ => meaning,
        }
    }

    fn head<B>(response: &Response<B>) -> Classification {
        let headers = response.headers();
        match Code::of(headers) {
            Some(code) => Self::meaning(code, headers),
            None if response.status() == StatusCode::OK => Classification::SUCCESS,
            None => {
                let meaning = Self::meaning(Code::of_http(response.status()), headers);
                // A proxy that knows nothing of pushback may know `Retry-After`; of its dates no clock is asked.
                let wait = retry_after(headers, || WallTime::from_unix_millis(u64::MAX));
                match wait {
                    Some(wait) if meaning.is_retryable() && !wait.is_zero() => meaning.after(wait),
                    _ => meaning,
                }
            }
        }
    }
}

impl<B, E: AsRejected> Classify<Response<B>, E> for ByCode {
    fn classify(&self, answer: &Result<Response<B>, E>) -> Classification {
        match answer {
            Ok(response) => Self::head(response),
            Err(_) => ByResult.classify(answer),
        }
    }
}

#[cfg(feature = "tower")]
mod end {
    use super::{ByCode, Code};
    use crate::http::{ClassifyEnd, End, Gate, UntilEndLayer};
    use crate::{Class, Classification};

    impl ClassifyEnd for ByCode {
        fn classify_end(&self, head: Classification, end: End<'_>) -> Classification {
            match end {
                // The head had the status, and no messages.
                _ if head.class() != Class::Success => head,
                End::Complete(Some(trailers)) => {
                    Code::of(trailers).map_or(Classification::PERMANENT, |code| Self::meaning(code, trailers))
                }
                End::Empty => head,
                End::Complete(None) => Classification::PERMANENT,
                End::Failed => Classification::FAILURE,
            }
        }
    }

    /// Holds the permits of `gate` until the trailers of a gRPC response are there, and settles them by its status.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{HeaderMap, Request, Response};
    /// use http_body_util::{BodyExt, Full};
    /// use resilience_core::circuit_breaker::{CircuitBreaker, State};
    /// use resilience_core::{LiftLayer, grpc};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let breaker = CircuitBreaker::builder().name("ledger").consecutive_failures(1).build()?;
    /// let channel = ServiceBuilder::new()
    ///     .layer(grpc::until_end(breaker.clone()))
    ///     .layer(LiftLayer)
    ///     .service(service_fn(async |_: Request<()>| {
    ///         let mut trailers = HeaderMap::new();
    ///         trailers.insert("grpc-status", "14".parse().unwrap());
    ///         let body = Full::<Bytes>::from("half a stream").with_trailers(async { Some(Ok(trailers)) });
    ///         Ok::<_, std::io::Error>(Response::new(body))
    ///     }));
    /// let response = channel.oneshot(Request::new(())).await?;
    /// assert_eq!(breaker.state(), State::Closed); // 200, and a stream that begins well
    /// response.into_body().collect().await?;
    /// assert_eq!(breaker.state(), State::Open);
    /// # Ok(())
    /// # }
    /// ```
    pub fn until_end<G: Gate>(gate: G) -> UntilEndLayer<G, ByCode, ByCode> {
        UntilEndLayer::new(gate).classify(ByCode).classify_end(ByCode)
    }
}

#[cfg(feature = "tower")]
pub use self::end::until_end;
