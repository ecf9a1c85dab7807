//! One decision: read, decide, append; and again if what it was made on has changed.

use std::fmt;

use resilience_core::context::Context;
use serde::Serialize;

use super::{Decisions, Model};
use crate::aggregate::{CodecError, EventCodec, ExecuteError};
use crate::forgetting::Epoch;
use crate::log::limits::PAGE_EVENTS;
use crate::log::{
    Append, AppendError, Appended, BoxError, CommandId, Condition, Conflict, Expected, Marker, Metadata, NewEvent,
    Query, StreamId, Violation, digest_of,
};
use crate::states::States;
use crate::store::EventStore;

/// A decision to come: to be given metadata or a command id, then [made](Self::decide).
#[must_use = "a decision does nothing until it is made"]
pub struct Decision<'d, M, S, C> {
    decisions: &'d Decisions<M, S, C>,
    query: Query,
    metadata: Option<Metadata>,
    once: Option<(CommandId, Vec<u8>)>,
}

/// A model, and up to where it has seen what it is made of.
#[derive(Clone, Debug)]
pub(super) struct Seen<M> {
    pub(super) model: M,
    pub(super) marker: Marker,
    /// When the first of it was read.
    pub(super) epoch: Epoch,
}

/// A decision that was made.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/decision/doc/seats.rs"));
/// use resilience_cqrs::decision::Decisions;
/// use resilience_cqrs::{MemoryStore, Query};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let seats: Decisions<Seats, _> = Decisions::new(MemoryStore::new());
/// let course = Query::tags(["course:c1"]);
/// let taken = || vec![Seat::Taken { by: "ann".into() }];
/// let done = seats.decide(course.clone(), |_| Ok::<_, &str>(taken())).await?;
/// assert_eq!((done.model.0, done.events.len(), done.attempts), (1, 1, 1));
/// // Nothing to do is a decision, too, and appends nothing.
/// let idle = seats.decide(course, |seen| Ok::<_, &str>(if seen.0 > 0 { vec![] } else { taken() })).await?;
/// assert!(idle.appended.is_none());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Decided<M: Model> {
    /// The model afterwards. It has taken in the new events, also those its query does not match.
    pub model: M,
    /// What happened; empty if there was nothing to do, or if it had been done before.
    pub events: Vec<M::Event>,
    /// What the store answered; `None` if there was nothing to append.
    pub appended: Option<Appended>,
    /// How many attempts it took, 1 without a conflict.
    pub attempts: u32,
}

impl<'d, M: Model, S: EventStore, C: EventCodec<M::Event>> Decision<'d, M, S, C> {
    pub(super) fn new(decisions: &'d Decisions<M, S, C>, query: Query) -> Self {
        Self { decisions, query, metadata: None, once: None }
    }

    /// Sets who and what causes the events. Default: correlation and causation of the call in progress.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Makes the decision at most once under this id: a second attempt, by anybody and after any crash, is answered with
    /// the first one's result. The serialized `command` is what it is recognised by: another one under the same id is
    /// refused as [misuse](AppendError::IdMisuse).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/decision/doc/seats.rs"));
    /// use resilience_cqrs::decision::Decisions;
    /// use resilience_cqrs::{MemoryStore, Query};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let seats: Decisions<Seats, _> = Decisions::new(MemoryStore::new());
    /// // One seat. The answer to the first attempt is lost, so the client asks again.
    /// let take = async || {
    ///     let decision = seats.on(Query::tags(["course:c1"])).once("request-1", &"ann")?;
    ///     let taken = || vec![Seat::Taken { by: "ann".into() }];
    ///     decision.decide(|seen| if seen.0 < 1 { Ok(taken()) } else { Err("full") }).await
    /// };
    /// assert_eq!(take().await?.model.0, 1);
    /// let again = take().await?; // not "full": it is hers
    /// assert!(again.events.is_empty() && again.appended.is_some_and(|appended| appended.already_committed));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the command cannot be serialized.
    pub fn once(mut self, id: impl Into<CommandId>, command: &impl Serialize) -> Result<Self, CodecError> {
        let content = serde_json::to_vec(command).map_err(|error| CodecError::Encode(BoxError::from(error)))?;
        self.once = Some((id.into(), content));
        Ok(self)
    }

