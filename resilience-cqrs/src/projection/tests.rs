mod lost;
mod panics;
mod partitions;
mod reactions;
mod rebuilds;
mod replays;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::log::{Append, AppendError, BoxError, Expected, NewEvent, Position, Query, Recorded};
use crate::store::EventStore;
use crate::testing::{Fault, FaultyStore};
use crate::{MemoryStore, RowChange};

/// Sums up the payloads of `Deposited` by stream, and counts every event it took in. Fails on a payload that is no number
/// until it is mended, and panics on "panic".
#[derive(Clone, Default)]
struct Balances {
    mended: std::sync::Arc<AtomicBool>,
}

fn number(bytes: &[u8]) -> Result<i64, BoxError> {
    Ok(std::str::from_utf8(bytes)?.parse()?)
}

impl Projection for Balances {
    fn name(&self) -> &str {
        "balances@1"
    }

    fn query(&self) -> Query {
        Query::types(["Deposited"])
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        let count = rows.get("count", "all").await?.map_or(Ok(0), |count| number(&count))?;
        // Changed before the failure: it must be undone with the event.
        rows.put("count", "all", (count + 1).to_string());
        let cents = match &event.payload[..] {
            b"panic" if !self.mended.load(Ordering::Relaxed) => panic!("as asked"),
            payload => match number(payload) {
                Err(_) if self.mended.load(Ordering::Relaxed) => 0,
                cents => cents?,
            },
        };
        let key = event.stream.as_str().to_owned();
        let balance = rows.get("balance", &key).await?.map_or(Ok(0), |balance| number(&balance))?;
        rows.put("balance", key, (balance + cents).to_string());
        Ok(())
    }
}

async fn deposit<S: EventStore>(store: &S, account: &str, payload: &str) -> Position {
    let event = NewEvent::new("Deposited", payload.to_owned());
    store.append(Append::new().events(account, Expected::Any, [event])).await.unwrap().last
}

async fn row<S: EventStore>(store: &S, space: &str, key: &str) -> Option<i64> {
    store.row(space, key.as_bytes()).await.unwrap().map(|value| number(&value).unwrap())
}

async fn caught_up<S: EventStore>(store: &S, running: &ProjectionHandle) {
    running.at_least(store.head(), Duration::from_secs(60)).await.unwrap();
}

