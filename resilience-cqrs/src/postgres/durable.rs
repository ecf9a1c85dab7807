//! What a reader may be shown: nothing that a crash of the server could still take back.
//!
//! Appends commit without waiting for the disk, so for a moment the tables hold what is not durable. The log of the
//! server is flushed in order, so one durable commit after it, of anything, makes all of it durable: that is a barrier.
//! Every answer of the writer waits for one, and what this store knows to be durable is kept here. A reader compares what
//! it sees with that:
//!
//! - It is all durable, as known. The usual case.
//! - What is newer was written by this store, without anybody else in between. Nobody was told of it yet, so the reader
//!   is shown the log up to where it is durable, and waits for nothing.
//! - Somebody else has written. They may have told their caller, so it must be shown, and it may not be durable, so the
//!   reader passes a barrier of its own first, on the connection that it reads with.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use tokio::sync::watch;

use super::error::{Fault, WentBack};
use crate::log::{Corrupt, Position};

/// A durable commit of nothing.
const BARRIER: &str = "SELECT pg_logical_emit_message(true, 'log', '')";

/// The same, unless all is on disk already and no standby has to have it too.
const BARRIER_IF_NEEDED: &str = "SELECT CASE WHEN pg_current_wal_insert_lsn() <= pg_current_wal_flush_lsn()
     AND current_setting('synchronous_standby_names') = '' THEN NULL
     ELSE pg_logical_emit_message(true, 'log', '') END";

/// The columns of the head's row, in the order [`Seen::read`] takes them.
macro_rules! head_columns {
    () => {
        "h.position, h.turn, h.writer, h.since, h.gone"
    };
}
pub(super) use head_columns;

/// Where the log ends, as some snapshot of the database has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) position: Position,
    /// How many transactions have written, events or not.
    pub(super) turn: u64,
    /// The store that wrote last.
    writer: i64,
    /// From which position on it alone has.
    since: Position,
    /// The turn in which a row was last removed.
    pub(super) gone: u64,
}

impl Seen {
    /// From a row that begins with [`head_columns`].
    pub(super) fn read(row: Option<&PgRow>) -> Result<Self, Fault> {
        let row = row.ok_or_else(|| Corrupt::new("the log has no head"))?;
        let number = |column: usize| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        Ok(Self {
            position: Position::new(number(0)?),
            turn: number(1)?,
            writer: row.try_get(2)?,
            since: Position::new(number(3)?),
            gone: number(4)?,
        })
    }

    /// Asks the database.
    pub(super) async fn ask(conn: &mut PgConnection) -> Result<Self, Fault> {
        let select = sqlx::query(concat!("SELECT ", head_columns!(), " FROM log_head AS h"));
        Self::read(select.fetch_optional(conn).await?.as_ref())
    }
}

/// What this store knows to be durable. Only ever grows.
#[derive(Debug)]
pub(super) struct Durable {
    /// The number this store writes under.
    pub(super) me: i64,
    pub(super) head: watch::Sender<Position>,
    turn: AtomicU64,
    /// Set once, if what was known turned out to be gone.
    lost: OnceLock<WentBack>,
}

impl Durable {
    pub(super) fn new(me: i64) -> Self {
        Self { me, head: watch::Sender::new(Position::ORIGIN), turn: AtomicU64::new(0), lost: OnceLock::new() }
    }

    /// Whether what was known is still there, as far as anybody has found.
    pub(super) fn intact(&self) -> Result<(), WentBack> {
        self.lost.get().map_or(Ok(()), |lost| Err(*lost))
    }

    /// What was known is gone; whether that is news.
    pub(super) fn lose(&self, lost: WentBack) -> bool {
        let is_news = self.lost.set(lost).is_ok();
        if is_news {
            // Whoever waits for more must read to be told, and would wait for ever behind a head that has gone back.
            self.head.send_modify(|head| *head = head.next());
        }
        is_news
    }

    pub(super) fn head(&self) -> Position {
        *self.head.borrow()
    }

    /// Up to where it is known to be durable, and by which turn.
    pub(super) fn known(&self) -> (Position, u64) {
        (self.head(), self.turn.load(Ordering::Relaxed)) // As in `covers`.
    }

    /// Whether everything written in this turn and before is durable.
    pub(super) fn covers(&self, turn: u64) -> bool {
        // Relaxed: the number says something about the server's disk and guards no memory of this process.
        turn <= self.turn.load(Ordering::Relaxed)
    }

    /// Everything up to here is durable; those who wait for the head hear of it.
    pub(super) fn advance(&self, head: Position, turn: u64) {
        self.turn.fetch_max(turn, Ordering::Relaxed); // As in `covers`.
        self.head.send_if_modified(|published| {
            let is_later = head > *published;
            if is_later {
                *published = head;
            }
            is_later
        });
    }

    /// Up to which position a reader that has seen this may be shown the log.
    pub(super) async fn bound(&self, conn: &mut PgConnection, seen: Seen) -> Result<Position, Fault> {
        let known = self.head();
        if seen.position <= known {
            return Ok(seen.position);
        }
        if seen.writer == self.me && seen.since <= known {
            return Ok(known);
        }
        self.settle(conn, seen).await?;
        Ok(seen.position)
    }

    /// Makes sure that everything up to this turn is durable.
    pub(super) async fn settle_turn(&self, conn: &mut PgConnection, seen: Seen, turn: u64) -> Result<(), Fault> {
        if self.covers(turn) { Ok(()) } else { self.settle(conn, seen).await }
    }

    /// Makes sure that everything seen is durable.
    pub(super) async fn settle(&self, conn: &mut PgConnection, seen: Seen) -> Result<(), Fault> {
        // The connection is the one it was seen on: had the server crashed in between, it would be gone.
        sqlx::query(BARRIER_IF_NEEDED).execute(conn).await?;
        self.advance(seen.position, seen.turn);
        Ok(())
    }
}

/// Waits until everything that was committed before is durable, if this connection was open then.
pub(super) async fn barrier(conn: &mut PgConnection) -> Result<(), Fault> {
    sqlx::query(BARRIER).execute(conn).await?;
    Ok(())
}