    /// Makes the decision. `rule` may be asked several times, with a newer model each time.
    ///
    /// # Errors
    /// See [`ExecuteError`].
    pub async fn decide<E>(
        self,
        rule: impl FnMut(&M) -> Result<Vec<M::Event>, E>,
    ) -> Result<Decided<M>, ExecuteError<E>> {
        if let Some(done) = self.done_before().await? {
            return Ok(done);
        }
        match self.run(rule).await {
            // Not written, so the store had no say; see the aggregates' `dispatch`.
            Err(ExecuteError::Refused(error)) => self.done_before().await?.ok_or(ExecuteError::Refused(error)),
            Ok(idle) if idle.appended.is_none() => Ok(self.done_before().await?.unwrap_or(idle)),
            result => result,
        }
    }

    async fn run<E>(
        &self,
        mut rule: impl FnMut(&M) -> Result<Vec<M::Event>, E>,
    ) -> Result<Decided<M>, ExecuteError<E>> {
        let shared = &self.decisions.shared;
        let (mut seen, mut decided) = self.first(&mut rule).await?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            if decided.is_empty() {
                return Ok(Decided { model: seen.model, events: decided, appended: None, attempts });
            }
            let conflict = match shared.store.append(self.append(&decided, seen.marker)?).await {
                Ok(appended) if appended.already_committed => return self.current(appended, attempts).await,
                Ok(appended) => {
                    self.keep_with(&seen, &decided, &appended);
                    decided.iter().for_each(|event| seen.model.evolve(event));
                    return Ok(Decided { model: seen.model, events: decided, appended: Some(appended), attempts });
                }
                Err(AppendError::Conflict(conflict)) => conflict,
                Err(error) => return Err(ExecuteError::Append(error)),
            };
            if attempts >= shared.pace.attempts {
                return Err(ExecuteError::Conflict { conflict, attempts });
            }
            self.take_in(&mut seen, &conflict).await?;
            decided = rule(&seen.model).map_err(ExecuteError::Refused)?;
            shared.pace.wait(attempts).await;
        }
    }

    /// The model to append on, and what the rule says of it. A kept model may be old: an append on it is checked by the
    /// store, but no refusal is given on it.
    async fn first<E>(
        &self,
        rule: &mut impl FnMut(&M) -> Result<Vec<M::Event>, E>,
    ) -> Result<(Seen<M>, Vec<M::Event>), ExecuteError<E>> {
        let mut seen = match self.kept() {
            None => self.nothing(),
            Some(kept) => match rule(&kept.model) {
                Ok(decided) if !decided.is_empty() => return Ok((kept, decided)),
                _ => kept,
            },
        };
        self.read_on(&mut seen).await?;
        let decided = rule(&seen.model).map_err(ExecuteError::Refused)?;
        Ok((seen, decided))
    }

    fn kept(&self) -> Option<Seen<M>> {
        let models = self.decisions.shared.models.as_ref()?;
        let (kept, _) = models.get(&self.query)?;
        if kept.marker.position() > self.decisions.shared.store.head() {
            // What has seen more than there is was made on a log that was put back since.
            models.forget(&self.query);
            return None;
        }
        Some(kept)
    }

    /// The model before anything was read.
    fn nothing(&self) -> Seen<M> {
        let epoch = self.decisions.shared.models.as_ref().map(States::epoch).unwrap_or_default();
        Seen { model: M::default(), marker: Marker::START, epoch }
    }

    /// Folds in what was missed: from the conflict itself if it lists everything.
    async fn take_in<E>(&self, seen: &mut Seen<M>, conflict: &Conflict) -> Result<(), ExecuteError<E>> {
        if let [Violation::Matched { missed, .. }] = &conflict.violations[..]
            && let (false, Some(last)) = (missed.more, missed.events.last())
        {
            for recorded in &missed.events {
                let model = &mut seen.model;
                self.decisions.shared.codec.decode_each(recorded, &mut |event| model.evolve(&event))?;
            }
            seen.marker = Marker::seen_through(last.position);
            self.keep(seen);
            return Ok(());
        }
        self.read_on(seen).await
    }

    /// Reads what the query matches beyond what was seen.
    async fn read_on<E>(&self, seen: &mut Seen<M>) -> Result<(), ExecuteError<E>> {
        let shared = &self.decisions.shared;
        let mut at = seen.marker.position();
        loop {
            let page = shared.store.read(at, &self.query, PAGE_EVENTS).await.map_err(ExecuteError::Read)?;
            for recorded in &page.events {
                let model = &mut seen.model;
                shared.codec.decode_each(recorded, &mut |event| model.evolve(&event))?;
            }
            (seen.marker, at) = (page.marker.max(seen.marker), page.next);
            if page.is_last() {
                self.keep(seen);
                return Ok(());
            }
        }
    }

    fn keep(&self, seen: &Seen<M>) {
        if let Some(models) = &self.decisions.shared.models {
            models.put(&self.query, seen, (seen.marker.position().get(), seen.epoch));
        }
    }

    /// Keeps the model with those of the new events that belong to it.
    ///
    /// Nothing that the query matches lies between the marker and the append, or it would have been a conflict.
    fn keep_with(&self, seen: &Seen<M>, decided: &[M::Event], appended: &Appended) {
        let Some(models) = &self.decisions.shared.models else { return };
        models.put_with(&self.query, seen, (appended.last.get(), seen.epoch), |seen| {
            for event in decided {
                let kind = self.decisions.shared.codec.encode(event).map(|encoded| encoded.kind);
                if kind.is_ok_and(|kind| self.query.matches(&kind, &M::tags(event))) {
                    seen.model.evolve(event);
                }
            }
            seen.marker = Marker::seen_through(appended.last);
        });
    }

    fn append<E>(&self, decided: &[M::Event], marker: Marker) -> Result<Append, ExecuteError<E>> {
        let shared = &self.decisions.shared;
        let metadata = match &self.metadata {
            Some(metadata) => metadata.clone(),
            None => Metadata::from_context(&Context::capture(&shared.pace.timer)),
        };
        // An append names each stream once: events of one stream keep their order.
        let mut streams: Vec<(StreamId, Vec<NewEvent>)> = Vec::new();
        for event in decided {
            let stream = M::stream(event);
            let encoded = shared.codec.encode(event)?.tags(M::tags(event)).metadata(metadata.clone());
            match streams.iter_mut().find(|(name, _)| *name == stream) {
                Some((_, events)) => events.push(encoded),
                None => streams.push((stream, vec![encoded])),
            }
        }
        let append = Append::new().require(Condition::no_match(self.query.clone(), marker));
        let append = match &self.once {
            Some((id, content)) => append.command_id(id).fingerprint(content),
            None => append,
        };
        Ok(streams.into_iter().fold(append, |append, (stream, events)| append.events(stream, Expected::Any, events)))
    }

    async fn done_before<E>(&self) -> Result<Option<Decided<M>>, ExecuteError<E>> {
        let Some((id, content)) = &self.once else { return Ok(None) };
        let committed = self.decisions.shared.store.committed(id).await.map_err(ExecuteError::Read)?;
        let Some(committed) = committed else { return Ok(None) };
        if committed.fingerprint != digest_of(content) {
            return Err(ExecuteError::Append(AppendError::IdMisuse { id: id.clone() }));
        }
        self.current(committed.appended, 1).await.map(Some)
    }

    async fn current<E>(&self, appended: Appended, attempts: u32) -> Result<Decided<M>, ExecuteError<E>> {
        let mut seen = self.nothing();
        self.read_on(&mut seen).await?;
        Ok(Decided { model: seen.model, events: Vec::new(), appended: Some(appended), attempts })
    }
}

impl<M, S, C> fmt::Debug for Decision<'_, M, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("query", &self.query)
            .field("metadata", &self.metadata)
            .field("once", &self.once.as_ref().map(|(id, _)| id))
            .finish_non_exhaustive()
    }
}
