//! How overloaded somebody says we are.

use std::fmt;

use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};

/// How overloaded the process is, from 0 to 1, by whatever measures it: processor, memory, a queue, a controller. Clones
/// are one signal.
///
/// ```
/// use resilience_core::load_shed::Signal;
///
/// let signal = Signal::new();
/// let (in_flight, limit) = (90.0, 120.0);
/// signal.set(in_flight / limit);
/// assert_eq!(signal.get(), 0.75);
/// signal.set(7.0);
/// assert_eq!(signal.get(), 1.0);
/// signal.set(0.0 / 0.0); // a measurement that failed asks for nothing
/// assert_eq!(signal.get(), 0.0);
/// ```
#[derive(Clone, Default)]
pub struct Signal {
    shared: Arc<Shared>,
}

struct Shared {
    /// The bits of the figure.
    level: AtomicU64,
    /// How often it was set.
    writes: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        Self { level: AtomicU64::new(0), writes: AtomicU64::new(0) }
    }
}

impl Signal {
    /// A signal at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how overloaded the process is. Below 0 is 0, above 1 is 1, and what is not a number is 0.
    pub fn set(&self, level: f64) {
        let level = if level.is_nan() { 0.0 } else { level.clamp(0.0, 1.0) };
        // Relaxed: one word, complete in itself; `writes` only says that somebody still measures.
        self.shared.level.store(level.to_bits(), Ordering::Relaxed);
        self.shared.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// What was said last.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.shared.level.load(Ordering::Relaxed))
    }

    pub(super) fn writes(&self) -> u64 {
        self.shared.writes.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signal").field(&self.get()).finish()
    }
}
