//! Who may use how much of the limit.

use crate::ConfigError;
use crate::context::Criticality;
use crate::sync::atomic::{AtomicU32, Ordering};

/// The shares kept for calls of a criticality and above. `Sheddable` has none: there is nobody below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reserve([f64; CLASSES]);

const CLASSES: usize = 4;
const ALL: u64 = 1 << 16;

impl Default for Reserve {
    /// What is kept costs no throughput, since the limit grows until the rest of it keeps the service busy; it has to be
    /// enough for chance. Where half of what is served is critical, each kept place halves how often all are taken: at
    /// twice what a server of 20 can do, a fifth in all loses one critical call in a hundred, three tenths one in 250
    /// (`benches/lab/scenarios/b-overload.toml`).
    fn default() -> Self {
        Self([0.0, 0.1, 0.2, 0.0])
    }
}

impl Reserve {
    pub(super) fn set(&mut self, criticality: Criticality, share: f64) {
        self.0[class(criticality)] = share;
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let [sheddable, above @ ..] = self.0;
        if sheddable != 0.0 {
            return Err(ConfigError::new("reserve", "must be for a criticality above Sheddable"));
        }
        // Written so that NaN is refused too.
        if !above.iter().all(|share| (0.0..1.0).contains(share)) {
            return Err(ConfigError::new("reserve", "must be at least 0 and below 1"));
        }
        if above.iter().sum::<f64>() >= 1.0 {
            return Err(ConfigError::new("reserve", "must leave something to all"));
        }
        Ok(())
    }
}

/// The same, as the gate reads it.
#[derive(Debug)]
pub(super) struct Kept {
    /// For each criticality, what it may not use, in 65,536ths of the limit.
    from: [AtomicU32; CLASSES],
}

impl Kept {
    pub(super) fn new(reserve: &Reserve) -> Self {
        let kept = Self { from: std::array::from_fn(|_| AtomicU32::new(0)) };
        kept.set(reserve);
        kept
    }

    pub(super) fn set(&self, reserve: &Reserve) {
        let mut above = 0.0;
        for (kept, share) in self.from.iter().zip(reserve.0).rev() {
            // Relaxed: figures that guard nothing.
            kept.store((above * ALL as f64).round() as u32, Ordering::Relaxed);
            above += share;
        }
    }

    /// How many calls may be in flight, of all kinds, for one of this criticality to be let in: at least one.
    #[inline]
    pub(super) fn most(&self, criticality: Criticality, limit: u32) -> u32 {
        let kept = u64::from(self.from[class(criticality)].load(Ordering::Relaxed));
        // To the nearest, and not above the limit, as `kept` is not above 65,536.
        let kept = ((u64::from(limit) * kept + ALL / 2) / ALL) as u32;
        limit.saturating_sub(kept).max(1)
    }
}

fn class(criticality: Criticality) -> usize {
    match criticality {
        Criticality::Sheddable => 0,
        Criticality::SheddablePlus => 1,
        Criticality::Critical => 2,
        Criticality::CriticalPlus => 3,
    }
}
