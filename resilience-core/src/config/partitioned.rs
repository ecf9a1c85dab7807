//! A limit with shares as data.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::policies::set;
use crate::bulkhead::partitioned::{PartitionedBulkhead, PartitionedBulkheadBuilder};

/// A [`PartitionedBulkhead`] as data.
///
/// Its keys are `Arc<str>`, so that a key that is kept with a request costs no allocation when the layer asks for it.
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use resilience_core::config::PartitionedBulkheadConfig;
///
/// let config: PartitionedBulkheadConfig = toml::from_str("limit = 10\nshares = { gold = 0.5, silver = 0.3 }")?;
/// let tenants = config.builder().build()?;
/// assert_eq!((tenants.partition("gold").guaranteed, tenants.partition("nobody").guaranteed), (5, 0));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PartitionedBulkheadConfig {
    /// Calls that may run at once. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Keys, and the part of the limit each can always have. Required: at least one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, f64>,
    /// The part that all other keys can always have together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<f64>,
    /// Whether the limit is only tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl PartitionedBulkheadConfig {
    /// A builder with these settings.
    pub fn builder(&self) -> PartitionedBulkheadBuilder<Arc<str>> {
        let mut builder = PartitionedBulkhead::builder();
        set!(builder, self.limit => limit, self.others => others, self.dry_run => dry_run);
        self.shares.iter().fold(builder, |builder, (key, ratio)| builder.share(key.as_str().into(), *ratio))
    }
}
