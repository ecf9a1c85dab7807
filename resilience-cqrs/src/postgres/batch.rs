//! Some appends in one transaction.
//!
//! Usually every append of a batch is accepted, and then it is one round trip: the server locks the head, looks, writes
//! and commits. If one cannot be accepted, the server says what it found, the appends are judged by that, and those that
//! are accepted are written, if nobody has written in between. If somebody has, it is done once more in a transaction
//! that keeps the lock throughout.

use resilience_core::time::WallTime;
use sqlx::{Connection, PgConnection};

use super::alone::{self, Memory, Tried};
use super::call::{self, Facts, How};
use super::draft::Draft;
use super::error::Fault;
use super::judge::judge;
use crate::log::{Append, AppendError, Appended, Corrupt, Position, Written};

/// What came of a batch.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) results: Vec<Result<Appended, AppendError>>,
    /// The head afterwards.
    pub(super) head: Position,
    /// The events that were added.
    pub(super) events: u64,
    /// The last turn that the results tell of.
    pub(super) turn: u64,
    /// Whether it wrote, or only looked.
    pub(super) wrote: bool,
}

impl Done {
    /// What its callers are told if nobody knows any more whether what it wrote, or saw, is there to stay. A repeated
    /// command writes nothing and yet is in the log.
    pub(super) fn unless_durable(&self) -> Written {
        if self.wrote || self.results.iter().any(Result::is_ok) { Written::Unknown } else { Written::No }
    }
}

/// A batch that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) fault: Fault,
    /// Whether it may have been committed all the same, should the connection be lost.
    pub(super) written: Written,
}

fn before(fault: impl Into<Fault>) -> Failed {
    Failed { fault: fault.into(), written: Written::No }
}

fn unknown(fault: impl Into<Fault>) -> Failed {
    Failed { fault: fault.into(), written: Written::Unknown }
}

/// Judges, writes and commits. `lazily` does not wait for the disk; then the results must, before anybody sees them.
pub(super) async fn commit(
    conn: &mut PgConnection,
    appends: &[&Append],
    memory: &mut Memory,
    (me, lazily): (i64, bool),
    now: WallTime,
) -> Result<Done, Failed> {
    let how = How { me, guard: None, lazily: Some(lazily) };
    let facts = match Draft::plan(appends, now) {
        Some(draft) => {
            let facts = match alone::append(conn, &draft, memory, (me, lazily)).await.map_err(unknown)? {
                Tried::Told(facts) => facts,
                Tried::Otherwise => call::append(conn, &draft, how).await.map_err(unknown)?,
            };
            if facts.written {
                return Ok(planned(&draft, &facts));
            }
            facts
        }
        None => call::append(conn, &Draft::question(appends), how).await.map_err(before)?,
    };
    if let Some(done) = judged(conn, appends, facts, how, now).await.map_err(unknown)? {
        return Ok(done);
    }
    // Somebody has written meanwhile.
    let mut tx = conn.begin().await.map_err(before)?;
    let how = How { lazily: lazily.then_some(true), ..how };
    let done = within(&mut tx, appends, how, now).await.map_err(before)?;
    tx.commit().await.map_err(unknown)?;
    Ok(done)
}

/// Judges and writes in the transaction that is open on this connection; the lock stays until its end.
pub(super) async fn within(
    conn: &mut PgConnection,
    appends: &[&Append],
    how: How,
    now: WallTime,
) -> Result<Done, Fault> {
    let draft = Draft::plan(appends, now).unwrap_or_else(|| Draft::question(appends));
    // A row that is not there cannot be locked: a transaction beside the log may put it in after the look, and what was
    // judged is judged again. It was locked when it was found there, so each does that once.
    let rows = appends.iter().map(|append| append.conditions().len()).sum::<usize>();
    for _ in 0..=rows {
        let facts = call::append(conn, &draft, how).await?;
        if facts.written {
            return Ok(planned(&draft, &facts));
        }
        if let Some(done) = judged(conn, appends, facts, how, now).await? {
            return Ok(done);
        }
    }
    Err(Corrupt::new("the log moved under its lock").into())
}

fn planned(draft: &Draft<'_>, facts: &Facts) -> Done {
    let events = draft.events.len() as u64;
    Done {
        results: draft.outcomes(facts.base, &facts.versions).into_iter().map(Ok).collect(),
        head: facts.base.plus(events),
        events,
        turn: facts.turn,
        wrote: draft.writes(),
    }
}

/// Judges each append by the facts and writes what is accepted; `None` if somebody else has written since, or changed a
/// row.
async fn judged(
    conn: &mut PgConnection,
    appends: &[&Append],
    facts: Facts,
    how: How,
    now: WallTime,
) -> Result<Option<Done>, Fault> {
    let judgement = judge(conn, appends, &facts, now).await?;
    let mut done = Done { results: judgement.results, head: facts.base, events: 0, turn: facts.turn, wrote: false };
    if judgement.accepted.is_empty() {
        return Ok(Some(done));
    }
    let draft = Draft::judged(&judgement.accepted, now)
        .ok_or_else(|| Corrupt::new("what was accepted one by one does not go together"))?;
    let written = call::append(conn, &draft, How { guard: Some(facts.turn), ..how }).await?;
    done.events = draft.events.len() as u64;
    done.head = facts.base.plus(done.events);
    done.turn = written.turn;
    done.wrote = draft.writes();
    Ok(written.written.then_some(done))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that is repeated is found to be in the log, and the connection is lost before that is known to be durable:
    /// it may be there.
    #[test]
    fn what_was_only_seen_may_be_there_to_stay() {
        let done = |results| Done { results, head: Position::ORIGIN, events: 0, turn: 1, wrote: false };
        let at = Position::new(1);
        let seen = Appended { first: at, last: at, versions: Vec::new(), already_committed: true };
        assert_eq!(done(vec![Err(AppendError::Full), Ok(seen)]).unless_durable(), Written::Unknown);
        assert_eq!(done(vec![Err(AppendError::Full)]).unless_durable(), Written::No);
    }
}
