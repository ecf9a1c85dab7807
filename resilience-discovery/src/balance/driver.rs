//! The task that makes, warms, replaces and retires the services of the endpoints.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable};
use futures::stream::{FuturesUnordered, StreamExt};
use resilience_core::rng::Rng;
use resilience_core::time::Timestamp;
use tokio::sync::mpsc::UnboundedReceiver;
use tower_service::Service;

use super::Event;
use super::policy::Fleet;
use super::slot::{Entry, Picker, Report, Slot, Status, Trouble};
use super::watch::{Outcome, Watch};
use crate::discovery::Subscription;
use crate::{Endpoint, EndpointId, Freshness, Snapshot};

/// How long an endpoint that was not ready is left alone before it is asked again on behalf of all calls: the most often a
/// service whose clones disagree about readiness can make the driver and the calls chase each other.
const UNREADY_PAUSE: Duration = Duration::from_millis(10);
/// How long an endpoint whose stack refused without saying for how long is avoided.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// The longest an endpoint is avoided on its stack's word, so that a wrong hint does not take it out for good.
const REFUSED_AT_MOST: Duration = Duration::from_secs(30);
/// The wait before the service of a broken endpoint is made anew: the first, doubled with each failure up to the second.
const REMAKE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// How long calls go on to an endpoint's old address while the service at the new one gets ready.
const MOVE_WITHIN: Duration = Duration::from_secs(3);

pub(super) struct Driver<S, Req, F> {
    fleet: Arc<Fleet<S>>,
    make: F,
    rng: Rng,
    members: BTreeMap<EndpointId, Member<S>>,
    /// Whose key is whose; a load's key is never used twice.
    keys: HashMap<u64, EndpointId>,
    next_key: u64,
    watches: FuturesUnordered<Abortable<Watch<S, Req>>>,
    version: u64,
    freshness: Freshness,
    request: PhantomData<fn(Req)>,
}

/// An endpoint, and perhaps the service at its new address that is to take over.
struct Member<S> {
    current: Post<S>,
    successor: Option<(Post<S>, Timestamp)>,
}

/// A service and what is being done about it.
struct Post<S> {
    /// The endpoint as the source describes it now.
    endpoint: Endpoint,
    slot: Arc<Slot<S>>,
    failures: u32,
    watch: Option<AbortHandle>,
}

impl<S> Drop for Post<S> {
    fn drop(&mut self) {
        self.unwatch();
    }
}

impl<S> Post<S> {
    fn unwatch(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.abort();
        }
    }
}

