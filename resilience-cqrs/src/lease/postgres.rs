//! Leases on a server, for processes anywhere.

use std::fmt;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use resilience_core::context::FencingToken;
use resilience_core::lease::{Acquired, Lease, Leases};
use resilience_core::time::SharedTimer;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::{LeaseError, TIDY, millis};
use crate::postgres::schema;

/// The layout below; a schema of another is refused.
const LAYOUT: i64 = 1;

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Grants between two times of tidying up.
const TIDY_EVERY: i64 = 32;

/// Makes two programs that start at once make the tables one after the other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('resilience_lease:' || current_schema(), 0))";

const TABLES: &str = r#"
CREATE TABLE IF NOT EXISTS lease_meta (name text PRIMARY KEY, value bigint NOT NULL);
CREATE TABLE IF NOT EXISTS lease (
    resource text COLLATE "C" PRIMARY KEY,
    owner text NOT NULL,
    token bigint NOT NULL,
    until timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS lease_until ON lease (until);
INSERT INTO lease_meta VALUES ('layout', 1), ('last token', 0) ON CONFLICT DO NOTHING;
"#;

/// Whoever is not the one who asks, and has it. Asked first, for most who ask are told no, and this writes nothing.
const HOLDER: &str = "
SELECT owner, ceil(extract(epoch FROM until - clock_timestamp()) * 1000)::bigint
FROM lease WHERE resource = $1 AND owner <> $2 AND until > clock_timestamp()";

/// The counter's row is locked until the commit, so tokens are in the order of grants. The clock is read after the wait
/// for it: `now()` would be the time before, at which the lease may not have been over.
const TAKE: &str = "
WITH next AS (UPDATE lease_meta SET value = value + 1 WHERE name = 'last token' RETURNING value)
INSERT INTO lease AS held (resource, owner, token, until)
SELECT $1, $2, next.value, clock_timestamp() + $3::float8 * interval '1 millisecond' FROM next
ON CONFLICT (resource) DO UPDATE SET
    owner = excluded.owner,
    token = excluded.token,
    until = clock_timestamp() + $3::float8 * interval '1 millisecond'
WHERE held.until <= clock_timestamp() OR held.owner = excluded.owner
RETURNING token";

const RENEW: &str = "
UPDATE lease SET until = clock_timestamp() + $3::float8 * interval '1 millisecond'
WHERE resource = $1 AND token = $2 AND until > clock_timestamp()";

const RELEASE: &str = "DELETE FROM lease WHERE resource = $1 AND token = $2 AND until > clock_timestamp()";

const TIDY_UP: &str = "
DELETE FROM lease WHERE resource IN
(SELECT resource FROM lease WHERE until <= clock_timestamp() ORDER BY until LIMIT $1 FOR UPDATE SKIP LOCKED)";

/// Leases in a database of PostgreSQL 15 or newer; see the [module](super). Clones share one connection.
///
/// A question takes three round trips to the server at most (a lost race is asked who won it), one of 32 grants one more to
/// strike out what is over. Questions take turns.
#[derive(Clone)]
pub struct PostgresLeases {
    shared: Arc<Shared>,
}

struct Shared {
    options: PgConnectOptions,
    /// Made anew by the next question after one that failed.
    conn: Mutex<Option<PgConnection>>,
    runtime: Handle,
    timer: SharedTimer,
    patience: Duration,
}

enum Question {
    Acquire { resource: String, owner: String, ttl: i64 },
    Renew { resource: String, token: i64, ttl: i64 },
    Release { resource: String, token: i64 },
}

enum Answer {
    Granted(FencingToken),
    /// By whom and for how long, as far as one can tell: a race may be lost to one who has given it up by now.
    Held(Option<String>, Option<Duration>),
    Done(bool),
}

impl PostgresLeases {
    /// Opens the leases in the database at `url` (`postgres://user@host/database`) with the defaults, making the tables
    /// if they are not there.
    ///
    /// Must be called in a tokio runtime with time and I/O, which goes on to be used: calls may then come from anywhere.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use resilience_core::lease::{Acquired, Leases};
    /// use resilience_cqrs::lease::PostgresLeases;
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let leases = PostgresLeases::builder()
    ///     .schema("bank")
    ///     // Less than a third of the time to live: no answer must still leave time to ask again.
    ///     .patience(Duration::from_secs(2))
    ///     .open("postgres://bank@localhost/bank")
    ///     .await?;
    /// match leases.acquire("relay", "node-1", Duration::from_secs(10)).await? {
    ///     Acquired::Granted(lease) => println!("mine, under token {}", lease.token().get()),
    ///     Acquired::Held { owner, retry_after } => println!("{owner:?} has it, for {retry_after:?} more"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`LeaseError`] if the server cannot be reached, or the tables are of another version.
    pub async fn open(url: &str) -> Result<Self, LeaseError> {
        Self::builder().open(url).await
    }

    /// Sets up leases on a server.
    pub fn builder() -> PostgresLeasesBuilder {
        PostgresLeasesBuilder { schema: None, patience: Duration::from_secs(5), timer: SharedTimer::default() }
    }

    /// Asks to the end even if whoever asked has gone: a connection that is left in the middle is of no use to others.
    async fn ask(&self, question: Question) -> Result<Answer, LeaseError> {
        let shared = self.shared.clone();
        let asked = self.shared.runtime.spawn(async move { shared.ask(question).await });
        asked.await.unwrap_or_else(|gone| Err(LeaseError::new(false, gone)))
    }
}

impl Shared {
    async fn ask(&self, question: Question) -> Result<Answer, LeaseError> {
        // The wait for the others' questions is part of it: an owner must know in time that it does not know.
        let asking = pin!(async {
            let mut place = self.conn.lock().await;
            // Out of its place while it is in use, so that one that failed is not used again.
            let mut conn = match place.take() {
                Some(conn) => conn,
                None => PgConnection::connect_with(&self.options).await?,
            };
            let answer = answer(&mut conn, &question).await?;
            *place = Some(conn);
            Ok(answer)
        });
        match select(asking, pin!(self.timer.sleep(self.patience))).await {
            Either::Left((answer, _)) => answer.map_err(|error: sqlx::Error| LeaseError::from(error)),
            Either::Right(_) => Err(LeaseError::new(true, format!("no answer within {:?}", self.patience))),
        }
    }
}

/// Sets up a [`PostgresLeases`].
#[derive(Clone, Debug)]
pub struct PostgresLeasesBuilder {
    schema: Option<String>,
    patience: Duration,
    timer: SharedTimer,
}

impl PostgresLeasesBuilder {
    /// The schema of the tables; made if it is not there. Default: the connection's. Each schema has tokens of its own. A
    /// name of more than 63 bytes is refused, for the server would cut it.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// How long to wait for the server's answer. Default: 5 s.
    ///
    /// A server that hangs, or a network that swallows everything, must not keep an owner from knowing that it does not
    /// know; less than a third of your leases' time leaves room for a second attempt.
    #[must_use]
    pub fn patience(mut self, wait: Duration) -> Self {
        self.patience = wait;
        self
    }

    /// The owners' clock: when a [`Lease`] says that it is over, and when patience is. Default: tokio's.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// Opens the leases; see [`PostgresLeases::open`].
    ///
    /// # Errors
    /// [`LeaseError`] if the server cannot be reached, the tables are of another version, or the schema's name is refused.
    pub async fn open(self, url: &str) -> Result<PostgresLeases, LeaseError> {
        // Of another scheme, the parser would take what it can and try the server on this host.
        if !SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
            return Err(LeaseError::new(false, format!("the address must begin with {}", SCHEMES.join(" or "))));
        }
        let mut options = PgConnectOptions::from_str(url)?;
        if let Some(name) = &self.schema {
            schema::check(name).map_err(|error| LeaseError::new(false, error))?;
            options = schema::of_its_own(options, name).await?;
        }
        // Under a stricter level, which a server may have for its default, who waited would be refused and not served.
        options = options.options([("default_transaction_isolation", "read committed")]);
        let mut conn = PgConnection::connect_with(&options).await?;
        let layout = prepare(&mut conn).await?;
        if layout != LAYOUT {
            return Err(LeaseError::new(
                false,
                format!("the leases have layout {layout}, this program knows {LAYOUT}"),
            ));
        }
        let (conn, runtime) = (Mutex::new(Some(conn)), Handle::current());
        let shared = Shared { options, conn, runtime, timer: self.timer, patience: self.patience };
        Ok(PostgresLeases { shared: Arc::new(shared) })
    }
}

