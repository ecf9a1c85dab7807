//! Which positions a query matches, by index and in order.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use redb::ReadableTable;

use super::error::Fault;
use super::tables::View;
use crate::log::{EventType, Query, QueryItem, Tag};

/// The first `limit` positions of `within` that `query` matches, in order. Not for a query that is known to match all.
pub(super) fn matching(
    view: &impl View,
    query: &Query,
    within: &RangeInclusive<u64>,
    limit: usize,
) -> Result<Vec<u64>, Fault> {
    let mut found = BTreeSet::new();
    if within.is_empty() {
        return Ok(Vec::new());
    }
    for item in query.items() {
        collect(view, item, within, limit, &mut found)?;
    }
    Ok(found.into_iter().take(limit).collect())
}

fn collect(
    view: &impl View,
    item: &QueryItem,
    within: &RangeInclusive<u64>,
    limit: usize,
    found: &mut BTreeSet<u64>,
) -> Result<(), Fault> {
    let (first, last) = (*within.start(), *within.end());
    match item.tags.as_slice() {
        [] => {
            for kind in &item.types {
                for entry in view.kinds().range((kind.as_str(), first)..=(kind.as_str(), last))?.take(limit) {
                    found.insert(entry?.0.value().1);
                }
            }
        }
        [tag] => {
            let mut count = 0;
            for entry in view.tags().range((tag.as_str(), first)..=(tag.as_str(), last))? {
                let (key, kind) = entry?;
                if is_of(&item.types, kind.value()) {
                    found.insert(key.value().1);
                    count += 1;
                }
                if count == limit {
                    break;
                }
            }
        }
        tags => of_tags(view, tags, &item.types, within, limit, found)?,
    }
    Ok(())
}

fn is_of(types: &[EventType], kind: &str) -> bool {
    types.is_empty() || types.iter().any(|of| of == kind)
}

/// All of several tags, by leaping: each tag's list is asked for its next position at or after the candidate of the one
/// before, until all agree (the leapfrog join of Veldhuizen, ICDT 2014). The cost follows the rarest tag, without
/// statistics about which one that is.
fn of_tags(
    view: &impl View,
    tags: &[Tag],
    types: &[EventType],
    within: &RangeInclusive<u64>,
    limit: usize,
    found: &mut BTreeSet<u64>,
) -> Result<(), Fault> {
    let (mut candidate, last) = (*within.start(), *within.end());
    let (mut agreeing, mut count, mut turn) = (0, 0, 0);
    while count < limit && candidate <= last {
        let tag = tags[turn % tags.len()].as_str();
        turn += 1;
        let Some(entry) = view.tags().range((tag, candidate)..=(tag, last))?.next() else { return Ok(()) };
        let (key, kind) = entry?;
        let position = key.value().1;
        agreeing = if position == candidate { agreeing + 1 } else { 1 };
        candidate = position;
        if agreeing == tags.len() {
            if is_of(types, kind.value()) {
                found.insert(position);
                count += 1;
            }
            candidate = position.saturating_add(1);
            agreeing = 0;
        }
    }
    Ok(())
}
