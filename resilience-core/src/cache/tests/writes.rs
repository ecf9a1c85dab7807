//! A store behind the cache.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;
use crate::Reason;
use crate::cache::write::queue::{Ended, Queue};
use crate::cache::write::{Failure, Store, WriteBehind, WriteThrough};

type Passage = oneshot::Sender<Result<(), &'static str>>;

/// A table whose writes are let through by hand, in any order, once they are held.
#[derive(Clone, Default)]
struct Table {
    rows: Arc<Mutex<BTreeMap<u32, u32>>>,
    /// What is tried, and how it ends.
    held: Arc<Mutex<Vec<Passage>>>,
    holds: Arc<Mutex<bool>>,
    /// How often it was read, and how often it was written.
    calls: Arc<Mutex<(u32, u32)>>,
}

impl Table {
    fn that_holds() -> Self {
        let table = Self::default();
        *table.holds.lock().unwrap() = true;
        table
    }

    fn end(&self, nth: usize, ended: Result<(), &'static str>) {
        self.held.lock().unwrap().remove(nth).send(ended).unwrap();
    }

    fn row(&self, key: u32) -> Option<u32> {
        self.rows.lock().unwrap().get(&key).copied()
    }

    async fn passage(&self) -> Result<(), &'static str> {
        let held = {
            let holds = self.holds.lock().unwrap();
            let (end, held) = oneshot::channel();
            holds.then(|| self.held.lock().unwrap().push(end)).map(|()| held)
        };
        match held {
            Some(held) => held.await.unwrap(),
            None => Ok(()),
        }
    }
}

impl Store<u32, u32> for Table {
    type Error = &'static str;

    async fn get(&self, key: &u32) -> Result<Option<u32>, &'static str> {
        self.calls.lock().unwrap().0 += 1;
        Ok(self.row(*key))
    }

    async fn put(&self, key: &u32, value: &u32) -> Result<(), &'static str> {
        self.calls.lock().unwrap().1 += 1;
        self.passage().await?;
        self.rows.lock().unwrap().insert(*key, *value);
        Ok(())
    }

    async fn remove(&self, key: &u32) -> Result<(), &'static str> {
        self.passage().await?;
        self.rows.lock().unwrap().remove(key);
        Ok(())
    }
}

type Rows = Cache<u32, Option<u32>, &'static str>;

fn rows(capacity: u64) -> (Rows, ManualTimer) {
    let timer = ManualTimer::new();
    (Cache::builder().capacity(capacity).timer(timer.clone()).build().unwrap(), timer)
}

fn through(table: &Table) -> WriteThrough<u32, u32, Table> {
    WriteThrough::new(rows(100).0, table.clone())
}

