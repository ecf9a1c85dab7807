//! A batch as data.

use serde::{Deserialize, Serialize};

use super::Span;
use super::policies::set;
use crate::batch::{Batch, BatchBuilder};

/// A [`Batch`] as data.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::BatchConfig;
///
/// let config: BatchConfig = toml::from_str("size = 50\ndelay = \"5ms\"\nlimit = 500")?;
/// assert_eq!(config.builder().build()?.snapshot().limit, 500);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BatchConfig {
    /// How many calls make a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// How much the requests of a batch may weigh together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
    /// How long a batch waits for others after its first call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// Of how many keys batches may be open at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<usize>,
    /// How many calls may wait at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Whether the limit is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl BatchConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> BatchBuilder {
        let mut builder = Batch::builder();
        set!(builder, self.size => size, self.weight => weight, self.delay => delay);
        set!(builder, self.keys => keys, self.limit => limit, self.dry_run => dry_run);
        builder
    }
}
