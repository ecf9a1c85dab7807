//! Transactions beside the log: they change rows and read models, and never hold the log's lock.
//!
//! An append reads the rows it has conditions on with a lock on them, so a row that is changed here and a condition on it
//! there wait for one another, and the later one sees what the earlier one did.

use std::future::Future;

use bytes::Bytes;
use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection, Row};

use super::call::How;
use super::durable::Seen;
use super::error::Fault;
use super::{PostgresStore, batch, read};
use crate::log::{
    Append, AppendError, Appended, BoxError, Position, Query, Recorded, RowChange, Space, Unavailable, Written,
};

/// A program that is stopped in the middle does not hold up whoever takes over: the server ends such a transaction.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '10s'";

/// Work inside a transaction.
pub(crate) type Work<T> =
    Box<dyn for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, BoxError>> + Send + 'static>;

/// Work after an append.
pub(crate) type Then =
    Box<dyn for<'c> FnOnce(&'c mut PgConnection, &Appended) -> BoxFuture<'c, Result<(), BoxError>> + Send + 'static>;

impl PostgresStore {
    /// Commits what `work` does, unless it fails.
    pub(crate) async fn beside<T: Send + 'static>(&self, work: Work<T>) -> Result<T, AppendError> {
        let store = self.clone();
        self.on_runtime(async move {
            let no = |error: sqlx::Error| Fault::from(error).into_append_error(Written::No);
            let mut conn = store.lend().await.map_err(|fault| fault.into_append_error(Written::No))?;
            let mut tx = conn.begin_with(BEGIN).await.map_err(no)?;
            let result = match work(&mut tx).await {
                Ok(result) => result,
                Err(error) => {
                    let _ = tx.rollback().await; // Lost with the connection, it is undone as well.
                    return Err(refused(error));
                }
            };
            tx.commit().await.map_err(|error| Fault::from(error).into_append_error(Written::Unknown))?;
            Ok(result)
        })
        .await
    }

    /// Appends, and commits it with what `then` does afterwards; refused if that fails. It is shown what was
    /// appended, and is not run for a command that was committed before.
    pub(crate) async fn append_then(&self, append: Append, then: Then) -> Result<Appended, AppendError> {
        let store = self.clone();
        self.on_runtime(async move {
            let no = |error: sqlx::Error| Fault::from(error).into_append_error(Written::No);
            let mut conn = store.lend().await.map_err(|fault| fault.into_append_error(Written::No))?;
            let mut tx = conn.begin_with(BEGIN).await.map_err(no)?;
            let how = How { me: 0, guard: None, lazily: None };
            let done = batch::within(&mut tx, &[&append], how, store.shared.timer.wall()).await;
            let no = |fault: Fault| fault.into_append_error(Written::No);
            let mut done = done.map_err(no)?;
            let result = done.results.pop().unwrap_or(Err(AppendError::Closed));
            let appended = match result {
                Ok(appended) if done.wrote => appended,
                // It tells of what others have written, which is to be durable before it is told.
                other => {
                    tx.rollback().await.map_err(|error| no(error.into()))?;
                    if !store.shared.durable.covers(done.turn) {
                        let seen = Seen::ask(&mut conn).await.map_err(no)?;
                        store.shared.durable.settle(&mut conn, seen).await.map_err(no)?;
                    }
                    return other;
                }
            };
            if let Err(error) = then(&mut tx, &appended).await {
                let _ = tx.rollback().await; // As above.
                return Err(refused(error));
            }
            tx.commit().await.map_err(|error| Fault::from(error).into_append_error(Written::Unknown))?;
            store.shared.durable.advance(appended.last, 0); // By this very commit, whatever turns were before.
            // Other stores look by themselves if this is lost; nobody waits for it.
            tokio::spawn(async move {
                let _ = sqlx::query("SELECT pg_notify('log_' || md5(current_schema()), '')").execute(&mut *conn).await;
            });
            Ok(appended)
        })
        .await
    }

    /// On the store's own runtime, where its connections live, whoever asks.
    async fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, AppendError>> + Send + 'static,
    ) -> Result<T, AppendError> {
        self.shared.runtime.spawn(work).await.unwrap_or_else(|ended| match ended.is_panic() {
            true => Err(AppendError::Refused("a transaction beside the log panicked".into())),
            false => Err(AppendError::Unavailable(Unavailable {
                reason: "the store's runtime has ended".into(),
                written: Written::Unknown,
                retryable: false,
                source: None,
            })),
        })
    }
}

