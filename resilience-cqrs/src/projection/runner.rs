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
use tokio::sync::{mpsc, oneshot};

use super::apply::{Apply, StepError, describe};
use super::checkpoint::Checkpoint;
use super::event::Event;
use super::handle::{Health, Publish, ReplayError, Request};
use super::park::Parking;
use super::share::Share;
use crate::log::{AppendError, Position, Query, ReadError};
use crate::panic::caught;
use crate::store::{EventStore, Page};

/// How long the runner waits for more events before it saves that it has passed some that are not meant for it.
const SAVE_IDLE: Duration = Duration::from_secs(1);

const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_CAP: Duration = Duration::from_secs(10);

/// Runs one projection on one store.
#[derive(Debug)]
#[must_use = "a runner does nothing until it is run"]
pub struct ProjectionRunner<S, A> {
    pub(super) store: S,
    pub(super) apply: A,
    pub(super) name: Name,
    pub(super) share: Option<Share>,
    /// Where to end, if it is to end at a position.
    pub(super) until: Option<Position>,
    pub(super) query: Query,
    pub(super) batch: usize,
    pub(super) max_parked: u64,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
    pub(super) rng: Rng,
    pub(super) requests: mpsc::Receiver<Request>,
    /// What could not be done at once, and is as soon as the store can be reached.
    pub(super) asked: Option<Request>,
    pub(super) status: Publish,
    pub(super) ended: oneshot::Sender<Result<(), RunnerError>>,
}

/// Why a runner has ended by itself.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// Another runner has taken the projection over.
    #[error("another runner has taken the projection over")]
    Fenced,
    /// The projection was begun in another number of partitions, and would take in twice what they have.
    #[error("the projection is run in {found} partitions, not in {wanted}")]
    Divided {
        /// How many there are; 1 if it is not divided.
        found: u32,
        /// How many this runner knows of.
        wanted: u32,
    },
    /// The store does not take its commits, and would not later.
    #[error("the store does not take the projection's commits")]
    Append(#[source] AppendError),
    /// The store cannot be read, and could not later.
    #[error("the store cannot be read")]
    Read(#[source] ReadError),
    /// Code of yours panicked where no event is to blame: in a projection's `key`, in a store in front of the store.
    #[error("the runner panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The runner's task was aborted.
    #[error("the runner was aborted")]
    Aborted,
}

/// Where the runner is. Invariant: the checkpoint in the store is `saved`, or it is not ours any more.
pub(super) struct Place {
    /// Up to where the log was looked at, and everything in it taken care of.
    pub(super) position: Position,
    pub(super) saved: Checkpoint,
    pub(super) parked: BTreeMap<String, u64>,
    /// The page after `position`, read while the one before was committed.
    pub(super) ahead: Option<Page>,
}

/// What ended a wait.
enum Woken {
    Asked(Option<Request>),
    ByMore,
    ByTime,
}

/// Why a turn of the runner came to nothing.
pub(super) enum Stumble {
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
            // It may be our own commit that moved it, of which the answer was lost; `look_again` tells.
            StepError::Moved => Self::Later("the checkpoint has moved".into()),
        }
    }
}

impl<S: EventStore, A: Apply<S>> ProjectionRunner<S, A> {
    /// Runs until the handle is dropped or [stopped](super::ProjectionHandle::stop), or until it cannot go on; the handle learns
    /// why. Dropped in between, it leaves the projection at its last commit.
    pub async fn run(mut self) {
        let result = caught(self.work()).await.unwrap_or_else(|message| Err(RunnerError::Panicked { message }));
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

    /// One round: serve a request, or take in a batch, or wait. Whether to stop.
    async fn turn(&mut self, place: &mut Place) -> Result<bool, Stumble> {
        match self.asked.take().map_or_else(|| self.requests.try_recv(), Ok) {
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
        if self.until.is_some_and(|until| place.position >= until) {
            self.save(place).await?;
            return Ok(true);
        }
        if self.store.head() > place.position {
            self.advance(place).await?;
            return Ok(false);
        }
        match self.wait(place).await {
            Woken::Asked(Some(request)) => self.serve(request, place).await.map(|()| false),
            Woken::Asked(None) => self.save(place).await.map(|()| true),
            Woken::ByMore => Ok(false),
            Woken::ByTime => self.save(place).await.map(|()| false),
        }
    }

    async fn wait(&mut self, place: &Place) -> Woken {
        let is_saved = place.position == place.saved.position;
        let timer = self.timer.clone();
        let idle = pin!(async {
            match is_saved {
                true => std::future::pending().await,
                false => timer.sleep(SAVE_IDLE).await,
            }
        });
        let more = pin!(self.store.wait_past(place.position));
        match select(pin!(self.requests.recv()), select(more, idle)).await {
            Either::Left((request, _)) => Woken::Asked(request),
            Either::Right((Either::Left(_), _)) => Woken::ByMore,
            Either::Right((Either::Right(_), _)) => Woken::ByTime,
        }
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
                Either::Left((Some(meet @ Request::Meet { .. }), _)) => self.asked = Some(meet),
                Either::Left((Some(Request::Save { .. }), _)) => {} // The one who asks learns that it was not.
                Either::Right(_) => return false,
            }
        }
    }

    pub(super) fn tell(&self, place: &Place) {
        let health = if place.parked.is_empty() { Health::Good } else { Health::Degraded };
        self.status.send_modify(|status| {
            status.position = place.position;
            status.health = health;
            if status.parked != place.parked {
                status.parked = place.parked.clone();
            }
        });
    }

    pub(super) fn tell_parked(&self, parked: &[Parking]) {
        for parking in parked.iter().filter(|parking| parking.note.attempts > 0) {
            tracing::error!(
                projection = %self.name, key = parking.key, position = %parking.position, error = parking.note.error,
                "an event could not be taken in, its key is parked"
            );
            let Parking { key, position, note } = parking;
            self.emit(|| Event::Parked { key: key.clone(), position: *position, error: note.error.clone() });
        }
    }

    pub(super) fn emit(&self, event: impl FnOnce() -> Event) {
        self.listeners.emit(&self.name, || self.timer.now(), event);
    }
}
