//! How messages, keys, groups and queues are written on the wire. All programs on one prefix must agree on it, so it is
//! fixed, and tested as it is written here.

use std::fmt::Write as _;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use bytes::Bytes;

use crate::log::digest_of;
use crate::messaging::bus::Source;
use crate::messaging::codec;
use crate::messaging::message::{Message, Outgoing, Way};
use crate::messaging::subject::Filter;

/// Words of a subject that say which slot a key has: one of 64.
pub(super) const BITS: u32 = 6;
/// Words before the subject proper, without those of the prefix: the way, whether there is a key, the slot.
const WORDS: usize = 2 + BITS as usize;

const KEY: &str = "Message-Key";
/// Milliseconds for which the one who asks still waits.
const WITHIN: &str = "Within";
/// Fields of metadata, and the headers they are in. The trace's is the W3C's, for whoever else reads along.
const FIELDS: [(&str, &str); 5] = [
    ("correlation", "Correlation-Id"),
    ("causation", "Causation-Id"),
    ("actor", "Actor"),
    ("tenant", "Tenant"),
    ("trace", "traceparent"),
];

/// Where a message goes: `shop.t.k.0.1.1.0.0.1.orders.placed`, or `shop.t.n.0.0.0.0.0.0.orders.placed` without a key.
///
/// One word for each bit of the slot, so that a consumer can take any half, quarter... of all keys by wildcards, which
/// servers before 2.10 need: they do not know consumers of several filters, nor subjects mapped by themselves.
pub(super) fn subject_of(prefix: &str, message: &Message) -> String {
    let way = way_word(message.content.way);
    match message.key() {
        Some(key) => format!("{prefix}.{way}.k.{}.{}", bits(slot(key), BITS), message.subject()),
        None => format!("{prefix}.{way}.n.{}.{}", bits(0, BITS), message.subject()),
    }
}

/// What a consumer takes: messages without key, or those of one of `lanes` equal parts of the slots.
pub(super) fn filter_of(prefix: &str, source: &Source, lane: Option<u32>, lanes: u32) -> String {
    let (way, filter) = match source {
        Source::Group { filter, .. } => (Way::Publish, filter.as_str()),
        Source::Queue { subject } => (Way::Send, subject.as_str()),
    };
    let way = way_word(way);
    match lane {
        None => format!("{prefix}.{way}.n.{}.{filter}", bits(0, BITS)),
        Some(lane) => {
            let fixed = lanes.trailing_zeros().min(BITS);
            let words = (0..BITS).map(|nth| match nth < fixed {
                true => {
                    if lane >> (fixed - 1 - nth) & 1 == 1 {
                        "1"
                    } else {
                        "0"
                    }
                }
                false => "*",
            });
            format!("{prefix}.{way}.k.{}.{filter}", words.collect::<Vec<_>>().join("."))
        }
    }
}

pub(super) fn question_subject(prefix: &str, subject: &str) -> String {
    format!("{prefix}.r.{subject}")
}

pub(super) fn answer_filter(prefix: &str, filter: &Filter) -> String {
    format!("{prefix}.r.{filter}")
}

/// All subjects of one way, which are the stream's.
pub(super) fn all_of(prefix: &str, way: Way) -> String {
    format!("{prefix}.{}.>", way_word(way))
}

pub(super) fn stream_name(prefix: &str, way: Way) -> String {
    let which = match way {
        Way::Publish => "topics",
        Way::Send => "queues",
    };
    format!("{}-{which}", plain(prefix))
}

/// What the consumer of one lane of a group or queue is called.
pub(super) fn consumer_name(source: &Source, lane: Option<u32>) -> String {
    let whose = match source {
        Source::Group { name, .. } => format!("g-{}", plain(name.as_str())),
        Source::Queue { subject } => format!("q-{}", plain(subject.as_str())),
    };
    match lane {
        None => format!("{whose}-n"),
        Some(lane) => format!("{whose}-k{lane}"),
    }
}

/// A name of letters, digits and `-`: anything else is written `_` and its number. A long one is cut and made distinct.
pub(super) fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            plain.push(char::from(byte));
        } else {
            let _ = write!(plain, "_{byte:02x}");
        }
    }
    if plain.len() > 200 {
        plain.truncate(183);
        let _ = write!(plain, "-{:016x}", digest_of(name.as_bytes()));
    }
    plain
}

pub(super) fn headers_of(message: &Message, within: Option<Duration>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, escaped(message.id.as_str()));
    if let Some(key) = message.key() {
        headers.insert(KEY, escaped(key));
    }
    for (field, value) in message.metadata().iter() {
        if let Some((_, header)) = FIELDS.iter().find(|(known, _)| *known == field) {
            headers.insert(*header, escaped(value));
        }
    }
    if let Some(within) = within {
        headers.insert(WITHIN, within.as_millis().to_string());
    }
    headers
}

