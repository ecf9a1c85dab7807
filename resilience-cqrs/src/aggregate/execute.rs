//! One command: load, decide, append; and again if somebody was faster.

use std::fmt;

use resilience_core::context::Context;
use serde::Serialize;

use super::repository::{Loaded, Repository};
use super::{CodecError, Decider, EventCodec, ExecuteError, Executed, OnConflict};
use crate::log::{
    Append, AppendError, Appended, BoxError, CommandId, Conflict, Expected, Metadata, NewEvent, StreamId, Version,
    Violation, digest_of,
};
use crate::store::EventStore;

/// A command to come: to be given metadata, then [executed](Self::execute).
#[must_use = "a request does nothing until it is executed"]
pub struct Request<'r, D, S, C> {
    pub(super) repository: &'r Repository<D, S, C>,
    pub(super) stream: StreamId,
    metadata: Option<Metadata>,
}

/// What a command is recognised by on a second attempt.
#[derive(Clone)]
pub(super) struct Once {
    pub(super) id: CommandId,
    pub(super) content: Vec<u8>,
}

impl<'r, D: Decider, S: EventStore, C: EventCodec<D::Event>> Request<'r, D, S, C> {
    pub(super) fn new(repository: &'r Repository<D, S, C>, stream: StreamId) -> Self {
        Self { repository, stream, metadata: None }
    }

    /// Sets who and what causes the events. Default: correlation and causation of the call in progress.
    ///
    /// ```
    /// # use resilience_cqrs::aggregate::Decider;
    /// # #[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
    /// # enum Event { Added { n: i64 } }
    /// # #[derive(Clone, Debug, Default)]
    /// # struct Counter(i64);
    /// # impl Decider for Counter {
    /// #     const STREAM: &'static str = "counter";
    /// #     type Command = i64;
    /// #     type Event = Event;
    /// #     type Error = &'static str;
    /// #     fn evolve(&mut self, Event::Added { n }: &Event) { self.0 += n; }
    /// #     fn decide(&self, n: &i64) -> Result<Vec<Event>, &'static str> {
    /// #         if self.0 + n < 0 { Err("below zero") } else { Ok(vec![Event::Added { n: *n }; usize::from(*n != 0)]) }
    /// #     }
    /// # }
    /// use resilience_cqrs::aggregate::Repository;
    /// use resilience_cqrs::{EventStore, MemoryStore, Metadata, Version};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let counters: Repository<Counter, _> = Repository::new(MemoryStore::new());
    /// counters.request("1").metadata(Metadata::new().with_actor("ann")).execute(&5).await?;
    /// let events = counters.store().read_stream(&"counter-1".into(), Version::EMPTY, 1).await?;
    /// assert_eq!(events[0].metadata.actor(), Some("ann"));
    /// # Ok(()) }
    /// ```
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Executes the command.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn execute(self, command: &D::Command) -> Result<Executed<D>, ExecuteError<D::Error>> {
        self.run(command, None).await
    }

    /// Executes the command at most once under this id: a second attempt, by anybody and after any crash, is answered
    /// with the first one's result.
    ///
    /// The serialized command is what it is recognised by: another one under the same id is refused as
    /// [misuse](AppendError::IdMisuse).
    ///
    /// # Errors
    /// See [`ExecuteError`]. A refusal by the aggregate is not recorded: the same command may succeed later.
    pub async fn execute_once(
        self,
        id: impl Into<CommandId>,
        command: &D::Command,
    ) -> Result<Executed<D>, ExecuteError<D::Error>>
    where
        D::Command: Serialize,
    {
        let content = serde_json::to_vec(&(self.stream.as_str(), command))
            .map_err(|error| CodecError::Encode(BoxError::from(error)))?;
        self.dispatch(command, Some(&Once { id: id.into(), content })).await
    }

    pub(super) async fn dispatch(
        self,
        command: &D::Command,
        once: Option<&Once>,
    ) -> Result<Executed<D>, ExecuteError<D::Error>> {
        match once {
            Some(known) => match self.done_before(known).await? {
                Some(done) => Ok(done),
                None => match self.run(command, once).await {
                    // Not written, so the store had no say. A first attempt may have been in the middle of it: decided on
                    // its effect, the command is refused, or there is nothing left to do.
                    Err(ExecuteError::Refused(error)) => {
                        self.done_before(known).await?.ok_or(ExecuteError::Refused(error))
                    }
                    Ok(idle) if idle.appended.is_none() => Ok(self.done_before(known).await?.unwrap_or(idle)),
                    result => result,
                },
            },
            None => self.run(command, None).await,
        }
    }

