//! From your event types to what the log keeps, and back.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::json;
use crate::log::{BoxError, EventType, NewEvent, Position, Recorded};

/// Turns events of type `E` into what the log keeps, and back.
pub trait EventCodec<E>: Send + Sync + 'static {
    /// The event's type name and payload. Tags and metadata are added by whoever appends it.
    ///
    /// # Errors
    /// [`CodecError::Encode`] if the event cannot be written down.
    fn encode(&self, event: &E) -> Result<NewEvent, CodecError>;

    /// The event a record holds.
    ///
    /// # Errors
    /// [`CodecError::UnknownType`] for a type `E` has no case for, [`CodecError::Malformed`] for a payload that does not
    /// fit its type. A codec never passes over an event: what cannot be read is an error.
    fn decode(&self, recorded: &Recorded) -> Result<E, CodecError>;

    /// Hands over the events that a record stands for: the one it holds, unless the codec knows that it has become
    /// several, or none. If it fails, it hands over nothing.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    fn decode_each(&self, recorded: &Recorded, take: &mut dyn FnMut(E)) -> Result<(), CodecError> {
        take(self.decode(recorded)?);
        Ok(())
    }
}

/// An event cannot be written down or read back.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/aggregate/doc/counter.rs"));
/// use resilience_cqrs::aggregate::{CodecError, ExecuteError, Repository};
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let newer = [NewEvent::new("Doubled", "null")];
/// store.append(Append::new().events("counter-1", Expected::Any, newer)).await?;
/// // An old program meets a new event, and stops rather than guess a state.
/// let counters: Repository<Counter, _> = Repository::new(store);
/// let error = counters.load("1").await.unwrap_err();
/// assert!(matches!(error, ExecuteError::Codec(CodecError::UnknownType { .. })));
/// # Ok(()) }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The event cannot be written down.
    #[error("the event cannot be encoded")]
    Encode(#[source] BoxError),
    /// The program knows no event of this type: it is older than the log, or reads somebody else's events.
    #[error("event {position} is of type {kind}, which is not known here")]
    UnknownType {
        /// Where it is.
        position: Position,
        /// Its type.
        kind: EventType,
    },
    /// The payload does not fit the type.
    #[error("event {position} of type {kind} cannot be decoded")]
    Malformed {
        /// Where it is.
        position: Position,
        /// Its type.
        kind: EventType,
        /// What is wrong with it.
        source: BoxError,
    },
}

/// Events as JSON, named by their enum's variants.
///
/// For enums and structs that derive serde's traits in the plain form (externally tagged, which is the default). The
/// variant's name, or the struct's, is the event's type; the payload is what is inside. `#[serde(rename = "...")]` keeps
/// the stored name when the variant is renamed, `#[serde(alias = "...")]` reads a former one.
///
/// ```
/// use resilience_cqrs::aggregate::{EventCodec, Json};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum Bank {
///     Deposited { cents: i64 },
///     Closed,
/// }
///
/// let event = Json.encode(&Bank::Deposited { cents: 5 })?;
/// assert_eq!(event.kind, "Deposited");
/// assert_eq!(&event.payload[..], br#"{"cents":5}"#);
/// # Ok::<(), resilience_cqrs::aggregate::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<E: Serialize + DeserializeOwned> EventCodec<E> for Json {
    fn encode(&self, event: &E) -> Result<NewEvent, CodecError> {
        let (kind, payload) = json::encode(event).map_err(|error| CodecError::Encode(error.into()))?;
        Ok(NewEvent::new(EventType::from_static(kind), payload))
    }

    fn decode(&self, recorded: &Recorded) -> Result<E, CodecError> {
        let (position, kind) = (recorded.position, recorded.kind.clone());
        json::decode(recorded.kind.as_str(), &recorded.payload).map_err(|error| match error {
            json::DecodeError::UnknownType => CodecError::UnknownType { position, kind },
            json::DecodeError::Json(source) => CodecError::Malformed { position, kind, source: source.into() },
        })
    }
}