/// The message of what came. What somebody else has put there has no id; `otherwise` is its.
pub(super) fn message_of(
    prefix: &str,
    way: Option<Way>,
    subject: &str,
    headers: Option<&HeaderMap>,
    payload: Bytes,
    otherwise: impl FnOnce() -> String,
) -> Message {
    let words = if way.is_some() { WORDS } else { 1 };
    let rest = subject.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).unwrap_or(subject);
    let rest = rest.splitn(words + 1, '.').last().unwrap_or(rest);
    let header = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| unescaped(value.as_str()));
    let fields: Vec<_> = FIELDS.iter().filter_map(|(field, name)| Some((*field, header(name)?))).collect();
    let mut content = Outgoing::new(rest, payload)
        .metadata(codec::metadata(fields.iter().map(|(field, value)| (*field, value.as_str()))));
    content.key = header(KEY).map(Into::into);
    content.way = way.unwrap_or_default();
    content.with_id(header(NATS_MESSAGE_ID.as_ref()).unwrap_or_else(otherwise))
}

pub(super) fn within_of(headers: Option<&HeaderMap>) -> Option<Duration> {
    let millis = headers?.get(WITHIN)?.as_str().parse().ok()?;
    Some(Duration::from_millis(millis))
}

fn way_word(way: Way) -> &'static str {
    match way {
        Way::Publish => "t",
        Way::Send => "q",
    }
}

fn slot(key: &str) -> u32 {
    // The last step of MurmurHash3 (Appleby, public domain): of keys that differ in their last digit alone, FNV's bits
    // differ in too few places.
    let mut mixed = digest_of(key.as_bytes());
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(factor);
    }
    mixed ^= mixed >> 33;
    u32::try_from(mixed % (1 << BITS)).unwrap_or(0)
}

fn bits(number: u32, count: u32) -> String {
    let words: Vec<&str> = (0..count).rev().map(|nth| if number >> nth & 1 == 1 { "1" } else { "0" }).collect();
    words.join(".")
}

/// Header values lose spaces at their ends, and not every client takes more than ASCII.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// What is not escaped as it should be is somebody else's, and left as it is.
fn unescaped(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        let escape = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, escape.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::log::Metadata;

    #[test]
    fn what_is_written_stays_as_it_is() {
        // Programs of two releases on one prefix: a key that changes its slot loses its order.
        let message = Message::new("m", "orders.placed", "");
        assert_eq!(subject_of("shop", &message), "shop.t.n.0.0.0.0.0.0.orders.placed");
        let sent = message.with_key("order-17").by(Way::Send);
        assert_eq!(subject_of("shop", &sent), "shop.q.k.0.0.0.1.0.1.orders.placed");
        let group = Source::Group { name: "billing eu".into(), filter: "orders.>".into() };
        assert_eq!(filter_of("shop", &group, None, 16), "shop.t.n.0.0.0.0.0.0.orders.>");
        assert_eq!(filter_of("shop", &group, Some(5), 16), "shop.t.k.0.1.0.1.*.*.orders.>");
        assert_eq!(filter_of("shop", &group, Some(0), 1), "shop.t.k.*.*.*.*.*.*.orders.>");
        assert_eq!(consumer_name(&group, Some(5)), "g-billing_20eu-k5");
        assert_eq!(stream_name("my.shop", Way::Publish), "my_2eshop-topics");
    }

    #[test]
    fn every_key_is_in_one_lane_and_none_is_empty() {
        for lanes in [1, 2, 16, 64] {
            let source = Source::Group { name: "g".into(), filter: ">".into() };
            let filters: Vec<Filter> =
                (0..lanes).map(|lane| filter_of("p", &source, Some(lane), lanes).as_str().into()).collect();
            let mut used = HashSet::new();
            for n in 0..2_000 {
                let message = Message::new("m", "a.b", "").with_key(format!("key-{n}"));
                let subject = subject_of("p", &message).into();
                let mut hits = filters.iter().enumerate().filter(|(_, filter)| filter.matches(&subject));
                used.insert(hits.next().unwrap().0);
                assert!(hits.next().is_none());
            }
            assert_eq!(used.len(), filters.len());
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_comes(
            id in "[^\\p{Cc}]{1,20}", key in proptest::option::of("[^\\p{Cc}]{1,20}"), actor in "[^\\p{Cc}]{1,20}", queued: bool,
        ) {
            let mut content = Outgoing::new("a.b-c.d", "x").metadata(Metadata::new().with_actor(actor.as_str()));
            content.key = key.map(Into::into);
            content.way = if queued { Way::Send } else { Way::Publish };
            let way = content.way;
            let message = content.with_id(id);
            let (subject, headers) = (subject_of("my.shop", &message), headers_of(&message, None));
            let back = message_of("my.shop", Some(way), &subject, Some(&headers), "x".into(), String::new);
            prop_assert_eq!(back, message);
        }

        #[test]
        fn no_two_names_are_written_alike(one in ".{0,90}", other in ".{0,90}") {
            prop_assume!(one != other);
            prop_assert_ne!(plain(&one), plain(&other));
            prop_assert!(plain(&one).len() <= 200);
        }

        #[test]
        fn what_others_send_is_read_without_a_panic(subject in ".*", value in "[ -~]*") {
            let mut headers = HeaderMap::new();
            headers.insert(KEY, value.as_str());
            let _ = message_of("p", Some(Way::Send), &subject, Some(&headers), Bytes::new(), || "id".into());
            let _ = within_of(Some(&headers));
        }
    }
}
