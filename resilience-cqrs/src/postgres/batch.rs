//! Some appends in one transaction: judged one after the other, written together.
//!
//! The head's row is locked first, so nothing that is judged can change before the commit. What the appends need to know
//! is asked for all of them at once, what they write is kept beside it, so that a later one sees the earlier ones, and
//! goes to the server in a statement a table. The number of round trips does not grow with the number of appends, but
//! for conditions on queries and for conflicts, which ask for what was missed.

use std::collections::HashMap;

use bytes::Bytes;
use resilience_core::time::WallTime;
use sqlx::{PgConnection, Row};

use super::error::Fault;
use super::read;
use super::write;
use crate::log::limits::MISSED_EVENTS;
use crate::log::text::to_sql;
use crate::log::{
    Append, AppendError, Appended, CommandId, Condition, Conflict, Corrupt, Expected, Missed, Position, Query,
    Recorded, RowChange, Space, StreamId, Version, Violation,
};

/// What a transaction knows and is about to write.
pub(super) struct Batch<'c> {
    conn: &'c mut PgConnection,
    /// The head before this transaction.
    base: Position,
    /// The versions of every stream that is named, this transaction's events included.
    versions: HashMap<StreamId, Version>,
    /// The rows that a condition is about or that were changed.
    rows: HashMap<(Space, Bytes), Option<Bytes>>,
    commands: HashMap<CommandId, (u64, Appended)>,
    pub(super) written: Written,
}

/// What is written at the end.
#[derive(Default)]
pub(super) struct Written {
    pub(super) events: Vec<Recorded>,
    /// The last change of each row.
    pub(super) rows: HashMap<(Space, Bytes), Option<Bytes>>,
    pub(super) commands: Vec<(CommandId, u64, Appended)>,
}

/// Judges and writes the appends; the results in their order, and the head after the commit. The caller commits.
pub(super) async fn run(
    conn: &mut PgConnection,
    appends: &[&Append],
    now: WallTime,
) -> Result<(Vec<Result<Appended, AppendError>>, Position), Fault> {
    let base = lock(conn).await?;
    let mut batch = Batch {
        conn,
        base,
        versions: HashMap::new(),
        rows: HashMap::new(),
        commands: HashMap::new(),
        written: Written::default(),
    };
    batch.learn(appends).await?;
    let mut results = Vec::with_capacity(appends.len());
    for append in appends {
        results.push(batch.append(append, now).await?);
    }
    let head = batch.head();
    write::all(batch.conn, &batch.written, (base, head)).await?;
    Ok((results, head))
}

/// The head, which nobody else can move until the transaction ends.
async fn lock(conn: &mut PgConnection) -> Result<Position, Fault> {
    let row = sqlx::query("SELECT position FROM log_head FOR UPDATE").fetch_optional(conn).await?;
    let position = row.map(|row| row.try_get::<i64, _>(0)).transpose()?;
    let position = position.ok_or_else(|| Corrupt::new("the log has no head"))?;
    Ok(Position::new(position.unsigned_abs()))
}

