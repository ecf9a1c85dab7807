//! Reads from a standby, as far as it has come: see [`Replica`].

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use resilience_core::time::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres};

use super::error::{Fault, OpenError};
use super::{PostgresStore, open, read, schema};
use crate::log::{
    Append, AppendError, Appended, CommandId, Committed, Position, Query, ReadError, Recorded, StreamId, Version,
};
use crate::store::{EventStore, Page};

/// Sets up a [`Replica`].
///
/// ```no_run
/// use std::time::Duration;
/// use resilience_cqrs::PostgresStore;
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::open("postgres://bank@primary/bank").await?;
/// let replica = store
///     .replica()
///     .patience(Duration::from_millis(50)) // then the primary is asked: a slow standby costs that, and no more
///     .pause(Duration::from_secs(10))
///     .open("postgres://bank@standby/bank")?; // connects when it is first asked
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ReplicaBuilder {
    store: PostgresStore,
    connections: NonZeroU32,
    patience: Duration,
    pause: Duration,
}

impl ReplicaBuilder {
    pub(super) fn new(store: PostgresStore) -> Self {
        Self {
            store,
            connections: NonZeroU32::new(4).unwrap_or(NonZeroU32::MIN),
            patience: Duration::from_millis(250),
            pause: Duration::from_secs(1),
        }
    }

    /// How many connections to the standby there may be.
    #[must_use]
    pub fn connections(mut self, connections: NonZeroU32) -> Self {
        self.connections = connections;
        self
    }

    /// How long a read waits for the standby before it asks the primary.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How long a standby that did not answer is not asked again.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Reads from the standby at `url`. It need not be there yet.
    ///
    /// # Errors
    /// [`OpenError::Url`].
    pub fn open(self, url: &str) -> Result<Replica, OpenError> {
        open::check_scheme(url)?;
        let mut options = PgConnectOptions::from_str(url).map_err(OpenError::Url)?;
        if let Some(name) = &self.store.shared.schema {
            options = schema::within(options, name);
        }
        let _within = self.store.shared.runtime.enter(); // Where the pool's own tasks run, whoever asks.
        let pool = PgPoolOptions::new().max_connections(self.connections.get()).acquire_timeout(self.patience);
        let standby = Standby {
            pool: pool.connect_lazy_with(options),
            patience: self.patience,
            pause: self.pause,
            again: AtomicU64::new(0),
            by_standby: AtomicU64::new(0),
            by_primary: AtomicU64::new(0),
        };
        Ok(Replica { store: self.store, standby: Arc::new(standby), at_least: None, rows: Arc::default() })
    }
}

/// A store that reads from a standby where that is new enough.
///
/// A standby repeats the primary's log a moment later, so it can take reads off the primary that may be a moment old:
/// catching up a projection, an export, a page of a history. It must not take those that may not, and "a moment" can be an
/// hour. So each read says how new it must be, and goes to the standby only if that has come so far; if it has not, or
/// does not answer, the primary is asked.
///
/// ```no_run
/// use resilience_cqrs::projection::{Projection, ProjectionRunner};
/// use resilience_cqrs::{EventStore, Position, PostgresStore, Query};
///
/// # async fn run(census: impl Projection) -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::open("postgres://bank@primary/bank").await?;
/// let replica = store.replica().open("postgres://bank@standby/bank")?;
/// // Reads where the projection is behind come from the standby, its writes go to the primary.
/// let running = ProjectionRunner::builder(replica.clone(), census).start();
/// // Somebody comes with the position of their last write, and must find it.
/// let page = replica.at_least(Position::new(4_711)).read(Position::ORIGIN, &Query::all(), 100).await?;
/// # Ok(()) }
/// ```
///
/// # How new
///
/// By default a read is at least as new as the [head](EventStore::head) this process knows of: it reads its own writes,
/// and those it has heard of. [`at_least`](Replica::at_least) says otherwise, and its rows still never go back. A page of the log is asked for less: its
/// [`next`](Page::next) says how far it goes, so it may come from a standby that is behind, as long as that is past the
/// page's beginning; a reader that goes by `next`, as it must, goes on with the primary where the standby ends.
///
/// A standby shows no more than the primary has vouched for, so what was shown survives that another standby is promoted,
/// if that is [synchronous](#when-the-primary-is-lost).
///
/// # Defaults
///
/// | setting | default | why |
/// |---|---|---|
/// | [`connections`](ReplicaBuilder::connections) | 4 | as the store's own readers |
/// | [`patience`](ReplicaBuilder::patience) | 250 ms | longer than a page takes, shorter than anybody waits |
/// | [`pause`](ReplicaBuilder::pause) | 1 s | a standby that does not answer costs one read a second its patience |
///
/// # When the primary is lost
///
/// A standby that is promoted (`SELECT pg_promote()`) is a primary: open a store on it, and everything goes on from what it
/// has; checkpoints are in the same log and are as old as it is. What it has not received is lost, acknowledged or not,
/// unless it was named in the primary's `synchronous_standby_names`: then each acknowledgement, and each barrier before
/// something is shown, waits for the standby too. Readers outside the database may otherwise have seen positions that the
/// new primary gives to other events; a store that finds its way to the new primary by the same address
/// [says so and stops](super#when-the-log-goes-back). The old primary must not come back as one: whatever promotes has to see to that.
///
/// Appends go to the primary, and so does everything the standby cannot answer. Clones share connections and counts.
#[derive(Clone)]
pub struct Replica {
    store: PostgresStore,
    standby: Arc<Standby>,
    at_least: Option<Position>,
    /// The last turn whose rows were seen or made through this and its clones.
    rows: Arc<AtomicU64>,
}

