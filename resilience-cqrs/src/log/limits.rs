//! What one append may hold. Every engine refuses more, with [`Invalid`], before anything is written.
//!
//! The figures are far above what sound use needs; they are there so that a mistake (a file as a payload, a loop that
//! appends its own output) is refused where it is made, and not found later as a full disk.

use std::fmt;

use super::{Append, Condition, RowChange};

/// Longest name of a stream, type, tag, space, command or metadata field, in bytes.
pub const NAME_BYTES: usize = 255;
/// Most tags on one event.
pub const TAGS: usize = 64;
/// Largest payload of one event or value of one row, in bytes: 16 MiB.
pub const PAYLOAD_BYTES: usize = 16 << 20;
/// Longest key of a row, in bytes.
pub const KEY_BYTES: usize = 1024;
/// Most events, and most row changes, in one append.
pub const APPEND_ITEMS: usize = 65_536;
/// Largest append, payloads and rows together, in bytes: 64 MiB.
pub const APPEND_BYTES: usize = 64 << 20;
/// Most events in one [`Page`](crate::Page); a larger limit is cut to this.
pub const PAGE_EVENTS: usize = 8192;
/// A [`Page`](crate::Page) ends with the event that brings its payloads to this many bytes: 16 MiB.
pub const PAGE_BYTES: usize = 16 << 20;
/// Most missed events a [`Conflict`](crate::Conflict) carries for one violated condition.
pub const MISSED_EVENTS: usize = 64;

/// Why an append was refused before anything was looked at: it can never succeed as it is.
///
/// ```
/// use resilience_cqrs::limits::{self, Invalid};
/// use resilience_cqrs::{Append, Expected, NewEvent};
///
/// let named = |name: String| Append::new().events(name, Expected::Any, [NewEvent::new("Opened", "")]).validate();
/// assert_eq!(named("s".repeat(limits::NAME_BYTES)), Ok(()));
/// assert_eq!(
///     named("s".repeat(limits::NAME_BYTES + 1)),
///     Err(Invalid::TooLong { what: "stream", bytes: 256, limit: 255 }),
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// A name is empty.
    EmptyName {
        /// What it names: `stream`, `tag`, ...
        what: &'static str,
    },
    /// A name, key, payload or the whole append is too long.
    TooLong {
        /// What is: `stream`, `payload`, ...
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The most it may have.
        limit: usize,
    },
    /// A name has control characters.
    ControlCharacter {
        /// What it names.
        what: &'static str,
    },
    /// There are too many of something.
    TooMany {
        /// Of what: `events`, `tags`, ...
        what: &'static str,
        /// How many.
        count: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A stream is named twice in one append, so what its expected version means is unclear.
    StreamTwice,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyName { what } => write!(f, "the name of a {what} is empty"),
            Self::TooLong { what, bytes, limit } => write!(f, "{what} has {bytes} bytes, at most {limit} may be"),
            Self::ControlCharacter { what } => write!(f, "the name of a {what} has control characters"),
            Self::TooMany { what, count, limit } => write!(f, "{count} {what}, at most {limit} may be"),
            Self::StreamTwice => f.write_str("a stream is named twice in one append"),
        }
    }
}

impl std::error::Error for Invalid {}

/// Checks an append against the limits. Engines call it first.
pub(super) fn check(append: &Append) -> Result<(), Invalid> {
    let streams = &append.streams;
    at_most("streams", streams.len(), APPEND_ITEMS)?;
    at_most("events", append.event_count(), APPEND_ITEMS)?;
    at_most("row changes", append.rows.len(), APPEND_ITEMS)?;
    at_most("conditions", append.conditions.len(), APPEND_ITEMS)?;
    if let Some(command) = &append.command {
        name("command id", command.as_str())?;
    }
    let mut bytes = 0_usize;
    for part in streams {
        name("stream", part.stream.as_str())?;
        for event in &part.events {
            name("event type", event.kind.as_str())?;
            at_most("tags", event.tags.len(), TAGS)?;
            for tag in &event.tags {
                name("tag", tag.as_str())?;
            }
            for (field, value) in event.metadata.iter() {
                name(field, value)?;
            }
            bytes += short_enough("payload", event.payload.len(), PAYLOAD_BYTES)?;
        }
    }
    for row in &append.rows {
        let (RowChange::Put { space, key, .. } | RowChange::Delete { space, key }) = row;
        name("space", space.as_str())?;
        bytes += short_enough("row key", key.len(), KEY_BYTES)?;
        if let RowChange::Put { value, .. } = row {
            bytes += short_enough("row value", value.len(), PAYLOAD_BYTES)?;
        }
    }
    for condition in &append.conditions {
        if let Condition::Row { space, key, .. } = condition {
            name("space", space.as_str())?;
            short_enough("row key", key.len(), KEY_BYTES)?;
        }
    }
    short_enough("append", bytes, APPEND_BYTES)?;
    unique(append)
}

fn unique(append: &Append) -> Result<(), Invalid> {
    let mut names: Vec<&str> = append.streams.iter().map(|part| part.stream.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) { Err(Invalid::StreamTwice) } else { Ok(()) }
}

fn name(what: &'static str, name: &str) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid::EmptyName { what });
    }
    short_enough(what, name.len(), NAME_BYTES)?;
    // Bytes above 0x7f are parts of longer characters; of the control characters only the ASCII ones break a listing.
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Invalid::ControlCharacter { what });
    }
    Ok(())
}

fn short_enough(what: &'static str, bytes: usize, limit: usize) -> Result<usize, Invalid> {
    if bytes > limit { Err(Invalid::TooLong { what, bytes, limit }) } else { Ok(bytes) }
}

fn at_most(what: &'static str, count: usize, limit: usize) -> Result<(), Invalid> {
    if count > limit { Err(Invalid::TooMany { what, count, limit }) } else { Ok(()) }
}
