//! What every bus offers.

use std::future::Future;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use resilience_core::Name;

use super::delivery::{Delivery, Request};
use super::error::{BusError, InvalidMessage};
use super::limits;
use super::message::{Message, Way};
use super::subject::{Filter, Subject};

/// Carries messages between programs, or between the parts of one.
///
/// Three ways, one kind of message:
///
/// | | who gets it | how often |
/// |---|---|---|
/// | [`publish`](Self::publish) | every group that has subscribed to its subject, in each group one consumer | at least once |
/// | [`send`](Self::send) | the queue that is called like its subject, and there one consumer | at least once |
/// | [`request`](Self::request) | one of those that answer its subject | at most once |
///
/// [`conformance`](super::conformance) checks the promises, and a bus of your own should run it too:
///
/// - What was acknowledged to its sender is delivered until it is settled: a delivery that is dropped, or not settled in
///   time, comes again, with a higher [`attempt`](Delivery::attempt).
/// - What was settled does not come again.
/// - A key is delivered in the order it was sent, one message at a time in each group and queue: the next one comes when the
///   one before is settled, whoever consumes.
/// - Two messages with one id, sent within the bus's window, are one.
/// - A group hears what is published after its first subscription, whether somebody consumes at that time or not. A queue
///   keeps what is sent to it.
/// - Nothing grows without bound: what has no room waits or is refused, and is never dropped.
pub trait Bus: Clone + Send + Sync + 'static {
    /// What [`subscribe`](Self::subscribe) returns.
    type Subscription: Subscription;
    /// What [`answer`](Self::answer) returns.
    type Requests: Requests;

    /// Gives the message to every group that has subscribed to its subject. With no such group, it is for nobody.
    ///
    /// Completes when the message is as durable as the bus is. Dropped before that, it may have been published, or not.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Message, Subscribe, Subscription};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// // No group yet: taken, and for nobody.
    /// bus.publish(Message::new("m1", "orders.placed", "16")).await?;
    /// let mut billing = bus.subscribe(Subscribe::group("billing", "orders.*")).await?;
    /// bus.publish(Message::new("m2", "orders.placed", "17")).await?;
    /// // In doubt whether that arrived, one sends the same message again: it is one message.
    /// assert!(bus.publish(Message::new("m2", "orders.placed", "17")).await?.duplicate);
    /// assert_eq!(billing.next().await?.message.id.as_str(), "m2");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`BusError`]. After [`Elapsed`](BusError::Elapsed) and [`Unavailable`](BusError::Unavailable) it may have been
    /// published; send the same message again.
    fn publish(&self, message: Message) -> impl Future<Output = Result<Sent, BusError>> + Send;

    /// Puts the message into the queue that is called like its subject.
    ///
    /// A queue comes into being with its first message, and keeps what is sent to it until somebody consumes.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Message, Subscribe, Subscription};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// bus.send(Message::new("m1", "emails", "welcome")).await?;
    /// let mut emails = bus.subscribe(Subscribe::queue("emails")).await?;
    /// assert_eq!(&emails.next().await?.message.payload()[..], b"welcome");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    fn send(&self, message: Message) -> impl Future<Output = Result<Sent, BusError>> + Send;

    /// [Publishes](Self::publish) or [sends](Self::send) the message, as it [says](super::Outgoing::way).
    ///
    /// ```
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Outgoing, Subscribe, Subscription, Way};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// bus.dispatch(Outgoing::for_queue("emails", "welcome").with_id("m1")).await?;
    /// let delivery = bus.subscribe(Subscribe::queue("emails")).await?.next().await?;
    /// assert_eq!(delivery.message.content.way, Way::Send);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    fn dispatch(&self, message: Message) -> impl Future<Output = Result<Sent, BusError>> + Send {
        async move {
            match message.content.way {
                Way::Publish => self.publish(message).await,
                Way::Send => self.send(message).await,
            }
        }
    }

    /// Asks whoever [answers](Self::answer) the message's subject, and waits for the answer for `within` or until the
    /// deadline of the call in progress, whichever is earlier.
    ///
    /// Asked at most once: a question in doubt is not asked again by the bus, and its id is not remembered. Dropped
    /// before it completes, whoever answers is not told.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::messaging::{Bus, BusError, MemoryBus, Message};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (bus, second) = (MemoryBus::new(), Duration::from_secs(1));
    /// let question = || Message::new("q1", "stock.left", "socks");
    /// assert!(matches!(bus.request(question(), second).await, Err(BusError::Rejected(_))), "there is nobody to ask");
    /// // Somebody is there, and says nothing.
    /// let silent = bus.answer("stock", "stock.*").await?;
    /// assert!(matches!(bus.request(question(), second).await, Err(BusError::Elapsed(_))));
    /// # drop(silent);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Rejected`](BusError::Rejected) if nobody answers this subject or the deadline has passed, and nothing was asked;
    /// [`Elapsed`](BusError::Elapsed) if no answer came in time.
    fn request(&self, message: Message, within: Duration) -> impl Future<Output = Result<Bytes, BusError>> + Send;

    /// Takes part in a group or a queue.
    ///
    /// ```
    /// use resilience_cqrs::messaging::{Bus, BusError, MemoryBus, Subscribe};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// let first = bus.subscribe(Subscribe::group("billing", "orders.*")).await?;
    /// let second = bus.subscribe(Subscribe::group("billing", "orders.*")).await?; // each gets some
    /// // A group is what it was made as: its messages would otherwise depend on who came first.
    /// let other = bus.subscribe(Subscribe::group("billing", "orders.>")).await;
    /// assert!(matches!(other, Err(BusError::Refused { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`BusError`]; [`Refused`](BusError::Refused) if the group exists with another filter.
    fn subscribe(&self, to: Subscribe) -> impl Future<Output = Result<Self::Subscription, BusError>> + Send;

    /// Answers requests on these subjects, together with others of the same group, each of whom gets some.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Message, Requests};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// for name in ["a", "b"] {
    ///     let mut answers = bus.answer("stock", "stock.*").await?;
    ///     tokio::spawn(async move {
    ///         while let Ok(request) = answers.next().await {
    ///             let _ = request.reply(name).await;
    ///         }
    ///     });
    /// }
    /// // Two of one group take turns.
    /// let mut by = Vec::new();
    /// for id in ["q1", "q2"] {
    ///     by.push(bus.request(Message::new(id, "stock.left", ""), Duration::from_secs(1)).await?);
    /// }
    /// by.sort();
    /// assert_eq!(by, ["a", "b"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`BusError`].
    fn answer(
        &self,
        group: impl Into<Name> + Send,
        filter: impl Into<Filter> + Send,
    ) -> impl Future<Output = Result<Self::Requests, BusError>> + Send;
}

