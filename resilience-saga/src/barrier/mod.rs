//! What a receiver of saga calls puts in front of its own business, in its own transaction.
//!
//! Calls arrive twice, late and in the wrong order. Three mistakes follow, which every receiver would otherwise have to
//! avoid by hand:
//!
//! - *Duplicate*: the answer was lost, the call comes again, and money is taken twice.
//! - *Null compensation*: the "do" never arrived, but the saga cannot know and asks for it to be undone.
//! - *Hanging*: the "do" arrives after its own "undo", takes effect, and nobody will ever undo it.
//!
//! The barrier is one row for each operation, written in the transaction of the business itself, so the two cannot
//! disagree. It keeps the answer, so that a duplicate gets the same one. The scheme is DTM's (`client/dtmcli/barrier.go`),
//! with the answer and a fence added: a call from an owner that has since been replaced is refused.
//!
//! | | the other operation's row | own row | verdict |
//! |---|---|---|---|
//! | do | - | - | [`Run`](Verdict::Run) |
//! | do | - | there | [`Duplicate`](Verdict::Duplicate) |
//! | do | there | any | [`TooLate`](Verdict::TooLate) |
//! | undo | there, took effect | - | [`Run`](Verdict::Run) |
//! | undo | -, or was refused | - | [`NullUndo`](Verdict::NullUndo), and the "do" is blocked from here on |
//! | undo | any | there | [`Duplicate`](Verdict::Duplicate) |
//!
//! ```
//! use resilience_saga::barrier::{self, Answer, Entry};
//! use resilience_saga::{Epoch, IdempotencyKey};
//! use rusqlite::{Connection, Transaction};
//!
//! let mut db = Connection::open_in_memory()?;
//! barrier::create_table(&db)?;
//! db.execute_batch("CREATE TABLE account (cents INTEGER); INSERT INTO account VALUES (100)")?;
//!
//! let charge = |db: &mut Connection, key: &str| {
//!     let key: IdempotencyKey = key.parse().expect("a key as the saga sends it");
//!     barrier::once(db, &key, Epoch(1), |tx: &Transaction<'_>, _op| {
//!         tx.execute("UPDATE account SET cents = cents - 30", ())?;
//!         Ok::<_, rusqlite::Error>(Entry::Applied(b"charge-1".to_vec()))
//!     })
//! };
//! let first = charge(&mut db, "checkout/order-17/charge/do")?;
//! assert_eq!(first, Answer::Applied(b"charge-1".to_vec()));
//! assert_eq!(charge(&mut db, "checkout/order-17/charge/do")?, first);
//! assert_eq!(db.query_row("SELECT cents FROM account", (), |row| row.get::<_, i64>(0))?, 70);
//! # Ok::<(), rusqlite::Error>(())
//! ```

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::kernel::Epoch;
use crate::{IdempotencyKey, Op};

/// Creates the barrier's table, if it does not exist.
///
/// # Errors
///
/// SQLite's own.
pub fn create_table(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS saga_barrier (
            branch TEXT NOT NULL,
            op TEXT NOT NULL,
            state INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            reply BLOB NOT NULL,
            at INTEGER NOT NULL DEFAULT (unixepoch()),
            PRIMARY KEY (branch, op)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX IF NOT EXISTS saga_barrier_at ON saga_barrier (at);",
    )
}

/// Forgets rows older than `age`, at most `limit` at once; how many were forgotten.
///
/// A call that comes after its row was forgotten takes effect once more. Keep rows for longer than any saga may go on
/// trying, an operator's holidays included: weeks, not hours.
///
/// # Errors
///
/// SQLite's own.
pub fn prune(db: &Connection, age: Duration, limit: usize) -> rusqlite::Result<usize> {
    let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    db.execute(
        "DELETE FROM saga_barrier WHERE (branch, op) IN
            (SELECT branch, op FROM saga_barrier WHERE at < unixepoch() - ?1 ORDER BY at LIMIT ?2)",
        params![age, limit],
    )
}

