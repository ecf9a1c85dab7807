//! The handle users hold, which is also the service they call.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::rng::{Rng, SharedRng};
use resilience_core::time::SharedTimer;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tower_service::Service;

use super::config::BalanceBuilder;
use super::driver::Driver;
use super::service::Held;
use super::slot::{Desk, Entry, Picker};
use crate::{Discovery, Endpoint, Freshness};

/// A service that sends each call to the less loaded of two endpoints drawn at random.
///
/// Cheap to clone: clones share the endpoints, their services and their load, and each may be called on a thread of its own
/// without a lock or a task between. See the [module](super) for how endpoints come, go and are avoided.
///
/// ```
/// use resilience_core::Error;
/// use resilience_discovery::{Address, Balance, Discovery, Endpoint, StaticSource};
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Built before anything is known: the calls that come first wait, and none is lost to start-up.
/// let fleet = StaticSource::new([Endpoint::at(Address::try_from("10.0.0.7:80")?)]);
/// let discovery = Discovery::builder().name("payments").build(fleet)?;
/// let echo = |_: &Endpoint| service_fn(|n: u32| async move { Ok::<_, Error<std::io::Error>>(n) });
/// let payments = Balance::builder().build(&discovery, echo)?;
/// assert_eq!((payments.name().as_str(), payments.snapshot().endpoints.len()), ("payments", 0));
/// assert_eq!(payments.oneshot(7).await?, 7);
/// # Ok(())
/// # }
/// ```
pub struct Balance<S, Req> {
    pub(super) shared: Arc<Shared<S>>,
    /// The picker it used last, and which generation of the fleet's pickers that is.
    pub(super) picker: Arc<Picker<S>>,
    pub(super) generation: u64,
    pub(super) rng: Rng,
    pub(super) held: Held<S>,
    pub(super) request: PhantomData<fn(Req)>,
}

/// What the clones share. Ends the driver with the last of them; calls in flight do not need it.
pub(super) struct Shared<S> {
    pub(super) fleet: Arc<Fleet<S>>,
    rng: SharedRng,
    driver: AbortHandle,
}

/// What the driver shares with the clones.
pub(super) struct Fleet<S> {
    pub(super) desk: Arc<Desk>,
    pub(super) wait: Duration,
    picker: ArcSwap<Picker<S>>,
    /// Grows with each picker: looking at it is a tenth of the price of looking at the picker.
    generation: AtomicU64,
    /// Told when an endpoint is ready again or a picker is published.
    pub(super) changed: Arc<Notify>,
    /// Whether a call has waited in vain since an endpoint was last ready: the next ones need not wait to learn it.
    failing: AtomicBool,
}

