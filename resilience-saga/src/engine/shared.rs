//! What all runs of an engine share, and which runs there are.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use resilience_core::Name;
use resilience_core::event::Listeners;
use resilience_core::rng::SharedRng;
use resilience_cqrs::{EventStore, Version};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::action::Surroundings;
use super::clock::Clock;
use super::event::Event as Fact;
use super::log::Log;
use super::outcome::Ended;
use super::recovery::Recovery;
use super::run::{Begin, Control, Join, run};
use crate::cx::Services;
use crate::graph::Erased;
use crate::kernel::{Event, Observation, Payload, Plan, State, apply};
use crate::{Error, SagaId};

/// Requests a run takes before whoever makes more has to wait.
const INBOX: usize = 16;
/// How often a request is brought to a run that ends at the same moment.
const TRIES: usize = 16;

pub(crate) struct Shared<S> {
    pub(super) name: Name,
    pub(super) log: Log<S>,
    pub(super) definitions: HashMap<(Name, u32), Arc<Erased>>,
    pub(super) services: Arc<Services>,
    pub(super) clock: Clock,
    pub(super) rng: SharedRng,
    pub(super) surroundings: Surroundings,
    pub(super) listeners: Listeners,
    /// A permit for each saga in memory.
    pub(super) room: Arc<Semaphore>,
    pub(super) runs: Runs,
}

/// Which runs there are, and whether there may be more.
pub(crate) struct Runs {
    live: Mutex<HashMap<SagaId, Live>>,
    mode: watch::Sender<Mode>,
    /// Told when the last run has ended.
    idle: Notify,
    pub(super) recovery: watch::Sender<Option<Result<Recovery, Error>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Running,
    Draining,
    Halted,
}

