//! From an address to a store that runs.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use resilience_core::rng::Rng;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};

use super::alone::Memory;
use super::answer::Answers;
use super::config::PostgresStoreBuilder;
use super::durable::{Durable, Seen};
use super::error::{Fault, OpenError};
use super::flush::Flush;
use super::lineage::Lineage;
use super::listen::Listening;
use super::loads::Loads;
use super::writer::{QUEUE, Writer};
use super::{PostgresStore, Shared, schema};

/// A reader's connection that was idle for so long is asked whether it is there before it is used.
const IDLE: Duration = Duration::from_secs(1);

/// Ends what a borrower has left: all that `DISCARD ALL` does, but for the statements that the driver has prepared. If there
/// is no transaction to end, nobody is to be warned; in one that has failed, the first statement fails, and the connection
/// is given up.
const RETURNED: &str =
    "SET client_min_messages = error; ROLLBACK; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL;
    UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

pub(super) async fn open(config: PostgresStoreBuilder, url: &str) -> Result<PostgresStore, OpenError> {
    check_scheme(url)?;
    let mut options = PgConnectOptions::from_str(url).map_err(OpenError::Url)?;
    if let Some(name) = &config.schema {
        schema::check(name)?;
        options = schema::of_its_own(options, name).await?;
    }
    let mut conn = options.connect().await?;
    schema::prepare(&mut conn).await?;
    let durable = Arc::new(Durable::new(Rng::from_entropy().next_u64().cast_signed()));
    let lineage =
        Arc::new(Lineage::new(durable.clone(), config.name.clone(), config.timer.clone(), config.listeners.clone()));
    let seen = async {
        lineage.check(&mut conn, false).await?;
        let seen = Seen::ask(&mut conn).await?;
        durable.settle(&mut conn, seen).await?;
        Ok(seen)
    };
    let seen = seen.await.map_err(|fault: Fault| match fault {
        Fault::Database(error) => OpenError::Database(error),
        // Nothing is known yet that could be gone.
        Fault::Corrupt(_) | Fault::WentBack(_) => OpenError::Schema { found: None, supported: schema::VERSION },
    })?;
    let pool = pool(config.readers, &lineage, false).connect_lazy_with(options.clone());
    let lent = lent(config.lent, &lineage).connect_lazy_with(options.clone());
    let (sender, jobs) = mpsc::channel(QUEUE);
    let (open, is_open) = watch::channel(());
    let (given_up, gone) = watch::channel(());
    let answers = Answers {
        durable: durable.clone(),
        moved: Arc::new(Notify::new()),
        timer: config.timer.clone(),
        name: config.name.clone(),
        listeners: config.listeners,
    };
    let runtime = Handle::current();
    let listening = Listening {
        pool: pool.clone(),
        options: options.clone(),
        durable: durable.clone(),
        moved: answers.moved.clone(),
        poll: config.poll,
        timer: config.timer.clone(),
        is_open,
    };
    listening.start(&runtime);
    // What is judged under the lock must be what is committed by then, whatever the database's default is.
    // And its statements get one plan each: all of them probe an index, and to plan them anew for the arrays of each call
    // takes longer than to run them. So does compiling them, which the server would do for what it thinks of long arrays.
    let options = options.options([
        ("default_transaction_isolation", "read committed"),
        ("plan_cache_mode", "force_generic_plan"),
        ("jit", "off"),
    ]);
    let writer = Writer {
        jobs,
        flush: Flush::start(options.clone(), answers.clone()),
        options,
        conn: None,
        lineage,
        heard: answers.timer.now(),
        answers,
        memory: Memory::new(seen.turn),
        given_up,
    };
    runtime.spawn(writer.run());
    let shared = Shared {
        jobs: sender,
        durable,
        loads: Loads::default(),
        pool,
        lent,
        runtime,
        name: config.name,
        schema: config.schema,
        timer: config.timer,
        readers: config.readers.get(),
        given_up: gone,
        _open: open,
    };
    Ok(PostgresStore { shared: Arc::new(shared) })
}

/// Connections that the store takes turns with. Each is asked at its beginning whether it leads to the log that is known.
fn pool(connections: NonZeroU32, lineage: &Arc<Lineage>, to_write: bool) -> PgPoolOptions {
    let lineage = lineage.clone();
    let options = PgPoolOptions::new().max_connections(connections.get()).after_connect(move |conn, _| {
        let lineage = lineage.clone();
        Box::pin(async move { lineage.check_pooled(conn, to_write).await })
    });
    // A connection that was in use a moment ago is there; one that idled may not be.
    options.test_before_acquire(false).before_acquire(|conn, about| {
        Box::pin(async move {
            if about.idle_for < IDLE {
                return Ok(true);
            }
            Ok(conn.ping().await.is_ok())
        })
    })
}

/// Connections for the caller's own statements, never used for the store's: a session setting left behind would reach the
/// barriers of reads. Nor does the next who borrows one find anything of the one before.
fn lent(connections: NonZeroU32, lineage: &Arc<Lineage>) -> PgPoolOptions {
    pool(connections, lineage, true)
        .after_release(|conn, _| Box::pin(async move { sqlx::raw_sql(RETURNED).execute(conn).await.map(|_| true) }))
}

/// Of another scheme, the parser would take what it can and try the server on this host.
pub(super) fn check_scheme(url: &str) -> Result<(), OpenError> {
    match SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        true => Ok(()),
        false => {
            Err(OpenError::Url(sqlx::Error::Configuration(format!("must begin with {}", SCHEMES.join(" or ")).into())))
        }
    }
}
