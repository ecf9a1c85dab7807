//! What a balancer keeps per endpoint: its service, and its load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::rng::Rng;
use resilience_core::time::SharedTimer;
use tokio::sync::mpsc::UnboundedSender;

use super::Event;
use super::machine::{burden, two_of};
use crate::{Endpoint, Freshness};

/// The endpoints to choose from, never changed once it is published.
#[derive(Debug)]
pub(super) struct Picker<S> {
    pub(super) version: u64,
    pub(super) freshness: Freshness,
    /// In the order of their identities, so that a seed fixes the choices.
    pub(super) slots: Box<[Arc<Slot<S>>]>,
}

impl<S> Picker<S> {
    /// Of two endpoints drawn at random, the less loaded one.
    ///
    /// Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001: it avoids both the herd of picking the
    /// least loaded of all by figures everyone sees, and the cost of looking at all.
    #[inline]
    pub(super) fn pick(&self, rng: &mut Rng) -> Option<&Slot<S>> {
        match two_of(self.slots.len(), rng) {
            Some((a, b)) => {
                let (a, b) = (&*self.slots[a], &*self.slots[b]);
                Some(if b.load.burden() < a.load.burden() { b } else { a })
            }
            None => self.slots.first().map(|slot| &**slot),
        }
    }
}

/// One endpoint, with the service that reaches it.
#[derive(Debug)]
pub(super) struct Slot<S> {
    pub(super) endpoint: Endpoint,
    /// The instance that calls clone.
    pub(super) service: S,
    pub(super) load: Arc<Load>,
}

impl<S: Clone> Slot<S> {
    /// An instance to call, counted as load from now on.
    #[inline]
    pub(super) fn candidate(&self) -> Candidate<S> {
        Candidate { service: self.service.clone(), load: self.load.clone() }
    }
}

/// An endpoint that was picked.
#[derive(Debug)]
pub(super) struct Candidate<S> {
    pub(super) service: S,
    pub(super) load: Arc<Load>,
}

/// The load of one endpoint, and what speaks against it.
///
/// The calls in flight are the references to this object, beyond the one of its slot, as in tower's `PendingRequests`:
/// the count that keeps it alive is the count that is compared, so it cannot drift, whatever is dropped when, and a call
/// costs one increment and one decrement of one cache line. When the last reference goes, the endpoint is drained.
///
/// Invariant: exactly one live [`Slot`] refers to it, except for the moment in which one is put in another's place.
#[derive(Debug)]
pub(super) struct Load {
    /// Next to the reference counts, on the line that every pick of it reads anyway.
    flags: AtomicU8,
    pub(super) key: u64,
    endpoint: Endpoint,
    desk: Arc<Desk>,
    /// Keeps the counts of two endpoints off each other's cache line: with them this is 128 bytes and more, of which
    /// only the first 64 are ever written. `align(128)` would put the counts and the flags on different lines.
    _apart: [u64; 10],
}

/// The driver knows a reason not to pick it.
const AVOIDED: u8 = 1;
/// Its service failed, and is not to be asked again.
const BROKEN: u8 = 2;
/// It is not in the picker any more.
const RETIRED: u8 = 4;

impl Load {
    pub(super) fn new(key: u64, endpoint: Endpoint, desk: Arc<Desk>) -> Self {
        Self { flags: AtomicU8::new(AVOIDED), key, endpoint, desk, _apart: [0; 10] }
    }

    /// The calls in flight, including one that has picked this endpoint and is about to be sent.
    #[inline]
    pub(super) fn in_flight(self: &Arc<Self>) -> usize {
        Arc::strong_count(self).saturating_sub(1)
    }

    #[inline]
    pub(super) fn burden(self: &Arc<Self>) -> usize {
        burden(self.in_flight(), self.is_avoided())
    }

    #[inline]
    pub(super) fn is_avoided(&self) -> bool {
        self.flags() & AVOIDED != 0
    }

    #[inline]
    pub(super) fn is_broken(&self) -> bool {
        self.flags() & BROKEN != 0
    }

    /// Whether it was removed; a call that picked it before picks again.
    #[inline]
    pub(super) fn is_retired(&self) -> bool {
        self.flags() & RETIRED != 0
    }

    #[inline]
    fn flags(&self) -> u8 {
        // Relaxed: the flags are hints to the choice and guard no other data.
        self.flags.load(Ordering::Relaxed)
    }

    /// Reports a reason not to pick it. Only the first reporter reaches the driver, until the driver has dealt with it:
    /// this bounds the desk's queue by the number of endpoints.
    #[cold]
    pub(super) fn report(&self, trouble: Trouble) {
        // Relaxed: as in `flags`; the channel orders the report itself.
        let (set, known) = match trouble {
            Trouble::Broken => (AVOIDED | BROKEN, BROKEN),
            Trouble::Unready | Trouble::Refused(_) => (AVOIDED, AVOIDED),
        };
        if self.flags.fetch_or(set, Ordering::Relaxed) & known == 0 {
            // The driver is gone only when nobody can pick any more.
            let _ = self.desk.reports.send(Report { key: self.key, trouble });
        }
    }

    /// Its service is of no use.
    pub(super) fn break_down(&self) {
        self.flags.fetch_or(AVOIDED | BROKEN, Ordering::Relaxed);
    }

    /// Its service was made anew; it stays avoided until that one is ready.
    pub(super) fn mend(&self) {
        self.flags.fetch_and(!BROKEN, Ordering::Relaxed);
    }

    /// It was ready.
    pub(super) fn welcome(&self) {
        self.flags.fetch_and(!(AVOIDED | BROKEN), Ordering::Relaxed);
    }

    pub(super) fn retire(&self) {
        self.flags.fetch_or(RETIRED, Ordering::Relaxed);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if *self.flags.get_mut() & RETIRED != 0 {
            let endpoint = &self.endpoint;
            self.desk.emit(|| Event::EndpointDrained { endpoint: endpoint.clone() });
        }
    }
}

/// Where calls leave word for the driver, and whom events are told.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) name: Name,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
    pub(super) reports: UnboundedSender<Report>,
}

impl Desk {
    pub(super) fn emit(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }
}

/// What a call found out about an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) key: u64,
    pub(super) trouble: Trouble,
}

/// Why an endpoint is not to be picked for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Its service was not ready.
    Unready,
    /// Its service answered readiness with an error.
    Broken,
    /// Its own stack refused the call, and wants to be left alone for this long.
    Refused(Option<Duration>),
}
