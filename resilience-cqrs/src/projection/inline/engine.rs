//! What an engine does for an append that takes its events in.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use super::rows::{Inline, RowModel, Sight};
use crate::log::{Append, AppendError, Appended, BoxError, Position, Query, Space};
use crate::memory::MemoryStore;
use crate::store::{EventStore, Page};

/// An engine that takes events in as they are appended. Implemented by the engines of this crate, and by nobody else.
pub trait InlineEngine: sealed::Sealed {}

impl<S: sealed::Sealed> InlineEngine for S {}

/// The models of a store.
pub struct Models<S: InlineEngine> {
    pub(super) rows: Vec<Arc<dyn RowModel>>,
    pub(super) sql: Vec<Arc<S::Sql>>,
    /// For engines that would have appends wait for one another elsewhere.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

impl<S: InlineEngine> Models<S> {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.sql.is_empty()
    }
}

impl<S: InlineEngine> Default for Models<S> {
    fn default() -> Self {
        Self { rows: Vec::new(), sql: Vec::new(), turn: Arc::default() }
    }
}

impl<S: InlineEngine> Clone for Models<S> {
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone(), sql: self.sql.clone(), turn: self.turn.clone() }
    }
}

impl<S: InlineEngine> std::fmt::Debug for Models<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Models").field("rows", &self.rows.len()).field("sql", &self.sql.len()).finish()
    }
}

pub(crate) mod sealed {
    use super::{Append, AppendError, Appended, Arc, EventStore, Future, Models};

    pub trait Sealed: EventStore + Sized {
        /// A model in SQL of this engine.
        type Sql: ?Sized + Send + Sync + 'static;

        /// Appends, and takes the events into all models in the same transaction.
        fn append_inline(
            &self,
            append: Append,
            models: &Arc<Models<Self>>,
        ) -> impl Future<Output = Result<Appended, AppendError>> + Send
        where
            Self: super::InlineEngine;
    }
}

impl sealed::Sealed for MemoryStore {
    type Sql = std::convert::Infallible;

    async fn append_inline(&self, append: Append, models: &Arc<Models<Self>>) -> Result<Appended, AppendError> {
        self.append_then(append, |within| {
            let mut inline = Inline::default();
            for model in &models.rows {
                inline.take_in(within, (model.name(), &model.query()), |inline, within, events| {
                    inline.rows(within, &**model, events)
                })?;
            }
            Ok(inline.into_changes())
        })
    }
}

impl Sight for crate::memory::Within<'_> {
    fn head(&self) -> Position {
        Self::head(self)
    }

    fn before(&self) -> Position {
        Self::before(self)
    }

    fn row(&mut self, space: &Space, key: &Bytes) -> Result<Option<Bytes>, BoxError> {
        Ok(Self::row(self, space, key))
    }

    fn page(&mut self, after: Position, query: &Query) -> Result<Page, BoxError> {
        Ok(Self::page(self, after, query))
    }
}
