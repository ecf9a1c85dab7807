//! The store of this workspace.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use resilience_cqrs::aggregate::{Decider, Repository};
use resilience_cqrs::{
    Append, Condition, EventStore, Expected, Marker, NewEvent, Position, PostgresStore, Query, Version,
};
use serde::{Deserialize, Serialize};

use crate::floors::held;
use crate::sample::{self, HISTORY, Load, PAYLOAD};
use crate::{Failure, Ran};

const COUNT: &str = "SELECT stream, count(*) FROM log_event GROUP BY stream";

pub async fn append(url: String, load: Load) -> Result<Ran, Failure> {
    let store = PostgresStore::open(&url).await?;
    let appending = store.clone();
    let sample = sample::run(load, move |task, index| {
        let store = appending.clone();
        async move {
            let expected = Expected::Exact(Version::new(index % HISTORY));
            let event = NewEvent::new("Deposited", PAYLOAD);
            store.append(Append::new().events(sample::stream(task, index / HISTORY), expected, [event])).await.is_ok()
        }
    })
    .await;
    store.close().await;
    Ok(Ran { sample, held: Some(held(&url, COUNT).await?), conflicts: 0 })
}

#[derive(Clone, Debug, Default)]
struct Account {
    entries: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Entry {
    Deposited { note: String },
}

impl Decider for Account {
    const STREAM: &'static str = "account";
    type Command = ();
    type Event = Entry;
    type Error = std::convert::Infallible;

    fn evolve(&mut self, _: &Entry) {
        self.entries += 1;
    }

    fn decide(&self, (): &()) -> Result<Vec<Entry>, Self::Error> {
        Ok(vec![Entry::Deposited { note: PAYLOAD.into() }])
    }
}

pub async fn command(url: String, load: Load, keeps: bool) -> Result<Ran, Failure> {
    let store = PostgresStore::open(&url).await?;
    let builder = Repository::<Account, _>::builder(store.clone());
    let builder = match NonZeroUsize::new(10_000).filter(|_| keeps) {
        Some(most) => builder.keep_states(most),
        None => builder,
    };
    let accounts = Arc::new(builder.build());
    let sample = sample::run(load, move |task, index| {
        let accounts = accounts.clone();
        async move { accounts.execute(&format!("{task}-{}", index / HISTORY), &()).await.is_ok() }
    })
    .await;
    store.close().await;
    Ok(Ran { sample, held: Some(held(&url, COUNT).await?), conflicts: 0 })
}

/// Each append requires that nothing with the task's tag came after the last one of it.
pub async fn condition(url: String, load: Load) -> Result<Ran, Failure> {
    let store = PostgresStore::open(&url).await?;
    let conflicts = Arc::new(AtomicU64::new(0));
    let lasts: Arc<Vec<AtomicU64>> = Arc::new((0..load.tasks).map(|_| AtomicU64::new(0)).collect());
    let (appending, counting) = (store.clone(), conflicts.clone());
    let sample = sample::run(load, move |task, index| {
        let (store, lasts, conflicts) = (appending.clone(), lasts.clone(), counting.clone());
        async move {
            let (tag, last) = (format!("task:{task}"), &lasts[task as usize]);
            loop {
                let after = Marker::seen_through(Position::new(last.load(Ordering::Relaxed)));
                let append = Append::new()
                    .require(Condition::no_match(Query::tags([tag.as_str()]), after))
                    .events(
                        sample::stream(task, index / HISTORY),
                        Expected::Any,
                        [NewEvent::new("Deposited", PAYLOAD).tag(tag.as_str())],
                    );
                match store.append(append).await {
                    Ok(done) => {
                        last.store(done.last.get(), Ordering::Relaxed);
                        return true;
                    }
                    Err(error) if error.as_conflict().is_some() => _ = conflicts.fetch_add(1, Ordering::Relaxed),
                    Err(_) => return false,
                }
            }
        }
    })
    .await;
    store.close().await;
    Ok(Ran { sample, held: Some(held(&url, COUNT).await?), conflicts: conflicts.load(Ordering::Relaxed) })
}
