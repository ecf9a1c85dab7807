//! What an answer of a handler means.

use std::error::Error as StdError;
use std::fmt;

use resilience_core::{AsRejected as _, Classification, Classify};

use crate::log::BoxError;
use crate::messaging::inbox::RunError;

/// An error that no further attempt will change: the message is given up at once.
///
/// ```
/// use resilience_cqrs::BoxError;
/// use resilience_cqrs::messaging::Poison;
///
/// fn handle(payload: &[u8]) -> Result<(), BoxError> {
///     let amount: u64 = std::str::from_utf8(payload).map_err(Poison::new)?.parse().map_err(Poison::new)?;
///     assert!(amount > 0);
///     Ok(())
/// }
/// assert!(handle(b"seven").unwrap_err().is::<Poison>());
/// ```
#[derive(Debug)]
pub struct Poison(BoxError);

impl Poison {
    /// Says of an error that it will come again.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Poison {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// What an answer of a handler means to its [`Consumer`](super::Consumer) and the breaker.
///
/// | answer | means |
/// |---|---|
/// | handled | |
/// | refused by a policy around the handler | nothing was tried: the consumer waits, the attempt does not count |
/// | [`RunError::Busy`], of an [`Inbox`](crate::messaging::Inbox) | somebody else works on it: as above |
/// | [`Poison`], wherever in the chain of causes | it will come again: given up, and no evidence against anything |
/// | anything else | it may pass: comes again, evidence for the breaker |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByHandling;

impl Classify<(), BoxError> for ByHandling {
    fn classify(&self, answer: &Result<(), BoxError>) -> Classification {
        let Err(error) = answer else { return Classification::SUCCESS };
        if let Some(rejected) = error.as_rejected() {
            return match rejected.retry_after() {
                Some(wait) => Classification::REFUSED.after(wait),
                None => Classification::REFUSED,
            };
        }
        if error.as_elapsed().is_some() {
            return Classification::TIMED_OUT;
        }
        let mut next: Option<&(dyn StdError + 'static)> = Some(&**error);
        while let Some(error) = next {
            if error.is::<Poison>() {
                return Classification::IGNORE;
            }
            if let Some(RunError::Busy { .. }) = error.downcast_ref() {
                // Not after what is left of the claim: most are over long before.
                return Classification::REFUSED;
            }
            next = error.source();
        }
        Classification::FAILURE
    }
}
