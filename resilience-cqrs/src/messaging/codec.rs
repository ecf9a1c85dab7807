//! Messages as bytes, for rows of a store.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message::{Message, Outgoing, Way};
use crate::log::{Corrupt, Metadata};

/// Everything but the payload, which follows it as it is.
#[derive(Debug, Serialize, Deserialize)]
struct Head<'a> {
    id: String,
    subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_queued: bool,
    #[serde(borrow, default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, std::borrow::Cow<'a, str>>,
}

/// The head, then the payload. Where the head ends is told by the head alone, being JSON: a length beside it would be wrong
/// as soon as somebody puts another text into it, as the store in front of [personal values](crate::privacy) does.
pub(super) fn encode(message: &Message) -> Vec<u8> {
    let Outgoing { subject, key, payload, metadata, way } = &message.content;
    let head = Head {
        id: message.id.as_str().into(),
        subject: subject.as_str().into(),
        key: key.as_deref().map(Into::into),
        is_queued: *way == Way::Send,
        metadata: metadata.iter().map(|(field, value)| (field, value.into())).collect(),
    };
    // Texts and a flag always have a JSON form.
    let head = serde_json::to_vec(&head).unwrap_or_default();
    [&head[..], payload].concat()
}

pub(super) fn decode(bytes: &Bytes) -> Result<Message, Corrupt> {
    let corrupt = || Corrupt::new("a stored message cannot be read");
    let (head, payload) = split::<Head<'_>>(bytes).ok_or_else(corrupt)?;
    let metadata = metadata(head.metadata.iter().map(|(field, value)| (*field, &**value)));
    let content = Outgoing {
        subject: head.subject.into(),
        key: head.key.map(Into::into),
        payload: bytes.slice_ref(payload),
        metadata,
        way: if head.is_queued { Way::Send } else { Way::Publish },
    };
    Ok(content.with_id(head.id))
}

/// What some bytes begin with, and what follows it.
pub(super) fn split<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter();
    let value = values.next()?.ok()?;
    Some((value, bytes.get(values.byte_offset()..)?))
}

/// Metadata of named fields; names of a later release are passed over.
pub(super) fn metadata<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Metadata {
    fields.into_iter().fold(Metadata::new(), |metadata, (field, value)| match field {
        "correlation" => metadata.with_correlation(value),
        "causation" => metadata.with_causation(value),
        "actor" => metadata.with_actor(value),
        "tenant" => metadata.with_tenant(value),
        "trace" => metadata.with_trace(value),
        _ => metadata,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_stored_is_read_back(
            id in ".{1,20}", key in proptest::option::of(".{1,20}"), payload: Vec<u8>, queued: bool, actor in ".{1,9}",
        ) {
            let mut content = Outgoing::new("a.b", payload).metadata(Metadata::new().with_actor(actor.as_str()));
            content.key = key.map(Into::into);
            content.way = if queued { Way::Send } else { Way::Publish };
            let message = content.with_id(id);
            prop_assert_eq!(decode(&encode(&message).into()), Ok(message));
        }

        #[test]
        fn what_is_garbled_is_an_error_and_no_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes.into());
        }
    }
}
