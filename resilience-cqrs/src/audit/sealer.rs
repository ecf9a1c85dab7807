//! Follows the log and seals it.

use std::num::NonZeroUsize;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use resilience_core::Name;
use resilience_core::event::{Listeners, Sink};
use resilience_core::rng::Rng;
use resilience_core::time::SharedTimer;
use thiserror::Error;
use tokio::sync::{oneshot, watch};

use super::block::{Block, Head, head_row};
use super::{Event, Seal};
use crate::log::{Append, AppendError, Corrupt, Query, ReadError, limits};
use crate::store::EventStore;

/// What a block has without a setting, in events.
const BLOCK: usize = 1024;

const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_CAP: Duration = Duration::from_secs(10);

/// The log cannot be sealed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SealError {
    /// The store does not take the entries.
    #[error("the entries cannot be written")]
    Append(#[source] AppendError),
    /// The store cannot be read, or what it has of the chain does not fit its log.
    #[error("the log cannot be read")]
    Read(#[source] ReadError),
    /// The sealer's task was aborted, or panicked.
    #[error("the sealer was aborted")]
    Aborted,
}

impl SealError {
    /// Whether a further attempt may succeed.
    ///
    /// A [`Sealer`] goes by it: it waits, up to ten seconds, and tries again, or ends.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Append(error) => error.is_retryable(),
            Self::Read(error) => error.is_retryable(),
            Self::Aborted => false,
        }
    }
}

/// Seals everything that is in the log, and says up to where: for a program that seals at times of its own, and for one
/// that wants a seal to keep. May run beside a [`Sealer`], and beside itself.
///
/// ```
/// use resilience_cqrs::audit::{Seal, seal};
/// use resilience_cqrs::MemoryStore;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// assert_eq!(seal(&MemoryStore::new()).await?, Seal::beginning());
/// # Ok(()) }
/// ```
///
/// # Errors
/// See [`SealError`]; what was sealed before stays so.
pub async fn seal<S: EventStore>(store: &S) -> Result<Seal, SealError> {
    let until = store.head();
    loop {
        let (seal, events) = seal_block(store, BLOCK).await?;
        if seal.position() >= until || events == 0 {
            return Ok(seal);
        }
    }
}

/// Seals at most one block; up to where the log is sealed then, and how many events of that by this call.
async fn seal_block<S: EventStore>(store: &S, block: usize) -> Result<(Seal, u64), SealError> {
    loop {
        let (space, key) = head_row();
        let row = store.row(space, key).await.map_err(SealError::Read)?;
        let corrupt = |what: String| SealError::Read(ReadError::Corrupt(Corrupt::new(what)));
        let head = Head::read(row).ok_or_else(|| corrupt("the end of the audit chain cannot be read".into()))?;
        let from = head.seal;
        let page = store.read(from.position(), &Query::all(), block).await.map_err(SealError::Read)?;
        if page.head < from.position() {
            let (sealed, head) = (from.position(), page.head);
            return Err(corrupt(format!("the log is sealed up to {sealed}, and ends at {head}")));
        }
        if page.events.is_empty() {
            return Ok((from, 0));
        }
        let (mut sealed, mut entries) = (from, Vec::with_capacity(page.events.len()));
        for event in &page.events {
            if event.position != sealed.position().next() {
                return Err(corrupt(format!("there is no event {}", sealed.position().next())));
            }
            sealed = sealed.and(event);
            entries.push(sealed.hash());
        }
        let block = Block { first: from.position().next(), entries };
        let append = Append::new().require(head.fence()).row(block.write()).row(Head::write(&sealed));
        match store.append(append).await {
            Ok(_) => return Ok((sealed, page.events.len() as u64)),
            // Another sealer was here, or this is the second attempt of one whose answer was lost. Both would have written
            // what we would.
            Err(AppendError::Conflict(_)) => {}
            Err(error) => return Err(SealError::Append(error)),
        }
    }
}

