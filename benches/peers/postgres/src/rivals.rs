//! What people would use instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use disintegrate::serde::json::Json;
use disintegrate::{Decision, Event, NoSnapshot, StateMutate, StateQuery};
use disintegrate_postgres::PgEventStore;
use serde::{Deserialize, Serialize};

use crate::floors::held;
use crate::sample::{self, HISTORY, Load, PAYLOAD};
use crate::{Failure, Ran};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    entries: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Entry {
    Deposited { note: String },
}

impl DomainEvent for Entry {
    fn event_type(&self) -> String {
        "Deposited".into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

#[derive(Debug)]
struct Never;

impl std::fmt::Display for Never {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("never")
    }
}

impl std::error::Error for Never {}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = ();
    type Event = Entry;
    type Error = Never;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), sink: &EventSink<Self>) -> Result<(), Never> {
        sink.write(Entry::Deposited { note: PAYLOAD.into() }, self).await;
        Ok(())
    }

    fn apply(&mut self, _: Entry) {
        self.entries += 1;
    }
}

/// The table of its own `db/init.sql`.
const EVENTS: &str = "CREATE TABLE events (aggregate_type text NOT NULL, aggregate_id text NOT NULL,
    sequence bigint CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL, event_version text NOT NULL,
    payload json NOT NULL, metadata json NOT NULL, PRIMARY KEY (aggregate_type, aggregate_id, sequence))";

pub async fn postgres_es(url: String, load: Load) -> Result<Ran, Failure> {
    let pool = postgres_es::default_postgress_pool(&url).await;
    sqlx_08::query(EVENTS).execute(&pool).await?;
    let accounts = Arc::new(postgres_es::postgres_cqrs::<Account>(pool.clone(), Vec::new(), ()));
    let sample = sample::run(load, move |task, index| {
        let accounts = accounts.clone();
        async move { accounts.execute(&sample::stream(task, index / HISTORY), ()).await.is_ok() }
    })
    .await;
    pool.close().await;
    let held = held(&url, "SELECT aggregate_id, count(*) FROM events GROUP BY aggregate_id").await?;
    Ok(Ran { sample, held: Some(held), conflicts: 0 })
}

#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
enum Happened {
    Deposited {
        #[id]
        account: String,
        note: String,
    },
}

#[derive(Default, StateQuery, Clone, Serialize, Deserialize)]
#[state_query(Happened)]
struct State {
    #[id]
    account: String,
    entries: u64,
}

impl StateMutate for State {
    fn mutate(&mut self, _: Self::Event) {
        self.entries += 1;
    }
}

struct Deposit(String);

impl Decision for Deposit {
    type Event = Happened;
    type StateQuery = State;
    type Error = Never;

    fn state_query(&self) -> State {
        State { account: self.0.clone(), entries: 0 }
    }

    fn process(&self, _: &State) -> Result<Vec<Happened>, Never> {
        Ok(vec![Happened::Deposited { account: self.0.clone(), note: PAYLOAD.into() }])
    }
}

/// Its `event_store_begin_epoch`, word for word but for the number, which it writes in hexadecimal: that needs PostgreSQL 16.
const BEGIN_EPOCH: &str = "CREATE OR REPLACE FUNCTION event_store_begin_epoch()
RETURNS void AS $$
DECLARE
    id BIGINT;
    db_id INT;
BEGIN
    SELECT last_value INTO id FROM seq_event_event_id;
    SELECT oid INTO db_id FROM pg_database WHERE datname = current_database();

    PERFORM pg_try_advisory_xact_lock_shared(db_id, 0);
    PERFORM pg_try_advisory_xact_lock_shared(1, (id & 4294967295)::bit(32)::integer);
    PERFORM pg_try_advisory_xact_lock_shared(2, (id >> 32)::bit(32)::integer);
END;
$$ LANGUAGE plpgsql";

pub async fn disintegrate(url: String, load: Load) -> Result<Ran, Failure> {
    // Unchecked, so that an older server takes the function before it is replaced.
    let options: sqlx_08::postgres::PgConnectOptions = url.parse()?;
    let options = options.options([("check_function_bodies", "off")]);
    let pool = sqlx_08::postgres::PgPoolOptions::new().max_connections(10).connect_with(options).await?;
    let store = PgEventStore::try_new(pool.clone(), Json::<Happened>::default()).await?;
    sqlx_08::query(BEGIN_EPOCH).execute(&pool).await?;
    let maker = Arc::new(disintegrate_postgres::decision_maker(store, NoSnapshot));
    let conflicts = Arc::new(AtomicU64::new(0));
    let counting = conflicts.clone();
    let sample = sample::run(load, move |task, index| {
        let (maker, conflicts) = (maker.clone(), counting.clone());
        async move {
            // Its conflicts come as errors of two kinds; each is tried again, as its user would have to.
            for _ in 0..1_000 {
                if maker.make(Deposit(sample::stream(task, index / HISTORY))).await.is_ok() {
                    return true;
                }
                conflicts.fetch_add(1, Ordering::Relaxed);
            }
            false
        }
    })
    .await;
    pool.close().await;
    let held = held(&url, "SELECT account, count(*) FROM event GROUP BY account").await?;
    Ok(Ran { sample, held: Some(held), conflicts: conflicts.load(Ordering::Relaxed) })
}
