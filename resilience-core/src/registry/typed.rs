//! The patterns that are made for types of the program's, as a registry sees them.

use super::policies::figures;
use super::{Control, ControlError, Figure, Handle, Managed, Register};
use crate::chaos::Chaos;
use crate::rate_limit::distributed::{DistributedRateLimiter, PermitStore};
use crate::{ConfigError, Name};

#[cfg(feature = "cache")]
mod cache {
    use std::hash::Hash;

    use super::*;
    use crate::cache::Cache;

    impl<K, V, E> Managed for Cache<K, V, E>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
        E: Clone + Send + Sync + 'static,
    {
        fn name(&self) -> &Name {
            Self::name(self)
        }

        fn pattern(&self) -> &'static str {
            "cache"
        }

        fn figures(&self) -> Vec<(&'static str, Figure)> {
            let seen = self.snapshot();
            figures!(
                entries: Figure::Count(seen.entries as u64),
                weight: Figure::Count(seen.weight),
                capacity: Figure::Count(seen.capacity),
                loading: Figure::Count(seen.loading as u64),
                hits: Figure::Count(seen.hits),
                would_hit: Figure::Count(seen.would_hit),
                misses: Figure::Count(seen.misses),
                coalesced: Figure::Count(seen.coalesced),
                stale: Figure::Count(seen.stale),
                stale_on_error: Figure::Count(seen.stale_on_error),
                loads: Figure::Count(seen.loads),
                failures: Figure::Count(seen.failures),
                evictions: Figure::Count(seen.evictions),
                invalidations: Figure::Count(seen.invalidations),
            )
        }

        /// Forgets everything.
        fn control(&self, control: Control) -> Result<(), ControlError> {
            match control {
                Control::Reset => {
                    self.invalidate_all();
                    Ok(())
                }
                _ => Err(ControlError::Unsupported),
            }
        }

        #[cfg(feature = "serde")]
        fn reconfigure(&self, config: &crate::config::PolicyConfig) -> Result<(), crate::config::Problem> {
            match config {
                crate::config::PolicyConfig::Cache(config) => Ok(Self::reconfigure(self, config.builder())?),
                _ => Err(crate::config::Problem::new("", crate::config::OTHER_PATTERN)),
            }
        }
    }

    impl<K, V, E> Register for Cache<K, V, E>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
        E: Clone + Send + Sync + 'static,
    {
        fn handle(&self) -> Result<Handle, ConfigError> {
            Ok(Handle::new(self.weak()))
        }
    }
}

impl<Req: 'static, Res: 'static, E: 'static> Managed for Chaos<Req, Res, E> {
    fn name(&self) -> &Name {
        Self::name(self)
    }

    fn pattern(&self) -> &'static str {
        "chaos"
    }

    fn figures(&self) -> Vec<(&'static str, Figure)> {
        let seen = self.snapshot();
        figures!(
            enabled: Figure::Flag(seen.enabled),
            seed: Figure::Id(seen.seed),
            calls: Figure::Count(seen.calls),
            delays: Figure::Count(seen.delays),
            errors: Figure::Count(seen.errors),
            responses: Figure::Count(seen.responses),
            behaviours: Figure::Count(seen.behaviours),
            would_inject: Figure::Count(seen.would_inject),
        )
    }

    /// Switches it off.
    fn control(&self, control: Control) -> Result<(), ControlError> {
        match control {
            Control::Reset => {
                self.off();
                Ok(())
            }
            _ => Err(ControlError::Unsupported),
        }
    }

    #[cfg(feature = "serde")]
    fn reconfigure(&self, config: &crate::config::PolicyConfig) -> Result<(), crate::config::Problem> {
        match config {
            crate::config::PolicyConfig::Chaos(config) => Ok(Self::reconfigure(self, config.builder())?),
            _ => Err(crate::config::Problem::new("", crate::config::OTHER_PATTERN)),
        }
    }
}

impl<Req: 'static, Res: 'static, E: 'static> Register for Chaos<Req, Res, E> {
    fn handle(&self) -> Result<Handle, ConfigError> {
        Ok(Handle::new(self.weak()))
    }
}

impl<S: PermitStore + Send + Sync + 'static> Managed for DistributedRateLimiter<S> {
    fn name(&self) -> &Name {
        Self::name(self)
    }

    fn pattern(&self) -> &'static str {
        "distributed_rate_limit"
    }

    fn figures(&self) -> Vec<(&'static str, Figure)> {
        let seen = self.snapshot();
        figures!(
            at_hand: Figure::Count(seen.at_hand.into()),
            taken: Figure::Count(seen.taken),
            rejected: Figure::Count(seen.rejected),
            would_reject: Figure::Count(seen.would_reject),
            unavailable: Figure::Count(seen.unavailable),
        )
    }

    #[cfg(feature = "serde")]
    fn reconfigure(&self, config: &crate::config::PolicyConfig) -> Result<(), crate::config::Problem> {
        match config {
            crate::config::PolicyConfig::DistributedRateLimit(config) => {
                Ok(self.reconfigure_by(&config.builder(crate::config::NoStore))?)
            }
            _ => Err(crate::config::Problem::new("", crate::config::OTHER_PATTERN)),
        }
    }
}

impl<S: PermitStore + Send + Sync + 'static> Register for DistributedRateLimiter<S> {
    fn handle(&self) -> Result<Handle, ConfigError> {
        Ok(Handle::new(self.weak()))
    }
}
