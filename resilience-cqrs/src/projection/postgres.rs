//! Read models in tables of your own, in the log's database.

use std::collections::HashSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use sqlx::{Executor, PgConnection};
use thiserror::Error;

use super::apply::{Step, StepError, describe, sealed};
use super::checkpoint::{self, Advance, Claim};
use super::park::{self, Parking, set_apart, storable};
use crate::log::{Append, AppendError, BoxError, Query, Recorded, RowChange, digest_of};
use crate::postgres::PostgresStore;
use crate::postgres::beside::{self, is_the_servers};
use crate::store::EventStore;

/// A read model kept in SQL tables of its own, in the log's database and in the transaction of its checkpoint.
///
/// The transaction is fenced by the checkpoint's former value and does not take the log's lock: appends go on meanwhile.
/// A server ends it after ten seconds without a statement, so that a program that is stopped does not hold up its
/// successor.
///
/// ```no_run
/// use resilience_cqrs::projection::{PostgresProjection, ProjectionRunner};
/// use resilience_cqrs::{Append, BoxError, EventStore, Expected, NewEvent, PostgresStore, Query, Recorded};
/// use sqlx::PgConnection;
///
/// struct Balances;
///
/// impl PostgresProjection for Balances {
///     fn name(&self) -> &str {
///         "balances@1"
///     }
///
///     fn query(&self) -> Query {
///         Query::types(["Deposited"])
///     }
///
///     async fn prepare(&self, tx: &mut PgConnection) -> Result<(), BoxError> {
///         let make = "CREATE TABLE IF NOT EXISTS balance (account text PRIMARY KEY, cents bigint NOT NULL)";
///         sqlx::query(make).execute(tx).await?;
///         Ok(())
///     }
///
///     async fn apply(&self, event: &Recorded, tx: &mut PgConnection) -> Result<(), BoxError> {
///         let cents: i64 = std::str::from_utf8(&event.payload)?.parse()?;
///         let add = "INSERT INTO balance VALUES ($1, $2)
///                    ON CONFLICT (account) DO UPDATE SET cents = balance.cents + excluded.cents";
///         sqlx::query(add).bind(event.stream.as_str()).bind(cents).execute(tx).await?;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::open("postgres://bank@localhost/bank").await?;
/// let running = ProjectionRunner::postgres(store.clone(), Balances).start();
/// let deposit = Append::new().events("account-1", Expected::Any, [NewEvent::new("Deposited", "500")]);
/// let done = store.append(deposit).await?;
/// running.at_least(done.last, std::time::Duration::from_secs(5)).await?;
/// # Ok(()) }
/// ```
pub trait PostgresProjection: Send + Sync + 'static {
    /// Its name, which its checkpoint goes by. A model that is to be built anew gets a new one, and new tables.
    fn name(&self) -> &str;

    /// The events it is made of. Others do not reach it, and its checkpoint moves past them.
    fn query(&self) -> Query;

    /// What must be taken in in order: when an event cannot be, later ones of the same key wait. By default its stream.
    fn key(&self, event: &Recorded) -> String {
        event.stream.as_str().to_owned()
    }

    /// Makes its tables, if they are not there. Run at the start of each runner, in a transaction of its own, one runner
    /// after the other.
    ///
    /// # Errors
    /// Any: the runner tries again later.
    fn prepare(&self, tx: &mut PgConnection) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = tx;
        async { Ok(()) }
    }

    /// Takes in one event, within a transaction that it must not end.
    ///
    /// Called again for the same event when the batch could not be committed, or when another event of the batch failed,
    /// with what the first call changed undone.
    ///
    /// # Errors
    /// Any: the event is parked, with its own changes undone. A panic counts as one. That the server is away, full, or
    /// made the transaction the victim of another is not the event's fault: then the whole batch is tried again.
    fn apply(&self, event: &Recorded, tx: &mut PgConnection) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Takes in a whole batch: by default its events one after the other, which costs a round trip or more for each.
    ///
    /// Override it with statements about many rows (`unnest`) where the log is long. The effect must be that of
    /// [`apply`](Self::apply) on each event in order, for after an error the batch is undone and taken in event by event.
    ///
    /// ```no_run
    /// # use resilience_cqrs::projection::PostgresProjection;
    /// # use resilience_cqrs::{BoxError, Query, Recorded};
    /// # use sqlx::PgConnection;
    /// # struct Balances;
    /// # impl PostgresProjection for Balances {
    /// #     fn name(&self) -> &str { "balances@1" }
    /// #     fn query(&self) -> Query { Query::types(["Deposited"]) }
    /// #     async fn apply(&self, event: &Recorded, tx: &mut PgConnection) -> Result<(), BoxError> {
    /// #         self.apply_all(std::slice::from_ref(event), tx).await
    /// #     }
    /// /// One round trip, however many events. Summed first: `ON CONFLICT` does not take one row twice.
    /// async fn apply_all(&self, events: &[Recorded], tx: &mut PgConnection) -> Result<(), BoxError> {
    ///     let accounts: Vec<&str> = events.iter().map(|event| event.stream.as_str()).collect();
    ///     let cents = events.iter().map(|event| Ok(std::str::from_utf8(&event.payload)?.parse()?));
    ///     let add = "INSERT INTO balance
    ///                SELECT account, sum(cents) FROM unnest($1::text[], $2::bigint[]) AS new (account, cents)
    ///                GROUP BY account
    ///                ON CONFLICT (account) DO UPDATE SET cents = balance.cents + excluded.cents";
    ///     sqlx::query(add).bind(accounts).bind(cents.collect::<Result<Vec<i64>, BoxError>>()?).execute(tx).await?;
    ///     Ok(())
    /// }
    /// # }
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// Any, as [`apply`](Self::apply).
    fn apply_all(
        &self,
        events: &[Recorded],
        tx: &mut PgConnection,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        async move {
            for event in events {
                self.apply(event, &mut *tx).await?;
            }
            Ok(())
        }
    }
}

