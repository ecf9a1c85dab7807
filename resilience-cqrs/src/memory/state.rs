//! What a memory store holds, and the rules of an append over it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use resilience_core::time::WallTime;

use crate::log::limits::{MISSED_EVENTS, PAGE_BYTES, PAGE_EVENTS};
use crate::log::{
    Append, AppendError, Appended, BoxError, CommandId, Committed, Condition, Conflict, EventType, Expected, Marker,
    Missed, Position, Query, QueryItem, Recorded, RowChange, Space, StreamId, Tag, Version, Violation,
};
use crate::store::Page;

/// Invariant: `log[i].position == i + 1`, and each index lists positions in rising order.
pub(super) struct State {
    capacity: u64,
    log: Vec<Recorded>,
    streams: HashMap<StreamId, Vec<Position>>,
    tags: HashMap<Tag, Vec<Position>>,
    kinds: HashMap<EventType, Vec<Position>>,
    rows: HashMap<Space, BTreeMap<Bytes, Bytes>>,
    commands: HashMap<CommandId, (u64, Appended)>,
}

/// The store as an append leaves it, while it may still be refused.
pub(crate) struct Within<'s> {
    state: &'s State,
    events: &'s [Recorded],
}

impl Within<'_> {
    pub(crate) fn head(&self) -> Position {
        self.state.head().plus(self.events.len() as u64)
    }

    pub(crate) fn before(&self) -> Position {
        self.state.head()
    }

    pub(crate) fn row(&self, space: &Space, key: &Bytes) -> Option<Bytes> {
        self.state.row(space.as_str(), key)
    }

    pub(crate) fn page(&self, after: Position, query: &Query) -> Page {
        let mut page = self.state.read(after, query, PAGE_EVENTS);
        if page.next >= self.state.head() {
            let new = self.events.iter().filter(|event| event.position > after);
            page.events.extend(new.filter(|event| query.matches(&event.kind, &event.tags)).cloned());
            page.next = self.head();
        }
        page.head = self.head();
        page
    }
}

