//! What is appended and what is read back.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use resilience_core::context::Context;
use resilience_core::time::WallTime;

use super::{EventType, Position, StreamId, Tag, Version};

/// An event to be appended: what happened, about what, and its payload as the log keeps it.
///
/// The log does not look into the payload.
///
/// ```
/// use resilience_cqrs::{Metadata, NewEvent};
///
/// let event = NewEvent::new("MoneyDeposited", r#"{"cents":500}"#)
///     .tag("owner:ann")
///     .metadata(Metadata::new().with_actor("teller-3"));
/// assert_eq!(event.kind, "MoneyDeposited");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// What kind of thing happened.
    pub kind: EventType,
    /// What it is about.
    pub tags: Vec<Tag>,
    /// What the writer puts into it; the log does not look inside.
    pub payload: Bytes,
    /// Who and what caused it.
    pub metadata: Metadata,
}

impl NewEvent {
    /// An event without tags and metadata.
    pub fn new(kind: impl Into<EventType>, payload: impl Into<Bytes>) -> Self {
        Self { kind: kind.into(), tags: Vec::new(), payload: payload.into(), metadata: Metadata::new() }
    }

    /// Adds a tag; one that is there already is not added twice.
    ///
    /// ```
    /// use resilience_cqrs::NewEvent;
    ///
    /// let event = NewEvent::new("StudentEnrolled", "").tags(["student:s1", "course:c1"]).tag("student:s1");
    /// assert_eq!(event.tags, ["student:s1", "course:c1"]);
    /// ```
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Tag>) -> Self {
        let tag = tag.into();
        if !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
        self
    }

    /// Adds several tags.
    #[must_use]
    pub fn tags<T: Into<Tag>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        tags.into_iter().fold(self, |event, tag| event.tag(tag))
    }

    /// Sets who and what caused it.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }
}

/// An event as the log has it.
///
/// ```
/// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Position, Query, Version};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await?;
/// store.append(Append::new().events("b", Expected::Any, [NewEvent::new("Opened", "")])).await?;
/// // Second in the log, first in its stream.
/// let page = store.read(Position::new(1), &Query::all(), 10).await?;
/// assert_eq!((page.events[0].position, page.events[0].version), (Position::new(2), Version::new(1)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the log.
    pub position: Position,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its number in that stream, from 1.
    pub version: Version,
    /// What kind of thing happened.
    pub kind: EventType,
    /// What it is about, in the order given.
    pub tags: Vec<Tag>,
    /// What the writer put into it.
    pub payload: Bytes,
    /// Who and what caused it.
    pub metadata: Metadata,
    /// The writer's calendar time at the commit. For people: clocks jump, order is in `position`.
    pub recorded_at: WallTime,
}

/// Who and what caused an event. Typed, because a map of strings is spelled differently by everyone who fills it.
///
/// Empty metadata costs one word; a full one is shared between the events of an append.
///
/// ```
/// use resilience_cqrs::Metadata;
///
/// let metadata = Metadata::new().with_correlation("order-17").with_causation("cmd-4");
/// assert_eq!(metadata.correlation(), Some("order-17"));
/// assert_eq!(metadata.actor(), None);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    fields: Option<Arc<Fields>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fields {
    correlation: Option<Arc<str>>,
    causation: Option<Arc<str>>,
    actor: Option<Arc<str>>,
    tenant: Option<Arc<str>>,
    trace: Option<Arc<str>>,
}

impl Metadata {
    /// Nothing known.
    pub const fn new() -> Self {
        Self { fields: None }
    }

    /// Correlation, causation and trace as the call in progress carries them.
    ///
    /// ```
    /// use resilience_core::context::Context;
    /// use resilience_cqrs::Metadata;
    ///
    /// let call = Context::new().with_correlation_id("checkout-9").with_causation_id("request-4");
    /// let metadata = Metadata::from_context(&call);
    /// assert_eq!((metadata.correlation(), metadata.causation()), (Some("checkout-9"), Some("request-4")));
    /// // On whose behalf it is, a call does not say; whoever has checked that, does.
    /// assert_eq!(metadata.with_actor("ann").actor(), Some("ann"));
    /// ```
    pub fn from_context(context: &Context) -> Self {
        let mut metadata = Self::new();
        if let Some(id) = context.correlation_id() {
            metadata = metadata.with_correlation(id.clone());
        }
        if let Some(id) = context.causation_id() {
            metadata = metadata.with_causation(id.clone());
        }
        if let Some(parent) = context.trace_parent() {
            metadata = metadata.with_trace(parent.to_string());
        }
        metadata
    }

    /// Sets the id shared by everything one original request causes.
    #[must_use]
    pub fn with_correlation(mut self, id: impl Into<Arc<str>>) -> Self {
        self.fields_mut().correlation = Some(id.into());
        self
    }

    /// Sets the id of the message that directly caused the event.
    #[must_use]
    pub fn with_causation(mut self, id: impl Into<Arc<str>>) -> Self {
        self.fields_mut().causation = Some(id.into());
        self
    }

    /// Sets on whose behalf it happened.
    #[must_use]
    pub fn with_actor(mut self, actor: impl Into<Arc<str>>) -> Self {
        self.fields_mut().actor = Some(actor.into());
        self
    }

    /// Sets whose data it is.
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        self.fields_mut().tenant = Some(tenant.into());
        self
    }

    /// Sets the trace it belongs to, as a W3C `traceparent`.
    #[must_use]
    pub fn with_trace(mut self, trace: impl Into<Arc<str>>) -> Self {
        self.fields_mut().trace = Some(trace.into());
        self
    }

    /// The id shared by everything one original request causes.
    pub fn correlation(&self) -> Option<&str> {
        self.fields.as_ref()?.correlation.as_deref()
    }

    /// The id of the message that directly caused the event.
    pub fn causation(&self) -> Option<&str> {
        self.fields.as_ref()?.causation.as_deref()
    }

    /// On whose behalf it happened.
    pub fn actor(&self) -> Option<&str> {
        self.fields.as_ref()?.actor.as_deref()
    }

    /// Whose data it is.
    pub fn tenant(&self) -> Option<&str> {
        self.fields.as_ref()?.tenant.as_deref()
    }

    /// The trace it belongs to, as a W3C `traceparent`.
    pub fn trace(&self) -> Option<&str> {
        self.fields.as_ref()?.trace.as_deref()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.fields.is_none()
    }

    /// The fields that are set, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let named = [
            ("correlation", self.correlation()),
            ("causation", self.causation()),
            ("actor", self.actor()),
            ("tenant", self.tenant()),
            ("trace", self.trace()),
        ];
        named.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)))
    }

    fn fields_mut(&mut self) -> &mut Fields {
        Arc::make_mut(self.fields.get_or_insert_with(Arc::default))
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