impl<S> Fleet<S> {
    #[inline]
    pub(super) fn generation(&self) -> u64 {
        // Acquire: pairs with the release in `publish`. Who sees a generation finds its picker, or a later one.
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn picker(&self) -> Arc<Picker<S>> {
        self.picker.load_full()
    }

    /// Only the driver publishes.
    pub(super) fn publish(&self, picker: Picker<S>) {
        self.picker.store(Arc::new(picker));
        // Release: pairs with the acquire in `generation`.
        self.generation.fetch_add(1, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(super) fn is_failing(&self) -> bool {
        // Relaxed: a call that misses the change waits, or is refused, as one a moment earlier.
        self.failing.load(Ordering::Relaxed)
    }

    pub(super) fn set_failing(&self, failing: bool) {
        // Written only when it changes: the line is shared by all callers.
        if self.is_failing() != failing {
            self.failing.store(failing, Ordering::Relaxed);
        }
    }
}

impl Balance<(), ()> {
    /// Settings to start from.
    pub fn builder() -> BalanceBuilder {
        BalanceBuilder::new()
    }
}

impl<S, Req> Balance<S, Req> {
    #[allow(clippy::too_many_arguments)] // Called by the builder only, which names each.
    pub(super) fn start<F>(
        runtime: &Handle,
        name: Name,
        timer: SharedTimer,
        listeners: Listeners,
        wait: Duration,
        rng: SharedRng,
        discovery: &Discovery,
        make: F,
    ) -> Self
    where
        S: Service<Req> + Clone + Send + Sync + 'static,
        Req: 'static,
        F: FnMut(&Endpoint) -> S + Send + 'static,
    {
        let (reports, inbox) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk { name, timer, listeners, reports });
        let snapshot = discovery.snapshot();
        let empty =
            Picker { version: 0, freshness: snapshot.freshness(), entries: Box::new([]), endpoints: Box::new([]) };
        let fleet = Arc::new(Fleet {
            desk,
            wait,
            picker: ArcSwap::from_pointee(empty),
            generation: AtomicU64::new(0),
            changed: Arc::new(Notify::new()),
            failing: AtomicBool::new(false),
        });
        let driver = Driver::<S, Req, F>::new(fleet.clone(), make, rng.fork());
        let driver = runtime.spawn(driver.run(discovery.subscribe(), inbox)).abort_handle();
        let mine = rng.fork();
        let picker = fleet.picker();
        let shared = Arc::new(Shared { fleet, rng, driver });
        // A first look always asks for the picker: generation 0 is replaced by the driver's first.
        Self { shared, picker, generation: 0, rng: mine, held: Held::Nothing, request: PhantomData }
    }

    /// The name it goes by.
    pub fn name(&self) -> &Name {
        &self.shared.fleet.desk.name
    }

    /// The endpoints it chooses from, and the load of each.
    ///
    /// ```
    /// use resilience_core::Error;
    /// use resilience_discovery::{Address, Balance, Discovery, Endpoint, StaticSource};
    /// use tower::{Service, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let fleet = StaticSource::new([Endpoint::at(Address::try_from("10.0.0.7:80")?)]);
    /// let discovery = Discovery::builder().build(fleet)?;
    /// let endless = |_: &Endpoint| service_fn(|(): ()| std::future::pending::<Result<(), Error<std::io::Error>>>());
    /// let mut balance = Balance::builder().build(&discovery, endless)?;
    ///
    /// // The load is there from readiness on, before anything was sent, and goes with the answer's future.
    /// balance.ready().await?;
    /// assert_eq!(balance.snapshot().endpoints[0].in_flight, 1);
    /// let answer = balance.call(());
    /// assert_eq!(balance.snapshot().endpoints[0].in_flight, 1);
    /// drop(answer);
    /// assert_eq!(balance.snapshot().endpoints[0].in_flight, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        let picker = self.shared.fleet.picker();
        let status = |(endpoint, entry): (&Endpoint, &Entry<S>)| EndpointStatus {
            endpoint: endpoint.clone(),
            in_flight: entry.in_flight(),
            avoided: entry.is_avoided(),
        };
        Snapshot {
            version: picker.version,
            freshness: picker.freshness,
            endpoints: picker.endpoints.iter().zip(&picker.entries).map(status).collect(),
        }
    }
}

impl<S, Req> Clone for Balance<S, Req> {
    /// Another caller of the same endpoints. What this one has picked stays with this one.
    fn clone(&self) -> Self {
        let rng = self.shared.rng.fork();
        let (shared, picker, generation) = (self.shared.clone(), self.picker.clone(), self.generation);
        Self { shared, picker, generation, rng, held: Held::Nothing, request: PhantomData }
    }
}

impl<S> Drop for Shared<S> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<S, Req> fmt::Debug for Balance<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let picker = self.shared.fleet.picker();
        let mut debug = f.debug_struct("Balance");
        debug.field("name", self.name()).field("endpoints", &picker.endpoints.len()).finish_non_exhaustive()
    }
}

/// A balancer at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The version of the [discovery's snapshot](crate::Snapshot::version) it chooses from.
    pub version: u64,
    /// How far that snapshot can be trusted.
    pub freshness: Freshness,
    /// The endpoints, ordered by identity.
    pub endpoints: Vec<EndpointStatus>,
}

/// An endpoint at one moment.
///
/// ```
/// use std::{convert::Infallible, time::Duration};
/// use resilience_discovery::{Address, Balance, Discovery, Endpoint, StaticSource};
/// use tower::service_fn;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let fleet = StaticSource::new([Endpoint::at(Address::try_from("10.0.0.7:80")?)]);
/// let discovery = Discovery::builder().build(fleet)?;
/// let echo = |_: &Endpoint| service_fn(|n: u32| async move { Ok::<_, Infallible>(n) });
/// let balance = Balance::builder().build(&discovery, echo)?;
/// tokio::time::sleep(Duration::from_secs(1)).await;
/// // Readiness was asked for by the balancer itself: no call had to be the first.
/// assert!(!balance.snapshot().endpoints[0].avoided);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// Who it is.
    pub endpoint: Endpoint,
    /// The calls it has in flight, including one that has picked it and is about to be sent.
    pub in_flight: usize,
    /// Whether it is picked only when there is no other: it is not ready, broken, or refused a call just now.
    pub avoided: bool,
}
