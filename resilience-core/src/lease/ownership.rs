//! The owner's side: what this process owns, as far as it can know.

use std::fmt;

use super::{Event, Lease};
use crate::context::FencingToken;
use crate::event::{Listeners, Sink};
use crate::sync::{Arc, Mutex, lock};
use crate::time::SharedTimer;
use crate::{ConfigError, Name, Reason, Rejected};

/// Whether this process owns a resource, and by which proof. Clones are one ownership.
///
/// Whoever keeps the lease alive [grants](Self::grant) it here at each renewal; whoever acts on it asks for the
/// [`token`](Self::token), or lets its [layer](Self::layer) stamp what is sent. Once the lease's time is over by this
/// process's clock nothing is sent any more; what that clock does not notice, the receiver's [`Fence`](super::Fence)
/// does.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::context::FencingToken;
/// use resilience_core::lease::{Lease, Ownership};
/// use resilience_core::time::{ManualTimer, Timer};
///
/// let timer = ManualTimer::new();
/// let ownership = Ownership::builder().timer(timer.clone()).build()?;
/// assert_eq!(ownership.token(), None);
/// ownership.grant(Lease::new("relay", "node-1", FencingToken::new(7), timer.now() + Duration::from_secs(10)));
/// assert_eq!(ownership.token(), Some(FencingToken::new(7)));
/// timer.advance(Duration::from_secs(10));
/// assert_eq!(ownership.token(), None); // nobody renewed it
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Ownership {
    shared: Arc<Shared>,
}

struct Shared {
    name: Name,
    lease: Mutex<Option<Lease>>,
    timer: SharedTimer,
    listeners: Listeners,
}

impl Ownership {
    /// Starts to set up an ownership.
    pub fn builder() -> OwnershipBuilder {
        OwnershipBuilder {
            name: Name::from_static("ownership"),
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// Takes note of a lease, or of its renewal. One with an older token than the one known is ignored: it comes late.
    pub fn grant(&self, lease: Lease) {
        let token = lease.token();
        let mut known = lock(&self.shared.lease);
        let (is_newer, is_late) = match &*known {
            None => (true, false),
            Some(known) => (token > known.token(), token < known.token()),
        };
        if !is_late {
            *known = Some(lease);
        }
        drop(known);
        if is_newer {
            self.emit(|| Event::Granted { token });
        }
    }

    /// Takes note that the lease is lost, or was given up.
    pub fn revoke(&self) {
        let lost = lock(&self.shared.lease).take();
        if let Some(lease) = lost {
            self.emit(|| Event::Lost { token: lease.token() });
        }
    }

    /// The proof of ownership, while it lasts.
    pub fn token(&self) -> Option<FencingToken> {
        let known = lock(&self.shared.lease).as_ref().map(|lease| (lease.token(), lease.until()));
        known.filter(|(_, until)| self.shared.timer.now() < *until).map(|(token, _)| token)
    }

    /// The lease as it was last granted, whether its time is over or not.
    pub fn lease(&self) -> Option<Lease> {
        lock(&self.shared.lease).clone()
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// A layer that stamps calls with the token, and refuses them while there is none.
    #[cfg(feature = "tower")]
    pub fn layer(&self) -> super::StampLayer {
        super::StampLayer::new(self.clone())
    }

    /// As [`token`](Self::token), for a call that is refused without one.
    #[cfg_attr(not(feature = "tower"), allow(dead_code))]
    pub(super) fn stamp(&self) -> Result<FencingToken, Rejected> {
        self.token().ok_or_else(|| {
            let reason = Reason::Fenced;
            self.emit(|| Event::Rejected { reason });
            Rejected::new(self.shared.name.clone(), reason)
        })
    }

    pub(super) fn timer(&self) -> &SharedTimer {
        &self.shared.timer
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        let shared = &self.shared;
        shared.listeners.emit(&shared.name, || shared.timer.now(), event);
    }
}

impl fmt::Debug for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ownership")
            .field("name", &self.shared.name)
            .field("lease", &*lock(&self.shared.lease))
            .finish_non_exhaustive()
    }
}

/// Sets up an [`Ownership`]; made by [`Ownership::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct OwnershipBuilder {
    name: Name,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

impl OwnershipBuilder {
    /// The name in refusals and events. Default: `ownership`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// The clock that leases are measured on. Default: tokio's, if the feature `tokio` is on.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener for [`Event`]s.
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The ownership, of nothing yet.
    ///
    /// # Errors
    ///
    /// If there is no `timer`.
    pub fn build(self) -> Result<Ownership, ConfigError> {
        let timer = self.timer.ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("lease", &self.name);
        let shared = Shared { name: self.name, lease: Mutex::new(None), timer, listeners };
        Ok(Ownership { shared: Arc::new(shared) })
    }
}
