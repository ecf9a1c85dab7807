//! From rows to events, and the queries that find them.

use bytes::Bytes;
use futures::TryStreamExt;
use resilience_core::time::WallTime;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use super::error::Fault;
use crate::log::limits::{PAGE_BYTES, PAGE_EVENTS};
use crate::log::text::{split_tags, split_versions, to_sql};
use crate::log::{
    Appended, Committed, Corrupt, EventType, Marker, Metadata, Position, Query, QueryItem, Recorded, StreamId, Version,
};
use crate::store::Page;

/// The columns of an event, in the order [`event`] reads them.
macro_rules! event_columns {
    () => {
        "position, stream, version, kind, recorded_at, tags, correlation, causation, actor, tenant, trace, payload"
    };
}

fn event(row: &PgRow) -> Result<Recorded, Fault> {
    let number = |column: usize| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let field = |column: usize| row.try_get::<Option<&str>, _>(column);
    let mut metadata = Metadata::new();
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
    Ok(Recorded {
        position: Position::new(number(0)?),
        stream: StreamId::from(row.try_get::<&str, _>(1)?),
        version: Version::new(number(2)?),
        kind: EventType::from(row.try_get::<&str, _>(3)?),
        tags: field(5)?.map_or_else(Vec::new, split_tags),
        payload: Bytes::copy_from_slice(row.try_get::<&[u8], _>(11)?),
        metadata,
        recorded_at: WallTime::from_unix_millis(number(4)?),
    })
}

/// The last position, as the database knows it.
pub(super) async fn head(conn: &mut PgConnection) -> Result<Position, Fault> {
    let row = sqlx::query("SELECT position FROM log_head").fetch_optional(conn).await?;
    let position = row.map(|row| row.try_get::<i64, _>(0)).transpose()?;
    let position = position.ok_or_else(|| Corrupt::new("the log has no head"))?;
    Ok(Position::new(position.unsigned_abs()))
}

/// The events of a stream after a version, at most `limit`.
pub(super) async fn stream(
    conn: &mut PgConnection,
    stream: &str,
    after: Version,
    limit: usize,
) -> Result<Vec<Recorded>, Fault> {
    let select = sqlx::query(concat!(
        "SELECT ",
        event_columns!(),
        " FROM log_event WHERE stream = $1 AND version > $2 ORDER BY version LIMIT $3"
    ));
    let rows = select.bind(stream).bind(to_sql(after.get())).bind(limit_sql(limit)).fetch_all(conn).await?;
    rows.iter().map(event).collect()
}

/// The first events after `after`, up to `through`, that match; at most `limit`, and about `bytes` of payload. True if
/// there were no more.
pub(super) async fn matching(
    conn: &mut PgConnection,
    query: &Query,
    (after, through): (Position, Position),
    limit: usize,
    bytes: usize,
) -> Result<(Vec<Recorded>, bool), Fault> {
    // A query of no items matches nothing.
    if query.items().is_empty() && !query.is_all() {
        return Ok((Vec::new(), true));
    }
    let mut select = QueryBuilder::<Postgres>::new(concat!("SELECT ", event_columns!(), " FROM log_event WHERE "));
    let bounds = |select: &mut QueryBuilder<Postgres>| {
        select.push("position > ").push_bind(to_sql(after.get()));
        select.push(" AND position <= ").push_bind(to_sql(through.get()));
    };
    if query.is_all() {
        bounds(&mut select);
    } else {
        select.push("position IN (SELECT position FROM (");
        for (nth, item) in query.items().iter().enumerate() {
            select.push(if nth == 0 { "(" } else { " UNION (" });
            one_item(&mut select, item, &bounds);
            select.push(" ORDER BY position LIMIT ").push_bind(limit_sql(limit)).push(")");
        }
        select.push(") AS found)");
    }
    select.push(" ORDER BY position LIMIT ").push_bind(limit_sql(limit));
    let (mut events, mut size) = (Vec::new(), 0);
    let mut rows = select.build().fetch(conn);
    while let Some(row) = rows.try_next().await? {
        let event = event(&row)?;
        size += event.payload.len();
        events.push(event);
        if events.len() == limit || size >= bytes {
            return Ok((events, false));
        }
    }
    Ok((events, true))
}

