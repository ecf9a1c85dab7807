//! States written down.

use std::num::{NonZeroU64, NonZeroUsize};

use super::*;
use crate::RowChange;
use crate::testing::{Fault, FaultyStore};

/// The same rules, with a state that can be written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    cents: i64,
}

/// The same again with a field more: what the program's next release makes of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Audited {
    cents: i64,
    movements: u64,
}

macro_rules! accounts {
    ($($kind:ty: $($more:ident)?;)*) => {$(
        impl Decider for $kind {
            const STREAM: &'static str = "account";
            /// How much, and in how many events.
            type Command = (i64, usize);
            type Event = Counted;
            type Error = ();

            fn evolve(&mut self, event: &Counted) {
                if let Counted::Added { by } = event {
                    self.cents += by;
                    $(self.$more += 1;)?
                }
            }

            fn decide(&self, (by, times): &(i64, usize)) -> Result<Vec<Counted>, ()> {
                Ok(vec![Counted::Added { by: *by }; *times])
            }
        }
    )*};
}

accounts! {
    Account: ;
    Audited: movements;
}

fn accounts<D: Decider + Serialize + serde::de::DeserializeOwned, S: EventStore>(
    store: S,
    every: u64,
    label: &str,
) -> Repository<D, S> {
    let every = NonZeroU64::new(every).unwrap();
    Repository::builder(store).snapshots(Snapshots::every(every, label)).build()
}

/// Lets the writers finish: there are a few, and a store in memory takes no time.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

async fn rows(store: &impl EventStore) -> usize {
    store.rows("snapshot", None, 10).await.unwrap().len()
}

/// ES30 and ES31: by one, two and three, with commands of one to four events, cut anywhere.
#[tokio::test]
async fn a_state_with_snapshots_is_the_fold_of_all_events_whatever_the_policy() {
    for every in 1..=3 {
        for times in 1..=4 {
            let store = MemoryStore::new();
            for n in 1..=10 {
                let done = accounts::<Account, _>(store.clone(), every, "1").execute("1", &(10, times)).await.unwrap();
                settle().await;
                assert_eq!(done.state.cents, 10 * times as i64 * n, "every {every}, {times} events");
            }
            let again = accounts::<Account, _>(store.clone(), every, "1");
            assert_eq!(again.load("1").await.unwrap().state.cents, 100 * times as i64);
            assert_eq!(again.snapshots().used, 1);
            assert_eq!(rows(&store).await, 1);
        }
    }
}

#[tokio::test]
async fn a_stream_with_a_snapshot_is_read_from_there() {
    let store = MemoryStore::new();
    let one = Json.encode(&Counted::Added { by: 1 }).unwrap();
    store.append(Append::new().events("account-1", Expected::Any, vec![one; 1000])).await.unwrap();
    // Found long, it is written down when it is first loaded.
    let accounts = accounts::<Account, _>(store.clone(), 100, "1");
    accounts.load("1").await.unwrap();
    settle().await;
    assert_eq!(accounts.snapshots().written, 1);
    let counted = FaultyStore::new(store);
    let again = self::accounts::<Account, _>(counted.clone(), 100, "1");
    assert_eq!(again.load("1").await.unwrap().state.cents, 1000);
    assert_eq!(counted.reads(), 2, "the row, and the page after it");
}

/// ES32.
#[tokio::test]
async fn a_snapshot_of_another_shape_or_label_is_not_looked_at_and_is_replaced() {
    let store = MemoryStore::new();
    let old = accounts::<Account, _>(store.clone(), 2, "1");
    old.execute("1", &(5, 4)).await.unwrap();
    settle().await;
    assert_eq!((old.snapshots().written, rows(&store).await), (1, 1));
    // A field more: the old snapshot lacks it, and a default would be a wrong figure.
    let newer = accounts::<Audited, _>(store.clone(), 2, "1");
    let loaded = newer.load("1").await.unwrap();
    assert_eq!(loaded.state, Audited { cents: 20, movements: 4 });
    settle().await;
    assert_eq!((newer.snapshots().ignored, newer.snapshots().written, rows(&store).await), (1, 1, 1));
    let again = accounts::<Audited, _>(store.clone(), 2, "1");
    assert_eq!(again.load("1").await.unwrap().state.movements, 4);
    assert_eq!(again.snapshots().used, 1);
    // And so is one with another label.
    let relabelled = accounts::<Audited, _>(store, 2, "2");
    relabelled.load("1").await.unwrap();
    assert_eq!(relabelled.snapshots().ignored, 1);
}