async fn prepare(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let mut tx = conn.begin().await?;
    sqlx::query(LOCK).execute(&mut *tx).await?;
    sqlx::raw_sql(TABLES).execute(&mut *tx).await?;
    let layout =
        sqlx::query("SELECT value FROM lease_meta WHERE name = 'layout'").fetch_one(&mut *tx).await?.try_get(0)?;
    tx.commit().await?;
    Ok(layout)
}

impl Leases for PostgresLeases {
    type Error = LeaseError;

    async fn acquire(&self, resource: &str, owner: &str, ttl: Duration) -> Result<Acquired, LeaseError> {
        let asked = self.shared.timer.now();
        let question = Question::Acquire { resource: resource.into(), owner: owner.into(), ttl: millis(ttl) };
        Ok(match self.ask(question).await? {
            Answer::Granted(token) => Acquired::Granted(Lease::new(resource, owner, token, asked + ttl)),
            Answer::Held(owner, retry_after) => Acquired::Held { owner: owner.map(Into::into), retry_after },
            Answer::Done(_) => Acquired::Held { owner: None, retry_after: None },
        })
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, LeaseError> {
        let asked = self.shared.timer.now();
        let (resource, token) = (lease.resource().into(), column(lease.token()));
        let renewed = self.ask(Question::Renew { resource, token, ttl: millis(ttl) }).await?;
        let lease = || Lease::new(lease.resource(), lease.owner(), lease.token(), asked + ttl);
        Ok(matches!(renewed, Answer::Done(true)).then(lease))
    }

    async fn release(&self, lease: &Lease) -> Result<bool, LeaseError> {
        let (resource, token) = (lease.resource().into(), column(lease.token()));
        Ok(matches!(self.ask(Question::Release { resource, token }).await?, Answer::Done(true)))
    }
}

impl fmt::Debug for PostgresLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLeases").field("patience", &self.shared.patience).finish_non_exhaustive()
    }
}

