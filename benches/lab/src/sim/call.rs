//! What crosses a stack.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use resilience_core::batch::Unanswered;
use resilience_core::rng::Rng;
use resilience_core::{AsRejected, Elapsed, Rejected};

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which of the scenario's loads it is of.
    pub load: usize,
    /// Its number in its load.
    pub id: u64,
    /// Which of many things it asks for.
    pub key: u64,
    /// How many things it asks for, if it is a batch.
    pub items: u32,
    /// How often it has reached a station, over all its copies.
    pub sent: Arc<AtomicU32>,
}

impl Call {
    /// What is by chance about sending it for the first, second, third time: the same in every variant, however many
    /// other calls there were before. Variants then differ by what they do and not by their luck.
    pub(super) fn chance(&self, station: u64) -> Rng {
        let time = u64::from(self.sent.fetch_add(1, Ordering::Relaxed)); // one thread
        let mut chance = Rng::seeded(station);
        for part in [self.load as u64, self.id, time] {
            chance = Rng::seeded(chance.next_u64() ^ part);
        }
        chance.fork()
    }
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer;

/// Why there is none.
#[derive(Clone, Debug)]
pub enum Failure {
    /// Refused by one of our own layers.
    Rejected(Rejected),
    /// Ended by one of our own timeouts.
    Elapsed(Elapsed),
    /// By the server.
    Server(ServerError),
    /// By a rival's layer, which never sent it.
    Refused(&'static str),
    /// By a rival's timeout.
    TimedOut(&'static str),
    /// By a rival's layer, in a way this program does not know.
    Other(Arc<str>),
}

/// What servers answer with when they fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerError {
    /// There is nobody.
    Down,
    /// The queue is full.
    Full,
    /// Too many calls in a time.
    Throttled,
    /// It went wrong.
    Broken,
    /// Its deadline passed while it waited, and the server looks at deadlines.
    Expired,
}

impl Failure {
    /// Whether the stack refused the call: nothing was sent.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::Refused(_))
    }

    /// Whether the server had too many calls in a time.
    pub fn is_throttled(&self) -> bool {
        matches!(self, Self::Server(ServerError::Throttled))
    }

    /// Whether the stack gave up waiting.
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Elapsed(_) | Self::TimedOut(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Elapsed(elapsed) => elapsed.fmt(f),
            Self::Server(error) => write!(f, "server: {error:?}"),
            Self::Refused(by) => write!(f, "refused by {by}"),
            Self::TimedOut(by) => write!(f, "timed out by {by}"),
            Self::Other(error) => f.write_str(error),
        }
    }
}

impl StdError for Failure {}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<Elapsed> for Failure {
    fn from(elapsed: Elapsed) -> Self {
        Self::Elapsed(elapsed)
    }
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        Self::Other(unanswered.to_string().into())
    }
}

impl AsRejected for Failure {
    fn as_rejected(&self) -> Option<&Rejected> {
        if let Self::Rejected(rejected) = self { Some(rejected) } else { None }
    }

    fn as_elapsed(&self) -> Option<&Elapsed> {
        if let Self::Elapsed(elapsed) = self { Some(elapsed) } else { None }
    }
}
