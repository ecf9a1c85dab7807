//! A bus within one process.

mod config;
mod hub;
mod machine;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, select};
use resilience_core::time::{SharedTimer, Timestamp};
use resilience_core::{Elapsed, Name, Reason, Rejected, context};
use tokio::sync::{mpsc, oneshot};

pub use self::config::{MemoryBusBuilder, WhenFull};
use self::hub::{Hub, Lane, Offered};
use self::machine::{Late, Ticket};
use super::bus::{Bus, Requests, Sent, Subscribe, Subscription};
use super::delivery::{Delivery, Reply, Request, Settle};
use super::error::BusError;
use super::message::{Message, Way};
use super::subject::{Filter, Subject};

/// A bus within one process: the same promises as one with a broker, and as durable as the process is.
///
/// For programs that are one process, and for tests of programs that are not: clones are one bus, all waits go by its
/// timer, and a test that pauses tokio's clock waits for nothing.
///
/// ```
/// use resilience_cqrs::messaging::{Bus, MemoryBus, Message, Subscribe, Subscription};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = MemoryBus::new();
/// let mut billing = bus.subscribe(Subscribe::group("billing", "orders.>")).await?;
/// bus.publish(Message::new("m1", "orders.placed", "17")).await?;
/// drop(billing.next().await?); // whoever has it fails
/// let again = billing.next().await?;
/// assert_eq!((again.attempt, &again.message.payload()[..]), (2, &b"17"[..]));
/// again.ack().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryBus {
    hub: Arc<Hub>,
    when_full: WhenFull,
}

impl MemoryBus {
    /// A bus with the defaults of its [builder](Self::builder).
    pub fn new() -> Self {
        MemoryBusBuilder::default().build()
    }

    /// Sets up a bus.
    pub fn builder() -> MemoryBusBuilder {
        MemoryBusBuilder::default()
    }

    /// Removes a group or queue, with all that waits in it: one that nobody will consume again keeps senders waiting for
    /// room. Its subscriptions are closed. Returns whether there was one.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Message, Subscribe};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// bus.send(Message::new("m1", "emails", "")).await?;
    /// assert_eq!(bus.snapshot().queues[&"emails".into()].messages, 1);
    /// assert!(bus.remove(&Subscribe::queue("emails")) && bus.snapshot().queues.is_empty());
    /// # Ok(()) }
    /// ```
    pub fn remove(&self, what: &Subscribe) -> bool {
        self.hub.remove(&what.source)
    }

    /// What waits where.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Message, Subscribe, Subscription};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// let mut emails = bus.subscribe(Subscribe::queue("emails")).await?;
    /// bus.send(Message::new("m1", "emails", "")).await?;
    /// bus.send(Message::new("m2", "emails", "")).await?;
    /// let delivery = emails.next().await?;
    /// let load = bus.snapshot().queues[&"emails".into()];
    /// assert_eq!((load.messages, load.in_flight), (2, 1)); // what is in flight is one of those there are
    /// # drop(delivery);
    /// # Ok(()) }
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        self.hub.snapshot()
    }

    /// Sends until there is room, or not at all.
    async fn offer(&self, attempt: impl Fn() -> Result<Offered, BusError>) -> Result<Sent, BusError> {
        loop {
            // Registered before the look, so that room made in between is not missed.
            let mut room = pin!(self.hub.room.notified());
            room.as_mut().enable();
            match attempt()? {
                Offered::Taken => return Ok(Sent { duplicate: false }),
                Offered::Duplicate => return Ok(Sent { duplicate: true }),
                Offered::Full if self.when_full == WhenFull::Refuse => return Err(self.hub.full().into()),
                Offered::Full => {}
            }
            match context::deadline(&self.hub.timer) {
                None => room.await,
                Some(deadline) => {
                    let sleep = self.hub.timer.sleep_until(deadline.timestamp());
                    if let Either::Right(_) = select(room, pin!(sleep)).await {
                        return Err(self.hub.full().into());
                    }
                }
            }
        }
    }
}

/// What waits where in a [`MemoryBus`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// In each group.
    pub groups: HashMap<Name, Load>,
    /// In each queue.
    pub queues: HashMap<Subject, Load>,
}

