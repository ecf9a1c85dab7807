//! Taking events into a model in rows within a transaction: no other wait than for rows, which are fetched as they are
//! missed.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};

use super::super::apply::Projection;
use super::super::checkpoint::{self, Checkpoint};
use super::super::rows::{RowSource, Rows};
use super::super::take::DIVISION;
use crate::log::{BoxError, Position, Query, ReadError, Recorded, RowChange, Space};
use crate::store::Page;

/// The most events an append takes in that are not its own.
pub(super) const BEHIND: u64 = 10_000;

/// A [`Projection`] whose type is forgotten.
pub(super) trait RowModel: Send + Sync {
    fn name(&self) -> &str;
    fn query(&self) -> Query;
    fn apply<'a>(&'a self, event: &'a Recorded, rows: &'a mut Rows<'_>) -> BoxFuture<'a, Result<(), BoxError>>;
}

impl<P: Projection> RowModel for P {
    fn name(&self) -> &str {
        Projection::name(self)
    }

    fn query(&self) -> Query {
        Projection::query(self)
    }

    fn apply<'a>(&'a self, event: &'a Recorded, rows: &'a mut Rows<'_>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(Projection::apply(self, event, rows))
    }
}

type Key = (Space, Bytes);

/// What a transaction has read of rows, and will change.
#[derive(Default)]
pub(super) struct Inline {
    known: HashMap<Key, Option<Bytes>>,
    changed: HashMap<Key, Option<Bytes>>,
}

/// What came of an attempt to take in an event.
pub(super) enum Attempt {
    Done,
    /// It wants to know a row.
    Misses(Key),
}

/// What can be seen from within an append's transaction, its own events included.
pub(super) trait Sight {
    /// The head that the append makes, and the one before.
    fn head(&self) -> Position;
    fn before(&self) -> Position;
    fn row(&mut self, space: &Space, key: &Bytes) -> Result<Option<Bytes>, BoxError>;
    fn page(&mut self, after: Position, query: &Query) -> Result<Page, BoxError>;
}

impl Inline {
    /// Brings a model from its checkpoint to the head.
    pub(super) fn take_in<T: Sight>(
        &mut self,
        sight: &mut T,
        (name, query): (&str, &Query),
        mut apply: impl FnMut(&mut Self, &mut T, &[Recorded]) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let head = sight.head();
        let key = checkpoint::key(name, None);
        let found = sight.row(&checkpoint::SPACE, &key)?.map(|row| Checkpoint::decode(&row)).transpose()?;
        if found.is_none() && sight.row(&DIVISION, &key)?.is_some() {
            return Err(divided(name));
        }
        let found = begin(found, name, sight.before())?;
        let mut at = found.position;
        while at < head {
            let page = sight.page(at, query)?;
            apply(self, sight, &page.events)?;
            at = page.next;
        }
        self.put((checkpoint::SPACE, key), Some(Checkpoint { position: head, ..found }.encode()));
        Ok(())
    }

    /// Takes events into a model in rows.
    pub(super) fn rows(
        &mut self,
        sight: &mut impl Sight,
        model: &dyn RowModel,
        events: &[Recorded],
    ) -> Result<(), BoxError> {
        for event in events {
            while let Attempt::Misses(key) = self.attempt(model, event)? {
                let value = sight.row(&key.0, &key.1)?;
                self.know(key, value);
            }
        }
        Ok(())
    }

    /// Tries to take an event in with the rows that are known.
    pub(super) fn attempt(&mut self, model: &dyn RowModel, event: &Recorded) -> Result<Attempt, BoxError> {
        let known = Known { known: &self.known, missed: Mutex::new(None) };
        let mut rows = Rows::new(&known);
        let applied = catch_unwind(AssertUnwindSafe(|| model.apply(event, &mut rows).now_or_never()));
        // Whatever it made of that it was not told: it is asked again.
        if let Some(key) = known.missed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(Attempt::Misses(key));
        }
        match applied {
            Ok(Some(applied)) => applied?,
            Ok(None) => return Err("an inline projection waited for something else than a row".into()),
            Err(_) => return Err("an inline projection panicked".into()),
        }
        rows.keep();
        let changes: Vec<RowChange> = rows.into_changes().collect();
        for change in changes {
            match change {
                RowChange::Put { space, key, value } => self.put((space, key), Some(value)),
                RowChange::Delete { space, key } => self.put((space, key), None),
            }
        }
        Ok(Attempt::Done)
    }

    pub(super) fn know(&mut self, key: Key, value: Option<Bytes>) {
        self.known.entry(key).or_insert(value);
    }

    pub(super) fn put(&mut self, key: Key, value: Option<Bytes>) {
        self.known.insert(key.clone(), value.clone());
        self.changed.insert(key, value);
    }

    pub(super) fn into_changes(self) -> Vec<RowChange> {
        let change = |((space, key), value)| match value {
            Some(value) => RowChange::Put { space, key, value },
            None => RowChange::Delete { space, key },
        };
        self.changed.into_iter().map(change).collect()
    }
}

/// Where to begin, if that is not too far back.
pub(super) fn begin(found: Option<Checkpoint>, name: &str, before: Position) -> Result<Checkpoint, BoxError> {
    let found = found.unwrap_or(Checkpoint { position: Position::ORIGIN, owner: 0 });
    let behind = before.since(found.position);
    match behind > BEHIND {
        true => {
            Err(format!("the inline projection {name} is {behind} events behind: let a runner bring it near").into())
        }
        false => Ok(found),
    }
}

pub(super) fn divided(name: &str) -> BoxError {
    format!("the inline projection {name} is run in partitions").into()
}

/// The rows that are known, for a projection that asks.
struct Known<'k> {
    known: &'k HashMap<Key, Option<Bytes>>,
    missed: Mutex<Option<Key>>,
}

impl RowSource for Known<'_> {
    fn row<'a>(&'a self, space: &'a Space, key: &'a Bytes) -> BoxFuture<'a, Result<Option<Bytes>, ReadError>> {
        let key = (space.clone(), key.clone());
        Box::pin(ready(match self.known.get(&key) {
            Some(value) => Ok(value.clone()),
            None => {
                self.missed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(key);
                Err(ReadError::Closed) // Not seen by anybody but the projection.
            }
        }))
    }
}
