//! How an aggregate was, and how it came to be so.

use resilience_core::time::WallTime;

use super::repository::{Loaded, PAGE, Repository};
use super::{Decider, EventCodec, ExecuteError};
use crate::log::{Recorded, Version};
use crate::store::EventStore;

/// One thing that happened to an aggregate.
#[derive(Clone, Debug)]
pub struct Entry<E> {
    /// What happened.
    pub event: E,
    /// When, in which place of the log, and by whom: the record as the log has it.
    pub record: Recorded,
}

impl<D: Decider, S: EventStore, C: EventCodec<D::Event>> Repository<D, S, C> {
    /// The aggregate `id` as its first `version` events made it; as it is now, if there are no more than that.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aggregate/doc/counter.rs"));
    /// use resilience_cqrs::aggregate::Repository;
    /// use resilience_cqrs::{MemoryStore, Version};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let counters: Repository<Counter, _> = Repository::new(MemoryStore::new());
    /// for n in [5, 7, -2] {
    ///     counters.execute("1", &n).await?;
    /// }
    /// assert_eq!(counters.load_at_version("1", Version::new(2)).await?.state.0, 12);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's, or that an event cannot be read.
    pub async fn load_at_version(&self, id: &str, version: Version) -> Result<Loaded<D>, ExecuteError<D::Error>> {
        self.load_while(id, |record| record.version <= version).await
    }

    /// The aggregate `id` as it was at `time`, by the clocks of those who wrote its events.
    ///
    /// Clocks jump, and streams do not: what counts is everything before the first event that is later than `time`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aggregate/doc/counter.rs"));
    /// use std::time::Duration;
    /// use resilience_core::time::{ManualTimer, Timer};
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::aggregate::Repository;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let timer = ManualTimer::new();
    /// let counters: Repository<Counter, _> = Repository::new(MemoryStore::builder().timer(timer.clone()).build());
    /// counters.execute("1", &5).await?;
    /// let noon = timer.wall();
    /// timer.advance(Duration::from_secs(1));
    /// counters.execute("1", &7).await?;
    /// assert_eq!(counters.load_at_time("1", noon).await?.state.0, 5);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's, or that an event cannot be read.
    pub async fn load_at_time(&self, id: &str, time: WallTime) -> Result<Loaded<D>, ExecuteError<D::Error>> {
        self.load_while(id, |record| record.recorded_at <= time).await
    }

    /// What happened to the aggregate `id` after `after`, in order, with who did it and when; of at most `limit` records.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aggregate/doc/counter.rs"));
    /// use resilience_cqrs::aggregate::Repository;
    /// use resilience_cqrs::{MemoryStore, Version};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let counters: Repository<Counter, _> = Repository::new(MemoryStore::new());
    /// for n in [5, 7, -2] {
    ///     counters.execute("1", &n).await?;
    /// }
    /// // Page by page, after the version of the last record.
    /// let first = counters.history("1", Version::EMPTY, 2).await?;
    /// let rest = counters.history("1", first[1].record.version, 2).await?;
    /// assert_eq!(rest[0].event, Event::Added { n: -2 });
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's, or that an event cannot be read.
    pub async fn history(
        &self,
        id: &str,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Entry<D::Event>>, ExecuteError<D::Error>> {
        let stream = Self::stream(id);
        let records = self.shared.store.read_stream(&stream, after, limit).await.map_err(ExecuteError::Read)?;
        let mut entries = Vec::with_capacity(records.len());
        for record in records {
            let mut take = |event| entries.push(Entry { event, record: record.clone() });
            self.shared.codec.decode_each(&record, &mut take)?;
        }
        Ok(entries)
    }

    /// Folds the longest prefix of the stream whose events all are `within`. Neither kept states nor snapshots help: they
    /// are of later.
    async fn load_while(
        &self,
        id: &str,
        within: impl Fn(&Recorded) -> bool + Send,
    ) -> Result<Loaded<D>, ExecuteError<D::Error>> {
        let stream = Self::stream(id);
        let mut loaded = Loaded::<D>::default();
        loop {
            let page =
                self.shared.store.read_stream(&stream, loaded.version, PAGE).await.map_err(ExecuteError::Read)?;
            for record in &page {
                if !within(record) {
                    return Ok(loaded);
                }
                let state = &mut loaded.state;
                self.shared.codec.decode_each(record, &mut |event| state.evolve(&event))?;
                loaded.version = record.version;
            }
            if page.len() < PAGE {
                return Ok(loaded);
            }
        }
    }
}
