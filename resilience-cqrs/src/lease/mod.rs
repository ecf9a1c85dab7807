//! Who owns what, kept in a database: [leases](resilience_core::lease) for several processes.
//!
//! # Why
//!
//! One process of many runs the projection, relays the outbox, sweeps the timers. A lease says which, for a while, and
//! ends by itself when that process is gone. What says so has to outlive all of them, and has to be asked by all of them;
//! most programs have such a thing already, and it is their database.
//!
//! | engine | for | its clock |
//! |---|---|---|
//! | [`SqliteLeases`] (feature `sqlite`) | processes on one machine | the machine's wall clock, as SQLite reads it |
//! | [`PostgresLeases`] (feature `postgres`) | processes anywhere | the server's wall clock |
//!
//! Both keep the [laws](resilience_core::lease::conformance) of every engine, and run with whatever takes
//! [`Leases`](resilience_core::lease::Leases); [`Ownership::keep`](resilience_core::lease::Ownership::keep) renews one in
//! time.
//!
//! # Behaviour
//!
//! ```text
//! node-1 ─ acquire 10 s ─▶ token 7 ━━━━━━━ renew ━━━━━━━━ ╳ killed
//! table    relay │ node-1 │ 7 │ until 12:00:10 ... until 12:00:17 │
//! node-2 ──── acquire: held ─────── held, ask again in 4 s ─────── acquire at 12:00:17 ─▶ token 8
//! ```
//!
//! Whether a lease is over is decided by the database's clock, in the statement that asks. No clock of an owner is in it:
//! one that is an hour off neither takes a lease early nor keeps one for longer. What an owner's own clock is used for is
//! when *it* stops to believe in its lease, counted from before it asked, so it stops first.
//!
//! A grant takes the next token of one counter, under a lock that lasts until the commit: tokens grow in the order of
//! grants, and the counter is as durable as the database, so none is given twice by a crash.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::lease::{Acquired, Leases};
//! # #[cfg(feature = "sqlite")]
//! use resilience_cqrs::lease::SqliteLeases;
//!
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("leases.db");
//! let ttl = Duration::from_secs(10);
//! // Two processes, for all they know of each other.
//! let (one, other) = (SqliteLeases::open(&path).await?, SqliteLeases::open(&path).await?);
//! let lease = one.acquire("relay", "node-1", ttl).await?.granted().ok_or("somebody has it")?;
//! assert!(matches!(other.acquire("relay", "node-2", ttl).await?, Acquired::Held { .. }));
//! one.release(&lease).await?;
//! let next = other.acquire("relay", "node-2", ttl).await?.granted().ok_or("somebody has it")?;
//! assert!(next.token() > lease.token());
//! # Ok(()) }
//! # #[cfg(not(feature = "sqlite"))] fn main() {}
//! ```
//!
//! # Defaults
//!
//! | option | default | why |
//! |---|---|---|
//! | [`SqliteLeasesBuilder::busy_timeout`] | 5 s | a transaction here takes a millisecond; more means that something else writes to the file |
//! | [`PostgresLeasesBuilder::schema`] | the connection's | |
//! | [`PostgresLeasesBuilder::patience`] | 5 s | an owner that gets no answer must know in time that it does not know |
//! | `timer` | tokio's | |
//!
//! # Errors
//!
//! [`LeaseError`]: the database could not be asked, so nobody knows. An owner goes on until its lease is over by its own
//! clock; `Ownership::keep` does that.
//!
//! # Do and don't
//!
//! - Do check the [token](resilience_core::context::FencingToken) where the effect is made: a lease keeps two from trying
//!   at once, a fence keeps the late one out.
//! - Do take leases of a few seconds or more. A wall clock is set now and then; a step forward ends leases early.
//! - Don't put leases into the file of a [`SqliteStore`](crate::SqliteStore): it has one writer, and knows.
//!
//! # Limits
//!
//! A wall clock that is set back prolongs what is held by as much. Leases that are over are struck out in passing, some
//! with each grant (on PostgreSQL with each 32nd), so a table has the leases that last and a few more.

mod error;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::time::Duration;

pub use self::error::LeaseError;
#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresLeases, PostgresLeasesBuilder};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteLeases, SqliteLeasesBuilder};

/// The longest a lease lasts, in milliseconds: a century, far from the end of any clock.
const LONGEST: i64 = 100 * 365 * 24 * 3_600_000;

/// Leases over that are struck out at once.
const TIDY: i64 = 64;

/// How long a lease lasts in the database: never for less than its owner believes, whose clock is finer.
fn millis(ttl: Duration) -> i64 {
    let whole = ttl.as_millis().saturating_add(2);
    i64::try_from(whole).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_never_takes_a_lease_for_over_before_its_owner_does() {
        for (ttl, at_least) in [(0, 0), (1, 1), (999_999, 1), (1_000_001, 2), (10_000_000_000, 10_000)] {
            // The database's millisecond began up to one before the owner asked.
            assert!(millis(Duration::from_nanos(ttl)) > at_least, "{ttl} ns");
        }
        assert_eq!(millis(Duration::MAX), LONGEST);
    }
}
