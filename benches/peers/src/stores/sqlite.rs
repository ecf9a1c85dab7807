//! The store of this workspace on SQLite.

use std::path::Path;

use resilience_cqrs::SqliteStore;

use super::loads::{self, From};
use super::ours::{self, Work};
use super::sample::{Held, Load, Sample};

/// Opens it, or makes it.
pub async fn open(dir: &Path) -> Result<SqliteStore, String> {
    SqliteStore::open(dir.join("events.db")).await.map_err(|error| error.to_string())
}

/// One sample.
pub async fn sample(dir: &Path, load: Load, work: Work) -> Result<Sample, String> {
    let store = open(dir).await?;
    let sample = ours::sample(store.clone(), load, work).await;
    store.close().await;
    Ok(sample)
}

/// What a freshly opened store holds.
pub async fn held(dir: &Path) -> Result<Held, String> {
    ours::held(&open(dir).await?).await
}

/// One sample of loading streams.
pub async fn loads(dir: &Path, load: Load, from: From) -> Result<Sample, String> {
    let store = open(dir).await?;
    let sample = loads::sample(store.clone(), load, from).await;
    store.close().await;
    sample
}