/// What a group or queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Messages that are not settled.
    pub messages: usize,
    /// Those of them that somebody has.
    pub in_flight: usize,
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus for MemoryBus {
    type Subscription = MemorySubscription;
    type Requests = MemoryRequests;

    async fn publish(&self, message: Message) -> Result<Sent, BusError> {
        message.validate()?;
        let message = Arc::new(message.by(Way::Publish));
        self.offer(|| Ok(self.hub.publish(&message))).await
    }

    async fn send(&self, message: Message) -> Result<Sent, BusError> {
        message.validate()?;
        let message = Arc::new(message.by(Way::Send));
        self.offer(|| self.hub.send(&message)).await
    }

    async fn request(&self, message: Message, within: Duration) -> Result<Bytes, BusError> {
        message.validate()?;
        let timer = &self.hub.timer;
        let now = timer.now();
        let until = context::deadline(timer).map_or(Timestamp::NEVER, |deadline| deadline.timestamp());
        let within = within.min(until.since(now));
        if within.is_zero() {
            return Err(Rejected::new(self.hub.name.clone(), Reason::Deadline).into());
        }
        let nobody = || BusError::from(Rejected::new(self.hub.name.clone(), Reason::NoEndpoint));
        let to = self.hub.who_answers(message.subject()).ok_or_else(nobody)?;
        let (answer, answered) = oneshot::channel();
        let asked = async {
            let until = now + within;
            to.send(Question { message, until, answer }).await.map_err(|_| nobody())?;
            // Dropped unanswered: as with a broker, the one who asks is not told.
            match answered.await {
                Ok(payload) => Ok(payload),
                Err(_) => std::future::pending().await,
            }
        };
        match select(pin!(asked), pin!(timer.sleep(within))).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(Elapsed::new(within).into()),
        }
    }

    async fn subscribe(&self, to: Subscribe) -> Result<MemorySubscription, BusError> {
        to.validate()?;
        let lane = self.hub.subscribe(&to)?;
        Ok(MemorySubscription { hub: self.hub.clone(), lane })
    }

    async fn answer(
        &self,
        group: impl Into<Name> + Send,
        filter: impl Into<Filter> + Send,
    ) -> Result<MemoryRequests, BusError> {
        let (group, filter) = (group.into(), filter.into());
        filter.validate()?;
        let (to, requests) = mpsc::channel(REQUESTS);
        self.hub.answer(group, filter, to)?;
        Ok(MemoryRequests { timer: self.hub.timer.clone(), requests })
    }
}

/// Requests that wait for one of those that answer; more wait with those who ask.
const REQUESTS: usize = 64;

/// Deliveries of one group or queue of a [`MemoryBus`].
#[derive(Debug)]
pub struct MemorySubscription {
    hub: Arc<Hub>,
    lane: Arc<Lane>,
}

impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Result<Delivery, BusError> {
        loop {
            // Registered before the look, so that what comes in between is not missed.
            let mut news = pin!(self.lane.news.notified());
            news.as_mut().enable();
            if self.lane.is_closed() {
                return Err(BusError::Closed);
            }
            let timer = {
                let mut machine = self.lane.lock();
                if let Some(taken) = machine.take(self.hub.timer.now()) {
                    let more = machine.has_ready();
                    drop(machine);
                    if more {
                        self.lane.news.notify_one();
                    }
                    let held = Held { hub: self.hub.clone(), lane: self.lane.clone(), ticket: taken.ticket };
                    return Ok(Delivery::new(Message::clone(&taken.message), taken.ticket.attempt, held));
                }
                machine.next_timer()
            };
            match timer {
                None => news.await,
                Some(at) => {
                    select(news, pin!(self.hub.timer.sleep_until(at))).await;
                }
            }
        }
    }
}

/// A delivery's way back.
struct Held {
    hub: Arc<Hub>,
    lane: Arc<Lane>,
    ticket: Ticket,
}

impl Held {
    fn settle(&self) -> Result<(), BusError> {
        self.lane.lock().settle(self.ticket).map_err(|Late| BusError::Late)?;
        self.lane.news.notify_one();
        // All of them: who of them waits for this lane is not known here.
        self.hub.room.notify_waiters();
        Ok(())
    }

    fn again(&self, delay: Duration) -> Result<(), BusError> {
        let now = self.hub.timer.now();
        self.lane.lock().hold_back(self.ticket, now + delay, now).map_err(|Late| BusError::Late)?;
        // Also for a delay: whoever waits must hear of the new timer.
        self.lane.news.notify_one();
        Ok(())
    }
}

impl Settle for Held {
    fn ack(self: Box<Self>) -> BoxFuture<'static, Result<(), BusError>> {
        std::future::ready(self.settle()).boxed()
    }

    fn retry_in(self: Box<Self>, delay: Duration) -> BoxFuture<'static, Result<(), BusError>> {
        std::future::ready(self.again(delay)).boxed()
    }

    fn term(self: Box<Self>) -> BoxFuture<'static, Result<(), BusError>> {
        self.ack()
    }

    fn extend(&mut self) -> BoxFuture<'_, Result<(), BusError>> {
        let extended = self.lane.lock().extend(self.ticket, self.hub.timer.now());
        std::future::ready(extended.map_err(|Late| BusError::Late)).boxed()
    }

    fn abandon(self: Box<Self>) {
        // Late: it is in other hands already.
        let _ = self.again(Duration::ZERO);
    }
}

/// A request on its way.
#[derive(Debug)]
struct Question {
    message: Message,
    /// When whoever asks gives up.
    until: Timestamp,
    answer: oneshot::Sender<Bytes>,
}

/// Requests to one that answers on a [`MemoryBus`].
#[derive(Debug)]
pub struct MemoryRequests {
    timer: SharedTimer,
    requests: mpsc::Receiver<Question>,
}

impl Requests for MemoryRequests {
    async fn next(&mut self) -> Result<Request, BusError> {
        loop {
            let Question { message, until, answer } = self.requests.recv().await.ok_or(BusError::Closed)?;
            let left = until.since(self.timer.now());
            // Whoever asked may have given up while it waited here.
            if !answer.is_closed() && !left.is_zero() {
                return Ok(Request::new(message, left, Answer(answer)));
            }
        }
    }
}

struct Answer(oneshot::Sender<Bytes>);

impl Reply for Answer {
    fn reply(self: Box<Self>, payload: Bytes) -> BoxFuture<'static, Result<(), BusError>> {
        // Nobody waits any more: that is theirs to know.
        let _ = self.0.send(payload);
        std::future::ready(Ok(())).boxed()
    }
}