/// A [`PostgresProjection`], as the runner sees it.
#[derive(Debug)]
pub struct Postgres<P>(pub(super) Arc<P>);

impl<P> Clone for Postgres<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: PostgresProjection> sealed::Sealed<PostgresStore> for Postgres<P> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn query(&self) -> Query {
        self.0.query()
    }

    fn key(&self, event: &Recorded) -> String {
        self.0.key(event)
    }

    async fn prepare(&self, store: &PostgresStore) -> Result<(), AppendError> {
        let projection = self.0.clone();
        store.beside(Box::new(move |tx| Box::pin(async move { prepare(&*projection, tx).await }))).await
    }

    async fn claim(&self, store: &PostgresStore, claim: Claim) -> Result<(), AppendError> {
        let Some(found) = claim.found else {
            // Nobody has it yet, so there is nobody to wait for under the log's lock.
            return store.append(Append::from(claim)).await.map(|_| ());
        };
        let Claim { key, to, .. } = claim;
        let advance = Advance { key, from: found, to, parked: None };
        store.beside(Box::new(move |tx| Box::pin(async move { swap(tx, &advance).await }))).await
    }

    async fn step(&self, store: &PostgresStore, step: Step) -> Result<Vec<Parking>, StepError> {
        let Step { events, held, attempts, advance, rows } = step;
        let (behind, events) = set_apart(events, &held, |event| self.0.key(event));
        let mut further = rows;
        further.extend(behind.iter().map(|parking| parking.write(self.0.name())));
        let batch = Arc::new(Batch { projection: self.0.clone(), events, attempts, advance, further });
        let whole = batch.clone();
        match store.beside(Box::new(move |tx| Box::pin(async move { whole.at_once(tx).await }))).await {
            Ok(()) => return Ok(behind),
            Err(error) => match undone(&error) {
                Some(Undone::ByEvent) => {}
                Some(Undone::Moved) => return Err(StepError::Moved),
                None => return Err(StepError::Append(error)),
            },
        }
        let mut parked =
            match store.beside(Box::new(move |tx| Box::pin(async move { batch.one_by_one(tx).await }))).await {
                Ok(parked) => parked,
                Err(error) if undone(&error).is_some() => return Err(StepError::Moved),
                Err(error) => return Err(StepError::Append(error)),
            };
        parked.extend(behind);
        Ok(parked)
    }
}

