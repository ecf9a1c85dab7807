//! From rows to events, and the queries that find them.

use bytes::Bytes;
use futures::TryStreamExt;
use resilience_core::time::WallTime;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use super::durable::{Seen, head_columns};
use super::error::Fault;
use super::loads::Load;
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

/// How many columns the head has.
const HEAD: usize = 5;

/// The event in the columns from `at` on.
fn event_at(row: &PgRow, at: usize) -> Result<Recorded, Fault> {
    let number = |column: usize| row.try_get::<i64, _>(at + column).map(i64::unsigned_abs);
    let text = |column: usize| row.try_get::<&str, _>(at + column);
    let field = |column: usize| row.try_get::<Option<&str>, _>(at + column);
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
        stream: StreamId::from(text(1)?),
        version: Version::new(number(2)?),
        kind: EventType::from(text(3)?),
        tags: field(5)?.map_or_else(Vec::new, split_tags),
        payload: Bytes::copy_from_slice(row.try_get::<&[u8], _>(at + 11)?),
        metadata,
        recorded_at: WallTime::from_unix_millis(number(4)?),
    })
}

fn event(row: &PgRow) -> Result<Recorded, Fault> {
    event_at(row, 0)
}

/// The event beside a head; none, if the head is alone.
fn event_beside(row: &PgRow) -> Result<Option<Recorded>, Fault> {
    match row.try_get::<Option<i64>, _>(HEAD)? {
        Some(_) => event_at(row, HEAD).map(Some),
        None => Ok(None),
    }
}

/// The events of a stream after a version, at most `limit`, and the head in the same snapshot.
pub(super) async fn stream(
    conn: &mut PgConnection,
    stream: &str,
    after: Version,
    limit: usize,
) -> Result<(Seen, Vec<Recorded>), Fault> {
    // Joined to one row, and by a loop, the events come in their order.
    let select = sqlx::query(concat!(
        "SELECT ",
        head_columns!(),
        ", e.* FROM log_head AS h LEFT JOIN (SELECT ",
        event_columns!(),
        " FROM log_event WHERE stream = $1 AND version > $2 ORDER BY version LIMIT $3) AS e ON true"
    ));
    let rows = select.bind(stream).bind(to_sql(after.get())).bind(limit_sql(limit)).fetch_all(conn).await?;
    let events = rows.iter().filter_map(|row| event_beside(row).transpose());
    Ok((Seen::read(rows.first())?, events.collect::<Result<_, _>>()?))
}

/// The events of a stream after a version, up to a position, at most `limit`.
pub(super) async fn missed(
    conn: &mut PgConnection,
    stream: &str,
    after: Version,
    through: Position,
    limit: usize,
) -> Result<Vec<Recorded>, Fault> {
    let select = sqlx::query(concat!(
        "SELECT ",
        event_columns!(),
        " FROM log_event WHERE stream = $1 AND version > $2 AND position <= $3 ORDER BY version LIMIT $4"
    ));
    let select = select.bind(stream).bind(to_sql(after.get())).bind(to_sql(through.get())).bind(limit_sql(limit));
    select.fetch_all(conn).await?.iter().map(event).collect()
}

