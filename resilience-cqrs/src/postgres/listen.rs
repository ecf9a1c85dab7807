//! How stores of other processes learn of a commit, and this one of theirs.
//!
//! A notification inside the append's transaction would make all commits of the database wait for one another, so it is
//! a hint on a connection of its own, at most one every few milliseconds, and it may be lost: whoever waits also looks
//! now and then.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use resilience_core::time::SharedTimer;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::durable::{Durable, Seen};
use crate::log::Position;

/// Commits within this time are one hint.
const DEBOUNCE: Duration = Duration::from_millis(5);

/// The channel of a schema's log. Channels are the database's, not the schema's.
const CHANNEL: &str = "SELECT 'log_' || md5(current_schema())";

pub(super) struct Listening {
    pub(super) pool: PgPool,
    pub(super) options: PgConnectOptions,
    pub(super) durable: Arc<Durable>,
    pub(super) moved: Arc<Notify>,
    pub(super) poll: Duration,
    pub(super) timer: SharedTimer,
    /// Closed when the last handle to the store is gone.
    pub(super) is_open: watch::Receiver<()>,
}

impl Listening {
    pub(super) fn start(self, runtime: &Handle) {
        let Self { pool, options, durable, moved, poll, timer, is_open } = self;
        let mut closing = is_open.clone();
        let tell = tell(pool.clone(), durable.clone(), moved, timer.clone());
        runtime.spawn(async move {
            let closed = std::pin::pin!(closing.changed());
            select(closed, std::pin::pin!(tell)).await;
        });
        let mut closing = is_open;
        let hear = hear(pool, options, durable, poll, timer);
        runtime.spawn(async move {
            let closed = std::pin::pin!(closing.changed());
            select(closed, std::pin::pin!(hear)).await;
        });
    }
}

/// Passes on how far the log is durable, when that has moved here.
async fn tell(pool: PgPool, durable: Arc<Durable>, moved: Arc<Notify>, timer: SharedTimer) {
    loop {
        moved.notified().await;
        let Ok(mut conn) = pool.acquire().await else { continue };
        // Over a new connection it may have turned out that what is known is gone: that is nobody else's news.
        if durable.intact().is_err() {
            continue;
        }
        let (head, turn) = durable.known();
        let notify = sqlx::query(
            "SELECT set_config('synchronous_commit', 'off', true), pg_notify('log_' || md5(current_schema()), $1)",
        );
        // Lost if it fails: the others look by themselves.
        let _ = notify.bind(format!("{head} {turn}")).execute(&mut *conn).await;
        drop(conn);
        timer.sleep(DEBOUNCE).await;
    }
}

/// Brings the head up to what other stores say, and to what the database says now and then.
async fn hear(pool: PgPool, options: PgConnectOptions, durable: Arc<Durable>, poll: Duration, timer: SharedTimer) {
    loop {
        if let Ok(mut listener) = listener(&options).await {
            let mut due = timer.now();
            loop {
                let heard = std::pin::pin!(listener.recv());
                match select(heard, timer.sleep_until(due)).await {
                    Either::Left((Err(_), _)) => break, // The connection is gone: make another.
                    Either::Left((Ok(said), _)) => {
                        if let Some((head, turn)) = parse(said.payload()) {
                            durable.advance(head, turn);
                        }
                    }
                    Either::Right(_) => {
                        look(&pool, &durable).await;
                        due = timer.now() + poll;
                    }
                }
            }
        }
        look(&pool, &durable).await;
        timer.sleep(poll).await;
    }
}

/// What another store has said to be durable.
fn parse(said: &str) -> Option<(Position, u64)> {
    let (head, turn) = said.split_once(' ')?;
    Some((Position::new(head.parse().ok()?), turn.parse().ok()?))
}

async fn listener(options: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let one = PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
    let channel: String = sqlx::query_scalar(CHANNEL).fetch_one(&one).await?;
    let mut listener = PgListener::connect_with(&one).await?;
    listener.listen(&channel).await?;
    Ok(listener)
}

async fn look(pool: &PgPool, durable: &Durable) {
    let Ok(mut conn) = pool.acquire().await else { return };
    if let Ok(seen) = Seen::ask(&mut conn).await {
        // If it cannot be told now, it is asked again.
        let _ = durable.bound(&mut conn, seen).await;
    }
}
