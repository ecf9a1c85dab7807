//! Telling callers what came of their appends, once that is durable.

use std::sync::Arc;

use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::time::{SharedTimer, Timestamp};
use tokio::sync::Notify;

use super::batch::Done;
use super::durable::Durable;
use super::error::Fault;
use super::event::Event;
use super::writer::AppendJob;
use crate::log::{AppendError, Written};

/// A batch whose transaction has ended.
pub(super) struct Committed {
    pub(super) batch: Vec<AppendJob>,
    pub(super) done: Done,
    pub(super) began: Option<Timestamp>,
}

/// What the writer and the flush say to everybody else.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) durable: Arc<Durable>,
    /// Told when other stores should hear that the head has moved.
    pub(super) moved: Arc<Notify>,
    pub(super) timer: SharedTimer,
    pub(super) name: Name,
    pub(super) listeners: Listeners,
}

impl Answers {
    /// The time, if somebody wants to know how long things take.
    pub(super) fn now_if_heard(&self) -> Option<Timestamp> {
        (!self.listeners.is_empty()).then(|| self.timer.now())
    }

    /// Everything the batch tells of is durable.
    pub(super) fn acknowledge(&self, Committed { batch, done, began }: Committed) {
        // Before the answers: whoever has one can already read what it is about.
        self.durable.advance(done.head, done.turn);
        let total = batch.len();
        let mut appends = 0;
        for (job, result) in batch.into_iter().zip(done.results) {
            appends += usize::from(result.is_ok());
            let _ = job.answer.send(result);
        }
        if done.events > 0 {
            self.moved.notify_one();
        }
        self.emit(|| {
            let took = began.map(|began| self.timer.now().since(began)).unwrap_or_default();
            Event::Committed { appends, refused: total - appends, events: done.events, took }
        });
    }

    /// The batch failed as a whole.
    pub(super) fn refuse(&self, batch: Vec<AppendJob>, fault: Fault, written: Written) {
        let error = fault.into_append_error(written);
        self.emit(|| Event::Undone { appends: batch.len(), reason: error.to_string() });
        let mut rest = batch.into_iter();
        if let Some(first) = rest.next() {
            for job in rest {
                let _ = job.answer.send(Err(again(&error)));
            }
            let _ = first.answer.send(Err(error));
        }
    }

    pub(super) fn disconnected(&self, fault: &Fault) {
        self.emit(|| Event::Disconnected { reason: format!("{fault:?}") });
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }
}

/// The same error for another append of the batch.
fn again(error: &AppendError) -> AppendError {
    match error {
        AppendError::Unavailable(unavailable) => AppendError::Unavailable(unavailable.clone()),
        AppendError::Corrupt(corrupt) => AppendError::Corrupt(corrupt.clone()),
        AppendError::Full => AppendError::Full,
        other => AppendError::Refused(other.to_string().into()),
    }
}
