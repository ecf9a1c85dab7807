//! An event as bytes, and back.

use bytes::{Buf, BufMut, Bytes};
use resilience_core::time::WallTime;

use crate::log::{EventType, Metadata, NewEvent, Position, Recorded, StreamId, Version};

/// `version`, `recorded_at` in milliseconds since 1970, stream, type, tags, metadata, and the payload up to the end.
/// Numbers have eight bytes, a text begins with its length in two, tags with their number in two, and metadata with a byte
/// that says which of its fields follow.
pub(super) fn encode(stream: &StreamId, version: u64, event: &NewEvent, now: WallTime, to: &mut Vec<u8>) {
    to.clear();
    to.put_u64_le(version);
    to.put_u64_le(now.as_unix_millis());
    put_text(to, stream.as_str());
    put_text(to, event.kind.as_str());
    // An append with more was refused; see `limits`.
    to.put_u16_le(event.tags.len() as u16);
    event.tags.iter().for_each(|tag| put_text(to, tag.as_str()));
    let metadata = &event.metadata;
    let fields = [metadata.correlation(), metadata.causation(), metadata.actor(), metadata.tenant(), metadata.trace()];
    let present = fields.iter().enumerate().fold(0, |bits, (nth, field)| bits | (u8::from(field.is_some()) << nth));
    to.put_u8(present);
    fields.into_iter().flatten().for_each(|field| put_text(to, field));
    to.extend_from_slice(&event.payload);
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    to.put_u16_le(text.len() as u16);
    to.extend_from_slice(text.as_bytes());
}

/// The last stream and type read: neighbours often share them, and then their names are not allocated again.
#[derive(Debug)]
pub(super) struct Names {
    stream: StreamId,
    kind: EventType,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { stream: StreamId::from_static(""), kind: EventType::from_static("") }
    }
}

/// `None` if these are not the bytes of an event.
pub(super) fn decode(names: &mut Names, position: Position, mut bytes: &[u8]) -> Option<Recorded> {
    let version = Version::new(bytes.try_get_u64_le().ok()?);
    let recorded_at = WallTime::from_unix_millis(bytes.try_get_u64_le().ok()?);
    let stream = text(&mut bytes)?;
    if names.stream != stream {
        names.stream = stream.into();
    }
    let kind = text(&mut bytes)?;
    if names.kind != kind {
        names.kind = kind.into();
    }
    let tags = (0..bytes.try_get_u16_le().ok()?).map(|_| text(&mut bytes).map(Into::into)).collect::<Option<_>>()?;
    let present = bytes.try_get_u8().ok()?;
    let mut metadata = Metadata::new();
    let with: [fn(Metadata, &str) -> Metadata; 5] = [
        |metadata, id| metadata.with_correlation(id),
        |metadata, id| metadata.with_causation(id),
        |metadata, actor| metadata.with_actor(actor),
        |metadata, tenant| metadata.with_tenant(tenant),
        |metadata, trace| metadata.with_trace(trace),
    ];
    for (nth, with) in with.into_iter().enumerate() {
        if present & (1 << nth) != 0 {
            metadata = with(metadata, text(&mut bytes)?);
        }
    }
    let (stream, kind) = (names.stream.clone(), names.kind.clone());
    let payload = Bytes::copy_from_slice(bytes);
    Some(Recorded { position, stream, version, kind, tags, payload, metadata, recorded_at })
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::from(bytes.try_get_u16_le().ok()?);
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> NewEvent {
        let metadata = Metadata::new().with_causation("c").with_trace("t");
        NewEvent::new("Opened", "payload").tags(["a:1", "b:2"]).metadata(metadata)
    }

    #[test]
    fn an_event_comes_back_as_it_was() {
        let (mut bytes, now) = (Vec::new(), WallTime::from_unix_millis(1_700_000_000_123));
        for event in [event(), NewEvent::new("Closed", "")] {
            encode(&"ä-1".into(), 7, &event, now, &mut bytes);
            let read = decode(&mut Names::new(), Position::new(9), &bytes).unwrap();
            let expected = Recorded {
                position: Position::new(9),
                stream: "ä-1".into(),
                version: Version::new(7),
                kind: event.kind,
                tags: event.tags,
                payload: event.payload,
                metadata: event.metadata,
                recorded_at: now,
            };
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn bytes_that_were_cut_short_are_no_event() {
        let mut bytes = Vec::new();
        encode(&"s".into(), 1, &event(), WallTime::from_unix_millis(0), &mut bytes);
        let head = bytes.len() - "payload".len();
        for length in 0..head {
            assert_eq!(decode(&mut Names::new(), Position::new(1), &bytes[..length]), None, "{length}");
        }
        bytes[18] = 0xff; // the stream's name
        assert_eq!(decode(&mut Names::new(), Position::new(1), &bytes), None);
    }
}
