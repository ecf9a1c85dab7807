//! Events of former releases, as today's types.

mod build;
mod codec;
mod lock;
mod shape;

pub use self::build::{SchemaBuilder, SchemaError};
pub use self::lock::{EventTypes, LockError, SchemaChange, SchemaLock, What};
pub use self::shape::{Event, EventShape, FieldShape};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::Value;

use crate::log::{BoxError, EventType};

/// Which events there are and in which version, and what becomes of older ones: a codec like [`Json`](super::Json), for
/// types that have changed.
///
/// Events are never rewritten; the log keeps what was written, and what it means today is worked out when it is read. So
/// the rules see one version of each event, the newest, whenever it happened.
///
/// - A type has a **version**. The first is stored under its plain name, the third as `Deposited.v3`; so what is stored
///   says what it is, and a program that does not know version 4 stops instead of misreading it.
/// - [`upcast`](SchemaBuilder::upcast) takes a payload from one version to the next.
/// - [`replace`](SchemaBuilder::replace) makes other events of one: renamed, split into several, or dropped.
/// - The chains are checked when the schema is built, at the program's start: a missing link is an error that names it. In
///   which order they are told makes no difference.
///
/// ```
/// use resilience_cqrs::aggregate::{EventCodec, Replacement, Schema};
/// use serde::{Deserialize, Serialize};
/// use serde_json::json;
///
/// /// What happens today.
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum Bank {
///     Opened { owner: String },
///     /// Had `amount` in whole units at first, and was called `PaidIn` before that.
///     Deposited { cents: i64 },
/// }
///
/// let schema = Schema::builder()
///     .event("Opened", 1)
///     .event("Deposited", 2)
///     .upcast("Deposited", 1, |mut payload| {
///         let amount = payload["amount"].as_i64().ok_or("no amount")?;
///         payload = json!({ "cents": amount * 100 });
///         Ok(payload)
///     })
///     .replace("PaidIn", 1, ["Deposited"], |payload| Ok(vec![Replacement::new("Deposited", 1, payload)]))
///     .replace("InterestRateChanged", 1, [], |_| Ok(vec![])) // nobody asks for it any more
///     .build()?;
///
/// assert_eq!(EventCodec::<Bank>::encode(&schema, &Bank::Deposited { cents: 5 })?.kind, "Deposited.v2");
/// // What a query must ask for to find them all.
/// assert_eq!(schema.stored_as("Deposited"), ["Deposited", "Deposited.v2", "PaidIn"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Of a type that says so itself
///
/// [`Schema::of`] takes names and versions from a type that is [`Event`], and adds its tags to what is written; only what
/// becomes of older events is left to tell.
///
/// # Limits
///
/// Names told by hand are compared with nothing: an event the schema does not list cannot be written, and a payload that
/// was changed without a new version is found when it cannot be read, or by a [`SchemaLock`] before that. Older payloads pass through
/// `serde_json::Value`, which costs a few microseconds; those of the newest version do not.
pub struct Schema<E = Told> {
    inner: Arc<Inner>,
    of: PhantomData<fn() -> E>,
}

/// Of a [`Schema`] whose events were told by hand, and which serves any type.
#[derive(Clone, Copy, Debug)]
pub enum Told {}

/// An event of today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Current {
    version: u32,
    /// What serde calls it.
    variant: &'static str,
}

struct Inner {
    /// The newest version of each event there is today.
    current: BTreeMap<&'static str, Current>,
    /// What becomes of each older one.
    steps: BTreeMap<(&'static str, u32), Step>,
    /// What is stored under which name.
    stored: BTreeMap<EventType, (&'static str, u32)>,
    /// The names to write under.
    written: BTreeMap<&'static str, EventType>,
}

#[derive(Clone)]
enum Step {
    /// To the next version.
    Upcast(Arc<dyn Fn(Value) -> Result<Value, BoxError> + Send + Sync>),
    /// To events of these names.
    Replace(BTreeSet<&'static str>, Arc<dyn Fn(Value) -> Result<Vec<Replacement>, BoxError> + Send + Sync>),
    /// To nothing.
    Drop,
}

/// An event that stands for a former one.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    name: &'static str,
    version: u32,
    payload: Value,
}

impl Replacement {
    /// An event of a name and version that the schema knows; it need not be the newest.
    pub const fn new(name: &'static str, version: u32, payload: Value) -> Self {
        Self { name, version, payload }
    }
}

impl Schema {
    /// A schema that knows nothing yet.
    pub fn builder() -> SchemaBuilder {
        SchemaBuilder::new()
    }

    /// A schema of the events that `E` says there are.
    ///
    /// ```
    /// use resilience_cqrs::aggregate::{EventCodec, Event, EventShape, FieldShape, Schema};
    /// use resilience_cqrs::Tag;
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Deposited { owner: String, cents: i64 }
    ///
    /// // What `#[derive(Event)]` writes, with `#[event(version = 2)]` and `#[event(tag)]` on the owner.
    /// impl Event for Deposited {
    ///     const SHAPES: &'static [EventShape] =
    ///         &[EventShape::new("Deposited", 2, &[FieldShape::new("owner", "String"), FieldShape::new("cents", "i64")])];
    ///     fn shape(&self) -> &'static EventShape { &Self::SHAPES[0] }
    ///     fn tags(&self) -> Vec<Tag> { vec![format!("owner:{}", self.owner).into()] }
    /// }
    ///
    /// let schema = Schema::of::<Deposited>().rename_field("Deposited", 1, "amount", "cents").build()?;
    /// let event = schema.encode(&Deposited { owner: "ann".into(), cents: 5 })?;
    /// assert_eq!((event.kind, event.tags), ("Deposited.v2".into(), vec!["owner:ann".into()]));
    /// // A version without a way to it is found at the start.
    /// assert!(Schema::of::<Deposited>().build().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of<E: Event>() -> SchemaBuilder<E> {
        SchemaBuilder::of()
    }
}

impl<E> Schema<E> {
    /// The names under which events are stored that are events of `name` today, or may be: for a query by type.
    pub fn stored_as(&self, name: &str) -> Vec<EventType> {
        let becomes = |stored: &(&'static str, u32)| {
            let (mut open, mut seen) = (vec![stored.0], BTreeSet::new());
            // By name: a chain goes through every version of a name it enters, up to the newest or to what replaces it.
            while let Some(at) = open.pop() {
                let alive = self.inner.current.contains_key(at);
                if at == name && alive {
                    return true;
                }
                for ((of, _), step) in &self.inner.steps {
                    if let (true, Step::Replace(targets, _)) = (*of == at, step) {
                        open.extend(targets.iter().filter(|target| seen.insert(**target)));
                    }
                }
            }
            false
        };
        self.inner.stored.iter().filter(|(_, stored)| becomes(stored)).map(|(kind, _)| kind.clone()).collect()
    }
}

/// The name of a version in the log.
fn stored_name(name: &'static str, version: u32) -> EventType {
    if version == 1 { EventType::from_static(name) } else { EventType::from(format!("{name}.v{version}")) }
}

impl<E> Clone for Schema<E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), of: PhantomData }
    }
}

impl<E> fmt::Debug for Schema<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema")
            .field("current", &self.inner.current)
            .field("older", &self.inner.steps.keys().collect::<Vec<_>>())
            .finish()
    }
}
