//! The patterns that are made for types of the program's, as a registry sees them.

use super::policies::figures;
use super::{Control, ControlError, Figure, Handle, Managed, Register};
use std::hash::Hash;

use crate::bulkhead::partitioned::PartitionedBulkhead;
use crate::chaos::Chaos;
use crate::circuit_breaker::KeyedCircuitBreaker;
use crate::health::Status;
use crate::rate_limit::KeyedRateLimiter;
use crate::rate_limit::distributed::{DistributedRateLimiter, PermitStore};
use crate::{ConfigError, Name};

#[cfg(feature = "cache")]
mod cache {
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

impl<K: Hash + Eq + Send + Sync + 'static> Managed for KeyedCircuitBreaker<K> {
    fn name(&self) -> &Name {
        Self::name(self)
    }

    fn pattern(&self) -> &'static str {
        "keyed_circuit_breaker"
    }

    fn status(&self) -> Status {
        if self.snapshot().not_closed > 0 { Status::Degraded } else { Status::Up }
    }

    fn figures(&self) -> Vec<(&'static str, Figure)> {
        let seen = self.snapshot();
        figures!(
            keys: Figure::Count(seen.keys as u64),
            max_keys: Figure::Count(seen.max_keys as u64),
            not_closed: Figure::Count(seen.not_closed as u64),
            unwatched: Figure::Count(seen.unwatched),
            would_reject: Figure::Count(seen.would_reject),
            rejected: Figure::Count(seen.rejected),
            opened: Figure::Count(seen.opened),
        )
    }

    /// Closes all circuits. To open those of keys that are still to come takes a control that they are built with.
    fn control(&self, control: Control) -> Result<(), ControlError> {
        match control {
            Control::Reset => {
                self.close();
                Ok(())
            }
            _ => Err(ControlError::Unsupported),
        }
    }

    #[cfg(feature = "serde")]
    fn reconfigure(&self, config: &crate::config::PolicyConfig) -> Result<(), crate::config::Problem> {
        match config {
            crate::config::PolicyConfig::KeyedCircuitBreaker(config) => {
                config.check()?;
                Ok(Self::reconfigure(self, config.builder())?)
            }
            _ => Err(crate::config::Problem::new("", crate::config::OTHER_PATTERN)),
        }
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Register for KeyedCircuitBreaker<K> {
    fn handle(&self) -> Result<Handle, ConfigError> {
        Ok(Handle::new(self.weak()))
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Managed for KeyedRateLimiter<K> {
    fn name(&self) -> &Name {
        Self::name(self)
    }

    fn pattern(&self) -> &'static str {
        "keyed_rate_limit"
    }

    fn figures(&self) -> Vec<(&'static str, Figure)> {
        let seen = self.snapshot();
        figures!(
            keys: Figure::Count(seen.keys as u64),
            max_keys: Figure::Count(seen.max_keys as u64),
            rate_limited: Figure::Count(seen.rate_limited),
            crowded: Figure::Count(seen.crowded),
            would_reject: Figure::Count(seen.would_reject),
        )
    }

    #[cfg(feature = "serde")]
    fn reconfigure(&self, config: &crate::config::PolicyConfig) -> Result<(), crate::config::Problem> {
        match config {
            crate::config::PolicyConfig::KeyedRateLimit(config) => Ok(Self::reconfigure(self, config.builder())?),
            _ => Err(crate::config::Problem::new("", crate::config::OTHER_PATTERN)),
        }
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Register for KeyedRateLimiter<K> {
    fn handle(&self) -> Result<Handle, ConfigError> {
        Ok(Handle::new(self.weak()))
    }
}

/// By whatever keys; what comes from a file, with keys of text, takes over a changed one.
impl<K: Send + Sync + 'static> Managed for PartitionedBulkhead<K> {
    fn name(&self) -> &Name {
        Self::name(self)
    }

    fn pattern(&self) -> &'static str {
        "partitioned_bulkhead"
    }

    fn figures(&self) -> Vec<(&'static str, Figure)> {
        let seen = self.snapshot();
        let others = self.others();
        figures!(
            limit: Figure::Count(seen.limit.into()),
            in_flight: Figure::Count(seen.in_flight.into()),
            others_in_flight: Figure::Count(others.in_flight.into()),
            full: Figure::Count(seen.full),
            others_full: Figure::Count(others.full),
            would_reject: Figure::Count(seen.would_reject),
        )
    }

    #[cfg(feature = "serde")]
    fn reconfigure(&self, config: &crate::config::PolicyConfig) -> Result<(), crate::config::Problem> {
        match (self as &dyn std::any::Any).downcast_ref::<PartitionedBulkhead<std::sync::Arc<str>>>() {
            Some(from_file) => crate::config::Policy::PartitionedBulkhead(from_file.clone()).reconfigure(config),
            None => Err(crate::config::Problem::new("", "has keys that no file can say")),
        }
    }
}

impl<K: Send + Sync + 'static> Register for PartitionedBulkhead<K> {
    fn handle(&self) -> Result<Handle, ConfigError> {
        Ok(Handle::new(self.weak()))
    }
}
