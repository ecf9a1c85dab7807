//! Lists as text, for engines whose tables hold no lists: names have no control characters, so a line each.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use super::Tag;
use super::{StreamId, Version};

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn join_tags(tags: &[Tag]) -> Option<String> {
    let (first, rest) = tags.split_first()?;
    let mut joined = String::from(first.as_str());
    for tag in rest {
        joined.push('\n');
        joined.push_str(tag.as_str());
    }
    Some(joined)
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn split_tags(joined: &str) -> Vec<Tag> {
    joined.split('\n').map(Tag::from).collect()
}

#[cfg(feature = "sqlite")] // PostgreSQL joins them itself.
pub(crate) fn join_versions(versions: &[(StreamId, Version)]) -> String {
    versions.iter().map(|(stream, version)| format!("{version} {stream}\n")).collect()
}

/// `None` if somebody else has written it.
pub(crate) fn split_versions(joined: &str) -> Option<Vec<(StreamId, Version)>> {
    let line = |line: &str| {
        let (version, stream) = line.split_once(' ')?;
        Some((stream.into(), Version::new(version.parse().ok()?)))
    };
    joined.lines().map(line).collect()
}

/// The integers of databases are signed. No log gets to 2^63 events; a number from outside may be that large, and means
/// "after everything".
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
