//! The patterns that are made for types of the program's, as a registry sees them.

use super::policies::figures;
use super::{Control, ControlError, Figure, Handle, Managed, Register};
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
