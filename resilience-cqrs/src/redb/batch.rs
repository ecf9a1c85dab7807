//! One append, inside a transaction that it shares with its neighbours in the queue.
//!
//! Everything that can refuse an append is checked before anything of it is written, so a refusal costs its neighbours
//! nothing.

use std::ops::RangeInclusive;

use bytes::{Buf, BufMut};
use redb::ReadableTable;
use resilience_core::time::WallTime;

use super::error::Fault;
use super::query::matching;
use super::read;
use super::record::{Names, encode};
use super::tables::{View, WriteTables};
use crate::cache::Cache;
use crate::log::limits::MISSED_EVENTS;
use crate::log::text::{join_versions, split_versions};
use crate::log::{
    Append, AppendError, Appended, Committed, Condition, Conflict, Expected, Missed, NewEvent, Position, Query,
    RowChange, StreamAppend, StreamId, Version, Violation,
};

/// Why an append did not go in.
pub(super) enum Refusal {
    /// This one alone; the transaction goes on.
    Alone(AppendError),
    /// The transaction is lost, and with it everybody in it.
    All(Fault),
}

impl<F: Into<Fault>> From<F> for Refusal {
    fn from(fault: F) -> Self {
        Self::All(fault.into())
    }
}

#[derive(Clone, Copy, Debug)]
struct Head {
    id: u64,
    version: u64,
}

/// What the writer remembers from one transaction to the next.
///
/// Invariant: between transactions `head` and `streams` say what the file says. Nobody else writes to it, and after a
/// transaction that failed nothing more is written.
pub(super) struct Batcher {
    names: Names,
    streams: Cache<StreamId, Head>,
    head: u64,
    /// The number of the next stream, once it is known.
    next_stream: Option<u64>,
    record: Vec<u8>,
}

impl Batcher {
    pub(super) fn new(head: Position) -> Self {
        Self {
            names: Names::new(),
            streams: Cache::new(32_768),
            head: head.get(),
            next_stream: None,
            record: Vec::new(),
        }
    }

    /// The last position, including what the transaction in progress has written.
    pub(super) fn head(&self) -> Position {
        Position::new(self.head)
    }

    /// Checks one append and writes it.
    pub(super) fn append(
        &mut self,
        tables: &mut WriteTables<'_>,
        append: &Append,
        now: WallTime,
    ) -> Result<Appended, Refusal> {
        let named = append.command();
        if let Some((id, digest)) = named
            && let Some(committed) = read::command(tables, id.as_str())?
        {
            let same = committed.fingerprint == digest;
            return if same {
                Ok(committed.appended)
            } else {
                Err(Refusal::Alone(AppendError::IdMisuse { id: id.clone() }))
            };
        }
        let heads = append.streams().iter().map(|part| self.stream(tables, &part.stream));
        let heads = heads.collect::<Result<Vec<_>, _>>()?;
        let violations = self.violations(tables, append, &heads)?;
        if !violations.is_empty() {
            return Err(Refusal::Alone(AppendError::Conflict(Conflict { violations })));
        }
        let first = self.head().next();
        let mut versions = Vec::with_capacity(heads.len());
        for (part, head) in append.streams().iter().zip(heads) {
            versions.push((part.stream.clone(), self.write_stream(tables, part, head, now)?));
        }
        for change in append.row_changes() {
            match change {
                RowChange::Put { space, key, value } => {
                    tables.rows.insert((space.as_str(), &**key), &**value)?;
                }
                RowChange::Delete { space, key } => {
                    tables.rows.remove((space.as_str(), &**key))?;
                }
            }
        }
        let appended = Appended { first, last: self.head(), versions, already_committed: false };
        if let Some((id, digest)) = named {
            tables.commands.insert(id.as_str(), &*Outcome::encode(digest, &appended))?;
        }
        Ok(appended)
    }

    fn write_stream(
        &mut self,
        tables: &mut WriteTables<'_>,
        part: &StreamAppend,
        head: Option<Head>,
        now: WallTime,
    ) -> Result<Version, Fault> {
        let mut head = match head {
            Some(head) => head,
            None if part.events.is_empty() => return Ok(Version::EMPTY),
            None => {
                let id = self.next_stream(tables)?;
                tables.stream_ids.insert(part.stream.as_str(), id)?;
                Head { id, version: 0 }
            }
        };
        for event in &part.events {
            head.version += 1;
            self.write_event(tables, &part.stream, head, event, now)?;
        }
        self.streams.insert(part.stream.clone(), head);
        Ok(Version::new(head.version))
    }