struct Standby {
    pool: PgPool,
    patience: Duration,
    pause: Duration,
    /// When it may be asked again, after it did not answer.
    again: AtomicU64,
    by_standby: AtomicU64,
    by_primary: AtomicU64,
}

/// Who has answered reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaCounts {
    /// Reads that the standby answered.
    pub by_standby: u64,
    /// Reads for which the standby was too old, or not there.
    pub by_primary: u64,
}

impl Replica {
    /// The same, for reads that are at least as new as `position`, and need not be newer: [`Position::ORIGIN`] is content
    /// with any age.
    ///
    /// Rows do not go back: who has read or written some through what this returns, or a clone of it, is shown none that
    /// are older. So a projection whose events may be of any age goes on from its own rows.
    #[must_use]
    pub fn at_least(&self, position: Position) -> Self {
        Self { at_least: Some(position), rows: Arc::default(), ..self.clone() }
    }

    /// Who has answered reads so far, of all clones.
    ///
    /// ```no_run
    /// use resilience_cqrs::postgres::Replica;
    ///
    /// # fn watch(replica: &Replica) {
    /// let counts = replica.counts();
    /// // A standby that is mostly too old takes nothing off the primary.
    /// let share = counts.by_standby as f64 / (counts.by_standby + counts.by_primary).max(1) as f64;
    /// println!("{share:.2} of the reads are the standby's");
    /// # }
    /// ```
    pub fn counts(&self) -> ReplicaCounts {
        // Relaxed: counts, read by people.
        ReplicaCounts {
            by_standby: self.standby.by_standby.load(Ordering::Relaxed),
            by_primary: self.standby.by_primary.load(Ordering::Relaxed),
        }
    }

    /// The store on the primary.
    pub fn primary(&self) -> &PostgresStore {
        &self.store
    }

    /// How new a read must be, and up to where the primary has vouched for the log.
    fn floor(&self) -> (Position, Position) {
        let known = self.store.head();
        let floor = self.at_least.unwrap_or(known);
        // Who has a position has been told of it, so it is durable.
        (floor, known.max(floor))
    }

    /// Whether rows that were last changed in this turn are durable, and as new as a read of rows must be.
    fn has_rows(&self, turn: u64, seen: u64) -> bool {
        let (_, known) = self.store.shared.durable.known();
        // Relaxed: a number that says how new something must be, read by whoever was answered before.
        let floor = if self.at_least.is_some() { self.rows.load(Ordering::Relaxed) } else { known };
        let shows = turn <= known && seen >= floor;
        if shows {
            self.rows.fetch_max(seen, Ordering::Relaxed);
        }
        shows
    }

    /// The primary has answered, or taken something: what it told of is known to be durable by now.
    fn keep_up(&self) {
        let (_, known) = self.store.shared.durable.known();
        self.rows.fetch_max(known, Ordering::Relaxed); // As in `has_rows`.
    }

