//! One saga from here to its end: observe, decide, append, act.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use resilience_core::rng::Rng;
use resilience_cqrs::{EventStore, Version};
use tokio::sync::{mpsc, oneshot};

use super::Outcome;
use super::event::Event as Fact;
use super::log::{Failed, Head, load};
use super::outcome::Ended;
use super::shared::{Shared, fold};
use crate::cx::CancelToken;
use crate::graph::Erased;
use crate::kernel::{Attempt, Event, Observation, Payload, Phase, State, Tick, apply, decide, observe};
use crate::{Error, SagaId};

/// Tells whoever asked.
pub(crate) type Reply = oneshot::Sender<Result<(), Error>>;

/// Somebody wants this saga to be the one with this input.
pub(crate) struct Join {
    pub(crate) input: Payload,
    pub(crate) reply: Reply,
}

/// What people ask of a saga.
pub(crate) enum Control {
    Join(Join),
    /// To be observed; answered once it is durable, or refused.
    Act(Observation, Reply),
}

/// How a run begins.
pub(crate) enum Begin {
    /// With a saga to be created, of this definition; if it exists it is loaded instead.
    New(Arc<Erased>, Join),
    /// With a saga that exists, and perhaps with a request for it.
    Load(Option<Control>),
}

/// Bytes of results taken into one record before the rest waits for the next; a record must fit the store.
const RECORD_BYTES: usize = 4 << 20;

pub(crate) struct Run<S> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) id: SagaId,
    pub(super) definition: Arc<Erased>,
    pub(super) state: State,
    pub(super) version: Version,
    /// The row as it is in the store (`None`: unknown), which is there only while the saga is not over.
    pub(super) head: Option<Option<Head>>,
    pub(super) actions: FuturesUnordered<BoxFuture<'static, Observation>>,
    pub(super) probing: HashSet<usize>,
    /// What happened and was not taken in yet, with who waits for that to be durable.
    pub(super) seen: VecDeque<(Observation, Option<Reply>)>,
    /// Events not yet appended, and who waits for them.
    pub(super) unsaid: Vec<Event>,
    pub(super) replies: Vec<Reply>,
    pub(super) cancel: CancelToken,
    pub(super) wake_at: Option<Tick>,
    pub(super) began: Tick,
    rng: Rng,
    inbox: mpsc::Receiver<Control>,
}

/// Runs a saga until it is over, stuck, lost or the engine stops.
pub(crate) async fn run<S: EventStore>(
    shared: Arc<Shared<S>>,
    id: SagaId,
    begin: Begin,
    inbox: mpsc::Receiver<Control>,
) -> Ended {
    let mut run = match begin {
        Begin::New(definition, join) => {
            let run = Run::create(shared, id, definition, inbox, &join.input).await?;
            run.join(join);
            run
        }
        Begin::Load(request) => {
            let mut run = Run::load(shared, id, inbox).await?;
            if let Some(request) = request {
                run.hear(request);
            }
            run
        }
    };
    run.drive().await
}

impl<S: EventStore> Run<S> {
    fn new(shared: Arc<Shared<S>>, id: SagaId, definition: Arc<Erased>, inbox: mpsc::Receiver<Control>) -> Self {
        let rng = shared.rng.fork();
        Self {
            id,
            state: State::new(definition.plan.clone()),
            definition,
            version: Version::EMPTY,
            head: Some(None),
            actions: FuturesUnordered::new(),
            probing: HashSet::new(),
            seen: VecDeque::new(),
            unsaid: Vec::new(),
            replies: Vec::new(),
            cancel: CancelToken::new(),
            wake_at: None,
            began: shared.clock.now(),
            rng,
            inbox,
            shared,
        }
    }

    /// A new saga, whose creation is durable; or the one there is, if there is one.
    async fn create(
        shared: Arc<Shared<S>>,
        id: SagaId,
        definition: Arc<Erased>,
        inbox: mpsc::Receiver<Control>,
        input: &Payload,
    ) -> Result<Self, Error> {
        let plan = &definition.plan;
        let created = Event::Created {
            definition: plan.name().to_string(),
            version: plan.version(),
            graph: plan.hash(),
            epoch: shared.log.epoch,
            at: shared.clock.now(),
            input: input.clone(),
        };
        let mut run = Self::new(shared, id, definition, inbox);
        run.tell(created)?;
        run.decide(run.began)?;
        match run.commit().await {
            Ok(()) => {
                run.shared.emit(|| Fact::Started { saga: run.id.clone() });
                Ok(run)
            }
            Err(Failed::Exists) => Self::load(run.shared, run.id, run.inbox).await,
            Err(Failed::Error(error)) => Err(error),
        }
    }

    /// The saga as its log says it stands, taken over if an earlier owner left it unfinished.
    async fn load(shared: Arc<Shared<S>>, id: SagaId, inbox: mpsc::Receiver<Control>) -> Result<Self, Error> {
        let (events, version) = load(&shared.log.store, &id).await?;
        let definition = shared.definition_of(&id, &events)?;
        let mut run = Self::new(shared, id, definition, inbox);
        run.state = fold(&run.id, run.definition.plan.clone(), &events, version)?;
        run.version = version;
        if !run.state.phase().is_final() {
            // What row there is does not matter: the next record writes it.
            run.head = None;
            if run.state.epoch() < run.shared.log.epoch {
                let (epoch, at) = (run.shared.log.epoch, run.shared.clock.now());
                run.tell(Event::Adopted { epoch, at })?;
                run.shared.emit(|| Fact::Adopted { saga: run.id.clone() });
            }
        }
        Ok(run)
    }