/// What becomes of a message that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Whether the bus had a message with this id already, and so has not taken another.
    pub duplicate: bool,
}

/// What to subscribe to.
///
/// ```
/// use std::time::Duration;
/// use resilience_cqrs::messaging::Subscribe;
///
/// let billing = Subscribe::group("billing", "orders.>").ack_wait(Duration::from_secs(60));
/// assert!(billing.validate().is_ok());
/// assert!(Subscribe::queue("emails.*").validate().is_err(), "a queue has one name");
/// ```
#[derive(Clone, Debug)]
pub struct Subscribe {
    pub(super) source: Source,
    pub(super) ack_wait: Duration,
    pub(super) in_flight: NonZeroU32,
}

/// Where messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Group { name: Name, filter: Filter },
    Queue { subject: Subject },
}

impl Subscribe {
    /// What is published to the subjects that `filter` matches; each message to one consumer of the group.
    pub fn group(name: impl Into<Name>, filter: impl Into<Filter>) -> Self {
        Self::new(Source::Group { name: name.into(), filter: filter.into() })
    }

    /// What is sent to this queue; each message to one consumer.
    pub fn queue(subject: impl Into<Subject>) -> Self {
        Self::new(Source::Queue { subject: subject.into() })
    }

    fn new(source: Source) -> Self {
        Self { source, ack_wait: Duration::from_secs(30), in_flight: NonZeroU32::MIN.saturating_add(255) }
    }

