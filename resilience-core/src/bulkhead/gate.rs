//! What patterns need that admit through a bulkhead and find its limit themselves.

use super::shared::Calls;
use super::{Bulkhead, BulkheadBuilder, Permit};
use crate::ConfigError;
use crate::sync::atomic::Ordering;

impl Bulkhead {
    /// Takes a slot if one is free and fewer than `most(limit)` are taken; else says what that is and what the limit is,
    /// and counts nothing.
    #[inline]
    pub(crate) fn try_within(&self, most: impl Fn(u32) -> u32) -> Result<Permit, (u32, u32)> {
        let mut word = self.shared.word();
        loop {
            let most = most(word.limit());
            let Some(next) = word.admit().filter(|_| word.in_flight() < most) else {
                return Err((most, word.limit()));
            };
            // Acquire as in `Shared::try_take`.
            match self.shared.exchange(word, next, Ordering::Acquire) {
                Ok(()) => return Ok(self.permit(None)),
                Err(seen) => word = seen,
            }
        }
    }

    /// As [`reconfigure`](Self::reconfigure), but whoever found the limit tells of it, and calls those who are let in once
    /// its own locks are free.
    pub(crate) fn change(&self, builder: &BulkheadBuilder) -> Result<Calls, ConfigError> {
        Ok(self.shared.set(builder.checked()?, builder.is_dry_run()).0)
    }

    pub(crate) fn limit(&self) -> u32 {
        self.shared.word().limit()
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.shared.word().in_flight()
    }

    /// Calls that wait.
    pub(crate) fn queued(&self) -> u32 {
        self.shared.word().waiting()
    }

    /// Calls that may wait.
    pub(crate) fn queue(&self) -> u32 {
        self.shared.queue()
    }
}
