//! The file: an event a paragraph, a field a line, sorted, so that two branches that add something rarely meet.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::aggregate::schema::shape::{EventShape, fingerprint};

const HEAD: &str = "\
# The events of this program, as they are stored: name, version and fingerprint, then the fields (`?`: may be missing).
# A test compares. Written by `UPDATE_SCHEMA_LOCK=1 cargo test`; what changes here changes what old logs mean.
";

/// One version of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) fields: BTreeMap<String, Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) kind: String,
    pub(super) optional: bool,
}

/// A line that says nothing sensible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// From 1.
    pub(super) line: usize,
    pub(super) what: String,
}

/// An entry, with the fingerprint the file gives it and the line it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) entry: Entry,
    pub(super) fingerprint: u64,
    pub(super) line: usize,
}

impl Entry {
    pub(super) fn of(shape: &EventShape) -> Self {
        let fields = shape.fields().iter().map(|field| {
            (field.name().to_owned(), Field { kind: field.kind().to_owned(), optional: field.is_optional() })
        });
        Self { name: shape.name().to_owned(), version: shape.version(), fields: fields.collect() }
    }

    pub(super) fn key(&self) -> (String, u32) {
        (self.name.clone(), self.version)
    }

    fn fingerprint(&self) -> u64 {
        let fields = self.fields.iter().map(|(name, field)| (name.as_str(), field.kind.as_str(), field.optional));
        fingerprint(&self.name, self.version, fields)
    }
}

pub(super) fn write<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let mut text = String::from(HEAD);
    for entry in entries {
        // To a string; nothing can fail.
        let _ = writeln!(text, "\n{} v{} {:016x}", entry.name, entry.version, entry.fingerprint());
        for (name, field) in &entry.fields {
            let _ = writeln!(text, "    {name}{}: {}", if field.optional { "?" } else { "" }, field.kind);
        }
    }
    text
}

pub(super) fn parse(text: &str) -> Result<Vec<Read>, Malformed> {
    let mut entries: Vec<Read> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let malformed = |what: &str| Malformed { line, what: what.to_owned() };
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(field) = text.strip_prefix("    ") {
            let (name, kind) =
                field.rsplit_once(": ").ok_or_else(|| malformed("a field is a name, `: ` and a type"))?;
            let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
            let field = Field { kind: kind.to_owned(), optional };
            let entry = entries.last_mut().ok_or_else(|| malformed("a field of no event"))?;
            if entry.entry.fields.insert(name.to_owned(), field).is_some() {
                return Err(malformed("the field is there twice"));
            }
            continue;
        }
        let entry =
            head(text, line).ok_or_else(|| malformed("an event is a name, `v` and a number, and a fingerprint"))?;
        if entries.iter().any(|other| other.entry.key() == entry.entry.key()) {
            return Err(malformed("the event is there twice"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// From its end: a name may have spaces.
fn head(text: &str, line: usize) -> Option<Read> {
    let (rest, fingerprint) = text.rsplit_once(' ')?;
    let (name, version) = rest.rsplit_once(" v")?;
    let entry = Entry { name: name.to_owned(), version: version.parse().ok()?, fields: BTreeMap::new() };
    Some(Read { entry, fingerprint: u64::from_str_radix(fingerprint, 16).ok()?, line })
}

/// The entries, if each has the fingerprint of what it says: a file that was merged or edited by hand may say what no
/// program ever wrote.
pub(super) fn unedited(read: Vec<Read>) -> Result<Vec<Entry>, Malformed> {
    let checked = read.into_iter().map(|Read { entry, fingerprint, line }| {
        if entry.fingerprint() == fingerprint {
            return Ok(entry);
        }
        let what = format!("the fingerprint of {} is not that of its fields: the file was edited", entry.name);
        Err(Malformed { line, what })
    });
    checked.collect()
}
