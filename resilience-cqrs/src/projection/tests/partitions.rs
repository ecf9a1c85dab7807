//! Members that come, go, hang and wake up: each key is run by one at a time, in order, and each event counts once.

use std::num::NonZeroU32;
use std::sync::Arc;

use resilience_core::lease::{Acquired, Lease, Leases, MemoryLeases};
use resilience_core::time::SharedTimer;
use tokio::sync::watch;

use super::*;

const TTL: Duration = Duration::from_secs(9);
const BEAT: Duration = Duration::from_secs(3);
const PARTITIONS: u32 = 8;
const KEYS: usize = 40;

fn partitions(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// Keeps what it has seen of each stream, in order.
#[derive(Clone)]
struct Journal;

impl Projection for Journal {
    fn name(&self) -> &str {
        "journal@1"
    }

    fn query(&self) -> Query {
        Query::types(["Deposited"])
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        let key = event.stream.as_str().to_owned();
        let mut journal = rows.get("journal", &key).await?.map_or_else(Vec::new, |journal| journal.to_vec());
        journal.extend_from_slice(&event.payload);
        journal.push(b' ');
        rows.put("journal", key, journal);
        Ok(())
    }
}

/// Appends the next event of each key.
async fn round<S: EventStore>(store: &S, number: usize) {
    for key in 0..KEYS {
        deposit(store, &format!("k{key}"), &number.to_string()).await;
    }
}

async fn check<S: EventStore>(store: &S, rounds: usize) {
    let expected: String = (0..rounds).map(|number| format!("{number} ")).collect();
    for key in 0..KEYS {
        let journal = store.row("journal", format!("k{key}").as_bytes()).await.unwrap().unwrap();
        assert_eq!(std::str::from_utf8(&journal).unwrap(), expected, "k{key}");
    }
}

/// A process: its way to the store and to the leases, both of which can be held up.
#[derive(Clone)]
struct Process {
    store: FaultyStore<MemoryStore>,
    leases: Reachable,
}

impl Process {
    fn new(store: &MemoryStore, leases: &MemoryLeases) -> Self {
        let is_reachable = Arc::new(watch::Sender::new(true));
        Self { store: FaultyStore::new(store.clone()), leases: Reachable { leases: leases.clone(), is_reachable } }
    }

    fn join(&self, name: &str) -> PartitionedHandle<FaultyStore<MemoryStore>> {
        let runner = ProjectionRunner::builder(self.store.clone(), Journal);
        runner.partitions(partitions(PARTITIONS), self.leases.clone(), name).ttl(TTL).start()
    }
}

#[derive(Clone)]
struct Reachable {
    leases: MemoryLeases,
    is_reachable: Arc<watch::Sender<bool>>,
}

impl Reachable {
    async fn reach(&self) {
        let _ = self.is_reachable.subscribe().wait_for(|is| *is).await;
    }
}

impl Leases for Reachable {
    type Error = std::convert::Infallible;

    async fn acquire(&self, resource: &str, owner: &str, ttl: Duration) -> Result<Acquired, Self::Error> {
        self.reach().await;
        self.leases.acquire(resource, owner, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, Self::Error> {
        self.reach().await;
        self.leases.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<bool, Self::Error> {
        self.reach().await;
        self.leases.release(lease).await
    }
}

fn owned<S: EventStore>(members: &[&PartitionedHandle<S>]) -> Vec<usize> {
    let mut all = std::collections::BTreeSet::new();
    let mut sizes = Vec::new();
    for member in members {
        let owned = member.status().owned;
        sizes.push(owned.len());
        for index in owned.into_keys() {
            assert!(all.insert(index), "partition {index} is run by two");
        }
    }
    sizes.sort_unstable();
    sizes
}

async fn pass(time: Duration) {
    SharedTimer::default().sleep(time).await;
}

/// ES19.
#[tokio::test(start_paused = true)]
async fn a_members_partitions_move_within_its_leases_and_the_zombie_that_wakes_up_cannot_commit() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
    let processes = [0, 1, 2].map(|_| Process::new(&store, &leases));
    let [a, b, c] = ["a", "b", "c"].map(|name| (name, &processes[usize::from(name.as_bytes()[0] - b'a')]));
    let [a, b, c] = [a, b, c].map(|(name, process)| process.join(name));
    round(&store, 0).await;
    a.at_least(store.head(), TTL).await.unwrap();
    pass(BEAT * 3).await;
    assert_eq!(owned(&[&a, &b, &c]), [2, 3, 3], "a fair share each");
    assert_eq!([&a, &b, &c].map(|member| member.status().members), [3; 3]);

    // The first stops in the middle of its commits, and hears and says nothing more.
    let its_own = a.status().owned;
    let held = processes[0].store.hold_appends();
    processes[0].leases.is_reachable.send_replace(false);
    round(&store, 1).await;
    held.arrived(its_own.len()).await;
    let began = SharedTimer::default().now();
    b.at_least(store.head(), TTL * 2).await.unwrap();
    let took = SharedTimer::default().now() - began;
    assert!(took > TTL - BEAT && took <= TTL + BEAT, "{took:?}");
    check(&store, 2).await;

    // It wakes up: its commits arrive, and are refused.
    drop(held);
    processes[0].leases.is_reachable.send_replace(true);
    round(&store, 2).await;
    b.at_least(store.head(), TTL).await.unwrap();
    check(&store, 3).await;
    pass(BEAT * 4).await;
    assert_eq!(owned(&[&a, &b, &c]), [2, 3, 3], "it takes part again");

    // One that ends in order does not keep anybody waiting for its leases.
    b.stop().await.unwrap();
    round(&store, 3).await;
    let began = SharedTimer::default().now();
    a.at_least(store.head(), TTL).await.unwrap();
    assert!(SharedTimer::default().now() - began <= BEAT * 2);
    pass(BEAT * 2).await;
    assert_eq!(owned(&[&a, &c]), [4, 4]);
    check(&store, 4).await;
    for member in [a, c] {
        member.stop().await.unwrap();
    }
    assert!(store.rows("projection.member", None, 10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_joins_is_given_its_share_while_events_come() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
    let first = Process::new(&store, &leases).join("node");
    let mut members = vec![first];
    for number in 0..30 {
        round(&store, number).await;
        pass(BEAT / 3).await;
        if number % 6 == 5 {
            members.push(Process::new(&store, &leases).join("node")); // The same name: another process all the same.
        }
    }
    pass(BEAT * 3).await;
    members[0].at_least(store.head(), TTL).await.unwrap();
    assert_eq!(owned(&members.iter().collect::<Vec<_>>()), [1, 1, 1, 1, 2, 2]);
    check(&store, 30).await;
}

#[tokio::test(start_paused = true)]
async fn a_projection_divided_otherwise_is_refused_and_takes_nothing_in_twice() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
    let divided = |number: u32, name: &str| {
        let runner = ProjectionRunner::builder(store.clone(), Journal);
        runner.partitions(partitions(number), leases.clone(), name).ttl(TTL).start()
    };
    round(&store, 0).await;
    let eight = divided(8, "a");
    eight.at_least(store.head(), TTL).await.unwrap();
    let four = divided(4, "b");
    pass(BEAT).await;
    assert!(matches!(four.stop().await, Err(RunnerError::Divided { found: 8, wanted: 4 })));
    let mut one = ProjectionRunner::builder(store.clone(), Journal).start();
    assert!(matches!(one.ended().await, Err(RunnerError::Divided { found: 8, wanted: 1 })));
    let mut balances = ProjectionRunner::builder(store.clone(), Balances::default()).start();
    caught_up(&store, &balances).await;
    let runner = ProjectionRunner::builder(store.clone(), Balances::default());
    let of_one = runner.partitions(partitions(3), leases.clone(), "c").start();
    pass(BEAT).await;
    assert!(matches!(of_one.stop().await, Err(RunnerError::Divided { found: 1, wanted: 3 })));
    check(&store, 1).await;
    eight.stop().await.unwrap();
    assert!(futures::poll!(std::pin::pin!(balances.ended())).is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_parked_key_is_replayed_where_its_partition_runs() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
    let balances = Balances::default();
    let join = |name: &str| {
        let runner = ProjectionRunner::builder(store.clone(), balances.clone());
        runner.partitions(partitions(4), leases.clone(), name).ttl(TTL).start()
    };
    let (a, b) = (join("a"), join("b"));
    pass(BEAT * 2).await;
    for key in ["k1", "k2", "k3", "k4"] {
        deposit(&store, key, "poison").await;
        deposit(&store, key, "4").await;
    }
    a.at_least(store.head(), TTL).await.unwrap();
    balances.mended.store(true, Ordering::Relaxed);
    for key in ["k1", "k2", "k3", "k4"] {
        let answers = [a.replay(key).await, b.replay(key).await];
        assert!(answers.contains(&Ok(Replayed { events: 2 })), "{answers:?}");
        assert!(answers.contains(&Err(ReplayError::Elsewhere)), "{answers:?}");
        assert_eq!(row(&store, "balance", key).await, Some(4));
    }
}

/// Leases that do not answer for some of the partitions.
#[derive(Clone)]
struct Deaf(MemoryLeases);

impl Leases for Deaf {
    type Error = std::convert::Infallible;

    async fn acquire(&self, resource: &str, owner: &str, ttl: Duration) -> Result<Acquired, Self::Error> {
        if ["#0/", "#1/"].iter().all(|answered| !resource.contains(answered)) {
            std::future::pending::<()>().await;
        }
        self.0.acquire(resource, owner, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, Self::Error> {
        self.0.renew(lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<bool, Self::Error> {
        self.0.release(lease).await
    }
}

/// What it has is renewed in time although each question for more takes as long as it may.
#[tokio::test(start_paused = true)]
async fn a_member_that_asks_in_vain_for_more_does_not_lose_what_it_has() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
    let runner = ProjectionRunner::builder(store.clone(), Journal);
    let member = runner.partitions(partitions(PARTITIONS), Deaf(leases.clone()), "a").ttl(TTL).start();
    for _ in 0..60 {
        pass(BEAT / 3).await;
        for index in member.status().owned.into_keys() {
            let taken = leases.acquire(&format!("journal@1#{index}/8"), "zombie hunter", TTL).await.unwrap();
            assert!(matches!(taken, Acquired::Held { .. }), "the lease of {index} ran out");
        }
    }
    assert_eq!(owned(&[&member]), [2]);
    member.stop().await.unwrap();
}

/// A key that cannot be told ends its partition's runner. Begun anew at once, it would keep store and processor busy.
#[tokio::test(start_paused = true)]
async fn a_partition_that_panics_is_begun_again_at_the_next_beat_and_not_before() {
    #[derive(Clone)]
    struct Unkeyed(Arc<std::sync::atomic::AtomicU32>);

    impl Projection for Unkeyed {
        fn name(&self) -> &str {
            "journal@1"
        }

        fn query(&self) -> Query {
            Journal.query()
        }

        fn key(&self, event: &Recorded) -> String {
            // In the end it is mended, and a test that fails ends as well.
            assert!(self.0.fetch_add(1, Ordering::Relaxed) >= 100, "as asked");
            event.stream.as_str().to_owned()
        }

        async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
            Journal.apply(event, rows).await
        }
    }

    let (store, leases) = (MemoryStore::new(), MemoryLeases::default());
    deposit(&store, "k0", "0").await;
    let asked = Arc::default();
    let runner = ProjectionRunner::builder(store.clone(), Unkeyed(Arc::clone(&asked)));
    let member = runner.partitions(partitions(1), leases, "a").ttl(TTL).start();
    pass(BEAT * 9 + BEAT / 2).await;
    assert_eq!(asked.load(Ordering::Relaxed), 10);
    asked.store(100, Ordering::Relaxed);
    member.at_least(store.head(), TTL).await.unwrap();
    member.stop().await.unwrap();
}
