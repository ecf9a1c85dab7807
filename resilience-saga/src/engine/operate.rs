//! What operators see and do.

use std::sync::Arc;

use resilience_cqrs::EventStore;

use super::log::{HeadState, OPEN, load};
use super::shared::fold;
use super::{Engine, recovery};
use crate::graph::flowchart;
use crate::kernel::{Act, Event, Observation, Report, StepKey, Tick};
use crate::{Error, SagaId};

/// A saga that is not over, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The saga.
    pub id: SagaId,
    /// The version of its definition.
    pub version: u32,
    /// Where it stands.
    pub standing: Standing,
    /// When it tries again, if that is what it waits for.
    pub wake_at: Option<Tick>,
}

/// Where a saga that is not over stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It goes forward.
    Running,
    /// It is being undone.
    Unwinding,
    /// It waits for an operator.
    Stuck,
}

/// Most sagas a page of [`Engine::unfinished`] has.
const PAGE: usize = 1_000;

impl<S: EventStore> Engine<S> {
    /// The sagas that are not over, in the order of their ids, from after `after` on; at most 1,000 at once, and fewer
    /// only at the end.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn unfinished(&self, after: Option<&SagaId>) -> Result<Vec<Summary>, Error> {
        let after = after.map(|id| id.as_str().as_bytes());
        let rows = self.shared.log.store.rows(OPEN, after, PAGE).await?;
        let summary = |(key, row): (bytes::Bytes, bytes::Bytes)| {
            let (id, head) = recovery::read(&key, &row)?;
            let standing = match head.state {
                HeadState::Running => Standing::Running,
                HeadState::Unwinding => Standing::Unwinding,
                HeadState::Stuck => Standing::Stuck,
            };
            Some(Summary { id, version: head.version, standing, wake_at: head.wake_at })
        };
        Ok(rows.into_iter().filter_map(summary).collect())
    }

    /// The sagas that wait for an operator.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn stuck(&self) -> Result<Vec<SagaId>, Error> {
        let mut stuck = Vec::new();
        let mut after = None;
        loop {
            let page = self.unfinished(after.as_ref()).await?;
            after = page.last().map(|summary| summary.id.clone());
            let last = page.len() < PAGE;
            let waits = |summary: &Summary| summary.standing == Standing::Stuck;
            stuck.extend(page.into_iter().filter(waits).map(|summary| summary.id));
            if last {
                return Ok(stuck);
            }
        }
    }

    /// Everything the log says about a saga, over or not: what is applied, what is not, what is unknown, and why.
    ///
    /// Read from the store, so it never shows what is not durable.
    ///
    /// # Errors
    ///
    /// If there is no such saga, its definition is not registered, or the store cannot be read.
    pub async fn status(&self, id: &SagaId) -> Result<Report, Error> {
        let (events, version) = load(&self.shared.log.store, id).await?;
        let definition = self.shared.definition_of(id, &events)?;
        Ok(fold(id, definition.plan.clone(), &events, version)?.report())
    }

    /// A saga's log.
    ///
    /// # Errors
    ///
    /// If there is no such saga or the store cannot be read.
    pub async fn history(&self, id: &SagaId) -> Result<Vec<Event>, Error> {
        let (events, _) = load(&self.shared.log.store, id).await?;
        if events.is_empty() { Err(Error::NotFound { id: id.clone() }) } else { Ok(events) }
    }

    /// A saga's graph as a Mermaid flowchart, each step with its status.
    ///
    /// # Errors
    ///
    /// As those of [`status`](Self::status).
    pub async fn mermaid(&self, id: &SagaId) -> Result<String, Error> {
        let (events, version) = load(&self.shared.log.store, id).await?;
        let definition = self.shared.definition_of(id, &events)?;
        let report = fold(id, definition.plan.clone(), &events, version)?.report();
        Ok(flowchart(&definition.plan, Some(&report)))
    }

    /// Asks for a saga to be given up and undone. Returns once the request is durable; wait for the end through
    /// [`Engine::start`]'s handle.
    ///
    /// # Errors
    ///
    /// [`Refused::PastPivot`](crate::Refused::PastPivot) if it can only complete,
    /// [`Refused::AlreadyFinished`](crate::Refused::AlreadyFinished) if it is over.
    pub async fn cancel(&self, id: &SagaId, reason: impl Into<String>) -> Result<(), Error> {
        self.act(id, Observation::Cancel { reason: reason.into() }).await
    }

    /// Lets a stuck step, or its stuck undo, try again with fresh limits.
    ///
    /// # Errors
    ///
    /// [`Refused::NotStuck`](crate::Refused::NotStuck) if it is not stuck; the others as for [`cancel`](Self::cancel).
    pub async fn retry(&self, id: &SagaId, step: &str, actor: &str, note: &str) -> Result<(), Error> {
        self.resolve(id, step, Act::Retry, actor, note).await
    }

    /// Lets a stuck undo try again with fresh limits: [`retry`](Self::retry) under the name operators look for.
    ///
    /// # Errors
    ///
    /// As for [`retry`](Self::retry).
    pub async fn retry_undo(&self, id: &SagaId, step: &str, actor: &str, note: &str) -> Result<(), Error> {
        self.retry(id, step, actor, note).await
    }

    /// Declares the effect of a stuck step gone: undone by hand, or never there. The saga goes on unwinding.
    ///
    /// # Errors
    ///
    /// As for [`retry`](Self::retry); a step that is stuck on the way forward must be [given up](Self::give_up) first.
    pub async fn mark_undone(&self, id: &SagaId, step: &str, actor: &str, note: &str) -> Result<(), Error> {
        self.resolve(id, step, Act::MarkUndone, actor, note).await
    }

    /// Gives up a step that is stuck on the way forward: the saga unwinds, and the step's undo is told that the effect is
    /// uncertain.
    ///
    /// # Errors
    ///
    /// As for [`retry`](Self::retry), and [`Refused::PastPivot`](crate::Refused::PastPivot) after the pivot.
    pub async fn give_up(&self, id: &SagaId, step: &str, actor: &str, note: &str) -> Result<(), Error> {
        self.resolve(id, step, Act::Undo, actor, note).await
    }

    /// Leaves a saga as it stands, for ever, whatever effects are left. For when all else was tried; it stays in the log
    /// who did it and why.
    ///
    /// # Errors
    ///
    /// [`Refused::AlreadyFinished`](crate::Refused::AlreadyFinished) if it is over.
    pub async fn abandon(&self, id: &SagaId, actor: &str, note: &str) -> Result<(), Error> {
        self.act(id, Observation::Abandon { actor: actor.to_owned(), note: note.to_owned() }).await
    }

    async fn resolve(&self, id: &SagaId, step: &str, act: Act, actor: &str, note: &str) -> Result<(), Error> {
        let step = StepKey::from(step.to_owned());
        self.act(id, Observation::Resolve { step, act, actor: actor.to_owned(), note: note.to_owned() }).await
    }

    async fn act(&self, id: &SagaId, seen: Observation) -> Result<(), Error> {
        Arc::clone(&self.shared).act(id, seen).await
    }
}
