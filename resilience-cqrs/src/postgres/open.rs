//! From an address to a store that runs.

use std::str::FromStr;
use std::sync::Arc;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};

use super::config::PostgresStoreBuilder;
use super::error::{Fault, OpenError};
use super::listen::Listening;
use super::writer::{QUEUE, Writer};
use super::{PostgresStore, Shared, read, schema};

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

pub(super) async fn open(config: PostgresStoreBuilder, url: &str) -> Result<PostgresStore, OpenError> {
    // Of another scheme, the parser would take what it can and try the server on this host.
    if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        return Err(OpenError::Url(sqlx::Error::Configuration(
            format!("must begin with {}", SCHEMES.join(" or ")).into(),
        )));
    }
    let mut options = PgConnectOptions::from_str(url).map_err(OpenError::Url)?;
    if let Some(name) = &config.schema {
        options = schema::of_its_own(options, name).await?;
    }
    let mut conn = options.connect().await?;
    schema::prepare(&mut conn).await?;
    let head = read::head(&mut conn).await.map_err(|fault| match fault {
        Fault::Database(error) => OpenError::Database(error),
        Fault::Corrupt(_) => OpenError::Schema { found: None, supported: schema::VERSION },
    })?;
    let pool = PgPoolOptions::new().max_connections(config.readers.get()).connect_lazy_with(options.clone());
    let head = Arc::new(watch::Sender::new(head));
    let (sender, jobs) = mpsc::channel(QUEUE);
    let (open, is_open) = watch::channel(());
    let (given_up, gone) = watch::channel(());
    let committed = Arc::new(Notify::new());
    let runtime = Handle::current();
    let listening = Listening {
        pool: pool.clone(),
        options: options.clone(),
        head: head.clone(),
        committed: committed.clone(),
        poll: config.poll,
        timer: config.timer.clone(),
        is_open,
    };
    listening.start(&runtime);
    let writer = Writer {
        jobs,
        options,
        conn: Some(conn),
        head: head.clone(),
        committed,
        timer: config.timer.clone(),
        name: config.name.clone(),
        listeners: config.listeners,
        given_up,
    };
    runtime.spawn(writer.run());
    let timer = config.timer;
    let shared = Shared { jobs: sender, head, pool, runtime, timer, name: config.name, given_up: gone, _open: open };
    Ok(PostgresStore { shared: Arc::new(shared) })
}
