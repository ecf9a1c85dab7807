//! The call of the server's function, and what it answers.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row};

use super::draft::{Draft, Event};
use super::error::Fault;
use super::read;
use crate::log::text::to_sql;
use crate::log::{CommandId, Committed, Corrupt, Metadata, Position, Version};

const CALL: &str = "SELECT written, turn, base, versions, hits, row_values, known_ids, known_digests, known_firsts,
    known_lasts, known_versions FROM log_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
    $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39,
    $40, $41, $42, $43)";

/// How a draft is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// The store; 0 in a transaction of a caller's.
    pub(super) me: i64,
    /// Only if this was the last turn.
    pub(super) guard: Option<u64>,
    /// Whether the commit goes ahead of the disk; `None` leaves it to the transaction.
    pub(super) lazily: Option<bool>,
}

/// What the server found under the lock.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Whether it wrote the draft.
    pub(super) written: bool,
    /// The last turn, this one included if it wrote.
    pub(super) turn: u64,
    /// The head before.
    pub(super) base: Position,
    /// The versions before of the draft's streams.
    pub(super) versions: Vec<Version>,
    /// Which conditions on queries do not hold.
    pub(super) hits: HashSet<i32>,
    /// The values of the rows that conditions are about.
    pub(super) values: Vec<Option<Bytes>>,
    pub(super) commands: HashMap<CommandId, Committed>,
}

/// One round trip; with the commit, if no transaction is open.
pub(super) async fn append(conn: &mut PgConnection, draft: &Draft<'_>, how: How) -> Result<Facts, Fault> {
    // All rows, although there is one: the stream ends after the commit, and with it the commit's error.
    let rows = bound(draft, how).fetch_all(conn).await?;
    rows.first().ok_or_else(|| Corrupt::new("the log's function returned nothing").into()).and_then(facts)
}

pub(super) type Bound<'q> = Query<'q, Postgres, PgArguments>;

/// An empty column is no column: it costs nothing, here and there.
pub(super) fn column<T>(values: Vec<T>) -> Option<Vec<T>> {
    (!values.is_empty()).then_some(values)
}

fn bound<'q>(draft: &Draft<'q>, how: How) -> Bound<'q> {
    let query = sqlx::query(CALL).bind(how.me).bind(how.guard.map(to_sql)).bind(draft.only_look).bind(how.lazily);
    let query = query.bind(column(draft.streams.clone())).bind(column(draft.assumed.clone()));
    let query = query.bind(column(draft.ids.clone()));
    let rows = &draft.rows;
    let query =
        query.bind(column(rows.spaces.clone())).bind(column(rows.keys.clone())).bind(column(rows.values.clone()));
    commands(changes(tags(events(queries(query, draft), draft), draft), draft), draft)
}

pub(super) fn queries<'q>(query: Bound<'q>, draft: &Draft<'q>) -> Bound<'q> {
    let queries = &draft.queries;
    let query = query.bind(column(queries.nths.clone())).bind(column(queries.afters.clone()));
    let query = query.bind(column(queries.tags.clone())).bind(column(queries.rests.clone()));
    query.bind(column(queries.kinds.clone()))
}

fn events<'q>(query: Bound<'q>, draft: &Draft<'q>) -> Bound<'q> {
    let events = &draft.events;
    let query = query
        .bind(to_sql(draft.now.as_unix_millis()))
        .bind(column(events.iter().map(|event| draft.streams[event.stream]).collect::<Vec<&str>>()))
        .bind(column(events.iter().map(|event| place(event.stream)).collect::<Vec<i32>>()))
        .bind(column(events.iter().map(|event| event.offset).collect::<Vec<i64>>()))
        .bind(kinds(draft))
        .bind(joined_tags(draft));
    metadata(query, draft).bind(payloads(draft))
}

pub(super) fn kinds<'q>(draft: &Draft<'q>) -> Option<Vec<&'q str>> {
    column(draft.events.iter().map(|event| event.event.kind.as_str()).collect())
}

pub(super) fn payloads<'q>(draft: &Draft<'q>) -> Option<Vec<&'q [u8]>> {
    column(draft.events.iter().map(|event| &*event.event.payload).collect())
}

pub(super) fn joined_tags(draft: &Draft<'_>) -> Option<Vec<Option<String>>> {
    let tags: Vec<Option<String>> = draft.events.iter().map(|event| event.tags.clone()).collect();
    tags.iter().any(Option::is_some).then_some(tags)
}

