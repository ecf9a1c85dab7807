//! One group or queue as one program takes part in it: what it asks the server for, and what it has from it.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::context::Context;
use async_nats::{Message as Raw, StatusCode, Subscriber};
use futures::StreamExt as _;
use futures::future::{Either, select};
use resilience_core::time::Timestamp;
use tokio::sync::Notify;

use super::granted::way_of;
use super::link::Link;
use super::wire;
use crate::messaging::bus::{Source, Subscribe};
use crate::messaging::error::BusError;
use crate::messaging::message::Message;

/// How long the server keeps a request for messages; then it is asked anew.
const PULL: Duration = Duration::from_secs(20);
/// Requests at once for messages without key; those with one come one at a time.
const PULLS: usize = 64;

/// Shared by all subscriptions of this program to one group or queue, so that what came for one is there for all.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) link: Arc<Link>,
    prefix: String,
    source: Source,
    stream: String,
    /// First the one for messages without key.
    consumers: Vec<String>,
    shared: Mutex<Shared>,
    /// Told when more is wanted, for the one who asks the server.
    demand: Notify,
    /// Told when something has come, for those who wait.
    news: Notify,
}

#[derive(Debug)]
struct Shared {
    ack_wait: Duration,
    in_flight: usize,
    subscriptions: usize,
    waiting: usize,
    /// When somebody last wanted something.
    wanted: Timestamp,
    arrived: VecDeque<Arrived>,
    /// Deliveries in somebody's hands, and until when they are.
    held: HashMap<u64, Timestamp>,
    next: u64,
    /// Requests under way of each consumer, and when they end.
    pulls: Vec<Vec<Timestamp>>,
    failed: Option<BusError>,
}

/// A message that has come, and is in nobody's hands yet.
#[derive(Debug)]
struct Arrived {
    message: Message,
    attempt: u32,
    reply: String,
    /// When its time began.
    since: Timestamp,
}

/// What a delivery is settled by.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) number: u64,
    pub(super) reply: String,
}

/// What is handed out.
pub(super) struct Taken {
    pub(super) message: Message,
    pub(super) attempt: u32,
    pub(super) ticket: Ticket,
    /// Its number, if its time should begin anew: it has waited here for a part of it.
    pub(super) is_old: Option<u64>,
}

impl Lane {
    pub(super) fn new(link: Arc<Link>, prefix: &str, consumers: Vec<String>, to: &Subscribe) -> Self {
        let shared = Shared {
            ack_wait: to.ack_wait,
            in_flight: 0,
            subscriptions: 0,
            waiting: 0,
            wanted: link.timer.now(),
            arrived: VecDeque::new(),
            held: HashMap::new(),
            next: 0,
            pulls: vec![Vec::new(); consumers.len()],
            failed: None,
        };
        Self {
            link,
            prefix: prefix.into(),
            source: to.source.clone(),
            stream: wire::stream_name(prefix, way_of(&to.source)),
            consumers,
            shared: Mutex::new(shared),
            demand: Notify::new(),
            news: Notify::new(),
        }
    }

    /// One more subscription, unless the last one has gone: then whoever serves it is going, too.
    pub(super) fn join(&self, to: &Subscribe, is_first: bool) -> bool {
        let mut shared = self.lock();
        if (shared.subscriptions == 0 && !is_first) || shared.failed.is_some() {
            return false;
        }
        shared.subscriptions += 1;
        shared.ack_wait = to.ack_wait;
        shared.in_flight = usize::try_from(to.in_flight.get()).unwrap_or(usize::MAX);
        true
    }

    pub(super) fn leave(&self) {
        self.lock().subscriptions -= 1;
        self.demand.notify_one();
    }

    /// The next message.
    pub(super) async fn next(&self) -> Result<Taken, BusError> {
        loop {
            // Registered before the look, so that what comes in between is not missed.
            let mut news = pin!(self.news.notified());
            news.as_mut().enable();
            let _waiting = Waiting::new(self);
            let frees = {
                let mut shared = self.lock();
                if let Some(error) = &shared.failed {
                    let error = error.clone();
                    drop(shared);
                    // The next one who waits is to know, too.
                    self.news.notify_one();
                    return Err(error);
                }
                let now = self.link.timer.now();
                shared.wanted = now;
                if let Some(taken) = shared.take(now) {
                    let more = !shared.arrived.is_empty();
                    drop(shared);
                    if more {
                        self.news.notify_one();
                    }
                    return Ok(taken);
                }
                shared.frees()
            };
            self.demand.notify_one();
            match frees {
                None => news.await,
                Some(at) => {
                    select(news, pin!(self.link.timer.sleep_until(at))).await;
                }
            }
        }
    }

