//! What a policy looks like, in one form for all patterns.

use std::time::Duration;

use crate::Name;
use crate::health::Status;
use crate::json::Object;

/// One figure of a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Figure {
    /// Something counted.
    Count(u64),
    /// A number that tells things apart and is no quantity, such as a seed.
    Id(u64),
    /// A count that may be below zero.
    Balance(i64),
    /// A quantity.
    Number(f64),
    /// A time; written as seconds.
    Time(Duration),
    /// Yes or no.
    Flag(bool),
    /// One of a few words.
    Word(&'static str),
}

/// A policy at one moment, in the form that is the same for all patterns. The patterns' own snapshots have types.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The pattern's noun.
    pub pattern: &'static str,
    /// The policy's name.
    pub name: Name,
    /// Whether it does its work unhindered.
    pub status: Status,
    /// What there is to see.
    pub figures: Vec<(&'static str, Figure)>,
}

impl Snapshot {
    /// The figure called `name`.
    ///
    /// ```
    /// use resilience_core::bulkhead::Bulkhead;
    /// use resilience_core::registry::{Figure, Registry};
    ///
    /// let registry = Registry::new();
    /// let bulkhead = Bulkhead::builder().limit(8).build()?;
    /// registry.add(&bulkhead)?;
    /// assert_eq!(registry.snapshots()[0].figure("limit"), Some(Figure::Count(8)));
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn figure(&self, name: &str) -> Option<Figure> {
        self.figures.iter().find(|(known, _)| *known == name).map(|(_, figure)| *figure)
    }

    pub(super) fn write(&self, object: &mut Object<'_>) {
        object.text("pattern", self.pattern);
        object.text("name", &self.name);
        object.text("status", self.status.label());
        object.object("figures", |figures| {
            for (name, figure) in &self.figures {
                match *figure {
                    Figure::Count(count) => figures.integer(name, count.into()),
                    Figure::Id(id) => figures.integer(name, id.into()),
                    Figure::Balance(balance) => figures.integer(name, balance.into()),
                    Figure::Number(number) => figures.number(name, number),
                    Figure::Time(time) => figures.number(name, time.as_secs_f64()),
                    Figure::Flag(flag) => figures.flag(name, flag),
                    Figure::Word(word) => figures.text(name, word),
                }
            }
        });
    }
}

/// The same shape as in [`Registry::to_json`](super::Registry::to_json).
#[cfg(feature = "serde")]
impl serde::Serialize for Snapshot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        struct Figures<'a>(&'a [(&'static str, Figure)]);
        impl serde::Serialize for Figures<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().copied())
            }
        }

        let mut object = serializer.serialize_struct("Snapshot", 4)?;
        object.serialize_field("pattern", self.pattern)?;
        object.serialize_field("name", self.name.as_str())?;
        object.serialize_field("status", self.status.label())?;
        object.serialize_field("figures", &Figures(&self.figures))?;
        object.end()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Figure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Count(count) => serializer.serialize_u64(count),
            Self::Id(id) => serializer.serialize_u64(id),
            Self::Balance(balance) => serializer.serialize_i64(balance),
            Self::Number(number) => serializer.serialize_f64(number),
            Self::Time(time) => serializer.serialize_f64(time.as_secs_f64()),
            Self::Flag(flag) => serializer.serialize_bool(flag),
            Self::Word(word) => serializer.serialize_str(word),
        }
    }
}