/// Hears what a projection tells.
#[derive(Default)]
struct Heard(Mutex<Vec<&'static str>>);

impl resilience_core::event::Sink for Heard {
    fn on_event(&self, event: &resilience_core::event::Event<'_>) {
        assert_eq!(event.policy.as_str(), "balances@1");
        self.0.lock().unwrap().push(event.fact.name());
    }
}

/// ES21, at two hundred points.
#[tokio::test(start_paused = true)]
async fn a_crash_between_any_two_steps_counts_no_event_twice_and_none_never() {
    // The runner is dropped after a different number of polls each time, wherever that is, and started anew.
    let store = MemoryStore::new();
    for n in 0..400 {
        deposit(&store, &format!("a{}", n % 7), "1").await;
    }
    for polls in 0..200 {
        let batch = std::num::NonZeroUsize::new(polls % 5 + 1).unwrap();
        let yielding = FaultyStore::new(Yielding(store.clone(), 1));
        let (runner, _handle) = ProjectionRunner::builder(yielding, Balances::default()).batch(batch).build();
        let mut run = Box::pin(runner.run());
        for _ in 0..polls % 23 {
            let _ = futures::poll!(&mut run);
            tokio::task::yield_now().await;
        }
    }
    let running = ProjectionRunner::builder(store.clone(), Balances::default()).start();
    caught_up(&store, &running).await;
    assert_eq!(row(&store, "count", "all").await, Some(400));
    for account in 0..7 {
        let deposits = (0..400).filter(|n| n % 7 == account).count() as i64;
        assert_eq!(row(&store, "balance", &format!("a{account}")).await, Some(deposits));
    }
    running.stop().await.unwrap();
}

/// A store of which every call is pending once before it takes effect (a page's so often) and an append once after it.
#[derive(Clone, Debug)]
struct Yielding(MemoryStore, u32);

impl EventStore for Yielding {
    async fn append(&self, append: Append) -> Result<crate::Appended, AppendError> {
        tokio::task::yield_now().await;
        let result = self.0.append(append).await;
        tokio::task::yield_now().await;
        result
    }

    async fn committed(&self, command: &crate::CommandId) -> Result<Option<crate::Committed>, crate::ReadError> {
        self.0.committed(command).await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<crate::Page, crate::ReadError> {
        for _ in 0..self.1 {
            tokio::task::yield_now().await;
        }
        self.0.read(after, query, limit).await
    }

    async fn read_stream(
        &self,
        stream: &crate::StreamId,
        after: crate::Version,
        limit: usize,
    ) -> Result<Vec<Recorded>, crate::ReadError> {
        self.0.read_stream(stream, after, limit).await
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<bytes::Bytes>, crate::ReadError> {
        tokio::task::yield_now().await;
        self.0.row(space, key).await
    }

    async fn rows(
        &self,
        space: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(bytes::Bytes, bytes::Bytes)>, crate::ReadError> {
        tokio::task::yield_now().await;
        self.0.rows(space, after, limit).await
    }

    fn head(&self) -> Position {
        self.0.head()
    }

    async fn wait_past(&self, position: Position) -> Position {
        self.0.wait_past(position).await
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_refusals_of_the_store_are_no_ones_fault_and_double_nothing() {
    // Every third append is refused and every third one's answer is lost; every 31st read fails.
    let store = FaultyStore::new(MemoryStore::new())
        .on_append(|nth| match nth % 3 {
            0 => Some(Fault::Refused),
            1 => Some(Fault::AnswerLost),
            _ => None,
        })
        .on_read(|nth| (nth % 31 == 0).then_some(Fault::Refused));
    for n in 0..100 {
        deposit(store.inner(), &format!("a{}", n % 3), "1").await;
    }
    let batch = std::num::NonZeroUsize::new(4).unwrap();
    let running = ProjectionRunner::builder(store.clone(), Balances::default()).batch(batch).start();
    running.at_least(store.head(), Duration::from_secs(600)).await.unwrap();
    assert_eq!(row(store.inner(), "count", "all").await, Some(100));
    assert!(running.status().parked.is_empty());
    assert!(store.appends() > 25 + 10, "faults were met on the way");
}

/// ES23 and ES24: what means nothing to the projection is parked, and stays in the log byte for byte.
#[tokio::test(start_paused = true)]
async fn a_poison_event_parks_its_key_and_nothing_else_until_it_is_replayed_in_order() {
    let store = MemoryStore::new();
    let balances = Balances::default();
    let heard = std::sync::Arc::new(Heard::default());
    let running = ProjectionRunner::builder(store.clone(), balances.clone()).listener(heard.clone()).start();
    for (account, payload) in [("k", "1"), ("other", "1"), ("k", "poison"), ("other", "2"), ("k", "4"), ("k", "8")] {
        deposit(&store, account, payload).await;
    }
    caught_up(&store, &running).await;
    assert_eq!((row(&store, "balance", "k").await, row(&store, "balance", "other").await), (Some(1), Some(3)));
    assert_eq!(row(&store, "count", "all").await, Some(3), "what the poison event changed was undone");
    let status = running.status();
    assert_eq!((status.health, status.parked), (Health::Degraded, [("k".into(), 3)].into()));
    // Not mended yet: the first of them fails again, and the order is kept.
    let again = running.replay("k").await.unwrap_err();
    assert!(matches!(&again, ReplayError::FailedAgain { position, events: 0, .. } if position.get() == 3), "{again:?}");
    let first = park::first(&store, "balances@1", "k").await.unwrap().unwrap();
    assert_eq!((first.position.get(), first.note.attempts), (3, 2));
    assert_eq!(first.note.error, "invalid digit found in string");
    balances.mended.store(true, Ordering::Relaxed);
    assert_eq!(running.replay("k").await, Ok(Replayed { events: 3 }));
    assert_eq!(row(&store, "balance", "k").await, Some(13));
    assert_eq!(running.status().health, Health::Good);
    assert!(store.rows(park::SPACE.as_str(), None, 10).await.unwrap().is_empty());
    assert_eq!(running.replay("k").await, Ok(Replayed { events: 0 }));
    deposit(&store, "k", "16").await;
    caught_up(&store, &running).await;
    assert_eq!(row(&store, "balance", "k").await, Some(29));
    assert_eq!(row(&store, "count", "all").await, Some(7));
    running.stop().await.unwrap();
    let heard = heard.0.lock().unwrap();
    assert!(heard.contains(&"parked") && heard.contains(&"replayed") && heard.last() == Some(&"stopped"));
}

#[tokio::test(start_paused = true)]
async fn parked_keys_are_remembered_by_the_next_runner() {
    let store = MemoryStore::new();
    let running = ProjectionRunner::builder(store.clone(), Balances::default()).start();
    deposit(&store, "k", "panic").await;
    deposit(&store, "k x", "poison").await;
    caught_up(&store, &running).await;
    running.stop().await.unwrap();
    let balances = Balances::default();
    let running = ProjectionRunner::builder(store.clone(), balances.clone()).start();
    deposit(&store, "k", "1").await;
    caught_up(&store, &running).await;
    assert_eq!(running.status().parked, [("k".into(), 2), ("k x".into(), 1)].into());
    assert_eq!(row(&store, "balance", "k").await, None);
    balances.mended.store(true, Ordering::Relaxed);
    // Mended, "panic" is no number and counts as none.
    assert_eq!(running.replay("k").await, Ok(Replayed { events: 2 }));
    assert_eq!(row(&store, "balance", "k").await, Some(1));
    assert_eq!(running.status().parked, [("k x".into(), 1)].into());
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_projection_that_parks_too_much_stands_still_instead() {
    let store = MemoryStore::new();
    let balances = Balances::default();
    let one = std::num::NonZeroUsize::MIN;
    let running = ProjectionRunner::builder(store.clone(), balances.clone()).batch(one).max_parked(3).start();
    for n in 0..6 {
        deposit(&store, &format!("a{n}"), "poison").await;
    }
    let stale = running.at_least(store.head(), Duration::from_secs(1)).await.unwrap_err();
    assert_eq!((stale.at, stale.wanted), (Position::new(3), Position::new(6)));
    assert_eq!(running.status().health, Health::Blocked);
    balances.mended.store(true, Ordering::Relaxed);
    running.replay("a0").await.unwrap();
    caught_up(&store, &running).await;
    assert_eq!(running.status().parked.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_was_replaced_cannot_commit_any_more() {
    let store = MemoryStore::new();
    let mut old = ProjectionRunner::builder(store.clone(), Balances::default()).start();
    deposit(&store, "a", "1").await;
    caught_up(&store, &old).await;
    let new = ProjectionRunner::builder(store.clone(), Balances::default()).start();
    deposit(&store, "a", "2").await;
    caught_up(&store, &new).await;
    // The old one wakes up for the same event, and finds the checkpoint moved.
    let patience = resilience_core::time::SharedTimer::default();
    let patience = std::pin::pin!(patience.sleep(Duration::from_secs(60)));
    match futures::future::select(std::pin::pin!(old.ended()), patience).await {
        futures::future::Either::Left((ended, _)) => assert!(matches!(ended, Err(RunnerError::Fenced)), "{ended:?}"),
        futures::future::Either::Right(_) => panic!("the old one goes on"),
    }
    assert_eq!(old.status().health, Health::Stopped);
    assert_eq!((row(&store, "balance", "a").await, row(&store, "count", "all").await), (Some(3), Some(2)));
    new.stop().await.unwrap();
}

/// ES28.
#[tokio::test(start_paused = true)]
async fn a_reader_of_its_own_writes_waits_and_is_told_when_it_takes_too_long() {
    let store = MemoryStore::new();
    let running = ProjectionRunner::builder(store.clone(), Balances::default()).start();
    let at = deposit(&store, "a", "1").await;
    assert_eq!(running.at_least(at, Duration::from_secs(1)).await, Ok(at));
    assert_eq!(row(&store, "balance", "a").await, Some(1));
    let never = Position::new(100);
    let timer = resilience_core::time::SharedTimer::default();
    let started = timer.now();
    let stale = running.at_least(never, Duration::from_secs(1)).await;
    assert_eq!(stale, Err(StaleRead { at, wanted: never }));
    assert_eq!(timer.now() - started, Duration::from_secs(1));
}

/// ES18.
#[tokio::test(start_paused = true)]
async fn the_checkpoint_moves_past_what_is_not_meant_for_the_projection() {
    let store = MemoryStore::new();
    let running = ProjectionRunner::builder(store.clone(), Balances::default()).start();
    deposit(&store, "a", "1").await;
    let others = vec![NewEvent::new("Other", ""); 3000];
    let last = store.append(Append::new().events("o", Expected::Any, others)).await.unwrap().last;
    assert_eq!(running.at_least(last, Duration::from_secs(1)).await, Ok(last));
    let saved = store.row("projection", b"balances@1").await.unwrap().unwrap();
    assert_eq!(checkpoint::Checkpoint::decode(&saved).unwrap().position, last);
    // A few more do not cost a commit each, but an orderly end saves them.
    let few = vec![NewEvent::new("Other", ""); 10];
    let last = store.append(Append::new().events("o", Expected::Any, few)).await.unwrap().last;
    running.at_least(last, Duration::from_secs(1)).await.unwrap();
    running.stop().await.unwrap();
    let saved = store.row("projection", b"balances@1").await.unwrap().unwrap();
    assert_eq!(checkpoint::Checkpoint::decode(&saved).unwrap().position, last);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_ends_the_runner_and_a_closed_store_ends_it_with_its_reason() {
    let store = MemoryStore::new();
    let (runner, handle) = ProjectionRunner::builder(store.clone(), Balances::default()).build();
    let task = tokio::spawn(runner.run());
    drop(handle);
    task.await.unwrap();
    let closed = FaultyStore::new(store).on_append(|nth| (nth > 1).then_some(Fault::Closed));
    let mut running = ProjectionRunner::builder(closed.clone(), Balances::default()).start();
    deposit(closed.inner(), "a", "1").await;
    assert!(matches!(running.ended().await, Err(RunnerError::Append(AppendError::Closed))));
}

#[tokio::test(start_paused = true)]
async fn a_garbled_checkpoint_is_an_error_and_not_a_fresh_start() {
    let store = MemoryStore::new();
    store.append(Append::new().row(RowChange::put("projection", "balances@1", "x"))).await.unwrap();
    let mut running = ProjectionRunner::builder(store, Balances::default()).start();
    assert!(matches!(running.ended().await, Err(RunnerError::Read(crate::ReadError::Corrupt(_)))));
}

/// ES27: a projection that hangs holds nobody up but itself.
#[tokio::test(start_paused = true)]
async fn a_slow_projection_costs_its_neighbour_nothing() {
    let store = MemoryStore::new();
    let slow = ProjectionRunner::builder(store.clone(), Slow).start();
    let fast = ProjectionRunner::builder(store.clone(), Balances::default()).start();
    let timer = resilience_core::time::SharedTimer::default();
    for _ in 0..100 {
        let at = deposit(&store, "a", "1").await;
        let began = timer.now();
        fast.at_least(at, Duration::from_secs(1)).await.unwrap();
        assert_eq!(timer.now(), began, "the fast one is there before any time has passed");
    }
    assert!(slow.status().position < Position::new(2));
}

struct Slow;

impl Projection for Slow {
    fn name(&self) -> &str {
        "slow@1"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, _: &Recorded, _: &mut Rows<'_>) -> Result<(), BoxError> {
        resilience_core::time::SharedTimer::default().sleep(Duration::from_secs(3600)).await;
        Ok(())
    }
}

/// ES20: from the log's beginning to live while eight append, with batches that end anywhere. Each event is taken
/// in once and in order: a gap or a repetition at the seam would show in the sum, and in the count.
#[tokio::test(start_paused = true)]
async fn catching_up_under_load_and_going_live_has_no_seam() {
    for batch in [1, 7, 64] {
        let store = MemoryStore::new();
        for n in 0..200 {
            deposit(&store, "before", &n.to_string()).await;
        }
        let writers = (0..8).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    deposit(&store, &format!("w{writer}"), &n.to_string()).await;
                    tokio::task::yield_now().await;
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let batch = std::num::NonZeroUsize::new(batch).unwrap();
        let running = ProjectionRunner::builder(store.clone(), Balances::default()).batch(batch).start();
        for writer in writers {
            writer.await.unwrap();
        }
        caught_up(&store, &running).await;
        assert_eq!(row(&store, "count", "all").await, Some(1_000));
        for writer in 0..8 {
            assert_eq!(row(&store, "balance", &format!("w{writer}")).await, Some((0..100).sum()));
        }
    }
}
