//! How a step says that it failed.

use std::fmt;
use std::time::Duration;

use resilience_core::{Elapsed, Error, Rejected};

/// Why a step, or its undo, failed: a closed set, since each is followed by something else.
///
/// | | did it take effect? | a step is then | an undo is then |
/// |---|---|---|---|
/// | [`Retry`](Self::Retry) | not this time | tried again, at last given up | tried again, at last stuck |
/// | [`Rejected`](Self::Rejected) | no, and it never will under this key | given up at once, nothing to undo | stuck at once |
/// | [`Unknown`](Self::Unknown) | nobody knows | handled by its [`Unknown`](crate::Unknown) policy | tried again, at last stuck |
///
/// There is no blanket conversion from errors: whether an error means "no" or "perhaps" is what the author of a step
/// knows and nobody else. Only the family's own errors convert: a [`resilience_core::Rejected`] was never sent
/// (`Retry`, not before its `retry_after`), an [`Elapsed`] may have taken effect (`Unknown`).
///
/// ```
/// use resilience_saga::StepError;
///
/// fn classify(status: u16) -> StepError {
///     match status {
///         409 | 422 => StepError::rejected("out of stock"),
///         429 | 503 => StepError::retry("busy"),
///         _ => StepError::unknown("the answer was lost"),
///     }
/// }
/// assert_eq!(classify(422).to_string(), "rejected: out of stock");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepError {
    /// No effect this time; another attempt may do.
    Retry(Failure),
    /// Refused: no effect, now or later, under this idempotency key.
    Rejected(Failure),
    /// Nobody knows whether it took effect.
    Unknown(Failure),
}

/// What went wrong, as it will stand in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    message: String,
    retry_after: Option<Duration>,
}

impl Failure {
    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How long the receiver asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// The longest message kept in the log, in bytes; the rest is cut off.
const MAX_MESSAGE: usize = 1024;

impl StepError {
    /// No effect this time; another attempt may do.
    pub fn retry(error: impl fmt::Display) -> Self {
        Self::Retry(failure(error))
    }

    /// Refused: no effect, now or later, under this idempotency key.
    pub fn rejected(error: impl fmt::Display) -> Self {
        Self::Rejected(failure(error))
    }

    /// Nobody knows whether it took effect.
    pub fn unknown(error: impl fmt::Display) -> Self {
        Self::Unknown(failure(error))
    }

    /// The same failure with a wait the receiver asked for. It lengthens the policy's own wait, never shortens it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use resilience_saga::StepError;
    ///
    /// let busy = StepError::retry("busy").after(Duration::from_secs(2));
    /// assert_eq!(busy.failure().retry_after(), Some(Duration::from_secs(2)));
    /// assert_eq!(busy.failure().message(), "busy");
    /// ```
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        let (Self::Retry(failure) | Self::Rejected(failure) | Self::Unknown(failure)) = &mut self;
        failure.retry_after = Some(wait);
        self
    }

    /// What went wrong.
    pub fn failure(&self) -> &Failure {
        let (Self::Retry(failure) | Self::Rejected(failure) | Self::Unknown(failure)) = self;
        failure
    }
}

fn failure(error: impl fmt::Display) -> Failure {
    let mut message = error.to_string();
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
    Failure { message, retry_after: None }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Retry(_) => "failed",
            Self::Rejected(_) => "rejected",
            Self::Unknown(_) => "unknown",
        };
        write!(f, "{kind}: {}", self.failure().message)
    }
}

impl std::error::Error for StepError {}

impl From<Rejected> for StepError {
    fn from(rejected: Rejected) -> Self {
        let error = Self::retry(&rejected);
        match rejected.retry_after() {
            Some(wait) => error.after(wait),
            None => error,
        }
    }
}

impl From<Elapsed> for StepError {
    fn from(elapsed: Elapsed) -> Self {
        Self::unknown(elapsed)
    }
}

impl<E: Into<StepError>> From<Error<E>> for StepError {
    fn from(error: Error<E>) -> Self {
        match error {
            Error::Rejected(rejected) => rejected.into(),
            Error::Elapsed(elapsed) => elapsed.into(),
            Error::Service(error) => error.into(),
        }
    }
}
