//! How a bus fails, told apart by what the caller may do next.

use std::sync::Arc;

use resilience_core::{AsRejected, Classification, Classify, Elapsed, Rejected};
use thiserror::Error;

/// A bus did not do what it was asked, or nobody knows whether it did.
///
/// | variant | sent? | the caller may |
/// |---|---|---|
/// | [`Rejected`](Self::Rejected) | no | come back later: a queue is full, a circuit open, a deadline past, nobody answers |
/// | [`Elapsed`](Self::Elapsed) | perhaps | send it again, under the same id |
/// | [`Unavailable`](Self::Unavailable) | perhaps | send it again later, under the same id |
/// | [`Invalid`](Self::Invalid), [`Refused`](Self::Refused) | no | mend the program, or the bus |
/// | [`Mismatch`](Self::Mismatch) | no | take a broker that grants what is asked, or ask for less |
/// | [`Late`](Self::Late) | - | nothing: the message is delivered again, or has been |
/// | [`Closed`](Self::Closed) | no | make a new bus |
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum BusError {
    /// Refused on this side, and never sent.
    #[error(transparent)]
    Rejected(Rejected),
    /// No answer came in time.
    #[error(transparent)]
    Elapsed(Elapsed),
    /// The message breaks a limit or a rule of grammar, and always will.
    #[error("the message is not valid")]
    Invalid(#[source] InvalidMessage),
    /// The broker does not take it, and would not later.
    #[error("the broker refuses: {why}")]
    Refused {
        /// What it said.
        why: String,
    },
    /// The broker has not set up what was asked for, and did not say so.
    #[error("{what}: `{field}` was asked to be {asked}, and the broker made it {granted}")]
    Mismatch {
        /// The stream or consumer.
        what: String,
        /// The field that differs.
        field: &'static str,
        /// What was asked for.
        asked: String,
        /// What it is.
        granted: String,
    },
    /// The broker cannot be reached, or cannot do it now.
    #[error("the bus is unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// What the client said.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },
    /// The delivery was taken back before it was settled.
    #[error("the delivery was taken back")]
    Late,
    /// The bus or the subscription was closed.
    #[error("the bus is closed")]
    Closed,
}

impl BusError {
    /// Whether the same may succeed later.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{BusError, InvalidMessage};
    ///
    /// assert!(BusError::Unavailable { reason: "no route".into(), source: None }.is_retryable());
    /// assert!(!BusError::Invalid(InvalidMessage::Empty { what: "key" }).is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::Elapsed(_) | Self::Unavailable { .. })
    }

    /// Whether it is the message's own fault: any other message may well go through.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Message};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // A subject is one: it has no wildcards.
    /// let error = MemoryBus::new().publish(Message::new("m1", "orders.*", "")).await.unwrap_err();
    /// assert!(error.is_about_the_message() && !error.is_retryable());
    /// assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the subject has a wildcard");
    /// # Ok(()) }
    /// ```
    pub fn is_about_the_message(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Refused { .. })
    }
}

impl From<Rejected> for BusError {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<Elapsed> for BusError {
    fn from(elapsed: Elapsed) -> Self {
        Self::Elapsed(elapsed)
    }
}

impl From<InvalidMessage> for BusError {
    fn from(invalid: InvalidMessage) -> Self {
        Self::Invalid(invalid)
    }
}

impl AsRejected for BusError {
    fn as_rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            _ => None,
        }
    }

    fn as_elapsed(&self) -> Option<&Elapsed> {
        match self {
            Self::Elapsed(elapsed) => Some(elapsed),
            _ => None,
        }
    }
}

/// What the answer to a message says to a breaker, a retry and whoever else asks.
///
/// A message may be sent again under its id, so what may have been sent is repeated. A message that the broker does not
/// take says nothing about the broker.
///
/// | answer | class |
/// |---|---|
/// | taken | success |
/// | [`Rejected`](BusError::Rejected) | refused, until the rejection's `retry_after` |
/// | [`Elapsed`](BusError::Elapsed) | timed out: tried again, and evidence for a breaker |
/// | [`Unavailable`](BusError::Unavailable) | failure: tried again, and evidence for a breaker |
/// | [`Mismatch`](BusError::Mismatch), [`Closed`](BusError::Closed) | permanent: not tried again |
/// | [`Invalid`](BusError::Invalid), [`Refused`](BusError::Refused), [`Late`](BusError::Late) | ignored: no evidence |
///
/// ```
/// use resilience_core::Classify;
/// use resilience_cqrs::messaging::{BusError, BySending, InvalidMessage, Sent};
///
/// let class = |error| BySending.classify(&Err::<Sent, _>(error));
/// assert!(class(BusError::Unavailable { reason: "no route".into(), source: None }).is_retryable());
/// assert!(!class(BusError::Invalid(InvalidMessage::Empty { what: "key" })).is_retryable());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BySending;

impl<T> Classify<T, BusError> for BySending {
    fn classify(&self, answer: &Result<T, BusError>) -> Classification {
        match answer {
            Ok(_) => Classification::SUCCESS,
            Err(BusError::Rejected(rejected)) => match rejected.retry_after() {
                Some(wait) => Classification::REFUSED.after(wait),
                None => Classification::REFUSED,
            },
            Err(BusError::Elapsed(_)) => Classification::TIMED_OUT,
            Err(BusError::Unavailable { .. }) => Classification::FAILURE,
            Err(BusError::Mismatch { .. } | BusError::Closed) => Classification::PERMANENT,
            Err(BusError::Invalid(_) | BusError::Refused { .. } | BusError::Late) => Classification::IGNORE,
        }
    }
}

/// Why a message can never be sent as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// Something is empty that must not be.
    #[error("the {what} is empty")]
    Empty {
        /// What it is.
        what: &'static str,
    },
    /// Something is too long.
    #[error("the {what} has {bytes} bytes, at most {limit} may be")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The most it may have.
        limit: usize,
    },
    /// Something is not written as it must be.
    #[error("the {what} {why}")]
    Grammar {
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// An error with its causes, in one line.
pub(super) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
