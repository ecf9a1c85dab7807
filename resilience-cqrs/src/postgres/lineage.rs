//! Whether the server is still one that has the log this store knows.
//!
//! A standby that follows its primary a moment later and is promoted lacks what was acknowledged last. Who comes back to
//! the address finds a log that is shorter, or, a moment later, one that has given the same positions to other events:
//! checkpoints and whoever holds a position would be wrong without a word. So every new connection is asked first.
//!
//! The head alone cannot tell, because it may have grown again. But a promotion begins a new *timeline* of the server's
//! own log, and the first who appends on one writes down at which position that was, under the head's lock and so before
//! any event of the timeline. If one of them began before the last position this store knows to be durable, that position
//! is not what it was.

use std::sync::{Arc, Mutex, PoisonError};

use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::time::SharedTimer;
use sqlx::{PgConnection, Row};

use super::durable::Durable;
use super::error::{Fault, WentBack};
use super::event::Event;
use crate::log::{Corrupt, Position};

/// The server's cluster and timeline, where the log ends, whether the timeline is written down, and the first position at
/// which one began that is newer than the one known.
const ASK: &str = "
WITH here AS MATERIALIZED (
    SELECT 'timeline ' || (SELECT system_identifier FROM pg_control_system()) || ' ' AS cluster,
        CASE WHEN pg_is_in_recovery() THEN NULL
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint END AS timeline)
SELECT here.cluster, here.timeline, h.position,
    EXISTS (SELECT FROM log_meta AS m WHERE m.name = here.cluster || here.timeline),
    (SELECT min(m.value) FROM log_meta AS m WHERE here.cluster = $1 AND CASE
        WHEN starts_with(m.name, here.cluster) THEN substr(m.name, length(here.cluster) + 1)::bigint > $2 END)
FROM here, log_head AS h";

/// Where the server tells nobody of its cluster and its timelines: the head has to do.
const ASK_LESS: &str = "
SELECT '', CASE WHEN pg_is_in_recovery() THEN NULL ELSE 0::bigint END, h.position, true, NULL::bigint FROM log_head AS h";

/// Waits for the head, so what it writes down is where the timeline begins.
const WRITE_DOWN: &str = "INSERT INTO log_meta (name, value) SELECT $1, position FROM log_head FOR UPDATE
    ON CONFLICT DO NOTHING";

/// What this store knows of where its log comes from.
pub(super) struct Lineage {
    pub(super) durable: Arc<Durable>,
    pub(super) name: Name,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
    /// The cluster and the timeline that were found good last.
    known: Mutex<(String, i64)>,
}

impl Lineage {
    pub(super) fn new(durable: Arc<Durable>, name: Name, timer: SharedTimer, listeners: Listeners) -> Self {
        Self { durable, name, timer, listeners, known: Mutex::default() }
    }

    /// Whether a new connection leads to the log this store knows; before the first append over it, `to_write`.
    pub(super) async fn check(&self, conn: &mut PgConnection, to_write: bool) -> Result<(), Fault> {
        self.durable.intact()?;
        let last = self.durable.head(); // Before the question: what is known by now, the server must have.
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let asked = sqlx::query(ASK).bind(&known.0).bind(known.1).fetch_optional(&mut *conn).await;
        let row = match asked {
            Err(error) if is_not_allowed(&error) => sqlx::query(ASK_LESS).fetch_optional(&mut *conn).await?,
            asked => asked?,
        };
        let row = row.ok_or_else(|| Corrupt::new("the log has no head"))?;
        let cluster: String = row.try_get(0)?;
        // It is about to be promoted, or the address is wrong. What it has is no answer yet.
        let timeline =
            row.try_get::<Option<i64>, _>(1)?.ok_or_else(|| sqlx::Error::Protocol("the server is a standby".into()))?;
        let position =
            |column: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(i64::unsigned_abs));
        let (head, began) = (position(2)?, position(4)?);
        if let Some(found) = head.into_iter().chain(began).min().map(Position::new).filter(|found| *found < last) {
            return Err(self.lose(WentBack { last, found }).into());
        }
        if cluster == known.0 && timeline < known.1 {
            // The one before, which came back and does not know that another took over.
            return Err(sqlx::Error::Protocol("another server took over from this one".into()).into());
        }
        if to_write && !row.try_get::<bool, _>(3)? {
            sqlx::query(WRITE_DOWN).bind(format!("{cluster}{timeline}")).execute(conn).await?;
        }
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = (cluster, timeline);
        Ok(())
    }

    /// For a pool, of which a connection that fails this would be made again and again: what was lost is told by whoever
    /// takes the connection.
    pub(super) async fn check_pooled(&self, conn: &mut PgConnection, to_write: bool) -> Result<(), sqlx::Error> {
        match self.check(conn, to_write).await {
            Ok(()) | Err(Fault::WentBack(_)) => Ok(()),
            Err(Fault::Corrupt(corrupt)) => Err(sqlx::Error::Decode(corrupt.into())),
            Err(Fault::Database(error)) if is_not_allowed(&error) => Ok(()), // And so it will append nothing either.
            Err(Fault::Database(error)) => Err(error),
        }
    }

    fn lose(&self, lost: WentBack) -> WentBack {
        if self.durable.lose(lost) {
            let WentBack { last, found } = lost;
            tracing::error!(store = %self.name, %last, %found, "the log went back");
            self.listeners.emit(&self.name, || self.timer.now(), || Event::WentBack { last, found });
        }
        lost
    }
}

/// Whether the user may not do that: a write, if it may only read; a question that the server's owner keeps to himself.
fn is_not_allowed(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("42501" | "25006"))
}
