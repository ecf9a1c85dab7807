//! States kept between commands.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::*;
use crate::testing::FaultyStore;

fn keeping<S: EventStore>(store: S) -> Repository<Counter, S> {
    let most = NonZeroUsize::new(100).unwrap();
    Repository::builder(store).keep_states(most).backoff(Duration::ZERO, Duration::ZERO).build()
}

#[tokio::test]
async fn a_kept_state_saves_the_read() {
    let store = FaultyStore::new(MemoryStore::new());
    let counters = keeping(store.clone());
    counters.execute("1", &Command::Add(1)).await.unwrap();
    let reads = store.reads();
    for n in 2..=5 {
        let done = counters.execute("1", &Command::Add(1)).await.unwrap();
        assert_eq!((done.state.total, done.version.get(), done.attempts), (n, n as u64, 1));
    }
    assert_eq!(store.reads(), reads);
}

#[tokio::test]
async fn no_answer_is_given_on_a_state_that_somebody_else_has_changed() {
    let store = MemoryStore::new();
    let (here, elsewhere) = (keeping(store.clone()), keeping(store));
    here.execute("1", &Command::SetOnce(9)).await.unwrap();
    // Refused on the kept state, allowed on the real one.
    elsewhere.execute("1", &Command::SetOnce(0)).await.unwrap();
    let done = here.execute("1", &Command::AddUpTo(5, 10)).await.unwrap();
    assert_eq!((done.state.total, done.attempts), (5, 1));
    // Allowed on the kept state, refused on the real one.
    elsewhere.execute("1", &Command::AddUpTo(0, 10)).await.unwrap();
    elsewhere.execute("1", &Command::SetOnce(10)).await.unwrap();
    assert_eq!(here.execute("1", &Command::AddUpTo(5, 10)).await.unwrap_err().into_refused(), Some("limit"));
    // Nothing to do is an answer as well.
    elsewhere.execute("1", &Command::SetOnce(3)).await.unwrap();
    let idle = here.execute("1", &Command::Nothing).await.unwrap();
    assert_eq!((idle.state.total, idle.version.get()), (3, 6));
    // And so is what is loaded.
    elsewhere.execute("1", &Command::SetOnce(4)).await.unwrap();
    assert_eq!(here.load("1").await.unwrap().state.total, 4);
}

#[tokio::test]
async fn a_log_put_back_to_an_older_state_is_believed() {
    let counters = keeping(MemoryStore::new());
    let stream = Repository::<Counter, MemoryStore>::stream("1");
    let ahead = Loaded { state: Counter { total: 3 }, version: Version::new(3), ..Loaded::default() };
    counters.keep(&stream, Version::EMPTY, &ahead);
    let done = counters.execute("1", &Command::Add(7)).await.unwrap();
    assert_eq!((done.state.total, done.version.get()), (7, 1));
}

/// Creates so many aggregates that the next one is taken for new.
async fn learn<S: EventStore>(counters: &Repository<Counter, S>) {
    let before = counters.store().head();
    for n in 0..8 {
        counters.execute(&format!("learnt at {before} {n}"), &Command::Add(1)).await.unwrap();
    }
}

#[tokio::test]
async fn after_a_few_new_aggregates_the_next_is_created_without_a_read() {
    let store = FaultyStore::new(MemoryStore::new());
    let counters = keeping(store.clone());
    learn(&counters).await;
    let reads = store.reads();
    for n in 0..100 {
        let done = counters.execute(&n.to_string(), &Command::Add(n)).await.unwrap();
        assert_eq!((done.state.total, done.version.get(), done.attempts), (n, 1, 1));
        let done = counters.execute(&n.to_string(), &Command::Add(1)).await.unwrap();
        assert_eq!((done.state.total, done.version.get(), done.attempts), (n + 1, 2, 1));
    }
    assert_eq!(store.reads(), reads);
    // Nobody keeps what nobody asked to keep.
    let plain: Repository<Counter, _> = Repository::new(store.clone());
    learn(&plain).await;
    plain.execute("1", &Command::Add(1)).await.unwrap();
    assert!(store.reads() > reads);
}

/// Taken for new, and not: whatever the aggregate says to conflicts, the command is decided on what there is, and nobody is
/// told of an attempt.
#[tokio::test]
async fn an_aggregate_taken_for_new_that_is_not_is_read_and_its_command_decided_on_what_there_is() {
    let store = FaultyStore::new(MemoryStore::new());
    let elsewhere: Repository<Counter, _> = Repository::new(store.clone());
    elsewhere.execute("old", &Command::Add(7)).await.unwrap();
    elsewhere.execute("full", &Command::Add(10)).await.unwrap();
    let counters = keeping(store.clone());

    learn(&counters).await;
    let reads = store.reads();
    let done = counters.execute("old", &Command::Add(1)).await.unwrap();
    assert_eq!((done.state.total, done.version.get(), done.attempts), (8, 2, 1));
    assert_eq!(store.reads(), reads + 1);
    // Wrong once: the next is read first, until there were a few new ones again.
    counters.execute("new", &Command::Add(1)).await.unwrap();
    assert_eq!(store.reads(), reads + 2);

    learn(&counters).await;
    elsewhere.execute("set", &Command::SetOnce(1)).await.unwrap();
    let done = counters.execute("set", &Command::SetOnce(2)).await.unwrap();
    assert_eq!((done.state.total, done.version.get()), (2, 2), "rejects conflicts, and there was none");

    learn(&counters).await;
    assert_eq!(counters.execute("full", &Command::AddUpTo(5, 10)).await.unwrap_err().into_refused(), Some("limit"));
    assert_eq!(counters.load("full").await.unwrap().version.get(), 1);
}

/// What a command comes to on nothing may not be what it comes to on what there is.
#[tokio::test]
async fn no_refusal_and_no_idleness_is_answered_on_an_aggregate_that_is_only_taken_for_new() {
    let store = MemoryStore::new();
    let elsewhere: Repository<Counter, _> = Repository::new(store.clone());
    elsewhere.execute("old", &Command::Add(-7)).await.unwrap();
    let counters = keeping(store);
    learn(&counters).await;
    // Refused on nothing: 5 is more than 3.
    let done = counters.execute("old", &Command::AddUpTo(5, 3)).await.unwrap();
    assert_eq!((done.state.total, done.version.get()), (-2, 2));
    learn(&counters).await;
    let idle = counters.execute("nobody", &Command::Nothing).await.unwrap();
    assert_eq!((idle.state.total, idle.version, idle.appended), (0, Version::EMPTY, None));
}

/// The same command again, by a program that has learnt to expect new aggregates: answered with the first result.
#[tokio::test]
async fn a_repeated_command_is_answered_once_even_where_the_aggregate_is_taken_for_new() {
    let store = MemoryStore::new();
    keeping(store.clone()).execute_once("1", "c1", &Command::Add(5)).await.unwrap();
    let counters = keeping(store);
    learn(&counters).await;
    let again = counters.execute_once("1", "c1", &Command::Add(5)).await.unwrap();
    assert_eq!((again.state.total, again.version.get(), again.events.len()), (5, 1, 0));
    assert_eq!(counters.execute_once("1", "c2", &Command::Add(1)).await.unwrap().state.total, 6);
}
