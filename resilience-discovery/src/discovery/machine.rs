//! The rules: what a source's statements make of the set of endpoints in use.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use resilience_core::ConfigError;
use resilience_core::time::Timestamp;

use crate::{Endpoint, EndpointId, Freshness, Snapshot, Update};

/// When a source's statement is believed, and when it is acted on.
///
/// The defaults and their reasons are in the [module's table](crate::discovery#defaults).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rules {
    /// How many statements of "there are none" it takes to believe it.
    pub empty_confirmations: u32,
    /// How long those statements must span.
    pub empty_span: Duration,
    /// The largest share of the endpoints that one statement may take away unconfirmed; 1.0 lets every one through.
    pub max_shrink: f64,
    /// How long a statement that takes away more must be repeated.
    pub shrink_span: Duration,
    /// How long an endpoint stays after the source stopped naming it, so that one that flaps is not dropped.
    pub removal_grace: Duration,
    /// How long changes are gathered before they are published together.
    pub debounce: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            empty_confirmations: 2,
            empty_span: Duration::from_secs(30),
            max_shrink: 0.5,
            shrink_span: Duration::from_secs(30),
            removal_grace: Duration::ZERO,
            debounce: Duration::from_millis(100),
        }
    }
}

impl Rules {
    /// Checks that the rules can work.
    ///
    /// ```
    /// use resilience_discovery::Rules;
    ///
    /// let mut rules = Rules::default();
    /// assert!(rules.validate().is_ok());
    /// rules.max_shrink = 50.0; // a share, not a percentage
    /// assert!(rules.validate().unwrap_err().to_string().contains("max_shrink"));
    /// ```
    ///
    /// # Errors
    ///
    /// When `empty_confirmations` is zero, or `max_shrink` is not within 0 and 1.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.empty_confirmations == 0 {
            return Err(ConfigError::new("empty_confirmations", "must be above zero"));
        }
        if !(0.0..=1.0).contains(&self.max_shrink) {
            return Err(ConfigError::new("max_shrink", "must be within 0 and 1"));
        }
        Ok(())
    }
}

/// What one input changed.
///
/// ```
/// use resilience_discovery::{Changes, Freshness};
///
/// // News about trust alone leaves the endpoints, and so the snapshot's version, as they were.
/// let changes = Changes { freshness: Some(Freshness::Live), ..Changes::default() };
/// assert!(!changes.is_empty() && !changes.endpoints_changed());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Endpoints that are in use from now on.
    pub added: Vec<Endpoint>,
    /// Endpoints that are not in use any more.
    pub removed: Vec<Endpoint>,
    /// Endpoints whose address, weight, zone or metadata changed, as they are now.
    pub changed: Vec<Endpoint>,
    /// The freshness, if it changed.
    pub freshness: Option<Freshness>,
    /// How many endpoints are kept against the source's word, if that number changed and is not zero.
    pub withheld: Option<usize>,
}

impl Changes {
    /// Whether the endpoints changed, and with them the snapshot's version.
    pub fn endpoints_changed(&self) -> bool {
        !(self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty())
    }

    /// Whether nothing changed at all.
    pub fn is_empty(&self) -> bool {
        !self.endpoints_changed() && self.freshness.is_none() && self.withheld.is_none()
    }
}

/// The endpoints in use, given everything a source has said.
///
/// A deterministic machine: statements and the time go in, snapshots and changes come out. [`Discovery`] drives one; it is
/// public for those who drive it themselves.
///
/// ```
/// use std::net::SocketAddr;
/// use std::time::Duration;
/// use resilience_core::time::Timestamp;
/// use resilience_discovery::{Endpoint, EndpointSet, Freshness, Rules, Update};
///
/// let start = Timestamp::ORIGIN;
/// let mut set = EndpointSet::new(Rules::default(), start);
/// let endpoint = Endpoint::at(SocketAddr::from(([10, 0, 0, 7], 8080)));
/// let changes = set.apply(Update::Endpoints(vec![endpoint]), start);
/// assert_eq!((changes.added.len(), changes.freshness), (1, Some(Freshness::Live)));
///
/// // "There are none", said once, is not believed.
/// let doubt = start + Duration::from_secs(60);
/// set.apply(Update::Endpoints(vec![]), doubt);
/// assert_eq!(set.snapshot().endpoints().len(), 1);
/// assert_eq!(set.snapshot().freshness(), Freshness::Stale { since: doubt });
/// ```
///
#[cfg_attr(feature = "tokio", doc = "[`Discovery`]: crate::Discovery")]
#[cfg_attr(not(feature = "tokio"), doc = "[`Discovery`]: crate::discovery")]
#[derive(Clone, Debug)]
pub struct EndpointSet {
    rules: Rules,
    held: BTreeMap<EndpointId, Held>,
    source: Heard,
    /// How many endpoints the source named in its last statement.
    stated: usize,
    /// How many it named in the last statement that was believed: what a shrinking one is measured against.
    believed: usize,
    /// When the changes gathered so far are published; `None` if there are none.
    publish_at: Option<Timestamp>,
    published: Snapshot,
}

