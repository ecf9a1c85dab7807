//! The relay: read on, send, and move the checkpoint past what was sent; wait; again.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;

use futures::StreamExt as _;
use futures::future::{Either, select};
use resilience_core::Name;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::{self, Checkpoint};
use super::event::Event;
use super::handle::{Health, ReplayError, Request};
use super::put::Outbox;
use super::send::{Outcome, Sender};
use super::work::{Map, Note, Task, task};
use crate::log::{Append, AppendError, Condition, Corrupt, Position, Query, ReadError};
use crate::messaging::bus::Bus;
use crate::messaging::error::{BusError, describe};
use crate::messaging::shelf::Shelf;
use crate::panic::caught;
use crate::store::EventStore;

/// Events that concern nobody after which the checkpoint moves although there is nothing to send.
const SAVE_AFTER: u64 = 1024;

/// Requests that wait while a batch is on its way.
pub(super) const REQUESTS: usize = 16;

/// Sends what a log says is to be sent.
#[must_use = "a relay does nothing until it is run"]
pub struct Relay<S, B> {
    pub(super) store: S,
    pub(super) sender: Sender<B>,
    pub(super) name: Name,
    pub(super) outbox: Outbox,
    pub(super) query: Query,
    pub(super) map: Map,
    pub(super) parked: Shelf,
    pub(super) batch: usize,
    pub(super) window: usize,
    pub(super) max_parked: u64,
    pub(super) requests: mpsc::Receiver<Request>,
    /// Asked while a batch was on its way.
    pub(super) waiting: VecDeque<Request>,
    pub(super) ended: oneshot::Sender<Result<(), RelayError>>,
}

impl<S, B> std::fmt::Debug for Relay<S, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("name", &self.name)
            .field("status", &*self.sender.status.borrow())
            .finish_non_exhaustive()
    }
}