    /// Whether the one with this ticket still has it; then, until when.
    pub(super) fn holds(&self, ticket: &Ticket) -> bool {
        let now = self.link.timer.now();
        self.lock().held.get(&ticket.number).is_some_and(|until| *until > now)
    }

    /// Its time began anew at `since`.
    pub(super) fn extended(&self, number: u64, since: Timestamp) {
        let mut shared = self.lock();
        let until = since + shared.ack_wait;
        if let Some(held) = shared.held.get_mut(&number) {
            *held = until;
        }
    }

    /// It is out of the hands of the one with this ticket.
    pub(super) fn released(&self, ticket: &Ticket) {
        self.lock().held.remove(&ticket.number);
        // Whoever waits for room, and the one who asks for more.
        self.news.notify_one();
        self.demand.notify_one();
    }

    /// Asks the server for messages while somebody waits, and keeps what comes, until the last subscription has gone.
    pub(super) async fn serve(self: Arc<Self>, context: Context, inbox: String, mut messages: Subscriber) {
        let mut link = self.link.watch();
        let mut nth = link.borrow_and_update().nth;
        loop {
            let state = *link.borrow_and_update();
            let now = self.link.timer.now();
            let plan = {
                let mut shared = self.lock();
                if state.nth != nth {
                    // What was asked of a connection that is gone will not be answered.
                    shared.pulls.iter_mut().for_each(Vec::clear);
                    nth = state.nth;
                }
                shared.plan(now, state.is_up)
            };
            for (reply, word) in plan.tell {
                self.link.tell(reply, word).await;
            }
            if plan.is_over || self.link.is_closed() {
                self.lock().failed.get_or_insert(BusError::Closed);
                self.news.notify_waiters();
                return;
            }
            for consumer in plan.pull {
                self.pull(&context, &inbox, consumer).await;
            }
            let woken = async {
                let (demand, changed) = (pin!(self.demand.notified()), pin!(link.changed()));
                select(select(demand, changed), pin!(self.link.timer.sleep_until(plan.next))).await;
            };
            match select(pin!(messages.next()), pin!(woken)).await {
                Either::Left((Some(message), _)) => self.arrive(&context, message),
                // The client has closed it.
                Either::Left((None, _)) => {
                    self.lock().failed.get_or_insert(BusError::Closed);
                    self.news.notify_waiters();
                    self.news.notify_one();
                    return;
                }
                Either::Right(_) => {}
            }
        }
    }

