//! Which events a decision or a reader is about.

use super::{EventType, Position, Tag};

/// Which events: any of its items matches.
///
/// An item matches an event whose type is any of the item's types *and* that has all of the item's tags; an item without
/// types matches every type. This is the query of the specification of dynamic consistency boundaries (dcb.events).
///
/// ```
/// use resilience_cqrs::{Query, QueryItem};
///
/// let capacity_and_my_enrolments = Query::any([
///     QueryItem::new().types(["StudentEnrolled", "CapacitySet"]).tags(["course:c1"]),
///     QueryItem::new().types(["StudentEnrolled"]).tags(["student:s1"]),
/// ]);
/// assert!(capacity_and_my_enrolments.matches(&"CapacitySet".into(), &["course:c1".into()]));
/// assert!(!capacity_and_my_enrolments.matches(&"CapacitySet".into(), &["student:s1".into()]));
/// assert!(Query::all().matches(&"Anything".into(), &[]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    items: Vec<QueryItem>,
}

impl Query {
    /// Every event.
    pub fn all() -> Self {
        Self { items: vec![QueryItem::new()] }
    }

    /// Every event that any of `items` matches; none at all if there are no items.
    ///
    /// ```
    /// use resilience_cqrs::Query;
    ///
    /// // An empty list of wishes is not a wish for everything.
    /// assert!(!Query::any([]).matches(&"Opened".into(), &[]));
    /// assert!(!Query::any([]).is_all());
    /// ```
    pub fn any(items: impl IntoIterator<Item = QueryItem>) -> Self {
        Self { items: items.into_iter().collect() }
    }

    /// Every event of any of these types.
    ///
    /// ```
    /// use resilience_cqrs::Query;
    ///
    /// let query = Query::types(["Opened", "Closed"]);
    /// assert!(query.matches(&"Closed".into(), &["owner:ann".into()]), "whatever its tags");
    /// assert!(!query.matches(&"Deposited".into(), &[]));
    /// ```
    pub fn types<T: Into<EventType>>(types: impl IntoIterator<Item = T>) -> Self {
        Self { items: vec![QueryItem::new().types(types)] }
    }

    /// Every event with all of these tags.
    ///
    /// ```
    /// use resilience_cqrs::{Query, QueryItem};
    ///
    /// // Tags of one item must all be there; for either of two, ask for two items.
    /// let both = Query::tags(["course:c1", "student:s1"]);
    /// assert!(!both.matches(&"StudentEnrolled".into(), &["course:c1".into()]));
    /// let either = Query::tags(["course:c1"]).or(QueryItem::new().tags(["student:s1"]));
    /// assert!(either.matches(&"StudentEnrolled".into(), &["course:c1".into()]));
    /// ```
    pub fn tags<T: Into<Tag>>(tags: impl IntoIterator<Item = T>) -> Self {
        Self { items: vec![QueryItem::new().tags(tags)] }
    }

    /// Adds an alternative.
    #[must_use]
    pub fn or(mut self, item: QueryItem) -> Self {
        self.items.push(item);
        self
    }

    /// The alternatives.
    pub fn items(&self) -> &[QueryItem] {
        &self.items
    }

    /// Whether it is known to match every event.
    ///
    /// ```
    /// use resilience_cqrs::{Query, QueryItem};
    ///
    /// assert!(Query::types(["Opened"]).or(QueryItem::new()).is_all(), "one item that matches all is enough");
    /// assert!(!Query::types(["Opened"]).is_all());
    /// ```
    pub fn is_all(&self) -> bool {
        self.items.iter().any(QueryItem::is_all)
    }

    /// Whether an event of this type with these tags is meant.
    pub fn matches(&self, kind: &EventType, tags: &[Tag]) -> bool {
        self.items.iter().any(|item| item.matches(kind, tags))
    }
}

/// One alternative of a [`Query`]: any of the types, and all of the tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct QueryItem {
    /// The types, any of which an event must have; empty means any type.
    pub types: Vec<EventType>,
    /// The tags, all of which an event must have.
    pub tags: Vec<Tag>,
}

impl QueryItem {
    /// Matches every event, until types or tags narrow it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds types, any of which an event must have.
    #[must_use]
    pub fn types<T: Into<EventType>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.types.extend(types.into_iter().map(Into::into));
        self
    }

    /// Adds tags, all of which an event must have.
    #[must_use]
    pub fn tags<T: Into<Tag>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Whether an event of this type with these tags is meant.
    pub fn matches(&self, kind: &EventType, tags: &[Tag]) -> bool {
        (self.types.is_empty() || self.types.contains(kind)) && self.tags.iter().all(|tag| tags.contains(tag))
    }

    pub(crate) fn is_all(&self) -> bool {
        self.types.is_empty() && self.tags.is_empty()
    }
}

/// Up to where a reader has seen everything; what a condition on a query is measured from.
///
/// Opaque, and minted by a read: [`Page::marker`](crate::Page::marker). The naive form of this, "the highest position I
/// know", is unsound on a log whose events can become visible out of order, and gets handed a number from somewhere
/// else on any log. A read that stopped at its limit gives a marker that covers no more than what it returned, so a
/// decision made on half the events conflicts with the other half.
///
/// ```
/// use resilience_cqrs::{Append, EventStore, Expected, Marker, MemoryStore, NewEvent, Position, Query};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let three = ["a", "b", "c"].map(|payload| NewEvent::new("Opened", payload));
/// store.append(Append::new().events("s", Expected::Any, three)).await?;
/// // One of three events was read, and no more than that was seen.
/// let page = store.read(Position::ORIGIN, &Query::all(), 1).await?;
/// assert_eq!(page.marker, Marker::seen_through(Position::new(1)));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Marker(Position);

impl Marker {
    /// Nothing was seen: the condition is about the whole log. "No event with this tag, ever."
    pub const START: Self = Self(Position::ORIGIN);

    /// For engines: everything up to and including `position` was seen.
    pub const fn seen_through(position: Position) -> Self {
        Self(position)
    }

    /// For engines: up to where everything was seen.
    pub const fn position(self) -> Position {
        self.0
    }
}
