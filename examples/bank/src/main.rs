//! Accounts as events, in one SQLite file: `cargo run -p bank [FILE]`; without a file, a new one that goes again.
//!
//! From top to bottom: the events, an aggregate, a rule over two accounts, a read model that is rebuilt beside the old
//! one, and questions that see what was done a moment before.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use resilience_core::time::SharedTimer;
use resilience_cqrs::aggregate::{Decider, EventCodec, Json, Repository};
use resilience_cqrs::decision::{Decisions, Model};
use resilience_cqrs::projection::{ProjectionHandle, ProjectionRunner, SqlProjection};
use resilience_cqrs::queries::{Ask, Queries};
use resilience_cqrs::{BoxError, EventStore, Query, QueryItem, Recorded, SqliteStore, StreamId, Tag, Version};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

/// What can happen.
#[derive(Debug, Serialize, Deserialize)]
enum Bank {
    Opened { account: String },
    Deposited { account: String, cents: i64 },
    Withdrawn { account: String, cents: i64 },
}

impl Bank {
    fn account(&self) -> &str {
        let (Self::Opened { account } | Self::Deposited { account, .. } | Self::Withdrawn { account, .. }) = self;
        account
    }
}

fn tag(account: &str) -> Tag {
    format!("account:{account}").into()
}

// ---- One account: an aggregate.

#[derive(Clone, Debug, Default)]
struct Account {
    open: bool,
    cents: i64,
}

