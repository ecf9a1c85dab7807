//! The reads, each on one connection and in order.

use std::ops::RangeInclusive;

use bytes::Bytes;
use rusqlite::{CachedStatement, Connection, Params};

use super::batch::to_sql;
use super::decode::{COLUMNS, Names, event_columns};
use super::error::Fault;
use super::query::matching;
use crate::log::limits::{PAGE_BYTES, PAGE_EVENTS};
use crate::log::{Corrupt, EventType, Marker, Position, Query, QueryItem, Recorded, StreamId, Tag, Version};
use crate::store::Page;

/// The events after `after` and up to `head` that match.
///
/// Several statements, and no transaction is needed around them: events never change and never appear at or before `head`, so
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
    let mut page = Collecting { events: Vec::with_capacity(limit.min(16)), bytes: 0, limit };
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
    } else if let Some((tag, kinds)) = by_one_tag(query) {
        tagged(conn, names, tag, kinds, &within, &mut page)?;
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
        None => Err(dangling(position)),
    }
}

/// Types that [`TAGGED`] has places for.
const KINDS: usize = 4;

/// A tag's events in one statement, and so in one go at the log's lock. The join is an outer one because an event that
/// is not there is damage, and not a shorter answer.
pub(super) const TAGGED: &str = concat!(
    "SELECT ",
    event_columns!(),
    ", at FROM (SELECT position AS at FROM log_tagged
         WHERE tag = (SELECT id FROM log_tag WHERE name = ?1) AND position BETWEEN ?2 AND ?3
         AND (?4 IS NULL OR kind IN (?4, ?5, ?6, ?7))) LEFT JOIN log_event ON position = at ORDER BY at"
);

/// What most decisions ask: one tag, and at most a few types.
fn by_one_tag(query: &Query) -> Option<(&Tag, &[EventType])> {
    match query.items() {
        [QueryItem { types, tags }] if types.len() <= KINDS => {
            tags.first().filter(|_| tags.len() == 1).map(|tag| (tag, &types[..]))
        }
        _ => None,
    }
}

fn tagged(
    conn: &Connection,
    names: &mut Names,
    tag: &Tag,
    types: &[EventType],
    within: &RangeInclusive<i64>,
    page: &mut Collecting,
) -> Result<(), Fault> {
    let mut kinds = [None; KINDS];
    for (nth, kind) in types.iter().filter_map(|kind| names.kind_id(conn, kind).transpose()).enumerate() {
        kinds[nth] = Some(kind?);
    }
    if kinds[0].is_none() && !types.is_empty() {
        return Ok(()); // Nothing of these types was ever appended.
    }
    let mut select = conn.prepare_cached(TAGGED)?;
    let [first, second, third, fourth] = kinds;
    let mut rows = select.query((tag.as_str(), within.start(), within.end(), first, second, third, fourth))?;
    while !page.is_full()
        && let Some(row) = rows.next()?
    {
        if row.get::<_, Option<i64>>(0)?.is_none() {
            return Err(dangling(row.get(COLUMNS)?));
        }
        page.add(names.event(conn, row)?);
    }
    Ok(())
}

fn dangling(position: i64) -> Fault {
    Corrupt::new(format!("an index names event {position}, which is not there")).into()
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
    events(conn, names, conn.prepare_cached(STREAM)?, (stream, after, to_sql(limit as u64)))
}

pub(super) const NAMED: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM log_event INDEXED BY log_event_stream
     WHERE stream = (SELECT id FROM log_stream WHERE name = ?1) AND version > ?2 ORDER BY version LIMIT ?3"
);

/// The same by name, and still one statement.
pub(super) fn named(
    conn: &Connection,
    names: &mut Names,
    stream: &StreamId,
    after: Version,
    limit: usize,
) -> Result<Vec<Recorded>, Fault> {
    let select = conn.prepare_cached(NAMED)?;
    events(conn, names, select, (stream.as_str(), to_sql(after.get()), to_sql(limit as u64)))
}

fn events(
    conn: &Connection,
    names: &mut Names,
    mut select: CachedStatement<'_>,
    params: impl Params,
) -> Result<Vec<Recorded>, Fault> {
    let mut rows = select.query(params)?;
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
