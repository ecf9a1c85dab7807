//! What is sent, and what it is called.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use resilience_core::context::{Context, TraceParent};

use super::error::InvalidMessage;
use super::limits;
use super::subject::Subject;
use crate::log::{CommandId, Metadata};

/// A message: something that happened or is to be done, for whoever is concerned.
///
/// The [`id`](Self::id) is the same however often it is delivered; it is what an [`Inbox`](super::Inbox) goes by. Messages
/// of one [`key`](Self::key) are delivered in order, one at a time.
///
/// ```
/// use resilience_cqrs::Metadata;
/// use resilience_cqrs::messaging::{Message, Outgoing};
///
/// let shipped = Outgoing::new("orders.shipped", r#"{"order":17}"#)
///     .key("order-17")
///     .metadata(Metadata::new().with_correlation("checkout-9"))
///     .with_id("parcel-4");
/// assert_eq!((shipped.id.as_str(), shipped.key()), ("parcel-4", Some("order-17")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Names this message, however often it is sent and delivered. Chosen by the sender, before the first attempt.
    pub id: MessageId,
    /// The rest.
    pub content: Outgoing,
}

/// A message that has no id yet: what the mapping of an [outbox](super::outbox) makes of an event.
///
/// ```
/// use resilience_cqrs::messaging::{Outgoing, Way};
///
/// let mail = Outgoing::for_queue("emails", "thank you").key("ann");
/// assert_eq!((mail.way, mail.key.as_deref()), (Way::Send, Some("ann")));
/// // Nothing is known of who caused it; a relay fills in what is known of the event.
/// assert!(mail.metadata.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Who is concerned: the topic it is about, or the queue it is for.
    pub subject: Subject,
    /// What it is about. Messages of one key are in order; those without one are in none.
    pub key: Option<Arc<str>>,
    /// What the sender puts into it; a bus does not look inside.
    pub payload: Bytes,
    /// Who and what caused it.
    pub metadata: Metadata,
    /// How it is sent by those who send it for others; on arrival, how it came.
    pub way: Way,
}

/// The two ways of a message that nobody waits for an answer to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// By [`publish`](super::Bus::publish): to every group that has subscribed to its subject.
    #[default]
    Publish,
    /// By [`send`](super::Bus::send): to the queue that is called like its subject.
    Send,
}

impl Outgoing {
    /// A message without key and metadata, to be published.
    pub fn new(subject: impl Into<Subject>, payload: impl Into<Bytes>) -> Self {
        let (subject, payload) = (subject.into(), payload.into());
        Self { subject, key: None, payload, metadata: Metadata::new(), way: Way::Publish }
    }

    /// A message for a queue, without key and metadata.
    pub fn for_queue(queue: impl Into<Subject>, payload: impl Into<Bytes>) -> Self {
        Self { way: Way::Send, ..Self::new(queue, payload) }
    }

    /// Sets what it is about.
    #[must_use]
    pub fn key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets who and what caused it.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Gives it its id.
    pub fn with_id(self, id: impl Into<MessageId>) -> Message {
        Message { id: id.into(), content: self }
    }

    /// Checks it against the [limits]; every bus does this first.
    ///
    /// ```
    /// use resilience_cqrs::messaging::limits::PAYLOAD_BYTES;
    /// use resilience_cqrs::messaging::Outgoing;
    ///
    /// let of = |bytes| Outgoing::new("files.stored", vec![0; bytes]).validate();
    /// assert_eq!(of(PAYLOAD_BYTES), Ok(()));
    /// // A file belongs elsewhere, and its name into the message.
    /// let error = of(PAYLOAD_BYTES + 1).unwrap_err();
    /// assert_eq!(error.to_string(), "the payload has 1040385 bytes, at most 1040384 may be");
    /// ```
    ///
    /// # Errors
    /// What is too long, empty or badly named.
    pub fn validate(&self) -> Result<(), InvalidMessage> {
        self.subject.validate()?;
        if let Some(key) = self.key.as_deref() {
            limits::name("key", key)?;
        }
        for (field, value) in self.metadata.iter() {
            limits::name(field, value)?;
        }
        limits::short_enough("payload", self.payload.len(), limits::PAYLOAD_BYTES)
    }
}

impl Message {
    /// A message without key and metadata; [`Outgoing`] sets more.
    pub fn new(id: impl Into<MessageId>, subject: impl Into<Subject>, payload: impl Into<Bytes>) -> Self {
        Outgoing::new(subject, payload).with_id(id)
    }

    /// Sets what it is about.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.content.key = Some(key.into());
        self
    }

    /// Sets who and what caused it.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.content.metadata = metadata;
        self
    }

    pub(super) fn by(mut self, way: Way) -> Self {
        self.content.way = way;
        self
    }

    /// Who is concerned.
    pub fn subject(&self) -> &Subject {
        &self.content.subject
    }

    /// What it is about.
    pub fn key(&self) -> Option<&str> {
        self.content.key.as_deref()
    }

    /// What the sender put into it.
    pub fn payload(&self) -> &Bytes {
        &self.content.payload
    }

    /// Who and what caused it.
    pub fn metadata(&self) -> &Metadata {
        &self.content.metadata
    }

    /// The context in which it is handled: what comes of it is caused by this message, and belongs to whatever the message
    /// belongs to. A message without a correlation is itself the beginning.
    ///
    /// ```
    /// use resilience_cqrs::Metadata;
    /// use resilience_cqrs::messaging::Message;
    ///
    /// let context = Message::new("m1", "orders.placed", "").context();
    /// let effect = Metadata::from_context(&context);
    /// assert_eq!((effect.correlation(), effect.causation()), (Some("m1"), Some("m1")));
    /// ```
    pub fn context(&self) -> Context {
        let correlation = self.metadata().correlation().unwrap_or(self.id.as_str());
        let context = Context::new().with_correlation_id(correlation).with_causation_id(self.id.as_str());
        let context = context.with_idempotency_key(self.id.as_str());
        match self.metadata().trace().and_then(TraceParent::parse) {
            Some(parent) => context.with_trace_parent(parent),
            None => context,
        }
    }

    /// Checks it against the [limits]; every bus does this first.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{InvalidMessage, Message};
    ///
    /// let nameless = Message::new("", "orders.placed", "17").validate();
    /// assert_eq!(nameless, Err(InvalidMessage::Empty { what: "message id" }));
    /// ```
    ///
    /// # Errors
    /// What is too long, empty or badly named.
    pub fn validate(&self) -> Result<(), InvalidMessage> {
        limits::name("message id", self.id.as_str())?;
        self.content.validate()
    }
}

/// Names a message, so that one that comes twice is recognised.
///
/// Cheap to clone. Any text can be made into one; a bus refuses what is empty, too long or has control characters.
///
/// ```
/// use resilience_cqrs::messaging::MessageId;
///
/// assert_eq!(MessageId::from(format!("orders-{}", 17)).as_str(), "orders-17");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for MessageId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for MessageId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&CommandId> for MessageId {
    fn from(id: &CommandId) -> Self {
        Self(id.as_str().into())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