/// What to do about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the business may run only if the verdict says so"]
pub enum Verdict {
    /// Do it, in this transaction, and [`record`] how it went.
    Run,
    /// It was done before. Answer this, and do nothing.
    Duplicate {
        /// The answer of the first time.
        reply: Vec<u8>,
        /// Whether that answer was a refusal.
        refused: bool,
    },
    /// There is nothing to undo, and there will not be: answer that it is undone, and do nothing.
    NullUndo,
    /// The call was undone before it came. Refuse it: a saga that could use the answer is gone.
    TooLate,
    /// The call is from an owner that has since been replaced. Refuse it.
    Stale {
        /// The latest owner seen.
        current: Epoch,
    },
}

/// How far an operation came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RowState {
    Applied = 0,
    Refused = 1,
    /// An undo came first; the operation may not happen any more.
    Blocked = 2,
}

/// Passes a call through the barrier, in the transaction of the business. Whatever the verdict, the caller commits:
/// what the barrier has seen must be as durable as the business.
///
/// `branch` and `op` are the two parts of the idempotency key, see [`IdempotencyKey::branch`]; `epoch` is the fencing
/// token that came with the call. The first statement is a write, so of two transactions at the same branch one waits for
/// the other.
///
/// # Errors
///
/// SQLite's own.
pub fn enter(tx: &Transaction<'_>, branch: &str, op: Op, epoch: Epoch) -> rusqlite::Result<Verdict> {
    let new = insert(tx, branch, op, RowState::Applied, epoch)?;
    let current = latest_epoch(tx, branch)?;
    if current > epoch {
        if new {
            // The row was this call's own and must not be there: the next owner's call would take it for a duplicate.
            tx.execute("DELETE FROM saga_barrier WHERE branch = ?1 AND op = ?2", params![branch, op.as_str()])?;
        }
        return Ok(Verdict::Stale { current });
    }
    if !new {
        raise_epoch(tx, branch, op, epoch)?;
    }
    match op {
        Op::Do => enter_do(tx, branch, new),
        Op::Undo => enter_undo(tx, branch, epoch, new),
    }
}

fn enter_do(tx: &Transaction<'_>, branch: &str, new: bool) -> rusqlite::Result<Verdict> {
    // A "do" without an earlier one cannot have been undone: the undo would have left a row in its place.
    if new {
        return Ok(Verdict::Run);
    }
    if row(tx, branch, Op::Undo)?.is_some() {
        return Ok(Verdict::TooLate);
    }
    Ok(duplicate(row(tx, branch, Op::Do)?))
}

fn enter_undo(tx: &Transaction<'_>, branch: &str, epoch: Epoch, new: bool) -> rusqlite::Result<Verdict> {
    if !new {
        return Ok(duplicate(row(tx, branch, Op::Undo)?));
    }
    match row(tx, branch, Op::Do)? {
        Some((RowState::Applied, _)) => Ok(Verdict::Run),
        Some(_) => Ok(Verdict::NullUndo),
        None => {
            insert(tx, branch, Op::Do, RowState::Blocked, epoch)?;
            Ok(Verdict::NullUndo)
        }
    }
}

fn duplicate(row: Option<(RowState, Vec<u8>)>) -> Verdict {
    match row {
        Some((state, reply)) => Verdict::Duplicate { reply, refused: state == RowState::Refused },
        // Its row was just found to be there, in this transaction.
        None => Verdict::Duplicate { reply: Vec::new(), refused: false },
    }
}

/// Keeps the answer of an operation that ran, for duplicates.
///
/// Give a refusal ("out of stock") as [`Entry::Refused`], and commit it: under this key it then stays refused, as the
/// saga was told, and an undo finds nothing to undo.
///
/// # Errors
///
/// SQLite's own.
pub fn record(tx: &Transaction<'_>, branch: &str, op: Op, entry: &Entry) -> rusqlite::Result<()> {
    let (state, reply) = match entry {
        Entry::Applied(reply) => (RowState::Applied, reply),
        Entry::Refused(reply) => (RowState::Refused, reply),
    };
    tx.execute(
        "UPDATE saga_barrier SET state = ?3, reply = ?4 WHERE branch = ?1 AND op = ?2",
        params![branch, op.as_str(), state as i64, reply],
    )?;
    Ok(())
}

/// How an operation went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It took effect; this is the answer.
    Applied(Vec<u8>),
    /// It was refused for good, without an effect; this is the answer.
    Refused(Vec<u8>),
}

