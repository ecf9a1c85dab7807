//! Streams and consumers: asked for, and compared with what was granted. A server passes over fields it does not know.

use std::fmt::Debug;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config as Consumer, DeliverPolicy, Info as ConsumerInfo};
use async_nats::jetstream::context::{Context, RequestErrorKind};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{
    Config as Stream, DiscardPolicy, Info as StreamInfo, RetentionPolicy, StorageType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::config::Settings;
use super::link::{Link, unavailable};
use super::wire;
use crate::messaging::bus::{Source, Subscribe};
use crate::messaging::error::BusError;
use crate::messaging::limits;
use crate::messaging::message::Way;

/// What headers may need beside the payload.
const HEADER_BYTES: usize = 8 << 10;
/// Requests for messages that the server keeps for each consumer.
const MAX_WAITING: i64 = 2_048;

/// The streams of both ways.
pub(super) async fn streams(link: &Link, context: &Context, settings: &Settings) -> Result<(), BusError> {
    let largest = link.client.max_payload();
    let needed = limits::PAYLOAD_BYTES + HEADER_BYTES;
    if largest < needed {
        return Err(mismatch("the server", "max_payload", needed, largest));
    }
    for way in [Way::Publish, Way::Send] {
        let asked = stream(settings, way);
        let info = format!("STREAM.INFO.{}", asked.name);
        let granted = match call::<StreamInfo>(link, context, info, &json!({})).await? {
            Some(found) => found.config,
            None => {
                let create = format!("STREAM.CREATE.{}", asked.name);
                let created = call::<StreamInfo>(link, context, create, &asked).await?;
                created.ok_or_else(|| gone(&asked.name))?.config
            }
        };
        same_stream(&asked, &granted)?;
    }
    Ok(())
}

/// The consumers of a group or queue: one for messages without key, and one for each lane of keys.
pub(super) async fn consumers(
    link: &Link,
    context: &Context,
    settings: &Settings,
    to: &Subscribe,
) -> Result<Vec<String>, BusError> {
    let lanes = std::iter::once(None).chain((0..settings.key_lanes).map(Some));
    let made = lanes.map(|lane| async move {
        let asked = consumer(settings, to, lane);
        let name = wire::consumer_name(&to.source, lane);
        let stream = wire::stream_name(&settings.prefix, way_of(&to.source));
        let info = format!("CONSUMER.INFO.{stream}.{name}");
        let found = call::<ConsumerInfo>(link, context, info, &json!({})).await?.map(|found| found.config);
        if let Some(found) = &found {
            if found.filter_subject != asked.filter_subject {
                let why =
                    format!("{name} exists, and hears {} instead of {}", found.filter_subject, asked.filter_subject);
                return Err(BusError::Refused { why });
            }
            if same_consumer(&asked, found).is_ok() {
                return Ok(name);
            }
        }
        // It is not there, or its limits change.
        let create = format!("CONSUMER.DURABLE.CREATE.{stream}.{name}");
        let body = json!({ "stream_name": stream, "config": asked });
        let granted = call::<ConsumerInfo>(link, context, create, &body).await?.ok_or_else(|| gone(&stream))?;
        same_consumer(&asked, &granted.config).map(|()| name)
    });
    futures::future::try_join_all(made).await
}

pub(super) fn way_of(source: &Source) -> Way {
    match source {
        Source::Group { .. } => Way::Publish,
        Source::Queue { .. } => Way::Send,
    }
}

fn stream(settings: &Settings, way: Way) -> Stream {
    Stream {
        name: wire::stream_name(&settings.prefix, way),
        subjects: vec![wire::all_of(&settings.prefix, way)],
        // Not by interest, and not as a work queue: see "not by interest" at the top of the module.
        retention: RetentionPolicy::Limits,
        // What has no room is refused: the oldest is not dropped for it.
        discard: DiscardPolicy::New,
        max_messages: i64::try_from(settings.max_messages).unwrap_or(i64::MAX),
        max_bytes: i64::try_from(settings.max_bytes).unwrap_or(i64::MAX),
        max_messages_per_subject: -1,
        max_consumers: -1,
        max_message_size: -1,
        max_age: Duration::ZERO,
        storage: StorageType::File,
        num_replicas: settings.replicas,
        duplicate_window: settings.duplicate_window,
        ..Stream::default()
    }
}

fn consumer(settings: &Settings, to: &Subscribe, lane: Option<u32>) -> Consumer {
    let name = wire::consumer_name(&to.source, lane);
    Consumer {
        durable_name: Some(name),
        // A group hears what is published from now on, a queue has kept what was sent.
        deliver_policy: match to.source {
            Source::Group { .. } => DeliverPolicy::New,
            Source::Queue { .. } => DeliverPolicy::All,
        },
        ack_policy: AckPolicy::Explicit,
        ack_wait: to.ack_wait,
        // Unlimited: when to give up is the consumer's to say.
        max_deliver: -1,
        filter_subject: wire::filter_of(&settings.prefix, &to.source, lane, settings.key_lanes),
        // One of a lane under way at a time, whoever consumes: that is the order of its keys.
        max_ack_pending: if lane.is_some() { 1 } else { i64::from(to.in_flight.get()) },
        max_waiting: MAX_WAITING,
        ..Consumer::default()
    }
}

fn same_stream(asked: &Stream, granted: &Stream) -> Result<(), BusError> {
    let what = format!("the stream {}", asked.name);
    same(&what, "subjects", &asked.subjects, &granted.subjects)?;
    same(&what, "retention", &asked.retention, &granted.retention)?;
    same(&what, "discard", &asked.discard, &granted.discard)?;
    same(&what, "deny_purge", &asked.deny_purge, &granted.deny_purge)?;
    same(&what, "max_messages", &asked.max_messages, &granted.max_messages)?;
    same(&what, "max_bytes", &asked.max_bytes, &granted.max_bytes)?;
    same(&what, "max_messages_per_subject", &asked.max_messages_per_subject, &granted.max_messages_per_subject)?;
    same(&what, "max_age", &asked.max_age, &granted.max_age)?;
    same(&what, "storage", &asked.storage, &granted.storage)?;
    same(&what, "num_replicas", &asked.num_replicas, &granted.num_replicas)?;
    same(&what, "no_ack", &asked.no_ack, &granted.no_ack)?;
    same(&what, "duplicate_window", &asked.duplicate_window, &granted.duplicate_window)
}

fn same_consumer(asked: &Consumer, granted: &Consumer) -> Result<(), BusError> {
    let what = format!("the consumer {}", asked.durable_name.as_deref().unwrap_or_default());
    same(&what, "durable_name", &asked.durable_name, &granted.durable_name)?;
    same(&what, "filter_subject", &asked.filter_subject, &granted.filter_subject)?;
    same(&what, "deliver_policy", &asked.deliver_policy, &granted.deliver_policy)?;
    same(&what, "ack_policy", &asked.ack_policy, &granted.ack_policy)?;
    same(&what, "ack_wait", &asked.ack_wait, &granted.ack_wait)?;
    same(&what, "max_deliver", &asked.max_deliver, &granted.max_deliver)?;
    same(&what, "max_ack_pending", &asked.max_ack_pending, &granted.max_ack_pending)?;
    same(&what, "max_waiting", &asked.max_waiting, &granted.max_waiting)
}

fn same<T: PartialEq + Debug>(what: &str, field: &'static str, asked: &T, granted: &T) -> Result<(), BusError> {
    if asked == granted { Ok(()) } else { Err(mismatch(what, field, asked, granted)) }
}

fn mismatch(what: &str, field: &'static str, asked: impl Debug, granted: impl Debug) -> BusError {
    BusError::Mismatch { what: what.into(), field, asked: format!("{asked:?}"), granted: format!("{granted:?}") }
}

fn gone(name: &str) -> BusError {
    BusError::Refused { why: format!("{name} is not there") }
}

/// Asks JetStream's API; `None` is what it does not have.
pub(super) async fn call<T: DeserializeOwned>(
    link: &Link,
    context: &Context,
    subject: String,
    body: &impl Serialize,
) -> Result<Option<T>, BusError> {
    match context.request(subject, body).await {
        Ok(Response::Ok(found)) => Ok(Some(found)),
        Ok(Response::Err { error }) if error.code() == 404 => Ok(None),
        Ok(Response::Err { error }) if error.code() >= 500 => Err(unavailable("JetStream cannot do it", error)),
        Ok(Response::Err { error }) => Err(BusError::Refused { why: error.to_string() }),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => {
            Err(BusError::Refused { why: format!("{} has no JetStream (`nats-server -js`)", link.name) })
        }
        Err(error) => Err(unavailable("JetStream did not answer", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_an_old_server_passes_over_is_named() {
        let settings = Settings::default();
        let asked = stream(&settings, Way::Publish);
        assert!(same_stream(&asked, &asked.clone()).is_ok());
        let granted = Stream { duplicate_window: Duration::ZERO, ..asked.clone() };
        let error = same_stream(&asked, &granted).unwrap_err().to_string();
        assert!(error.contains("`duplicate_window` was asked to be 120s, and the broker made it 0ns"), "{error}");

        let asked = consumer(&settings, &Subscribe::group("g", "a.>"), Some(3));
        assert!(same_consumer(&asked, &asked.clone()).is_ok());
        let granted = Consumer { filter_subject: String::new(), ..asked.clone() };
        let error = same_consumer(&asked, &granted).unwrap_err().to_string();
        assert!(error.contains("g-g-k3") && error.contains("`filter_subject`"), "{error}");
    }
}
