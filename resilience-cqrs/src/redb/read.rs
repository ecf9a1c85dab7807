//! The reads, each in a snapshot and in order.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable};

use super::batch::Outcome;
use super::error::Fault;
use super::query::matching;
use super::record::{Names, decode};
use super::tables::{ReadTables, View};
use crate::log::limits::{PAGE_BYTES, PAGE_EVENTS};
use crate::log::{Committed, Corrupt, Marker, Position, Query, Recorded, Version};
use crate::pool::Source;
use crate::store::Page;

/// What a thread reads with.
pub(super) struct Reader {
    database: Arc<Database>,
    names: Names,
}

impl Source for Reader {}

impl Reader {
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self { database, names: Names::new() }
    }

    pub(super) fn read<T>(
        &mut self,
        read: impl FnOnce(&ReadTables, &mut Names) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let Self { database, names } = self;
        catch_unwind(AssertUnwindSafe(|| read(&ReadTables::open(&database.begin_read()?)?, names)))
            .unwrap_or_else(|_| Err(Fault::panicked()))
    }
}

/// The events after `after` and up to `head` that match.
pub(super) fn page(
    view: &impl View,
    names: &mut Names,
    after: Position,
    query: &Query,
    limit: usize,
    head: Position,
) -> Result<Page, Fault> {
    let limit = limit.clamp(1, PAGE_EVENTS);
    let within = after.get().saturating_add(1)..=head.get();
    let mut page = Collecting { events: Vec::new(), bytes: 0, limit };
    if within.is_empty() {
        // Nothing is there to be asked for.
    } else if query.is_all() {
        for entry in view.events().range(within)? {
            let (position, record) = entry?;
            page.add(event(names, position.value(), record.value())?);
            if page.is_full() {
                break;
            }
        }
    } else {
        for position in matching(view, query, &within, limit)? {
            page.add(event_at(view, names, position)?);
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

pub(super) fn event(names: &mut Names, position: u64, record: &[u8]) -> Result<Recorded, Fault> {
    let event = decode(names, Position::new(position), record);
    Ok(event.ok_or_else(|| Corrupt::new(format!("event {position} cannot be read")))?)
}

pub(super) fn event_at(view: &impl View, names: &mut Names, position: u64) -> Result<Recorded, Fault> {
    let record = view.events().get(position)?;
    let record = record.ok_or_else(|| Corrupt::new(format!("an index names event {position}, which is not there")))?;
    event(names, position, record.value())
}

pub(super) fn stream(
    view: &impl View,
    names: &mut Names,
    stream: &str,
    after: Version,
    limit: usize,
) -> Result<Vec<Recorded>, Fault> {
    match view.stream_ids().get(stream)?.map(|id| id.value()) {
        Some(id) => stream_of(view, names, id, after, limit),
        None => Ok(Vec::new()),
    }
}

/// The events of the stream with this number.
pub(super) fn stream_of(
    view: &impl View,
    names: &mut Names,
    id: u64,
    after: Version,
    limit: usize,
) -> Result<Vec<Recorded>, Fault> {
    let mut events = Vec::new();
    for entry in view.streams().range((id, after.get().saturating_add(1))..=(id, u64::MAX))?.take(limit) {
        events.push(event_at(view, names, entry?.1.value())?);
    }
    Ok(events)
}

pub(super) fn row(view: &impl View, space: &str, key: &[u8]) -> Result<Option<Bytes>, Fault> {
    Ok(view.rows().get((space, key))?.map(|value| Bytes::copy_from_slice(value.value())))
}

pub(super) fn rows(
    view: &impl View,
    space: &str,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Bytes, Bytes)>, Fault> {
    let start = after.map_or(Bound::Included((space, &[][..])), |after| Bound::Excluded((space, after)));
    let mut found = Vec::new();
    for entry in view.rows().range::<(&str, &[u8])>((start, Bound::Unbounded))?.take(limit) {
        let (key, value) = entry?;
        let (of, key) = key.value();
        if of != space {
            break;
        }
        found.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value.value())));
    }
    Ok(found)
}

/// What the log remembers of a command.
pub(super) fn command(view: &impl View, id: &str) -> Result<Option<Committed>, Fault> {
    let Some(stored) = view.commands().get(id)? else { return Ok(None) };
    let outcome = Outcome::decode(stored.value());
    Ok(Some(outcome.ok_or_else(|| Corrupt::new(format!("the result of command {id} cannot be read")))?))
}
