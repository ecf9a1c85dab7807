//! A batch without answers.

use std::error::Error as StdError;
use std::fmt;

/// A batch was sent and its calls have no answers. Whether they took effect is unknown.
///
/// ```
/// use resilience_core::batch::Unanswered;
///
/// let error = Unanswered::Miscounted { requests: 3, answers: 2 };
/// assert_eq!(error.to_string(), "3 calls were answered with 2 answers");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unanswered {
    /// There were fewer or more answers than calls, so that nobody knows whose is whose.
    Miscounted {
        /// The calls.
        requests: usize,
        /// The answers.
        answers: usize,
    },
    /// The call panicked, in the task of whoever drove the batch; the others get this.
    Panicked,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Miscounted { requests, answers } => {
                write!(f, "{requests} calls were answered with {answers} answers")
            }
            Self::Panicked => f.write_str("the call of the batch panicked"),
        }
    }
}

impl StdError for Unanswered {}

impl<E: From<Unanswered>> From<Unanswered> for crate::Error<E> {
    fn from(unanswered: Unanswered) -> Self {
        Self::Service(unanswered.into())
    }
}
