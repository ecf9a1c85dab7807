//! One group or queue as one program takes part in it: what it asks the server for, and what it has from it.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::jetstream::context::Context;
use async_nats::{Message as Raw, StatusCode, Subscriber};
use futures::StreamExt as _;
use futures::future::{Either, join_all, select};
use resilience_core::time::Timestamp;
use tokio::sync::Notify;

use super::granted::{call, way_of};
use super::link::Link;
use super::shared::{Arrived, PULL, Shared, Taken, Ticket};
use super::wire;
use crate::messaging::bus::{Source, Subscribe};
use crate::messaging::error::BusError;

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

impl Lane {
    pub(super) fn new(link: Arc<Link>, prefix: &str, consumers: Vec<String>, to: &Subscribe) -> Self {
        let shared = Shared {
            ack_wait: to.ack_wait,
            in_flight: 0,
            subscriptions: 0,
            is_kept: false,
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

    /// Lets what has come stay here, if the last subscription goes, for the one who asks for it.
    pub(super) fn keep(&self) {
        let mut shared = self.lock();
        shared.is_kept = shared.subscriptions == 1;
    }

    /// Waits until nothing comes any more, and returns what has; nothing, if there are other subscriptions.
    pub(super) async fn rest(&self) -> Vec<Taken> {
        let over = async {
            loop {
                let mut news = pin!(self.news.notified());
                news.as_mut().enable();
                if !self.lock().is_ending() {
                    return;
                }
                news.await;
            }
        };
        // Whatever it was that took longer comes again in its time.
        let _ = self.link.in_time(over).await;
        let (now, mut shared) = (self.link.timer.now(), self.lock());
        match std::mem::take(&mut shared.is_kept) {
            true => std::iter::from_fn(|| shared.hand_out(now)).collect(),
            false => Vec::new(),
        }
    }

    /// Whether the one with this ticket still has it; then, until when.
    pub(super) fn holds(&self, ticket: &Ticket) -> bool {
        let now = self.link.timer.now();
        self.lock().held.get(&ticket.number).is_some_and(|held| held.until > now)
    }

    /// Its time began anew at `since`.
    pub(super) fn extended(&self, number: u64, since: Timestamp) {
        let mut shared = self.lock();
        let until = since + shared.ack_wait;
        if let Some(held) = shared.held.get_mut(&number) {
            held.until = until;
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
            if plan.is_over {
                return self.end(&context, messages).await;
            }
            for (reply, word) in plan.tell {
                self.link.tell(&reply, word).await;
            }
            if self.link.is_closed() {
                return self.give_back(&context, messages).await;
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

    /// Takes what still comes, and gives it back, unless somebody asks for it.
    ///
    /// Given back before the server knows that nobody listens here, it could be sent to here again.
    async fn end(&self, context: &Context, mut messages: Subscriber) {
        let rest = async {
            let _ = messages.drain().await;
            while let Some(message) = messages.next().await {
                self.arrive(context, message);
            }
            self.strike_out(context).await;
        };
        // Without a connection nothing comes; and the server knows, or learns of it with the next one.
        let _ = self.link.in_time(rest).await;
        let back: Vec<_> = {
            let mut shared = self.lock();
            shared.failed.get_or_insert(BusError::Closed);
            match shared.is_kept {
                true => Vec::new(),
                false => shared.arrived.drain(..).map(|arrived| arrived.reply).collect(),
            }
        };
        self.news.notify_waiters();
        for reply in back {
            self.link.tell(&reply, "-NAK").await;
        }
    }

    /// Gives back what waits here, what is in somebody's hands and what still comes.
    async fn give_back(&self, context: &Context, mut messages: Subscriber) {
        self.lock().failed.get_or_insert(BusError::Closed);
        self.news.notify_waiters();
        self.news.notify_one();
        // What the server has sent by then comes before the end.
        let _ = messages.drain().await;
        while let Some(message) = messages.next().await {
            self.arrive(context, message);
        }
        self.strike_out(context).await;
        let now = self.link.timer.now();
        let back: Vec<_> = {
            let mut shared = self.lock();
            let waiting: Vec<_> = shared.arrived.drain(..).map(|arrived| arrived.reply).collect();
            let in_hand = shared.held.drain().filter(|(_, held)| held.until > now).map(|(_, held)| held.reply);
            waiting.into_iter().chain(in_hand).collect()
        };
        for reply in back {
            self.link.tell(&reply, "-NAK").await;
        }
    }

    /// Has the server strike out what was asked for from here, now that nobody listens: it does when it is asked about a
    /// consumer.
    ///
    /// A server of 2.9 that takes up a message, and then finds that whoever has asked for one is gone, has counted it as
    /// delivered by then, and may not look at it again before its time is over.
    async fn strike_out(&self, context: &Context) {
        let asked = self.consumers.iter().map(|name| {
            let subject = format!("CONSUMER.INFO.{}.{name}", self.stream);
            async move { call::<serde_json::Value>(&self.link, context, subject, &serde_json::json!({})).await }
        });
        join_all(asked).await;
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
        shared.arrived.push_back(Arrived { message, attempt, reply: reply.as_str().into(), since: now });
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
