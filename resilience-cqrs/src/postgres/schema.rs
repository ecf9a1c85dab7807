//! The tables, and what an existing database must look like.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};

use super::error::OpenError;

/// The version of the layout below. A database of another version is refused, not guessed at.
pub(super) const VERSION: i64 = 2;

/// The oldest server whose behaviour the engine was tested on.
const OLDEST_SERVER: i32 = 150_000;

/// Makes two programs that start at once make the tables one after the other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('resilience_log:' || current_schema(), 0))";

/// Makes two programs that start at once make the schema one after the other: `IF NOT EXISTS` alone lets both see that it
/// is not there, and refuses one.
const SCHEMA_LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('resilience_schema', 0))";

/// Names compare by bytes: the order of a log must not depend on a server's locale.
const TABLES: &str = concat!(include_str!("tables.sql"), include_str!("append.sql"));

/// Which conditions on queries do not hold, of those in the columns that `:if_..:` stand for, in a log that ends at
/// `:base:`.
pub(super) const HITS: &str = include_str!("hits.sql");

/// The tables, and the function, whose arguments go by their names.
fn tables() -> String {
    TABLES.replace(":hits:", &HITS.replace(':', ""))
}

/// The longest name in bytes. A longer one is cut, so that it may be another's; with a notice that nobody reads.
const NAME_BYTES: usize = 63;

/// Whether the server calls a schema what we call it.
pub(crate) fn check(schema: &str) -> Result<(), OpenError> {
    // In a search path, `$user` stands for whoever is connected, quoted or not.
    let is_a_name = (1..=NAME_BYTES).contains(&schema.len()) && !schema.contains('\0') && schema != "$user";
    if is_a_name { Ok(()) } else { Err(OpenError::SchemaName) }
}

/// The same connection, for tables in this schema, whose name was [checked](check); made if it is not there.
pub(crate) async fn of_its_own(options: PgConnectOptions, schema: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let quoted = quote(schema);
    let mut conn = options.connect().await?;
    let mut tx = conn.begin().await?;
    sqlx::query(SCHEMA_LOCK).execute(&mut *tx).await?;
    // The name is quoted; a statement that makes a schema takes no parameters.
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {quoted}"))).execute(&mut *tx).await?;
    tx.commit().await?;
    conn.close().await?;
    Ok(within(options, schema))
}

/// The same connection, for tables in this schema, which is there.
pub(super) fn within(options: PgConnectOptions, schema: &str) -> PgConnectOptions {
    options.options([("search_path", quote(schema))])
}

fn quote(schema: &str) -> String {
    format!("\"{}\"", schema.replace('"', "\"\""))
}

/// Brings the layout, or checks the one that is there. May be run by any number of programs at once.
pub(super) async fn prepare(conn: &mut PgConnection) -> Result<(), OpenError> {
    let server: i32 =
        sqlx::query("SELECT current_setting('server_version_num')::int").fetch_one(&mut *conn).await?.try_get(0)?;
    if server < OLDEST_SERVER {
        return Err(OpenError::Server { found: server / 10_000, oldest: OLDEST_SERVER / 10_000 });
    }
    let mut tx = conn.begin().await?;
    sqlx::query(LOCK).execute(&mut *tx).await?;
    let is_there: bool =
        sqlx::query("SELECT to_regclass('log_meta') IS NOT NULL").fetch_one(&mut *tx).await?.try_get(0)?;
    if !is_there {
        sqlx::raw_sql(AssertSqlSafe(tables())).execute(&mut *tx).await?;
        return Ok(tx.commit().await?);
    }
    let row = sqlx::query("SELECT value FROM log_meta WHERE name = 'version'").fetch_optional(&mut *tx).await?;
    match row.map(|row| row.try_get::<i64, _>(0)).transpose()? {
        Some(VERSION) => Ok(tx.commit().await?),
        found => Err(OpenError::Schema { found, supported: VERSION }),
    }
}
