//! Read models in tables of your own, in the store's file.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{ErrorCode, Transaction};

use super::apply::{Step, StepError, describe, sealed};
use super::park::{Parking, set_apart, storable};
use crate::log::{Append, AppendError, BoxError, Query, Recorded, RowChange};
use crate::sqlite::SqliteStore;

/// A read model kept in SQL tables of its own, in the same file and the same transaction as its checkpoint.
///
/// ```
/// use resilience_cqrs::projection::{ProjectionRunner, SqlProjection};
/// use resilience_cqrs::{Append, BoxError, EventStore, Expected, NewEvent, Query, Recorded, SqliteStore};
/// use rusqlite::Transaction;
///
/// struct Balances;
///
/// impl SqlProjection for Balances {
///     fn name(&self) -> &str {
///         "balances@1"
///     }
///
///     fn query(&self) -> Query {
///         Query::types(["Deposited"])
///     }
///
///     fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
///         Ok(tx.execute_batch("CREATE TABLE IF NOT EXISTS balance (account TEXT PRIMARY KEY, cents INTEGER)")?)
///     }
///
///     fn apply(&self, event: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
///         let cents: i64 = std::str::from_utf8(&event.payload)?.parse()?;
///         let mut upsert = tx.prepare_cached(
///             "INSERT INTO balance VALUES (?1, ?2) ON CONFLICT DO UPDATE SET cents = cents + excluded.cents",
///         )?;
///         upsert.execute((event.stream.as_str(), cents))?;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let store = SqliteStore::open(directory.path().join("bank.db")).await?;
/// let running = ProjectionRunner::sql(store.clone(), Balances).start();
/// let deposit = Append::new().events("account-1", Expected::Any, [NewEvent::new("Deposited", "500")]);
/// let done = store.append(deposit).await?;
/// running.at_least(done.last, std::time::Duration::from_secs(5)).await?;
/// let cents: i64 = store.read_sql(|db| db.query_row("SELECT cents FROM balance", [], |row| row.get(0))).await?;
/// assert_eq!(cents, 500);
/// running.stop().await?;
/// # store.close().await;
/// # Ok(()) }
/// ```
pub trait SqlProjection: Send + Sync + 'static {
    /// Its name, which its checkpoint goes by. A model that is to be built anew gets a new one, and new tables.
    fn name(&self) -> &str;

    /// The events it is made of. Others do not reach it, and its checkpoint moves past them.
    fn query(&self) -> Query;

    /// What must be taken in in order: when an event cannot be, later ones of the same key wait. By default its stream.
    fn key(&self, event: &Recorded) -> String {
        event.stream.as_str().to_owned()
    }

    /// Makes its tables, if they are not there. Run at the start of each runner.
    ///
    /// # Errors
    /// Any: the runner tries again later.
    fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
        let _ = tx;
        Ok(())
    }

    /// Takes in one event.
    ///
    /// Runs on the store's writer thread, for a batch at a time, and everybody's appends wait meanwhile: statements on its
    /// own tables, no waiting. Called again for the same event when the batch could not be committed, or when a later
    /// event of the batch failed, with what the first call changed undone.
    ///
    /// # Errors
    /// Any: the event is parked, with its own changes undone. A panic counts as one. That the disk is full, or the medium
    /// fails, is not the event's fault: then the whole batch is tried again.
    fn apply(&self, event: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError>;

    /// Takes in a whole batch: by default its events one after the other.
    ///
    /// Override it with statements about many rows where that is faster. The effect must be that of
    /// [`apply`](Self::apply) on each event in order, for after an error the batch is undone and taken in event by event.
    ///
    /// ```
    /// # use resilience_cqrs::projection::{ProjectionRunner, SqlProjection};
    /// # use resilience_cqrs::{Append, BoxError, EventStore, Expected, NewEvent, Query, Recorded, SqliteStore};
    /// # use rusqlite::Transaction;
    /// # use std::collections::HashMap;
    /// # struct Balances;
    /// # impl SqlProjection for Balances {
    /// #     fn name(&self) -> &str { "balances@1" }
    /// #     fn query(&self) -> Query { Query::types(["Deposited"]) }
    /// #     fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
    /// #         Ok(tx.execute_batch("CREATE TABLE IF NOT EXISTS balance (account TEXT PRIMARY KEY, cents INTEGER)")?)
    /// #     }
    /// #     fn apply(&self, event: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
    /// #         self.apply_all(std::slice::from_ref(event), tx)
    /// #     }
    /// /// One statement for each account, however many deposits it had.
    /// fn apply_all(&self, events: &[Recorded], tx: &Transaction<'_>) -> Result<(), BoxError> {
    ///     let mut sums = HashMap::<&str, i64>::new();
    ///     for event in events {
    ///         *sums.entry(event.stream.as_str()).or_default() += std::str::from_utf8(&event.payload)?.parse::<i64>()?;
    ///     }
    ///     let add = "INSERT INTO balance VALUES (?1, ?2) ON CONFLICT DO UPDATE SET cents = cents + excluded.cents";
    ///     let mut add = tx.prepare_cached(add)?;
    ///     sums.into_iter().try_for_each(|sum| Ok(add.execute(sum).map(drop)?))
    /// }
    /// # }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let store = SqliteStore::open(directory.path().join("bank.db")).await?;
    /// # let thousand = (0..1000).map(|_| NewEvent::new("Deposited", "5"));
    /// # store.append(Append::new().events("account-1", Expected::Any, thousand)).await?;
    /// # let running = ProjectionRunner::sql(store.clone(), Balances).start();
    /// # running.at_least(store.head(), std::time::Duration::from_secs(60)).await?;
    /// # let cents: i64 = store.read_sql(|db| db.query_row("SELECT cents FROM balance", [], |row| row.get(0))).await?;
    /// # assert_eq!(cents, 5000);
    /// # running.stop().await?;
    /// # store.close().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Any, as [`apply`](Self::apply).
    fn apply_all(&self, events: &[Recorded], tx: &Transaction<'_>) -> Result<(), BoxError> {
        events.iter().try_for_each(|event| self.apply(event, tx))
    }
}

