//! Aggregates this program has no state of, taken for new ones where most of them are.
//!
//! The first command of an aggregate reads a stream that is not there yet: a round trip that brings nothing. Where states are
//! kept, it is the only read left, and each aggregate begins with one. The empty state is the fold of a prefix of any stream,
//! as good as a kept state that is old: a command may be decided on it as long as the store is asked to append only if the
//! stream has no event. So an unseen aggregate is guessed to be new, after a few in a row that were. If it is not, the store
//! refuses, nobody was told anything, and the command is executed as ever.

use std::sync::atomic::{AtomicU32, Ordering};

use super::execute::{Once, Request};
use super::{Decider, EventCodec, ExecuteError, Executed, Loaded};
use crate::log::{AppendError, Version};
use crate::store::EventStore;

/// How many unseen aggregates in a row must turn out to be new before the next is taken for one. A right guess saves a read; a
/// wrong one costs a refused append, and then at least eight that are not guessed.
const IN_A_ROW: u32 = 8;

/// How unseen aggregates have turned out lately.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    new_in_a_row: AtomicU32,
}

// Relaxed: a hint. Whether it was right, the store says.
impl Unseen {
    /// Whether the next is likely to be new.
    fn is_probably_new(&self) -> bool {
        self.new_in_a_row.load(Ordering::Relaxed) >= IN_A_ROW
    }

    /// One was read, and was new, or not.
    pub(super) fn turned_out(&self, new: bool) {
        if !new {
            self.new_in_a_row.store(0, Ordering::Relaxed);
        } else if !self.is_probably_new() {
            self.new_in_a_row.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<D: Decider, S: EventStore, C: EventCodec<D::Event>> Request<'_, D, S, C> {
    /// Executes the command without a look at the stream, if the aggregate is probably new. `None` if it is not, or if on a
    /// new aggregate the command is refused or comes to nothing: such an answer is only given when the store was asked.
    pub(super) async fn as_new(
        &self,
        command: &D::Command,
        once: Option<&Once>,
    ) -> Result<Option<Executed<D>>, ExecuteError<D::Error>> {
        let shared = &self.repository.shared;
        let Some(states) = &shared.states else { return Ok(None) };
        if !shared.unseen.is_probably_new() {
            return Ok(None);
        }
        let new = Loaded { state: D::default(), version: Version::EMPTY, epoch: states.epoch() };
        let Ok(decided) = new.state.decide(command) else { return Ok(None) };
        if decided.is_empty() {
            return Ok(None);
        }
        // What is not valid here may not be decided at all on what there is.
        let Ok(append) = self.append(&decided, new.version, once) else { return Ok(None) };
        match shared.store.append(append).await {
            Ok(appended) => self.executed(new, decided, appended, 1).await.map(Some),
            // Not a conflict in the sense of `on_conflict`: nobody had seen a state that others have changed. Now it is read.
            Err(AppendError::Conflict(_)) => Ok(None),
            Err(error) => Err(ExecuteError::Append(error)),
        }
    }
}
