//! The shapes of events in a file that is checked in, so that a change to them is a line in a review.

mod change;
mod compare;
mod text;

pub use self::change::{SchemaChange, What};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use thiserror::Error;

use self::text::{Entry, Malformed};
use super::{Event, EventShape, Schema};

/// Set to anything but `0`, [`SchemaLock::check`] writes the file instead of comparing with it.
const UPDATE: &str = "UPDATE_SCHEMA_LOCK";

/// What events look like, to be compared with what they looked like when somebody last agreed to it.
///
/// An event is for ever: whoever renames a field of one that is stored finds out when an old log is read, which is not in
/// the tests. So the shapes are written to a text file beside the code, and a test compares:
///
/// - A field that is gone, has another type or has become required (or optional) is an error, unless the event has a new
///   **version**; so is a required field that was added.
/// - An earlier version, and an event that is no longer there, must be read by a [`Schema`] that the lock is told of
///   ([`reads`](Self::reads)). The file keeps them, for as long as a schema reads them.
/// - A new event, a new version and a new **optional** field are compatible. They are an error of another kind: the file
///   is out of date.
/// - `UPDATE_SCHEMA_LOCK=1 cargo test` writes the file, whatever has changed; the diff is what is reviewed.
///
/// ```
/// use resilience_cqrs::aggregate::{Event, EventShape, FieldShape, LockError, SchemaLock};
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("schema.lock");
///
/// // With the feature `derive`, `#[derive(Event)]` writes this.
/// struct Deposited;
/// impl Event for Deposited {
///     const SHAPES: &'static [EventShape] = &[EventShape::new("Deposited", 1, &[FieldShape::new("cents", "i64")])];
///     fn shape(&self) -> &'static EventShape { &Self::SHAPES[0] }
/// }
///
/// struct Changed;
/// impl Event for Changed {
///     const SHAPES: &'static [EventShape] = &[EventShape::new("Deposited", 1, &[FieldShape::new("cents", "u64")])];
///     fn shape(&self) -> &'static EventShape { &Self::SHAPES[0] }
/// }
///
/// let lock = SchemaLock::of::<Deposited>();
/// lock.write(&path)?;
/// lock.check(&path)?; // `SchemaLock::of::<(Bank, Orders)>().check("schema.lock")` in a test of yours
///
/// let error = SchemaLock::of::<Changed>().check(&path).unwrap_err();
/// assert!(matches!(&error, LockError::Incompatible { .. }));
/// assert!(error.to_string().contains("Deposited v1: field `cents` was i64 and is u64: give the event a new version"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # A command
///
/// What a test does, [`run`](Self::run) does from a program: an example, a `bin` or an xtask of yours with one line in
/// `main`. `examples/schema_lock.rs` is one.
///
/// # Limits
///
/// Shapes go by spelling, see [`Event`]: a type that was only moved or renamed has changed, and one whose inside has
/// changed has not. For the second, have the type describe itself and hold it in the lock too.
#[derive(Clone, Debug, Default)]
pub struct SchemaLock {
    shapes: Vec<EventShape>,
    /// Names and versions that a schema reads.
    read: BTreeSet<(&'static str, u32)>,
}

/// A schema lock does not hold, or cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// What is stored could not be read any more.
    #[error("stored events could not be read any more:\n{}", list(.changes))]
    Incompatible {
        /// All that changed in such a way.
        changes: Vec<SchemaChange>,
    },
    /// Everything could be read, and the file does not say all there is.
    #[error("{} is out of date; {UPDATE}=1 brings it up to date:\n{}", path.display(), list(.changes))]
    Outdated {
        /// The file.
        path: PathBuf,
        /// What it does not say.
        changes: Vec<SchemaChange>,
    },
    /// There is no such file.
    #[error("there is no {}; {UPDATE}=1 writes it", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file says something that is not a schema lock.
    #[error("{}, line {line}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The file cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn list(changes: &[SchemaChange]) -> String {
    changes.iter().map(|change| format!("  {change}")).collect::<Vec<_>>().join("\n")
}

impl SchemaLock {
    /// Of one type that is [`Event`], or of a tuple of them: all that are written to a log.
    pub fn of<E: EventTypes>() -> Self {
        let mut shapes = Vec::new();
        E::shapes(&mut shapes);
        Self { shapes, read: BTreeSet::new() }
    }

