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
    /// # use resilience_cqrs::aggregate::Decider;
    /// # #[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
    /// # enum Event { Added { n: i64 } }
    /// # #[derive(Clone, Debug, Default)]
    /// # struct Counter(i64);
    /// # impl Decider for Counter {
    /// #     const STREAM: &'static str = "counter";
    /// #     type Command = i64;
    /// #     type Event = Event;
    /// #     type Error = &'static str;
    /// #     fn evolve(&mut self, Event::Added { n }: &Event) { self.0 += n; }
    /// #     fn decide(&self, n: &i64) -> Result<Vec<Event>, &'static str> {
    /// #         if self.0 + n < 0 { Err("below zero") } else { Ok(vec![Event::Added { n: *n }; usize::from(*n != 0)]) }
    /// #     }
    /// # }
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
    /// # Errors
    /// The store's, or that an event cannot be read.
    pub async fn load_at_time(&self, id: &str, time: WallTime) -> Result<Loaded<D>, ExecuteError<D::Error>> {
        self.load_while(id, |record| record.recorded_at <= time).await
    }

    /// What happened to the aggregate `id` after `after`, in order, with who did it and when; of at most `limit` records.
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
