//! Some appends as one call of the server's function, on the assumption that all of them are accepted.
//!
//! Positions and versions are written down as so many after what the log turns out to have, and what must hold for the
//! assumption is written down beside them; the server looks and writes in one go. That is one round trip for as many
//! appends as were waiting. If it does not hold, the server says what it found instead, and the appends are
//! [judged](super::judge) one by one.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use resilience_core::time::WallTime;

use crate::log::text::{join_tags, to_sql};
use crate::log::{
    Append, Appended, Condition, Expected, Position, Query, QueryItem, RowChange, StreamAppend, StreamId, Version,
};

/// A version that is assumed: at least one event.
const SOME: i64 = -1;

/// What goes to the server. The columns are those of the function's arguments.
#[derive(Default)]
pub(super) struct Draft<'a> {
    pub(super) only_look: bool,
    pub(super) now: WallTime,
    pub(super) streams: Vec<&'a str>,
    pub(super) assumed: Vec<Option<i64>>,
    pub(super) ids: Vec<&'a str>,
    pub(super) rows: RowConditions<'a>,
    pub(super) queries: QueryConditions<'a>,
    pub(super) events: Vec<Event<'a>>,
    pub(super) tags: Vec<(&'a str, i64, &'a str)>,
    pub(super) changes: HashMap<(&'a str, &'a [u8]), Option<&'a [u8]>>,
    pub(super) commands: Vec<Command<'a>>,
    outcomes: Vec<Outcome<'a>>,
    /// Whether all is known to be accepted, so that nothing has to hold that the last turn stands for.
    is_judged: bool,
    seen_ids: HashSet<&'a str>,
    /// Where a stream is among `streams`, and how many events it gets.
    index: HashMap<&'a str, (usize, i64)>,
}

#[derive(Default)]
pub(super) struct RowConditions<'a> {
    pub(super) spaces: Vec<&'a str>,
    pub(super) keys: Vec<&'a [u8]>,
    pub(super) values: Vec<Option<&'a [u8]>>,
}

#[derive(Default)]
pub(super) struct QueryConditions<'a> {
    /// Which condition an item belongs to; they are counted through all appends.
    pub(super) nths: Vec<i32>,
    pub(super) afters: Vec<i64>,
    pub(super) tags: Vec<Option<&'a str>>,
    pub(super) rests: Vec<Option<String>>,
    pub(super) kinds: Vec<Option<String>>,
    count: i32,
}

pub(super) struct Event<'a> {
    pub(super) stream: usize,
    pub(super) offset: i64,
    pub(super) event: &'a crate::log::NewEvent,
    pub(super) tags: Option<String>,
}

pub(super) struct Command<'a> {
    pub(super) id: &'a str,
    pub(super) digest: u64,
    pub(super) first: i64,
    pub(super) last: i64,
    /// Its streams, and how many events after the start each of them is.
    pub(super) parts: Vec<(usize, i64)>,
}

/// What an append comes to, once it is known where the log and the streams begin.
struct Outcome<'a> {
    first: u64,
    last: u64,
    parts: Vec<(&'a StreamId, usize, i64)>,
}