impl State {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            log: Vec::new(),
            streams: HashMap::new(),
            tags: HashMap::new(),
            kinds: HashMap::new(),
            rows: HashMap::new(),
            commands: HashMap::new(),
        }
    }

    /// Appends what is accepted, and changes the rows that `then` says, who is shown the events before they are there.
    pub(super) fn append(
        &mut self,
        mut append: Append,
        now: WallTime,
        then: Option<impl FnOnce(&mut Within<'_>) -> Result<Vec<RowChange>, BoxError>>,
    ) -> Result<Appended, AppendError> {
        let command = append.command().map(|(id, digest)| (id.clone(), digest));
        if let Some((id, digest)) = &command
            && let Some((first, appended)) = self.commands.get(id)
        {
            if first != digest {
                return Err(AppendError::IdMisuse { id: id.clone() });
            }
            return Ok(Appended { already_committed: true, ..appended.clone() });
        }
        let violations = self.violations(&append);
        if !violations.is_empty() {
            return Err(AppendError::Conflict(Conflict { violations }));
        }
        if self.head().get() + append.event_count() as u64 > self.capacity {
            return Err(AppendError::Full);
        }
        if let Some(then) = then {
            let events = self.recorded(&append, now);
            let further = then(&mut Within { state: self, events: &events }).map_err(AppendError::Refused)?;
            append.rows.extend(further);
        }
        let appended = self.write(append, now);
        if let Some((id, digest)) = command {
            self.commands.insert(id, (digest, appended.clone()));
        }
        Ok(appended)
    }

    pub(super) fn committed(&self, command: &CommandId) -> Option<Committed> {
        let (fingerprint, appended) = self.commands.get(command)?;
        let appended = Appended { already_committed: true, ..appended.clone() };
        Some(Committed { fingerprint: *fingerprint, appended })
    }

    pub(super) fn read(&self, after: Position, query: &Query, limit: usize) -> Page {
        let limit = limit.clamp(1, PAGE_EVENTS);
        let head = self.head();
        let mut events = Vec::new();
        let mut bytes = 0;
        let mut next = head.max(after);
        for position in self.matching(after, query, limit) {
            let Some(event) = self.at(position) else { continue };
            bytes += event.payload.len();
            events.push(event.clone());
            if events.len() == limit || bytes >= PAGE_BYTES {
                next = position;
                break;
            }
        }
        Page { events, marker: Marker::seen_through(next), next, head }
    }

    pub(super) fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Vec<Recorded> {
        let positions = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        let skip = usize::try_from(after.get()).unwrap_or(usize::MAX);
        positions.iter().skip(skip).take(limit).filter_map(|position| self.at(*position)).cloned().collect()
    }

    pub(super) fn row(&self, space: &str, key: &[u8]) -> Option<Bytes> {
        self.rows.get(space)?.get(key).cloned()
    }

    pub(super) fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Vec<(Bytes, Bytes)> {
        let Some(rows) = self.rows.get(space) else { return Vec::new() };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = rows.range::<[u8], _>((start, Bound::Unbounded));
        range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(super) fn head(&self) -> Position {
        Position::new(self.log.len() as u64)
    }

    /// The events as they will be.
    fn recorded(&self, append: &Append, now: WallTime) -> Vec<Recorded> {
        let mut position = self.head();
        let mut events = Vec::new();
        for part in &append.streams {
            let mut version = self.version(&part.stream);
            for event in &part.events {
                (position, version) = (position.next(), version.next());
                events.push(Recorded {
                    position,
                    stream: part.stream.clone(),
                    version,
                    kind: event.kind.clone(),
                    tags: event.tags.clone(),
                    payload: event.payload.clone(),
                    metadata: event.metadata.clone(),
                    recorded_at: now,
                });
            }
        }
        events
    }

    fn write(&mut self, append: Append, now: WallTime) -> Appended {
        let first = self.head().next();
        let mut versions = Vec::with_capacity(append.streams.len());
        for part in append.streams {
            let mut version = self.version(&part.stream);
            for event in part.events {
                version = version.next();
                let position = self.head().next();
                self.streams.entry(part.stream.clone()).or_default().push(position);
                self.kinds.entry(event.kind.clone()).or_default().push(position);
                for tag in &event.tags {
                    self.tags.entry(tag.clone()).or_default().push(position);
                }
                self.log.push(Recorded {
                    position,
                    stream: part.stream.clone(),
                    version,
                    kind: event.kind,
                    tags: event.tags,
                    payload: event.payload,
                    metadata: event.metadata,
                    recorded_at: now,
                });
            }
            versions.push((part.stream, version));
        }
        for change in append.rows {
            match change {
                RowChange::Put { space, key, value } => {
                    self.rows.entry(space).or_default().insert(key, value);
                }
                RowChange::Delete { space, key } => {
                    if let Some(rows) = self.rows.get_mut(&space) {
                        rows.remove(&key);
                    }
                }
            }
        }
        Appended { first, last: self.head(), versions, already_committed: false }
    }

    fn violations(&self, append: &Append) -> Vec<Violation> {
        let mut violations = Vec::new();
        for part in append.streams() {
            let actual = self.version(&part.stream);
            if !part.expected.admits(actual) {
                violations.push(self.stream_violation(&part.stream, part.expected, actual));
            }
        }
        for (nth, condition) in append.conditions().iter().enumerate() {
            match condition {
                Condition::NoMatch { query, after } => {
                    let mut matching = self.matching(after.position(), query, MISSED_EVENTS + 1);
                    if !matching.is_empty() {
                        let more = matching.len() > MISSED_EVENTS;
                        matching.truncate(MISSED_EVENTS);
                        let events = matching.iter().filter_map(|position| self.at(*position)).cloned().collect();
                        violations.push(Violation::Matched { condition: nth, missed: Missed { events, more } });
                    }
                }
                Condition::Row { space, key, equals } => {
                    let actual = self.row(space.as_str(), key);
                    if actual != *equals {
                        violations.push(Violation::Row { space: space.clone(), key: key.clone(), actual });
                    }
                }
            }
        }
        violations
    }

    fn stream_violation(&self, stream: &StreamId, expected: Expected, actual: Version) -> Violation {
        let mut events = self.read_stream(stream, expected.known(), MISSED_EVENTS + 1);
        let more = events.len() > MISSED_EVENTS;
        events.truncate(MISSED_EVENTS);
        Violation::Stream { stream: stream.clone(), expected, actual, missed: Missed { events, more } }
    }

    fn version(&self, stream: &StreamId) -> Version {
        Version::new(self.streams.get(stream).map_or(0, |positions| positions.len() as u64))
    }

    /// The first `limit` matching positions after `after`, in order.
    fn matching(&self, after: Position, query: &Query, limit: usize) -> Vec<Position> {
        if query.is_all() {
            let from = after.get().saturating_add(1);
            return (from..=self.head().get()).take(limit).map(Position::new).collect();
        }
        let mut found = BTreeSet::new();
        for item in query.items() {
            self.collect(after, item, limit, &mut found);
        }
        found.into_iter().take(limit).collect()
    }

    fn collect(&self, after: Position, item: &QueryItem, limit: usize, found: &mut BTreeSet<Position>) {
        let later = |positions: &'_ Vec<Position>| positions.partition_point(|position| *position <= after);
        if item.tags.is_empty() {
            for positions in item.types.iter().filter_map(|kind| self.kinds.get(kind)) {
                found.extend(positions[later(positions)..].iter().take(limit));
            }
            return;
        }
        // The rarest tag decides how much is looked at; a tag nobody used decides that nothing is.
        let lists: Option<Vec<_>> = item.tags.iter().map(|tag| self.tags.get(tag)).collect();
        let Some(rarest) = lists.and_then(|lists| lists.into_iter().min_by_key(|list| list.len())) else { return };
        let matches =
            |position: &&Position| self.at(**position).is_some_and(|event| item.matches(&event.kind, &event.tags));
        found.extend(rarest[later(rarest)..].iter().filter(matches).take(limit));
    }

    fn at(&self, position: Position) -> Option<&Recorded> {
        self.log.get(usize::try_from(position.get().checked_sub(1)?).ok()?)
    }
}
