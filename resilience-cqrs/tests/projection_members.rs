//! Members of a projection in processes that are killed: their partitions go to the others, and every event counts once.
//!
//! The test starts itself as the child and kills it with work under way. `MEMBER_KILLS` sets how often; 3 by default.
#![cfg(all(unix, feature = "postgres"))]

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use resilience_core::time::SharedTimer;
use resilience_cqrs::lease::PostgresLeases;
use resilience_cqrs::projection::{PartitionedHandle, PostgresProjection, ProjectionRunner};
use resilience_cqrs::{Append, BoxError, EventStore, Expected, NewEvent, PostgresStore, Query, Recorded};
use sqlx::{Executor, PgConnection};

const CHILD: &str = "CQRS_MEMBER_CHILD";
const SCHEMA: &str = "members";
/// Two have their share at one moment only if both can renew what they have: a third of this is enough for a round trip.
const TTL: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(120);

/// Sums up payloads by stream.
struct Balances;

impl PostgresProjection for Balances {
    fn name(&self) -> &str {
        "balances@1"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn prepare(&self, tx: &mut PgConnection) -> Result<(), BoxError> {
        tx.execute("CREATE TABLE IF NOT EXISTS balance (account text PRIMARY KEY, cents bigint NOT NULL)").await?;
        Ok(())
    }

    async fn apply(&self, event: &Recorded, tx: &mut PgConnection) -> Result<(), BoxError> {
        let cents: i64 = std::str::from_utf8(&event.payload)?.parse()?;
        let add = "INSERT INTO balance VALUES ($1, $2)
                   ON CONFLICT (account) DO UPDATE SET cents = balance.cents + excluded.cents";
        sqlx::query(add).bind(event.stream.as_str()).bind(cents).execute(tx).await?;
        Ok(())
    }
}

async fn join(url: &str, name: &str) -> (PostgresStore, PartitionedHandle<PostgresStore>) {
    let poll = Duration::from_millis(20);
    let store = PostgresStore::builder().schema(SCHEMA).poll(poll).open(url).await.unwrap();
    let leases = PostgresLeases::builder().schema(SCHEMA).open(url).await.unwrap();
    let runner = ProjectionRunner::postgres(store.clone(), Balances).batch(NonZeroUsize::new(5).unwrap());
    let member = runner.partitions(NonZeroU32::new(8).unwrap(), leases, name).ttl(TTL).start();
    (store, member)
}

/// ES19 and ES21.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_costs_no_event_and_doubles_none_and_its_partitions_move() {
    let url = testkit::postgres::shared();
    let kills = std::env::var("MEMBER_KILLS").map_or(3, |kills| kills.parse().unwrap());
    let (store, member) = join(url, "parent").await;
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    let mut next = 0_i64;
    for _ in 0..kills {
        let mut child = Member(child(url));
        // It has its share, and is in the middle of it.
        // Some come meanwhile: so many, and not for as long as it takes, or they would be more than can be taken in where
        // writing is faster than that.
        for _ in 0..30 {
            append(&store, &mut next, &mut expected).await;
        }
        until(|| member.status().members == 2 && member.status().owned.len() == 4).await;
        for _ in 0..20 {
            append(&store, &mut next, &mut expected).await;
        }
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        append(&store, &mut next, &mut expected).await;
        member.at_least(store.head(), PATIENCE).await.unwrap();
        // All is ours again, if need be after a lease that could not be renewed in time.
        until(|| member.status().owned.len() == 8).await;
        let select = sqlx::query_as("SELECT account, cents FROM balance ORDER BY account COLLATE \"C\"");
        let found: Vec<(String, i64)> = select.fetch_all(&mut *store.connection().await.unwrap()).await.unwrap();
        assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), expected);
    }
    member.stop().await.unwrap();
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        SharedTimer::default().sleep(Duration::from_millis(5)).await;
    }
}

async fn append(store: &PostgresStore, next: &mut i64, expected: &mut BTreeMap<String, i64>) {
    let mut append = Append::new();
    for _ in 0..20 {
        let account = format!("account-{}", *next % 50);
        *expected.entry(account.clone()).or_insert(0) += *next;
        append = append.events(account, Expected::Any, [NewEvent::new("Deposited", next.to_string())]);
        *next += 1;
    }
    store.append(append).await.unwrap();
}

/// Killed with the test, however that ends.
struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn child(url: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_child", "--nocapture"]).env(CHILD, url).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Not a test of its own: what the test above starts and kills.
#[tokio::test]
async fn the_child() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let _member = join(&url, "child").await;
    std::future::pending::<()>().await;
}
