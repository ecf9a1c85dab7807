//! Events of types that this program does not know: after a roll-back, or while two releases run side by side.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{CodecError, EventCodec, Json, Schema};
use crate::log::{NewEvent, Recorded};

/// What to do about events of types that are not known here. It is declared once for each who reads: for a repository, or
/// for a projection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// It is an error. A projection that hands the error on parks the event and what follows under the same key, until a
    /// program that knows the type replays it; an aggregate is not loaded. This is what happens if nothing is declared.
    #[default]
    Park,
    /// It stands for nothing, and reading goes on after it. For a reader that needs only some types; an aggregate of which
    /// a part is missing decides on less than has happened.
    Ignore,
}

/// A codec, and what it does about types it does not know. Clones count together.
///
/// Of a known type whose payload cannot be read nothing is ignored, whatever is declared: that is damage, and not news.
///
/// ```
/// use resilience_cqrs::aggregate::{EventCodec, Json, Unknown};
/// use resilience_cqrs::projection::{Projection, ProjectionRunner, Rows};
/// use resilience_cqrs::{Append, BoxError, EventStore, Expected, MemoryStore, NewEvent, Query, Recorded};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum Bank { Deposited { cents: i64 } }
///
/// /// The sum of all deposits.
/// struct Deposits<C>(C);
///
/// impl<C: EventCodec<Bank>> Projection for Deposits<C> {
///     fn name(&self) -> &str { "deposits@1" }
///     fn query(&self) -> Query { Query::all() }
///     async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
///         let mut added = 0;
///         self.0.decode_each(event, &mut |Bank::Deposited { cents }| added += cents)?; // an error parks the event
///         let sum: i64 = rows.get("deposits", "sum").await?.map_or(Ok(0), |sum| std::str::from_utf8(&sum)?.parse::<i64>().map_err(BoxError::from))?;
///         rows.put("deposits", "sum", (sum + added).to_string());
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let events = [NewEvent::new("Overdrawn", "{}"), NewEvent::new("Deposited", r#"{"cents":5}"#)];
/// let done = store.append(Append::new().events("account-1", Expected::Any, events)).await?;
///
/// let codec = Json.on_unknown(Unknown::Ignore);
/// let running = ProjectionRunner::builder(store.clone(), Deposits(codec.clone())).start();
/// running.at_least(done.last, std::time::Duration::from_secs(1)).await?;
/// assert_eq!(store.row("deposits", b"sum").await?.as_deref(), Some(&b"5"[..]));
/// assert_eq!(codec.ignored(), 1);
/// # Ok(()) }
/// ```
pub struct OnUnknown<C> {
    codec: C,
    policy: Unknown,
    ignored: Arc<AtomicU64>,
}

impl<C> OnUnknown<C> {
    /// Declares the policy of a codec.
    pub fn new(codec: C, policy: Unknown) -> Self {
        Self { codec, policy, ignored: Arc::default() }
    }

    /// How often an event was ignored; an event that is read twice counts twice.
    pub fn ignored(&self) -> u64 {
        self.ignored.load(Ordering::Relaxed)
    }
}

impl Json {
    /// Declares what is done about events of types that are not known.
    pub fn on_unknown(self, policy: Unknown) -> OnUnknown<Self> {
        OnUnknown::new(self, policy)
    }
}

impl<E> Schema<E> {
    /// Declares what is done about events of types, and versions, that the schema does not know.
    pub fn on_unknown(self, policy: Unknown) -> OnUnknown<Self> {
        OnUnknown::new(self, policy)
    }
}

impl<E, C: EventCodec<E>> EventCodec<E> for OnUnknown<C> {
    fn encode(&self, event: &E) -> Result<NewEvent, CodecError> {
        self.codec.encode(event)
    }

    /// One event was asked for, so an unknown one is an error here under either policy.
    fn decode(&self, recorded: &Recorded) -> Result<E, CodecError> {
        self.codec.decode(recorded)
    }

    fn decode_each(&self, recorded: &Recorded, take: &mut dyn FnMut(E)) -> Result<(), CodecError> {
        match (self.codec.decode_each(recorded, take), self.policy) {
            (Err(CodecError::UnknownType { .. }), Unknown::Ignore) => {
                // A count that nothing is decided by.
                self.ignored.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            (result, _) => result,
        }
    }
}

impl<C: Clone> Clone for OnUnknown<C> {
    fn clone(&self) -> Self {
        Self { codec: self.codec.clone(), policy: self.policy, ignored: self.ignored.clone() }
    }
}

impl<C: fmt::Debug> fmt::Debug for OnUnknown<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnUnknown")
            .field("codec", &self.codec)
            .field("policy", &self.policy)
            .field("ignored", &self.ignored())
            .finish()
    }
}
