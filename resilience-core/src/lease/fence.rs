//! The receiver's side: what is older than the newest is refused.

use std::fmt;

use super::Event;
use super::machine::{Newest, Verdict};
use crate::context::FencingToken;
use crate::event::{Listeners, Sink};
use crate::sync::{Arc, Mutex, lock};
use crate::time::SharedTimer;
use crate::{ConfigError, Name, Reason, Rejected};

/// Remembers the newest token of each resource, and refuses older ones. Clones are one fence.
///
/// ```
/// use resilience_core::Reason;
/// use resilience_core::context::FencingToken;
/// use resilience_core::lease::Fence;
///
/// let fence = Fence::builder().name("ledger").build()?;
/// fence.observe("accounts", FencingToken::new(33)); // what the store itself remembers, from before a restart
/// assert!(fence.check("accounts", Some(FencingToken::new(34))).is_ok());
/// let zombie = fence.check("accounts", Some(FencingToken::new(33))).unwrap_err();
/// assert_eq!(zombie.reason(), Reason::Fenced);
/// assert!(fence.check("invoices", Some(FencingToken::new(7))).is_ok()); // each resource has its own
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Fence {
    shared: Arc<Shared>,
}

struct Shared {
    name: Name,
    newest: Mutex<Newest>,
    limit: u32,
    optional: bool,
    dry_run: bool,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

impl Fence {
    /// Starts to set up a fence.
    pub fn builder() -> FenceBuilder {
        FenceBuilder {
            name: Name::from_static("fence"),
            max_resources: 65_536,
            optional: false,
            dry_run: false,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// Lets a call to `resource` through, or refuses it.
    ///
    /// # Errors
    ///
    /// [`Reason::Fenced`] if `token` is older than the newest, or missing; [`Reason::Full`] if the resource is new and
    /// there is no room for it.
    pub fn check(&self, resource: &str, token: Option<FencingToken>) -> Result<(), Rejected> {
        let shared = &self.shared;
        let verdict = match token {
            Some(token) => lock(&shared.newest).check(resource, token),
            None if shared.optional => Verdict::Passes,
            None => Verdict::Stale,
        };
        match (verdict, token) {
            (Verdict::Stale, _) => self.refuse(Reason::Fenced),
            (Verdict::Full, _) => self.refuse(Reason::Full { limit: shared.limit, queued: 0 }),
            (Verdict::Advances, Some(token)) => {
                self.emit(|| Event::Advanced { token });
                Ok(())
            }
            (Verdict::Passes | Verdict::Advances, _) => Ok(()),
        }
    }

    /// Takes note of a token that was seen elsewhere: of what a store remembers, when its process starts.
    pub fn observe(&self, resource: &str, token: FencingToken) {
        if lock(&self.shared.newest).check(resource, token) == Verdict::Advances {
            self.emit(|| Event::Advanced { token });
        }
    }

    /// The newest token of `resource`.
    pub fn newest(&self, resource: &str) -> Option<FencingToken> {
        lock(&self.shared.newest).of(resource)
    }

    /// The name in refusals and events.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The fence as a layer, for requests to the resource that `resource` names.
    ///
    /// The token is the [context](crate::context)'s, so whatever reads it from the wire belongs outside.
    #[cfg(feature = "tower")]
    pub fn layer<R>(&self, resource: R) -> super::FenceLayer<R> {
        super::FenceLayer::new(self.clone(), resource)
    }

    #[cold]
    fn refuse(&self, reason: Reason) -> Result<(), Rejected> {
        if self.shared.dry_run {
            self.emit(|| Event::WouldReject { reason });
            return Ok(());
        }
        self.emit(|| Event::Rejected { reason });
        Err(Rejected::new(self.shared.name.clone(), reason))
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        let shared = &self.shared;
        let now = || shared.timer.as_ref().map(SharedTimer::now).unwrap_or_default();
        shared.listeners.emit(&shared.name, now, event);
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resources = lock(&self.shared.newest).len();
        f.debug_struct("Fence").field("name", &self.shared.name).field("resources", &resources).finish_non_exhaustive()
    }
}

/// Sets up a [`Fence`]; made by [`Fence::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct FenceBuilder {
    name: Name,
    max_resources: usize,
    optional: bool,
    dry_run: bool,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

impl FenceBuilder {
    /// The name in refusals and events. Default: `fence`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// Resources whose newest token is remembered. Default: 65,536. None is ever forgotten, so a full fence refuses new
    /// ones.
    pub fn max_resources(mut self, max_resources: usize) -> Self {
        self.max_resources = max_resources;
        self
    }

    /// Whether calls without a token pass. Default: they do not. For the time in which callers learn to send it.
    pub fn optional(mut self, optional: bool) -> Self {
        self.optional = optional;
        self
    }

    /// Whether calls are only said to be refused, by [`Event::WouldReject`], and let through. Default: they are
    /// refused.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// The clock of its events. Default: tokio's, if the feature `tokio` is on; without any, events have no time.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener for [`Event`]s.
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The fence.
    ///
    /// # Errors
    ///
    /// If `max_resources` is zero.
    pub fn build(self) -> Result<Fence, ConfigError> {
        if self.max_resources == 0 {
            return Err(ConfigError::new("max_resources", "must be above zero"));
        }
        let shared = Shared {
            newest: Mutex::new(Newest::new(self.max_resources)),
            limit: u32::try_from(self.max_resources).unwrap_or(u32::MAX),
            optional: self.optional,
            dry_run: self.dry_run,
            timer: self.timer,
            listeners: self.listeners.bound("lease", &self.name),
            name: self.name,
        };
        Ok(Fence { shared: Arc::new(shared) })
    }
}
