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

use super::read;
use crate::log::Position;

/// Commits within this time are one hint.
const DEBOUNCE: Duration = Duration::from_millis(5);

/// The channel of a schema's log. Channels are the database's, not the schema's.
const CHANNEL: &str = "SELECT 'log_' || md5(current_schema())";

pub(super) struct Listening {
    pub(super) pool: PgPool,
    pub(super) options: PgConnectOptions,
    pub(super) head: Arc<watch::Sender<Position>>,
    pub(super) committed: Arc<Notify>,
    pub(super) poll: Duration,
    pub(super) timer: SharedTimer,
    /// Closed when the last handle to the store is gone.
    pub(super) is_open: watch::Receiver<()>,
}

impl Listening {
    pub(super) fn start(self, runtime: &Handle) {
        let Self { pool, options, head, committed, poll, timer, is_open } = self;
        let mut closing = is_open.clone();
        let tell = tell(pool.clone(), committed, timer.clone());
        runtime.spawn(async move {
            let closed = std::pin::pin!(closing.changed());
            select(closed, std::pin::pin!(tell)).await;
        });
        let mut closing = is_open;
        let hear = hear(pool, options, head, poll, timer);
        runtime.spawn(async move {
            let closed = std::pin::pin!(closing.changed());
            select(closed, std::pin::pin!(hear)).await;
        });
    }
}

/// Passes on that something was committed here.
async fn tell(pool: PgPool, committed: Arc<Notify>, timer: SharedTimer) {
    loop {
        committed.notified().await;
        // Lost if it fails: the others look by themselves.
        let _ = sqlx::query("SELECT pg_notify('log_' || md5(current_schema()), '')").execute(&pool).await;
        timer.sleep(DEBOUNCE).await;
    }
}

/// Brings the head up to what the database says, when it may have moved.
async fn hear(
    pool: PgPool,
    options: PgConnectOptions,
    head: Arc<watch::Sender<Position>>,
    poll: Duration,
    timer: SharedTimer,
) {
    loop {
        if let Ok(mut listener) = listener(&options).await {
            loop {
                look(&pool, &head).await;
                let heard = std::pin::pin!(listener.recv());
                match select(heard, timer.sleep(poll)).await {
                    Either::Left((Err(_), _)) => break, // The connection is gone: make another.
                    Either::Left((Ok(_), _)) | Either::Right(_) => {}
                }
            }
        }
        look(&pool, &head).await;
        timer.sleep(poll).await;
    }
}

async fn listener(options: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let one = PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
    let channel: String = sqlx::query_scalar(CHANNEL).fetch_one(&one).await?;
    let mut listener = PgListener::connect_with(&one).await?;
    listener.listen(&channel).await?;
    Ok(listener)
}

async fn look(pool: &PgPool, head: &watch::Sender<Position>) {
    let Ok(mut conn) = pool.acquire().await else { return };
    if let Ok(now) = read::head(&mut conn).await {
        advance(head, now);
    }
}

/// Publishes a head, unless a later one is known already.
pub(super) fn advance(head: &watch::Sender<Position>, to: Position) {
    head.send_if_modified(|published| {
        let is_later = to > *published;
        if is_later {
            *published = to;
        }
        is_later
    });
}
