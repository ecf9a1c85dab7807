//! A message that is delivered five times takes effect once.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use resilience_core::rng::SharedRng;
use resilience_core::time::SharedTimer;
use thiserror::Error;

use super::message::{Message, MessageId};
use crate::log::{Append, AppendError, Appended, BoxError, Condition, ReadError, RowChange, Space};
use crate::store::EventStore;

/// Remembers which messages have taken effect.
///
/// Every bus delivers at least once: what was done, and whose acknowledgement was lost, comes again. Which of two ways to
/// use depends on where the effect is.
///
/// | the effect is | use | it happens |
/// |---|---|---|
/// | an append to this store | [`append`](Self::append) | once: the log knows the message's id in the same transaction |
/// | anywhere else | [`run`](Self::run) | once, and by one at a time; again if its end could not be noted |
///
/// ```
/// use resilience_cqrs::messaging::{Inbox, Message};
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let inbox = Inbox::new(store.clone(), "billing");
/// let message = Message::new("order-17", "orders.placed", "");
/// for delivery in 0..5 {
///     let billed = Append::new().events("bill-17", Expected::Any, [NewEvent::new("Billed", "")]);
///     let appended = inbox.append(&message, billed).await?;
///     assert_eq!(appended.already_committed, delivery > 0);
/// }
/// assert_eq!(store.head().get(), 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Inbox<S> {
    store: S,
    consumer: String,
    space: Space,
    claim: Duration,
    timer: SharedTimer,
    rng: std::sync::Arc<SharedRng>,
}

impl<S: EventStore> Inbox<S> {
    /// The inbox of a consumer. Each consumer has its own: two that hear the same message both act on it.
    pub fn new(store: S, consumer: impl Into<String>) -> Self {
        let consumer = consumer.into();
        Self {
            store,
            space: format!("inbox/{consumer}").into(),
            consumer,
            claim: Duration::from_secs(60),
            timer: SharedTimer::default(),
            rng: std::sync::Arc::new(SharedRng::from_entropy()),
        }
    }

