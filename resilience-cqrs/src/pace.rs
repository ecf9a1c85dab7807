//! How often, and with which waits, a decision is tried again while others append.

use std::num::NonZeroU32;
use std::time::Duration;

use resilience_core::rng::SharedRng;
use resilience_core::time::SharedTimer;

#[derive(Debug)]
pub(crate) struct Pace {
    pub(crate) attempts: u32,
    pub(crate) base: Duration,
    pub(crate) cap: Duration,
    pub(crate) timer: SharedTimer,
    pub(crate) rng: SharedRng,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(2),
            cap: Duration::from_millis(100),
            timer: SharedTimer::default(),
            rng: SharedRng::from_entropy(),
        }
    }
}

impl Pace {
    pub(crate) fn set_attempts(&mut self, attempts: NonZeroU32) {
        self.attempts = attempts.get();
    }

    /// Waits before the next attempt: "full jitter" (Brooker, "Exponential Backoff And Jitter", 2015).
    pub(crate) async fn wait(&self, attempts: u32) {
        let doubled = self.base.saturating_mul(1_u32.checked_shl(attempts - 1).unwrap_or(u32::MAX));
        self.timer.sleep(doubled.min(self.cap).mul_f64(self.rng.unit())).await;
    }
}
