//! The work of a rebuild: build in parts, join them, catch up, take over.

use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select, select_all};
use resilience_core::lease::{Acquired, Leases, Ownership};
use resilience_core::time::SharedTimer;
use tokio::sync::{oneshot, watch};

use super::apply::Apply;
use super::checkpoint::{self, Checkpoint};
use super::config::ProjectionRunnerBuilder;
use super::event::Event;
use super::handle::{Health, ProjectionHandle, Request};
use super::meter::{Meter, Trend, eta};
use super::rebuild::{Phase, RebuildError, RebuildStatus, Rebuilt};
use super::runner::RunnerError;
use super::share::Share;
use super::take::{self, DIVISION};
use super::versions::{Versions, model};
use crate::log::{Append, BoxError, Condition, Corrupt, Position, ReadError, RowChange};
use crate::store::EventStore;

/// How often the rebuild looks whether its lease is still its own.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Building<S, A> {
    runner: ProjectionRunnerBuilder<S, A>,
    name: String,
    parallel: NonZeroU32,
    threshold: u64,
    timer: SharedTimer,
    publish: watch::Sender<RebuildStatus>,
    built: Meter,
    appended: Meter,
    trend: Trend,
}

impl<S: EventStore, A: Apply<S> + Clone> Building<S, A> {
    pub(super) fn new(
        runner: ProjectionRunnerBuilder<S, A>,
        (parallel, threshold): (NonZeroU32, u64),
        publish: watch::Sender<RebuildStatus>,
    ) -> Self {
        let (now, head) = (runner.timer.now(), runner.store.head());
        Self {
            name: runner.apply.name().to_owned(),
            timer: runner.timer.clone(),
            built: Meter::new(now, 0.0),
            appended: Meter::new(now, head.get() as f64),
            trend: Trend::new(now),
            runner,
            parallel,
            threshold,
            publish,
        }
    }

    /// Works until the version serves, or the sender of `stopped` is dropped.
    pub(super) async fn run<L: Leases>(
        self,
        leases: &L,
        owner: &str,
        ttl: Duration,
        stopped: oneshot::Receiver<()>,
    ) -> Result<Rebuilt, RebuildError> {
        let resource = format!("rebuild/{}", self.name);
        let lease = match leases.acquire(&resource, owner, ttl).await {
            Ok(Acquired::Granted(lease)) => lease,
            Ok(Acquired::Held { owner, .. }) => {
                let named = |owner: &str| owner.rsplit_once('~').map_or(owner, |(named, _)| named).to_owned();
                return Err(RebuildError::AlreadyRunning { owner: owner.map(|owner| named(&owner)) });
            }
            Err(error) => return Err(RebuildError::Lease(Some(BoxError::from(error)))),
        };
        let ownership = Ownership::builder().name("rebuild").timer(self.timer.clone()).build();
        let ownership = ownership.map_err(|error| RebuildError::Lease(Some(error.into())))?;
        ownership.grant(lease);
        // Dropped before the lease is given back: its runners are told to end.
        let (result, lease) = {
            let (work, keep) = (pin!(self.work(&ownership)), pin!(ownership.keep(leases, &resource, owner, ttl)));
            match select(select(stopped, work), keep).await {
                // Asked for before `keep` is dropped, which forgets it.
                Either::Left((Either::Left(_), _)) => (Err(RebuildError::Stopped), ownership.lease()),
                Either::Left((Either::Right((result, _)), _)) => (result, ownership.lease()),
                Either::Right((never, _)) => match never {},
            }
        };
        if let Some(lease) = lease {
            let _ = leases.release(&lease).await; // If it fails, the lease runs out.
        }
        result
    }