/// A run, seen from outside.
#[derive(Clone)]
struct Live {
    inbox: mpsc::Sender<Control>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Runs {
    pub(super) fn new() -> Self {
        Self {
            live: Mutex::default(),
            mode: watch::Sender::new(Mode::Running),
            idle: Notify::new(),
            recovery: watch::Sender::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SagaId, Live>> {
        // Nothing panics under this lock; a poisoned map would still be a map.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Shared<S> {
    pub(super) fn emit(&self, fact: impl FnOnce() -> Fact) {
        self.listeners.emit(&self.name, || self.clock.timer().now(), fact);
    }

    pub(super) fn live(&self) -> usize {
        self.runs.lock().len()
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.runs.mode.borrow() != Mode::Running
    }

    /// Completes when the engine begins to stop.
    pub(super) async fn draining(&self) {
        let _ = self.runs.mode.subscribe().wait_for(|mode| *mode != Mode::Running).await;
    }

    async fn halted(&self) {
        let _ = self.runs.mode.subscribe().wait_for(|mode| *mode == Mode::Halted).await;
    }

    pub(super) fn drain(&self) {
        self.enter(Mode::Draining);
    }

    pub(super) fn halt(&self) {
        self.enter(Mode::Halted);
    }

    fn enter(&self, next: Mode) {
        self.runs.mode.send_if_modified(|mode| {
            let later = next > *mode;
            *mode = next.max(*mode);
            later
        });
    }

    /// Completes when no saga is in memory.
    pub(super) async fn empty(&self) {
        loop {
            let mut idle = std::pin::pin!(self.runs.idle.notified());
            // Registered before the map is looked at, so that an end between the two is not missed.
            idle.as_mut().enable();
            if self.runs.lock().is_empty() {
                return;
            }
            idle.await;
        }
    }

    pub(super) async fn recovered(&self) -> Result<Recovery, Error> {
        let mut recovery = self.runs.recovery.subscribe();
        match recovery.wait_for(Option::is_some).await {
            Ok(recovery) => recovery.clone().unwrap_or(Err(Error::Stopped)),
            Err(_) => Err(Error::Stopped),
        }
    }

    pub(super) fn registered(&self, name: &Name, version: u32) -> Result<Arc<Erased>, Error> {
        let found = self.definitions.get(&(name.clone(), version));
        found.cloned().ok_or_else(|| Error::NotRegistered { definition: name.clone(), version })
    }

    /// The definition a saga was made by.
    pub(super) fn definition_of(&self, id: &SagaId, events: &[Event]) -> Result<Arc<Erased>, Error> {
        match events.first() {
            Some(Event::Created { definition, version, graph, .. }) => {
                let incompatible = |why: String| Error::Incompatible { id: id.clone(), why };
                let name = Name::from(definition.clone());
                let found = self
                    .registered(&name, *version)
                    .map_err(|_| incompatible(format!("{definition} version {version} is not registered")))?;
                if found.plan.hash() != *graph {
                    return Err(incompatible(format!(
                        "the graph of {definition} version {version} has changed without a new version"
                    )));
                }
                Ok(found)
            }
            Some(event) => {
                Err(Error::Corrupt { id: id.clone(), record: 1, why: format!("it begins with {}", event.name()) })
            }
            None => Err(Error::NotFound { id: id.clone() }),
        }
    }
}

impl<S: EventStore> Shared<S> {
    /// Starts a saga, or finds the one there is.
    pub(super) async fn start(
        self: Arc<Self>,
        id: &SagaId,
        definition: &Arc<Erased>,
        input: &Payload,
    ) -> Result<watch::Receiver<Option<Ended>>, Error> {
        for _ in 0..TRIES {
            let (reply, replied) = oneshot::channel();
            let join = Join { input: input.clone(), reply };
            let live = self.find(id);
            let ended = match live {
                Some(live) => {
                    if live.inbox.send(Control::Join(join)).await.is_err() {
                        continue;
                    }
                    live.ended
                }
                None => {
                    let room = self.make_room().await?;
                    match self.begin(id, Begin::New(definition.clone(), join), room) {
                        Some(live) => live.ended,
                        // Somebody else began it while this one waited for room.
                        None => continue,
                    }
                }
            };
            match replied.await {
                Ok(Ok(())) => return Ok(ended),
                Ok(Err(error)) => return Err(error),
                Err(_) => after_silence(ended).await?,
            }
        }
        Err(Error::Stopped)
    }

    /// Brings an observation to a saga, which is loaded if it is not in memory. Done when it is durable.
    pub(super) async fn act(self: Arc<Self>, id: &SagaId, seen: Observation) -> Result<(), Error> {
        for _ in 0..TRIES {
            let (reply, replied) = oneshot::channel();
            let request = Control::Act(seen.clone(), reply);
            let live = match self.find(id) {
                Some(live) => {
                    if live.inbox.send(request).await.is_err() {
                        continue;
                    }
                    live
                }
                None => {
                    let room = self.make_room().await?;
                    match self.begin(id, Begin::Load(Some(request)), room) {
                        Some(live) => live,
                        None => continue,
                    }
                }
            };
            match replied.await {
                Ok(result) => return result,
                Err(_) => after_silence(live.ended).await?,
            }
        }
        Err(Error::Stopped)
    }

    /// Loads a saga and lets it run. Nothing happens if it is in memory already.
    pub(super) async fn adopt(self: &Arc<Self>, id: &SagaId) -> Result<(), Error> {
        let room = self.make_room().await?;
        self.begin(id, Begin::Load(None), room);
        Ok(())
    }

    fn find(&self, id: &SagaId) -> Option<Live> {
        self.runs.lock().get(id).cloned()
    }

    async fn make_room(&self) -> Result<OwnedSemaphorePermit, Error> {
        if self.is_draining() {
            return Err(Error::Stopped);
        }
        tokio::select! {
            biased;
            room = self.room.clone().acquire_owned() => room.map_err(|_| Error::Stopped),
            () = self.draining() => Err(Error::Stopped),
        }
    }

    /// Begins a run, unless there is one.
    fn begin(self: &Arc<Self>, id: &SagaId, begin: Begin, room: OwnedSemaphorePermit) -> Option<Live> {
        let (inbox, requests) = mpsc::channel(INBOX);
        let (told, ended) = watch::channel(None);
        let live = Live { inbox, ended };
        {
            let mut runs = self.runs.lock();
            match runs.entry(id.clone()) {
                Entry::Occupied(_) => return None,
                Entry::Vacant(entry) => entry.insert(live.clone()),
            };
        }
        let (shared, id) = (self.clone(), id.clone());
        let mut end = End { shared: shared.clone(), id: id.clone(), told, ended: None };
        tokio::spawn(async move {
            let ended = tokio::select! {
                biased;
                () = shared.halted() => Err(Error::Stopped),
                ended = run(shared.clone(), id, begin, requests) => ended,
            };
            end.ended = Some(ended);
            drop(end);
            drop(room);
        });
        Some(live)
    }

    /// Tells the listeners of what makes a saga, or all of them, unreachable for this engine.
    fn lost(&self, id: &SagaId, error: &Error) {
        match error {
            Error::Fenced => {
                self.emit(|| Fact::Fenced);
                // Not one saga is lost but all.
                self.halt();
            }
            Error::Stopped | Error::NotFound { .. } => {}
            _ => self.emit(|| Fact::Parked { saga: id.clone(), why: error.to_string() }),
        }
    }
}

/// What to make of a run that ended without an answer: it failed, and tells everybody; or it was over before the request
/// reached it, and the request is to be made again.
async fn after_silence(mut ended: watch::Receiver<Option<Ended>>) -> Result<(), Error> {
    match ended.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(Err(error))) => Err(error.clone()),
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Stopped),
    }
}

/// Takes a run out of the map and tells how it ended, also if it is dropped with its runtime.
struct End<S: EventStore> {
    shared: Arc<Shared<S>>,
    id: SagaId,
    told: watch::Sender<Option<Ended>>,
    ended: Option<Ended>,
}

impl<S: EventStore> Drop for End<S> {
    fn drop(&mut self) {
        let ended = self.ended.take().unwrap_or(Err(Error::Stopped));
        if let Err(error) = &ended {
            self.shared.lost(&self.id, error);
        }
        let last = {
            let mut runs = self.shared.runs.lock();
            runs.remove(&self.id);
            runs.is_empty()
        };
        if last {
            self.shared.runs.idle.notify_waiters();
        }
        // After the run has left the map: whoever asks again from here on finds the saga in the store.
        self.told.send_replace(Some(ended));
    }
}

/// A saga as its log says it stands.
pub(super) fn fold(id: &SagaId, plan: Arc<Plan>, events: &[Event], version: Version) -> Result<State, Error> {
    let mut state = State::new(plan);
    for event in events {
        apply(&mut state, event).map_err(|corrupt| Error::Corrupt {
            id: id.clone(),
            record: version.get(),
            why: corrupt.to_string(),
        })?;
    }
    Ok(state)
}
