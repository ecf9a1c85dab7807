//! Whether the log fits together.

use std::collections::HashMap;

use redb::{ReadableTable, ReadableTableMetadata};

use super::error::Fault;
use super::read::event;
use super::record::Names;
use super::tables::{ReadTables, View};
use crate::log::Corrupt;

/// Reads the whole log and says what does not fit together.
pub(super) fn verify(view: &ReadTables) -> Result<(), Fault> {
    let wrong = |what: String| Err(Corrupt::new(what).into());
    let mut names = Names::new();
    let mut versions: HashMap<String, (u64, u64)> = HashMap::new();
    let (mut expected, mut tags, mut kinds) = (0, 0, 0);
    for entry in view.events().iter()? {
        let (position, record) = entry?;
        let position = position.value();
        let event = event(&mut names, position, record.value())?;
        expected += 1;
        if position != expected {
            return wrong(format!("event {expected} is not there"));
        }
        let stream = event.stream.as_str();
        if !versions.contains_key(stream) {
            let Some(id) = view.stream_ids().get(stream)? else {
                return wrong(format!("event {position} is of stream {stream}, which has no number"));
            };
            versions.insert(stream.to_owned(), (id.value(), 0));
        }
        let Some((id, version)) = versions.get_mut(stream) else { continue };
        *version += 1;
        let listed = view.streams().get((*id, *version))?.map(|position| position.value());
        if event.version.get() != *version || listed != Some(position) {
            return wrong(format!("event {position} is not event {version} of stream {stream}"));
        }
        let kind = event.kind.as_str();
        if view.kinds().get((kind, position))?.is_none() {
            return wrong(format!("event {position} is not found by its type {kind}"));
        }
        kinds += 1;
        for tag in &event.tags {
            if view.tags().get((tag.as_str(), position))?.is_none_or(|of| of.value() != kind) {
                return wrong(format!("event {position} is not found by its tag {tag}"));
            }
        }
        // A tag that was given twice is listed once.
        let mut distinct: Vec<_> = event.tags.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        tags += distinct.len() as u64;
    }
    let lists = [
        ("streams", view.streams().len()?, expected),
        ("types", view.kinds().len()?, kinds),
        ("tags", view.tags().len()?, tags),
    ];
    for (list, found, expected) in lists {
        if found != expected {
            return wrong(format!("the list of {list} has {found} entries for {expected} of the log"));
        }
    }
    Ok(())
}
