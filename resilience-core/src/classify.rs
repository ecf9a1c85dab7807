//! What an answer means, decided once and read by every policy.
//!
//! "Not a failure" is not the same as "success": a 404 says nothing about the health of a server, and a breaker that
//! counts it as a success closes on it. So there are four classes, and a server's own wish when to be called again.

use std::time::Duration;

use crate::AsRejected;

/// What an answer says about the health of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The service did its work.
    Success,
    /// The service did its work, but so slowly that it counts against it.
    Slow,
    /// The service failed.
    Failure,
    /// Says nothing about the service: a refusal by our own stack, a mistake of the caller.
    Ignore,
}

impl Class {
    /// The class as a label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Slow => "slow",
            Self::Failure => "failure",
            Self::Ignore => "ignore",
        }
    }
}

/// A class, whether a repeated call could fare better, and when the server wants to be called again.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::{Class, Classification};
///
/// assert!(Classification::FAILURE.is_retryable());
/// assert!(!Classification::PERMANENT.is_retryable()); // the same to a breaker, not to a retry
/// assert_eq!(Classification::PERMANENT.class(), Class::Failure);
///
/// let overloaded = Classification::FAILURE.after(Duration::from_secs(3)); // a 503 with `Retry-After: 3`
/// assert_eq!(overloaded.retry_after(), Some(Duration::from_secs(3)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classification {
    class: Class,
    retryable: bool,
    refused: bool,
    timed_out: bool,
    retry_after: Option<Duration>,
}

impl Classification {
    /// The service did its work.
    pub const SUCCESS: Self = Self::of(Class::Success);
    /// The service did its work too slowly.
    pub const SLOW: Self = Self::of(Class::Slow);
    /// The service failed in a way that may pass.
    pub const FAILURE: Self = Self { retryable: true, ..Self::of(Class::Failure) };
    /// No answer came in time: a failure that may pass, and whose effect is unknown. Budgets may charge more for it.
    pub const TIMED_OUT: Self = Self { timed_out: true, ..Self::FAILURE };
    /// The service failed, and would fail again.
    pub const PERMANENT: Self = Self::of(Class::Failure);
    /// Refused by our own stack: the call was never sent, so the refusal says nothing about the service, and nothing about
    /// what became of an earlier attempt.
    pub const REFUSED: Self = Self { refused: true, ..Self::of(Class::Ignore) };
    /// Says nothing about the service, and repeating it helps nobody.
    pub const IGNORE: Self = Self::of(Class::Ignore);

    const fn of(class: Class) -> Self {
        Self { class, retryable: false, refused: false, timed_out: false, retry_after: None }
    }

    /// Whether a retry or a hedge may repeat the call.
    #[must_use]
    pub const fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Adds the server's wish (a `Retry-After`, a gRPC pushback).
    #[must_use]
    pub const fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What it says about the service.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// Whether a repeated call could fare better.
    pub const fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Whether the call was refused by our own stack and never sent.
    pub const fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether no answer came in time.
    pub const fn is_timed_out(&self) -> bool {
        self.timed_out
    }

    /// When the server wants to be called again.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// Decides what an answer means.
///
/// Any `Fn(&Result<Response, Error>) -> Classification` is one:
///
/// ```
/// use resilience_core::{Class, Classification, Classify};
///
/// let by_status = |answer: &Result<u16, std::io::Error>| match answer {
///     Ok(500..) | Err(_) => Classification::FAILURE,
///     Ok(404) => Classification::IGNORE,
///     Ok(_) => Classification::SUCCESS,
/// };
/// assert_eq!(by_status.classify(&Ok(503)).class(), Class::Failure);
/// ```
pub trait Classify<Res, E> {
    /// The meaning of one answer. Called once per attempt and policy; must be cheap.
    fn classify(&self, answer: &Result<Res, E>) -> Classification;
}

impl<F, Res, E> Classify<Res, E> for F
where
    F: Fn(&Result<Res, E>) -> Classification,
{
    fn classify(&self, answer: &Result<Res, E>) -> Classification {
        self(answer)
    }
}

/// The default: `Ok` is a success, our own refusals are ignored, any other error is a failure that may pass.
///
/// A refusal says nothing about the service behind it, and retrying it at once would work against the policy that
/// refused; so it is neither counted nor retried. Where a refusal that says when to come back may be tried again then,
/// classify with [`retry::ByHint`](crate::retry::ByHint).
///
/// ```
/// use resilience_core::{ByResult, Classification, Classify, Error, Reason, Rejected};
///
/// let refused: Result<(), Error<&str>> = Err(Rejected::new("stock", Reason::Open).into());
/// assert_eq!(ByResult.classify(&refused), Classification::REFUSED);
/// let failed: Result<(), Error<&str>> = Err(Error::Service("connection reset"));
/// assert_eq!(ByResult.classify(&failed), Classification::FAILURE);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByResult;

impl<Res, E: AsRejected> Classify<Res, E> for ByResult {
    fn classify(&self, answer: &Result<Res, E>) -> Classification {
        match answer {
            Ok(_) => Classification::SUCCESS,
            Err(error) if error.as_rejected().is_some() => Classification::REFUSED,
            Err(error) if error.as_elapsed().is_some() => Classification::TIMED_OUT,
            Err(_) => Classification::FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Elapsed, Error, Reason, Rejected};

    #[test]
    fn a_refusal_is_neither_counted_nor_retried_by_default() {
        let refused: Result<(), Error<std::io::Error>> = Err(Rejected::new("b", Reason::Open).into());
        assert_eq!(ByResult.classify(&refused), Classification::REFUSED);
        assert_eq!(ByResult.classify(&refused).class(), Class::Ignore);
        let late: Result<(), Error<std::io::Error>> = Err(Elapsed::new(Duration::from_secs(1)).into());
        assert_eq!(ByResult.classify(&late), Classification::TIMED_OUT);
    }
}