/// The events of some streams, and the head in the same snapshot: one statement, and an index scan a stream.
pub(super) async fn streams(conn: &mut PgConnection, loads: &[Load]) -> Result<(Seen, Vec<Vec<Recorded>>), Fault> {
    // The lengths of arrays that are hidden in a `SELECT` are not known to the planner. Otherwise a plan of their own looks
    // better for short ones, each time, and to make it takes longer than to run it.
    let select = sqlx::query(concat!(
        "SELECT ",
        head_columns!(),
        ", e.*, asked.nth FROM log_head AS h
         LEFT JOIN unnest((SELECT $1::text[]), (SELECT $2::bigint[]), (SELECT $3::bigint[]))
             WITH ORDINALITY AS asked (name, known, most, nth) ON true
         LEFT JOIN LATERAL (SELECT ",
        event_columns!(),
        " FROM log_event WHERE stream = asked.name AND version > asked.known ORDER BY version LIMIT asked.most) AS e ON true
         ORDER BY asked.nth, e.version"
    ));
    let names: Vec<&str> = loads.iter().map(|load| load.stream.as_str()).collect();
    let known: Vec<i64> = loads.iter().map(|load| to_sql(load.after.get())).collect();
    let most: Vec<i64> = loads.iter().map(|load| limit_sql(load.limit)).collect();
    let rows = select.bind(names).bind(known).bind(most).fetch_all(conn).await?;
    let mut all = vec![Vec::new(); loads.len()];
    for row in &rows {
        let Some(event) = event_beside(row)? else { continue };
        let nth = row.try_get::<i64, _>("nth")? - 1;
        let of = usize::try_from(nth).ok().and_then(|nth| all.get_mut(nth));
        of.ok_or_else(|| Corrupt::new("an event of a stream that was not asked for"))?.push(event);
    }
    Ok((Seen::read(rows.first())?, all))
}

/// The first events after `after`, up to `through`, that match; at most `limit`.
pub(super) async fn matching(
    conn: &mut PgConnection,
    query: &Query,
    within: (Position, Position),
    limit: usize,
) -> Result<Vec<Recorded>, Fault> {
    let mut select = QueryBuilder::<Postgres>::new("");
    events_of(&mut select, query, within, limit);
    select.build().fetch_all(conn).await?.iter().map(event).collect()
}

/// The statement for the first events after `after`, up to `through`, that match.
fn events_of(select: &mut QueryBuilder<Postgres>, query: &Query, (after, through): (Position, Position), limit: usize) {
    select.push(concat!("SELECT ", event_columns!(), " FROM log_event WHERE "));
    let bounds = |select: &mut QueryBuilder<Postgres>| {
        select.push("position > ").push_bind(to_sql(after.get()));
        select.push(" AND position <= ").push_bind(to_sql(through.get()));
    };
    if query.is_all() {
        bounds(select);
    } else if query.items().is_empty() {
        select.push("false"); // A query of no items matches nothing.
    } else {
        select.push("position IN (SELECT position FROM (");
        for (nth, item) in query.items().iter().enumerate() {
            select.push(if nth == 0 { "(" } else { " UNION (" });
            one_item(select, item, &bounds);
            select.push(" ORDER BY position LIMIT ").push_bind(limit_sql(limit)).push(")");
        }
        select.push(") AS found)");
    }
    select.push(" ORDER BY position LIMIT ").push_bind(limit_sql(limit));
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

/// What a page is made of: the events as they are, and the head in the same snapshot.
pub(super) struct Draw {
    pub(super) seen: Seen,
    events: Vec<Recorded>,
    /// Whether there were no more.
    is_all: bool,
}

impl Draw {
    /// The page that ends at `bound`, as [`EventStore::read`](crate::EventStore::read) promises it.
    pub(super) fn page(mut self, after: Position, bound: Position) -> Page {
        let count = self.events.len();
        self.events.retain(|event| event.position <= bound);
        let is_all = self.is_all || self.events.len() < count;
        let next = match self.events.last() {
            Some(last) if !is_all => last.position,
            _ => bound.max(after),
        };
        Page { events: self.events, marker: Marker::seen_through(next), next, head: bound }
    }
}

/// Draws a page: at most `limit` events, and about as much payload as a page may have.
pub(super) async fn draw(conn: &mut PgConnection, after: Position, query: &Query, limit: usize) -> Result<Draw, Fault> {
    let limit = limit.clamp(1, PAGE_EVENTS);
    let mut select =
        QueryBuilder::<Postgres>::new(concat!("SELECT ", head_columns!(), ", e.* FROM log_head AS h LEFT JOIN ("));
    events_of(&mut select, query, (after, Position::new(u64::MAX)), limit);
    select.push(") AS e ON true");
    let (mut seen, mut events, mut size) = (None, Vec::new(), 0);
    let mut rows = select.build().fetch(conn);
    while let Some(row) = rows.try_next().await? {
        let seen = *seen.insert(match seen {
            None => Seen::read(Some(&row))?,
            Some(seen) => seen,
        });
        let Some(event) = event_beside(&row)? else { continue };
        size += event.payload.len();
        events.push(event);
        if events.len() == limit || size >= PAGE_BYTES {
            return Ok(Draw { seen, events, is_all: false });
        }
    }
    Ok(Draw { seen: seen.map_or_else(|| Seen::read(None), Ok)?, events, is_all: true })
}

/// A row, with the head in the same snapshot, and the turn that made it so.
pub(super) async fn row(conn: &mut PgConnection, space: &str, key: &[u8]) -> Result<(Seen, u64, Option<Bytes>), Fault> {
    let select = sqlx::query(concat!(
        "SELECT ",
        head_columns!(),
        ", r.turn, r.value FROM log_head AS h LEFT JOIN log_row AS r ON r.space = $1 AND r.key = $2"
    ));
    let found = select.bind(space).bind(key).fetch_optional(conn).await?;
    let seen = Seen::read(found.as_ref())?;
    let Some(found) = found else { return Ok((seen, seen.gone, None)) };
    match found.try_get::<Option<i64>, _>(HEAD)? {
        Some(turn) => Ok((seen, turn.unsigned_abs(), Some(found.try_get::<Vec<u8>, _>(HEAD + 1)?.into()))),
        None => Ok((seen, seen.gone, None)),
    }
}

/// The rows of a space, with the head in the same snapshot, and the last turn that made them so.
pub(super) async fn rows(
    conn: &mut PgConnection,
    space: &str,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<(Seen, u64, Vec<(Bytes, Bytes)>), Fault> {
    let select = sqlx::query(concat!(
        "SELECT ",
        head_columns!(),
        ", r.turn, r.key, r.value FROM log_head AS h LEFT JOIN (SELECT turn, key, value FROM log_row
         WHERE space = $1 AND ($2::bytea IS NULL OR key > $2) ORDER BY key LIMIT $3) AS r ON true"
    ));
    let found = select.bind(space).bind(after).bind(limit_sql(limit)).fetch_all(conn).await?;
    let seen = Seen::read(found.first())?;
    let (mut turn, mut rows) = (seen.gone, Vec::new());
    for row in &found {
        let Some(its) = row.try_get::<Option<i64>, _>(HEAD)? else { continue };
        turn = turn.max(its.unsigned_abs());
        rows.push((row.try_get::<Vec<u8>, _>(HEAD + 1)?.into(), row.try_get::<Vec<u8>, _>(HEAD + 2)?.into()));
    }
    Ok((seen, turn, rows))
}

/// What the log remembers of a command, with the head in the same snapshot.
pub(super) async fn command(conn: &mut PgConnection, id: &str) -> Result<(Seen, Option<Committed>), Fault> {
    let select = sqlx::query(concat!(
        "SELECT ",
        head_columns!(),
        ", c.digest, c.first, c.last, c.versions FROM log_head AS h LEFT JOIN log_command AS c ON c.id = $1"
    ));
    let found = select.bind(id).fetch_optional(conn).await?;
    let seen = Seen::read(found.as_ref())?;
    let Some(found) = found else { return Ok((seen, None)) };
    let number = |column: usize| found.try_get::<Option<i64>, _>(HEAD + column);
    let (Some(digest), Some(first), Some(last)) = (number(0)?, number(1)?, number(2)?) else {
        return Ok((seen, None));
    };
    Ok((seen, Some(committed(id, (digest, first, last), found.try_get(HEAD + 3)?)?)))
}

/// A row of the table of commands.
pub(super) fn committed(id: &str, (digest, first, last): (i64, i64, i64), versions: &str) -> Result<Committed, Fault> {
    let versions = split_versions(versions);
    let appended = Appended {
        first: Position::new(first.unsigned_abs()),
        last: Position::new(last.unsigned_abs()),
        versions: versions.ok_or_else(|| Corrupt::new(format!("the result of command {id} cannot be read")))?,
        already_committed: true,
    };
    Ok(Committed { fingerprint: digest.cast_unsigned(), appended })
}

fn limit_sql(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