fn behind(table: &Table, limit: usize) -> (WriteBehind<u32, u32, Table>, ManualTimer) {
    let (cache, timer) = rows(100);
    (WriteBehind::builder(cache, table.clone()).limit(limit).build().unwrap(), timer)
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match Task::new(future).run() {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn what_was_written_is_read_without_the_store_and_is_in_it() {
    let table = Table::default();
    let through = through(&table);
    assert_eq!(now(through.put(1, 10)), Ok(()));
    assert_eq!((now(through.get(&1)), table.row(1), table.calls.lock().unwrap().0), (Ok(Some(10)), Some(10), 0));
    assert_eq!(now(through.remove(1)), Ok(()));
    assert_eq!((now(through.get(&1)), table.row(1), table.calls.lock().unwrap().0), (Ok(None), None, 0));
}

#[test]
fn two_who_write_one_key_at_once_leave_the_cache_empty_rather_than_wrong() {
    // Theirs reaches the store last, ours returns last. A cache that keeps whatever returned last has ours until it
    // expires, and the store has theirs.
    let table = Table::that_holds();
    let through = through(&table);
    let (mut ours, mut theirs) = (Task::new(through.put(1, 10)), Task::new(through.put(1, 20)));
    assert!(ours.run().is_pending() && theirs.run().is_pending());
    table.end(0, Ok(()));
    table.end(0, Ok(()));
    assert_eq!((theirs.run(), ours.run()), (Poll::Ready(Ok(())), Poll::Ready(Ok(()))));
    assert_eq!(through.cache().get(&1), None);
    assert_eq!(now(through.get(&1)), Ok(table.row(1)));
    *table.holds.lock().unwrap() = false;
    assert_eq!(now(through.put(1, 30)), Ok(()));
    assert_eq!(through.cache().get(&1), Some(Ok(Some(30))), "nobody disputes it any more");
}

#[test]
fn a_write_that_fails_or_is_given_up_is_forgotten() {
    let table = Table::that_holds();
    let through = through(&table);
    through.cache().insert(1, Some(1));
    let mut fails = Task::new(through.put(1, 10));
    assert!(fails.run().is_pending());
    assert_eq!(through.cache().get(&1), Some(Ok(Some(1))), "the old value stands until the write is over");
    table.end(0, Err("reset"));
    assert_eq!((fails.run(), through.cache().get(&1)), (Poll::Ready(Err("reset")), None));
    through.cache().insert(1, Some(1));
    let mut dropped = Task::new(through.put(1, 10));
    assert!(dropped.run().is_pending());
    drop(dropped);
    assert_eq!(through.cache().get(&1), None);
}

#[test]
fn of_many_writes_of_one_key_the_last_one_is_made() {
    let table = Table::default();
    let (behind, _) = behind(&table, 2);
    (1..=100).for_each(|value| behind.put(1, value).unwrap());
    assert_eq!((now(behind.get(&1)), table.row(1)), (Ok(Some(100)), None));
    assert_eq!(now(behind.flush()), []);
    assert_eq!((table.row(1), table.calls.lock().unwrap().1), (Some(100), 1));
    assert_eq!((behind.snapshot().written, behind.snapshot().superseded), (1, 99));
}

#[test]
fn what_waits_to_be_written_is_bounded() {
    let table = Table::default();
    let (behind, _) = behind(&table, 2);
    (1..=2).for_each(|key| behind.put(key, 10 * key).unwrap());
    let refused = behind.put(3, 30).unwrap_err();
    assert_eq!(refused.reason(), Reason::Full { limit: 2, queued: 2 });
    assert_eq!(behind.cache().get(&3), None, "what was refused is not served either");
    behind.remove(2).unwrap();
    assert_eq!((now(behind.flush()), behind.put(3, 30).is_ok()), (vec![], true));
    assert_eq!((table.row(1), table.row(2), behind.snapshot().rejected), (Some(10), None, 1));
}

#[test]
fn what_the_cache_lost_before_it_was_written_is_not_read_from_the_store() {
    // The store still has the older value: whoever wrote the newer one would see his write undone.
    let table = Table::that_holds();
    table.rows.lock().unwrap().insert(1, 1);
    let (behind, _) = behind(&table, 10);
    behind.put(1, 10).unwrap();
    behind.cache().invalidate(&1);
    assert_eq!(now(behind.get(&1)), Ok(Some(10)));
    let mut run = Task::new(behind.run());
    assert!(run.run().is_pending());
    behind.cache().invalidate(&1);
    assert_eq!(now(behind.get(&1)), Ok(Some(10)), "nor while it is being written");
}

#[test]
fn a_write_that_fails_is_tried_again_with_the_newest_value() {
    let table = Table::that_holds();
    let (behind, timer) = behind(&table, 10);
    behind.put(1, 10).unwrap();
    let mut run = Task::new(behind.run());
    assert!(run.run().is_pending());
    table.end(0, Err("reset"));
    assert!(run.run().is_pending());
    behind.put(1, 11).unwrap();
    timer.advance(SECOND / 10);
    assert!(run.run().is_pending());
    table.end(0, Ok(()));
    assert!(run.run().is_pending());
    assert_eq!((table.row(1), table.calls.lock().unwrap().1, behind.snapshot().unsaved), (Some(11), 2, 0));
    assert_eq!(behind.snapshot().retried, 1);
}

#[test]
fn a_write_that_is_given_up_is_told_and_not_served_any_more() {
    let table = Table::that_holds();
    let (cache, _) = rows(100);
    let behind = WriteBehind::builder(cache, table.clone()).retry(|_, _| None).build().unwrap();
    (1..=2).for_each(|key| behind.put(key, 10 * key).unwrap());
    let mut flush = Task::new(behind.flush());
    assert!(flush.run().is_pending());
    table.end(0, Err("too long"));
    assert!(flush.run().is_pending(), "the others are still written");
    table.end(0, Ok(()));
    assert_eq!(flush.run(), Poll::Ready(vec![Failure { key: 1, error: "too long", attempts: 1 }]));
    assert_eq!((behind.cache().get(&1), now(behind.get(&1)), behind.snapshot().failed), (None, Ok(None), 1));
}

#[test]
fn a_run_that_is_dropped_leaves_its_write_to_the_next() {
    let table = Table::that_holds();
    let (behind, _) = behind(&table, 10);
    behind.put(1, 10).unwrap();
    let mut run = Task::new(behind.run());
    assert!(run.run().is_pending());
    drop(run);
    *table.holds.lock().unwrap() = false;
    assert_eq!((now(behind.flush()), table.row(1)), (vec![], Some(10)));
}

#[test]
fn a_flush_waits_for_the_write_that_came_while_an_older_one_was_in_hand() {
    // The older write of the same key is made, and the flush must not take it for the newer one.
    let table = Table::that_holds();
    let (behind, _) = behind(&table, 10);
    behind.put(1, 10).unwrap();
    let mut run = Task::new(behind.run());
    assert!(run.run().is_pending());
    behind.put(1, 11).unwrap();
    let mut flush = Task::new(behind.flush());
    assert!(flush.run().is_pending());
    table.end(0, Ok(()));
    assert!(run.run().is_pending() && flush.run().is_pending());
    assert_eq!(table.held.lock().unwrap().len(), 1, "one of them writes the newer one, and not both");
    table.end(0, Ok(()));
    assert!(run.run().is_pending());
    assert_eq!((flush.run(), table.row(1)), (Poll::Ready(vec![]), Some(11)));
}

#[test]
fn a_shutdown_refuses_newcomers_and_writes_the_rest_and_ends_the_runs() {
    let table = Table::default();
    let (behind, _) = behind(&table, 10);
    let mut run = Task::new(behind.run());
    assert!(run.run().is_pending());
    (1..=10).for_each(|key| behind.put(key, key).unwrap());
    assert_eq!(now(behind.shutdown()), []);
    assert_eq!(table.rows.lock().unwrap().len(), 10);
    assert!(run.run().is_ready());
    assert_eq!(behind.put(1, 1).unwrap_err().reason(), Reason::Full { limit: 0, queued: 0 });
}

#[test]
fn a_queue_for_nothing_is_refused() {
    let error = WriteBehind::builder(rows(100).0, Table::default()).limit(0).build().unwrap_err();
    assert_eq!(error.to_string(), "limit must be at least 1");
}

proptest! {
    #[test]
    fn whatever_the_writers_do_each_key_ends_as_it_was_last_written(steps in prop::collection::vec((0..4_u8, 0..4_u32, any::<u8>()), 0..200)) {
        let mut queue = Queue::new(3);
        let (mut wanted, mut stored) = (BTreeMap::new(), BTreeMap::new());
        let mut in_hand: Vec<(u32, Option<u8>)> = Vec::new();
        for (step, key, value) in steps {
            match step {
                0 | 1 => if queue.push(&key, Some(value)).is_ok() { wanted.insert(key, value); },
                2 => if let Some(taken) = queue.take() {
                    prop_assert!(in_hand.iter().all(|(key, _)| *key != taken.0), "a key in two hands");
                    in_hand.push(taken);
                },
                _ => if let Some((key, written)) = in_hand.pop() {
                    let ended = if value < 200 { Ended::Done } else { Ended::Left };
                    if ended == Ended::Done { stored.insert(key, written.unwrap()); }
                    queue.end(&key, ended);
                },
            }
            prop_assert!(queue.len() <= 3);
        }
        let mark = queue.mark();
        for (key, _) in in_hand { queue.end(&key, Ended::Left); }
        while let Some((key, value)) = queue.take() {
            prop_assert!(!queue.is_reached(mark));
            stored.insert(key, value.unwrap());
            queue.end(&key, Ended::Done);
        }
        prop_assert!(queue.is_reached(mark));
        prop_assert_eq!(stored, wanted);
    }
}