    /// What this schema reads is read: earlier versions of events, and those that are no longer there.
    ///
    /// ```
    /// use resilience_cqrs::aggregate::{Event, EventShape, Schema, SchemaLock};
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("schema.lock");
    ///
    /// struct Closed;
    /// impl Event for Closed {
    ///     const SHAPES: &'static [EventShape] = &[EventShape::new("Closed", 1, &[])];
    ///     fn shape(&self) -> &'static EventShape { &Self::SHAPES[0] }
    /// }
    ///
    /// SchemaLock::of::<Closed>().write(&path)?;
    /// // The last type with this event was removed: what becomes of those that are stored?
    /// assert!(SchemaLock::of::<()>().check(&path).is_err());
    /// let schema = Schema::builder().drop("Closed", 1).build()?;
    /// SchemaLock::of::<()>().reads(&schema).check(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn reads<E>(mut self, schema: &Schema<E>) -> Self {
        self.read.extend(schema.inner.stored.values());
        self
    }

    /// Compares with the file; or writes it, if the environment says `UPDATE_SCHEMA_LOCK=1`. A test runs in the folder of
    /// its package, which is where a relative path begins.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn check(&self, path: impl AsRef<Path>) -> Result<(), LockError> {
        let update = env::var_os(UPDATE).is_some_and(|value| !value.is_empty() && value != "0");
        if update { self.write(path) } else { self.compare(path.as_ref()) }
    }

    /// Writes the file as it should be. Of what it said before, it keeps what is not there any more and is still read.
    ///
    /// # Errors
    /// [`LockError::Io`]; [`LockError::Malformed`] if there is a file that is none, which is left as it is; and
    /// [`LockError::Incompatible`] if two types disagree about one event.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), LockError> {
        let path = path.as_ref();
        let locked = match fs::read_to_string(path) {
            Ok(text) => text::parse(&text).map_err(|malformed| malformed.at(path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(LockError::Io { path: path.to_owned(), source }),
        };
        let entries = self.entries()?;
        let mut kept: BTreeMap<_, _> = locked.into_iter().map(|read| (read.entry.key(), read.entry)).collect();
        kept.retain(|(name, version), _| self.is_read(name, *version));
        kept.extend(entries.into_iter().map(|entry| (entry.key(), entry)));
        let text = text::write(kept.values());
        fs::write(path, text).map_err(|source| LockError::Io { path: path.to_owned(), source })
    }

    /// Does what the arguments of a program say, without its name: `check` (also if there are none), `write`, or `show`,
    /// which prints what would be written. Tells what happened on the standard output, what is wrong on the other one.
    ///
    /// ```no_run
    /// # type Events = ();
    /// use resilience_cqrs::aggregate::SchemaLock;
    ///
    /// fn main() -> std::process::ExitCode {
    ///     SchemaLock::of::<Events>().run("schema.lock", std::env::args().skip(1))
    /// }
    /// ```
    pub fn run(&self, path: impl AsRef<Path>, arguments: impl IntoIterator<Item = String>) -> ExitCode {
        let path = path.as_ref();
        let arguments: Vec<String> = arguments.into_iter().collect();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let done = match words[..] {
            [] | ["check"] => self.compare(path).map(|()| format!("{} holds", path.display())),
            ["write"] => self.write(path).map(|()| format!("{} is written", path.display())),
            ["show"] => self.entries().map(|entries| text::write(entries.iter()).trim_end().to_owned()),
            _ => {
                eprintln!("check, write or show; not {}", words.join(" "));
                return ExitCode::from(2);
            }
        };
        match done {
            Ok(told) => {
                println!("{told}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        }
    }

    fn compare(&self, path: &Path) -> Result<(), LockError> {
        let text = fs::read_to_string(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => LockError::Missing { path: path.to_owned() },
            _ => LockError::Io { path: path.to_owned(), source },
        })?;
        let locked = text::parse(&text).and_then(text::unedited).map_err(|malformed| malformed.at(path))?;
        let (breaking, compatible) =
            compare::compare(&locked, &self.entries()?, |name, version| self.is_read(name, version));
        match (breaking.is_empty(), compatible.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => Err(LockError::Outdated { path: path.to_owned(), changes: compatible }),
            (false, _) => Err(LockError::Incompatible { changes: breaking }),
        }
    }

    /// What there is today, by name.
    fn entries(&self) -> Result<Vec<Entry>, LockError> {
        let mut entries: BTreeMap<&str, Entry> = BTreeMap::new();
        for shape in &self.shapes {
            let entry = Entry::of(shape);
            if let Some(other) = entries.get(shape.name())
                && *other != entry
            {
                let change = SchemaChange { event: entry.name, version: entry.version, what: What::Disagreement };
                return Err(LockError::Incompatible { changes: vec![change] });
            }
            entries.insert(shape.name(), entry);
        }
        Ok(entries.into_values().collect())
    }

    fn is_read(&self, name: &str, version: u32) -> bool {
        self.read.iter().any(|read| *read == (name, version))
    }
}

impl Malformed {
    fn at(self, path: &Path) -> LockError {
        LockError::Malformed { path: path.to_owned(), line: self.line, what: self.what }
    }
}

/// One type that is [`Event`], or a tuple of up to eight such, which may be tuples themselves.
pub trait EventTypes {
    /// Adds the events there are.
    fn shapes(to: &mut Vec<EventShape>);
}

impl<E: Event> EventTypes for E {
    fn shapes(to: &mut Vec<EventShape>) {
        to.extend(E::SHAPES);
    }
}

macro_rules! tuples {
    ($(($($name:ident)*))*) => {
        $(
            impl<$($name: EventTypes),*> EventTypes for ($($name,)*) {
                fn shapes(to: &mut Vec<EventShape>) {
                    let _ = &to;
                    $($name::shapes(to);)*
                }
            }
        )*
    };
}

tuples! { () (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) }
