//! Streams that are asked for at the same time are read together.
//!
//! What group commit is to appends: commands that load their aggregates side by side share round trips. There is no wait
//! for company. A load that finds a reader free goes at once; who comes while all are on their way goes with the next, in
//! one statement.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};
use tokio::sync::oneshot;

use super::durable::Durable;
use super::error::Fault;
use super::{Shared, read};
use crate::log::limits::PAGE_EVENTS;
use crate::log::{ReadError, Recorded, StreamId, Version};

/// Statements on their way at once: while the server works on one, the program works on the other. More of them would be
/// shorter ones, and take connections from other reads.
const MOST: u32 = 2;

/// A stream to be read from a version on, at most so many events.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) stream: StreamId,
    pub(super) after: Version,
    pub(super) limit: usize,
}

type Answer = oneshot::Sender<Result<Vec<Recorded>, ReadError>>;

#[derive(Debug, Default)]
pub(super) struct Loads(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Load, Answer)>,
    /// Readers on their way.
    running: u32,
}

impl Loads {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a stream, on the store's runtime, whatever executor asks.
pub(super) async fn stream(shared: &Arc<Shared>, load: Load) -> Result<Vec<Recorded>, ReadError> {
    let (answer, answered) = oneshot::channel();
    let starts = {
        let mut state = shared.loads.state();
        state.waiting.push_back((load, answer));
        let starts = state.running < MOST.min(shared.readers);
        state.running += u32::from(starts);
        starts
    };
    if starts {
        shared.runtime.spawn(Reader { shared: shared.clone(), is_done: false }.run());
    }
    // Nobody is left to answer when the runtime has ended.
    answered.await.unwrap_or(Err(ReadError::Closed))
}

/// Why a statement brought nothing.
enum Failed {
    /// The server had something against what it was asked.
    Refused(ReadError),
    /// It could not be asked.
    Lost(ReadError),
}

impl Failed {
    fn into_error(self) -> ReadError {
        match self {
            Self::Refused(error) | Self::Lost(error) => error,
        }
    }
}

/// Reads for as long as somebody waits.
struct Reader {
    shared: Arc<Shared>,
    is_done: bool,
}

impl Reader {
    async fn run(mut self) {
        loop {
            // An answer to a batch wakes many who go on to load: whoever is ready comes first, so that they go together.
            tokio::task::yield_now().await;
            let Some(batch) = self.next() else { return };
            let (loads, answers): (Vec<Load>, Vec<Answer>) = batch.into_iter().unzip();
            match self.read(&loads).await {
                Ok(all) => answers.into_iter().zip(all).for_each(|(answer, events)| _ = answer.send(Ok(events))),
                // One of them may name what the server cannot even compare with: that is not its neighbours' error.
                Err(Failed::Refused(_)) if loads.len() > 1 => {
                    for (load, answer) in loads.into_iter().zip(answers) {
                        let events = self.read(std::slice::from_ref(&load)).await;
                        let events = events.map(|mut all| all.pop().unwrap_or_default());
                        let _ = answer.send(events.map_err(Failed::into_error));
                    }
                }
                Err(failed) => {
                    let error = failed.into_error();
                    answers.into_iter().for_each(|answer| _ = answer.send(Err(error.clone())));
                }
            }
        }
    }

    /// Those who wait, as many as have no more events than a page; none, and this reader has ended.
    fn next(&mut self) -> Option<Vec<(Load, Answer)>> {
        let mut state = self.shared.loads.state();
        let (mut batch, mut events) = (Vec::new(), 0_usize);
        while let Some((load, answer)) = state.waiting.pop_front() {
            if answer.is_closed() {
                continue; // Given up while it waited.
            }
            events = events.saturating_add(load.limit);
            if events > PAGE_EVENTS && !batch.is_empty() {
                state.waiting.push_front((load, answer));
                break;
            }
            batch.push((load, answer));
        }
        if batch.is_empty() {
            // Under the lock that found nobody: who comes from now on starts another.
            state.running -= 1;
            self.is_done = true;
            return None;
        }
        Some(batch)
    }

    /// Over another connection, if the first was gone: each of the pool's may have gone with a server that is back by now.
    async fn read(&self, loads: &[Load]) -> Result<Vec<Vec<Recorded>>, Failed> {
        let mut attempt = 1;
        loop {
            let mut conn = self.connection().await.map_err(|fault| match fault {
                Fault::Database(sqlx::Error::PoolClosed) => Failed::Lost(ReadError::Closed),
                fault => Failed::Lost(fault.into()),
            })?;
            match shown(&mut conn, &self.shared.durable, loads).await {
                Ok(all) => return Ok(all),
                Err(fault) if !fault.loses_connection() => return Err(Failed::Refused(fault.into())),
                Err(_) if attempt <= self.shared.readers => attempt += 1,
                Err(fault) => return Err(Failed::Lost(fault.into())),
            }
        }
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, Fault> {
        self.shared.durable.intact()?;
        let conn = self.shared.pool.acquire().await?;
        self.shared.durable.intact()?; // It may have been found out over this very connection.
        Ok(conn)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.is_done {
            // The runtime ends: nobody else will read for those who wait.
            let mut state = self.shared.loads.state();
            state.running -= 1;
            if state.running == 0 {
                state.waiting.clear();
            }
        }
    }
}

/// Reads streams in one statement, as far as they may be shown.
pub(super) async fn shown(
    conn: &mut PgConnection,
    durable: &Durable,
    loads: &[Load],
) -> Result<Vec<Vec<Recorded>>, Fault> {
    let (seen, mut all) = match loads {
        // For one there is a simpler statement.
        [Load { stream, after, limit }] => {
            let (seen, events) = read::stream(conn, stream.as_str(), *after, *limit).await?;
            (seen, vec![events])
        }
        loads => read::streams(conn, loads).await?,
    };
    let bound = durable.bound(conn, seen).await?;
    all.iter_mut().for_each(|events| events.retain(|event| event.position <= bound));
    Ok(all)
}