    async fn run(&self, command: &D::Command, once: Option<&Once>) -> Result<Executed<D>, ExecuteError<D::Error>> {
        let shared = &self.repository.shared;
        let kept = self.repository.kept(&self.stream);
        if kept.is_none()
            && let Some(created) = self.as_new(command, once).await?
        {
            return Ok(created);
        }
        let (mut loaded, mut decided) = self.decide(kept, command).await?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            if decided.is_empty() {
                self.repository.keep(&self.stream, loaded.version, &loaded);
                let Loaded { state, version, .. } = loaded;
                return Ok(Executed { state, version, events: decided, appended: None, attempts });
            }
            let append = self.append(&decided, loaded.version, once)?;
            let conflict = match shared.store.append(append).await {
                Ok(appended) => return self.executed(loaded, decided, appended, attempts).await,
                Err(AppendError::Conflict(conflict)) => conflict,
                Err(error) => return Err(ExecuteError::Append(error)),
            };
            if attempts >= shared.pace.attempts {
                return Err(ExecuteError::Conflict { conflict, attempts });
            }
            match self.resolve(&mut loaded, &decided, &conflict).await? {
                OnConflict::Commute => {}
                OnConflict::Rebase => decided = loaded.state.decide(command).map_err(ExecuteError::Refused)?,
                OnConflict::Reject => return Err(ExecuteError::Conflict { conflict, attempts }),
            }
            shared.pace.wait(attempts).await;
        }
    }

    /// The state to append to, and what the command leads to in it.
    ///
    /// A kept state may be old. That does not matter to an append, which the store checks; a refusal, or having nothing
    /// to do, is an answer, and is only given on a state that was the latest after the command came.
    async fn decide(
        &self,
        kept: Option<Loaded<D>>,
        command: &D::Command,
    ) -> Result<(Loaded<D>, Vec<D::Event>), ExecuteError<D::Error>> {
        let loaded = match kept {
            None => {
                let loaded = self.repository.load_stream(&self.stream).await?;
                self.repository.shared.unseen.turned_out(loaded.version == Version::EMPTY);
                loaded
            }
            Some(mut kept) => match kept.state.decide(command) {
                Ok(decided) if !decided.is_empty() => return Ok((kept, decided)),
                answer => {
                    let known = kept.version;
                    self.repository.refresh(&self.stream, &mut kept).await?;
                    if kept.version == known {
                        return answer.map(|decided| (kept, decided)).map_err(ExecuteError::Refused);
                    }
                    kept
                }
            },
        };
        let decided = loaded.state.decide(command).map_err(ExecuteError::Refused)?;
        Ok((loaded, decided))
    }

    /// Brings the state up to date, from the conflict itself if it lists all that was missed, and asks what to do.
    async fn resolve(
        &self,
        loaded: &mut Loaded<D>,
        decided: &[D::Event],
        conflict: &Conflict,
    ) -> Result<OnConflict, ExecuteError<D::Error>> {
        let missed = match conflict.of_stream(self.stream.as_str()) {
            Some(Violation::Stream { missed, actual, .. }) if !missed.more && *actual > loaded.version => {
                let mut events = Vec::with_capacity(missed.events.len());
                for recorded in &missed.events {
                    self.repository.shared.codec.decode_each(recorded, &mut |event| events.push(event))?;
                }
                loaded.version = *actual;
                events
            }
            // The stream is shorter than what this program has seen of it: the log was put back to an older state.
            Some(Violation::Stream { actual, .. }) if *actual < loaded.version => {
                self.repository.forget(&self.stream);
                *loaded = self.repository.load_stream(&self.stream).await?;
                return Ok(OnConflict::Rebase);
            }
            _ => {
                let mut missed = Vec::new();
                self.repository.read_on(&self.stream, &mut loaded.version, |event| missed.push(event)).await?;
                missed
            }
        };
        // Asked of the aggregate as it was when it decided.
        let resolution = loaded.state.on_conflict(decided, &missed);
        missed.iter().for_each(|event| loaded.state.evolve(event));
        Ok(resolution)
    }

    /// What the caller is told, and what is kept, after the store has taken the events.
    pub(super) async fn executed(
        &self,
        mut loaded: Loaded<D>,
        decided: Vec<D::Event>,
        appended: Appended,
        attempts: u32,
    ) -> Result<Executed<D>, ExecuteError<D::Error>> {
        if appended.already_committed {
            return self.current(appended, attempts).await;
        }
        decided.iter().for_each(|event| loaded.state.evolve(event));
        let before = loaded.version;
        loaded.version = before.plus(decided.len() as u64);
        self.repository.keep(&self.stream, before, &loaded);
        let Loaded { state, version, .. } = loaded;
        Ok(Executed { state, version, events: decided, appended: Some(appended), attempts })
    }

    pub(super) fn append(
        &self,
        decided: &[D::Event],
        version: Version,
        once: Option<&Once>,
    ) -> Result<Append, ExecuteError<D::Error>> {
        let shared = &self.repository.shared;
        decided.iter().try_for_each(D::validate).map_err(ExecuteError::Invalid)?;
        let metadata = match &self.metadata {
            Some(metadata) => metadata.clone(),
            None => Metadata::from_context(&Context::capture(&shared.pace.timer)),
        };
        let events = decided.iter().map(|event| {
            let encoded = shared.codec.encode(event)?;
            Ok(encoded.tags(D::tags(event)).metadata(metadata.clone()))
        });
        let events = events.collect::<Result<Vec<NewEvent>, CodecError>>()?;
        let append = Append::new().events(&self.stream, Expected::Exact(version), events);
        Ok(match once {
            Some(once) => append.command_id(&once.id).fingerprint(&once.content),
            None => append,
        })
    }

    /// The first result of the same command, before anything is decided a second time: decided on its own effect, it
    /// would be refused.
    async fn done_before(&self, once: &Once) -> Result<Option<Executed<D>>, ExecuteError<D::Error>> {
        let committed = self.repository.shared.store.committed(&once.id).await.map_err(ExecuteError::Read)?;
        let Some(committed) = committed else { return Ok(None) };
        if committed.fingerprint != digest_of(&once.content) {
            return Err(ExecuteError::Append(AppendError::IdMisuse { id: once.id.clone() }));
        }
        self.current(committed.appended, 1).await.map(Some)
    }

    async fn current(&self, appended: Appended, attempts: u32) -> Result<Executed<D>, ExecuteError<D::Error>> {
        let Loaded { state, version, .. } = self.repository.load_stream(&self.stream).await?;
        Ok(Executed { state, version, events: Vec::new(), appended: Some(appended), attempts })
    }
}

impl<D, S, C> fmt::Debug for Request<'_, D, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("stream", &self.stream)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}
