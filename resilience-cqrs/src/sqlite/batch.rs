//! One append, inside a transaction that it shares with its neighbours in the queue.
//!
//! Everything that can refuse an append is checked before anything of it is written, so a refusal needs no savepoint
//! and costs its neighbours nothing. Only what a caller runs inside the transaction gets one.

mod judge;

use std::panic::{AssertUnwindSafe, catch_unwind};

use resilience_core::time::WallTime;
use rusqlite::{Connection, OptionalExtension, Statement, Transaction, params};

use super::decode::{Names, command, event_columns};
use super::error::Fault;
use super::guard::Guard;
use super::inside::{Changes, Inside, Within};
use super::tags::Tags;
use crate::cache::Cache;
pub(super) use crate::log::text::to_sql;
use crate::log::text::{join_tags, join_versions};
use crate::log::{
    Append, AppendError, Appended, BoxError, Conflict, EventType, NewEvent, Position, RowChange, StreamAppend,
    StreamId, Version,
};

/// Why an append did not go in.
pub(super) enum Refusal {
    /// This one alone; the transaction goes on.
    Alone(AppendError),
    /// The transaction is lost, and with it everybody in it.
    All(Fault),
}

impl<F: Into<Fault>> From<F> for Refusal {
    fn from(fault: F) -> Self {
        Self::All(fault.into())
    }
}

#[derive(Clone, Copy, Debug)]
struct Head {
    id: i64,
    version: i64,
}

/// Writes appends. Lives as long as the writer's connection, with everything prepared once.
///
/// Invariant: between transactions `head`, `streams`, `kinds` and `tags` say what the file says. Nobody else writes to the log's
/// tables: the store holds the file's lock.
pub(super) struct Batcher<'c> {
    conn: &'c Connection,
    guard: Guard,
    statements: Statements<'c>,
    names: Names,
    streams: Cache<StreamId, Head>,
    kinds: Cache<EventType, i64>,
    tags: Tags<'c>,
    head: i64,
    next_stream: i64,
    next_kind: i64,
    /// SQLite's count of what other connections have committed, as far as it was taken in.
    others: i64,
}

struct Statements<'c> {
    others: Statement<'c>,
    head: Statement<'c>,
    stream: Statement<'c>,
    add_stream: Statement<'c>,
    kind: Statement<'c>,
    add_kind: Statement<'c>,
    add_event: Statement<'c>,
    put: Statement<'c>,
    delete: Statement<'c>,
    add_command: Statement<'c>,
}

const HEAD: &str = "SELECT coalesce(max(position), 0) FROM log_event";

impl<'c> Statements<'c> {
    fn prepare(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            others: conn.prepare("PRAGMA data_version")?,
            head: conn.prepare(HEAD)?,
            stream: conn.prepare(
                "SELECT id, coalesce((SELECT version FROM log_event INDEXED BY log_event_stream
                 WHERE stream = log_stream.id ORDER BY version DESC LIMIT 1), 0) FROM log_stream WHERE name = ?1",
            )?,
            add_stream: conn.prepare("INSERT INTO log_stream (id, name) VALUES (?1, ?2)")?,
            kind: conn.prepare("SELECT id FROM log_kind WHERE name = ?1")?,
            add_kind: conn.prepare("INSERT INTO log_kind (id, name) VALUES (?1, ?2)")?,
            add_event: conn.prepare(concat!(
                "INSERT INTO log_event (",
                event_columns!(),
                ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
            ))?,
            put: conn.prepare("INSERT OR REPLACE INTO log_row (space, key, value) VALUES (?1, ?2, ?3)")?,
            delete: conn.prepare("DELETE FROM log_row WHERE space = ?1 AND key = ?2")?,
            add_command: conn
                .prepare("INSERT INTO log_command (id, digest, first, last, versions) VALUES (?1, ?2, ?3, ?4, ?5)")?,
        })
    }
}

impl<'c> Batcher<'c> {
    pub(super) fn new(conn: &'c Connection, guard: Guard) -> Result<Self, Fault> {
        let mut batcher = Self {
            conn,
            guard,
            statements: Statements::prepare(conn)?,
            names: Names::new(),
            streams: Cache::new(32_768),
            kinds: Cache::new(1024),
            tags: Tags::new(conn)?,
            head: 0,
            next_stream: 0,
            next_kind: 0,
            others: 0,
        };
        batcher.reload()?;
        Ok(batcher)
    }

