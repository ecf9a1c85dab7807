//! What the writer remembers of tags: their numbers, and where each was last seen.

use rusqlite::{Connection, OptionalExtension, Statement, params};

use crate::cache::Cache;
use crate::log::{Query, QueryItem, Tag};

/// The number of a tag, and the position of the last event that has it.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: i64,
    last: i64,
}

/// Writes tags, and answers most conditions without looking into the file.
///
/// A condition asks whether something new has certain tags. Nearly always nothing has, and the last position of one tag
/// says so. What it says is the whole truth for the reason that the writer may remember the ends of streams: it is read
/// from the file when a tag is first met, every later event with the tag passes through [`add`](Self::add), and it is
/// forgotten with a transaction that was undone, or when another writer was noticed.
pub(super) struct Tags<'c> {
    /// `None`: no event has it.
    known: Cache<Tag, Option<Known>>,
    next: i64,
    find: Statement<'c>,
    name: Statement<'c>,
    add: Statement<'c>,
}

pub(super) const LAST_OF_TAG: &str = "SELECT id, coalesce((SELECT position FROM log_tagged
     WHERE tag = log_tag.id ORDER BY position DESC LIMIT 1), 0) FROM log_tag WHERE name = ?1";

impl<'c> Tags<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            known: Cache::new(32_768),
            next: 0,
            find: conn.prepare(LAST_OF_TAG)?,
            name: conn.prepare("INSERT INTO log_tag (id, name) VALUES (?1, ?2)")?,
            add: conn.prepare("INSERT INTO log_tagged (tag, position, kind) VALUES (?1, ?2, ?3)")?,
        })
    }

    /// Forgets all, and reads again which number is free.
    pub(super) fn reload(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        self.known.clear();
        self.next = conn.query_row("SELECT coalesce(max(id), 0) + 1 FROM log_tag", [], |row| row.get(0))?;
        Ok(())
    }

    /// Notes that the event at `position` has the tag.
    pub(super) fn add(&mut self, tag: &Tag, position: i64, kind: i64) -> rusqlite::Result<()> {
        let id = match self.find(tag)? {
            Some(known) => known.id,
            None => {
                let id = self.next;
                self.name.execute(params![id, tag.as_str()])?;
                self.next += 1;
                id
            }
        };
        self.add.execute([id, position, kind])?;
        self.known.insert(tag.clone(), Some(Known { id, last: position }));
        Ok(())
    }

    /// Whether an event after `after` can match: `false` is certain.
    pub(super) fn may_match(&mut self, query: &Query, after: i64) -> rusqlite::Result<bool> {
        for item in query.items() {
            if self.may_match_item(item, after)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// An event must have all of an item's tags, so one that is older rules it out.
    fn may_match_item(&mut self, item: &QueryItem, after: i64) -> rusqlite::Result<bool> {
        for tag in &item.tags {
            if self.find(tag)?.is_none_or(|known| known.last <= after) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn find(&mut self, tag: &Tag) -> rusqlite::Result<Option<Known>> {
        if let Some(known) = self.known.get(tag) {
            return Ok(known);
        }
        let found = self.find.query_row([tag.as_str()], |row| Ok(Known { id: row.get(0)?, last: row.get(1)? }));
        let found = found.optional()?;
        self.known.insert(tag.clone(), found);
        Ok(found)
    }
}
