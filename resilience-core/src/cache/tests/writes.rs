//! A store behind the cache, written through it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::*;
use crate::cache::write::{Store, WriteThrough};

pub(super) type Passage = oneshot::Sender<Result<(), &'static str>>;

/// A table whose writes are let through by hand, in any order, once they are held.
#[derive(Clone, Default)]
pub(super) struct Table {
    pub(super) rows: Arc<Mutex<BTreeMap<u32, u32>>>,
    /// What is tried, and how it ends.
    pub(super) held: Arc<Mutex<Vec<Passage>>>,
    pub(super) holds: Arc<Mutex<bool>>,
    /// How often it was read, and how often it was written.
    pub(super) calls: Arc<Mutex<(u32, u32)>>,
}

impl Table {
    pub(super) fn that_holds() -> Self {
        let table = Self::default();
        *table.holds.lock().unwrap() = true;
        table
    }

    pub(super) fn end(&self, nth: usize, ended: Result<(), &'static str>) {
        self.held.lock().unwrap().remove(nth).send(ended).unwrap();
    }

    pub(super) fn row(&self, key: u32) -> Option<u32> {
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

pub(super) type Rows = Cache<u32, Option<u32>, &'static str>;

pub(super) fn rows(capacity: u64) -> (Rows, ManualTimer) {
    let timer = ManualTimer::new();
    (Cache::builder().capacity(capacity).timer(timer.clone()).build().unwrap(), timer)
}

fn through(table: &Table) -> WriteThrough<u32, u32, Table> {
    WriteThrough::new(rows(100).0, table.clone())
}

pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
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
fn a_write_that_ends_in_a_panic_of_the_users_code_disputes_no_later_one() {
    // How long a value is fresh is asked of the user when the write is done, and that may panic. Nobody took the writer
    // out then, and every later write of the key was taken for one of two at once: the cache never had it again.
    let ttl = |value: &Option<u32>| match value {
        Some(13) => panic!("unlucky"),
        _ => SECOND.into(),
    };
    let cache = Cache::builder().capacity(100).timer(ManualTimer::new()).ttl_of(ttl).build().unwrap();
    let through = WriteThrough::new(cache, Table::default());
    let put = |value| now(through.put(1, value));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| put(13))).is_err());
    assert_eq!(put(14), Ok(()));
    assert_eq!(through.cache().get(&1), Some(Ok(Some(14))));
}