impl<'a> Draft<'a> {
    /// Only a question: everything that the appends name, to judge them by.
    pub(super) fn question(appends: &[&'a Append]) -> Self {
        let mut draft = Self { only_look: true, ..Self::default() };
        for append in appends {
            draft.ids.extend(append.command().map(|(id, _)| id.as_str()));
            for part in append.streams() {
                draft.stream(&part.stream);
            }
            draft.conditions(append);
        }
        draft
    }

    /// All appends, assumed to be accepted in their order; `None` if one of them cannot be after those before it, or it
    /// takes more than a glance to tell.
    pub(super) fn plan(appends: &[&'a Append], now: WallTime) -> Option<Self> {
        let mut draft = Self { now, ..Self::default() };
        for append in appends {
            draft.accept(append)?;
        }
        Some(draft)
    }

    /// Appends that were accepted by what was there at a turn, to be written if that is still the last.
    pub(super) fn judged(appends: &[&'a Append], now: WallTime) -> Option<Self> {
        let mut draft = Self { now, is_judged: true, ..Self::default() };
        for append in appends {
            draft.fences(append);
            draft.stage(append)?;
        }
        Some(draft)
    }

    fn accept(&mut self, append: &'a Append) -> Option<()> {
        if let Some((id, _)) = append.command() {
            if !self.seen_ids.insert(id.as_str()) {
                return None; // The same command twice: the second is answered with the result of the first.
            }
            self.ids.push(id.as_str());
        }
        for condition in append.conditions() {
            match condition {
                Condition::Row { space, key, .. } if self.changes.contains_key(&(space.as_str(), &**key)) => {
                    return None;
                }
                Condition::Row { .. } => {}
                Condition::NoMatch { query, .. } if self.any_matches(query) => return None,
                Condition::NoMatch { .. } => {}
            }
        }
        self.conditions(append);
        self.stage(append)
    }

    /// Whether there is anything to write, or it only asks.
    pub(super) fn writes(&self) -> bool {
        !(self.events.is_empty() && self.changes.is_empty() && self.commands.is_empty())
    }

    /// Writes down what the append writes.
    fn stage(&mut self, append: &'a Append) -> Option<()> {
        let first = self.events.len() as u64 + 1;
        let parts = append.streams().iter().map(|part| self.part(part)).collect::<Option<Vec<_>>>()?;
        for change in append.row_changes() {
            let (at, value): (_, Option<&Bytes>) = match change {
                RowChange::Put { space, key, value } => ((space.as_str(), &**key), Some(value)),
                RowChange::Delete { space, key } => ((space.as_str(), &**key), None),
            };
            self.changes.insert(at, value.map(|value| &**value));
        }
        let last = self.events.len() as u64;
        if let Some((id, digest)) = append.command() {
            let parts = parts.iter().map(|(_, nth, offset)| (*nth, *offset)).collect();
            let (first, last) = (to_sql(first), to_sql(last));
            self.commands.push(Command { id: id.as_str(), digest, first, last, parts });
        }
        self.outcomes.push(Outcome { first, last, parts });
        Some(())
    }

    /// Stages the events of one stream.
    fn part(&mut self, part: &'a StreamAppend) -> Option<(&'a StreamId, usize, i64)> {
        let (nth, mut offset) = self.stream(&part.stream);
        let expected = match part.expected {
            Expected::Any => None,
            Expected::NoStream => Some(0),
            Expected::Exists if offset > 0 => None,
            Expected::Exists => Some(SOME),
            Expected::Exact(version) => Some(to_sql(version.get())),
        };
        if let Some(expected) = expected
            && !self.is_judged
        {
            let begins = if expected == SOME { SOME } else { expected - offset };
            if begins < SOME || (begins == SOME && expected != SOME) {
                return None;
            }
            self.assumed[nth] = match (self.assumed[nth], begins) {
                (None, begins) => Some(begins),
                (Some(before), SOME) if before != 0 => Some(before),
                (Some(SOME), begins) if begins > 0 => Some(begins),
                (Some(before), begins) if before == begins => Some(before),
                _ => return None,
            };
        }
        for event in &part.events {
            offset += 1;
            self.events.push(Event { stream: nth, offset, event, tags: join_tags(&event.tags) });
            let at = self.events.len() as i64;
            for (nth, tag) in event.tags.iter().enumerate() {
                // Given twice, a tag is there once.
                if !event.tags[..nth].contains(tag) {
                    self.tags.push((tag.as_str(), at, event.kind.as_str()));
                }
            }
        }
        self.index.insert(part.stream.as_str(), (nth, offset));
        Some((&part.stream, nth, offset))
    }

    fn stream(&mut self, stream: &'a StreamId) -> (usize, i64) {
        *self.index.entry(stream.as_str()).or_insert_with(|| {
            self.streams.push(stream.as_str());
            self.assumed.push(None);
            (self.streams.len() - 1, 0)
        })
    }

    /// Whether a staged event is one that this query is about.
    fn any_matches(&self, query: &Query) -> bool {
        self.events.iter().any(|staged| query.matches(&staged.event.kind, &staged.event.tags))
    }

    /// The conditions on rows, but for those that this batch has changed: rows also change beside the log, and so without
    /// a turn.
    fn fences(&mut self, append: &'a Append) {
        for condition in append.conditions() {
            if let Condition::Row { space, key, equals } = condition
                && !self.changes.contains_key(&(space.as_str(), &**key))
            {
                self.rows.add(space.as_str(), key, equals.as_deref());
            }
        }
    }

    fn conditions(&mut self, append: &'a Append) {
        for condition in append.conditions() {
            match condition {
                Condition::Row { space, key, equals } => {
                    self.rows.add(space.as_str(), key, equals.as_deref());
                }
                Condition::NoMatch { query, after } => self.queries.add(query, after.position()),
            }
        }
    }

    /// Whether it is about rows.
    pub(super) fn has_rows(&self) -> bool {
        !self.rows.keys.is_empty() || !self.changes.is_empty()
    }

    /// Whether an event has any metadata.
    pub(super) fn has_metadata(&self) -> bool {
        self.events.iter().any(|event| !event.event.metadata.is_empty())
    }

    /// What each append came to, given where the log and its streams were.
    pub(super) fn outcomes(&self, base: Position, versions: &[Version]) -> Vec<Appended> {
        let version = |nth: usize| versions.get(nth).copied().unwrap_or(Version::EMPTY);
        let appended = |outcome: &Outcome<'_>| Appended {
            first: base.plus(outcome.first),
            last: base.plus(outcome.last),
            versions: outcome
                .parts
                .iter()
                .map(|(stream, nth, offset)| {
                    ((*stream).clone(), Version::new(version(*nth).get() + offset.unsigned_abs()))
                })
                .collect(),
            already_committed: false,
        };
        self.outcomes.iter().map(appended).collect()
    }
}

impl<'a> RowConditions<'a> {
    fn add(&mut self, space: &'a str, key: &'a [u8], value: Option<&'a [u8]>) {
        self.spaces.push(space);
        self.keys.push(key);
        self.values.push(value);
    }
}

impl<'a> QueryConditions<'a> {
    fn add(&mut self, query: &'a Query, after: Position) {
        for item in query.items() {
            self.item(item, after);
        }
        self.count += 1;
    }

    fn item(&mut self, item: &'a QueryItem, after: Position) {
        // Names in the log have no control characters, so what asks for one asks for nothing.
        let is_name = |name: &str| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_control());
        let kinds: Vec<&str> = item.types.iter().map(|kind| kind.as_str()).filter(|name| is_name(name)).collect();
        let nothing = kinds.is_empty() && !item.types.is_empty();
        if nothing || !item.tags.iter().all(|tag| is_name(tag.as_str())) {
            return;
        }
        self.nths.push(self.count);
        self.afters.push(to_sql(after.get()));
        self.tags.push(item.tags.first().map(|tag| tag.as_str()));
        self.rests.push(item.tags.get(1..).and_then(join_tags));
        self.kinds.push((!kinds.is_empty()).then(|| kinds.join("\n")));
    }
}
