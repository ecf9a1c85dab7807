//! Several runners for one projection, in one process or in many, each with partitions of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use futures::future::{Either, select};
use resilience_core::lease::Leases;
use resilience_core::time::SharedTimer;
use tokio::sync::{mpsc, oneshot, watch};

use super::apply::Apply;
use super::checkpoint::{self, Checkpoint};
use super::config::ProjectionRunnerBuilder;
use super::handle::{ReplayError, Replayed, Request, StaleRead, Status};
use super::member::Member;
use super::park::storable;
use super::runner::RunnerError;
use super::share::Share;
use crate::log::Position;
use crate::store::EventStore;

/// How often [`PartitionedHandle::at_least`] looks at partitions that others run.
const LOOK: Duration = Duration::from_millis(20);

/// Sets up a member of those who run a projection in partitions.
#[derive(Debug)]
pub struct PartitionedBuilder<S, A, L> {
    runner: ProjectionRunnerBuilder<S, A>,
    partitions: NonZeroU32,
    leases: L,
    member: String,
    ttl: Duration,
}

impl<S: EventStore, A: Apply<S> + Clone> ProjectionRunnerBuilder<S, A> {
    /// Divides the projection by key into partitions, each with a checkpoint of its own, and competes for them with all
    /// others who do the same: any number of members, in any number of processes.
    ///
    /// A key belongs to one partition: to the remainder of its fingerprint (FNV-1a, 64 bits) by their number. A member
    /// runs a partition while it has the [lease](resilience_core::lease) `name#i/n`; all members run about as many. One
    /// that joins is given its share by the others, batch by batch; what one held that was killed is taken over when its
    /// leases run out. A member that was stopped and wakes up cannot commit: whoever took over has moved its checkpoint.
    ///
    /// The number is for ever: a runner that is set up with another one is refused
    /// ([`Divided`](RunnerError::Divided)). To change it, rebuild the model under a new name.
    ///
    /// `member` is for people; a restarted process is a new member, whatever its name.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use std::time::Duration;
    /// use resilience_core::lease::MemoryLeases;
    /// use resilience_cqrs::projection::ProjectionRunner;
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (store, leases, eight) = (MemoryStore::new(), MemoryLeases::default(), NonZeroU32::new(8).ok_or("zero")?);
    /// // Of two processes, each of which does the same.
    /// let member = |name| {
    ///     let runner = ProjectionRunner::builder(store.clone(), Picky);
    ///     runner.partitions(eight, leases.clone(), name).start()
    /// };
    /// let (first, second) = (member("node-1"), member("node-2"));
    /// for stream in ["a", "b", "c", "d"] {
    ///     store.append(Append::new().events(stream, Expected::Any, [NewEvent::new("Good", "")])).await?;
    /// }
    /// // Asked of one, about all partitions.
    /// first.at_least(store.head(), Duration::from_secs(60)).await?;
    /// second.stop().await?; // what it had is free at once
    /// first.stop().await?;
    /// # Ok(()) }
    /// ```
    pub fn partitions<L: Leases>(
        self,
        partitions: NonZeroU32,
        leases: L,
        member: impl Into<String>,
    ) -> PartitionedBuilder<S, A, L> {
        PartitionedBuilder { runner: self, partitions, leases, member: member.into(), ttl: Duration::from_secs(10) }
    }
}

impl<S: EventStore, A: Apply<S> + Clone, L: Leases + 'static> PartitionedBuilder<S, A, L> {
    /// How long a partition stands still at most after its member was killed. Default: 10 s. Renewed at a third of it,
    /// with a row of the store, so that short times cost commits.
    ///
    /// Less than 30 ms is taken as 30 ms: a renewal takes a round trip, too.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.max(Duration::from_millis(30));
        self
    }

    /// Runs it on tasks of their own, one for each partition. Must be called within a tokio runtime.
    pub fn start(self) -> PartitionedHandle<S> {
        let Self { mut runner, partitions, leases, member, ttl } = self;
        let name = runner.apply.name().to_owned();
        let (stop, stopping) = mpsc::channel(1);
        let (ended, end) = oneshot::channel();
        let (publish, running) = watch::channel(Running::default());
        let handle = PartitionedHandle {
            store: runner.store.clone(),
            name: name.clone(),
            partitions,
            running,
            timer: runner.timer.clone(),
            _stop: stop,
            ended: end,
        };
        // A process that comes back must not be given the leases of its former self, which may still be running.
        let member = format!("{member}~{:016x}", runner.rng.next_u64());
        let member = Member::new(runner, partitions, leases, (member, ttl), stopping, publish);
        tokio::spawn(async move {
            let _ = ended.send(member.run().await);
        });
        handle
    }
}