    /// How long a delivery may stay unsettled before it is taken back. Default: 30 s. [`Delivery::extend`] starts it anew.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::messaging::{Bus, BusError, MemoryBus, Message, Subscribe, Subscription};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// let mut emails = bus.subscribe(Subscribe::queue("emails").ack_wait(Duration::from_secs(5))).await?;
    /// bus.send(Message::new("m1", "emails", "")).await?;
    /// let slow = emails.next().await?;
    /// let again = emails.next().await?; // five seconds later, to whoever asks
    /// assert_eq!(again.attempt, 2);
    /// assert!(matches!(slow.ack().await, Err(BusError::Late)), "it is not this one's to settle any more");
    /// again.ack().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn ack_wait(mut self, wait: Duration) -> Self {
        self.ack_wait = wait;
        self
    }

    /// The most deliveries of the group or queue that are unsettled at once, over all its consumers. Default: 256.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use std::time::Duration;
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Message, Subscribe, Subscription};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// let one_at_a_time = Subscribe::queue("emails").in_flight(NonZeroU32::MIN);
    /// let mut emails = bus.subscribe(one_at_a_time).await?;
    /// bus.send(Message::new("m1", "emails", "")).await?;
    /// bus.send(Message::new("m2", "emails", "")).await?;
    /// let first = emails.next().await?;
    /// assert!(tokio::time::timeout(Duration::from_secs(1), emails.next()).await.is_err());
    /// first.ack().await?;
    /// assert_eq!(emails.next().await?.message.id.as_str(), "m2");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn in_flight(mut self, deliveries: NonZeroU32) -> Self {
        self.in_flight = deliveries;
        self
    }

    /// Checks the names.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn validate(&self) -> Result<(), InvalidMessage> {
        if self.ack_wait.is_zero() {
            return Err(InvalidMessage::Empty { what: "ack_wait" });
        }
        match &self.source {
            Source::Group { name, filter } => limits::name("group", name.as_str()).and_then(|()| filter.validate()),
            Source::Queue { subject } => subject.validate(),
        }
    }
}

/// Deliveries of one group or queue, to one of its consumers.
pub trait Subscription: Send + 'static {
    /// The next delivery.
    ///
    /// Dropped before it completes, nothing is lost.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::messaging::{Bus, BusError, MemoryBus, Message, Subscribe, Subscription};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (bus, to) = (MemoryBus::new(), Subscribe::queue("emails"));
    /// let mut emails = bus.subscribe(to.clone()).await?;
    /// // Given up, as a `select!` does, and asked again: nothing is lost in between.
    /// assert!(tokio::time::timeout(Duration::from_secs(1), emails.next()).await.is_err());
    /// bus.send(Message::new("m1", "emails", "")).await?;
    /// emails.next().await?.ack().await?;
    /// // The end of a loop over deliveries.
    /// bus.remove(&to);
    /// assert!(matches!(emails.next().await, Err(BusError::Closed)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Closed`](BusError::Closed) once there will be none any more; whatever else keeps it from knowing for now.
    fn next(&mut self) -> impl Future<Output = Result<Delivery, BusError>> + Send;

    /// Ends the subscription, and returns what was fetched ahead: what the bus has counted as delivered, and nobody has tried.
    ///
    /// When it completes, nothing is on its way here any more: what is given back after that goes to others. A bus that
    /// fetches nothing ahead need not implement it. Dropped before it completes, what has come comes again in its time.
    fn close(self) -> impl Future<Output = Vec<Delivery>> + Send
    where
        Self: Sized,
    {
        async move {
            drop(self);
            Vec::new()
        }
    }
}

/// Requests to one of those that answer.
pub trait Requests: Send + 'static {
    /// The next request.
    ///
    /// # Errors
    /// [`Closed`](BusError::Closed) once there will be none any more.
    fn next(&mut self) -> impl Future<Output = Result<Request, BusError>> + Send;
}
