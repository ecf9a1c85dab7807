//! The tables, and what an existing file must look like.
//!
//! Everything is prefixed `log_`, so that read models live in the same file under names of their own. Nothing here
//! touches `user_version` and `application_id`: those are the application's.
//!
//! The event table is the log: rows are only ever added at its end. Streams go by a number handed out in the order they
//! are first seen, not by name: the entries of streams that are alive at the same time then share a few pages at the end
//! of the stream index, while names (often random) would scatter each append over the whole index, at a page per event
//! written to the WAL. Tags go by number for the same reason.

use rusqlite::{Connection, OptionalExtension};

use super::error::OpenError;

/// The version of the layout below. A file of another version is refused, not guessed at.
pub(super) const VERSION: i64 = 2;

const TABLES: &str = "
CREATE TABLE log_meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;

CREATE TABLE log_stream (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE log_kind (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE log_event (
    position INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL, -- milliseconds since 1970, for people
    tags TEXT,                    -- one a line
    correlation TEXT,
    causation TEXT,
    actor TEXT,
    tenant TEXT,
    trace TEXT,
    payload BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX log_event_stream ON log_event (stream, version);
CREATE INDEX log_event_kind ON log_event (kind);

CREATE TABLE log_tag (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE log_tagged (
    tag INTEGER NOT NULL,
    position INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    PRIMARY KEY (tag, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE log_row (
    space TEXT NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE log_command (
    id TEXT NOT NULL PRIMARY KEY,
    digest INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    versions TEXT NOT NULL        -- version, space, stream; one a line
) STRICT, WITHOUT ROWID;

INSERT INTO log_meta (name, value) VALUES ('version', 2);
";

/// Brings the layout, or checks the one that is there. Must run in a transaction.
pub(super) fn prepare(conn: &Connection) -> Result<(), OpenError> {
    let ours: Option<i64> = conn
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'log_meta'", [], |row| row.get(0))
        .optional()?;
    if ours.is_none() {
        conn.execute_batch(TABLES)?;
        return Ok(());
    }
    let found: Option<i64> =
        conn.query_row("SELECT value FROM log_meta WHERE name = 'version'", [], |row| row.get(0)).optional()?;
    match found {
        Some(VERSION) => Ok(()),
        found => Err(OpenError::Schema { found, supported: VERSION }),
    }
}
