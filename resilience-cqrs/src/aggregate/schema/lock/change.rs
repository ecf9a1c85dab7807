//! What is not as the file says.

use std::fmt;

/// One difference between a schema lock and the types.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaChange {
    /// The event.
    pub event: String,
    /// The version of it.
    pub version: u32,
    /// What is different.
    pub what: What,
}

/// What is different about a version of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A field is no longer there.
    FieldGone {
        /// The field.
        field: String,
    },
    /// There is another field, and it must be there.
    FieldAdded {
        /// The field.
        field: String,
    },
    /// There is another field, which need not be there. Compatible.
    OptionalFieldAdded {
        /// The field.
        field: String,
    },
    /// A field has another type, as it is spelled.
    TypeChanged {
        /// The field.
        field: String,
        /// The type it had.
        was: String,
        /// The type it has.
        is: String,
    },
    /// A field that might be missing must be there, or the other way round.
    OptionalityChanged {
        /// The field.
        field: String,
        /// Whether it may be missing now.
        optional: bool,
    },
    /// The event is not there, and no schema says what becomes of it.
    Gone,
    /// The event has a later version, and no schema leads there from this one.
    Unread {
        /// The version of today.
        today: u32,
    },
    /// The event has an earlier version today.
    Back {
        /// The version of today.
        today: u32,
    },
    /// Two types have an event of this name, and it is not the same.
    Disagreement,
    /// The event is new. Compatible.
    New,
    /// The version is new. Compatible.
    NewVersion,
}

impl What {
    /// Whether what is stored can be read all the same.
    ///
    /// ```
    /// use resilience_cqrs::aggregate::What;
    ///
    /// assert!(What::OptionalFieldAdded { field: "memo".into() }.is_compatible());
    /// assert!(!What::FieldAdded { field: "memo".into() }.is_compatible(), "older events do not have it");
    /// ```
    pub fn is_compatible(&self) -> bool {
        matches!(self, Self::OptionalFieldAdded { .. } | Self::New | Self::NewVersion)
    }
}

impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, version, what } = self;
        write!(f, "{event} v{version}: {what}")?;
        match what {
            What::FieldGone { .. } | What::FieldAdded { .. } | What::TypeChanged { .. } => {}
            What::OptionalityChanged { .. } => {}
            _ => return Ok(()),
        }
        write!(f, ": give the event a new version, and tell its schema what becomes of version {version}")
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FieldGone { field } => write!(f, "field `{field}` is gone"),
            Self::FieldAdded { field } => write!(f, "field `{field}` is new and required"),
            Self::OptionalFieldAdded { field } => write!(f, "field `{field}` is new and optional"),
            Self::TypeChanged { field, was, is } => write!(f, "field `{field}` was {was} and is {is}"),
            Self::OptionalityChanged { field, optional: true } => write!(f, "field `{field}` was required"),
            Self::OptionalityChanged { field, optional: false } => write!(f, "field `{field}` was optional"),
            Self::Gone => f.write_str("it is gone, and no schema says what becomes of those that are stored"),
            Self::Unread { today } => write!(f, "it is in version {today} today, and no schema leads there"),
            Self::Back { today } => write!(f, "it is back in version {today}"),
            Self::Disagreement => f.write_str("two types have an event of this name, and it is not the same"),
            Self::New => f.write_str("the event is new"),
            Self::NewVersion => f.write_str("the version is new"),
        }
    }
}
