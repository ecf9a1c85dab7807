//! Where an event is, and what things are called.

use std::borrow::Borrow;
use std::fmt;

use resilience_core::Name;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An event's place in the log: 1 for the first, and never a gap.
///
/// Positions are handed out in commit order, so whoever has read up to a position has read everything at or before it:
/// nothing can appear behind a reader. That is why a subscription's whole cursor is one number.
///
/// ```
/// use resilience_cqrs::Position;
///
/// assert_eq!(Position::ORIGIN.next(), Position::new(1));
/// assert!(Position::new(2) > Position::new(1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

impl Position {
    /// Before the first event.
    pub const ORIGIN: Self = Self(0);

    /// The position with this number.
    pub const fn new(position: u64) -> Self {
        Self(position)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position right after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The position `events` later.
    #[must_use]
    pub const fn plus(self, events: u64) -> Self {
        Self(self.0.saturating_add(events))
    }

    /// How many events lie after `earlier`, up to and including this one; 0 if there are none.
    ///
    /// ```
    /// use resilience_cqrs::Position;
    ///
    /// // The lag of a reader; one that is ahead of an old head has none.
    /// assert_eq!(Position::new(10).since(Position::new(7)), 3);
    /// assert_eq!(Position::new(7).since(Position::new(10)), 0);
    /// ```
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many events a stream has so far; also the number of its last event.
///
/// ```
/// use resilience_cqrs::Version;
///
/// assert_eq!(Version::EMPTY.plus(3), Version::new(3));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(u64);

impl Version {
    /// A stream without events, which is the same as a stream that never was.
    pub const EMPTY: Self = Self(0);

    /// The version with this number.
    pub const fn new(version: u64) -> Self {
        Self(version)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The version one event later.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The version `events` later.
    #[must_use]
    pub const fn plus(self, events: u64) -> Self {
        Self(self.0.saturating_add(events))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Cheap to clone. Any text can be made into one; an append refuses what is empty, longer than
        /// [`limits::NAME_BYTES`](crate::limits::NAME_BYTES) or has control characters.
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(Name);

        impl $name {
            /// From a literal, without copying it.
            pub const fn from_static(text: &'static str) -> Self {
                Self(Name::from_static(text))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Name::from(std::sync::Arc::<str>::from(text)))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Name::from(text))
            }
        }

        impl From<std::sync::Arc<str>> for $name {
            fn from(text: std::sync::Arc<str>) -> Self {
                Self(Name::from(text))
            }
        }

        impl From<&$name> for $name {
            fn from(other: &$name) -> Self {
                other.clone()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        // Sound: `Name` hashes and compares as its text does.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.as_str().cmp(other.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }
    };
}

text! {
    /// Names a stream: the events of one aggregate, one saga, one account, in their own order.
    ///
    /// ```
    /// use resilience_cqrs::StreamId;
    ///
    /// let stream = StreamId::from(format!("account-{}", 7));
    /// assert_eq!(stream, "account-7");
    /// ```
    StreamId
}

text! {
    /// Names what kind of thing happened, in the words of the domain: `MoneyDeposited`.
    ///
    /// ```
    /// use resilience_cqrs::{EventType, NewEvent};
    ///
    /// const DEPOSITED: EventType = EventType::from_static("MoneyDeposited");
    /// assert_eq!(NewEvent::new(DEPOSITED, "").kind.as_str(), "MoneyDeposited");
    /// ```
    EventType
}

text! {
    /// Marks an event as being about something, so that a decision can ask for all events about it: `course:c1`.
    ///
    /// ```
    /// use std::collections::BTreeSet;
    /// use resilience_cqrs::Tag;
    ///
    /// // Ordered and found by their text.
    /// let tags = BTreeSet::from([Tag::from("student:s1"), Tag::from("course:c1")]);
    /// assert_eq!(tags.first().map(Tag::as_str), Some("course:c1"));
    /// assert!(tags.contains("student:s1"));
    /// ```
    Tag
}

text! {
    /// Names a command, so that a second attempt at it is recognised and not done twice.
    ///
    /// Whoever issues the command chooses it before the first attempt and keeps it for every further one; an
    /// `Idempotency-Key` of a request serves well.
    ///
    /// ```
    /// use resilience_cqrs::{Append, CommandId};
    ///
    /// // Any text makes one, but an empty header does not pass for an id.
    /// let id = CommandId::from("");
    /// assert_eq!(Append::new().command_id(id).validate().unwrap_err().to_string(), "the name of a command id is empty");
    /// ```
    CommandId
}

text! {
    /// Names a table of small keyed rows that live beside the log: heads, timers, checkpoints, read models.
    ///
    /// ```
    /// use resilience_cqrs::{EventStore, MemoryStore, Space};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // A space is not set up: one that nobody wrote to is empty.
    /// const HEADS: Space = Space::from_static("heads");
    /// assert_eq!(MemoryStore::new().rows(HEADS.as_str(), None, 10).await?, []);
    /// # Ok(()) }
    /// ```
    Space
}
