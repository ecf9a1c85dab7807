//! The handle users hold.

use std::fmt;
use std::sync::Arc;

use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::time::SharedTimer;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::config::DiscoveryBuilder;
use super::driver::{Backoff, Driver};
use super::{EndpointSet, Rules};
use crate::{Freshness, Snapshot, Source};

/// What is known about the endpoints of one service, kept up to date by a task of its own.
///
/// A cheap clone; clones share the knowledge, and the task ends with the last of them. Nothing here fails: when the
/// source does, the last good endpoints stay, and [`Snapshot::freshness`] says so.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::time::SharedTimer;
/// use resilience_discovery::{Address, Discovery, Endpoint, Source, SourceError, Update};
///
/// /// A registry that answers once, and is down from then on.
/// struct Once(Vec<Endpoint>);
///
/// impl Source for Once {
///     async fn next(&mut self, _: &SharedTimer) -> Result<Update, SourceError> {
///         let endpoints = std::mem::take(&mut self.0);
///         if endpoints.is_empty() { Err(SourceError::new("no leader")) } else { Ok(Update::Endpoints(endpoints)) }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let fleet = vec![Endpoint::at(Address::try_from("10.0.0.7:80")?)];
/// let discovery = Discovery::builder().build(Once(fleet.clone()))?;
/// tokio::time::sleep(Duration::from_secs(3600)).await;
/// let snapshot = discovery.snapshot();
/// assert_eq!(snapshot.endpoints(), fleet);
/// assert!(snapshot.freshness().is_stale());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Discovery {
    shared: Arc<Shared>,
}

struct Shared {
    name: Name,
    snapshots: watch::Receiver<Snapshot>,
    driver: AbortHandle,
}

impl Discovery {
    /// Settings to start from.
    pub fn builder() -> DiscoveryBuilder {
        DiscoveryBuilder::new()
    }

    pub(super) fn start(
        runtime: &Handle,
        name: Name,
        timer: SharedTimer,
        listeners: Listeners,
        rules: Rules,
        backoff: Backoff,
        source: impl Source,
    ) -> Self {
        let set = EndpointSet::new(rules, timer.now());
        let (sender, snapshots) = watch::channel(set.snapshot().clone());
        let driver = Driver { name: name.clone(), timer, listeners, set, backoff, snapshots: sender };
        let driver = runtime.spawn(driver.run(source)).abort_handle();
        Self { shared: Arc::new(Shared { name, snapshots, driver }) }
    }

    /// The name of the service that is looked up.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// What is known now.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshots.borrow().clone()
    }

    /// Waits until a source has been heard for the first time, and says what it said.
    ///
    /// Waits for ever if none ever is; cancelling it costs nothing.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::time::SharedTimer;
    /// use resilience_discovery::{Discovery, Source, SourceError, Update};
    ///
    /// /// The registry is not up yet.
    /// struct Down;
    ///
    /// impl Source for Down {
    ///     async fn next(&mut self, _: &SharedTimer) -> Result<Update, SourceError> {
    ///         Err(SourceError::new("connection refused"))
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let discovery = Discovery::builder().build(Down)?;
    /// // A failure is no word from the source: bound the wait, and start without endpoints.
    /// assert!(tokio::time::timeout(Duration::from_secs(60), discovery.first()).await.is_err());
    /// assert_eq!(discovery.snapshot().version(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn first(&self) -> Snapshot {
        let mut snapshots = self.shared.snapshots.clone();
        // The task that sends lives as long as `self`, so the channel stays open; were it closed, what is there is all.
        match snapshots.wait_for(|snapshot| snapshot.version > 0).await {
            Ok(snapshot) => snapshot.clone(),
            Err(_) => self.snapshot(),
        }
    }

    /// Follows the snapshots, starting with the current one.
    pub fn subscribe(&self) -> Subscription {
        let mut snapshots = self.shared.snapshots.clone();
        snapshots.mark_changed();
        Subscription { snapshots, discovery: self.clone() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot();
        let mut debug = f.debug_struct("Discovery");
        debug.field("name", &self.shared.name).field("version", &snapshot.version);
        debug.field("endpoints", &snapshot.endpoints.len()).field("freshness", &snapshot.freshness).finish()
    }
}

/// The snapshots of a [`Discovery`], one after the other; a slow reader sees the latest, not each one between.
///
/// Keeps the discovery going as a handle does.
///
/// ```
/// use resilience_discovery::{Address, Discovery, Endpoint, StaticSource};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let fleet = StaticSource::new([Endpoint::at(Address::try_from("10.0.0.7:80")?)]);
/// let discovery = Discovery::builder().build(fleet)?;
/// let mut subscription = discovery.subscribe();
/// // What is known now comes first, though it is nothing: a follower has one code path.
/// assert_eq!(subscription.next().await.version(), 0);
/// assert_eq!(subscription.next().await.endpoints().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Subscription {
    snapshots: watch::Receiver<Snapshot>,
    discovery: Discovery,
}

impl Subscription {
    /// The next snapshot: at once the first time, then when endpoints or freshness have changed. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Snapshot {
        if self.snapshots.changed().await.is_err() {
            // Closed means that the source panicked out of its task, which is caught; or that the runtime shuts down.
            std::future::pending::<()>().await;
        }
        self.snapshots.borrow_and_update().clone()
    }

    /// The discovery that is followed.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("discovery", &self.discovery).finish()
    }
}

impl Snapshot {
    /// Whether the source stands by these endpoints at this moment.
    pub fn is_live(&self) -> bool {
        self.freshness == Freshness::Live
    }
}
