//! Appends judged one after the other, by what the server found under the lock.
//!
//! The later ones see what the earlier ones of the same batch are about to write. Nothing is written here: what is
//! accepted becomes a [draft](super::draft) of its own. What a refused append has missed is read from the log, up to the
//! head that it is judged at.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use resilience_core::time::WallTime;
use sqlx::PgConnection;

use super::call::Facts;
use super::draft::Draft;
use super::error::Fault;
use super::read;
use crate::log::limits::MISSED_EVENTS;
use crate::log::{
    Append, AppendError, Appended, CommandId, Condition, Conflict, Expected, Missed, Position, Query, Recorded,
    RowChange, Space, StreamId, Version, Violation,
};

/// What the appends come to if those that are accepted are written now.
pub(super) struct Judgement<'a> {
    pub(super) results: Vec<Result<Appended, AppendError>>,
    /// Those that are to be written, in their order.
    pub(super) accepted: Vec<&'a Append>,
}

/// Judges the appends, whose [question](Draft::question) had these answers.
pub(super) async fn judge<'a>(
    conn: &mut PgConnection,
    appends: &[&'a Append],
    facts: &Facts,
    now: WallTime,
) -> Result<Judgement<'a>, Fault> {
    let mut bench = Bench::new(conn, appends, facts);
    let mut judgement = Judgement { results: Vec::with_capacity(appends.len()), accepted: Vec::new() };
    for append in appends {
        let result = bench.append(append, now).await?;
        if result.as_ref().is_ok_and(|appended| !appended.already_committed) {
            judgement.accepted.push(append);
        }
        judgement.results.push(result);
    }
    Ok(judgement)
}

/// What is known while a batch is judged.
struct Bench<'c> {
    conn: &'c mut PgConnection,
    /// The head before this batch.
    base: Position,
    /// The versions of every stream that is named, this batch's events included.
    versions: HashMap<StreamId, Version>,
    /// The rows that a condition is about or that were changed.
    rows: HashMap<(Space, Bytes), Option<Bytes>>,
    commands: HashMap<CommandId, (u64, Appended)>,
    /// The events to be written.
    staged: Vec<Recorded>,
    hits: &'c HashSet<i32>,
    /// Conditions on queries so far, as the draft counts them.
    queries: i32,
}

impl<'c> Bench<'c> {
    fn new(conn: &'c mut PgConnection, appends: &[&Append], facts: &'c Facts) -> Self {
        let asked = Draft::question(appends);
        let stream = |(name, version): (&&str, &Version)| (StreamId::from(*name), *version);
        let rows = asked.rows.spaces.iter().zip(&asked.rows.keys).zip(&facts.values);
        let row = |((space, key), value): ((&&str, &&[u8]), &Option<Bytes>)| {
            ((Space::from(*space), Bytes::copy_from_slice(key)), value.clone())
        };
        let command = |(id, committed): (&CommandId, &crate::log::Committed)| {
            (id.clone(), (committed.fingerprint, committed.appended.clone()))
        };
        Self {
            conn,
            base: facts.base,
            versions: asked.streams.iter().zip(&facts.versions).map(stream).collect(),
            rows: rows.map(row).collect(),
            commands: facts.commands.iter().map(command).collect(),
            staged: Vec::new(),
            hits: &facts.hits,
            queries: 0,
        }
    }

    /// The last position, including what this batch writes.
    fn head(&self) -> Position {
        self.base.plus(self.staged.len() as u64)
    }

    async fn append(&mut self, append: &Append, now: WallTime) -> Result<Result<Appended, AppendError>, Fault> {
        let named = append.command();
        let first_query = self.queries;
        self.queries += append.conditions().iter().filter(|condition| is_query(condition)).count() as i32;
        if let Some((id, digest)) = named
            && let Some((first, appended)) = self.commands.get(id)
        {
            return Ok(match *first == digest {
                true => Ok(Appended { already_committed: true, ..appended.clone() }),
                false => Err(AppendError::IdMisuse { id: id.clone() }),
            });
        }
        let violations = self.violations(append, first_query).await?;
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
            self.rows.insert(at, value);
        }
        let appended = Appended { first, last: self.head(), versions, already_committed: false };
        if let Some((id, digest)) = named {
            self.commands.insert(id.clone(), (digest, appended.clone()));
        }
        Ok(Ok(appended))
    }

    fn stage_events(&mut self, append: &Append, now: WallTime) -> Vec<(StreamId, Version)> {
        let mut versions = Vec::with_capacity(append.streams().len());
        for part in append.streams() {
            let mut version = self.version(&part.stream);
            for event in &part.events {
                version = version.next();
                self.staged.push(Recorded {
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

    async fn violations(&mut self, append: &Append, mut nth_query: i32) -> Result<Vec<Violation>, Fault> {
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
                    let is_hit = self.hits.contains(&nth_query);
                    nth_query += 1;
                    let missed = self.missed_of_query(query, after.position(), is_hit).await?;
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
        let stored = read::missed(self.conn, stream.as_str(), known, self.base, MISSED_EVENTS + 1).await?;
        let staged = self.staged.iter().filter(|event| event.stream == *stream && event.version > known);
        Ok(missed(stored, staged))
    }

    async fn missed_of_query(&mut self, query: &Query, after: Position, is_hit: bool) -> Result<Missed, Fault> {
        let within = (after, self.base);
        let stored =
            if is_hit { read::matching(self.conn, query, within, MISSED_EVENTS + 1).await? } else { Vec::new() };
        let is_missed = |event: &&Recorded| event.position > after && query.matches(&event.kind, &event.tags);
        Ok(missed(stored, self.staged.iter().filter(is_missed)))
    }
}

/// The first of what was missed: what is stored, then what this transaction is about to store.
fn missed<'e>(mut events: Vec<Recorded>, staged: impl Iterator<Item = &'e Recorded>) -> Missed {
    events.extend(staged.take(MISSED_EVENTS + 1 - events.len().min(MISSED_EVENTS + 1)).cloned());
    let more = events.len() > MISSED_EVENTS;
    events.truncate(MISSED_EVENTS);
    Missed { events, more }
}

fn is_query(condition: &Condition) -> bool {
    matches!(condition, Condition::NoMatch { .. })
}
