//! What a saga's log says.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use resilience_core::Name;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Payload, RetryAt, Tick};

/// A step's key: its name in the definition, in the log and in idempotency keys. Never an index, so that a definition
/// may be reordered.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StepKey(Name);

impl StepKey {
    /// The key as a string slice.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl<N: Into<Name>> From<N> for StepKey {
    fn from(name: N) -> Self {
        Self(name.into())
    }
}

impl Deref for StepKey {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for StepKey {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for StepKey {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for StepKey {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for StepKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for StepKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// Which owner of the log wrote a record: a number that grows with every process that takes the sagas over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why nobody knows whether an attempt took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Doubt {
    /// The step said so: a connection broke, an answer could not be read.
    Reported,
    /// It did not answer within its time limit.
    Timeout,
    /// Its code panicked.
    Panic,
    /// The process ended while it ran.
    Crash,
    /// It was told to stop because the saga unwinds, and did not say how far it had come.
    Cancelled,
    /// It took effect, but what it returned exceeds the limit or cannot be encoded, and is lost.
    Output,
}

/// What follows an attempt that ended in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Another attempt under the same key.
    Retry(RetryAt),
    /// The definition's probe finds out.
    Probe(RetryAt),
    /// The saga unwinds, and this step's undo is told that the effect is uncertain.
    Undo,
    /// An operator decides.
    Hold,
}

/// Why a step needs an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StuckCause {
    /// Its outcome is unknown and its policy is to escalate.
    Unknown(Doubt),
    /// Its code panicked as often as is tolerated.
    Panics,
    /// The process ended during it as often as is tolerated: it may be what ends it.
    Crashes,
    /// Its undo failed as often as is tolerated, or for good.
    Undo,
    /// Stored data it needs does not fit its type any more.
    Undecodable,
}

impl StuckCause {
    /// The cause as a label for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown",
            Self::Panics => "panics",
            Self::Crashes => "crashes",
            Self::Undo => "undo",
            Self::Undecodable => "undecodable",
        }
    }
}

/// What an operator did about a stuck step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Act {
    /// Let it (the step or its undo, whichever is stuck) try again with fresh limits.
    Retry,
    /// Declared its effect gone: undone by hand, or never there.
    MarkUndone,
    /// Gave the step up: the saga unwinds, its undo is told that the effect is uncertain.
    Undo,
}

/// One fact of a saga's life. The log is the saga: state, recovery and inspection are folds over these.
///
/// Facts carry decisions, not policies: whether a failure is retried and when is part of the fact. A release that
/// changes limits and delays therefore reads old logs as they were meant. What a fold does depend on is the graph
/// (keys, edges, pivot, which steps have an undo), and that is covered by the hash in [`Created`](Self::Created).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The saga exists.
    Created {
        /// The definition's name.
        definition: String,
        /// The definition's version.
        version: u32,
        /// The hash of the definition's graph.
        graph: u64,
        /// The owner that created it.
        epoch: Epoch,
        /// When.
        at: Tick,
        /// What it was started with.
        input: Payload,
    },
    /// A new owner took it over: what was in progress is in doubt.
    Adopted {
        /// The new owner.
        epoch: Epoch,
        /// When.
        at: Tick,
    },
    /// An attempt of a step may run from here on.
    Started {
        /// The step.
        step: StepKey,
        /// Which attempt, counted from 1.
        attempt: u32,
    },
    /// The step took effect.
    Succeeded {
        /// The step.
        step: StepKey,
        /// The attempt that found out.
        attempt: u32,
        /// What it returned.
        output: Payload,
    },
    /// The step was refused: it had and will have no effect. The saga unwinds.
    Rejected {
        /// The step.
        step: StepKey,
        /// The attempt.
        attempt: u32,
        /// Why.
        error: String,
    },
    /// The attempt had no effect. Without a retry the step is given up, and the saga unwinds.
    Failed {
        /// The step.
        step: StepKey,
        /// The attempt.
        attempt: u32,
        /// Why.
        error: String,
        /// The next attempt, if there is one.
        retry: Option<RetryAt>,
    },
    /// Nobody knows whether the attempt took effect.
    Unknown {
        /// The step.
        step: StepKey,
        /// The attempt.
        attempt: u32,
        /// Why nobody knows.
        doubt: Doubt,
        /// What was seen.
        error: String,
        /// What follows.
        next: Next,
    },
    /// The probe found that no attempt so far took effect.
    NotApplied {
        /// The step.
        step: StepKey,
        /// The latest attempt.
        attempt: u32,
        /// The next attempt, if there is one.
        retry: Option<RetryAt>,
    },
    /// The probe itself failed.
    ProbeFailed {
        /// The step.
        step: StepKey,
        /// The latest attempt.
        attempt: u32,
        /// Why.
        error: String,
        /// What follows.
        next: Next,
    },
    /// Every step before the pivot succeeded: the saga can only go forward from here.
    Pivot {},
    /// Somebody asked for the saga to be given up.
    CancelRequested {
        /// Why.
        reason: String,
    },
    /// An attempt to undo a step may run from here on.
    UndoStarted {
        /// The step.
        step: StepKey,
        /// Which attempt, counted from 1.
        attempt: u32,
    },
    /// The step's effect is gone.
    Undone {
        /// The step.
        step: StepKey,
        /// The attempt.
        attempt: u32,
    },
    /// The attempt to undo failed. Without a retry the undo is stuck.
    UndoFailed {
        /// The step.
        step: StepKey,
        /// The attempt.
        attempt: u32,
        /// Why.
        error: String,
        /// The next attempt, if there is one.
        retry: Option<RetryAt>,
    },
    /// A step needs an operator.
    Stuck {
        /// The step.
        step: StepKey,
        /// Why.
        cause: StuckCause,
        /// What was seen.
        error: String,
    },
    /// An operator acted on a stuck step.
    Resolved {
        /// The step.
        step: StepKey,
        /// What was done.
        act: Act,
        /// By whom.
        actor: String,
        /// Why.
        note: String,
    },
    /// Every step succeeded.
    Completed {},
    /// No effect is left.
    Compensated {},
    /// An operator gave the saga up as it stands.
    Abandoned {
        /// By whom.
        actor: String,
        /// Why.
        note: String,
    },
}

impl Event {
    /// The event's name, as in the log.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Adopted { .. } => "adopted",
            Self::Started { .. } => "started",
            Self::Succeeded { .. } => "succeeded",
            Self::Rejected { .. } => "rejected",
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "unknown",
            Self::NotApplied { .. } => "not_applied",
            Self::ProbeFailed { .. } => "probe_failed",
            Self::Pivot {} => "pivot",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::UndoStarted { .. } => "undo_started",
            Self::Undone { .. } => "undone",
            Self::UndoFailed { .. } => "undo_failed",
            Self::Stuck { .. } => "stuck",
            Self::Resolved { .. } => "resolved",
            Self::Completed {} => "completed",
            Self::Compensated {} => "compensated",
            Self::Abandoned { .. } => "abandoned",
        }
    }
}