/// The positions of one item: driven by its first tag, or by its types.
fn one_item(select: &mut QueryBuilder<Postgres>, item: &QueryItem, bounds: &impl Fn(&mut QueryBuilder<Postgres>)) {
    let kinds: Vec<String> = item.types.iter().map(|kind| kind.as_str().to_owned()).collect();
    match item.tags.split_first() {
        Some((first, rest)) => {
            select.push("SELECT position FROM log_tag AS t WHERE tag = ").push_bind(first.as_str().to_owned());
            select.push(" AND ");
            bounds(select);
            for tag in rest {
                select.push(" AND EXISTS (SELECT FROM log_tag WHERE position = t.position AND tag = ");
                select.push_bind(tag.as_str().to_owned()).push(")");
            }
        }
        None => {
            select.push("SELECT position FROM log_event WHERE ");
            bounds(select);
        }
    }
    if !kinds.is_empty() {
        select.push(" AND kind = ANY(").push_bind(kinds).push(")");
    }
}

/// A page of the log, as [`EventStore::read`](crate::EventStore::read) promises it.
pub(super) async fn page(
    conn: &mut PgConnection,
    after: Position,
    query: &Query,
    limit: usize,
    head: Position,
) -> Result<Page, Fault> {
    let limit = limit.clamp(1, PAGE_EVENTS);
    let (events, is_all) = matching(conn, query, (after, head), limit, PAGE_BYTES).await?;
    let next = match events.last() {
        Some(last) if !is_all => last.position,
        _ => head.max(after),
    };
    Ok(Page { events, marker: Marker::seen_through(next), next, head })
}

pub(super) async fn row(conn: &mut PgConnection, space: &str, key: &[u8]) -> Result<Option<Bytes>, Fault> {
    let select = sqlx::query("SELECT value FROM log_row WHERE space = $1 AND key = $2").bind(space).bind(key);
    let row = select.fetch_optional(conn).await?;
    Ok(row.map(|row| row.try_get::<Vec<u8>, _>(0)).transpose()?.map(Bytes::from))
}

pub(super) async fn rows(
    conn: &mut PgConnection,
    space: &str,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Bytes, Bytes)>, Fault> {
    let select = sqlx::query(
        "SELECT key, value FROM log_row WHERE space = $1 AND ($2::bytea IS NULL OR key > $2) ORDER BY key LIMIT $3",
    );
    let rows = select.bind(space).bind(after).bind(limit_sql(limit)).fetch_all(conn).await?;
    let pair = |row: &PgRow| Ok((row.try_get::<Vec<u8>, _>(0)?.into(), row.try_get::<Vec<u8>, _>(1)?.into()));
    rows.iter().map(pair).collect()
}

/// What the log remembers of some commands, with their ids.
pub(super) async fn commands(conn: &mut PgConnection, ids: &[&str]) -> Result<Vec<(String, Committed)>, Fault> {
    let select = sqlx::query("SELECT id, digest, first, last, versions FROM log_command WHERE id = ANY($1)");
    let rows = select.bind(ids).fetch_all(conn).await?;
    rows.iter().map(command).collect()
}

fn command(row: &PgRow) -> Result<(String, Committed), Fault> {
    let number = |column: usize| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let id: String = row.try_get(0)?;
    let versions = split_versions(row.try_get(4)?);
    let appended = Appended {
        first: Position::new(number(2)?),
        last: Position::new(number(3)?),
        versions: versions.ok_or_else(|| Corrupt::new(format!("the result of command {id} cannot be read")))?,
        already_committed: true,
    };
    Ok((id, Committed { fingerprint: row.try_get::<i64, _>(1)?.cast_unsigned(), appended }))
}

fn limit_sql(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
