//! The runner: read on, take in, commit with the checkpoint; wait; again.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::rng::Rng;
use resilience_core::time::SharedTimer;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::apply::{Apply, Step, StepError, describe};
use super::checkpoint::{self, Checkpoint};
use super::event::Event;
use super::handle::{Health, ReplayError, Replayed, Request, Status};
use super::park::{self, Parking};
use crate::log::{Append, AppendError, Condition, Corrupt, Position, Query, ReadError};
use crate::store::EventStore;

/// Events not meant for the projection after which its checkpoint moves although there is nothing to take in: what a
/// crash makes it look at again, by index.
const SAVE_AFTER: u64 = 1024;

const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_CAP: Duration = Duration::from_secs(10);

/// Runs one projection on one store.
#[derive(Debug)]
#[must_use = "a runner does nothing until it is run"]
pub struct ProjectionRunner<S, A> {
    pub(super) store: S,
    pub(super) apply: A,
    pub(super) name: Name,
    pub(super) query: Query,
    pub(super) batch: usize,
    pub(super) max_parked: u64,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
    pub(super) rng: Rng,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) status: watch::Sender<Status>,
    pub(super) ended: oneshot::Sender<Result<(), RunnerError>>,
}

/// Why a runner has ended by itself.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// Another runner has taken the projection over.
    #[error("another runner has taken the projection over")]
    Fenced,
    /// The store does not take its commits, and would not later.
    #[error("the store does not take the projection's commits")]
    Append(#[source] AppendError),
    /// The store cannot be read, and could not later.
    #[error("the store cannot be read")]
    Read(#[source] ReadError),
    /// The runner's task was aborted, or panicked.
    #[error("the runner was aborted")]
    Aborted,
}

/// Where the runner is. Invariant: the checkpoint in the store is `saved`, or it is not ours any more.
struct Place {
    /// Up to where the log was looked at, and everything in it taken care of.
    position: Position,
    saved: Checkpoint,
    parked: BTreeMap<String, u64>,
}

/// Why a turn of the runner came to nothing.
enum Stumble {
    Later(String),
    Ends(RunnerError),
}

impl From<ReadError> for Stumble {
    fn from(error: ReadError) -> Self {
        if error.is_retryable() { Self::Later(describe(&error)) } else { Self::Ends(RunnerError::Read(error)) }
    }
}

impl From<AppendError> for Stumble {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused(error) => Self::Later(describe(&*error)),
            error if error.is_retryable() => Self::Later(describe(&error)),
            error => Self::Ends(RunnerError::Append(error)),
        }
    }
}

impl From<StepError> for Stumble {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Append(error) => error.into(),
            StepError::Read(error) => error.into(),
        }
    }
}

impl<S: EventStore, A: Apply<S>> ProjectionRunner<S, A> {
    /// Runs until the handle is dropped or [stopped](super::ProjectionHandle::stop), or until it cannot go on; the handle learns
    /// why. Dropped in between, it leaves the projection at its last commit.
    pub async fn run(mut self) {
        let result = self.work().await;
        if matches!(result, Err(RunnerError::Fenced)) {
            self.emit(|| Event::Fenced);
        }
        self.emit(|| Event::Stopped);
        self.status.send_modify(|status| status.health = Health::Stopped);
        let _ = self.ended.send(result);
    }