/// What the server said, if it did; otherwise it was the caller's code.
fn refused(error: BoxError) -> AppendError {
    match error.downcast::<sqlx::Error>() {
        Ok(error) => Fault::from(*error).into_append_error(Written::No),
        Err(error) => AppendError::Refused(error),
    }
}

/// Sets a row from one value to another; false if it does not have the one. Waits for whoever is changing it.
pub(crate) async fn swap(
    conn: &mut PgConnection,
    (space, key): (&Space, &[u8]),
    from: &[u8],
    to: &[u8],
) -> Result<bool, sqlx::Error> {
    let update = sqlx::query("UPDATE log_row SET value = $4 WHERE space = $1 AND key = $2 AND value = $3");
    let done = update.bind(space.as_str()).bind(key).bind(from).bind(to).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a row has this value, and keeps it until the transaction ends.
pub(crate) async fn is_still(
    conn: &mut PgConnection,
    (space, key): (&Space, &[u8]),
    value: &[u8],
) -> Result<bool, sqlx::Error> {
    let select = sqlx::query("SELECT 1 FROM log_row WHERE space = $1 AND key = $2 AND value = $3 FOR UPDATE");
    Ok(select.bind(space.as_str()).bind(key).bind(value).fetch_optional(conn).await?.is_some())
}

/// A row, which nobody changes until the transaction ends.
pub(crate) async fn row(conn: &mut PgConnection, space: &Space, key: &[u8]) -> Result<Option<Bytes>, BoxError> {
    let select = sqlx::query("SELECT value FROM log_row WHERE space = $1 AND key = $2 FOR UPDATE");
    let row = select.bind(space.as_str()).bind(key).fetch_optional(conn).await?;
    Ok(row.map(|row| row.try_get::<Vec<u8>, _>(0)).transpose()?.map(Bytes::from))
}

/// Events as this transaction sees them.
pub(crate) async fn events(
    conn: &mut PgConnection,
    query: &Query,
    within: (Position, Position),
    limit: usize,
) -> Result<Vec<Recorded>, BoxError> {
    read::matching(conn, query, within, limit).await.map_err(|fault| match fault {
        Fault::Database(error) => error.into(),
        Fault::Corrupt(corrupt) => corrupt.into(),
        Fault::WentBack(lost) => lost.into(),
    })
}

/// Changes rows in the order given.
pub(crate) async fn change(conn: &mut PgConnection, changes: &[RowChange]) -> Result<(), sqlx::Error> {
    for change in changes {
        match change {
            RowChange::Put { space, key, value } => {
                let put = sqlx::query(
                    "INSERT INTO log_row (space, key, value) VALUES ($1, $2, $3)
                     ON CONFLICT (space, key) DO UPDATE SET value = excluded.value",
                );
                put.bind(space.as_str()).bind(&**key).bind(&**value).execute(&mut *conn).await?;
            }
            RowChange::Delete { space, key } => {
                let delete = sqlx::query("DELETE FROM log_row WHERE space = $1 AND key = $2");
                delete.bind(space.as_str()).bind(&**key).execute(&mut *conn).await?;
            }
        }
    }
    Ok(())
}

/// Whether the server, somewhere down the causes, says that it could not do what any work would ask, or says nothing.
pub(crate) fn is_the_servers(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<sqlx::Error>() {
            // 08 connection, 40 victim of others, 53 resources, 55 locks, 57 intervention (but for 57014, a statement that
            // takes too long), 58 system, XX internal, 25P03 the transaction was idle for too long.
            Some(sqlx::Error::Database(error)) => {
                let code = error.code().unwrap_or_default();
                let class = code.get(..2).unwrap_or_default();
                return matches!(class, "08" | "40" | "53" | "55" | "58" | "XX")
                    || (class == "57" && code != "57014")
                    || code == "25P03";
            }
            Some(
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::BeginFailed,
            ) => return true,
            _ => next = error.source(),
        }
    }
    false
}
