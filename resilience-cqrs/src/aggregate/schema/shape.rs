//! What an event type says about itself.

use crate::log::{Fnv, Tag};

/// A type whose values are events, and that says what there is of them: what they are called, in which version they are
/// written, which fields they have and what they are about.
///
/// [`Schema::of`](super::Schema::of) makes a codec of it, with names, versions and tags; a
/// [`SchemaLock`](super::SchemaLock) notices when it changes. With the feature `derive`, `#[derive(Event)]` writes the
/// implementation; by hand it is this:
///
/// ```
/// use resilience_cqrs::Tag;
/// use resilience_cqrs::aggregate::{Event, EventShape, FieldShape};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum Bank {
///     Opened { owner: String },
///     /// Had whole units in its first version.
///     Deposited { cents: i64, memo: Option<String> },
/// }
///
/// impl Event for Bank {
///     const SHAPES: &'static [EventShape] = &[
///         EventShape::new("Opened", 1, &[FieldShape::new("owner", "String")]),
///         EventShape::new(
///             "Deposited",
///             2,
///             &[FieldShape::new("cents", "i64"), FieldShape::new("memo", "Option<String>").optional()],
///         ),
///     ];
///
///     fn shape(&self) -> &'static EventShape {
///         match self {
///             Self::Opened { .. } => &Self::SHAPES[0],
///             Self::Deposited { .. } => &Self::SHAPES[1],
///         }
///     }
///
///     fn tags(&self) -> Vec<Tag> {
///         match self {
///             Self::Opened { owner } => vec![format!("owner:{owner}").into()],
///             Self::Deposited { .. } => Vec::new(),
///         }
///     }
/// }
///
/// assert_eq!(Bank::Opened { owner: "ann".into() }.shape().name(), "Opened");
/// ```
///
/// # Limits
///
/// A field's type goes by its spelling. What is inside that type is not seen: if it is stored in another form tomorrow, the
/// shape is the same. Such a type can describe itself, as a struct, and be held in the lock beside the events.
pub trait Event {
    /// Each event there is. None twice.
    const SHAPES: &'static [EventShape];

    /// Which of them this one is.
    fn shape(&self) -> &'static EventShape;

    /// What it is about, for queries and decisions that reach over several aggregates. By default nothing.
    fn tags(&self) -> Vec<Tag> {
        Vec::new()
    }

    /// A number that changes with any of the shapes: for the label of snapshots, and for the name of a read model that is
    /// to be built anew when its events change.
    ///
    /// ```
    /// # use resilience_cqrs::aggregate::{Event, EventShape};
    /// struct Before;
    /// struct After;
    ///
    /// impl Event for Before {
    ///     const SHAPES: &'static [EventShape] = &[EventShape::new("Closed", 1, &[])];
    ///     fn shape(&self) -> &'static EventShape { &Self::SHAPES[0] }
    /// }
    ///
    /// impl Event for After {
    ///     const SHAPES: &'static [EventShape] = &[EventShape::new("Closed", 2, &[])];
    ///     fn shape(&self) -> &'static EventShape { &Self::SHAPES[0] }
    /// }
    ///
    /// assert_ne!(Before::fingerprint(), After::fingerprint());
    /// ```
    fn fingerprint() -> u64
    where
        Self: Sized,
    {
        let mut shapes: Vec<u64> = Self::SHAPES.iter().map(EventShape::fingerprint).collect();
        shapes.sort_unstable(); // In which order they are listed says nothing.
        let mut hash = Fnv::new();
        shapes.iter().for_each(|shape| hash.field(&shape.to_le_bytes()));
        hash.finish()
    }
}

/// One event, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventShape {
    name: &'static str,
    version: u32,
    serde_name: &'static str,
    fields: &'static [FieldShape],
}

impl EventShape {
    /// An event of this name and version (from 1), with these fields in any order.
    pub const fn new(name: &'static str, version: u32, fields: &'static [FieldShape]) -> Self {
        Self { name, version, serde_name: name, fields }
    }

    /// What serde calls the variant, or the struct, if that is not the event's name.
    #[must_use]
    pub const fn serde_name(self, name: &'static str) -> Self {
        Self { serde_name: name, ..self }
    }

    /// What it is called.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The version it is written in.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Its fields; those of a tuple are called `0`, `1` and so on.
    pub const fn fields(&self) -> &'static [FieldShape] {
        self.fields
    }

    pub(in super::super) const fn variant(&self) -> &'static str {
        self.serde_name
    }

    /// A number that changes with the name, the version, or any field's name, type or optionality; the same for ever and on
    /// every machine. The order of the fields, and what serde calls the variant, are not part of it.
    ///
    /// ```
    /// use resilience_cqrs::aggregate::{EventShape, FieldShape};
    ///
    /// const AMOUNT: FieldShape = FieldShape::new("amount", "i64");
    /// const REQUIRED: EventShape = EventShape::new("Paid", 1, &[AMOUNT]);
    /// const OPTIONAL: EventShape = EventShape::new("Paid", 1, &[AMOUNT.optional()]);
    /// assert_ne!(REQUIRED.fingerprint(), OPTIONAL.fingerprint());
    /// ```
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self.name, self.version, self.fields.iter().map(|field| (field.name, field.kind, field.optional)))
    }
}

/// Also of a shape that was read from a lock file.
pub(super) fn fingerprint<'a>(name: &str, version: u32, fields: impl Iterator<Item = (&'a str, &'a str, bool)>) -> u64 {
    let mut fields: Vec<_> = fields.collect();
    fields.sort_unstable();
    let mut hash = Fnv::new();
    hash.field(name.as_bytes());
    hash.field(&version.to_le_bytes());
    for (name, kind, optional) in fields {
        hash.field(name.as_bytes());
        hash.field(kind.as_bytes());
        hash.field(&[u8::from(optional)]);
    }
    hash.finish()
}

/// A field of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldShape {
    name: &'static str,
    kind: &'static str,
    optional: bool,
}

impl FieldShape {
    /// A field that is always there, with its type as it is spelled, without spaces where none are needed.
    pub const fn new(name: &'static str, kind: &'static str) -> Self {
        Self { name, kind, optional: false }
    }

    /// The field may be missing from what is stored.
    #[must_use]
    pub const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// Its name in the payload.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its type, as it is spelled.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Whether it may be missing from what is stored.
    pub const fn is_optional(&self) -> bool {
        self.optional
    }
}
