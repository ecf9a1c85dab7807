//! The limiter users hold: a handful of permits, and the way to the store.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::config::{DistributedRateLimiterBuilder, Settings, WhenUnavailable};
use super::event::Event;
use super::store::{PermitStore, Taken};
use crate::bulkhead::Bulkhead;
use crate::event::Listeners;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, lock};
use crate::time::{SharedTimer, Timestamp};
use crate::{ConfigError, Name, Reason, Rejected};

/// A limit on the calls of several nodes in a time. Clones are one node's limiter.
///
/// See the [module documentation](super).
pub struct DistributedRateLimiter<S> {
    pub(super) shared: Arc<Shared<S>>,
}

pub(super) struct Shared<S> {
    store: S,
    settings: ArcSwap<Settings>,
    name: Name,
    timer: SharedTimer,
    listeners: Listeners,
    /// Permits at hand, and until when.
    hand: Mutex<(u32, Timestamp)>,
    /// Lets one ask the store at a time; the others wait for what it gets.
    asking: Bulkhead,
    /// How often the store was asked, and what it said last if it was not permits.
    said: Mutex<(u64, Option<No>)>,
    taken: AtomicU64,
    rejected: AtomicU64,
    would_reject: AtomicU64,
    unavailable: AtomicU64,
}

/// Why the store gave nothing.
#[derive(Clone, Copy, Debug)]
enum No {
    Permits { retry_after: Option<Duration> },
    Answer,
}

/// What a node's limiter has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Permits at hand.
    pub at_hand: u32,
    /// Permits the store granted.
    pub taken: u64,
    /// Calls refused.
    pub rejected: u64,
    /// Calls that would have been, in a dry run.
    pub would_reject: u64,
    /// How often the store did not answer.
    pub unavailable: u64,
}

impl<S: PermitStore> DistributedRateLimiter<S> {
    /// Starts a configuration over `store`; see the [defaults](super#defaults).
    pub fn builder(store: S) -> DistributedRateLimiterBuilder<S> {
        DistributedRateLimiterBuilder::new(store)
    }

    /// Spends a permit, asking the store for more if there is none at hand.
    ///
    /// Dropped while the store is asked, it loses what the store may have granted; the next caller asks.
    ///
    /// # Errors
    ///
    /// [`Rejected`] with [`Reason::RateLimited`] when the store grants none, or does not answer and
    /// [that refuses](WhenUnavailable::Refuse). Whatever becomes of calls then: with [`Reason::Deadline`] when the deadline
    /// in the [context](crate::context) comes while another caller asks, and with [`Reason::Full`] when 65,535 callers
    /// wait for its answer already.
    pub async fn acquire(&self) -> Result<(), Rejected> {
        let shared = &*self.shared;
        if shared.spend() {
            return Ok(());
        }
        let asked_before = lock(&shared.said).0;
        let turn = match shared.asking.acquire().await {
            Ok(turn) => turn,
            Err(rejected) => return shared.refuse(rejected),
        };
        // Who waited while another asked has the same answer: permits while they last, and no second wait for a no.
        if shared.spend() {
            return Ok(());
        }
        let (asked, said) = *lock(&shared.said);
        let said = match said.filter(|_| asked != asked_before) {
            Some(no) => Err(no),
            None => shared.ask().await,
        };
        drop(turn);
        match said {
            Ok(()) => Ok(()),
            Err(No::Permits { retry_after }) => shared.reject(retry_after),
            Err(No::Answer) => shared.without_the_store(),
        }
    }

    /// Spends a permit if one is at hand. Never asks the store.
    pub fn try_acquire(&self) -> bool {
        self.shared.spend()
    }

    /// Takes over all of `builder` while calls run but its store, name, clock and listeners. Permits at hand stay, no longer
    /// than they were to.
    ///
    /// All nodes of a limit should be told the same: what differs, the store settles as its engine does.
    ///
    /// # Errors
    ///
    /// As the builder's. Nothing has changed then.
    pub fn reconfigure(&self, builder: DistributedRateLimiterBuilder<S>) -> Result<(), ConfigError> {
        self.reconfigure_by(&builder)
    }

    pub(crate) fn reconfigure_by<T>(&self, builder: &DistributedRateLimiterBuilder<T>) -> Result<(), ConfigError> {
        self.shared.settings.store(builder.checked()?.into());
        Ok(())
    }

    /// A way to this policy that does not keep it alive.
    #[cfg(not(loom))]
    pub(crate) fn weak(&self) -> impl Fn() -> Option<Self> + use<S> {
        let weak = Arc::downgrade(&self.shared);
        move || weak.upgrade().map(|shared| Self { shared })
    }