    /// Takes in what others have committed; to be called first thing in a transaction, when nobody else can commit.
    ///
    /// They may: to tables of their own. Should one have added to the log although the lock file is there to prevent it
    /// (on a file system that grants a lock twice, or with SQL by hand), then what is remembered is not the log any more.
    pub(super) fn take_in(&mut self) -> Result<(), Fault> {
        let others = self.statements.others.query_row([], |row| row.get(0))?;
        if others != self.others {
            self.others = others;
            let head: i64 = self.statements.head.query_row([], |row| row.get(0))?;
            if head != self.head {
                self.reload()?;
            }
        }
        Ok(())
    }

    /// Reads again where the log ends, after a transaction was undone.
    pub(super) fn reload(&mut self) -> Result<(), Fault> {
        self.streams.clear();
        self.kinds.clear();
        self.names.clear();
        let last = |sql: &str| self.conn.query_row(sql, [], |row| row.get::<_, i64>(0));
        self.head = last(HEAD)?;
        self.next_stream = last("SELECT coalesce(max(id), 0) + 1 FROM log_stream")?;
        self.next_kind = last("SELECT coalesce(max(id), 0) + 1 FROM log_kind")?;
        self.tags.reload(self.conn)?;
        Ok(())
    }

    /// The last position, including what the transaction in progress has written.
    pub(super) fn head(&self) -> Position {
        Position::new(self.head.unsigned_abs())
    }

    /// Checks one append and writes it.
    pub(super) fn append(
        &mut self,
        append: &Append,
        inside: Option<Inside>,
        tx: &Transaction<'_>,
        now: WallTime,
    ) -> Result<Appended, Refusal> {
        let named = append.command();
        if let Some((id, digest)) = named
            && let Some(committed) = command(self.conn, id.as_str())?
        {
            let same = committed.fingerprint == digest;
            return if same {
                Ok(committed.appended)
            } else {
                Err(Refusal::Alone(AppendError::IdMisuse { id: id.clone() }))
            };
        }
        let heads = append.streams().iter().map(|part| self.stream(&part.stream)).collect::<Result<Vec<_>, _>>()?;
        let violations = self.violations(append, &heads)?;
        if !violations.is_empty() {
            return Err(Refusal::Alone(AppendError::Conflict(Conflict { violations })));
        }
        let (further, then) = match inside {
            Some(Inside::Before(inside)) => (self.run_inside(tx, || inside(tx))?, None),
            Some(Inside::Then(then)) => (Vec::new(), Some(then)),
            None => (Vec::new(), None),
        };
        if then.is_some() {
            tx.execute_batch("SAVEPOINT log_append")?;
        }
        let first = self.head().next();
        let mut versions = Vec::with_capacity(heads.len());
        for (part, head) in append.streams().iter().zip(heads) {
            versions.push((part.stream.clone(), self.write_stream(part, head, now)?));
        }
        self.change(append.row_changes().iter().chain(&further))?;
        if let Some(then) = then {
            self.run_then(then, tx, first)?;
        }
        let appended = Appended { first, last: self.head(), versions, already_committed: false };
        if let Some((id, digest)) = named {
            let (first, last) = (to_sql(appended.first.get()), to_sql(appended.last.get()));
            let versions = join_versions(&appended.versions);
            let digest = digest.cast_signed();
            self.statements.add_command.execute(params![id.as_str(), digest, first, last, versions])?;
        }
        Ok(appended)
    }

