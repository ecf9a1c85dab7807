//! States of the past.

use super::*;

/// ES37.
#[tokio::test]
async fn the_state_at_a_version_or_time_is_the_fold_of_that_prefix() {
    let store = MemoryStore::new();
    let counters = counters(store.clone());
    for n in 1..=1000 {
        counters.execute("1", &Command::Add(n)).await.unwrap();
    }
    let sum = |n: i64| n * (n + 1) / 2;
    for version in [0, 1, 511, 512, 513, 1000, 2000] {
        let then = counters.load_at_version("1", Version::new(version)).await.unwrap();
        let events = version.min(1000);
        assert_eq!((then.state.total, then.version.get()), (sum(events as i64), events));
    }
    let all = store.read_stream(&"counter-1".into(), Version::EMPTY, 1000).await.unwrap();
    let middle = all[499].recorded_at;
    let until = all.iter().take_while(|record| record.recorded_at <= middle).count();
    assert_eq!(counters.load_at_time("1", middle).await.unwrap().version.get(), until as u64);
    let never = resilience_core::time::WallTime::from_unix_millis(0);
    assert_eq!(counters.load_at_time("1", never).await.unwrap().version, Version::EMPTY);
}

#[tokio::test]
async fn the_history_says_who_did_what() {
    let counters = counters(MemoryStore::new());
    for (actor, n) in [("ann", 1), ("bob", 2), ("ann", 3)] {
        let by = crate::Metadata::new().with_actor(actor);
        counters.request("1").metadata(by).execute(&Command::Add(n)).await.unwrap();
    }
    let trail = counters.history("1", Version::new(1), 10).await.unwrap();
    let trail: Vec<_> = trail.iter().map(|entry| (entry.record.metadata.actor().unwrap(), &entry.event)).collect();
    assert_eq!(trail, [("bob", &Counted::Added { by: 2 }), ("ann", &Counted::Added { by: 3 })]);
}