/// A [`SqlProjection`], as the runner sees it.
#[derive(Debug)]
pub struct Sql<P>(pub(super) Arc<P>);

impl<P> Clone for Sql<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: SqlProjection> sealed::Sealed<SqliteStore> for Sql<P> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn query(&self) -> Query {
        self.0.query()
    }

    fn key(&self, event: &Recorded) -> String {
        self.0.key(event)
    }

    async fn prepare(&self, store: &SqliteStore) -> Result<(), AppendError> {
        let projection = self.0.clone();
        let done = store.append_with(Append::new(), move |tx| projection.prepare(tx)).await;
        done.map(|_| ())
    }

    async fn step(&self, store: &SqliteStore, step: Step) -> Result<Vec<Parking>, StepError> {
        let Step { events, held, attempts, advance, rows } = step;
        let projection = self.0.clone();
        let parked = Arc::new(Mutex::new(Vec::new()));
        let result = parked.clone();
        let inside = move |tx: &Transaction<'_>| -> Result<Vec<RowChange>, BoxError> {
            let parked = take_in(&*projection, tx, events, &held, attempts)?;
            let rows = parked.iter().map(|parking| parking.write(projection.name())).collect();
            *result.lock().unwrap_or_else(PoisonError::into_inner) = parked;
            Ok(rows)
        };
        store.append_with_rows(Append::from(&advance).rows(rows), inside).await?;
        Ok(std::mem::take(&mut *parked.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Takes in a batch: all at once if nothing fails, event by event otherwise.
///
/// A savepoint an event costs as much as a simple statement, so it is left to the batches that need it.
fn take_in<P: SqlProjection>(
    projection: &P,
    tx: &Transaction<'_>,
    events: Vec<Recorded>,
    held: &HashSet<String>,
    attempts: u32,
) -> Result<Vec<Parking>, BoxError> {
    let (mut parked, events) = set_apart(events, held, |event| projection.key(event));
    if events.is_empty() {
        return Ok(parked);
    }
    tx.execute_batch("SAVEPOINT batch")?;
    match guarded(|| projection.apply_all(&events, tx)) {
        Ok(()) => {
            tx.execute_batch("RELEASE batch")?;
            return Ok(parked);
        }
        Err(failure) => {
            failure.unless_of_the_event(tx)?;
            tx.execute_batch("ROLLBACK TO batch; RELEASE batch")?;
        }
    }
    let mut failed = HashSet::new();
    for event in &events {
        let key = storable(projection.key(event));
        if failed.contains(&key) {
            parked.push(Parking::behind(key, event.position));
            continue;
        }
        tx.execute_batch("SAVEPOINT event")?;
        match guarded(|| projection.apply(event, tx)) {
            Ok(()) => tx.execute_batch("RELEASE event")?,
            Err(failure) => {
                let error = failure.unless_of_the_event(tx)?;
                tx.execute_batch("ROLLBACK TO event; RELEASE event")?;
                failed.insert(key.clone());
                parked.push(Parking::failed(key, event.position, attempts + 1, &error));
            }
        }
    }
    Ok(parked)
}

enum Failure {
    Error(BoxError),
    Panic,
}

fn guarded(apply: impl FnOnce() -> Result<(), BoxError>) -> Result<(), Failure> {
    match catch_unwind(AssertUnwindSafe(apply)) {
        Ok(result) => result.map_err(Failure::Error),
        Err(_) => Err(Failure::Panic),
    }
}

impl Failure {
    /// The failure in words, if the event is to blame; otherwise the error again, to give up the batch.
    fn unless_of_the_event(self, tx: &Transaction<'_>) -> Result<String, BoxError> {
        match self {
            Self::Panic => Ok("the projection panicked".into()),
            Self::Error(error) if tx.is_autocommit() || of_the_medium(&*error) => Err(error),
            Self::Error(error) => Ok(describe(&*error)),
        }
    }
}

/// Whether SQLite, somewhere down the causes, says that it could not do what any event would ask.
fn of_the_medium(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rusqlite::Error>() {
            return matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::OutOfMemory
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        | ErrorCode::CannotOpen
                )
            );
        }
        next = error.source();
    }
    false
}
