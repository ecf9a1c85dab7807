//! Endpoints known from the start.

use resilience_core::time::SharedTimer;

use super::{Source, SourceError, Update};
use crate::Endpoint;

/// A list that never changes: tests, fixed deployments, a name that resolves behind one address.
///
/// ```
/// use std::net::SocketAddr;
/// use resilience_core::time::{ManualTimer, SharedTimer};
/// use resilience_discovery::{Endpoint, Source, StaticSource, Update};
///
/// # futures::executor::block_on(async {
/// let fleet = [7, 8].map(|host| Endpoint::at(SocketAddr::from(([10, 0, 0, host], 8080))));
/// let mut source = StaticSource::new(fleet.clone());
/// let timer = SharedTimer::from(ManualTimer::new());
/// assert_eq!(source.next(&timer).await?, Update::Endpoints(fleet.to_vec()));
/// // It never speaks again, and promises no heartbeat: silence does not make these endpoints stale.
/// assert_eq!(source.heartbeat(), None);
/// # Ok::<(), resilience_discovery::SourceError>(()) }).unwrap();
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
