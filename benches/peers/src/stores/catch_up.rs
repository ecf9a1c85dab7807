//! How fast a projection in SQL takes in a log that is already there, each event once.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use resilience_cqrs::projection::{ProjectionRunner, SqlProjection};
use resilience_cqrs::{Append, BoxError, EventStore, Expected, NewEvent, Query, Recorded, SqliteStore};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::sqlite;

/// Accounts the events are of, visited in no order of theirs.
const ACCOUNTS: u64 = 10_000;
/// Events an append writes while the log is filled.
const TOGETHER: u64 = 500;

/// One projection that has caught up.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Caught {
    /// Whether it takes in a batch by one statement an account instead of one an event.
    pub set: bool,
    /// Events in the log.
    pub events: u64,
    /// From its start until its checkpoint was at the log's end.
    pub seconds: f64,
    /// Accounts whose balance is not the sum of their events.
    pub wrong: u64,
}

/// Fills a log, then lets two projections of their own tables catch up with it.
pub async fn sample(dir: &Path, events: u64) -> Result<Vec<Caught>, String> {
    let run = async || -> Result<Vec<Caught>, BoxError> {
        let store = sqlite::open(dir).await?;
        let due = fill(&store, events).await?;
        let mut caught = Vec::new();
        for set in [false, true] {
            let started = Instant::now();
            let running = ProjectionRunner::sql(store.clone(), Balances { set }).start();
            running.at_least(store.head(), Duration::from_secs(600)).await?;
            let seconds = started.elapsed().as_secs_f64();
            running.stop().await?;
            let select = format!("SELECT account, cents, events FROM {}", Balances { set }.name());
            let found = store.read_sql(move |db| {
                let mut select = db.prepare(&select)?;
                let rows = select.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
                rows.collect::<Result<HashMap<String, (i64, i64)>, _>>()
            });
            let found = found.await?;
            let wrong = due.iter().filter(|(account, sum)| found.get(*account) != Some(sum)).count() as u64;
            caught.push(Caught { set, events, seconds, wrong: wrong + u64::from(found.len() != due.len()) });
        }
        store.close().await;
        Ok(caught)
    };
    run().await.map_err(|error| error.to_string())
}

/// Fills the log, and says what each account's sum and number of events are.
async fn fill(store: &SqliteStore, events: u64) -> Result<HashMap<String, (i64, i64)>, BoxError> {
    let mut due: HashMap<String, (i64, i64)> = HashMap::new();
    let mut next = 0;
    while next < events {
        let mut append = Append::new();
        for _ in 0..TOGETHER.min(events - next) {
            let account = format!("account-{:05}", next * 7_919 % ACCOUNTS);
            let cents = (next % 997) as i64;
            let sum = due.entry(account.clone()).or_default();
            *sum = (sum.0 + cents, sum.1 + 1);
            append = append.events(account, Expected::Any, [NewEvent::new("Deposited", format!("{cents:<80}"))]);
            next += 1;
        }
        store.append(append).await?;
    }
    Ok(due)
}

/// Sum and number of the events of each account.
struct Balances {
    set: bool,
}

const ADD: &str = "VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET cents = cents + excluded.cents, events = events + \
                   excluded.events";

impl SqlProjection for Balances {
    fn name(&self) -> &str {
        if self.set { "balances_by_batch" } else { "balances_by_event" }
    }

    fn query(&self) -> Query {
        Query::all()
    }

    fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
        let columns = "(account TEXT PRIMARY KEY, cents INTEGER NOT NULL, events INTEGER NOT NULL) WITHOUT ROWID";
        Ok(tx.execute_batch(&format!("CREATE TABLE IF NOT EXISTS {} {columns}", self.name()))?)
    }

    fn apply(&self, event: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
        let mut add = tx.prepare_cached(&format!("INSERT INTO {} {ADD}", self.name()))?;
        add.execute((event.stream.as_str(), cents(event)?, 1))?;
        Ok(())
    }

    fn apply_all(&self, events: &[Recorded], tx: &Transaction<'_>) -> Result<(), BoxError> {
        if !self.set {
            return events.iter().try_for_each(|event| self.apply(event, tx));
        }
        let mut sums: HashMap<&str, (i64, i64)> = HashMap::new();
        for event in events {
            let sum = sums.entry(event.stream.as_str()).or_default();
            *sum = (sum.0 + cents(event)?, sum.1 + 1);
        }
        let mut add = tx.prepare_cached(&format!("INSERT INTO {} {ADD}", self.name()))?;
        for (account, (cents, events)) in sums {
            add.execute((account, cents, events))?;
        }
        Ok(())
    }
}

fn cents(event: &Recorded) -> Result<i64, BoxError> {
    Ok(std::str::from_utf8(&event.payload)?.trim_end().parse()?)
}
