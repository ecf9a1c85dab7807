//! Sagas in an event store: one stream a saga, one record an append, one row for each saga that is not over.

use std::time::Duration;

use bytes::Bytes;
use resilience_core::time::SharedTimer;
use resilience_cqrs::{
    Append, AppendError, Condition, Conflict, EventStore, Expected, NewEvent, RowChange, StreamId, Version, Violation,
};
use serde::{Deserialize, Serialize};

use crate::kernel::{Epoch, Event, Phase, State, Tick};
use crate::{Error, SagaId};

/// One row for each saga that is not over, by its id: what recovery reads.
pub(crate) const OPEN: &str = "saga.open";
/// One row for each owner of the log: its epoch. Every append is fenced by it.
const OWNER: &str = "saga.owner";
/// The one owner of this version. Owners with leases of their own will have rows of their own.
const OWNER_KEY: &[u8] = b"main";
/// Records read at once.
const PAGE: usize = 512;
/// Attempts to become the owner against others that want the same at the same moment.
const CLAIMS: usize = 64;
/// Waits while the store is unavailable.
const STORE_WAITS: [Duration; 6] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// What recovery needs to know about a saga without reading its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) definition: String,
    pub(crate) version: u32,
    pub(crate) state: HeadState,
    pub(crate) epoch: Epoch,
    pub(crate) wake_at: Option<Tick>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HeadState {
    Running,
    Unwinding,
    Stuck,
}

impl Head {
    /// The row that belongs to this state; `None` once the saga is over.
    pub(crate) fn of(state: &State, wake_at: Option<Tick>) -> Option<Self> {
        let head = match state.phase() {
            phase if phase.is_final() => return None,
            _ if state.is_stalled() => HeadState::Stuck,
            Phase::Unwinding => HeadState::Unwinding,
            _ => HeadState::Running,
        };
        let (definition, version) = (state.plan().name().to_string(), state.plan().version());
        Some(Self { definition, version, state: head, epoch: state.epoch(), wake_at })
    }
}

/// A record to be appended.
pub(crate) struct Record {
    stream: StreamId,
    after: Version,
    kind: &'static str,
    payload: Bytes,
    row: Option<RowChange>,
}

impl Record {
    pub(crate) fn new(
        id: &SagaId,
        after: Version,
        events: &[Event],
        head: &Option<Head>,
        known: Option<&Option<Head>>,
    ) -> Result<Self, Error> {
        let encode = |error: serde_json::Error| Error::Input { why: error.to_string() };
        let payload = serde_json::to_vec(events).map_err(encode)?.into();
        let key = Bytes::copy_from_slice(id.as_str().as_bytes());
        let row = match head {
            head if Some(head) == known => None,
            Some(head) => Some(RowChange::put(OPEN, key, serde_json::to_vec(head).map_err(encode)?)),
            None => Some(RowChange::delete(OPEN, key)),
        };
        let kind = kind(events);
        Ok(Self { stream: id.shared().into(), after, kind, payload, row })
    }

    fn append(&self, fence: &Condition) -> Append {
        let expected = match self.after {
            Version::EMPTY => Expected::NoStream,
            version => Expected::Exact(version),
        };
        let event = NewEvent::new(resilience_cqrs::EventType::from_static(self.kind), self.payload.clone());
        Append::new().events(self.stream.clone(), expected, [event]).require(fence.clone()).rows(self.row.clone())
    }

    /// Whether the conflict is with this very record, written by an attempt whose answer was lost.
    fn is_what_it_met(&self, conflict: &Conflict) -> bool {
        conflict.violations.iter().all(|violation| match violation {
            Violation::Stream { actual, missed, .. } => {
                *actual == self.after.next()
                    && missed.events.first().is_some_and(|met| met.payload == self.payload && met.version == *actual)
            }
            _ => false,
        })
    }
}

/// A record's type, for whoever reads the log as events: how the saga stands after it, where that matters.
fn kind(events: &[Event]) -> &'static str {
    let of = |event: &Event| match event {
        Event::Completed {} => Some("saga.completed"),
        Event::Compensated {} => Some("saga.compensated"),
        Event::Abandoned { .. } => Some("saga.abandoned"),
        Event::Stuck { .. } => Some("saga.stuck"),
        Event::Created { .. } => Some("saga.created"),
        _ => None,
    };
    events.iter().rev().find_map(of).unwrap_or("saga.progressed")
}

