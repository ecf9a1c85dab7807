//! What of a configuration can change while a breaker works, and what is fixed when it is built.

use std::time::Duration;

use super::checked::{Config, Trip, WindowKind};
use crate::ConfigError;
use crate::circuit_breaker::machine::Rules;

/// What a breaker stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    is_exact: bool,
    counts_in_a_row: bool,
    watches_slow: bool,
    /// Whether it was built with a user's rule of waits.
    asks_user: bool,
    /// The calls its window holds at most.
    most_calls: u64,
}

/// What a breaker takes over.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) trip: Trip,
    pub(crate) slow: Option<(Duration, f64, u64)>,
    pub(crate) rules: Rules,
    pub(crate) dry_run: bool,
}

impl Config {
    pub(crate) fn fixed(&self) -> Fixed {
        Fixed {
            is_exact: self.exact.is_some(),
            counts_in_a_row: matches!(self.trip, Trip::Consecutive(_)),
            watches_slow: self.slow.is_some(),
            asks_user: self.asks_user,
            most_calls: match self.window {
                WindowKind::Count(calls) => calls.into(),
                WindowKind::Time(_) => u64::MAX,
            },
        }
    }

    /// What a breaker takes over of this, if it can. The rest of it is dropped, so not under a lock: listeners are the
    /// user's.
    pub(crate) fn into_change(self, fixed: &Fixed) -> Result<Change, ConfigError> {
        let asked = self.fixed();
        if fixed.is_exact || asked.is_exact {
            return Err(ConfigError::new("exact", "cannot change while running"));
        }
        if fixed.counts_in_a_row != asked.counts_in_a_row {
            return Err(ConfigError::new("failure_rate", "cannot come or go while running, only change"));
        }
        if fixed.watches_slow != asked.watches_slow {
            return Err(ConfigError::new("slow_calls", "cannot come or go while running, only change its rate"));
        }
        if asked.asks_user && !fixed.asks_user {
            // Threads may keep a share in a breaker that owns nothing of the user's, and with it what came later.
            return Err(ConfigError::new("open_for_each", "cannot come while running, only change"));
        }
        // The window stays, whatever this one says: of more calls than it holds, it would never be judged.
        let trip = match self.trip {
            Trip::Rate { ratio, minimum } => Trip::Rate { ratio, minimum: minimum.min(fixed.most_calls) },
            trip @ Trip::Consecutive(_) => trip,
        };
        let slow = self.slow.map(|(threshold, ratio, minimum)| (threshold, ratio, minimum.min(fixed.most_calls)));
        Ok(Change { trip, slow, rules: self.rules, dry_run: self.dry_run })
    }
}
