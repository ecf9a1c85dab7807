//! Which positions a query matches, by index and in order.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension};

use crate::log::{Query, QueryItem};

pub(super) const OF_KIND: &str = "SELECT position FROM log_event INDEXED BY log_event_kind
     WHERE kind = ?1 AND position BETWEEN ?2 AND ?3 ORDER BY position LIMIT ?4";
pub(super) const OF_TAG: &str =
    "SELECT position, kind FROM log_tagged WHERE tag = ?1 AND position BETWEEN ?2 AND ?3 ORDER BY position";
pub(super) const SEEK_TAG: &str =
    "SELECT position, kind FROM log_tagged WHERE tag = ?1 AND position BETWEEN ?2 AND ?3 ORDER BY position LIMIT 1";

/// The first `limit` positions of `within` that `query` matches, in order. Not for a query that is known to match all.
///
/// Each alternative of the query is driven from an index of its own and the results are merged. One statement with `OR`
/// over the alternatives would have SQLite scan the log.
pub(super) fn matching(
    conn: &Connection,
    query: &Query,
    within: &RangeInclusive<i64>,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    if within.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = BTreeSet::new();
    for item in query.items() {
        collect(conn, item, within, limit, &mut found)?;
    }
    Ok(found.into_iter().take(limit).collect())
}

fn collect(
    conn: &Connection,
    item: &QueryItem,
    within: &RangeInclusive<i64>,
    limit: usize,
    found: &mut BTreeSet<i64>,
) -> rusqlite::Result<()> {
    let mut kinds = Vec::with_capacity(item.types.len());
    for kind in &item.types {
        let mut select = conn.prepare_cached("SELECT id FROM log_kind WHERE name = ?1")?;
        kinds.extend(select.query_row([kind.as_str()], |row| row.get::<_, i64>(0)).optional()?);
    }
    if kinds.is_empty() && !item.types.is_empty() {
        return Ok(()); // Nothing of these types was ever appended.
    }
    let mut tags = Vec::with_capacity(item.tags.len());
    for tag in &item.tags {
        let mut select = conn.prepare_cached("SELECT id FROM log_tag WHERE name = ?1")?;
        let Some(id) = select.query_row([tag.as_str()], |row| row.get::<_, i64>(0)).optional()? else { return Ok(()) };
        tags.push(id);
    }
    match tags[..] {
        [] => kinds.iter().try_for_each(|kind| of_kind(conn, *kind, within, limit, found)),
        [tag] => of_tag(conn, tag, &kinds, within, limit, found),
        _ => of_tags(conn, &tags, &kinds, within, limit, found),
    }
}

fn of_kind(
    conn: &Connection,
    kind: i64,
    within: &RangeInclusive<i64>,
    limit: usize,
    found: &mut BTreeSet<i64>,
) -> rusqlite::Result<()> {
    let mut select = conn.prepare_cached(OF_KIND)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query((kind, within.start(), within.end(), limit))?;
    while let Some(row) = rows.next()? {
        found.insert(row.get(0)?);
    }
    Ok(())
}

fn of_tag(
    conn: &Connection,
    tag: i64,
    kinds: &[i64],
    within: &RangeInclusive<i64>,
    limit: usize,
    found: &mut BTreeSet<i64>,
) -> rusqlite::Result<()> {
    let mut select = conn.prepare_cached(OF_TAG)?;
    let mut rows = select.query((tag, within.start(), within.end()))?;
    let mut count = 0;
    while count < limit
        && let Some(row) = rows.next()?
    {
        if kinds.is_empty() || kinds.contains(&row.get(1)?) {
            found.insert(row.get(0)?);
            count += 1;
        }
    }
    Ok(())
}

/// All of several tags, by leaping: each tag's list is asked for its next position at or after the candidate of the one
/// before, until all agree (the leapfrog join of Veldhuizen, ICDT 2014). The cost follows the rarest tag, without
/// statistics about which one that is.
fn of_tags(
    conn: &Connection,
    tags: &[i64],
    kinds: &[i64],
    within: &RangeInclusive<i64>,
    limit: usize,
    found: &mut BTreeSet<i64>,
) -> rusqlite::Result<()> {
    let mut seek = conn.prepare_cached(SEEK_TAG)?;
    let mut candidate = *within.start();
    let mut agreeing = 0;
    let mut count = 0;
    let mut turn = 0;
    while count < limit {
        let tag = tags[turn % tags.len()];
        turn += 1;
        let next = seek.query_row((tag, candidate, within.end()), |row| Ok((row.get(0)?, row.get(1)?)));
        let Some((position, kind)): Option<(i64, i64)> = next.optional()? else { return Ok(()) };
        agreeing = if position == candidate { agreeing + 1 } else { 1 };
        candidate = position;
        if agreeing == tags.len() {
            if kinds.is_empty() || kinds.contains(&kind) {
                found.insert(position);
                count += 1;
            }
            candidate = position.saturating_add(1);
            agreeing = 0;
        }
    }
    Ok(())
}