/// ES33.
#[tokio::test]
async fn an_older_snapshot_never_replaces_a_newer_one() {
    let store = MemoryStore::new();
    let accounts = accounts::<Account, _>(store.clone(), 10, "1");
    let stream = Repository::<Account, MemoryStore>::stream("1");
    let state = |version: u64| Account { cents: version as i64 };
    let at = |version| Loaded { state: state(version), version: Version::new(version), ..Loaded::default() };
    for version in [100, 90] {
        accounts.keep(&stream, Version::EMPTY, &at(version));
        settle().await;
    }
    assert_eq!((accounts.snapshots().written, accounts.snapshots().skipped), (1, 1));
    let row = store.row("snapshot", b"account-1").await.unwrap().unwrap();
    assert!(row.ends_with(br#"{"cents":100}"#));
}

/// ES33: the newer one comes in between the look and the write.
#[tokio::test]
async fn an_older_snapshot_never_overtakes_a_newer_one() {
    let (stream, store) = (Repository::<Account, MemoryStore>::stream("1"), FaultyStore::new(MemoryStore::new()));
    let at = |n: u64| Loaded { state: Account { cents: n as i64 }, version: Version::new(n), ..Loaded::default() };
    let (slow, fast) = (accounts::<Account, _>(store.clone(), 10, "1"), accounts(store.inner().clone(), 10, "1"));
    let held = store.hold_appends();
    slow.keep(&stream, Version::EMPTY, &at(90));
    held.arrived(1).await;
    fast.keep(&stream, Version::EMPTY, &at(100));
    settle().await;
    drop(held);
    settle().await;
    assert_eq!((fast.snapshots().written, slow.snapshots().written, slow.snapshots().skipped), (1, 0, 1));
    let row = store.row("snapshot", b"account-1").await.unwrap().unwrap();
    assert!(row.ends_with(br#"{"cents":100}"#));
}

/// ES34.
#[tokio::test]
async fn a_snapshot_that_cannot_be_written_or_read_fails_no_command() {
    // Every second append is that of a snapshot: states are kept, so that nothing is written while loading.
    let store = FaultyStore::new(MemoryStore::new()).on_append(|nth| (nth % 2 == 0).then_some(Fault::Refused));
    let every = Snapshots::every(NonZeroU64::MIN, "1");
    let accounts: Repository<Account, _> =
        Repository::builder(store.clone()).keep_states(NonZeroUsize::MIN).snapshots(every).build();
    for n in 1..=5 {
        assert_eq!(accounts.execute("1", &(1, 1)).await.unwrap().state.cents, n);
        settle().await;
    }
    assert_eq!((accounts.snapshots().failed, accounts.snapshots().written), (5, 0));
    let fresh = self::accounts::<Account, _>(store.inner().clone(), 100, "1");
    for garbage in ["", "short", "sixteen bytes and no JSON"] {
        let put = RowChange::put("snapshot", "account-1", garbage);
        store.inner().append(Append::new().row(put)).await.unwrap();
        assert_eq!(fresh.load("1").await.unwrap().state.cents, 5);
    }
    assert_eq!(fresh.snapshots().ignored, 3);
}

#[tokio::test]
async fn kept_states_and_snapshots_go_together() {
    let store = MemoryStore::new();
    let every = NonZeroU64::new(3).unwrap();
    let both: Repository<Account, _> = Repository::builder(store.clone())
        .keep_states(NonZeroUsize::new(10).unwrap())
        .snapshots(Snapshots::every(every, "1"))
        .build();
    for n in 1..=10 {
        assert_eq!(both.execute("1", &(1, 1)).await.unwrap().state.cents, n);
        settle().await;
    }
    assert_eq!((both.snapshots().written, both.snapshots().used), (3, 0));
}
