//! Reading what was written, as what it is today.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Event, Schema, Step, Told};
use crate::aggregate::{CodecError, EventCodec, json};
use crate::log::{BoxError, EventType, NewEvent, Recorded};

impl<E: Serialize + DeserializeOwned> EventCodec<E> for Schema<Told> {
    fn encode(&self, event: &E) -> Result<NewEvent, CodecError> {
        let (name, payload) = json::encode(event).map_err(|error| CodecError::Encode(error.into()))?;
        Ok(NewEvent::new(self.written(name)?, payload))
    }

    fn decode(&self, recorded: &Recorded) -> Result<E, CodecError> {
        self.read_one(recorded)
    }

    fn decode_each(&self, recorded: &Recorded, take: &mut dyn FnMut(E)) -> Result<(), CodecError> {
        self.read_each(recorded, take)
    }
}

impl<E: Event + Serialize + DeserializeOwned + 'static> EventCodec<E> for Schema<E> {
    fn encode(&self, event: &E) -> Result<NewEvent, CodecError> {
        let (_, payload) = json::encode(event).map_err(|error| CodecError::Encode(error.into()))?;
        Ok(NewEvent::new(self.written(event.shape().name())?, payload).tags(event.tags()))
    }

    fn decode(&self, recorded: &Recorded) -> Result<E, CodecError> {
        self.read_one(recorded)
    }

    fn decode_each(&self, recorded: &Recorded, take: &mut dyn FnMut(E)) -> Result<(), CodecError> {
        self.read_each(recorded, take)
    }
}

impl<T> Schema<T> {
    fn written(&self, name: &str) -> Result<EventType, CodecError> {
        let kind = self.inner.written.get(name).cloned();
        kind.ok_or_else(|| CodecError::Encode(format!("the schema has no event {name}").into()))
    }

    fn read_one<E: DeserializeOwned>(&self, recorded: &Recorded) -> Result<E, CodecError> {
        let (mut first, mut count) = (None, 0);
        self.read_each(recorded, &mut |event| {
            count += 1;
            first.get_or_insert(event);
        })?;
        match (first, count) {
            (Some(event), 1) => Ok(event),
            _ => Err(malformed(recorded, format!("it stands for {count} events today").into())),
        }
    }

    fn read_each<E: DeserializeOwned>(&self, recorded: &Recorded, take: &mut dyn FnMut(E)) -> Result<(), CodecError> {
        let unknown = || CodecError::UnknownType { position: recorded.position, kind: recorded.kind.clone() };
        let (name, version) = *self.inner.stored.get(&recorded.kind).ok_or_else(unknown)?;
        if self.inner.current.get(name).is_some_and(|today| today.version == version) {
            take(self.read(recorded, name, &recorded.payload)?);
            return Ok(());
        }
        if let Some(Step::Drop) = self.inner.steps.get(&(name, version)) {
            return Ok(()); // Not even looked at: its payload need not be JSON.
        }
        let payload = serde_json::from_slice(&recorded.payload).map_err(|error| malformed(recorded, error.into()))?;
        let mut events = Vec::new();
        self.bring_up(recorded, name, version, payload, &mut events)?;
        // All or nothing: half of what an event stands for is a wrong state.
        events.into_iter().for_each(take);
        Ok(())
    }

    fn bring_up<E: DeserializeOwned>(
        &self,
        recorded: &Recorded,
        name: &'static str,
        mut version: u32,
        mut payload: Value,
        events: &mut Vec<E>,
    ) -> Result<(), CodecError> {
        loop {
            match self.inner.steps.get(&(name, version)) {
                Some(Step::Upcast(change)) => {
                    payload = change(payload).map_err(|error| malformed(recorded, error))?;
                    version += 1;
                }
                Some(Step::Replace(targets, change)) => {
                    let replacements = change(payload).map_err(|error| malformed(recorded, error))?;
                    for replacement in replacements {
                        let (name, version) = (replacement.name, replacement.version);
                        let known = self.inner.stored.values().any(|stored| *stored == (name, version));
                        // What it may become was said when the schema was built, and checked for circles.
                        if !known || !targets.contains(name) {
                            let what = format!("it becomes {name} in version {version}, which it should not");
                            return Err(malformed(recorded, what.into()));
                        }
                        self.bring_up(recorded, name, version, replacement.payload, events)?;
                    }
                    return Ok(());
                }
                Some(Step::Drop) => return Ok(()),
                None => {
                    let payload = serde_json::to_vec(&payload).map_err(|error| malformed(recorded, error.into()))?;
                    events.push(self.read(recorded, name, &payload)?);
                    return Ok(());
                }
            }
        }
    }

    fn read<E: DeserializeOwned>(&self, recorded: &Recorded, name: &str, payload: &[u8]) -> Result<E, CodecError> {
        let variant = self.inner.current.get(name).map_or(name, |today| today.variant);
        json::decode(variant, payload).map_err(|error| match error {
            json::DecodeError::UnknownType => malformed(recorded, format!("there is no event {name}").into()),
            json::DecodeError::Json(error) => malformed(recorded, error.into()),
        })
    }
}

fn malformed(recorded: &Recorded, source: BoxError) -> CodecError {
    CodecError::Malformed { position: recorded.position, kind: recorded.kind.clone(), source }
}
