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