/// Follows a log and seals it.
#[derive(Debug)]
#[must_use = "a sealer does nothing until it is run"]
pub struct Sealer<S> {
    store: S,
    name: Name,
    block: usize,
    linger: Duration,
    timer: SharedTimer,
    listeners: Listeners,
    rng: Rng,
    stop: oneshot::Receiver<()>,
    latest: watch::Sender<Seal>,
    ended: oneshot::Sender<Result<Seal, SealError>>,
}

/// Sets up a [`Sealer`].
///
/// ```
/// use std::num::NonZeroUsize;
/// use std::time::Duration;
/// use resilience_cqrs::audit::{Sealer, verify};
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let hundred = (0..100).map(|_| NewEvent::new("Paid", "5"));
/// store.append(Append::new().events("a", Expected::Any, hundred)).await?;
/// // 100 events in blocks of 16: seven rows, the last with four.
/// let block = NonZeroUsize::new(16).ok_or("zero")?;
/// let sealing = Sealer::builder(store.clone()).block(block).linger(Duration::from_millis(100)).start();
/// let sealed = sealing.stop().await?;
/// assert_eq!((sealed.position(), store.rows("audit-block", None, 10).await?.len()), (store.head(), 7));
/// assert_eq!(verify(&store).await?.seal, sealed);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SealerBuilder<S> {
    store: S,
    name: Name,
    block: usize,
    linger: Duration,
    timer: SharedTimer,
    listeners: Listeners,
    rng: Rng,
}

/// A sealer that runs. Dropping it stops the sealer where it is; [`stop`](Self::stop) seals the rest first.
#[derive(Debug)]
pub struct Sealing {
    stop: Option<oneshot::Sender<()>>,
    latest: watch::Receiver<Seal>,
    ended: oneshot::Receiver<Result<Seal, SealError>>,
}

/// What ended a wait.
enum Next {
    More,
    /// The rest is to be sealed first.
    Stop,
    /// Nobody waits for it.
    Dropped,
}

impl<S: EventStore> Sealer<S> {
    /// Sets up a sealer of a log.
    pub fn builder(store: S) -> SealerBuilder<S> {
        SealerBuilder {
            store,
            name: Name::from_static("audit"),
            block: BLOCK,
            linger: Duration::from_secs(1),
            timer: SharedTimer::default(),
            listeners: Listeners::default(),
            rng: Rng::from_entropy(),
        }
    }

    /// Runs until the handle is dropped or [stopped](Sealing::stop), or until it cannot go on; the handle learns why.
    pub async fn run(mut self) {
        let result = self.work().await;
        self.listeners.emit(&self.name, || self.timer.now(), || Event::Stopped);
        let _ = self.ended.send(result);
    }