    async fn drive(&mut self) -> Ended {
        let ended = self.drive_to_end().await;
        // Whoever joined too late for the loop is answered as if it had come in time.
        while let Ok(control) = self.inbox.try_recv() {
            if let Control::Join(join) = control {
                self.join(join);
            }
        }
        ended
    }

    async fn drive_to_end(&mut self) -> Ended {
        loop {
            let now = self.shared.clock.now();
            self.take_in(now)?;
            self.decide(now)?;
            if !self.unsaid.is_empty() || !self.replies.is_empty() {
                self.commit().await.map_err(|failed| match failed {
                    Failed::Exists => Error::Fenced,
                    Failed::Error(error) => error,
                })?;
                continue;
            }
            if let Some(outcome) = self.outcome() {
                match self.inbox.try_recv() {
                    Ok(request) => self.hear(request),
                    Err(_) => return Ok(outcome),
                }
                continue;
            }
            if self.actions.is_empty() && self.shared.is_draining() {
                return Err(Error::Stopped);
            }
            self.wait().await?;
        }
    }

    /// How it ended, if it did.
    fn outcome(&self) -> Option<Outcome<Payload>> {
        let report = || self.state.report();
        match self.state.phase() {
            Phase::Completed => self.state.output().cloned().map(Outcome::Completed),
            Phase::Compensated => self.state.cause().cloned().map(Outcome::Compensated),
            Phase::Abandoned => Some(Outcome::Abandoned(report())),
            _ if self.seen.is_empty() && self.actions.is_empty() && self.state.is_stalled() => {
                Some(Outcome::Stuck(report()))
            }
            _ => None,
        }
    }

    /// Waits until something happens.
    async fn wait(&mut self) -> Result<(), Error> {
        if self.actions.is_empty() && self.wake_at.is_none() && self.seen.is_empty() {
            // Neither over nor stuck, and nothing to wait for: no log leads here, and if one did, hanging would hide it.
            let why = "there is nothing left to do, and the saga is not over".to_owned();
            return Err(Error::Corrupt { id: self.id.clone(), record: self.version.get(), why });
        }
        let sleep = self.wake_at.map(|at| self.shared.clock.sleep_until(at));
        let alarm = async {
            match sleep {
                Some(sleep) => sleep.await,
                None => std::future::pending().await,
            }
        };
        let request = tokio::select! {
            biased;
            Some(seen) = self.actions.next(), if !self.actions.is_empty() => {
                self.seen.push_back((seen, None));
                None
            }
            Some(request) = self.inbox.recv() => Some(request),
            () = alarm => None,
            () = self.shared.draining(), if !self.shared.is_draining() => None,
        };
        if let Some(request) = request {
            self.hear(request);
        }
        Ok(())
    }

    fn hear(&mut self, request: Control) {
        match request {
            Control::Join(join) => self.join(join),
            Control::Act(seen, reply) => self.seen.push_back((seen, Some(reply))),
        }
    }

    fn join(&self, join: Join) {
        let same = self.state.input().is_some_and(|input| input.same_as(&join.input));
        let reply = if same { Ok(()) } else { Err(Error::KeyConflict { id: self.id.clone() }) };
        // Whoever asked may have stopped waiting.
        let _ = join.reply.send(reply);
    }

    /// Applies an event and notes that it is to be appended.
    fn tell(&mut self, event: Event) -> Result<(), Error> {
        apply(&mut self.state, &event).map_err(|corrupt| Error::Corrupt {
            id: self.id.clone(),
            record: self.version.get(),
            why: corrupt.to_string(),
        })?;
        self.unsaid.push(event);
        Ok(())
    }

    /// Turns what was seen into events.
    fn take_in(&mut self, now: Tick) -> Result<(), Error> {
        let mut bytes = 0;
        while bytes < RECORD_BYTES
            && let Some((seen, reply)) = self.seen.pop_front()
        {
            match &seen {
                Observation::Probed { step, .. } => {
                    self.probing.remove(step);
                }
                Observation::Ended { result: Attempt::Applied(output), .. } => bytes += output.as_str().len(),
                _ => {}
            }
            match observe(&self.state, seen, now, &mut self.rng) {
                Ok(events) => {
                    for event in events {
                        self.tell(event)?;
                    }
                    self.replies.extend(reply);
                }
                Err(refused) => {
                    if let Some(reply) = reply {
                        let _ = reply.send(Err(refused.into()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Decides, until nothing is left to decide.
    fn decide(&mut self, now: Tick) -> Result<(), Error> {
        if self.shared.is_draining() {
            return Ok(());
        }
        loop {
            let commands = decide(&self.state, now);
            self.wake_at = commands.wake_at;
            if commands.cancel {
                self.cancel.fire();
            }
            for step in commands.probe {
                self.probe(step);
            }
            if commands.append.is_empty() {
                return Ok(());
            }
            for event in commands.append {
                self.tell(event)?;
            }
        }
    }
}
