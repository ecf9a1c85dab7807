//! The cache as a tower layer.

use std::fmt;

use tower_layer::Layer;

use super::{Background, Cache, CacheService, InCall};

/// Serves from a cache what it can; made by [`Cache::layer`]. All services it makes share the cache.
#[derive(Clone)]
pub struct CacheLayer<K, V, E, F, R = InCall> {
    cache: Cache<K, V, E>,
    key: F,
    refresh: R,
}

impl<K, V, E> Cache<K, V, E> {
    /// The cache as a layer. `key` says under which key the answer to a request is kept; `None` passes it through: a
    /// write, a request with credentials.
    ///
    /// The services need to be [`Clone`], since a hit must not wait for a service to be ready: what is called on a miss
    /// is a clone, which is made ready inside the call.
    pub fn layer<F>(&self, key: F) -> CacheLayer<K, V, E, F> {
        CacheLayer { cache: self.clone(), key, refresh: InCall }
    }
}

impl<K, V, E, F, R> CacheLayer<K, V, E, F, R> {
    /// Fetches new answers in tasks of their own while the old ones may be served.
    #[must_use]
    pub fn in_background(self, background: Background) -> CacheLayer<K, V, E, F, Background> {
        CacheLayer { cache: self.cache, key: self.key, refresh: background }
    }
}

impl<S, K, V, E, F: Clone, R: Clone> Layer<S> for CacheLayer<K, V, E, F, R> {
    type Service = CacheService<S, K, V, E, F, R>;

    fn layer(&self, inner: S) -> Self::Service {
        CacheService::new(inner, self.cache.clone(), self.key.clone(), self.refresh.clone())
    }
}

impl<K, V, E, F, R> fmt::Debug for CacheLayer<K, V, E, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer").field("cache", &self.cache).finish_non_exhaustive()
    }
}
