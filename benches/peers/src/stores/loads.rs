//! How long an account of fifty events takes to load, one after the other, from a store that has loaded each before.

use std::num::NonZeroU64;

use resilience_cqrs::aggregate::{Decider, Repository, Snapshots};
use resilience_cqrs::{Append, EventStore, Expected, NewEvent, Version};

use super::domain::{Account, Deposit};
use super::sample::{self, LENGTH, Load, SNAPSHOT, STREAMS, Sample};

/// What is loaded.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// The events as they are stored.
    Stored,
    /// The account, folded from all its events.
    Events,
    /// The account, folded from a snapshot and the events after it.
    Snapshot,
}

/// One sample.
pub async fn sample<S: EventStore>(store: S, load: Load, from: From) -> Result<Sample, String> {
    let mut builder: resilience_cqrs::aggregate::RepositoryBuilder<Account, S> = Repository::builder(store.clone());
    if matches!(from, From::Snapshot) {
        let every = NonZeroU64::new(SNAPSHOT).unwrap_or(NonZeroU64::MIN);
        builder = builder.snapshots(Snapshots::every(every, "account"));
    }
    let accounts = builder.build();
    fill(&store, &accounts, from).await?;
    // Warm: every stream once, unmeasured.
    for n in 0..STREAMS {
        if !whole(&store, &accounts, from, n).await {
            return Err(format!("stream {n} is not whole"));
        }
    }
    let sample = sample::run(Load { tasks: 1, ..load }, {
        let accounts = accounts.clone();
        move |_, index| {
            let (store, accounts) = (store.clone(), accounts.clone());
            async move { whole(&store, &accounts, from, index % STREAMS).await }
        }
    })
    .await;
    let (used, loads) = (accounts.snapshots().used, sample.acknowledged.iter().sum::<u64>());
    if matches!(from, From::Snapshot) && used < loads {
        return Err(format!("{loads} loads, and only {used} from a snapshot"));
    }
    Ok(sample)
}

/// Loads one; whether all its events are in it.
async fn whole<S: EventStore>(store: &S, accounts: &Repository<Account, S>, from: From, n: u64) -> bool {
    let id = format!("0-{n}");
    if let From::Stored = from {
        let stream = format!("account-{id}");
        let events = store.read_stream(&stream.as_str().into(), Version::EMPTY, 100).await;
        return events.is_ok_and(|events| events.len() as u64 == LENGTH);
    }
    accounts.load(&id).await.is_ok_and(|account| account.state.entries == LENGTH)
}

async fn fill<S: EventStore>(store: &S, accounts: &Repository<Account, S>, from: From) -> Result<(), String> {
    let written = |n: u64| accounts.snapshots().written > n;
    for n in 0..STREAMS {
        append(store, n, 0..SNAPSHOT).await?;
        if let From::Snapshot = from {
            accounts.load(&format!("0-{n}")).await.map_err(|error| error.to_string())?;
            while !written(n) {
                tokio::task::yield_now().await;
            }
        }
        append(store, n, SNAPSHOT..LENGTH).await?;
    }
    Ok(())
}

async fn append<S: EventStore>(store: &S, n: u64, versions: std::ops::Range<u64>) -> Result<(), String> {
    let stream = sample::stream(0, n);
    let deposit = Deposit { cents: 1_250, reference: stream.clone() };
    let mut events = Vec::new();
    for _ in versions.clone() {
        for event in Decider::decide(&Account::default(), &deposit).map_err(|_| "a deposit was refused")? {
            let payload = serde_json::to_value(&event).map_err(|error| error.to_string())?;
            events.push(NewEvent::new("Deposited", payload["Deposited"].to_string()));
        }
    }
    let append = Append::new().events(stream, Expected::Exact(Version::new(versions.start)), events);
    store.append(append).await.map_err(|error| error.to_string())?;
    Ok(())
}