    /// The name in refusals and events, and of the limit in the store.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// What it has done.
    pub fn snapshot(&self) -> Snapshot {
        let shared = &*self.shared;
        let (at_hand, until) = *lock(&shared.hand);
        // Relaxed: counts.
        Snapshot {
            at_hand: if shared.timer.now() < until { at_hand } else { 0 },
            taken: shared.taken.load(Ordering::Relaxed),
            rejected: shared.rejected.load(Ordering::Relaxed),
            would_reject: shared.would_reject.load(Ordering::Relaxed),
            unavailable: shared.unavailable.load(Ordering::Relaxed),
        }
    }
}

impl<S> Shared<S> {
    pub(super) fn new(
        store: S,
        settings: Settings,
        name: Name,
        timer: SharedTimer,
        listeners: Listeners,
        asking: Bulkhead,
    ) -> Self {
        Self {
            store,
            settings: ArcSwap::from_pointee(settings),
            name,
            timer,
            listeners,
            hand: Mutex::new((0, Timestamp::ORIGIN)),
            asking,
            said: Mutex::new((0, None)),
            taken: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            would_reject: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
        }
    }
}

impl<S: PermitStore> Shared<S> {
    fn spend(&self) -> bool {
        let mut hand = lock(&self.hand);
        if hand.0 == 0 || self.timer.now() >= hand.1 {
            return false;
        }
        hand.0 -= 1;
        true
    }

    /// Gives back a permit that was not spent after all.
    #[cfg(feature = "tower")]
    pub(super) fn give_back(&self) {
        let mut hand = lock(&self.hand);
        // Not above what it may hold, which may be less than it was.
        hand.0 = hand.0.saturating_add(1).min(self.settings.load().handful.max(hand.0));
    }

    /// Asks the store, and keeps what it grants beyond the caller's own permit.
    async fn ask(&self) -> Result<(), No> {
        let said = self.take().await;
        let mut last = lock(&self.said);
        *last = (last.0 + 1, said.err());
        drop(last);
        let granted = said?;
        let until = self.timer.now() + self.settings.load().keep_for;
        // What was left is stale, or was spent: who asks has found none.
        *lock(&self.hand) = (granted - 1, until);
        Ok(())
    }

    /// The permits the store grants, at least one.
    async fn take(&self) -> Result<u32, No> {
        let Settings { quota, handful, patience, .. } = **self.settings.load();
        let mut late = self.timer.sleep(patience);
        let mut take = pin!(self.store.take(&self.name, handful, quota));
        let answer = std::future::poll_fn(|cx| {
            // The store first: an answer that is there counts, however late.
            if let Poll::Ready(answer) = take.as_mut().poll(cx) {
                return Poll::Ready(answer.ok());
            }
            Pin::new(&mut late).poll(cx).map(|()| None)
        });
        let Taken { granted, retry_after } = answer.await.ok_or(No::Answer)?;
        // A store that grants more than was asked for is not to be believed.
        let granted = granted.min(handful);
        self.taken.fetch_add(granted.into(), Ordering::Relaxed);
        self.tell(|| Event::Taken { granted });
        if granted == 0 { Err(No::Permits { retry_after }) } else { Ok(granted) }
    }

    fn without_the_store(&self) -> Result<(), Rejected> {
        self.unavailable.fetch_add(1, Ordering::Relaxed);
        let admitted = self.settings.load().when_unavailable == WhenUnavailable::Admit;
        self.tell(|| Event::Unavailable { admitted });
        if admitted { Ok(()) } else { self.reject(None) }
    }

    fn reject(&self, retry_after: Option<Duration>) -> Result<(), Rejected> {
        let rejected = Rejected::new(self.name.clone(), Reason::RateLimited);
        self.refuse(match retry_after {
            Some(wait) => rejected.with_retry_after(wait),
            None => rejected,
        })
    }

    /// Refuses a call, or in a dry run says that it would; in both cases counts and tells it.
    fn refuse(&self, rejected: Rejected) -> Result<(), Rejected> {
        let reason = rejected.reason();
        if self.settings.load().dry_run {
            self.would_reject.fetch_add(1, Ordering::Relaxed);
            self.tell(|| Event::WouldReject { reason });
            return Ok(());
        }
        self.rejected.fetch_add(1, Ordering::Relaxed);
        self.tell(|| Event::Rejected { reason });
        Err(rejected)
    }

    fn tell(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }
}

impl<S> Clone for DistributedRateLimiter<S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<S> fmt::Debug for DistributedRateLimiter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistributedRateLimiter")
            .field("name", &self.shared.name)
            .field("quota", &self.shared.settings.load().quota)
            .finish_non_exhaustive()
    }
}
