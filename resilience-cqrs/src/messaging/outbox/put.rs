//! Messages of the program's own making, in the append they belong to.

use bytes::Bytes;

use crate::log::{Append, Condition, EventType, Expected, NewEvent, Query, QueryItem, RowChange, Space, StreamId, Tag};
use crate::messaging::codec;
use crate::messaging::message::Message;

/// What marks a message in the log: that there is one, and which. What it says is in a row, which goes when it is sent.
const MARK: EventType = EventType::from_static("MessageQueued");

/// A place for messages that are to be sent if, and only if, an append happens.
///
/// Most messages need none of this: they say what an event says, and [the relay](super::Relay) makes them of it. This is
/// for those that do not: an e-mail to be sent, a command to another service.
///
/// ```
/// use resilience_cqrs::messaging::{Outbox, Outgoing};
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (store, outbox) = (MemoryStore::new(), Outbox::new("shop"));
/// let placed = Append::new().events("order-17", Expected::NoStream, [NewEvent::new("Placed", "")]);
/// let mail = Outgoing::for_queue("emails", "thank you").key("ann").with_id("order-17-thanks");
/// store.append(outbox.put(placed.clone(), &mail)).await?;
/// // Refused, and so is the mail.
/// assert!(store.append(outbox.put(placed, &mail)).await.is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Outbox {
    space: Space,
    stream: StreamId,
    tag: Tag,
}

impl Outbox {
    /// The outbox of the relay with this name.
    pub fn new(relay: &str) -> Self {
        Self {
            space: format!("outbox/{relay}").into(),
            stream: format!("outbox/{relay}").into(),
            tag: format!("outbox:{relay}").into(),
        }
    }

    /// Adds a message: it is sent after the append, in the order of the log, under its own id.
    ///
    /// The append conflicts if a message with this id waits already. A command that is tried again gives its message the
    /// same id each time, derived from its own.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{Outbox, Outgoing};
    /// use resilience_cqrs::{Append, EventStore, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (store, outbox) = (MemoryStore::new(), Outbox::new("shop"));
    /// let mail = |id: &str| Outgoing::for_queue("emails", "thank you").with_id(id);
    /// // Any number, and an append of nothing else is one, too.
    /// store.append(outbox.put(outbox.put(Append::new(), &mail("m1")), &mail("m2"))).await?;
    /// assert_eq!(store.head().get(), 2); // a mark for each
    /// let again = store.append(outbox.put(Append::new(), &mail("m1"))).await.unwrap_err();
    /// assert!(again.as_conflict().is_some(), "it waits already");
    /// # Ok(()) }
    /// ```
    pub fn put(&self, mut append: Append, message: &Message) -> Append {
        let key = Bytes::copy_from_slice(message.id.as_str().as_bytes());
        let mark = NewEvent::new(MARK, key.clone()).tag(self.tag.clone()).metadata(message.metadata().clone());
        match append.streams.iter_mut().find(|part| part.stream == self.stream) {
            Some(part) => part.events.push(mark),
            None => append = append.events(self.stream.clone(), Expected::Any, [mark]),
        }
        append.require(Condition::row_absent(self.space.clone(), key.clone())).row(RowChange::put(
            self.space.clone(),
            key,
            codec::encode(message),
        ))
    }

    /// The marks of its messages, beside whatever else.
    pub(super) fn with_marks(&self, query: Option<Query>) -> Query {
        let marks = QueryItem::new().types([MARK]).tags([self.tag.clone()]);
        match query {
            Some(query) => query.or(marks),
            None => Query::any([marks]),
        }
    }

    pub(super) fn is_mark(&self, event: &crate::log::Recorded) -> bool {
        event.kind == MARK && event.tags.contains(&self.tag)
    }

    pub(super) fn space(&self) -> &str {
        self.space.as_str()
    }

    /// Strikes a message out that was sent.
    pub(super) fn prune(&self, mark: &Bytes) -> RowChange {
        RowChange::delete(self.space.clone(), mark.clone())
    }
}