#[derive(Serialize)]
enum Command {
    Open { account: &'static str },
    Deposit { account: &'static str, cents: i64 },
}

#[derive(Debug)]
enum Refusal {
    NotOpen,
    Insufficient,
}

impl Decider for Account {
    const STREAM: &'static str = "account";
    type Command = Command;
    type Event = Bank;
    type Error = Refusal;

    fn evolve(&mut self, event: &Bank) {
        match event {
            Bank::Opened { .. } => self.open = true,
            Bank::Deposited { cents, .. } => self.cents += cents,
            Bank::Withdrawn { cents, .. } => self.cents -= cents,
        }
    }

    fn decide(&self, command: &Command) -> Result<Vec<Bank>, Refusal> {
        match *command {
            Command::Open { .. } if self.open => Ok(vec![]),
            Command::Open { account } => Ok(vec![Bank::Opened { account: account.into() }]),
            Command::Deposit { .. } if !self.open => Err(Refusal::NotOpen),
            Command::Deposit { account, cents } => Ok(vec![Bank::Deposited { account: account.into(), cents }]),
        }
    }

    fn tags(event: &Bank) -> Vec<Tag> {
        vec![tag(event.account())]
    }
}

// ---- Two accounts: a transfer is decided on the events of both, and conflicts with those of no third.

#[derive(Debug, Default)]
struct Accounts(BTreeMap<String, Account>);

impl Accounts {
    fn pay(&self, from: &str, to: &str, cents: i64) -> Result<Vec<Bank>, Refusal> {
        match (self.0.get(from), self.0.get(to)) {
            (Some(from), Some(_)) if from.cents < cents => Err(Refusal::Insufficient),
            (Some(_), Some(_)) => {
                Ok(vec![Bank::Withdrawn { account: from.into(), cents }, Bank::Deposited { account: to.into(), cents }])
            }
            _ => Err(Refusal::NotOpen),
        }
    }
}

impl Model for Accounts {
    type Event = Bank;

    fn evolve(&mut self, event: &Bank) {
        self.0.entry(event.account().to_owned()).or_default().evolve(event);
    }

    fn stream(event: &Bank) -> StreamId {
        Repository::<Account, SqliteStore>::stream(event.account())
    }

    fn tags(event: &Bank) -> Vec<Tag> {
        vec![tag(event.account())]
    }
}

// ---- The read model: a table, in the transaction that moves its checkpoint. Its version is in its name.

struct Balances {
    name: &'static str,
    table: &'static str,
}

impl SqlProjection for Balances {
    fn name(&self) -> &str {
        self.name
    }

    fn query(&self) -> Query {
        Query::types(["Deposited", "Withdrawn"])
    }

    fn prepare(&self, tx: &Transaction<'_>) -> Result<(), BoxError> {
        let columns = "account TEXT PRIMARY KEY, cents INTEGER NOT NULL, movements INTEGER NOT NULL";
        Ok(tx.execute_batch(&format!("CREATE TABLE IF NOT EXISTS {} ({columns})", self.table))?)
    }

    fn apply(&self, event: &Recorded, tx: &Transaction<'_>) -> Result<(), BoxError> {
        let (account, cents) = match Json.decode(event)? {
            Bank::Deposited { account, cents } => (account, cents),
            Bank::Withdrawn { account, cents } => (account, -cents),
            Bank::Opened { .. } => return Ok(()),
        };
        let (table, add) = (self.table, "cents = cents + excluded.cents, movements = movements + 1");
        let upsert = format!("INSERT INTO {table} VALUES (?1, ?2, 1) ON CONFLICT (account) DO UPDATE SET {add}");
        tx.execute(&upsert, (account, cents))?;
        Ok(())
    }
}

async fn balance(store: &SqliteStore, table: &'static str, model: &ProjectionHandle) -> Result<i64, Box<dyn Error>> {
    let rows = store.clone();
    let queries = Queries::new(move |account: &'static str| {
        let (rows, sql) = (rows.clone(), format!("SELECT cents FROM {table} WHERE account = ?1"));
        async move { rows.read_sql(move |db| db.query_row(&sql, [account], |row| row.get(0))).await }
    });
    let queries = queries.follow(model.progress(), Duration::from_secs(5));
    Ok(queries.oneshot(Ask::new("ann").at_least(store.head())).await?.value)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let file = std::env::args_os().nth(1).map_or_else(|| directory.path().join("bank.db"), Into::into);
    let store = SqliteStore::open(file).await?;
    let accounts: Repository<Account, _> = Repository::new(store.clone());
    let model = ProjectionRunner::sql(store.clone(), Balances { name: "balances@1", table: "balance_1" }).start();

    for account in ["ann", "bob"] {
        // With an id, a second run on the same file opens nothing a second time.
        let open = Command::Open { account };
        let done = accounts.request(account).execute_once(format!("open-{account}"), &open).await?;
        println!("the account {account} is open, at version {}", done.version);
    }
    accounts.execute("ann", &Command::Deposit { account: "ann", cents: 10_000 }).await?;

    let transfers: Decisions<Accounts, _> = Decisions::new(store.clone());
    let both = Query::tags([tag("ann")]).or(QueryItem::new().tags([tag("bob")]));
    let paid = transfers.decide(both.clone(), |seen| seen.pay("ann", "bob", 3_000)).await?;
    println!("paid 30.00 in {} events, as one", paid.events.len());
    let refused = transfers.decide(both, |seen| seen.pay("bob", "ann", 100_000_000)).await;
    println!("a million is refused: {:?}", refused.err().and_then(|error| error.into_refused()));

    println!("Ann has {} cents, says the table", balance(&store, "balance_1", &model).await?);
    let (first, now) = (Version::new(2), SharedTimer::default().wall());
    let then = accounts.load_at_version("ann", first).await?.state.cents;
    let now = accounts.load_at_time("ann", now).await?.state.cents;
    println!("she had {then} at version {first}, and {now} just now");

    // Built anew beside the old one, which goes on answering meanwhile.
    let rebuilt = ProjectionRunner::sql(store.clone(), Balances { name: "balances@2", table: "balance_2" }).start();
    println!("and {} in the table that was built anew", balance(&store, "balance_2", &rebuilt).await?);
    model.stop().await?;
    rebuilt.stop().await?;
    Ok(())
}