    async fn work(mut self, ownership: &Ownership) -> Result<Rebuilt, RebuildError> {
        let store = self.runner.store.clone();
        let versions = Versions::new(store.clone());
        let before = versions.serving(model(&self.name)).await?;
        // It has taken over already, and only its answer was lost.
        let replaced = before.clone().filter(|before| *before != self.name);
        if let Some(parts) = self.parts().await? {
            self.build_in(parts, ownership).await?;
            self.trend = Trend::new(self.timer.now()); // One may keep up where many did not, and the other way round.
        }
        let (runner, handle) = self.runner.for_share(None);
        tokio::spawn(runner.run());
        let mut running = [handle];
        self.until_near(&mut running, Phase::Building, ownership).await?;
        let [mut running] = running;
        let position = self.catch_up(&mut running, ownership).await?;
        if before.as_ref() != Some(&self.name) {
            versions.replace(before.as_deref(), &self.name).await?;
        }
        self.tell(Phase::Serving, &[&running]);
        self.emit(|| Event::Serving { instead_of: replaced.clone(), position });
        Ok(Rebuilt { running, replaced })
    }

    /// In how many parts it is to be built, or was begun; none if they have been joined, or there are none.
    async fn parts(&self) -> Result<Option<NonZeroU32>, RebuildError> {
        let store = &self.runner.store;
        if Checkpoint::load(store, &checkpoint::key(&self.name, None)).await?.is_some() {
            return Ok(None);
        }
        let begun = take::division(store, &self.name).await?;
        Ok(Some(begun.unwrap_or(self.parallel)).filter(|parts| parts.get() > 1))
    }

    /// Builds in parts that end at one position, and makes one of them.
    async fn build_in(&mut self, parts: NonZeroU32, ownership: &Ownership) -> Result<(), RebuildError> {
        let mut running = Vec::new();
        for share in Share::all(parts) {
            let (runner, handle) = self.runner.for_share(Some(share));
            tokio::spawn(runner.run());
            running.push(handle);
        }
        self.until_near(&mut running, Phase::Building, ownership).await?;
        self.tell(Phase::Joining, &running.iter().collect::<Vec<_>>());
        let barrier = meet(&mut running).await?;
        for handle in &mut running {
            until_ended(handle).await?;
        }
        self.join(parts, barrier).await
    }

    /// Many checkpoints at one position are one checkpoint.
    async fn join(&self, parts: NonZeroU32, barrier: Position) -> Result<(), RebuildError> {
        let one = Checkpoint { position: barrier, owner: 1 };
        let key = checkpoint::key(&self.name, None);
        let mut append = Append::new()
            .require(checkpoint::condition(key.clone(), None))
            .row(RowChange::put(checkpoint::SPACE, key, one.encode()))
            .row(RowChange::delete(DIVISION, Bytes::copy_from_slice(self.name.as_bytes())));
        for share in Share::all(parts) {
            let key = checkpoint::key(&self.name, Some(share));
            let found = Checkpoint::load(&self.runner.store, &key).await?;
            if found.is_none_or(|found| found.position != barrier) {
                return Err(ReadError::Corrupt(Corrupt::new("a part of a version is not where it has ended")).into());
            }
            let still: Condition = checkpoint::condition(key.clone(), found);
            append = append.require(still).row(RowChange::delete(checkpoint::SPACE, key));
        }
        self.runner.store.append(append).await?;
        Ok(())
    }

    /// Waits until all parts are near the head.
    async fn until_near(
        &mut self,
        running: &mut [ProjectionHandle],
        phase: Phase,
        ownership: &Ownership,
    ) -> Result<(), RebuildError> {
        loop {
            for handle in running.iter_mut() {
                if handle.status().health == Health::Stopped {
                    handle.ended().await?;
                    return Err(RunnerError::Aborted.into());
                }
                if handle.status().health == Health::Blocked {
                    parked(handle)?;
                }
            }
            held(ownership)?;
            let lag = self.tell(phase, &running.iter().collect::<Vec<_>>());
            if lag <= self.threshold {
                return Ok(());
            }
            // A part that has ended is a change as well; a lease that is lost is not.
            let changes = running.iter_mut().map(|handle| Box::pin(handle.status.changed()));
            select(select_all(changes), self.timer.sleep(LOOK)).await;
        }
    }

