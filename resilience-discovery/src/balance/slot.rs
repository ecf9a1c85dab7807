//! What a balancer keeps per endpoint: its service, and its load.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::rng::Rng;
use resilience_core::time::SharedTimer;
use tokio::sync::mpsc::UnboundedSender;

use super::Event;
use super::machine::two_of;
use crate::{Endpoint, Freshness};

/// The endpoints to choose from, never changed once it is published.
///
/// Callers keep the picker they used last until there is a newer one, and an idle caller keeps it for long. It therefore refers
/// to services weakly: what the driver has let go of is gone, whoever still has an old list.
#[derive(Debug)]
pub(super) struct Picker<S> {
    pub(super) version: u64,
    pub(super) freshness: Freshness,
    /// In the order of their identities, so that a seed fixes the choices.
    pub(super) entries: Box<[Entry<S>]>,
    /// The same endpoints as the source describes them now.
    pub(super) endpoints: Box<[Endpoint]>,
}

/// One endpoint in a picker.
#[derive(Debug)]
pub(super) struct Entry<S> {
    pub(super) slot: Weak<Slot<S>>,
}

impl<S: Clone> Picker<S> {
    /// Of two endpoints drawn at random, the less loaded one; `None` if something speaks against it.
    ///
    /// Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001: it avoids both the herd of picking the
    /// least loaded of all by figures everyone sees, and the cost of looking at all.
    #[inline]
    pub(super) fn pick(&self, rng: &mut Rng) -> Option<Candidate<S>> {
        let (a, b) = two_of(self.entries.len(), rng).unwrap_or((0, 0));
        let (a, b) = (self.entries.get(a)?, self.entries.get(b)?);
        let (lighter, heavier) = if b.in_flight() < a.in_flight() { (b, a) } else { (a, b) };
        // What speaks against an endpoint lies beside the count that was just compared.
        let candidate = lighter.candidate()?;
        if !candidate.slot.status.is_avoided() {
            return Some(candidate);
        }
        heavier.candidate().filter(|candidate| !candidate.slot.status.is_avoided())
    }
}

impl<S> Entry<S> {
    /// The calls in flight, including one that has picked this endpoint and is about to be sent.
    #[inline]
    pub(super) fn in_flight(&self) -> usize {
        self.slot.strong_count().saturating_sub(1)
    }

    /// Whether there is a reason not to pick it; one that is gone is no use either.
    pub(super) fn is_avoided(&self) -> bool {
        self.slot.upgrade().is_none_or(|slot| slot.status.is_avoided())
    }
}

impl<S: Clone> Entry<S> {
    /// An instance to call, counted as load from now on; `None` if the endpoint is gone.
    #[inline]
    pub(super) fn candidate(&self) -> Option<Candidate<S>> {
        self.slot.upgrade().map(Candidate::of)
    }
}

/// An endpoint that was picked.
#[derive(Debug)]
pub(super) struct Candidate<S> {
    pub(super) service: S,
    pub(super) slot: Arc<Slot<S>>,
}

impl<S: Clone> Candidate<S> {
    #[inline]
    pub(super) fn of(slot: Arc<Slot<S>>) -> Self {
        Self { service: slot.service.clone(), slot }
    }
}

/// The service of one endpoint, and its load.
///
/// The calls in flight are the references to this object, beyond the one of the driver, as in tower's `PendingRequests`: the count
/// that keeps it alive is the count that is compared, so it cannot drift, whatever is dropped when, and a call costs one
/// increment and one decrement of one cache line. When the last reference goes, the endpoint is drained and its service dropped.
///
/// Invariant: the driver has exactly one reference until it retires the endpoint, and then none.
#[derive(Debug)]
#[repr(C)] // In this order in memory.
pub(super) struct Slot<S> {
    /// Beside the count, because each pick looks at both.
    pub(super) status: Status,
    /// The instance that calls clone.
    pub(super) service: S,
    /// Keeps the counts of two endpoints off each other's cache line.
    _apart: [u64; 12],
}

impl<S> Slot<S> {
    pub(super) const fn new(service: S, status: Status) -> Self {
        Self { status, service, _apart: [0; 12] }
    }
}

impl<S> Drop for Slot<S> {
    fn drop(&mut self) {
        if self.status.is_retired() {
            self.status.desk.emit(|| Event::EndpointDrained { endpoint: self.status.endpoint.clone() });
        }
    }
}

/// What speaks against an endpoint. Read with every pick, written when something happens to it.
#[derive(Debug)]
#[repr(C)] // The flags come first.
pub(super) struct Status {
    flags: AtomicU8,
    pub(super) key: u64,
    /// As it was when its service was made.
    pub(super) endpoint: Endpoint,
    desk: Arc<Desk>,
}

/// There is a reason not to pick it.
const AVOIDED: u8 = 1;
/// Its service failed, and is not to be asked again.
const BROKEN: u8 = 2;
/// It is not in the picker any more.
const RETIRED: u8 = 4;

impl Status {
    /// Avoided, until it was ready once.
    pub(super) fn new(key: u64, endpoint: Endpoint, desk: Arc<Desk>) -> Self {
        Self { flags: AtomicU8::new(AVOIDED), key, endpoint, desk }
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
        // Relaxed: the flags are hints to the choice and guard no other data. The drop of a slot reads `RETIRED` in order all the
        // same: the driver sets it before it gives its reference up, and giving up the last reference comes after all others.
        self.flags.load(Ordering::Relaxed)
    }

    /// Reports a reason not to pick it. Only the first reporter reaches the driver, until the driver has dealt with it:
    /// this bounds the desk's queue by the number of endpoints.
    #[cold]
    pub(super) fn report(&self, trouble: Trouble) {
        let (set, known) = match trouble {
            Trouble::Broken => (AVOIDED | BROKEN, BROKEN),
            Trouble::Unready | Trouble::Refused(_) => (AVOIDED, AVOIDED),
        };
        // Relaxed: as in `flags`; the channel orders the report itself.
        if self.flags.fetch_or(set, Ordering::Relaxed) & known == 0 {
            // The driver is gone only when nobody can pick any more.
            let _ = self.desk.reports.send(Report { key: self.key, trouble });
        }
    }

    /// Its service is of no use.
    pub(super) fn break_down(&self) {
        self.flags.fetch_or(AVOIDED | BROKEN, Ordering::Relaxed);
    }

    /// It was ready.
    pub(super) fn welcome(&self) {
        self.flags.fetch_and(!AVOIDED, Ordering::Relaxed);
    }

    /// It is out of the picker.
    pub(super) fn retire(&self) {
        self.flags.fetch_or(RETIRED, Ordering::Relaxed);
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
