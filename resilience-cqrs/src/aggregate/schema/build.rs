//! Telling a schema, and checking what was told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use super::{Current, Event, Inner, Replacement, Schema, Step, Told, stored_name};
use crate::log::BoxError;

/// Tells a [`Schema`].
pub struct SchemaBuilder<E = Told> {
    current: Vec<(&'static str, Current)>,
    steps: Vec<((&'static str, u32), Step)>,
    of: PhantomData<fn() -> E>,
}

/// A schema does not hold together.
///
/// ```
/// use resilience_cqrs::aggregate::{Schema, SchemaError};
///
/// // The second version became the third, and nobody says how.
/// let schema = Schema::builder().event("Deposited", 3).rename_field("Deposited", 1, "amount", "cents").build();
/// assert_eq!(schema.unwrap_err(), SchemaError::Gap { name: "Deposited", version: 2 });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A version is 0: they count from 1.
    #[error("event {name} has a version 0: versions count from 1")]
    VersionZero {
        /// The event.
        name: &'static str,
    },
    /// The same is told twice.
    #[error("event {name} in version {version} is told of twice")]
    Twice {
        /// The event.
        name: &'static str,
        /// Its version.
        version: u32,
    },
    /// Nobody says what becomes of a version.
    #[error("event {name} has no way from version {version} to {}", version + 1)]
    Gap {
        /// The event.
        name: &'static str,
        /// The version that is stuck.
        version: u32,
    },
    /// A way leads from a version that is not older than the newest.
    #[error("event {name} leads on from version {version}, but there is none before {newest} beyond it")]
    Beyond {
        /// The event.
        name: &'static str,
        /// The version.
        version: u32,
        /// The newest.
        newest: u32,
    },
    /// What replaces an event is not known.
    #[error("event {name} in version {version} becomes {target}, which is not known")]
    UnknownTarget {
        /// The event.
        name: &'static str,
        /// Its version.
        version: u32,
        /// What it should become.
        target: &'static str,
    },
    /// Events replace each other in a circle.
    #[error("event {name} becomes itself in the end")]
    Circle {
        /// One of them.
        name: &'static str,
    },
}

impl SchemaBuilder {
    pub(super) const fn new() -> Self {
        Self { current: Vec::new(), steps: Vec::new(), of: PhantomData }
    }

    /// There is an event `name` today, and this is its newest version.
    #[must_use]
    pub fn event(mut self, name: &'static str, version: u32) -> Self {
        self.current.push((name, Current { version, variant: name }));
        self
    }
}

impl<E: Event> SchemaBuilder<E> {
    pub(super) fn of() -> Self {
        let current =
            |shape: &super::EventShape| (shape.name(), Current { version: shape.version(), variant: shape.variant() });
        Self { current: E::SHAPES.iter().map(current).collect(), steps: Vec::new(), of: PhantomData }
    }
}

impl<E> SchemaBuilder<E> {
    /// A payload of version `from` is made one of the next version.
    #[must_use]
    pub fn upcast(
        mut self,
        name: &'static str,
        from: u32,
        change: impl Fn(Value) -> Result<Value, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.steps.push(((name, from), Step::Upcast(Arc::new(change))));
        self
    }

    /// An event of version `from` stands for the events that `change` makes of it, in that order; for none, if it says so.
    /// They are of the names `into`, of any version, and are brought up to date themselves.
    ///
    /// A `name` that is replaced need not be an [`event`](Self::event) of today. If it is not, its last version told of is
    /// the one that is replaced.
    ///
    /// ```
    /// use resilience_cqrs::aggregate::{EventCodec, Replacement, Schema};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Version};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// enum Bank {
    ///     Withdrawn { cents: i64 },
    ///     Deposited { cents: i64 },
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // A transfer within one account's stream was one event once, and is two today.
    /// let schema = Schema::builder()
    ///     .event("Withdrawn", 1)
    ///     .event("Deposited", 1)
    ///     .replace("Moved", 1, ["Withdrawn", "Deposited"], |payload| {
    ///         Ok(["Withdrawn", "Deposited"].map(|name| Replacement::new(name, 1, payload.clone())).into())
    ///     })
    ///     .build()?;
    /// let store = MemoryStore::new();
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Moved", r#"{"cents":5}"#)])).await?;
    /// let stored = store.read_stream(&"a".into(), Version::EMPTY, 1).await?;
    /// let mut today = Vec::new();
    /// schema.decode_each(&stored[0], &mut |event: Bank| today.push(event))?;
    /// assert_eq!(today, [Bank::Withdrawn { cents: 5 }, Bank::Deposited { cents: 5 }]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn replace(
        mut self,
        name: &'static str,
        from: u32,
        into: impl IntoIterator<Item = &'static str>,
        change: impl Fn(Value) -> Result<Vec<Replacement>, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.steps.push(((name, from), Step::Replace(into.into_iter().collect(), Arc::new(change))));
        self
    }

    /// The field `old` of version `from` is called `new` in the next. Where it is missing it stays so.
    #[must_use]
    pub fn rename_field(self, name: &'static str, from: u32, old: &'static str, new: &'static str) -> Self {
        self.upcast(name, from, move |mut payload| {
            let fields = payload.as_object_mut().ok_or("it has no fields")?;
            if let Some(value) = fields.remove(old) {
                fields.insert(new.to_owned(), value);
            }
            Ok(payload)
        })
    }

    /// The event `name` in version `version` is called `new` today, and has the payload that has in version `new_version`.
    ///
    /// ```
    /// # use resilience_cqrs::aggregate::Schema;
    /// let schema = Schema::builder()
    ///     .event("Deposited", 2)
    ///     .rename_field("Deposited", 1, "amount", "cents")
    ///     .rename("PaidIn", 1, "Deposited", 1)
    ///     .drop("InterestRateChanged", 2)
    ///     .build()?;
    /// assert_eq!(schema.stored_as("Deposited"), ["Deposited", "Deposited.v2", "PaidIn"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn rename(self, name: &'static str, version: u32, new: &'static str, new_version: u32) -> Self {
        self.replace(name, version, [new], move |payload| Ok(vec![Replacement::new(new, new_version, payload)]))
    }