pub(super) async fn prepare<P: PostgresProjection>(projection: &P, tx: &mut PgConnection) -> Result<(), BoxError> {
    // Members begin at once, and `CREATE TABLE IF NOT EXISTS` lets two see that there is none.
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)");
    lock.bind(digest_of(projection.name().as_bytes()).cast_signed()).execute(&mut *tx).await?;
    projection.prepare(tx).await
}

/// Why a transaction was given up, if not by the server.
#[derive(Clone, Copy, Debug, Error)]
enum Undone {
    #[error("somebody else has taken the projection over")]
    Moved,
    #[error("an event failed")]
    ByEvent,
}

fn undone(error: &AppendError) -> Option<Undone> {
    match error {
        AppendError::Refused(error) => error.downcast_ref::<Undone>().copied(),
        _ => None,
    }
}

struct Batch<P> {
    projection: Arc<P>,
    events: Vec<Recorded>,
    attempts: u32,
    advance: Advance,
    further: Vec<RowChange>,
}

impl<P: PostgresProjection> Batch<P> {
    /// The whole batch, without a savepoint.
    async fn at_once(&self, tx: &mut PgConnection) -> Result<(), BoxError> {
        if !self.events.is_empty() {
            let applied = AssertUnwindSafe(self.projection.apply_all(&self.events, &mut *tx)).catch_unwind().await;
            match applied {
                Ok(Ok(())) => {}
                Ok(Err(error)) if is_the_servers(&*error) => return Err(error),
                Ok(Err(_)) | Err(_) => return Err(Undone::ByEvent.into()),
            }
        }
        swap(tx, &self.advance).await?;
        Ok(beside::change(tx, &self.further).await?)
    }

    /// Each event in a savepoint of its own; those that failed, and those behind them.
    async fn one_by_one(&self, tx: &mut PgConnection) -> Result<Vec<Parking>, BoxError> {
        let mut failed = HashSet::new();
        let mut parked = Vec::new();
        for event in &self.events {
            let key = storable(self.projection.key(event));
            if failed.contains(&key) {
                parked.push(Parking::behind(key, event.position));
                continue;
            }
            tx.execute("SAVEPOINT event").await?;
            let Err(error) = self.one(event, tx).await? else { continue };
            tx.execute("ROLLBACK TO SAVEPOINT event; RELEASE SAVEPOINT event").await?;
            failed.insert(key.clone());
            parked.push(Parking::failed(key, event.position, self.attempts + 1, &error));
        }
        swap(tx, &self.advance).await?;
        let further: Vec<RowChange> = parked.iter().map(|parking| parking.write(self.projection.name())).collect();
        beside::change(tx, &self.further).await?;
        beside::change(tx, &further).await?;
        Ok(parked)
    }

    /// Takes in one event, or says in words why not.
    async fn one(&self, event: &Recorded, tx: &mut PgConnection) -> Result<Result<(), String>, BoxError> {
        match AssertUnwindSafe(self.projection.apply(event, &mut *tx)).catch_unwind().await {
            Ok(Ok(())) => match tx.execute("RELEASE SAVEPOINT event").await {
                Err(error) if is_void(&error) => Ok(Err("it went on after an error".into())),
                released => Ok(Ok(released.map(|_| ())?)),
            },
            Ok(Err(error)) if is_the_servers(&*error) => Err(error),
            Ok(Err(error)) => Ok(Err(describe(&*error))),
            Err(_) => Ok(Err("the projection panicked".into())),
        }
    }
}

/// Moves the checkpoint if it is where this runner left it, and gives the transaction up otherwise.
async fn swap(tx: &mut PgConnection, Advance { key, from, to, parked }: &Advance) -> Result<(), BoxError> {
    match beside::swap(tx, (&checkpoint::SPACE, key), &from.encode(), &to.encode()).await {
        // After the wait for the checkpoint: whoever had it before has struck the row out, or never will.
        Ok(true) => match parked {
            Some((row, note)) if !beside::is_still(tx, (&park::SPACE, row), note).await? => Err(Undone::Moved.into()),
            _ => Ok(()),
        },
        Ok(false) => Err(Undone::Moved.into()),
        // The projection went on after an error, which voids the transaction: a commit would undo it in silence.
        Err(error) if is_void(&error) => Err(Undone::ByEvent.into()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a statement was refused because one before it had failed.
fn is_void(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("25P02"))
}