/// A token as it is stored. One that does not fit was never given by this engine, and finds nothing.
fn column(token: FencingToken) -> i64 {
    i64::try_from(token.get()).unwrap_or(-1)
}

async fn answer(conn: &mut PgConnection, question: &Question) -> Result<Answer, sqlx::Error> {
    let done = match question {
        Question::Acquire { resource, owner, ttl } => return acquire(conn, resource, owner, *ttl).await,
        Question::Renew { resource, token, ttl } => sqlx::query(RENEW).bind(resource).bind(token).bind(*ttl as f64),
        Question::Release { resource, token } => sqlx::query(RELEASE).bind(resource).bind(token),
    };
    Ok(Answer::Done(done.execute(conn).await?.rows_affected() > 0))
}

async fn acquire(conn: &mut PgConnection, resource: &str, owner: &str, ttl: i64) -> Result<Answer, sqlx::Error> {
    if let Some(held) = holder(conn, resource, owner).await? {
        return Ok(held);
    }
    let taken = sqlx::query(TAKE).bind(resource).bind(owner).bind(ttl as f64).fetch_optional(&mut *conn).await?;
    let Some(row) = taken else {
        return Ok(holder(conn, resource, owner).await?.unwrap_or(Answer::Held(None, None)));
    };
    let token: i64 = row.try_get(0)?;
    if token % TIDY_EVERY == 0 {
        // The lease is granted, whatever comes of this.
        let _ = sqlx::query(TIDY_UP).bind(TIDY).execute(conn).await;
    }
    Ok(Answer::Granted(FencingToken::new(token.unsigned_abs())))
}

async fn holder(conn: &mut PgConnection, resource: &str, owner: &str) -> Result<Option<Answer>, sqlx::Error> {
    let row = sqlx::query(HOLDER).bind(resource).bind(owner).fetch_optional(conn).await?;
    row.map(|row| {
        let wait: i64 = row.try_get(1)?;
        Ok(Answer::Held(Some(row.try_get(0)?), Some(Duration::from_millis(wait.max(0).unsigned_abs()))))
    })
    .transpose()
}
