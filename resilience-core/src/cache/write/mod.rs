//! A cache that is written through, or behind.
//!
//! # Why
//!
//! A cache beside a store goes wrong where both are written: two writers reach the store in one order and the cache in the
//! other, and the cache is wrong until the answer expires; a write fails and nobody knows what the store has; a read that
//! began before the write puts the old value back after it. Here writes go by the cache:
//!
//! - [`WriteThrough`] writes to the store and then to the cache. When it returns, both have it. Two writers of one key at
//!   once leave the cache empty rather than wrong; a write that fails or is given up leaves it empty, too.
//! - [`WriteBehind`] writes to the cache and returns; the store is written after it. Of many writes of one key the last
//!   one is made. What waits is bounded, is read back before it is written, and is written at shutdown; what cannot be
//!   written is told.
//!
//! Both keep `Option<V>`: that a key is absent is an answer like any other, with a time of its own by
//! [`ttl_of`](super::CacheBuilder::ttl_of).
//!
//! # Example
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::{Arc, Mutex};
//! use resilience_core::cache::Cache;
//! use resilience_core::cache::write::{Store, WriteBehind};
//!
//! #[derive(Default)]
//! struct Table(Mutex<BTreeMap<u32, String>>);
//!
//! impl Store<u32, String> for Table {
//!     type Error = std::io::ErrorKind;
//!     async fn get(&self, key: &u32) -> Result<Option<String>, Self::Error> {
//!         Ok(self.0.lock().unwrap().get(key).cloned())
//!     }
//!     async fn put(&self, key: &u32, value: &String) -> Result<(), Self::Error> {
//!         self.0.lock().unwrap().insert(*key, value.clone());
//!         Ok(())
//!     }
//!     async fn remove(&self, key: &u32) -> Result<(), Self::Error> {
//!         self.0.lock().unwrap().remove(key);
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let table = Arc::new(Table::default());
//! let carts = WriteBehind::builder(Cache::builder().name("carts").build()?, table.clone()).build()?;
//! let writer = tokio::spawn({ let carts = carts.clone(); async move { carts.run().await } });
//! carts.put(7, "socks".into())?; // returns at once
//! assert_eq!(carts.get(&7).await, Ok(Some("socks".into())));
//! assert!(carts.shutdown().await.is_empty()); // no write was given up
//! assert_eq!(table.0.lock().unwrap()[&7], "socks");
//! writer.await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Behaviour
//!
//! ```text
//!  through   put ──► store ──► cache ──► done          fails, or is given up: the cache forgets the key
//!
//!  behind    put ──► cache, queue ──► done             too many keys wait: refused, nothing is written
//!                            │
//!                            └─ run ──► store          fails: waits, tries again, and is told when it is given up
//!                                 └─ of a key that was written again meanwhile, the newest value
//!            get ──► cache, or what waits, or store
//! ```
//!
//! # Defaults
//!
//! | of [`WriteBehind`] | default | why |
//! |---|---|---|
//! | [`limit`](WriteBehindBuilder::limit) | 1,000 keys | what a process may lose when it dies, and what a shutdown has to write |
//! | [`retry`](WriteBehindBuilder::retry) | five attempts, 100 ms to 800 ms apart | a store that restarts is waited for; one that is gone does not hold up a shutdown for long |
//!
//! [`WriteThrough`] has nothing to set. Capacity, times and clock are the cache's.
//!
//! # Events
//!
//! The cache's, by its name; of writes behind, [`WriteRetried`](super::Event::WriteRetried),
//! [`WriteFailed`](super::Event::WriteFailed) and [`WriteRejected`](super::Event::WriteRejected). The counts are in
//! [`WriteSnapshot`].
//!
//! # Errors
//!
//! Reads, and writes through, fail with the store's own error. A write behind is refused with
//! [`Full`](crate::Reason::Full) when too many keys wait, and after a shutdown has begun; what could not be written later
//! is a [`Failure`], handed out by [`flush`](WriteBehind::flush), [`shutdown`](WriteBehind::shutdown) and
//! [`take_failures`](WriteBehind::take_failures).
//!
//! # Interplay
//!
//! The layers of the [`cache`](super) answer requests; these stand in front of a store, in the code that owns the data.
//! Put timeouts, retries and breakers for the store inside of your [`Store`]: a write through then fails by them, and a
//! write behind is tried again after them. Reads of a key go by whichever of the two writes it, and by nothing else.
//!
//! # Do and don't
//!
//! - Do write what must not be lost through; behind goes what can be, or is had again: counters, carts, sessions.
//! - Do look at what a shutdown hands back, and log it: callers were told that it was written.
//! - Don't write to the store beside it, and don't have two of them in front of one store.
//! - Don't rely on the order of two keys: what belongs together belongs under one.
//!
//! # Limits
//!
//! What a [`WriteBehind`] has not written dies with the process: it is for what can be lost. A shutdown takes as long as
//! the store does, retries included; put a time limit around it, and
//! [`unsaved`](WriteSnapshot::unsaved) says what was left. Neither orders writes of different keys. A write through that
//! its caller gives up may reach the store after the cache has forgotten the key, and after somebody has read the old
//! value. Other processes that write to the store are not noticed before an answer expires.

mod behind;
pub(super) mod queue;
mod through;

use std::sync::Arc;

pub use self::behind::{Failure, WriteBehind, WriteBehindBuilder, WriteSnapshot};
pub use self::through::WriteThrough;

/// A store behind a cache.
pub trait Store<K, V>: Send + Sync {
    /// Why it could not.
    type Error;

    /// Reads a value.
    fn get(&self, key: &K) -> impl Future<Output = Result<Option<V>, Self::Error>> + Send;

    /// Writes a value. Repeated after a failure, and so to be idempotent.
    fn put(&self, key: &K, value: &V) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Removes a value, or finds that there is none.
    fn remove(&self, key: &K) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

impl<K: Sync, V: Sync, S: Store<K, V>> Store<K, V> for Arc<S> {
    type Error = S::Error;

    fn get(&self, key: &K) -> impl Future<Output = Result<Option<V>, S::Error>> + Send {
        (**self).get(key)
    }

    fn put(&self, key: &K, value: &V) -> impl Future<Output = Result<(), S::Error>> + Send {
        (**self).put(key, value)
    }

    fn remove(&self, key: &K) -> impl Future<Output = Result<(), S::Error>> + Send {
        (**self).remove(key)
    }
}