    /// Brings the version up to the head of a moment ago, and its checkpoint as well. Where that takes longer than a second,
    /// more has come than readers should miss: then up to the head of that moment.
    async fn catch_up(
        &mut self,
        running: &mut ProjectionHandle,
        ownership: &Ownership,
    ) -> Result<Position, RebuildError> {
        loop {
            self.tell(Phase::TakingOver, &[running]);
            held(ownership)?;
            let head = self.runner.store.head();
            if running.at_least(head, Duration::from_secs(1)).await.is_ok() {
                parked(running)?;
                let (answer, answered) = oneshot::channel();
                let _ = running.requests.send(Request::Save { answer }).await;
                if answered.await.is_ok() {
                    held(ownership)?;
                    return Ok(head);
                }
            }
            if running.status().health == Health::Stopped {
                running.ended().await?;
                return Err(RunnerError::Aborted.into());
            }
            parked(running)?;
            self.timer.sleep(LOOK).await;
        }
    }

    /// Says how far it is; how far the last part is behind.
    fn tell(&mut self, phase: Phase, running: &[&ProjectionHandle]) -> u64 {
        let head = self.runner.store.head();
        let positions: Vec<Position> = running.iter().map(|handle| handle.status.borrow().position).collect();
        let position = positions.iter().min().copied().unwrap_or(Position::ORIGIN);
        let mean = positions.iter().map(|at| at.get() as f64).sum::<f64>() / positions.len().max(1) as f64;
        let now = self.timer.now();
        self.built.observe(now, mean);
        self.appended.observe(now, head.get() as f64);
        let (rate, appended, lag) = (self.built.rate(), self.appended.rate(), head.since(position));
        let eta = eta(head.get() as f64 - mean, rate, appended);
        if self.trend.observe(now, lag) {
            tracing::warn!(projection = %self.name, behind = lag, "a rebuild does not come nearer to the head");
            self.emit(|| Event::Outpaced { behind: lag, rate, appended });
        }
        let outpaced = self.trend.is_outpaced();
        self.publish.send_replace(RebuildStatus { phase, position, head, rate, appended, eta, outpaced });
        lag
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        let name = resilience_core::Name::from(self.name.clone());
        let listeners = self.runner.listeners.bound("projection", &name);
        listeners.emit(&name, || self.timer.now(), event);
    }
}

/// Whoever has lost the lease is not the one who builds.
fn held(ownership: &Ownership) -> Result<(), RebuildError> {
    ownership.token().map(|_| ()).ok_or(RebuildError::Lease(None))
}

/// Lets all parts end at one position, and says which.
///
/// Each goes on until it hears of it, past any position that was chosen before. So they are held first, each after the
/// batch at hand, and meet where the first of them is.
async fn meet(running: &mut [ProjectionHandle]) -> Result<Position, RebuildError> {
    let mut asked = Vec::new();
    for handle in running.iter() {
        let (at, answer) = oneshot::channel();
        let (until, told) = oneshot::channel();
        // Has it ended? Then there is no answer.
        let _ = handle.requests.send(Request::Meet { at, until: told }).await;
        asked.push((answer, until));
    }
    let (mut barrier, mut held) = (Position::ORIGIN, Vec::new());
    for ((answer, until), handle) in asked.into_iter().zip(running) {
        match answer.await {
            Ok(at) => barrier = barrier.max(at),
            Err(_) => {
                handle.ended().await?;
                return Err(RunnerError::Aborted.into());
            }
        }
        held.push(until);
    }
    for until in held {
        let _ = until.send(barrier); // As above.
    }
    Ok(barrier)
}

/// Waits until a part has ended without holes.
async fn until_ended(handle: &mut ProjectionHandle) -> Result<(), RebuildError> {
    loop {
        // One that has parked too much stands still, and does not end.
        parked(handle)?;
        if handle.status().health == Health::Stopped || handle.status.changed().await.is_err() {
            break;
        }
    }
    handle.ended().await?;
    parked(handle)
}

/// A version with holes must not take over by itself.
fn parked(handle: &ProjectionHandle) -> Result<(), RebuildError> {
    match handle.status.borrow().parked.values().sum() {
        0 => Ok(()),
        events => Err(RebuildError::Parked { events }),
    }
}