/// Why a record was not appended.
pub(crate) enum Failed {
    /// The saga exists already.
    Exists,
    Error(Error),
}

/// The log, as one owner writes it.
#[derive(Clone, Debug)]
pub(crate) struct Log<S> {
    pub(crate) store: S,
    pub(crate) epoch: Epoch,
    fence: Condition,
    timer: SharedTimer,
}

impl<S: EventStore> Log<S> {
    /// Becomes the owner: from here on the previous one can append nothing.
    pub(crate) async fn claim(store: S, timer: SharedTimer) -> Result<Self, Error> {
        let mut last = None;
        for _ in 0..CLAIMS {
            let row = store.row(OWNER, OWNER_KEY).await?;
            let previous = row.as_deref().and_then(|row| std::str::from_utf8(row).ok()?.parse().ok()).unwrap_or(0_u64);
            let epoch = Epoch(previous + 1);
            let condition =
                Condition::Row { space: OWNER.into(), key: Bytes::from_static(OWNER_KEY), equals: row.clone() };
            let claim = Append::new().require(condition).row(RowChange::put(OWNER, OWNER_KEY, epoch.to_string()));
            match store.append(claim).await {
                Ok(_) => {
                    let fence = Condition::row_is(OWNER, OWNER_KEY, epoch.to_string());
                    return Ok(Self { store, epoch, fence, timer });
                }
                // Somebody else was faster, or the answer was lost: read again.
                Err(error) if error.is_retryable() => last = Some(error),
                Err(error) => return Err(Error::Append(error.into())),
            }
        }
        Err(last.map_or(Error::Fenced, |error| Error::Append(error.into())))
    }

    /// Appends a record, for as long as it takes while the store is unavailable. `trouble` is told each time it is.
    pub(crate) async fn append(&self, record: &Record, mut trouble: impl FnMut(&AppendError)) -> Result<(), Failed> {
        let mut in_doubt = false;
        for attempt in 0_usize.. {
            let error = match self.store.append(record.append(&self.fence)).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match &error {
                AppendError::Conflict(conflict) if in_doubt && record.is_what_it_met(conflict) => return Ok(()),
                AppendError::Conflict(conflict) => {
                    let fenced = conflict.violations.iter().any(|v| matches!(v, Violation::Row { .. }));
                    let exists = record.after == Version::EMPTY && !fenced;
                    return Err(if exists { Failed::Exists } else { Failed::Error(Error::Fenced) });
                }
                AppendError::Full => trouble(&error),
                AppendError::Unavailable(unavailable) if unavailable.retryable => {
                    in_doubt |= error.may_have_committed();
                    trouble(&error);
                }
                _ => return Err(Failed::Error(Error::Append(error.into()))),
            }
            self.timer.sleep(STORE_WAITS[attempt.min(STORE_WAITS.len() - 1)]).await;
        }
        Err(Failed::Error(Error::Stopped))
    }
}

/// The events of a saga, with the version they amount to. Empty if there is no such saga.
pub(crate) async fn load<S: EventStore>(store: &S, id: &SagaId) -> Result<(Vec<Event>, Version), Error> {
    let stream = StreamId::from(id.shared());
    let mut events = Vec::new();
    let mut version = Version::EMPTY;
    loop {
        let page = store.read_stream(&stream, version, PAGE).await?;
        let last = page.len() < PAGE;
        for recorded in page {
            let record = recorded.version.get();
            let corrupt = |why: String| Error::Corrupt { id: id.clone(), record, why };
            if recorded.version != version.next() {
                return Err(corrupt(format!("it follows record {version}")));
            }
            version = recorded.version;
            let decoded: Vec<Event> =
                serde_json::from_slice(&recorded.payload).map_err(|error| corrupt(error.to_string()))?;
            events.extend(decoded);
        }
        if last {
            return Ok((events, version));
        }
    }
}
