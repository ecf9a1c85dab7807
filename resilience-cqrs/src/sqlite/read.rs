//! The reads, each on one connection and in order.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use super::batch::to_sql;
use super::decode::{Names, event_columns};
use super::error::Fault;
use super::query::matching;
use crate::log::limits::{PAGE_BYTES, PAGE_EVENTS};
use crate::log::{Corrupt, Marker, Position, Query, Recorded};
use crate::store::Page;

/// The events after `after` and up to `head` that match.
///
/// Several statements without a transaction around them: events never change and never appear at or before `head`, so
/// each statement sees the same answer.
pub(super) fn page(
    conn: &Connection,
    names: &mut Names,
    after: Position,
    query: &Query,
    limit: usize,
    head: Position,
) -> Result<Page, Fault> {
    let limit = limit.clamp(1, PAGE_EVENTS);
    let within = to_sql(after.get()).saturating_add(1)..=to_sql(head.get());
    let mut page = Collecting { events: Vec::new(), bytes: 0, limit };
    if query.is_all() {
        let mut select = conn.prepare_cached(concat!(
            "SELECT ",
            event_columns!(),
            " FROM log_event WHERE position BETWEEN ?1 AND ?2 ORDER BY position"
        ))?;
        let mut rows = select.query((within.start(), within.end()))?;
        while !page.is_full()
            && let Some(row) = rows.next()?
        {
            page.add(names.event(conn, row)?);
        }
    } else {
        for position in matching(conn, query, &within, limit)? {
            page.add(event(conn, names, position)?);
            if page.is_full() {
                break;
            }
        }
    }
    let next = match page.events.last() {
        Some(last) if page.is_full() => last.position,
        _ => head.max(after),
    };
    Ok(Page { events: page.events, marker: Marker::seen_through(next), next, head })
}

struct Collecting {
    events: Vec<Recorded>,
    bytes: usize,
    limit: usize,
}

impl Collecting {
    fn add(&mut self, event: Recorded) {
        self.bytes += event.payload.len();
        self.events.push(event);
    }

    fn is_full(&self) -> bool {
        self.events.len() >= self.limit || self.bytes >= PAGE_BYTES
    }
}

pub(super) fn event(conn: &Connection, names: &mut Names, position: i64) -> Result<Recorded, Fault> {
    let mut select =
        conn.prepare_cached(concat!("SELECT ", event_columns!(), " FROM log_event WHERE position = ?1"))?;
    let mut rows = select.query([position])?;
    match rows.next()? {
        Some(row) => names.event(conn, row),
        None => Err(Corrupt::new(format!("an index names event {position}, which is not there")).into()),
    }
}

/// The number of a stream; `None` if there never was an event in it.
pub(super) fn stream_id(conn: &Connection, stream: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT id FROM log_stream WHERE name = ?1")?.query_row([stream], |row| row.get(0)).optional()
}

pub(super) const STREAM: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM log_event INDEXED BY log_event_stream WHERE stream = ?1 AND version > ?2 ORDER BY version LIMIT ?3"
);

pub(super) fn stream(
    conn: &Connection,
    names: &mut Names,
    stream: i64,
    after: i64,
    limit: usize,
) -> Result<Vec<Recorded>, Fault> {
    let mut select = conn.prepare_cached(STREAM)?;
    let mut rows = select.query((stream, after, to_sql(limit as u64)))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(names.event(conn, row)?);
    }
    Ok(events)
}

pub(super) fn row(conn: &Connection, space: &str, key: &[u8]) -> rusqlite::Result<Option<Bytes>> {
    let mut select = conn.prepare_cached("SELECT value FROM log_row WHERE space = ?1 AND key = ?2")?;
    let mut rows = select.query((space, key))?;
    match rows.next()? {
        Some(row) => bytes(row, 0).map(Some),
        None => Ok(None),
    }
}

pub(super) fn rows(
    conn: &Connection,
    space: &str,
    after: Option<&[u8]>,
    limit: usize,
) -> rusqlite::Result<Vec<(Bytes, Bytes)>> {
    // A blob sorts after null and every text, so without a lower bound the empty text is one.
    let mut select =
        conn.prepare_cached("SELECT key, value FROM log_row WHERE space = ?1 AND key > ?2 ORDER BY key LIMIT ?3")?;
    let limit = to_sql(limit as u64);
    let mut rows = match after {
        Some(after) => select.query((space, after, limit))?,
        None => select.query((space, "", limit))?,
    };
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((bytes(row, 0)?, bytes(row, 1)?));
    }
    Ok(found)
}

fn bytes(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    let blob = row.get_ref(column)?.as_blob();
    let blob = blob.map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, Box::new(error))
    })?;
    Ok(Bytes::copy_from_slice(blob))
}