#[derive(Clone, Copy, Debug)]
enum Heard {
    Never,
    Speaks,
    Failed { since: Timestamp },
}

#[derive(Clone, Debug)]
struct Held {
    endpoint: Endpoint,
    missing: Option<Missing>,
}

/// The source does not name it any more.
#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Timestamp,
    statements: u32,
}

/// What it takes to drop a missing endpoint.
#[derive(Clone, Copy, Debug)]
struct Patience {
    statements: u32,
    span: Duration,
    doubted: bool,
}

impl EndpointSet {
    /// A set that has heard nothing yet: empty, and stale since `now`.
    pub fn new(rules: Rules, now: Timestamp) -> Self {
        Self {
            rules,
            held: BTreeMap::new(),
            source: Heard::Never,
            stated: 0,
            believed: 0,
            publish_at: None,
            published: Snapshot::unheard(now),
        }
    }

    /// The source said something.
    pub fn apply(&mut self, update: Update, now: Timestamp) -> Changes {
        match update {
            Update::Endpoints(endpoints) => self.state(endpoints, now),
            // There is nothing yet that could be unchanged.
            Update::Unchanged if self.is_unheard() => return Changes::default(),
            Update::Unchanged => self.confirm(),
        }
        self.source = Heard::Speaks;
        self.drop_missing(now, true);
        self.publish(now)
    }

    /// The source failed: what is known stays in use, and is stale from the first failure on.
    pub fn fail(&mut self, now: Timestamp) -> Changes {
        if let Heard::Speaks = self.source {
            self.source = Heard::Failed { since: now };
        }
        self.publish(now)
    }

    /// Time passed: publishes what was gathered for long enough and drops what was missing for long enough.
    pub fn tick(&mut self, now: Timestamp) -> Changes {
        self.drop_missing(now, false);
        self.publish(now)
    }

    /// When [`tick`](Self::tick) has something to do.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::time::Timestamp;
    /// use resilience_discovery::{Address, Endpoint, EndpointSet, Rules, Update};
    ///
    /// let now = Timestamp::ORIGIN;
    /// let [a, b] = ["a:80", "b:80"].map(|at| Endpoint::at(Address::try_from(at).unwrap()));
    /// let mut set = EndpointSet::new(Rules::default(), now);
    /// set.apply(Update::Endpoints(vec![a.clone()]), now);
    /// assert_eq!(set.next_wake_up(), None, "the first endpoints are published at once");
    ///
    /// // Later ones are gathered; nothing happens before the machine is told that time has passed.
    /// assert!(set.apply(Update::Endpoints(vec![a, b]), now).is_empty());
    /// let due = set.next_wake_up().unwrap();
    /// assert_eq!(due, now + Duration::from_millis(100));
    /// assert_eq!(set.tick(due).added.len(), 1);
    /// ```
    pub fn next_wake_up(&self) -> Option<Timestamp> {
        let patience = self.patience();
        let missing = self.held.values().filter_map(|held| held.missing);
        let grace_ends = missing.map(|missing| missing.since + patience.span).min();
        // What is doubted waits for the source's next word, not for a time.
        [self.publish_at, grace_ends.filter(|_| !patience.doubted)].into_iter().flatten().min()
    }

    /// What is published: clones of it share the list.
    pub fn snapshot(&self) -> &Snapshot {
        &self.published
    }

    fn state(&mut self, endpoints: Vec<Endpoint>, now: Timestamp) {
        let mut named = HashSet::with_capacity(endpoints.len());
        let mut dirty = false;
        for endpoint in endpoints {
            if !named.insert(endpoint.id().clone()) {
                continue;
            }
            match self.held.get_mut(endpoint.id().as_str()) {
                Some(held) => {
                    held.missing = None;
                    if held.endpoint != endpoint {
                        held.endpoint = endpoint;
                        dirty = true;
                    }
                }
                None => {
                    self.held.insert(endpoint.id().clone(), Held { endpoint, missing: None });
                    dirty = true;
                }
            }
        }
        if named.len() < self.held.len() {
            for held in self.held.values_mut().filter(|held| !named.contains(held.endpoint.id())) {
                held.missing.get_or_insert(Missing { since: now, statements: 0 }).statements += 1;
            }
        }
        self.stated = named.len();
        if !self.patience().doubted {
            self.believed = self.stated;
        }
        if dirty {
            self.gather(now);
        }
    }

