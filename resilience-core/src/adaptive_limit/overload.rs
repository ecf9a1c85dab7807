//! What an answer says about load, as far as can be told from any.

use crate::{AsRejected, Classification, Classify};

/// The default: an answer is a success, a timeout is a loss, and any other error says nothing about load.
///
/// An error of the application comes back quickly or slowly for reasons of its own: if it counted as congestion, a bug
/// would close the gate; if its round trip counted, a fast failure would open it. Classify yourself where the server
/// says that it is overloaded (HTTP 503 and 429, gRPC `RESOURCE_EXHAUSTED`): such answers are failures, and lower the
/// limit.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::adaptive_limit::ByOverload;
/// use resilience_core::{Class, Classify, Elapsed, Error};
///
/// let class = |answer: Result<(), Error<&str>>| ByOverload.classify(&answer).class();
/// assert_eq!(class(Ok(())), Class::Success);
/// assert_eq!(class(Err(Elapsed::new(Duration::from_secs(1)).into())), Class::Failure);
/// assert_eq!(class(Err(Error::Service("no such order"))), Class::Ignore);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByOverload;

impl<Res, E: AsRejected> Classify<Res, E> for ByOverload {
    fn classify(&self, answer: &Result<Res, E>) -> Classification {
        match answer {
            Ok(_) => Classification::SUCCESS,
            Err(error) if error.as_rejected().is_some() => Classification::REFUSED,
            Err(error) if error.as_elapsed().is_some() => Classification::TIMED_OUT,
            Err(_) => Classification::IGNORE,
        }
    }
}
