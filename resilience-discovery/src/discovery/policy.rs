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
