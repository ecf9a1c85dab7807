//! Another quota for keys that are in use, and for those to come.

use std::hash::Hash;
use std::time::Duration;

use super::{KeyedRateLimiter, part};
use crate::ConfigError;
use crate::rate_limit::machine::Rule;
use crate::rate_limit::{Event, RateLimiterBuilder};
use crate::sync::atomic::Ordering;
use crate::sync::lock;

impl<K: Hash + Eq> KeyedRateLimiter<K> {
    /// Changes the quota and burst of every key. What each has taken stays taken.
    ///
    /// Takes time proportional to the keys that are remembered.
    ///
    /// # Errors
    ///
    /// As in the builder.
    pub fn set_quota(&self, permits: u32, per: Duration, burst: u32) -> Result<(), ConfigError> {
        let (rule, now) = (Rule::new(permits, per, burst)?, self.now());
        {
            let _turn = lock(&self.shared.max_keys);
            self.set_rule(rule, now);
        }
        self.emit(|| Event::QuotaChanged { permits, per, burst });
        Ok(())
    }

    /// Takes over quota, burst, [`max_keys`](RateLimiterBuilder::max_keys) and dry run of `builder` while calls come; the
    /// rest of it is not looked at.
    ///
    /// What each key has taken stays taken. With fewer keys allowed than are remembered, none is forgotten before it is
    /// back at full, since it would have its burst again: until enough of them are, calls for new keys are refused. Takes
    /// time proportional to the keys that are remembered.
    ///
    /// # Errors
    ///
    /// As [`build_keyed`](RateLimiterBuilder::build_keyed). Nothing has changed then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::rate_limit::RateLimiter;
    ///
    /// let minute = Duration::from_secs(60);
    /// let logins = RateLimiter::builder().quota(5, minute).build_keyed::<String>()?;
    /// logins.try_acquire_n("ada", 4).unwrap();
    /// logins.reconfigure(RateLimiter::builder().quota(10, minute).max_keys(50_000))?;
    /// assert_eq!((logins.available("ada"), logins.available("grace")), (6, 10)); // what was taken stays taken
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reconfigure(&self, builder: RateLimiterBuilder) -> Result<(), ConfigError> {
        let shared = &*self.shared;
        let max_keys = builder.checked_max_keys()?;
        let (permits, per, burst) = builder.checked_quota()?;
        // The clock before the lock: it may be the user's, and do what it likes.
        let (rule, now) = (Rule::new(permits, per, burst)?, self.now());
        let is_other = {
            let mut bound = lock(&shared.max_keys);
            // Relaxed: see `deny`.
            shared.dry_run.store(builder.is_dry_run(), Ordering::Relaxed);
            if *bound != max_keys {
                *bound = max_keys;
                shared.parts.resize_if(max_keys, |_| true, |parts, placement| part::place(parts, placement));
            }
            self.set_rule(rule, now)
        };
        if is_other {
            self.emit(|| Event::QuotaChanged { permits, per, burst });
        }
        Ok(())
    }

    /// Sets the rule of every key, and says whether it is another one. Whoever calls it holds `max_keys`.
    fn set_rule(&self, rule: Rule, now: u64) -> bool {
        let mut is_other = false;
        for part in self.shared.parts.iter() {
            let mut part = lock(part);
            if part.rule() != rule {
                part.set_rule(rule, now);
                is_other = true;
            }
        }
        is_other
    }
}