    /// Nobody asks for the event `name` any more, in any version up to `last`: it stands for nothing, whatever is in it.
    #[must_use]
    pub fn drop(mut self, name: &'static str, last: u32) -> Self {
        self.steps.extend((1..=last).map(|version| ((name, version), Step::Drop)));
        self
    }

    /// The schema.
    ///
    /// # Errors
    /// See [`SchemaError`]: at the program's start, not when the first old event is read.
    pub fn build(self) -> Result<Schema<E>, SchemaError> {
        let mut current = BTreeMap::new();
        for (name, today) in self.current {
            if current.insert(name, today).is_some() {
                return Err(SchemaError::Twice { name, version: today.version });
            }
        }
        let mut steps = BTreeMap::new();
        for ((name, version), step) in self.steps {
            if steps.insert((name, version), step).is_some() {
                return Err(SchemaError::Twice { name, version });
            }
        }
        let newest = newest(&current, &steps)?;
        for ((name, version), step) in &steps {
            let Step::Replace(targets, _) = step else { continue };
            if let Some(target) = targets.iter().find(|target| !newest.contains_key(**target)) {
                return Err(SchemaError::UnknownTarget { name, version: *version, target });
            }
        }
        if let Some(name) = newest.keys().find(|name| reaches_itself(name, &steps)) {
            return Err(SchemaError::Circle { name });
        }
        let mut stored = BTreeMap::new();
        for (&name, &newest) in &newest {
            for version in 1..=newest {
                if stored.insert(stored_name(name, version), (name, version)).is_some() {
                    return Err(SchemaError::Twice { name, version });
                }
            }
        }
        let written = current.iter().map(|(name, today)| (*name, stored_name(name, today.version))).collect();
        Ok(Schema { inner: Arc::new(Inner { current, steps, stored, written }), of: PhantomData })
    }
}

/// The last version of every name: of those of today as they say, of former ones the one that is replaced.
fn newest(
    current: &BTreeMap<&'static str, Current>,
    steps: &BTreeMap<(&'static str, u32), Step>,
) -> Result<BTreeMap<&'static str, u32>, SchemaError> {
    let mut newest: BTreeMap<_, _> = current.iter().map(|(name, today)| (*name, today.version)).collect();
    for (name, version) in steps.keys() {
        if !current.contains_key(name) {
            let last = newest.entry(name).or_insert(*version);
            *last = (*last).max(*version);
        }
    }
    for (name, newest) in &newest {
        let of_today = current.contains_key(name);
        if *newest == 0 || steps.contains_key(&(*name, 0)) {
            return Err(SchemaError::VersionZero { name });
        }
        let last = if of_today { *newest - 1 } else { *newest };
        if let Some(version) = (1..=last).find(|version| !steps.contains_key(&(*name, *version))) {
            return Err(SchemaError::Gap { name, version });
        }
        if !of_today && matches!(steps.get(&(*name, *newest)), Some(Step::Upcast(_))) {
            return Err(SchemaError::Gap { name, version: *newest });
        }
        if let Some((_, version)) = steps.keys().find(|(of, version)| of == name && *version > last) {
            return Err(SchemaError::Beyond { name, version: *version, newest: *newest });
        }
    }
    Ok(newest)
}

fn reaches_itself(name: &'static str, steps: &BTreeMap<(&'static str, u32), Step>) -> bool {
    let (mut open, mut seen) = (vec![name], BTreeSet::new());
    while let Some(at) = open.pop() {
        for ((of, _), step) in steps {
            let (true, Step::Replace(targets, _)) = (*of == at, step) else { continue };
            if targets.contains(name) {
                return true;
            }
            open.extend(targets.iter().filter(|target| seen.insert(**target)));
        }
    }
    false
}

impl<E> fmt::Debug for SchemaBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let older: Vec<_> = self.steps.iter().map(|(of, _)| of).collect();
        f.debug_struct("SchemaBuilder").field("current", &self.current).field("older", &older).finish()
    }
}
