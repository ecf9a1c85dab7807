//! Inline models in a PostgreSQL database.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::super::checkpoint::{self, Checkpoint};
use super::super::postgres::{self, PostgresProjection};
use super::super::take::DIVISION;
use super::InlineStore;
use super::engine::{Models, sealed};
use super::rows::{Attempt, Inline, begin, divided};
use crate::log::limits::PAGE_EVENTS;
use crate::log::{Append, AppendError, Appended, BoxError, Position, Query, Recorded};
use crate::postgres::PostgresStore;
use crate::postgres::beside::{self, Then};

/// A model in SQL, and whether its tables are there.
pub struct SqlModel {
    projection: Box<dyn SqlProjection>,
    is_prepared: AtomicBool,
}

impl fmt::Debug for SqlModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlModel").field("name", &self.projection.name()).finish_non_exhaustive()
    }
}

/// A [`PostgresProjection`] whose type is forgotten.
trait SqlProjection: Send + Sync {
    fn name(&self) -> &str;
    fn query(&self) -> Query;
    fn prepare<'a>(&'a self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), BoxError>>;
    fn apply_all<'a>(&'a self, events: &'a [Recorded], tx: &'a mut PgConnection)
    -> BoxFuture<'a, Result<(), BoxError>>;
}

impl<P: PostgresProjection> SqlProjection for P {
    fn name(&self) -> &str {
        PostgresProjection::name(self)
    }

    fn query(&self) -> Query {
        PostgresProjection::query(self)
    }

    fn prepare<'a>(&'a self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(postgres::prepare(self, tx))
    }

    fn apply_all<'a>(
        &'a self,
        events: &'a [Recorded],
        tx: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(PostgresProjection::apply_all(self, events, tx))
    }
}

impl InlineStore<PostgresStore> {
    /// Takes events into a model in SQL tables of its own. A name is given once: models of one name share one checkpoint.
    #[must_use]
    pub fn with_sql(mut self, projection: impl PostgresProjection) -> Self {
        let model = SqlModel { projection: Box::new(projection), is_prepared: AtomicBool::new(false) };
        Arc::make_mut(&mut self.models).sql.push(Arc::new(model));
        self
    }
}

impl sealed::Sealed for PostgresStore {
    type Sql = SqlModel;

    async fn append_inline(&self, append: Append, models: &Arc<Models<Self>>) -> Result<Appended, AppendError> {
        for model in &models.sql {
            // Relaxed: tables that are made twice are made once.
            if !model.is_prepared.load(Ordering::Relaxed) {
                let this = model.clone();
                self.beside(Box::new(move |tx| Box::pin(async move { this.projection.prepare(tx).await }))).await?;
                model.is_prepared.store(true, Ordering::Relaxed);
            }
        }
        // They would wait for the log's lock, each with a connection that reads could use.
        let _turn = models.turn.lock().await;
        let models = models.clone();
        let then: Then = Box::new(move |tx, appended| {
            let before = Position::new(appended.first.get().saturating_sub(1));
            let head = appended.last;
            Box::pin(async move { take_in(&models, tx, (before, head)).await })
        });
        self.append_then(append, then).await
    }
}

async fn take_in(
    models: &Models<PostgresStore>,
    tx: &mut PgConnection,
    (before, head): (Position, Position),
) -> Result<(), BoxError> {
    let mut inline = Inline::default();
    for model in &models.rows {
        let query = model.query();
        let mut at = position(&mut inline, tx, model.name(), (before, head)).await?;
        while at < head {
            let events = page(tx, &query, &mut at, head).await?;
            for event in &events {
                while let Attempt::Misses(key) = inline.attempt(&**model, event)? {
                    let value = beside::row(tx, &key.0, &key.1).await?;
                    inline.know(key, value);
                }
            }
        }
    }
    for model in &models.sql {
        let projection = &*model.projection;
        let query = projection.query();
        let mut at = position(&mut inline, tx, projection.name(), (before, head)).await?;
        while at < head {
            let events = page(tx, &query, &mut at, head).await?;
            if !events.is_empty() {
                let applied = AssertUnwindSafe(projection.apply_all(&events, tx)).catch_unwind().await;
                applied.map_err(|_| "an inline projection panicked")??;
            }
        }
    }
    // Fails where a projection went on after an error: the transaction is void then, and would be undone in silence.
    Ok(beside::change(tx, &inline.into_changes()).await?)
}

/// Where a model begins; it will be at the head.
async fn position(
    inline: &mut Inline,
    tx: &mut PgConnection,
    name: &str,
    (before, head): (Position, Position),
) -> Result<Position, BoxError> {
    let key = checkpoint::key(name, None);
    let found = beside::row(tx, &checkpoint::SPACE, &key).await?;
    let found = found.map(|row| Checkpoint::decode(&row)).transpose()?;
    if found.is_none() && beside::row(tx, &DIVISION, &key).await?.is_some() {
        return Err(divided(name));
    }
    let found = begin(found, name, before)?;
    inline.put((checkpoint::SPACE, key), Some(Checkpoint { position: head, ..found }.encode()));
    Ok(found.position)
}

async fn page(
    tx: &mut PgConnection,
    query: &Query,
    at: &mut Position,
    head: Position,
) -> Result<Vec<Recorded>, BoxError> {
    let events = beside::events(tx, query, (*at, head), PAGE_EVENTS).await?;
    *at = match events.last() {
        Some(last) if events.len() == PAGE_EVENTS => last.position,
        _ => head,
    };
    Ok(events)
}