    async fn work(&mut self) -> Result<Seal, SealError> {
        let mut failures = 0;
        loop {
            let pause = match self.catch_up().await {
                Ok(seal) => {
                    failures = 0;
                    match self.until_more(seal).await {
                        Next::More => continue,
                        Next::Stop => return self.catch_up().await,
                        Next::Dropped => return Ok(seal),
                    }
                }
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => {
                    self.listeners.emit(&self.name, || self.timer.now(), || Event::retrying(&error));
                    failures += 1;
                    let doubled = PAUSE.saturating_mul(1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
                    doubled.min(PAUSE_CAP).mul_f64(self.rng.unit())
                }
            };
            match select(pin!(&mut self.stop), pin!(self.timer.sleep(pause))).await {
                Either::Left((Ok(()), _)) => return self.catch_up().await,
                Either::Left((Err(_), _)) => return Ok(*self.latest.borrow()),
                Either::Right(_) => {}
            }
        }
    }

    /// Seals up to the head.
    async fn catch_up(&self) -> Result<Seal, SealError> {
        loop {
            let (seal, events) = seal_block(&self.store, self.block).await?;
            self.latest.send_if_modified(|latest| std::mem::replace(latest, seal) != seal);
            if events > 0 {
                self.listeners.emit(&self.name, || self.timer.now(), || Event::Sealed { seal, events });
            }
            if seal.position() >= self.store.head() || events == 0 {
                return Ok(seal);
            }
        }
    }

    /// Waits for an event, and then for as long as others may come along.
    async fn until_more(&mut self, seal: Seal) -> Next {
        let more = async {
            self.store.wait_past(seal.position()).await;
            self.timer.sleep(self.linger).await;
        };
        match select(pin!(&mut self.stop), pin!(more)).await {
            Either::Left((Ok(()), _)) => Next::Stop,
            Either::Left((Err(_), _)) => Next::Dropped,
            Either::Right(_) => Next::More,
        }
    }
}

impl<S: EventStore> SealerBuilder<S> {
    /// The name it goes by in events. Default: `audit`.
    #[must_use]
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// The most events in one row of entries, of which each has 32 bytes; at most
    /// [`limits::PAGE_EVENTS`](crate::limits::PAGE_EVENTS). Default: 1,024.
    #[must_use]
    pub fn block(mut self, events: NonZeroUsize) -> Self {
        self.block = events.get().min(limits::PAGE_EVENTS);
        self
    }

    /// How long after the first event that is not sealed the sealer waits for more, so that a row has several. Default: 1 s.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// What it waits by. Default: tokio's clock.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// Adds a sink for [`Event`]s.
    #[must_use]
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The sealer, and what others hold of it. [`run`](Sealer::run) it on whatever executor there is.
    pub fn build(self) -> (Sealer<S>, Sealing) {
        let (stop, stopped) = oneshot::channel();
        let (latest, seen) = watch::channel(Seal::beginning());
        let (ended, end) = oneshot::channel();
        let sealer = Sealer {
            store: self.store,
            listeners: self.listeners.bound("audit", &self.name),
            name: self.name,
            block: self.block,
            linger: self.linger,
            timer: self.timer,
            rng: self.rng,
            stop: stopped,
            latest,
            ended,
        };
        (sealer, Sealing { stop: Some(stop), latest: seen, ended: end })
    }

    /// Runs it on a task of its own. Must be called within a tokio runtime.
    pub fn start(self) -> Sealing {
        let (sealer, sealing) = self.build();
        tokio::spawn(sealer.run());
        sealing
    }
}

impl Sealing {
    /// Up to where it has sealed, or found sealed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::audit::{Seal, Sealer};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let sealing = Sealer::builder(store.clone()).start();
    /// tokio::task::yield_now().await; // it seals what is there, and waits for more
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Paid", "5")])).await?;
    /// tokio::time::sleep(Duration::from_millis(500)).await;
    /// assert_eq!(sealing.latest(), Seal::beginning()); // it lingers: others may come along
    /// tokio::time::sleep(Duration::from_secs(1)).await;
    /// assert_eq!(sealing.latest().position(), store.head());
    /// # Ok(()) }
    /// ```
    pub fn latest(&self) -> Seal {
        *self.latest.borrow()
    }

    /// Seals what is there and ends; up to where it got.
    ///
    /// ```
    /// use resilience_cqrs::audit::{Sealer, verify};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let sealing = Sealer::builder(store.clone()).start();
    /// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await?;
    /// let seal = sealing.stop().await?;
    /// assert_eq!((seal.position(), verify(&store).await?.unsealed), (store.head(), 0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Why the rest could not be sealed, or why it had ended by itself.
    pub async fn stop(mut self) -> Result<Seal, SealError> {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        self.ended.await.unwrap_or(Err(SealError::Aborted))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// Why it has ended.
    pub async fn ended(&mut self) -> Result<Seal, SealError> {
        (&mut self.ended).await.unwrap_or(Err(SealError::Aborted))
    }
}