impl Batch<'_> {
    /// Asks for everything the appends name.
    async fn learn(&mut self, appends: &[&Append]) -> Result<(), Fault> {
        let streams: Vec<&StreamId> =
            appends.iter().flat_map(|append| append.streams()).map(|part| &part.stream).collect();
        if !streams.is_empty() {
            let names: Vec<&str> = streams.iter().map(|stream| stream.as_str()).collect();
            let select = sqlx::query(
                "SELECT named, coalesce((SELECT version FROM log_event WHERE stream = named ORDER BY version DESC
                 LIMIT 1), 0) FROM (SELECT DISTINCT unnest($1::text[]) COLLATE \"C\" AS named) AS names",
            );
            for row in select.bind(&names).fetch_all(&mut *self.conn).await? {
                let version = Version::new(row.try_get::<i64, _>(1)?.unsigned_abs());
                self.versions.insert(row.try_get::<&str, _>(0)?.into(), version);
            }
        }
        let ids: Vec<&str> = appends.iter().filter_map(|append| Some(append.command()?.0.as_str())).collect();
        if !ids.is_empty() {
            for (id, committed) in read::commands(self.conn, &ids).await? {
                self.commands.insert(id.into(), (committed.fingerprint, committed.appended));
            }
        }
        self.learn_rows(appends).await
    }

    async fn learn_rows(&mut self, appends: &[&Append]) -> Result<(), Fault> {
        let conditions = appends.iter().flat_map(|append| append.conditions());
        let keys: Vec<(&Space, &Bytes)> = conditions
            .filter_map(|condition| match condition {
                Condition::Row { space, key, .. } => Some((space, key)),
                Condition::NoMatch { .. } => None,
            })
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let spaces: Vec<&str> = keys.iter().map(|(space, _)| space.as_str()).collect();
        let bytes: Vec<&[u8]> = keys.iter().map(|(_, key)| &***key).collect();
        let select = sqlx::query(
            "SELECT space, key, value FROM log_row
             JOIN unnest($1::text[], $2::bytea[]) AS wanted (s, k) ON space = s AND key = k
             FOR UPDATE OF log_row", // Rows also change beside the log, without its lock.
        );
        for row in select.bind(&spaces).bind(&bytes).fetch_all(&mut *self.conn).await? {
            let (space, key, value) =
                (row.try_get::<&str, _>(0)?, row.try_get::<Vec<u8>, _>(1)?, row.try_get::<Vec<u8>, _>(2)?);
            self.rows.insert((space.into(), key.into()), Some(value.into()));
        }
        Ok(())
    }

    /// The last position, including what this transaction writes.
    fn head(&self) -> Position {
        self.base.plus(self.written.events.len() as u64)
    }

    async fn append(&mut self, append: &Append, now: WallTime) -> Result<Result<Appended, AppendError>, Fault> {
        let named = append.command();
        if let Some((id, digest)) = named
            && let Some((first, appended)) = self.commands.get(id)
        {
            return Ok(match *first == digest {
                true => Ok(Appended { already_committed: true, ..appended.clone() }),
                false => Err(AppendError::IdMisuse { id: id.clone() }),
            });
        }
        let violations = self.violations(append).await?;
        if !violations.is_empty() {
            return Ok(Err(AppendError::Conflict(Conflict { violations })));
        }
        let first = self.head().next();
        let versions = self.stage_events(append, now);
        for change in append.row_changes() {
            let (at, value) = match change {
                RowChange::Put { space, key, value } => ((space.clone(), key.clone()), Some(value.clone())),
                RowChange::Delete { space, key } => ((space.clone(), key.clone()), None),
            };
            self.rows.insert(at.clone(), value.clone());
            self.written.rows.insert(at, value);
        }
        let appended = Appended { first, last: self.head(), versions, already_committed: false };
        if let Some((id, digest)) = named {
            self.commands.insert(id.clone(), (digest, appended.clone()));
            self.written.commands.push((id.clone(), digest, appended.clone()));
        }
        Ok(Ok(appended))
    }

    fn stage_events(&mut self, append: &Append, now: WallTime) -> Vec<(StreamId, Version)> {
        let mut versions = Vec::with_capacity(append.streams().len());
        for part in append.streams() {
            let mut version = self.version(&part.stream);
            for event in &part.events {
                version = version.next();
                self.written.events.push(Recorded {
                    position: self.head().next(),
                    stream: part.stream.clone(),
                    version,
                    kind: event.kind.clone(),
                    tags: event.tags.clone(),
                    payload: event.payload.clone(),
                    metadata: event.metadata.clone(),
                    recorded_at: now,
                });
            }
            self.versions.insert(part.stream.clone(), version);
            versions.push((part.stream.clone(), version));
        }
        versions
    }

    fn version(&self, stream: &StreamId) -> Version {
        self.versions.get(stream).copied().unwrap_or(Version::EMPTY)
    }

    async fn violations(&mut self, append: &Append) -> Result<Vec<Violation>, Fault> {
        let mut violations = Vec::new();
        for part in append.streams() {
            let actual = self.version(&part.stream);
            if !part.expected.admits(actual) {
                let missed = self.missed_of_stream(&part.stream, part.expected).await?;
                let (stream, expected) = (part.stream.clone(), part.expected);
                violations.push(Violation::Stream { stream, expected, actual, missed });
            }
        }
        for (nth, condition) in append.conditions().iter().enumerate() {
            match condition {
                Condition::NoMatch { query, after } => {
                    let missed = self.missed_of_query(query, after.position()).await?;
                    if !missed.events.is_empty() {
                        violations.push(Violation::Matched { condition: nth, missed });
                    }
                }
                Condition::Row { space, key, equals } => {
                    let actual = self.rows.get(&(space.clone(), key.clone())).cloned().flatten();
                    if actual != *equals {
                        violations.push(Violation::Row { space: space.clone(), key: key.clone(), actual });
                    }
                }
            }
        }
        Ok(violations)
    }

    async fn missed_of_stream(&mut self, stream: &StreamId, expected: Expected) -> Result<Missed, Fault> {
        let known = expected.known();
        let stored = read::stream(self.conn, stream.as_str(), known, MISSED_EVENTS + 1).await?;
        let staged = self.written.events.iter().filter(|event| event.stream == *stream && event.version > known);
        Ok(missed(stored, staged))
    }

    async fn missed_of_query(&mut self, query: &Query, after: Position) -> Result<Missed, Fault> {
        let within = (after, self.base);
        let stored = if after < self.base {
            read::matching(self.conn, query, within, MISSED_EVENTS + 1, usize::MAX).await?.0
        } else {
            Vec::new()
        };
        let is_missed = |event: &&Recorded| event.position > after && query.matches(&event.kind, &event.tags);
        Ok(missed(stored, self.written.events.iter().filter(is_missed)))
    }
}

/// The first of what was missed: what is stored, then what this transaction is about to store.
fn missed<'e>(mut events: Vec<Recorded>, staged: impl Iterator<Item = &'e Recorded>) -> Missed {
    events.extend(staged.take(MISSED_EVENTS + 1 - events.len().min(MISSED_EVENTS + 1)).cloned());
    let more = events.len() > MISSED_EVENTS;
    events.truncate(MISSED_EVENTS);
    Missed { events, more }
}

/// A head as the database writes it.
pub(super) fn position(head: Position) -> i64 {
    to_sql(head.get())
}
