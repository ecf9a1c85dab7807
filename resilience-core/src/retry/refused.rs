//! Retrying what our own stack refused.

use crate::{AsRejected, ByResult, Classification, Classify};

/// As [`ByResult`], but a refusal that says when to come back may be tried again then.
///
/// `ByResult` never retries a refusal: a retry at once would work against the policy that refused. A rate limiter that
/// says "in 200 ms", though, has made an appointment, and a caller with the time may keep it. So may one that waits for
/// a breaker to let its probe through; think twice there, for all who wait come back at once.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::retry::ByHint;
/// use resilience_core::{Class, Classify, Error, Reason, Rejected};
///
/// let refused = Rejected::new("quota", Reason::RateLimited);
/// let later: Result<(), Error<()>> = Err(refused.clone().with_retry_after(Duration::from_millis(200)).into());
/// assert!(ByHint.classify(&later).is_retryable());
/// assert_eq!(ByHint.classify(&later).class(), Class::Ignore);
/// let never: Result<(), Error<()>> = Err(refused.into());
/// assert!(!ByHint.classify(&never).is_retryable());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByHint;

impl<Res, E: AsRejected> Classify<Res, E> for ByHint {
    fn classify(&self, answer: &Result<Res, E>) -> Classification {
        let refused = answer.as_ref().err().and_then(AsRejected::as_rejected);
        match refused.and_then(|refused| refused.retry_after()) {
            Some(wait) => Classification::REFUSED.retryable(true).after(wait),
            None => ByResult.classify(answer),
        }
    }
}
