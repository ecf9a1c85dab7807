//! Several aggregates at once.

use futures::future::try_join_all;

use super::repository::PAGE;
use super::{Decider, EventCodec, ExecuteError, Loaded, Repository};
use crate::log::{StreamId, Version};
use crate::store::EventStore;

/// Aggregates read in one go: what is held in memory beside the states is at most this many pages.
const TOGETHER: usize = 64;

impl<D: Decider, S: EventStore, C: EventCodec<D::Event>> Repository<D, S, C> {
    /// The aggregates with these ids, in this order, each as [`load`](Self::load) would give it.
    ///
    /// Their streams are read [together](EventStore::read_streams), 64 at a time: for a list of things, one round trip
    /// where there would be one for each. They are not read at one moment; each is as it was at some moment of the call.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aggregate/doc/counter.rs"));
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::aggregate::Repository;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let counters: Repository<Counter, _> = Repository::new(MemoryStore::new());
    /// counters.execute("1", &5).await?;
    /// counters.execute("3", &7).await?;
    /// let loaded = counters.load_many(["1", "2", "3"]).await?;
    /// assert_eq!(loaded.iter().map(|counter| counter.state.0).collect::<Vec<_>>(), [5, 0, 7]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load), if any of them cannot be loaded.
    pub async fn load_many<I>(&self, ids: I) -> Result<Vec<Loaded<D>>, ExecuteError<D::Error>>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let streams: Vec<StreamId> = ids.into_iter().map(|id| Self::stream(id.as_ref())).collect();
        let mut all = Vec::with_capacity(streams.len());
        for together in streams.chunks(TOGETHER) {
            all.extend(self.load_together(together).await?);
        }
        Ok(all)
    }

    async fn load_together(&self, streams: &[StreamId]) -> Result<Vec<Loaded<D>>, ExecuteError<D::Error>> {
        let begun = try_join_all(streams.iter().map(|stream| self.begin(stream))).await;
        let mut all = begun.map_err(ExecuteError::Read)?;
        let known: Vec<Version> = all.iter().map(|loaded| loaded.version).collect();
        let mut open: Vec<usize> = (0..streams.len()).collect();
        while !open.is_empty() {
            let asked: Vec<_> = open.iter().map(|nth| (streams[*nth].clone(), all[*nth].version)).collect();
            let pages = self.shared.store.read_streams(&asked, PAGE).await.map_err(ExecuteError::Read)?;
            let mut longer = Vec::new();
            for (nth, page) in open.into_iter().zip(pages) {
                let Loaded { state, version, .. } = &mut all[nth];
                for recorded in &page {
                    self.shared.codec.decode_each(recorded, &mut |event| state.evolve(&event))?;
                    *version = recorded.version;
                }
                if page.len() >= PAGE {
                    longer.push(nth);
                }
            }
            open = longer;
        }
        for ((stream, known), loaded) in streams.iter().zip(known).zip(&all) {
            if loaded.version > known {
                self.keep(stream, known, loaded);
            }
        }
        Ok(all)
    }
}
