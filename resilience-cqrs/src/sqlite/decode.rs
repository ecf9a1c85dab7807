//! From rows to events.

use bytes::Bytes;
use resilience_core::time::WallTime;
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::Fault;
use crate::cache::Cache;
use crate::log::text::{split_tags, split_versions};
use crate::log::{Appended, Committed, Corrupt, EventType, Metadata, Position, Recorded, StreamId, Version};
use crate::pool::Source;

/// The columns of an event, in the order [`Names::event`] reads them.
macro_rules! event_columns {
    () => {
        "position, stream, version, kind, recorded_at, tags, correlation, causation, actor, tenant, trace, payload"
    };
}
pub(super) use event_columns;

/// How many they are: where a statement's further columns begin.
pub(super) const COLUMNS: usize = 12;

/// A connection that reads, and what it remembers.
pub(super) struct Reader {
    pub(super) conn: Connection,
    pub(super) names: Names,
}

/// Every commit makes a reader's pages old, and it takes a lock and a look for each statement; reads that share a
/// snapshot share those too.
impl Source for Reader {
    fn begin(&mut self) {
        // If it does not begin, each statement has a snapshot of its own.
        let _ = self.conn.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([]));
    }

    fn end(&mut self) {
        if !self.conn.is_autocommit() {
            let _ = self.conn.prepare_cached("ROLLBACK").and_then(|mut end| end.execute([]));
        }
    }
}

/// Names by number, so that a name is read and allocated once and not once an event.
#[derive(Debug)]
pub(super) struct Names {
    streams: Cache<i64, StreamId>,
    kinds: Cache<i64, EventType>,
    kind_ids: Cache<EventType, i64>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { streams: Cache::new(8192), kinds: Cache::new(1024), kind_ids: Cache::new(1024) }
    }

    /// Forgets all, after a transaction that may have handed out numbers was undone.
    pub(super) fn clear(&mut self) {
        self.streams.clear();
        self.kinds.clear();
        self.kind_ids.clear();
    }

    pub(super) fn event(&mut self, conn: &Connection, row: &Row<'_>) -> Result<Recorded, Fault> {
        let position: i64 = row.get(0)?;
        let stream = match self.streams.get(&row.get(1)?) {
            Some(stream) => stream,
            None => self.stream(conn, position, row.get(1)?)?,
        };
        let kind = match self.kinds.get(&row.get(3)?) {
            Some(kind) => kind,
            None => self.kind(conn, position, row.get(3)?)?,
        };
        Ok(Recorded {
            position: Position::new(position.unsigned_abs()),
            stream,
            version: Version::new(row.get::<_, i64>(2)?.unsigned_abs()),
            kind,
            tags: row.get_ref(5)?.as_str_or_null().map_err(from_sql)?.map_or_else(Vec::new, split_tags),
            payload: Bytes::copy_from_slice(row.get_ref(11)?.as_blob().map_err(from_sql)?),
            metadata: metadata(row)?,
            recorded_at: WallTime::from_unix_millis(row.get::<_, i64>(4)?.unsigned_abs()),
        })
    }

    fn stream(&mut self, conn: &Connection, position: i64, id: i64) -> Result<StreamId, Fault> {
        let name = name(conn, "SELECT name FROM log_stream WHERE id = ?1", id)?;
        let name =
            name.ok_or_else(|| Corrupt::new(format!("event {position} is of stream {id}, which has no name")))?;
        let stream = StreamId::from(name);
        self.streams.insert(id, stream.clone());
        Ok(stream)
    }

    fn kind(&mut self, conn: &Connection, position: i64, id: i64) -> Result<EventType, Fault> {
        let name = name(conn, "SELECT name FROM log_kind WHERE id = ?1", id)?;
        let name = name.ok_or_else(|| Corrupt::new(format!("event {position} is of type {id}, which has no name")))?;
        let kind = EventType::from(name);
        self.kinds.insert(id, kind.clone());
        Ok(kind)
    }

    /// The number of a type; `None` if there never was an event of it.
    pub(super) fn kind_id(&mut self, conn: &Connection, kind: &EventType) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.kind_ids.get(kind) {
            return Ok(Some(id));
        }
        let mut select = conn.prepare_cached("SELECT id FROM log_kind WHERE name = ?1")?;
        let id = select.query_row([kind.as_str()], |row| row.get(0)).optional()?;
        if let Some(id) = id {
            self.kind_ids.insert(kind.clone(), id);
        }
        Ok(id)
    }
}

fn name(conn: &Connection, sql: &str, id: i64) -> rusqlite::Result<Option<String>> {
    conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()
}

fn from_sql(error: rusqlite::types::FromSqlError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Null, Box::new(error))
}

fn metadata(row: &Row<'_>) -> rusqlite::Result<Metadata> {
    let mut metadata = Metadata::new();
    let field = |column: usize| row.get_ref(column)?.as_str_or_null().map_err(from_sql);
    if let Some(id) = field(6)? {
        metadata = metadata.with_correlation(id);
    }
    if let Some(id) = field(7)? {
        metadata = metadata.with_causation(id);
    }
    if let Some(actor) = field(8)? {
        metadata = metadata.with_actor(actor);
    }
    if let Some(tenant) = field(9)? {
        metadata = metadata.with_tenant(tenant);
    }
    if let Some(trace) = field(10)? {
        metadata = metadata.with_trace(trace);
    }
    Ok(metadata)
}

/// What the log remembers of a command.
pub(super) fn command(conn: &Connection, id: &str) -> Result<Option<Committed>, Fault> {
    let mut select = conn.prepare_cached("SELECT digest, first, last, versions FROM log_command WHERE id = ?1")?;
    let stored = select.query_row([id], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
    });
    let Some((digest, first, last, versions)) = stored.optional()? else { return Ok(None) };
    let appended = Appended {
        first: Position::new(first.unsigned_abs()),
        last: Position::new(last.unsigned_abs()),
        versions: split_versions(&versions)
            .ok_or_else(|| Corrupt::new(format!("the result of command {id} cannot be read")))?,
        already_committed: true,
    };
    Ok(Some(Committed { fingerprint: digest.cast_unsigned(), appended }))
}
