//! Who may answer: an identity, and the address it is reached at for now.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::Address;

/// Who an endpoint is, whatever its address: a pod's name, a registry's instance id.
///
/// Load, connections and what was learned about an endpoint belong to its identity, so they survive a registry that
/// reconnects and lists it again. Sources without identities of their own use the address as the identity.
///
/// ```
/// use std::collections::BTreeMap;
/// use resilience_discovery::EndpointId;
///
/// // Maps keyed by identity are asked with plain text.
/// let breakers = BTreeMap::from([(EndpointId::from("payments-7d4f"), "closed")]);
/// assert_eq!(breakers.get("payments-7d4f"), Some(&"closed"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(Arc<str>);

impl EndpointId {
    /// The identity as the source gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for EndpointId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<String> for EndpointId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl Borrow<str> for EndpointId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of those who may answer. A cheap clone; equal when everything known about the two is equal.
///
/// ```
/// use resilience_discovery::{Address, Endpoint};
///
/// let endpoint = Endpoint::new("payments-1", Address::try_from("10.0.0.7:8080")?)
///     .with_zone("eu-1a")
///     .with_metadata("version", "4.2");
/// assert_eq!(endpoint.to_string(), "payments-1@10.0.0.7:8080");
/// assert_eq!(endpoint.weight(), Endpoint::DEFAULT_WEIGHT);
/// # Ok::<(), resilience_discovery::InvalidAddress>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Arc<Parts>);

#[derive(Clone, PartialEq, Eq)]
struct Parts {
    id: EndpointId,
    address: Address,
    weight: u32,
    zone: Option<Arc<str>>,
    metadata: BTreeMap<String, String>,
}

impl Endpoint {
    /// The weight of an endpoint that was given none.
    pub const DEFAULT_WEIGHT: u32 = 1;

    /// An endpoint with the default weight, no zone and no metadata.
    pub fn new(id: impl Into<EndpointId>, address: impl Into<Address>) -> Self {
        Self(Arc::new(Parts {
            id: id.into(),
            address: address.into(),
            weight: Self::DEFAULT_WEIGHT,
            zone: None,
            metadata: BTreeMap::new(),
        }))
    }

    /// An endpoint whose identity is its address, for sources that know nothing else.
    ///
    /// ```
    /// use resilience_discovery::{Address, Endpoint};
    ///
    /// // Who moves is then another endpoint: its load and what was learned about it do not move along.
    /// let endpoint = Endpoint::at(Address::try_from("payments.internal:8080")?);
    /// assert_eq!(endpoint.id().as_str(), "payments.internal:8080");
    /// # Ok::<(), resilience_discovery::InvalidAddress>(())
    /// ```
    pub fn at(address: impl Into<Address>) -> Self {
        let address = address.into();
        Self::new(address.to_string(), address)
    }

    /// Sets its share of the work relative to the others. Carried for policies that weigh; least-loaded choice does not.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        Arc::make_mut(&mut self.0).weight = weight;
        self
    }

    /// Sets where it runs: whatever the fleet calls a zone.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.0).zone = Some(zone.into());
        self
    }

    /// Adds what the source says about it; a second value for a key replaces the first.
    ///
    /// ```
    /// use resilience_discovery::{Address, Endpoint};
    ///
    /// let before = Endpoint::at(Address::try_from("10.0.0.7:80")?).with_metadata("version", "4.2");
    /// let after = before.clone().with_metadata("version", "4.3");
    /// assert_eq!(after.metadata()["version"], "4.3");
    /// assert_eq!(before.metadata()["version"], "4.2", "a clone is changed alone");
    /// assert!(before != after && before.id() == after.id());
    /// # Ok::<(), resilience_discovery::InvalidAddress>(())
    /// ```
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).metadata.insert(key.into(), value.into());
        self
    }

    /// Who it is.
    pub fn id(&self) -> &EndpointId {
        &self.0.id
    }

    /// Where it is reached for now.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// Its share of the work relative to the others.
    pub fn weight(&self) -> u32 {
        self.0.weight
    }

    /// Where it runs, if the source says.
    pub fn zone(&self) -> Option<&str> {
        self.0.zone.as_deref()
    }

    /// What else the source says about it.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Endpoint");
        debug.field("id", self.id()).field("address", self.address()).field("weight", &self.weight());
        debug.field("zone", &self.zone()).field("metadata", self.metadata()).finish()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id(), self.address())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn a_changed_copy_leaves_the_original_as_it_was() {
        let original = Endpoint::at(SocketAddr::from(([127, 0, 0, 1], 80)));
        let heavier = original.clone().with_weight(3);
        assert_eq!((original.weight(), heavier.weight()), (1, 3));
        assert_ne!(original, heavier);
        assert_eq!(original.id(), heavier.id());
    }
}