/// What to answer a call that went through [`once`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// It took effect, now or earlier.
    Applied(Vec<u8>),
    /// It was refused, now or earlier.
    Refused(Vec<u8>),
    /// There was nothing to undo.
    NullUndo,
    /// The call was undone before it came.
    TooLate,
    /// The call is from an owner that has since been replaced.
    Stale {
        /// The latest owner seen.
        current: Epoch,
    },
}

/// Runs `business` behind the barrier in a transaction of its own: at most once for each key, whoever calls how often.
///
/// # Errors
///
/// Those of `business`, and then nothing is kept, so the call may come again; and SQLite's own.
pub fn once<E: From<rusqlite::Error>>(
    db: &mut Connection,
    key: &IdempotencyKey,
    epoch: Epoch,
    business: impl FnOnce(&Transaction<'_>, Op) -> Result<Entry, E>,
) -> Result<Answer, E> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (branch, op) = (key.branch(), key.op());
    let answer = match enter(&tx, branch, op, epoch)? {
        Verdict::Run => {
            let entry = business(&tx, op)?;
            record(&tx, branch, op, &entry)?;
            match entry {
                Entry::Applied(reply) => Answer::Applied(reply),
                Entry::Refused(reply) => Answer::Refused(reply),
            }
        }
        Verdict::Duplicate { reply, refused: false } => Answer::Applied(reply),
        Verdict::Duplicate { reply, refused: true } => Answer::Refused(reply),
        Verdict::NullUndo => Answer::NullUndo,
        Verdict::TooLate => Answer::TooLate,
        Verdict::Stale { current } => Answer::Stale { current },
    };
    tx.commit()?;
    Ok(answer)
}

/// Whether the row was new.
fn insert(tx: &Transaction<'_>, branch: &str, op: Op, state: RowState, epoch: Epoch) -> rusqlite::Result<bool> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO saga_barrier (branch, op, state, epoch, reply) VALUES (?1, ?2, ?3, ?4, x'')
            ON CONFLICT DO NOTHING",
    )?;
    Ok(insert.execute(params![branch, op.as_str(), state as i64, sql_epoch(epoch)])? > 0)
}

fn row(tx: &Transaction<'_>, branch: &str, op: Op) -> rusqlite::Result<Option<(RowState, Vec<u8>)>> {
    let mut select = tx.prepare_cached("SELECT state, reply FROM saga_barrier WHERE branch = ?1 AND op = ?2")?;
    let found = select.query_row(params![branch, op.as_str()], |row| {
        let state = match row.get::<_, i64>(0)? {
            0 => RowState::Applied,
            1 => RowState::Refused,
            _ => RowState::Blocked,
        };
        Ok((state, row.get(1)?))
    });
    found.optional()
}

/// The latest owner seen at any step of the branch's saga.
///
/// The rows of a saga are those that begin with its id and a slash; `0` is the character after the slash. Ids that begin
/// alike may bring in the rows of another saga of the same engine, whose owner is the same.
fn latest_epoch(tx: &Transaction<'_>, branch: &str) -> rusqlite::Result<Epoch> {
    let saga = branch.rsplit_once('/').map_or(branch, |(saga, _)| saga);
    let mut select = tx.prepare_cached(
        "SELECT coalesce(max(epoch), 0) FROM saga_barrier WHERE branch >= ?1 || '/' AND branch < ?1 || '0'",
    )?;
    let epoch: i64 = select.query_row(params![saga], |row| row.get(0))?;
    Ok(Epoch(u64::try_from(epoch).unwrap_or_default()))
}

fn raise_epoch(tx: &Transaction<'_>, branch: &str, op: Op, epoch: Epoch) -> rusqlite::Result<()> {
    let mut update =
        tx.prepare_cached("UPDATE saga_barrier SET epoch = ?3 WHERE branch = ?1 AND op = ?2 AND epoch < ?3")?;
    update.execute(params![branch, op.as_str(), sql_epoch(epoch)])?;
    Ok(())
}

/// SQLite's integers are signed; no owner is ever the 2^63rd.
fn sql_epoch(epoch: Epoch) -> i64 {
    i64::try_from(epoch.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