    /// How long an effect of [`run`](Self::run) may take before another one may try. Default: 60 s. Measured in wall time,
    /// because it must hold between processes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::time::ManualTimer;
    /// use resilience_cqrs::messaging::{Inbox, Message, Ran, RunError};
    /// use resilience_cqrs::{BoxError, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let timer = ManualTimer::new();
    /// let inbox = Inbox::new(MemoryStore::new(), "mailer").claim(Duration::from_secs(5)).timer(timer.clone());
    /// let message = Message::new("m1", "emails", "");
    /// let mail = async || Ok::<_, BoxError>(());
    /// // A process dies while it mails: its claim is left.
    /// let hanging = inbox.run(&message, || std::future::pending::<Result<(), BoxError>>());
    /// assert!(futures::FutureExt::now_or_never(hanging).is_none());
    ///
    /// let busy = inbox.run(&message, mail).await.unwrap_err();
    /// assert!(matches!(busy, RunError::Busy { left } if left == Duration::from_secs(5)));
    /// timer.advance(Duration::from_secs(5));
    /// assert_eq!(inbox.run(&message, mail).await?, Ran::Now(()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn claim(mut self, longest: Duration) -> Self {
        self.claim = longest;
        self
    }

    /// What claims go by. Default: tokio's clock, and the system's calendar.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// Appends the effect of a message, unless it was appended before.
    ///
    /// The append is made a command with an id made of the consumer's name and the message's; what it writes may differ from
    /// attempt to attempt, the first one counts. The log remembers it for good.
    ///
    /// Dropped before it completes, it was appended or not; the next delivery of the message finds out.
    ///
    /// # Errors
    /// See [`AppendError`]; after any of them the same message may be tried again.
    pub async fn append(&self, message: &Message, effect: Append) -> Result<Appended, AppendError> {
        let id = self.command(&message.id);
        let fingerprint = id.clone();
        self.store.append(effect.command_id(id).fingerprint(fingerprint.as_bytes())).await
    }

    /// Whether [`append`](Self::append) has committed the effect of this message; asked before deciding anew.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{Inbox, Message};
    /// use resilience_cqrs::{Append, Expected, MemoryStore, NewEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let (billing, shipping) = (Inbox::new(store.clone(), "billing"), Inbox::new(store, "shipping"));
    /// let message = Message::new("order-17", "orders.placed", "");
    /// let billed = Append::new().events("bill-17", Expected::Any, [NewEvent::new("Billed", "")]);
    /// billing.append(&message, billed).await?;
    /// // Each consumer remembers for itself.
    /// assert!(billing.has_appended(&message.id).await? && !shipping.has_appended(&message.id).await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn has_appended(&self, message: &MessageId) -> Result<bool, ReadError> {
        Ok(self.store.committed(&self.command(message).into()).await?.is_some())
    }

    /// Names the consumer and the message, and no other two: either may contain a slash.
    fn command(&self, message: &MessageId) -> String {
        // An id of two names may be longer than one name may be.
        super::shelf::name(format!("{}/{}/{message}", self.consumer.len(), self.consumer))
    }

    /// Runs an effect elsewhere, unless it was run to its end before, or is being run at this moment.
    ///
    /// A row says that the message is being worked on, and by whom; it is taken before the effect and made to say "done"
    /// after it. A process that dies in between leaves a claim, which lasts for its time. Then the effect is run again: if it
    /// had happened, it happens twice, so give it the message's id as its idempotency key.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use resilience_cqrs::messaging::{Inbox, Message, Ran};
    /// use resilience_cqrs::{BoxError, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (inbox, mails) = (Inbox::new(MemoryStore::new(), "mailer"), AtomicU32::new(0));
    /// let mail = async || Ok::<_, BoxError>(mails.fetch_add(1, Ordering::Relaxed));
    /// let message = Message::new("order-17", "orders.placed", "");
    /// assert!(matches!(inbox.run(&message, mail).await?, Ran::Now(_)));
    /// assert!(matches!(inbox.run(&message, mail).await?, Ran::Before));
    /// assert_eq!(mails.into_inner(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// Dropped before it completes, it leaves its claim, as a process that dies does.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn run<T, E, Fut>(&self, message: &Message, effect: impl FnOnce() -> Fut) -> Result<Ran<T>, RunError>
    where
        E: Into<BoxError>,
        Fut: Future<Output = Result<T, E>>,
    {
        let key = Bytes::copy_from_slice(message.id.as_str().as_bytes());
        let row = self.store.row(self.space.as_str(), &key).await.map_err(RunError::Read)?;
        let now = self.timer.wall().as_unix_millis();
        match row.as_deref().map(Entry::decode) {
            None => {}
            Some(Entry::Done(_)) => return Ok(Ran::Before),
            Some(Entry::Claimed { until, .. }) if until > now => {
                return Err(RunError::Busy { left: Duration::from_millis(until - now) });
            }
            // Whoever had claimed it is gone, or was.
            Some(Entry::Claimed { .. }) => {}
        }
        let lasts = u64::try_from(self.claim.as_millis()).unwrap_or(u64::MAX);
        let claimed = Entry::Claimed { until: now.saturating_add(lasts), by: self.rng.next_u64() }.encode();
        let free = Condition::Row { space: self.space.clone(), key: key.clone(), equals: row };
        let put = |value: &Bytes| RowChange::put(self.space.clone(), key.clone(), value.clone());
        match self.store.append(Append::new().require(free).row(put(&claimed))).await {
            Ok(_) => {}
            Err(AppendError::Conflict(_)) => return Err(RunError::Busy { left: self.claim }),
            Err(error) => return Err(RunError::Append(error)),
        }
        let ours = || Condition::row_is(self.space.clone(), key.clone(), claimed.clone());
        match effect().await {
            Ok(output) => {
                let done = Entry::Done(self.timer.wall().as_unix_millis()).encode();
                let noted = self.store.append(Append::new().require(ours()).row(put(&done))).await;
                match noted {
                    // Taken over, because it took too long: the effect has happened all the same.
                    Ok(_) | Err(AppendError::Conflict(_)) => Ok(Ran::Now(output)),
                    Err(error) => Err(RunError::Append(error)),
                }
            }
            Err(error) => {
                // Free for the next attempt at once; if this is lost, after the claim.
                let free = Append::new().require(ours()).row(RowChange::delete(self.space.clone(), key.clone()));
                let _ = self.store.append(free).await;
                Err(RunError::Effect(error.into()))
            }
        }
    }

    /// Forgets messages whose effect was [run](Self::run) more than `age` ago, and claims that ended as long ago and were
    /// never taken up, at most `limit` of them, beginning after `after` in the order of ids. Returns where to go on, `None`
    /// at the end.
    ///
    /// A message that comes again after that is taken for a new one; so the age is well above what a bus keeps messages for.
    ///
    /// # Errors
    /// See [`AppendError`] and [`ReadError`].
    pub async fn prune(
        &self,
        age: Duration,
        after: Option<&MessageId>,
        limit: usize,
    ) -> Result<Option<MessageId>, RunError> {
        let oldest = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let before = self.timer.wall().as_unix_millis().saturating_sub(oldest);
        let limit = limit.clamp(1, 4_096);
        let after = after.map(|id| id.as_str().as_bytes());
        let rows = self.store.rows(self.space.as_str(), after, limit).await.map_err(RunError::Read)?;
        let delete = |key: &Bytes| RowChange::delete(self.space.clone(), key.clone());
        let mut old = Append::new();
        let mut claims = Vec::new();
        for (key, row) in &rows {
            match Entry::decode(row) {
                // Done is final, so nobody else changes these rows.
                Entry::Done(at) if at < before => old = old.row(delete(key)),
                Entry::Claimed { until, .. } if until < before => claims.push((key, row)),
                Entry::Done(_) | Entry::Claimed { .. } => {}
            }
        }
        if old.rows.is_empty() && claims.is_empty() {
            return Ok(next(&rows, limit));
        }
        let and_claims = claims.into_iter().fold(old.clone(), |all, (key, row)| {
            all.require(Condition::row_is(self.space.clone(), key.clone(), row.clone())).row(delete(key))
        });
        match self.store.append(and_claims).await {
            Ok(_) => {}
            // One of them was taken up this moment; they are looked at another time.
            Err(AppendError::Conflict(_)) if old.rows.is_empty() => {}
            Err(AppendError::Conflict(_)) => drop(self.store.append(old).await.map_err(RunError::Append)?),
            Err(error) => return Err(RunError::Append(error)),
        }
        Ok(next(&rows, limit))
    }
}

