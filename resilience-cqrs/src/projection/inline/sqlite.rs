//! Inline models in one SQLite file.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::super::sql::SqlProjection;
use super::InlineStore;
use super::engine::{Models, sealed};
use super::rows::{Inline, Sight};
use crate::log::{Append, AppendError, Appended, BoxError, Position, Query, Space};
use crate::sqlite::{SqliteStore, Within};
use crate::store::Page;

/// A model in SQL, and whether its tables are known to be there.
pub struct SqlModel {
    projection: Box<dyn SqlProjection>,
    is_prepared: AtomicBool,
}

impl fmt::Debug for SqlModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlModel").field("name", &self.projection.name()).finish_non_exhaustive()
    }
}

impl InlineStore<SqliteStore> {
    /// Takes events into a model in SQL tables of its own. A name is given once: models of one name share one checkpoint.
    #[must_use]
    pub fn with_sql(mut self, projection: impl SqlProjection) -> Self {
        let model = SqlModel { projection: Box::new(projection), is_prepared: AtomicBool::new(false) };
        Arc::make_mut(&mut self.models).sql.push(Arc::new(model));
        self
    }
}

impl sealed::Sealed for SqliteStore {
    type Sql = SqlModel;

    async fn append_inline(&self, append: Append, models: &Arc<Models<Self>>) -> Result<Appended, AppendError> {
        let (inside, ran) = (models.clone(), Arc::new(AtomicBool::new(false)));
        let has_run = ran.clone();
        let appended = self.append_then(append, move |within| {
            let mut inline = Inline::default();
            for model in &inside.rows {
                inline.take_in(within, (model.name(), &model.query()), |inline, within, events| {
                    inline.rows(within, &**model, events)
                })?;
            }
            for model in &inside.sql {
                let projection = &*model.projection;
                // Relaxed, as below: the writer's queue and its answer order who looks.
                if !model.is_prepared.load(Ordering::Relaxed) {
                    projection.prepare(within.tx)?;
                }
                inline.take_in(within, (projection.name(), &projection.query()), |_, within, events| {
                    projection.apply_all(events, within.tx)
                })?;
            }
            ran.store(true, Ordering::Relaxed);
            Ok(inline.into_changes())
        });
        let appended = appended.await?;
        // It is committed, and so are the tables; unless it was a command of before, and nothing was run.
        if has_run.load(Ordering::Relaxed) {
            models.sql.iter().for_each(|model| model.is_prepared.store(true, Ordering::Relaxed));
        }
        Ok(appended)
    }
}

impl Sight for Within<'_> {
    fn head(&self) -> Position {
        self.head
    }

    fn before(&self) -> Position {
        self.before
    }

    fn row(&mut self, space: &Space, key: &Bytes) -> Result<Option<Bytes>, BoxError> {
        Self::row(self, space, key)
    }

    fn page(&mut self, after: Position, query: &Query) -> Result<Page, BoxError> {
        Self::page(self, after, query)
    }
}
