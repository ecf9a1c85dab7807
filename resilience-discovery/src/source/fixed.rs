//! Endpoints known from the start.

use resilience_core::time::SharedTimer;

use super::{Source, SourceError, Update};
use crate::Endpoint;

/// A list that never changes: tests, fixed deployments, a name that resolves behind one address.
///
/// ```
/// use std::net::SocketAddr;
/// use resilience_discovery::{Endpoint, StaticSource};
///
/// let source = StaticSource::new([
///     Endpoint::at(SocketAddr::from(([10, 0, 0, 7], 8080))),
///     Endpoint::at(SocketAddr::from(([10, 0, 0, 8], 8080))),
/// ]);
/// # let _ = source;
/// ```
#[derive(Clone, Debug)]
pub struct StaticSource {
    endpoints: Option<Vec<Endpoint>>,
}

impl StaticSource {
    /// Says `endpoints` once, and then nothing.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Self { endpoints: Some(endpoints.into_iter().collect()) }
    }
}

impl Source for StaticSource {
    async fn next(&mut self, _: &SharedTimer) -> Result<Update, SourceError> {
        match self.endpoints.take() {
            Some(endpoints) => Ok(Update::Endpoints(endpoints)),
            None => std::future::pending().await,
        }
    }
}