pub(super) fn metadata<'q>(query: Bound<'q>, draft: &Draft<'q>) -> Bound<'q> {
    // Most logs use few of the fields of metadata: a column of nothing is not sent.
    let field = |of: fn(&Metadata) -> Option<&str>| -> Option<Vec<Option<&'q str>>> {
        let values: Vec<_> = draft.events.iter().map(|event: &Event<'q>| of(&event.event.metadata)).collect();
        values.iter().any(Option::is_some).then_some(values)
    };
    query
        .bind(field(Metadata::correlation))
        .bind(field(Metadata::causation))
        .bind(field(Metadata::actor))
        .bind(field(Metadata::tenant))
        .bind(field(Metadata::trace))
}

pub(super) fn tags<'q>(query: Bound<'q>, draft: &Draft<'q>) -> Bound<'q> {
    query
        .bind(column(draft.tags.iter().map(|(tag, ..)| *tag).collect::<Vec<&str>>()))
        .bind(column(draft.tags.iter().map(|(_, event, _)| *event).collect::<Vec<i64>>()))
        .bind(column(draft.tags.iter().map(|(.., kind)| *kind).collect::<Vec<&str>>()))
}

fn changes<'q>(query: Bound<'q>, draft: &Draft<'q>) -> Bound<'q> {
    let (mut put, mut gone) = ((Vec::new(), Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for ((space, key), value) in &draft.changes {
        match value {
            Some(value) => {
                put.0.push(*space);
                put.1.push(*key);
                put.2.push(*value);
            }
            None => {
                gone.0.push(*space);
                gone.1.push(*key);
            }
        }
    }
    query.bind(column(put.0)).bind(column(put.1)).bind(column(put.2)).bind(column(gone.0)).bind(column(gone.1))
}

fn commands<'q>(query: Bound<'q>, draft: &Draft<'q>) -> Bound<'q> {
    let commands = &draft.commands;
    let (mut of, mut nths, mut offsets, mut streams) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (command, nth_command) in commands.iter().zip(1_i64..) {
        for (nth, offset) in &command.parts {
            of.push(nth_command);
            nths.push(place(*nth));
            offsets.push(*offset);
            streams.push(draft.streams[*nth]);
        }
    }
    command_columns(query, draft).bind(column(of)).bind(column(nths)).bind(column(offsets)).bind(column(streams))
}

/// The commands, and the positions they lead to after the head.
pub(super) fn command_columns<'q>(query: Bound<'q>, draft: &Draft<'q>) -> Bound<'q> {
    let commands = &draft.commands;
    query
        .bind(column(commands.iter().map(|command| command.id).collect::<Vec<&str>>()))
        .bind(column(commands.iter().map(|command| command.digest.cast_signed()).collect::<Vec<i64>>()))
        .bind(column(commands.iter().map(|command| command.first).collect::<Vec<i64>>()))
        .bind(column(commands.iter().map(|command| command.last).collect::<Vec<i64>>()))
}

/// A place in an array of the server's, which counts from 1. No batch has 2^31 streams.
fn place(nth: usize) -> i32 {
    i32::try_from(nth + 1).unwrap_or(i32::MAX)
}

pub(super) fn facts(row: &PgRow) -> Result<Facts, Fault> {
    let base: Option<i64> = row.try_get(2)?;
    let base = base.ok_or_else(|| Corrupt::new("the log has no head"))?;
    let versions: Option<Vec<i64>> = row.try_get(3)?;
    let hits: Option<Vec<i32>> = row.try_get(4)?;
    let values: Option<Vec<Option<Vec<u8>>>> = row.try_get(5)?;
    Ok(Facts {
        written: row.try_get(0)?,
        turn: row.try_get::<i64, _>(1)?.unsigned_abs(),
        base: Position::new(base.unsigned_abs()),
        versions: versions.unwrap_or_default().into_iter().map(|n| Version::new(n.unsigned_abs())).collect(),
        hits: hits.unwrap_or_default().into_iter().collect(),
        values: values.unwrap_or_default().into_iter().map(|value| value.map(Bytes::from)).collect(),
        commands: known(row)?,
    })
}

fn known(row: &PgRow) -> Result<HashMap<CommandId, Committed>, Fault> {
    let Some(ids) = row.try_get::<Option<Vec<String>>, _>(6)? else { return Ok(HashMap::new()) };
    let numbers = |column: usize| row.try_get::<Vec<i64>, _>(column);
    let (digests, firsts, lasts) = (numbers(7)?, numbers(8)?, numbers(9)?);
    let versions: Vec<String> = row.try_get(10)?;
    let mut known = HashMap::new();
    for ((((id, digest), first), last), versions) in ids.into_iter().zip(digests).zip(firsts).zip(lasts).zip(versions) {
        let committed = read::committed(&id, (digest, first, last), &versions)?;
        known.insert(CommandId::from(id.as_str()), committed);
    }
    Ok(known)
}
