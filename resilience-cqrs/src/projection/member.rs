//! One of those who run a projection in partitions: what it takes, keeps, gives away and loses.

use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, join_all, select};
use futures::stream::{FuturesUnordered, StreamExt as _};
use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::lease::{Acquired, Lease, Leases};
use resilience_core::time::{SharedTimer, Sleep, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::apply::Apply;
use super::config::ProjectionRunnerBuilder;
use super::event::Event;
use super::handle::ProjectionHandle;
use super::members::{self, Members, fair_share};
use super::partitioned::Running;
use super::runner::RunnerError;
use super::share::Share;
use crate::store::EventStore;

/// A lease is renewed, and the members counted, when this share of its time is over: two may fail before it ends.
const BEATS: u32 = 3;

struct Owned {
    lease: Lease,
    /// Dropped to let it finish.
    handle: Option<ProjectionHandle>,
    abort: AbortHandle,
    /// Tells its runner from those before it.
    run: u64,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// Which runner has ended, and why.
struct End {
    index: u32,
    run: u64,
    result: Result<(), RunnerError>,
}

enum Woken {
    ToStop,
    ByEnd(End),
    ByTime,
}

/// One that competes. Invariant: each partition in `owned` has one future in `ends`, which completes when its runner ends.
pub(super) struct Member<S, A, L> {
    runner: ProjectionRunnerBuilder<S, A>,
    partitions: NonZeroU32,
    leases: L,
    member: String,
    ttl: Duration,
    name: Name,
    timer: SharedTimer,
    listeners: Listeners,
    stopping: mpsc::Receiver<()>,
    publish: watch::Sender<Running>,
    owned: BTreeMap<u32, Owned>,
    ends: FuturesUnordered<BoxFuture<'static, End>>,
    runs: u64,
    members: Members,
    beat: u64,
}

impl<S: EventStore, A: Apply<S> + Clone, L: Leases> Member<S, A, L> {
    pub(super) fn new(
        runner: ProjectionRunnerBuilder<S, A>,
        partitions: NonZeroU32,
        leases: L,
        (member, ttl): (String, Duration),
        stopping: mpsc::Receiver<()>,
        publish: watch::Sender<Running>,
    ) -> Self {
        let name = Name::from(runner.apply.name().to_owned());
        Self {
            listeners: runner.listeners.bound("projection", &name),
            timer: runner.timer.clone(),
            owned: BTreeMap::new(),
            ends: FuturesUnordered::new(),
            members: Members::default(),
            runner,
            partitions,
            leases,
            member,
            ttl,
            name,
            stopping,
            publish,
            runs: 0,
            beat: 0,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), RunnerError> {
        let result = loop {
            let next = self.timer.now() + self.ttl / BEATS;
            self.renew().await;
            self.balance().await;
            let mut tick = self.timer.sleep_until(next);
            let ended = loop {
                match self.wait(&mut tick).await {
                    Woken::ToStop => break Some(Ok(())),
                    Woken::ByEnd(end) => {
                        if let Err(error) = self.ended(end).await {
                            break Some(Err(error));
                        }
                    }
                    Woken::ByTime => break None,
                }
            };
            if let Some(result) = ended {
                break result;
            }
        };
        self.leave().await;
        result
    }

    /// Waits for the next beat, the end of a runner, or the end of all.
    async fn wait(&mut self, tick: &mut Sleep) -> Woken {
        let ends = &mut self.ends;
        let next = pin!(async {
            match ends.next().await {
                Some(end) => end,
                None => std::future::pending().await,
            }
        });
        match select(select(pin!(self.stopping.recv()), next), tick).await {
            Either::Left((Either::Left(_), _)) => Woken::ToStop,
            Either::Left((Either::Right((end, _)), _)) => Woken::ByEnd(end),
            Either::Right(_) => Woken::ByTime,
        }
    }

    /// Renews the leases; what is lost, or over by our own clock, is dropped where it stands.
    async fn renew(&mut self) {
        let (ttl, limit) = (self.ttl, self.ttl / BEATS);
        let (leases, timer) = (&self.leases, &self.timer);
        let renewals = self.owned.iter_mut().map(|(index, owned)| async move {
            let asked = timer.now();
            match within(timer, limit, leases.renew(&owned.lease, ttl)).await {
                Some(Ok(Some(renewed))) => owned.lease = since(&renewed, asked, ttl),
                Some(Ok(None)) => return Some(*index),
                // Not known: it lasts as long as it did.
                Some(Err(_)) | None if timer.now() >= owned.lease.until() => return Some(*index),
                Some(Err(_)) | None => {}
            }
            None
        });
        let lost: Vec<u32> = join_all(renewals).await.into_iter().flatten().collect();
        for index in lost {
            self.owned.remove(&index);
            self.emit(|| Event::Lost { partition: index });
        }
    }

    /// Counts the members, gives away what is more than a fair share, and takes what is free up to it.
    ///
    /// All of it takes no longer than a beat, whoever does not answer: meanwhile the leases it has are not renewed.
    async fn balance(&mut self) {
        self.beat += 1;
        let now = self.timer.now();
        let until = now + self.ttl / BEATS;
        let gone = self.members.gone(now, self.ttl).map(str::to_owned).collect();
        let beat = members::beat(&self.runner.store, &self.name, (&self.member, self.beat), gone);
        let Some(Ok(rows)) = within(&self.timer, self.ttl / BEATS, beat).await else {
            return self.publish(None); // Who cannot reach the store takes nothing more, and gives nothing away.
        };
        let alive = self.members.observe(&rows, &self.member, self.timer.now(), self.ttl);
        let (share, begin) = fair_share(&alive, &self.member, self.partitions.get());
        let running = self.owned.values().filter(|owned| owned.handle.is_some()).count();
        let running = u32::try_from(running).unwrap_or(u32::MAX);
        for _ in share..running {
            let last = self.owned.values_mut().rev().find(|owned| owned.handle.is_some());
            if let Some(owned) = last {
                owned.handle = None; // It finishes its batch, and `ended` gives the lease back.
            }
        }
        for nth in 0..self.partitions.get() {
            if self.owned.len() >= share as usize {
                break;
            }
            let index = (begin + nth) % self.partitions.get();
            if !self.owned.contains_key(&index) && !self.acquire(index, until).await {
                break; // Who cannot reach the leases takes nothing more.
            }
        }
        self.publish(Some(alive.len()));
    }

    /// Takes a partition if it is free; whether there was an answer in time.
    async fn acquire(&mut self, index: u32, until: Timestamp) -> bool {
        let asked = self.timer.now();
        let resource = self.resource(index);
        let ask = self.leases.acquire(&resource, &self.member, self.ttl);
        match within(&self.timer, until.since(asked), ask).await {
            Some(Ok(Acquired::Granted(lease))) => {
                self.begin(index, since(&lease, asked, self.ttl));
                self.emit(|| Event::Taken { partition: index });
                true
            }
            Some(Ok(Acquired::Held { .. })) => true,
            Some(Err(_)) | None => false,
        }
    }

    fn begin(&mut self, index: u32, lease: Lease) {
        self.runs += 1;
        let run = self.runs;
        let share = Share::all(self.partitions).nth(index as usize);
        let (runner, mut handle) = self.runner.for_share(share);
        if let Some(ended) = handle.ended.take() {
            let result = |end: Result<_, _>| end.unwrap_or(Err(RunnerError::Aborted));
            self.ends.push(ended.map(move |end| End { index, run, result: result(end) }).boxed());
        }
        let abort = tokio::spawn(runner.run()).abort_handle();
        self.owned.insert(index, Owned { lease, handle: Some(handle), abort, run });
    }

    /// A runner has ended: on our wish, because somebody took it over, or for good.
    async fn ended(&mut self, End { index, run, result }: End) -> Result<(), RunnerError> {
        let Some(owned) = self.owned.get(&index).filter(|owned| owned.run == run) else {
            return Ok(()); // It was dropped with its lease.
        };
        match result {
            Ok(()) | Err(RunnerError::Fenced) => {}
            // It panicked, and would again if it were begun at once: the next beat takes it anew.
            Err(RunnerError::Panicked { .. } | RunnerError::Aborted) if owned.handle.is_some() => {
                self.owned.remove(&index);
                self.publish(None);
                return Ok(());
            }
            Err(RunnerError::Panicked { .. } | RunnerError::Aborted) => {}
            Err(error) => return Err(error),
        }
        if owned.handle.is_none() {
            self.hand_over(index).await;
        } else if self.timer.now() < owned.lease.until() {
            // A zombie came back for a moment and took the checkpoint over. The lease is ours: take it back.
            let lease = owned.lease.clone();
            self.begin(index, lease);
        } else {
            self.owned.remove(&index);
        }
        self.publish(None);
        Ok(())
    }

    async fn hand_over(&mut self, index: u32) {
        if let Some(owned) = self.owned.remove(&index) {
            let _ = within(&self.timer, self.ttl / BEATS, self.leases.release(&owned.lease)).await;
            self.emit(|| Event::HandedOver { partition: index });
        }
    }

    /// Lets everything finish, and tells the others that it is theirs.
    async fn leave(&mut self) {
        for owned in self.owned.values_mut() {
            owned.handle = None;
        }
        let mut patience = self.timer.sleep(self.ttl);
        while !self.owned.is_empty() {
            match select(self.ends.next(), &mut patience).await {
                // One that was dropped with an earlier lease says nothing about the runner there is.
                Either::Left((Some(end), _)) if self.owned.get(&end.index).is_some_and(|own| own.run == end.run) => {
                    self.hand_over(end.index).await;
                }
                Either::Left((Some(_), _)) => {}
                Either::Left((None, _)) | Either::Right(_) => break,
            }
        }
        self.owned.clear();
        let leave = members::leave(&self.runner.store, &self.name, &self.member);
        let _ = within(&self.timer, self.ttl / BEATS, leave).await; // Else the others find out by themselves.
    }

    fn publish(&self, members: Option<usize>) {
        self.publish.send_modify(|running| {
            running.members = members.unwrap_or(running.members);
            let owned = self.owned.iter().filter_map(|(index, owned)| {
                let handle = owned.handle.as_ref()?;
                Some((*index, (handle.status.clone(), handle.requests.downgrade())))
            });
            running.owned = owned.collect();
        });
    }

    fn resource(&self, index: u32) -> String {
        format!("{}#{index}/{}", self.name, self.partitions)
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }
}

/// The answer, unless it takes longer.
async fn within<T>(timer: &SharedTimer, limit: Duration, question: impl Future<Output = T>) -> Option<T> {
    match select(pin!(question), timer.sleep(limit)).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}

/// The lease as its owner may believe in it: not for longer than from before the engine was asked.
fn since(lease: &Lease, asked: Timestamp, ttl: Duration) -> Lease {
    Lease::new(lease.resource(), lease.owner(), lease.token(), lease.until().min(asked + ttl))
}

#[cfg(test)]
mod tests {
    use resilience_core::context::FencingToken;
    use resilience_core::time::{ManualTimer, Timer as _};

    use super::*;

    /// An answer that took long is of a lease that began before it: believed from the answer on, it would be over for all
    /// others while its owner still takes events in.
    #[test]
    fn a_lease_is_believed_for_no_longer_than_from_before_it_was_asked_for() {
        let (asked, ttl) = (ManualTimer::new().now(), Duration::from_secs(10));
        for (says, believed) in [(15, 10), (10, 10), (4, 4)] {
            let until = asked + Duration::from_secs(says);
            let lease = since(&Lease::new("p#0/2", "node", FencingToken::new(1), until), asked, ttl);
            assert_eq!((lease.until(), lease.token()), (asked + Duration::from_secs(believed), FencingToken::new(1)));
        }
    }
}