/// Where to go on after these rows, of which there may be more if there are as many as were asked for.
fn next(rows: &[(Bytes, Bytes)], limit: usize) -> Option<MessageId> {
    let last = rows.last().filter(|_| rows.len() == limit);
    last.map(|(key, _)| MessageId::from(String::from_utf8_lossy(key).into_owned()))
}

impl<S> fmt::Debug for Inbox<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

/// What became of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran<T> {
    /// It was run to its end now.
    Now(T),
    /// It had been run to its end before.
    Before,
}

/// An effect was not run, or not to its end, or nobody knows.
///
/// A handler returns it as it is: its [consumer](super::Consumer) keeps a message in hand that somebody else works on, without
/// counting an attempt, and goes by the effect's own error for the rest.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// Somebody else works on the message.
    #[error("somebody else works on it")]
    Busy {
        /// For how long the claim lasts.
        left: Duration,
    },
    /// The effect's own error.
    #[error("the effect has failed")]
    Effect(#[source] BoxError),
    /// The store did not take what is to be remembered. The effect may have happened.
    #[error("the inbox cannot be written")]
    Append(#[source] AppendError),
    /// The store did not say what is remembered. Nothing happened.
    #[error("the inbox cannot be read")]
    Read(#[source] ReadError),
}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Done(u64),
    Claimed { until: u64, by: u64 },
}

impl Entry {
    fn encode(self) -> Bytes {
        match self {
            Self::Done(at) => Bytes::copy_from_slice(&at.to_be_bytes()),
            Self::Claimed { until, by } => [until.to_be_bytes(), by.to_be_bytes()].concat().into(),
        }
    }

    /// A row that cannot be read is a claim that is over: the effect is run, rather than never.
    fn decode(bytes: &[u8]) -> Self {
        let number = |bytes: &[u8]| <[u8; 8]>::try_from(bytes).map(u64::from_be_bytes);
        match (number(bytes), bytes.split_at_checked(8).map(|(until, by)| (number(until), number(by)))) {
            (Ok(at), _) => Self::Done(at),
            (_, Some((Ok(until), Ok(by)))) => Self::Claimed { until, by },
            _ => Self::Claimed { until: 0, by: 0 },
        }
    }
}