    fn write_event(
        &mut self,
        tables: &mut WriteTables<'_>,
        stream: &StreamId,
        head: Head,
        event: &NewEvent,
        now: WallTime,
    ) -> Result<(), Fault> {
        let (position, kind) = (self.head + 1, event.kind.as_str());
        encode(stream, head.version, event, now, &mut self.record);
        tables.events.insert(position, self.record.as_slice())?;
        tables.streams.insert((head.id, head.version), position)?;
        tables.kinds.insert((kind, position), ())?;
        for tag in &event.tags {
            tables.tags.insert((tag.as_str(), position), kind)?;
        }
        self.head = position;
        Ok(())
    }

    fn violations(
        &mut self,
        view: &impl View,
        append: &Append,
        heads: &[Option<Head>],
    ) -> Result<Vec<Violation>, Fault> {
        let mut violations = Vec::new();
        for (part, head) in append.streams().iter().zip(heads) {
            let actual = Version::new(head.map_or(0, |head| head.version));
            if !part.expected.admits(actual) {
                let missed = self.missed_of_stream(view, *head, part.expected)?;
                let (stream, expected) = (part.stream.clone(), part.expected);
                violations.push(Violation::Stream { stream, expected, actual, missed });
            }
        }
        for (nth, condition) in append.conditions().iter().enumerate() {
            match condition {
                Condition::NoMatch { query, after } => {
                    let within = after.position().get().saturating_add(1)..=self.head;
                    let missed = self.missed_of_query(view, query, &within)?;
                    if !missed.events.is_empty() {
                        violations.push(Violation::Matched { condition: nth, missed });
                    }
                }
                Condition::Row { space, key, equals } => {
                    let actual = read::row(view, space.as_str(), key)?;
                    if actual != *equals {
                        violations.push(Violation::Row { space: space.clone(), key: key.clone(), actual });
                    }
                }
            }
        }
        Ok(violations)
    }

    fn missed_of_stream(&mut self, view: &impl View, head: Option<Head>, expected: Expected) -> Result<Missed, Fault> {
        let Some(head) = head else { return Ok(Missed::default()) };
        let mut events = read::stream_of(view, &mut self.names, head.id, expected.known(), MISSED_EVENTS + 1)?;
        let more = events.len() > MISSED_EVENTS;
        events.truncate(MISSED_EVENTS);
        Ok(Missed { events, more })
    }

    fn missed_of_query(
        &mut self,
        view: &impl View,
        query: &Query,
        within: &RangeInclusive<u64>,
    ) -> Result<Missed, Fault> {
        let mut positions = if query.is_all() {
            within.clone().take(MISSED_EVENTS + 1).collect()
        } else {
            matching(view, query, within, MISSED_EVENTS + 1)?
        };
        let more = positions.len() > MISSED_EVENTS;
        positions.truncate(MISSED_EVENTS);
        let events = positions.iter().map(|position| read::event_at(view, &mut self.names, *position));
        Ok(Missed { events: events.collect::<Result<_, _>>()?, more })
    }

    fn stream(&mut self, view: &impl View, stream: &StreamId) -> Result<Option<Head>, Fault> {
        if let Some(head) = self.streams.get(stream) {
            return Ok(Some(head));
        }
        let Some(id) = view.stream_ids().get(stream.as_str())?.map(|id| id.value()) else { return Ok(None) };
        let last = view.streams().range((id, 0)..=(id, u64::MAX))?.next_back().transpose()?;
        let head = Head { id, version: last.map_or(0, |(key, _)| key.value().1) };
        self.streams.insert(stream.clone(), head);
        Ok(Some(head))
    }

    /// The next number: one more than the last stream with events has.
    fn next_stream(&mut self, view: &impl View) -> Result<u64, Fault> {
        let next = match self.next_stream {
            Some(next) => next,
            None => view.streams().last()?.map_or(1, |(key, _)| key.value().0.saturating_add(1)),
        };
        self.next_stream = Some(next.saturating_add(1));
        Ok(next)
    }
}

/// The result of a command, as it is kept: content, first and last position with eight bytes each, then versions.
pub(super) struct Outcome;

impl Outcome {
    fn encode(digest: u64, appended: &Appended) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.put_u64_le(digest);
        bytes.put_u64_le(appended.first.get());
        bytes.put_u64_le(appended.last.get());
        bytes.extend_from_slice(join_versions(&appended.versions).as_bytes());
        bytes
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Committed> {
        let fingerprint = bytes.try_get_u64_le().ok()?;
        let first = Position::new(bytes.try_get_u64_le().ok()?);
        let last = Position::new(bytes.try_get_u64_le().ok()?);
        let versions = split_versions(std::str::from_utf8(bytes).ok()?)?;
        Some(Committed { fingerprint, appended: Appended { first, last, versions, already_committed: true } })
    }
}
