//! The store of this workspace on SQLite.

use std::path::Path;

use resilience_cqrs::{Append, EventStore, Expected, NewEvent, Position, Query, SqliteStore, Version};

use super::sample::{self, HISTORY, Held, Load, PAYLOAD, Sample};

async fn open(dir: &Path) -> Result<SqliteStore, String> {
    SqliteStore::open(dir.join("events.db")).await.map_err(|error| error.to_string())
}

/// One sample; with `reads`, every append is preceded by loading its stream, as a command does.
pub async fn sample(dir: &Path, load: Load, reads: bool) -> Result<Sample, String> {
    let store = open(dir).await?;
    let appending = store.clone();
    let sample = sample::run(load, move |task, index| {
        let store = appending.clone();
        async move {
            let stream = sample::stream(task, index / HISTORY);
            let mut version = Version::new(index % HISTORY);
            if reads {
                match store.read_stream(&stream.as_str().into(), Version::EMPTY, 100).await {
                    Ok(history) => version = Version::new(history.len() as u64),
                    Err(_) => return false,
                }
            }
            let append = Append::new().events(stream, Expected::Exact(version), [NewEvent::new("Deposited", PAYLOAD)]);
            store.append(append).await.is_ok()
        }
    })
    .await;
    store.close().await;
    Ok(sample)
}

/// What a freshly opened store holds.
pub async fn held(dir: &Path) -> Result<Held, String> {
    let store = open(dir).await?;
    let (mut held, mut after) = (Held::default(), Position::ORIGIN);
    loop {
        let page = store.read(after, &Query::all(), 1_000).await.map_err(|error| error.to_string())?;
        for event in &page.events {
            *held.0.entry(event.stream.to_string()).or_default() += 1;
        }
        if page.is_last() {
            return Ok(held);
        }
        after = page.next;
    }
}
