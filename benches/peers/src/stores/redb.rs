//! The store of this workspace on redb.

use std::path::Path;

use resilience_cqrs::RedbStore;

use super::ours::{self, Work};
use super::sample::{Held, Load, Sample};

async fn open(dir: &Path) -> Result<RedbStore, String> {
    RedbStore::open(dir.join("events.redb")).await.map_err(|error| error.to_string())
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