    /// What the standby answers, if it does and may.
    async fn ask<T, F>(&self, read: impl FnOnce(PoolConnection<Postgres>) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<Option<T>, Fault>> + Send + 'static,
    {
        let shared = &self.store.shared;
        shared.durable.intact().ok()?; // The primary tells.
        let now = since_start(shared.timer.now());
        // Relaxed: a hint. Some reads more may find out for themselves.
        if now < self.standby.again.load(Ordering::Relaxed) {
            return None;
        }
        let pool = self.standby.pool.clone();
        // On the store's runtime, whatever executor asks.
        let connection = shared.runtime.spawn(async move { pool.acquire().await });
        let patience = shared.timer.sleep(self.standby.patience);
        let asking = async move {
            let connection = connection.await.map_err(|_| sqlx::Error::PoolClosed)??;
            shared.runtime.spawn(read(connection)).await.map_err(|_| sqlx::Error::PoolClosed)?
        };
        match select(pin!(asking), patience).await {
            Either::Left((Ok(found), _)) => found,
            // It is replaying something that the read stood in the way of; the next read may be luckier.
            Either::Left((Err(fault), _)) if !fault.loses_connection() => None,
            Either::Left((Err(_), _)) | Either::Right(_) => {
                let pause = u64::try_from(self.standby.pause.as_nanos()).unwrap_or(u64::MAX);
                self.standby.again.store(now.saturating_add(pause), Ordering::Relaxed); // A hint, as above.
                None
            }
        }
    }

    fn count<T>(&self, answer: Option<T>) -> Option<T> {
        let count = if answer.is_some() { &self.standby.by_standby } else { &self.standby.by_primary };
        count.fetch_add(1, Ordering::Relaxed); // As in `counts`.
        answer
    }
}

fn since_start(now: Timestamp) -> u64 {
    u64::try_from(now.since(Timestamp::default()).as_nanos()).unwrap_or(u64::MAX)
}

impl EventStore for Replica {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let result = self.store.append(append).await;
        self.keep_up(); // A conflict tells of rows, too.
        result
    }

    /// Asked before something is done a second time: always the primary.
    async fn committed(&self, command: &CommandId) -> Result<Option<Committed>, ReadError> {
        self.store.committed(command).await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<Page, ReadError> {
        let (_, vouched) = self.floor();
        let wanted = query.clone();
        let page = self.ask(async move |mut conn| {
            let draw = read::draw(&mut conn, after, &wanted, limit).await?;
            let bound = draw.seen.position.min(vouched);
            // No step forward is no answer, unless there is none to make.
            let answers = bound > after || bound == vouched;
            Ok(answers.then(|| Page { head: vouched, ..draw.page(after, bound) }))
        });
        match self.count(page.await) {
            Some(page) => Ok(page),
            None => self.store.read(after, query, limit).await,
        }
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        let (floor, vouched) = self.floor();
        let wanted = stream.clone();
        let events = self.ask(async move |mut conn| {
            let (seen, mut events) = read::stream(&mut conn, wanted.as_str(), after, limit).await?;
            events.retain(|event| event.position <= vouched);
            Ok((seen.position >= floor).then_some(events))
        });
        match self.count(events.await) {
            Some(events) => Ok(events),
            None => self.store.read_stream(stream, after, limit).await,
        }
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let (floor, _) = self.floor();
        let wanted = (space.to_owned(), key.to_owned());
        let this = self.clone();
        let value = self.ask(async move |mut conn| {
            let (seen, turn, value) = read::row(&mut conn, &wanted.0, &wanted.1).await?;
            Ok((seen.position >= floor && this.has_rows(turn, seen.turn)).then_some(value))
        });
        match self.count(value.await) {
            Some(value) => Ok(value),
            None => {
                let value = self.store.row(space, key).await;
                self.keep_up();
                value
            }
        }
    }

    async fn rows(&self, space: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let (floor, _) = self.floor();
        let wanted = (space.to_owned(), after.map(<[u8]>::to_owned));
        let this = self.clone();
        let rows = self.ask(async move |mut conn| {
            let (seen, turn, rows) = read::rows(&mut conn, &wanted.0, wanted.1.as_deref(), limit).await?;
            Ok((seen.position >= floor && this.has_rows(turn, seen.turn)).then_some(rows))
        });
        match self.count(rows.await) {
            Some(rows) => Ok(rows),
            None => {
                let rows = self.store.rows(space, after, limit).await;
                self.keep_up();
                rows
            }
        }
    }

    fn head(&self) -> Position {
        self.store.head()
    }

    async fn wait_past(&self, position: Position) -> Position {
        self.store.wait_past(position).await
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, at_least, .. } = self;
        let counts = self.counts();
        f.debug_struct("Replica")
            .field("store", store)
            .field("at_least", at_least)
            .field("counts", &counts)
            .finish_non_exhaustive()
    }
}