    fn confirm(&mut self) {
        for missing in self.held.values_mut().filter_map(|held| held.missing.as_mut()) {
            missing.statements = missing.statements.saturating_add(1);
        }
    }

    /// Drops the missing endpoints whose time has come. A doubted statement is acted on only when it is `spoken` again:
    /// the passing of time confirms nothing.
    fn drop_missing(&mut self, now: Timestamp, spoken: bool) {
        let patience = self.patience();
        if patience.doubted && !spoken {
            return;
        }
        let before = self.held.len();
        self.held.retain(|_, held| {
            let due =
                |missing: Missing| missing.statements >= patience.statements && missing.since + patience.span <= now;
            !held.missing.is_some_and(due)
        });
        if self.held.len() < before {
            if self.held.values().all(|held| held.missing.is_none()) {
                self.believed = self.stated;
            }
            self.gather(now);
        }
    }

    fn patience(&self) -> Patience {
        let Rules { empty_confirmations, empty_span, max_shrink, shrink_span, removal_grace, .. } = self.rules;
        if self.stated == 0 && !self.held.is_empty() {
            Patience { statements: empty_confirmations, span: empty_span.max(removal_grace), doubted: true }
        } else if (self.stated as f64) < self.believed as f64 * (1.0 - max_shrink) {
            Patience { statements: 2, span: shrink_span.max(removal_grace), doubted: true }
        } else {
            Patience { statements: 1, span: removal_grace, doubted: false }
        }
    }

    /// Starts the gathering of changes, or ends it at once where waiting would cost calls.
    fn gather(&mut self, now: Timestamp) {
        let urgent = self.published.endpoints.is_empty() || self.held.is_empty();
        let due = if urgent { now } else { now + self.rules.debounce };
        self.publish_at = Some(self.publish_at.map_or(due, |already| already.min(due)));
    }

    fn publish(&mut self, now: Timestamp) -> Changes {
        let mut changes = Changes::default();
        if self.publish_at.is_some_and(|at| at <= now) {
            self.publish_at = None;
            self.publish_endpoints(&mut changes);
        }
        let freshness = self.freshness();
        if freshness != self.published.freshness {
            if self.published.version == 0 && !matches!(self.source, Heard::Never) {
                // The first statement, though it names nobody.
                self.published.version = 1;
            }
            self.published.freshness = freshness;
            changes.freshness = Some(freshness);
        }
        let suspects = self.suspects();
        if *suspects != *self.published.suspects {
            changes.withheld = (!suspects.is_empty()).then_some(suspects.len());
            self.published.suspects = suspects.into();
        }
        changes
    }

    fn publish_endpoints(&mut self, changes: &mut Changes) {
        let old = &self.published;
        for (id, held) in &self.held {
            match old.endpoint(id.as_str()) {
                None => changes.added.push(held.endpoint.clone()),
                Some(known) if *known != held.endpoint => changes.changed.push(held.endpoint.clone()),
                Some(_) => {}
            }
        }
        let gone = old.endpoints.iter().filter(|endpoint| !self.held.contains_key(endpoint.id()));
        changes.removed.extend(gone.cloned());
        if changes.endpoints_changed() {
            self.published.version += 1;
            self.published.endpoints = self.held.values().map(|held| held.endpoint.clone()).collect();
        }
    }

    fn freshness(&self) -> Freshness {
        match self.source {
            Heard::Never => return self.published.freshness,
            Heard::Failed { since } => return Freshness::Stale { since },
            Heard::Speaks => {}
        }
        let doubted_since = || self.held.values().filter_map(|held| held.missing).map(|missing| missing.since).min();
        match self.patience().doubted.then(doubted_since).flatten() {
            Some(since) => Freshness::Stale { since },
            None if self.held.is_empty() => Freshness::Empty,
            None => Freshness::Live,
        }
    }

    fn suspects(&self) -> Vec<EndpointId> {
        if !self.patience().doubted {
            return Vec::new();
        }
        let missing = self.held.iter().filter(|(_, held)| held.missing.is_some());
        missing.map(|(id, _)| id.clone()).collect()
    }

    fn is_unheard(&self) -> bool {
        self.published.version == 0
    }
}