/// The partitions this member runs, and how many members there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    pub(super) members: usize,
    pub(super) owned: BTreeMap<u32, (watch::Receiver<Status>, mpsc::WeakSender<Request>)>,
}

/// How the partitions of one member are doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionedStatus {
    /// How many members there are, as far as this one can tell.
    pub members: usize,
    /// The partitions it runs.
    pub owned: BTreeMap<u32, Status>,
}

/// A member that runs. Dropping it stops its partitions after the batch at hand; [`stop`](Self::stop) also waits for that.
pub struct PartitionedHandle<S> {
    store: S,
    name: String,
    partitions: NonZeroU32,
    running: watch::Receiver<Running>,
    timer: SharedTimer,
    _stop: mpsc::Sender<()>,
    ended: oneshot::Receiver<Result<(), RunnerError>>,
}

impl<S: EventStore> PartitionedHandle<S> {
    /// What this member runs, and how that is doing.
    pub fn status(&self) -> PartitionedStatus {
        let running = self.running.borrow();
        let status = |(index, (status, _)): (&u32, &(watch::Receiver<Status>, _))| (*index, status.borrow().clone());
        PartitionedStatus { members: running.members, owned: running.owned.iter().map(status).collect() }
    }

    /// Waits until all partitions, whoever runs them, have got to `position`.
    ///
    /// Of partitions of other members it knows what is saved, which is up to a second behind while nothing comes.
    ///
    /// # Errors
    /// [`StaleRead`] if that takes longer than `within`.
    pub async fn at_least(&self, position: Position, within: Duration) -> Result<Position, StaleRead> {
        let mut timeout = self.timer.sleep(within);
        loop {
            let at = self.position().await;
            if at >= position {
                return Ok(at);
            }
            match select(self.timer.sleep(LOOK), timeout).await {
                Either::Left(((), rest)) => timeout = rest,
                Either::Right(_) => return Err(StaleRead { at, wanted: position }),
            }
        }
    }

    /// Up to where all partitions have got.
    async fn position(&self) -> Position {
        let mut least = None;
        for share in Share::all(self.partitions) {
            let owned = self.running.borrow().owned.get(&share.index()).map(|(status, _)| status.borrow().position);
            let at = match owned {
                Some(at) => at,
                None => {
                    let saved = Checkpoint::load(&self.store, &checkpoint::key(&self.name, Some(share))).await;
                    saved.ok().flatten().map_or(Position::ORIGIN, |saved| saved.position)
                }
            };
            least = Some(least.map_or(at, |least: Position| least.min(at)));
        }
        least.unwrap_or(Position::ORIGIN)
    }

    /// Takes in the parked events of a key, first to last, until one fails again; if this member runs its partition.
    ///
    /// # Errors
    /// See [`ReplayError`]; [`Elsewhere`](ReplayError::Elsewhere) if another member runs the partition.
    pub async fn replay(&self, key: impl Into<String>) -> Result<Replayed, ReplayError> {
        let key = storable(key.into());
        let share = Share::all(self.partitions).find(|share| share.owns(&key));
        let requests = share.and_then(|share| self.running.borrow().owned.get(&share.index())?.1.upgrade());
        let requests = requests.ok_or(ReplayError::Elsewhere)?;
        let (answer, answered) = oneshot::channel();
        requests.send(Request::Replay { key, answer }).await.map_err(|_| ReplayError::Stopped)?;
        drop(requests); // Held, it would keep the runner from ending.
        answered.await.map_err(|_| ReplayError::Stopped)?
    }

    /// Lets all its partitions finish the batch at hand, and gives them to the others at once.
    ///
    /// # Errors
    /// Why it had ended by itself.
    pub async fn stop(self) -> Result<(), RunnerError> {
        let Self { ended, _stop, .. } = self;
        drop(_stop);
        ended.await.unwrap_or(Err(RunnerError::Aborted))
    }
}

impl<S> fmt::Debug for PartitionedHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionedHandle")
            .field("name", &self.name)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}
