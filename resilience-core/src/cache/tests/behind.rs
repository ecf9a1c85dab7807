//! A store that is written after the cache.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::writes::{Table, now, rows};
use super::*;
use crate::Reason;
use crate::cache::write::queue::{Ended, Queue};
use crate::cache::write::{Failure, Store, WriteBehind};

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Event>>>);

impl crate::event::Sink for Heard {
    fn on_event(&self, event: &crate::event::Event<'_>) {
        self.0.lock().unwrap().extend(event.fact::<Event>().copied());
    }
}

fn behind(table: &Table, limit: usize) -> (WriteBehind<u32, u32, Table>, ManualTimer) {
    let (cache, timer) = rows(100);
    (WriteBehind::builder(cache, table.clone()).limit(limit).build().unwrap(), timer)
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
fn a_shutdown_goes_on_with_what_a_run_that_is_gone_had_in_hand() {
    // The runtime drops its tasks while one of them writes, and the program flushes before it ends.
    let table = Table::that_holds();
    let (behind, _) = behind(&table, 10);
    (1..=2).for_each(|key| behind.put(key, 10 * key).unwrap());
    let mut run = Task::new(behind.run());
    assert!(run.run().is_pending());
    let mut shutdown = Task::new(behind.shutdown());
    assert!(shutdown.run().is_pending());
    drop(run);
    assert!(shutdown.run().is_pending());
    table.end(1, Ok(())); // the second key's, which the shutdown began
    assert!(shutdown.run().is_pending());
    assert_eq!(table.calls.lock().unwrap().1, 3, "the first key is written anew");
    table.end(1, Ok(()));
    assert_eq!(shutdown.run(), Poll::Ready(vec![]));
    assert_eq!((table.row(1), table.row(2), behind.snapshot().unsaved), (Some(10), Some(20), 0));
}

#[test]
fn a_shutdown_tells_what_it_could_not_write() {
    let table = Table::that_holds();
    let (behind, timer) = behind(&table, 10);
    behind.put(1, 10).unwrap();
    let mut shutdown = Task::new(behind.shutdown());
    for wait in [100, 200, 400, 800] {
        assert!(shutdown.run().is_pending());
        table.end(0, Err("down"));
        assert!(shutdown.run().is_pending());
        timer.advance(Duration::from_millis(wait));
    }
    assert!(shutdown.run().is_pending());
    table.end(0, Err("down"));
    assert_eq!(shutdown.run(), Poll::Ready(vec![Failure { key: 1, error: "down", attempts: 5 }]));
    assert_eq!((behind.snapshot().unsaved, behind.snapshot().retried, behind.snapshot().failed), (0, 4, 1));
}

#[test]
fn a_store_that_panics_loses_no_write() {
    struct Explodes(Mutex<bool>, Table);
    impl Store<u32, u32> for Explodes {
        type Error = &'static str;
        async fn get(&self, key: &u32) -> Result<Option<u32>, &'static str> {
            self.1.get(key).await
        }
        async fn put(&self, key: &u32, value: &u32) -> Result<(), &'static str> {
            assert!(!std::mem::take(&mut *self.0.lock().unwrap()), "no route");
            self.1.put(key, value).await
        }
        async fn remove(&self, key: &u32) -> Result<(), &'static str> {
            self.1.remove(key).await
        }
    }
    let (cache, _) = rows(100);
    let behind = WriteBehind::builder(cache, Explodes(Mutex::new(true), Table::default())).build().unwrap();
    behind.put(1, 10).unwrap();
    let mut run = Task::new(behind.run());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.run()));
    assert!(panicked.is_err());
    drop(run);
    assert_eq!(behind.snapshot().unsaved, 1);
    // A lock the panic had held would be poisoned; the key it had in hand is free.
    assert_eq!((now(behind.flush()), behind.store().1.row(1)), (vec![], Some(10)));
}

#[test]
fn what_was_given_up_and_not_fetched_is_bounded_and_counted() {
    let table = Table::that_holds();
    let heard = Heard::default();
    let cache = Cache::builder().timer(ManualTimer::new()).listener(heard.clone()).build().unwrap();
    let behind = WriteBehind::builder(cache, table.clone()).limit(2).retry(|_, _| None).build().unwrap();
    let mut run = Task::new(behind.run());
    for key in 1..=3 {
        behind.put(key, key).unwrap();
        assert!(run.run().is_pending());
        table.end(0, Err("down"));
        assert!(run.run().is_pending());
    }
    let keys: Vec<_> = behind.take_failures().into_iter().map(|failure| failure.key).collect();
    assert_eq!((keys, behind.snapshot().failed), (vec![2, 3], 3));
    assert_eq!(behind.take_failures(), []);
    let told = heard.0.lock().unwrap().iter().filter(|event| **event == Event::WriteFailed { attempts: 1 }).count();
    assert_eq!(told, 3);
}

#[test]
fn a_key_in_hand_counts_and_its_newer_value_needs_no_further_place() {
    let table = Table::that_holds();
    let (behind, _) = behind(&table, 1);
    behind.put(1, 10).unwrap();
    let mut run = Task::new(behind.run());
    assert!(run.run().is_pending());
    assert!(behind.put(2, 20).is_err());
    behind.put(1, 11).unwrap();
    table.end(0, Ok(()));
    assert!(run.run().is_pending());
    table.end(0, Ok(()));
    assert!(run.run().is_pending());
    assert_eq!((table.row(1), behind.put(2, 20).is_ok()), (Some(11), true));
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