impl<S, Req, F> Driver<S, Req, F>
where
    S: Service<Req> + Clone + Send + Sync + 'static,
    Req: 'static,
    F: FnMut(&Endpoint) -> S + Send + 'static,
{
    pub(super) fn new(fleet: Arc<Fleet<S>>, make: F, rng: Rng) -> Self {
        let freshness = fleet.picker().freshness;
        Self {
            fleet,
            make,
            rng,
            members: BTreeMap::new(),
            keys: HashMap::new(),
            next_key: 0,
            watches: FuturesUnordered::new(),
            version: 0,
            freshness,
            request: PhantomData,
        }
    }

    pub(super) async fn run(mut self, mut subscription: Subscription, mut reports: UnboundedReceiver<Report>) {
        loop {
            tokio::select! {
                snapshot = subscription.next() => self.follow(&snapshot),
                Some(report) = reports.recv() => self.hear(report),
                Some(concluded) = self.watches.next(), if !self.watches.is_empty() => {
                    // An aborted watch has nothing to say.
                    if let Ok((key, outcome)) = concluded {
                        self.conclude(key, outcome);
                    }
                }
            }
        }
    }

    /// Brings the members in line with what is known, then publishes them.
    fn follow(&mut self, snapshot: &Snapshot) {
        let mut events = Vec::new();
        let mut retired = Vec::new();
        if snapshot.version() != self.version {
            let named: HashSet<&EndpointId> = snapshot.endpoints().iter().map(Endpoint::id).collect();
            let gone: Vec<EndpointId> = self.members.keys().filter(|id| !named.contains(id)).cloned().collect();
            for member in gone.iter().filter_map(|id| self.members.remove(id)) {
                let Post { endpoint, slot, .. } = &member.current;
                let (endpoint, in_flight) = (endpoint.clone(), Arc::strong_count(slot).saturating_sub(1));
                events.push(Event::EndpointRemoved { endpoint, in_flight });
                retired.push(member);
            }
            for endpoint in snapshot.endpoints() {
                events.extend(self.admit(endpoint));
            }
        }
        self.version = snapshot.version();
        self.freshness = snapshot.freshness();
        self.publish();
        for event in events {
            self.fleet.desk.emit(|| event);
        }
        for member in retired {
            self.retire(member.current);
            if let Some((successor, _)) = &member.successor {
                self.keys.remove(&successor.slot.status.key);
            }
        }
    }

    fn admit(&mut self, endpoint: &Endpoint) -> Option<Event> {
        let Some(mut member) = self.members.remove(endpoint.id().as_str()) else {
            let current = self.post(endpoint, None);
            self.members.insert(endpoint.id().clone(), Member { current, successor: None });
            return Some(Event::EndpointAdded { endpoint: endpoint.clone() });
        };
        let current = &mut member.current;
        if current.endpoint.address() == endpoint.address() {
            // The same service, perhaps under a new description: load and readiness stay.
            current.endpoint = endpoint.clone();
            if let Some((successor, _)) = member.successor.take() {
                self.keys.remove(&successor.slot.status.key);
            }
        } else if member.successor.as_ref().is_none_or(|(successor, _)| successor.endpoint != *endpoint) {
            let until = self.fleet.desk.timer.now() + MOVE_WITHIN;
            if let Some((superseded, _)) = member.successor.take() {
                self.keys.remove(&superseded.slot.status.key);
            }
            member.successor = Some((self.post(endpoint, Some(until)), until));
        }
        self.members.insert(endpoint.id().clone(), member);
        None
    }

    /// A new service, which is avoided until it was ready once, and watched for that.
    fn post(&mut self, endpoint: &Endpoint, until: Option<Timestamp>) -> Post<S> {
        let key = self.next_key;
        self.next_key += 1;
        self.keys.insert(key, endpoint.id().clone());
        let service = (self.make)(endpoint);
        let status = Status::new(key, endpoint.clone(), self.fleet.desk.clone());
        let watch =
            self.watch(Watch::for_readiness(key, &self.fleet.desk.timer, Duration::ZERO, service.clone(), until));
        let slot = Arc::new(Slot::new(service, status));
        Post { endpoint: endpoint.clone(), slot, failures: 0, watch: Some(watch) }
    }

    fn hear(&mut self, Report { key, trouble }: Report) {
        match trouble {
            Trouble::Unready => self.wait_for(key, UNREADY_PAUSE),
            Trouble::Refused(hint) => {
                let wait = hint.unwrap_or(REFUSED_PAUSE).min(REFUSED_AT_MOST);
                self.wait_for(key, wait);
                if let Some((post, _)) = self.find(key) {
                    let endpoint = post.endpoint.clone();
                    self.fleet.desk.emit(|| Event::EndpointAvoided { endpoint, wait });
                }
            }
            Trouble::Broken => self.mend(key),
        }
    }

    fn conclude(&mut self, key: u64, outcome: Outcome) {
        let Some(id) = self.keys.get(&key).cloned() else { return };
        match outcome {
            Outcome::Ready => {
                if let Some((post, _)) = self.find(key) {
                    post.failures = 0;
                    post.watch = None;
                    post.slot.status.welcome();
                    self.take_over(&id, key);
                    self.fleet.set_failing(false);
                    self.fleet.changed.notify_waiters();
                }
            }
            Outcome::Overdue => self.take_over(&id, key),
            Outcome::Broken => self.mend(key),
            Outcome::Rested => self.remake(key),
        }
    }

    /// Puts a successor in the place of the service at the old address.
    fn take_over(&mut self, id: &EndpointId, key: u64) {
        let Some(member) = self.members.get_mut(id) else { return };
        let Some((successor, _)) = member.successor.take_if(|(successor, _)| successor.slot.status.key == key) else {
            return;
        };
        let old = std::mem::replace(&mut member.current, successor);
        let (from, to) = (old.endpoint.clone(), member.current.endpoint.clone());
        if member.current.slot.status.is_avoided() {
            // Its time ran out before it was ready: go on waiting for it, in office.
            self.wait_for(key, Duration::ZERO);
        }
        self.publish();
        self.fleet.desk.emit(|| Event::EndpointMoved { from, to });
        self.retire(old);
    }

    /// Watches for the endpoint to be ready, `after` a pause.
    fn wait_for(&mut self, key: u64, after: Duration) {
        let timer = self.fleet.desk.timer.clone();
        let Some((post, until)) = self.find(key) else { return };
        let watch = Watch::for_readiness(key, &timer, after, post.slot.service.clone(), until);
        self.rewatch(key, watch);
    }

    /// Leaves a broken endpoint alone for a while, before its service is made anew.
    fn mend(&mut self, key: u64) {
        let jitter = 0.5 + 0.5 * self.rng.unit();
        let timer = self.fleet.desk.timer.clone();
        let Some((post, until)) = self.find(key) else { return };
        let (first, cap) = REMAKE;
        let retry_in = first.saturating_mul(1 << post.failures.min(16)).min(cap).mul_f64(jitter);
        post.failures = post.failures.saturating_add(1);
        let (endpoint, failures) = (post.endpoint.clone(), post.failures);
        post.slot.status.break_down();
        self.rewatch(key, Watch::for_rest(key, &timer, retry_in, until));
        self.fleet.desk.emit(|| Event::EndpointBroken { endpoint, failures, retry_in });
    }

    /// Makes the service of a broken endpoint anew. Calls still in flight on the old one count no more: it is of no use.
    fn remake(&mut self, key: u64) {
        let Some((post, until)) = self.find(key) else { return };
        let endpoint = post.endpoint.clone();
        let mut fresh = self.post(&endpoint, until);
        if let Some((post, _)) = self.find(key) {
            fresh.failures = post.failures;
            *post = fresh;
        }
        self.keys.remove(&key);
        self.publish();
    }

    fn rewatch(&mut self, key: u64, watch: Watch<S, Req>) {
        let watch = self.watch(watch);
        if let Some((post, _)) = self.find(key) {
            post.unwatch();
            post.watch = Some(watch);
        }
    }

    fn watch(&self, watch: Watch<S, Req>) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        self.watches.push(Abortable::new(watch, registration));
        handle
    }

    /// The service with this key, and until when it may get ready if it is a successor.
    fn find(&mut self, key: u64) -> Option<(&mut Post<S>, Option<Timestamp>)> {
        let member = self.members.get_mut(self.keys.get(&key)?)?;
        if member.current.slot.status.key == key {
            return Some((&mut member.current, None));
        }
        member.successor.as_mut().map(|(successor, until)| (successor, Some(*until)))
    }

    fn publish(&self) {
        let posts = || self.members.values().map(|member| &member.current);
        let entry = |post: &Post<S>| Entry { slot: Arc::downgrade(&post.slot) };
        self.fleet.publish(Picker {
            version: self.version,
            freshness: self.freshness,
            entries: posts().map(entry).collect(),
            endpoints: posts().map(|post| post.endpoint.clone()).collect(),
        });
    }

    /// After the picker without it is published: whoever picked it before picks again, and what is in flight finishes.
    fn retire(&mut self, post: Post<S>) {
        post.slot.status.retire();
        self.keys.remove(&post.slot.status.key);
    }
}
