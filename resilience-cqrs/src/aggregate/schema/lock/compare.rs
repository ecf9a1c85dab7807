//! What may change without a new version, and what may not.

use super::text::{Entry, Field};
use super::{SchemaChange, What};

/// What breaks, and what does not.
pub(super) fn compare(
    locked: &[Entry],
    today: &[Entry],
    is_read: impl Fn(&str, u32) -> bool,
) -> (Vec<SchemaChange>, Vec<SchemaChange>) {
    let mut changes = Vec::new();
    for was in locked {
        let mut change = |what| changes.push(SchemaChange { event: was.name.clone(), version: was.version, what });
        let is = today.iter().find(|entry| entry.name == was.name);
        match is {
            Some(is) if is.version == was.version => fields(was, is, change),
            _ if is_read(&was.name, was.version) => {}
            Some(is) if is.version < was.version => change(What::Back { today: is.version }),
            Some(is) => change(What::Unread { today: is.version }),
            None => change(What::Gone),
        }
    }
    for is in today {
        let versions = || locked.iter().filter(|entry| entry.name == is.name).map(|entry| entry.version);
        if versions().any(|version| version == is.version) {
            continue;
        }
        let what = if versions().next().is_none() { What::New } else { What::NewVersion };
        changes.push(SchemaChange { event: is.name.clone(), version: is.version, what });
    }
    changes.into_iter().partition(|change| !change.what.is_compatible())
}

fn fields(was: &Entry, is: &Entry, mut change: impl FnMut(What)) {
    for (name, before) in &was.fields {
        let field = name.clone();
        let Field { kind, optional } = before;
        match is.fields.get(name) {
            None => change(What::FieldGone { field }),
            Some(now) if now.kind != *kind => {
                change(What::TypeChanged { field, was: kind.clone(), is: now.kind.clone() });
            }
            Some(now) if now.optional != *optional => {
                change(What::OptionalityChanged { field, optional: now.optional });
            }
            Some(_) => {}
        }
    }
    for (name, now) in is.fields.iter().filter(|(name, _)| !was.fields.contains_key(*name)) {
        let field = name.clone();
        change(if now.optional { What::OptionalFieldAdded { field } } else { What::FieldAdded { field } });
    }
}