    async fn work(&mut self) -> Result<(), RunnerError> {
        let mut failures = 0;
        let mut place = None;
        loop {
            let turn = match &mut place {
                None => self.claim().await.map(|claimed| {
                    self.tell(&claimed);
                    place = Some(claimed);
                }),
                Some(place) => match self.turn(place).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => Ok(()),
                    Err(stumble) => Err(stumble),
                },
            };
            let error = match turn {
                Ok(()) => {
                    failures = 0;
                    continue;
                }
                Err(Stumble::Ends(error)) => return Err(error),
                Err(Stumble::Later(error)) => error,
            };
            failures += 1;
            self.emit(|| Event::Retrying { error: error.clone() });
            self.status.send_modify(|status| status.health = Health::Retrying { error });
            if self.pause(failures).await {
                return Ok(());
            }
            // What the failed commit left behind is in the store, not in memory.
            if let Some(at) = &mut place {
                match self.look_again(at).await {
                    Ok(()) => self.tell(at),
                    Err(Stumble::Ends(error)) => return Err(error),
                    Err(Stumble::Later(_)) => {} // The next turn meets the same.
                }
            }
        }
    }

    /// Takes the projection over: whoever had it cannot commit any more.
    async fn claim(&mut self) -> Result<Place, Stumble> {
        self.apply.prepare(&self.store).await?;
        let row = self.store.row(checkpoint::SPACE.as_str(), self.name.as_bytes()).await?;
        let (before, owner) = match &row {
            Some(bytes) => {
                let found = Checkpoint::decode(bytes).map_err(ReadError::Corrupt)?;
                (found.position, found.owner)
            }
            None => (Position::ORIGIN, 0),
        };
        let key = bytes::Bytes::copy_from_slice(self.name.as_bytes());
        let saved = Checkpoint { position: before, owner: owner + 1 };
        let free = Condition::Row { space: checkpoint::SPACE, key, equals: row };
        self.store.append(Append::new().require(free).row(saved.write(&self.name))).await?;
        let parked = park::load(&self.store, &self.name).await?;
        Ok(Place { position: before, saved, parked })
    }

    /// After a commit whose outcome is not known: where the store says that we are.
    async fn look_again(&mut self, place: &mut Place) -> Result<(), Stumble> {
        let row = self.store.row(checkpoint::SPACE.as_str(), self.name.as_bytes()).await?;
        let row = row.ok_or_else(|| ReadError::Corrupt(Corrupt::new("a projection's checkpoint is gone")))?;
        let found = Checkpoint::decode(&row).map_err(ReadError::Corrupt)?;
        if found.owner != place.saved.owner {
            return Err(Stumble::Ends(RunnerError::Fenced));
        }
        place.parked = park::load(&self.store, &self.name).await?;
        place.position = found.position;
        place.saved = found;
        Ok(())
    }

    /// One round: serve a request, or take in a batch, or wait. Whether to stop.
    async fn turn(&mut self, place: &mut Place) -> Result<bool, Stumble> {
        match self.requests.try_recv() {
            Ok(request) => {
                self.serve(request, place).await?;
                return Ok(false);
            }
            Err(mpsc::error::TryRecvError::Disconnected) => {
                self.save(place).await?;
                return Ok(true);
            }
            Err(mpsc::error::TryRecvError::Empty) => {}
        }
        let parked: u64 = place.parked.values().sum();
        if parked >= self.max_parked {
            self.emit(|| Event::Blocked { parked });
            self.status.send_modify(|status| status.health = Health::Blocked);
            return match self.requests.recv().await {
                Some(request) => self.serve(request, place).await.map(|()| false),
                None => Ok(true),
            };
        }
        if self.store.head() > place.position {
            self.advance(place).await?;
            return Ok(false);
        }
        let request = match select(pin!(self.requests.recv()), pin!(self.store.wait_past(place.position))).await {
            Either::Left((request, _)) => request,
            Either::Right(_) => return Ok(false),
        };
        match request {
            Some(request) => self.serve(request, place).await.map(|()| false),
            None => self.save(place).await.map(|()| true),
        }
    }

    /// Takes in the next batch.
    async fn advance(&mut self, place: &mut Place) -> Result<(), Stumble> {
        let page = self.store.read(place.position, &self.query, self.batch).await?;
        if page.events.is_empty() {
            place.position = page.next;
            if page.next.since(place.saved.position) >= SAVE_AFTER {
                self.save(place).await?;
            }
            self.tell(place);
            return Ok(());
        }
        let events = page.events.len();
        let saved = Checkpoint { position: page.next, ..place.saved };
        let base = self.fenced(place).row(saved.write(&self.name));
        let held = place.parked.keys().cloned().collect();
        let step = Step { events: page.events, held, attempts: 0, base };
        let parked = self.step(step).await?;
        place.position = page.next;
        place.saved = saved;
        for parking in &parked {
            *place.parked.entry(parking.key.clone()).or_insert(0) += 1;
        }
        self.tell(place);
        self.emit(|| Event::Applied { events, position: page.next });
        self.tell_parked(&parked);
        Ok(())
    }

    /// Moves the checkpoint past what was not meant for the projection.
    async fn save(&mut self, place: &mut Place) -> Result<(), Stumble> {
        if place.position > place.saved.position {
            let saved = Checkpoint { position: place.position, ..place.saved };
            let step = Step {
                events: Vec::new(),
                held: Default::default(),
                attempts: 0,
                base: self.fenced(place).row(saved.write(&self.name)),
            };
            self.step(step).await?;
            place.saved = saved;
        }
        Ok(())
    }

    async fn step(&self, step: Step) -> Result<Vec<Parking>, Stumble> {
        match self.apply.step(&self.store, step).await {
            // The fence is the only condition there is. It may be our own commit that moved it, of which the answer was
            // lost; `look_again` tells.
            Err(StepError::Append(AppendError::Conflict(conflict))) => Err(Stumble::Later(conflict.to_string())),
            Err(error) => Err(error.into()),
            Ok(parked) => Ok(parked),
        }
    }

    fn fenced(&self, place: &Place) -> Append {
        Append::new().require(place.saved.fence(&self.name))
    }

    async fn serve(&mut self, request: Request, place: &mut Place) -> Result<(), Stumble> {
        let Request::Replay { key, answer } = request;
        let mut events = 0;
        let result = self.replay(&key, place, &mut events).await;
        self.tell(place);
        if events > 0 {
            self.emit(|| Event::Replayed { key: key.clone(), events });
        }
        let (answered, stumble) = match result {
            Ok(None) => (Ok(Replayed { events }), Ok(())),
            Ok(Some(again)) => {
                let (position, error) = (again.position, again.note.error.clone());
                (Err(ReplayError::FailedAgain { position, error, events }), Ok(()))
            }
            Err(Stumble::Later(error)) => {
                (Err(ReplayError::Store { error: error.clone() }), Err(Stumble::Later(error)))
            }
            Err(Stumble::Ends(error)) => (Err(ReplayError::Stopped), Err(Stumble::Ends(error))),
        };
        let _ = answer.send(answered);
        stumble
    }

    /// Takes in the parked events of a key; the one that failed again, if one did.
    async fn replay(&mut self, key: &str, place: &mut Place, taken: &mut u64) -> Result<Option<Parking>, Stumble> {
        while let Some((position, note)) = park::first(&self.store, &self.name, key).await? {
            let before = Position::new(position.get().saturating_sub(1));
            let mut page = self.store.read(before, &Query::all(), 1).await?;
            if page.events.first().is_none_or(|event| event.position != position) {
                return Err(ReadError::Corrupt(Corrupt::new(format!("parked event {position} is not there"))).into());
            }
            page.events.truncate(1);
            let base = self.fenced(place).row(park::remove(&self.name, key, position));
            let step = Step { events: page.events, held: Default::default(), attempts: note.attempts, base };
            let mut parked = self.step(step).await?;
            if let Some(again) = parked.pop() {
                self.tell_parked(std::slice::from_ref(&again));
                return Ok(Some(again));
            }
            *taken += 1;
            if let Some(left) = place.parked.get_mut(key) {
                *left = left.saturating_sub(1);
            }
        }
        place.parked.remove(key);
        Ok(None)
    }

    /// Waits before trying again; whether to stop instead.
    async fn pause(&mut self, failures: u32) -> bool {
        let doubled = PAUSE.saturating_mul(1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
        let sleep = self.timer.sleep(doubled.min(PAUSE_CAP).mul_f64(self.rng.unit()));
        let mut sleep = pin!(sleep);
        loop {
            match select(pin!(self.requests.recv()), sleep.as_mut()).await {
                Either::Left((None, _)) => return true,
                Either::Left((Some(Request::Replay { answer, .. }), _)) => {
                    let error = "the store cannot be reached".into();
                    let _ = answer.send(Err(ReplayError::Store { error }));
                }
                Either::Right(_) => return false,
            }
        }
    }

    fn tell(&self, place: &Place) {
        let health = if place.parked.is_empty() { Health::Good } else { Health::Degraded };
        self.status.send_modify(|status| {
            status.position = place.position;
            status.health = health;
            if status.parked != place.parked {
                status.parked = place.parked.clone();
            }
        });
    }

    fn tell_parked(&self, parked: &[Parking]) {
        for parking in parked.iter().filter(|parking| parking.note.attempts > 0) {
            tracing::error!(
                projection = %self.name, key = parking.key, position = %parking.position, error = parking.note.error,
                "an event could not be taken in, its key is parked"
            );
            let Parking { key, position, note } = parking;
            self.emit(|| Event::Parked { key: key.clone(), position: *position, error: note.error.clone() });
        }
    }

    fn emit(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }
}
