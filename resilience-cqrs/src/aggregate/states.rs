//! States kept between commands.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use quick_cache::sync::Cache;

use super::repository::Loaded;
use crate::log::StreamId;

/// The latest states this program has seen. What is kept may be old, never wrong: it is the fold of a prefix of the
/// stream, and its version says of which.
pub(super) struct States<D> {
    kept: Cache<StreamId, Arc<Loaded<D>>>,
    /// Here, so that aggregates nobody keeps need not be `Clone`.
    clone: fn(&D) -> D,
}

impl<D> States<D> {
    pub(super) fn new(most: NonZeroUsize, clone: fn(&D) -> D) -> Self {
        Self { kept: Cache::new(most.get()), clone }
    }

    pub(super) fn get(&self, stream: &StreamId) -> Option<Loaded<D>> {
        let kept = self.kept.get(stream)?;
        Some(Loaded { state: (self.clone)(&kept.state), version: kept.version })
    }

    /// Two that finish at the same time may leave the older state: it is brought up to date when it is used.
    pub(super) fn put(&self, stream: &StreamId, state: &D, version: crate::Version) {
        if self.kept.peek(stream).is_none_or(|kept| kept.version < version) {
            self.kept.insert(stream.clone(), Arc::new(Loaded { state: (self.clone)(state), version }));
        }
    }

    pub(super) fn forget(&self, stream: &StreamId) {
        self.kept.remove(stream);
    }
}

impl<D> fmt::Debug for States<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").field("kept", &self.kept.len()).field("most", &self.kept.capacity()).finish()
    }
}