/// Why a relay has ended by itself.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RelayError {
    /// Another relay has taken the outbox over.
    #[error("another relay has taken the outbox over")]
    Fenced,
    /// The store does not take its commits, and would not later.
    #[error("the store does not take the relay's commits")]
    Append(#[source] AppendError),
    /// The store cannot be read, and could not later.
    #[error("the store cannot be read")]
    Read(#[source] ReadError),
    /// The bus takes nothing any more.
    #[error("the bus takes nothing any more")]
    Bus(#[source] BusError),
    /// Code of yours panicked where no message is to blame: in the bus, in a store in front of the store.
    #[error("the relay panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The relay's task was aborted.
    #[error("the relay was aborted")]
    Aborted,
}

/// Where the relay is. Invariant: the checkpoint in the store is `saved`, or it is not ours any more.
pub(super) struct Place {
    /// Up to where the log was looked at, and everything in it taken care of.
    pub(super) position: Position,
    pub(super) saved: Checkpoint,
    pub(super) parked: BTreeMap<String, u64>,
}

/// Why a turn of the relay came to nothing.
pub(super) enum Stumble {
    Later(String),
    Ends(RelayError),
}

impl From<ReadError> for Stumble {
    fn from(error: ReadError) -> Self {
        if error.is_retryable() { Self::Later(describe(&error)) } else { Self::Ends(RelayError::Read(error)) }
    }
}

impl From<AppendError> for Stumble {
    fn from(error: AppendError) -> Self {
        if error.is_retryable() { Self::Later(describe(&error)) } else { Self::Ends(RelayError::Append(error)) }
    }
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Turn,
    End,
}

impl<S: EventStore, B: Bus> Relay<S, B> {
    /// Runs until the handle is dropped or [stopped](super::RelayHandle::stop), or until it cannot go on; the handle learns
    /// why. Dropped in between, it leaves the outbox at its last checkpoint.
    pub async fn run(mut self) {
        let result = caught(self.work()).await.unwrap_or_else(|message| Err(RelayError::Panicked { message }));
        if matches!(result, Err(RelayError::Fenced)) {
            self.sender.emit(|| Event::Fenced);
        }
        self.sender.emit(|| Event::Stopped);
        self.sender.status.send_modify(|status| status.health = Health::Stopped);
        let _ = self.ended.send(result);
    }

    async fn work(&mut self) -> Result<(), RelayError> {
        let mut failures = 0;
        let mut place = None;
        loop {
            let turn = match &mut place {
                None => self.claim().await.map(|claimed| {
                    self.tell(&claimed);
                    place = Some(claimed);
                    Next::Turn
                }),
                Some(place) => self.turn(place).await,
            };
            let error = match turn {
                Ok(Next::End) => return Ok(()),
                Ok(Next::Turn) => {
                    failures = 0;
                    continue;
                }
                Err(Stumble::Ends(error)) => return Err(error),
                Err(Stumble::Later(error)) => error,
            };
            failures += 1;
            self.sender.stumbled(error);
            if self.pause(failures).await == Next::End {
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

    /// Takes the outbox over: whoever had it cannot move its checkpoint any more.
    async fn claim(&mut self) -> Result<Place, Stumble> {
        let key = bytes::Bytes::copy_from_slice(self.name.as_bytes());
        let row = self.store.row(checkpoint::SPACE.as_str(), &key).await?;
        let (position, owner) = match &row {
            Some(bytes) => {
                let found = Checkpoint::decode(bytes).map_err(ReadError::Corrupt)?;
                (found.position, found.owner)
            }
            None => (Position::ORIGIN, 0),
        };
        // Only whether it is the same is ever asked.
        let saved = Checkpoint { position, owner: owner.wrapping_add(1) };
        let free = Condition::Row { space: checkpoint::SPACE, key, equals: row };
        self.store.append(Append::new().require(free).row(saved.write(&self.name))).await?;
        let parked = self.parked.counts(&self.store).await?;
        Ok(Place { position, saved, parked })
    }

    /// After a commit whose outcome is not known: where the store says that we are.
    async fn look_again(&mut self, place: &mut Place) -> Result<(), Stumble> {
        let row = self.store.row(checkpoint::SPACE.as_str(), self.name.as_bytes()).await?;
        let row = row.ok_or_else(|| ReadError::Corrupt(Corrupt::new("an outbox's checkpoint is gone")))?;
        let found = Checkpoint::decode(&row).map_err(ReadError::Corrupt)?;
        if found.owner != place.saved.owner {
            return Err(Stumble::Ends(RelayError::Fenced));
        }
        place.parked = self.parked.counts(&self.store).await?;
        place.position = found.position;
        place.saved = found;
        Ok(())
    }

    /// One round: serve a request, or send a batch, or wait.
    async fn turn(&mut self, place: &mut Place) -> Result<Next, Stumble> {
        if let Some(request) = self.waiting.pop_front() {
            return self.serve(request, place).await;
        }
        match self.requests.try_recv() {
            Ok(request) => return self.serve(request, place).await,
            Err(mpsc::error::TryRecvError::Disconnected) => return self.save(place).await.map(|()| Next::End),
            Err(mpsc::error::TryRecvError::Empty) => {}
        }
        let parked: u64 = place.parked.values().sum();
        if parked >= self.max_parked {
            self.sender.emit(|| Event::Blocked { parked });
            self.sender.status.send_modify(|status| status.health = Health::Blocked);
            return match self.requests.recv().await {
                Some(request) => self.serve(request, place).await,
                None => Ok(Next::End),
            };
        }
        if self.store.head() > place.position {
            return self.advance(place).await;
        }
        let request = match select(pin!(self.requests.recv()), pin!(self.store.wait_past(place.position))).await {
            Either::Left((request, _)) => request,
            Either::Right(_) => return Ok(Next::Turn),
        };
        match request {
            Some(request) => self.serve(request, place).await,
            None => self.save(place).await.map(|()| Next::End),
        }
    }

    /// Sends the next batch.
    async fn advance(&mut self, place: &mut Place) -> Result<Next, Stumble> {
        let page = self.store.read(place.position, &self.query, self.batch).await?;
        if page.events.is_empty() {
            place.position = page.next;
            if page.next.since(place.saved.position) >= SAVE_AFTER {
                self.save(place).await?;
            }
            self.tell(place);
            return Ok(Next::Turn);
        }
        let mut lanes: BTreeMap<String, Vec<Task>> = BTreeMap::new();
        for event in &page.events {
            if let Some(task) = task(&self.store, &self.name, &self.outbox, &self.map, event).await? {
                lanes.entry(task.lane.clone()).or_default().push(task);
            }
        }
        let (outcomes, unfinished, next) = self.send(lanes, &place.parked).await?;
        // Up to before the first message that is not taken care of; all of it, unless the relay is to end.
        let reached = unfinished.map_or(page.next, |first| Position::new(first.get().saturating_sub(1)));
        self.commit(place, outcomes, reached).await.map(|()| next)
    }

    /// Sends each lane in its order, several lanes at once: what was done, the first position that was not, and whether to
    /// go on. With a bus that is down it does not return before the bus is back, or the relay is to end.
    async fn send(
        &mut self,
        lanes: BTreeMap<String, Vec<Task>>,
        held: &BTreeMap<String, u64>,
    ) -> Result<(Vec<Outcome>, Option<Position>, Next), Stumble> {
        let mut left: BTreeMap<String, Position> =
            lanes.iter().filter_map(|(lane, tasks)| Some((lane.clone(), tasks.first()?.position))).collect();
        let mut outcomes = Vec::new();
        let Self { sender, requests, waiting, .. } = self;
        let sends = futures::stream::iter(lanes).map(|(lane, tasks)| {
            let (is_held, sender) = (held.contains_key(&lane), &*sender);
            async move { (lane, sender.lane(tasks, is_held).await) }
        });
        let mut sends = pin!(sends.buffer_unordered(self.window));
        let next = loop {
            match select(sends.next(), pin!(requests.recv())).await {
                Either::Left((None, _)) => break Next::Turn,
                Either::Left((Some((lane, outcome)), _)) => {
                    outcomes.push(outcome.map_err(|error| Stumble::Ends(RelayError::Bus(error)))?);
                    left.remove(&lane);
                }
                Either::Right((None, _)) => break Next::End,
                Either::Right((Some(request), _)) => match sender.trouble() {
                    None if waiting.len() < REQUESTS => waiting.push_back(request),
                    trouble => {
                        let error = trouble.unwrap_or_else(|| "too many ask at once".into());
                        let _ = request.answer.send(Err(ReplayError::Unavailable { error }));
                    }
                },
            }
        };
        Ok((outcomes, left.into_values().min(), next))
    }

    /// Moves the checkpoint to `reached`, past what was sent and parked, and strikes out what was sent.
    async fn commit(&mut self, place: &mut Place, outcomes: Vec<Outcome>, reached: Position) -> Result<(), Stumble> {
        let saved = Checkpoint { position: reached, ..place.saved };
        let mut append = self.fenced(place).row(saved.write(&self.name));
        let (mut messages, mut parked) = (0, Vec::new());
        for Outcome { sent, parked: failed } in outcomes {
            // What lies behind is met again, so it stays as if nothing had happened to it.
            for task in sent.iter().filter(|task| task.position <= reached) {
                messages += 1;
                append = append.rows(task.row.as_ref().map(|mark| self.outbox.prune(mark)));
            }
            for (task, note) in failed.into_iter().filter(|(task, _)| task.position <= reached) {
                append = append.row(self.parked.put(&task.lane, task.position.get(), note.encode()));
                parked.push((task, note));
            }
        }
        self.append(append).await?;
        (place.position, place.saved) = (reached, saved);
        for (task, note) in parked {
            *place.parked.entry(task.lane.clone()).or_insert(0) += 1;
            self.tell_parked(&task, &note);
        }
        self.tell(place);
        self.sender.emit(|| Event::Relayed { messages, position: reached });
        Ok(())
    }

    /// Moves the checkpoint past what concerns nobody.
    async fn save(&mut self, place: &mut Place) -> Result<(), Stumble> {
        if place.position > place.saved.position {
            let saved = Checkpoint { position: place.position, ..place.saved };
            self.append(self.fenced(place).row(saved.write(&self.name))).await?;
            place.saved = saved;
        }
        Ok(())
    }

    pub(super) async fn append(&self, append: Append) -> Result<(), Stumble> {
        match self.store.append(append).await {
            Ok(_) => Ok(()),
            // The fence is the only condition there is. It may be our own commit that moved it, of which the answer was
            // lost; `look_again` tells.
            Err(AppendError::Conflict(conflict)) => Err(Stumble::Later(conflict.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn fenced(&self, place: &Place) -> Append {
        Append::new().require(place.saved.fence(&self.name))
    }

    /// Waits before trying again.
    async fn pause(&mut self, failures: u32) -> Next {
        let mut sleep = pin!(self.sender.timer.sleep(self.sender.backoff(failures)));
        loop {
            match select(pin!(self.requests.recv()), sleep.as_mut()).await {
                Either::Left((None, _)) => return Next::End,
                Either::Left((Some(request), _)) => {
                    let error = "the store cannot be reached".into();
                    let _ = request.answer.send(Err(ReplayError::Unavailable { error }));
                }
                Either::Right(_) => return Next::Turn,
            }
        }
    }

    pub(super) fn tell(&self, place: &Place) {
        let health = if place.parked.is_empty() { Health::Good } else { Health::Degraded };
        self.sender.status.send_modify(|status| {
            status.position = place.position;
            status.health = health;
            if status.parked != place.parked {
                status.parked = place.parked.clone();
            }
        });
    }

    pub(super) fn tell_parked(&self, task: &Task, note: &Note) {
        if note.attempts > 0 {
            let (position, key) = (task.position, &task.lane);
            tracing::error!(
                outbox = %self.name, key, %position, error = note.error, "a message cannot be sent, its key is parked"
            );
            self.sender.emit(|| Event::Parked { key: key.clone(), position, error: note.error.clone() });
        }
    }
}