    fn change<'r>(&mut self, changes: impl Iterator<Item = &'r RowChange>) -> Result<(), Fault> {
        for change in changes {
            match change {
                RowChange::Put { space, key, value } => {
                    self.statements.put.execute(params![space.as_str(), &**key, &**value])?;
                }
                RowChange::Delete { space, key } => {
                    self.statements.delete.execute(params![space.as_str(), &**key])?;
                }
            }
        }
        Ok(())
    }

    /// Runs the caller's part in a savepoint of its own, before anything of the append is written.
    fn run_inside<T>(&self, tx: &Transaction<'_>, inside: impl FnOnce() -> Result<T, BoxError>) -> Result<T, Refusal> {
        tx.execute_batch("SAVEPOINT log_inside")?;
        let result = self.guard.watch(|| catch_unwind(AssertUnwindSafe(inside)));
        if tx.is_autocommit() {
            // SQLite itself undoes a transaction after some errors, and its neighbours' writes with it.
            return Err(Refusal::All(Fault::Undone));
        }
        let error = match result {
            Ok(Ok(result)) => {
                tx.execute_batch("RELEASE log_inside")?;
                return Ok(result);
            }
            Ok(Err(error)) => error,
            Err(_) => BoxError::from("panicked inside the append's transaction"),
        };
        tx.execute_batch("ROLLBACK TO log_inside; RELEASE log_inside")?;
        Err(Refusal::Alone(AppendError::Refused(error)))
    }

    /// Runs the caller's part after the append is written; if it fails, nothing was.
    fn run_then(
        &mut self,
        then: impl FnOnce(&mut Within<'_>) -> Changes,
        tx: &Transaction<'_>,
        first: Position,
    ) -> Result<(), Refusal> {
        let mut names = Names::new();
        let before = Position::new(first.get().saturating_sub(1));
        let mut within = Within { tx, before, head: self.head(), names: &mut names };
        match self.run_inside(tx, || then(&mut within)) {
            Ok(changes) => {
                self.change(changes.iter())?;
                tx.execute_batch("RELEASE log_append")?;
                Ok(())
            }
            Err(Refusal::Alone(error)) => {
                tx.execute_batch("ROLLBACK TO log_append; RELEASE log_append")?;
                self.reload()?;
                Err(Refusal::Alone(error))
            }
            Err(all) => Err(all),
        }
    }

    fn write_stream(&mut self, part: &StreamAppend, head: Option<Head>, now: WallTime) -> Result<Version, Fault> {
        let mut head = match head {
            Some(head) => head,
            None if part.events.is_empty() => return Ok(Version::EMPTY),
            None => {
                let id = self.next_stream;
                self.statements.add_stream.execute(params![id, part.stream.as_str()])?;
                self.next_stream += 1;
                Head { id, version: 0 }
            }
        };
        for event in &part.events {
            head.version += 1;
            self.write_event(head, event, now)?;
        }
        self.streams.insert(part.stream.clone(), head);
        Ok(Version::new(head.version.unsigned_abs()))
    }

    fn write_event(&mut self, head: Head, event: &NewEvent, now: WallTime) -> Result<(), Fault> {
        let kind = self.kind(&event.kind)?;
        let position = self.head + 1;
        let metadata = &event.metadata;
        self.statements.add_event.execute(params![
            position,
            head.id,
            head.version,
            kind,
            to_sql(now.as_unix_millis()),
            join_tags(&event.tags),
            metadata.correlation(),
            metadata.causation(),
            metadata.actor(),
            metadata.tenant(),
            metadata.trace(),
            &*event.payload,
        ])?;
        for tag in &event.tags {
            self.tags.add(tag, position, kind)?;
        }
        self.head = position;
        Ok(())
    }

    fn stream(&mut self, stream: &StreamId) -> rusqlite::Result<Option<Head>> {
        if let Some(head) = self.streams.get(stream) {
            return Ok(Some(head));
        }
        let found = self
            .statements
            .stream
            .query_row([stream.as_str()], |row| Ok(Head { id: row.get(0)?, version: row.get(1)? }));
        let found = found.optional()?;
        if let Some(head) = found {
            self.streams.insert(stream.clone(), head);
        }
        Ok(found)
    }

    fn kind(&mut self, kind: &EventType) -> rusqlite::Result<i64> {
        if let Some(id) = self.kinds.get(kind) {
            return Ok(id);
        }
        let found = self.statements.kind.query_row([kind.as_str()], |row| row.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => {
                let id = self.next_kind;
                self.statements.add_kind.execute(params![id, kind.as_str()])?;
                self.next_kind += 1;
                id
            }
        };
        self.kinds.insert(kind.clone(), id);
        Ok(id)
    }
}