    async fn pull(&self, context: &Context, inbox: &str, consumer: usize) {
        let Some(name) = self.consumers.get(consumer) else { return };
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{name}", self.stream);
        let ask = format!(r#"{{"batch":1,"expires":{}}}"#, PULL.as_nanos());
        let _ = context.client().publish_with_reply(subject, format!("{inbox}.{consumer}"), ask.into()).await;
    }

    fn arrive(&self, context: &Context, raw: Raw) {
        let now = self.link.timer.now();
        if let Some(status) = raw.status {
            self.ended(&raw, status);
            return;
        }
        let (Some(reply), of) =
            (raw.reply.clone(), async_nats::jetstream::Message { message: raw, context: context.clone() })
        else {
            return;
        };
        let Ok(info) = of.info() else { return };
        let attempt = u32::try_from(info.delivered.max(1)).unwrap_or(u32::MAX);
        let consumer = self.consumers.iter().position(|name| name == info.consumer);
        let otherwise = || format!("{}-{}", info.stream, info.stream_sequence);
        let Raw { subject, headers, payload, .. } = &of.message;
        let way = Some(way_of(&self.source));
        let message = wire::message_of(&self.prefix, way, subject, headers.as_ref(), payload.clone(), otherwise);
        let mut shared = self.lock();
        if let Some(pulls) = consumer.and_then(|consumer| shared.pulls.get_mut(consumer)) {
            pulls.pop();
        }
        shared.arrived.push_back(Arrived { message, attempt, reply: reply.into_string(), since: now });
        drop(shared);
        self.news.notify_one();
    }

    /// A request for messages has ended without one.
    fn ended(&self, raw: &Raw, status: StatusCode) {
        let why = raw.description.as_deref().unwrap_or_default();
        let consumer = raw.subject.rsplit('.').next().and_then(|nth| nth.parse::<usize>().ok());
        let mut shared = self.lock();
        if let Some(pulls) = consumer.and_then(|consumer| shared.pulls.get_mut(consumer)) {
            pulls.pop();
        }
        if status == StatusCode::REQUEST_TERMINATED && why.to_ascii_lowercase().contains("consumer deleted") {
            shared.failed = Some(BusError::Refused { why: format!("a consumer of {:?} was deleted", self.source) });
            drop(shared);
            self.news.notify_one();
        }
    }

    /// No code of others runs under this lock, so a panic cannot leave anything by half.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to do next.
#[derive(Debug, Default)]
struct Plan {
    /// Of which consumers to ask for a message.
    pull: Vec<usize>,
    /// What to say of messages that wait here.
    tell: Vec<(String, &'static str)>,
    /// When to look again.
    next: Timestamp,
    is_over: bool,
}

impl Shared {
    fn plan(&mut self, now: Timestamp, is_up: bool) -> Plan {
        let mut plan = Plan { next: now + PULL, ..Plan::default() };
        if self.subscriptions == 0 {
            plan.tell.extend(self.arrived.drain(..).map(|arrived| (arrived.reply, "-NAK")));
            plan.is_over = true;
            return plan;
        }
        if !is_up {
            return plan;
        }
        let half = self.ack_wait / 2;
        // Given back rather than hoarded, if nobody here has wanted anything for as long as a delivery may take.
        let is_wanted = now - self.wanted < self.ack_wait;
        self.arrived.retain_mut(|arrived| {
            if now - arrived.since >= half {
                plan.tell.push((arrived.reply.clone(), if is_wanted { "+WPI" } else { "-NAK" }));
                arrived.since = now;
                return is_wanted;
            }
            plan.next = plan.next.min(arrived.since + half);
            true
        });
        self.pulls.iter_mut().for_each(|ends| ends.retain(|end| *end > now));
        // What has come for them already is not asked for again: a server that delivers to somebody who has gone counts
        // its attempts anew.
        let waiting = self.waiting.saturating_sub(self.arrived.len());
        if waiting == 0 || self.has_no_room(now) {
            return plan;
        }
        // Longer than the server keeps it, which says so when it ends.
        let end = now + PULL + PULL / 4;
        for (consumer, ends) in self.pulls.iter_mut().enumerate() {
            let wanted = if consumer == 0 { waiting.min(PULLS) } else { 1 };
            while ends.len() < wanted {
                ends.push(end);
                plan.pull.push(consumer);
            }
        }
        plan
    }

    fn take(&mut self, now: Timestamp) -> Option<Taken> {
        if self.has_no_room(now) {
            return None;
        }
        // What has been here for too long was taken back, and is in other hands.
        while self.arrived.front().is_some_and(|first| now - first.since >= self.ack_wait) {
            self.arrived.pop_front();
        }
        let Arrived { message, attempt, reply, since } = self.arrived.pop_front()?;
        let number = self.next;
        let is_old = (now - since >= self.ack_wait / 8).then_some(number);
        self.next += 1;
        self.held.insert(number, since + self.ack_wait);
        Some(Taken { message, attempt, ticket: Ticket { number, reply }, is_old })
    }

    fn has_no_room(&mut self, now: Timestamp) -> bool {
        if self.held.len() >= self.in_flight {
            // Those that were taken back do not count.
            self.held.retain(|_, until| *until > now);
        }
        self.held.len() >= self.in_flight
    }

    /// When there is room again without anybody's doing, if there is none.
    fn frees(&self) -> Option<Timestamp> {
        if self.held.len() >= self.in_flight { self.held.values().min().copied() } else { None }
    }
}

/// Somebody waits.
struct Waiting<'a>(&'a Lane);

impl<'a> Waiting<'a> {
    fn new(lane: &'a Lane) -> Self {
        lane.lock().waiting += 1;
        Self(lane)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}
