//! A message in somebody's hands.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use resilience_core::context::Context;
use resilience_core::time::SharedTimer;

use super::error::BusError;
use super::message::Message;

/// A message, to be settled: [done](Self::ack), [again](Self::retry_in), or [never again](Self::term).
///
/// Dropped unsettled it is delivered again, to this consumer or to another one of the group.
#[must_use = "a delivery that is dropped comes again"]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// How often it was delivered, this time included: 1 at first. What a bus forgets in a crash it may count anew.
    pub attempt: u32,
    settle: Option<Box<dyn Settle>>,
}

impl Delivery {
    /// For buses: a delivery that is settled by `settle`.
    pub fn new(message: Message, attempt: u32, settle: impl Settle) -> Self {
        Self { message, attempt, settle: Some(Box::new(settle)) }
    }

    /// It is done, and does not come again once this has completed.
    ///
    /// The effect comes first, the ack after it: a process that dies in between has the message delivered again, and an
    /// [`Inbox`](super::Inbox) knows it. Dropped before it completes, it may have been settled, or not.
    ///
    /// # Errors
    /// [`Late`](BusError::Late) if it was taken back before; else nobody knows, and it may come again.
    pub async fn ack(mut self) -> Result<(), BusError> {
        match self.settle.take() {
            Some(settle) => settle.ack().await,
            None => Ok(()),
        }
    }

    /// It is to come again, after `delay`. The key waits for it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Message, Subscribe, Subscription};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// let mut emails = bus.subscribe(Subscribe::queue("emails")).await?;
    /// for (id, key) in [("m1", "ann"), ("m2", "ann"), ("m3", "bob")] {
    ///     bus.send(Message::new(id, "emails", "").with_key(key)).await?;
    /// }
    /// emails.next().await?.retry_in(Duration::from_secs(60)).await?;
    /// // Ann's second message waits for her first, Bob's for nobody.
    /// for expected in ["m3", "m1", "m2"] {
    ///     let delivery = emails.next().await?;
    ///     assert_eq!(delivery.message.id.as_str(), expected);
    ///     delivery.ack().await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub async fn retry_in(mut self, delay: Duration) -> Result<(), BusError> {
        match self.settle.take() {
            Some(settle) => settle.retry_in(delay).await,
            None => Ok(()),
        }
    }

    /// It is given up: it does not come again, though it was not done.
    ///
    /// Nothing of it is kept by the bus. A [`Consumer`](super::Consumer) calls it once the message is among its
    /// [dead letters](super::DeadLetters).
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub async fn term(mut self) -> Result<(), BusError> {
        match self.settle.take() {
            Some(settle) => settle.term().await,
            None => Ok(()),
        }
    }

    /// It takes longer: the time for settling it starts anew.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Message, Subscribe, Subscription};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::new();
    /// let mut videos = bus.subscribe(Subscribe::queue("videos").ack_wait(Duration::from_secs(10))).await?;
    /// bus.send(Message::new("m1", "videos", "")).await?;
    /// let mut delivery = videos.next().await?;
    /// for _ in 0..4 {
    ///     tokio::time::sleep(Duration::from_secs(8)).await; // a part of the work
    ///     delivery.extend().await?;
    /// }
    /// delivery.ack().await?; // after 32 seconds, of which it had ten at a time
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub async fn extend(&mut self) -> Result<(), BusError> {
        match &mut self.settle {
            Some(settle) => settle.extend().await,
            None => Ok(()),
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle.abandon();
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("message", &self.message)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// For buses: how a delivery is settled.
///
/// A bus of yours implements it for whatever finds the message again, and makes a [`Delivery`] of it. A decorator does,
/// too:
///
/// ```
/// use std::time::Duration;
/// use futures::future::BoxFuture;
/// use resilience_cqrs::messaging::{BusError, Delivery, Message, Settle};
///
/// /// Of a test: all that was settled was settled well.
/// struct Nowhere;
///
/// impl Settle for Nowhere {
///     fn ack(self: Box<Self>) -> BoxFuture<'static, Result<(), BusError>> {
///         Box::pin(async { Ok(()) })
///     }
///     fn retry_in(self: Box<Self>, _: Duration) -> BoxFuture<'static, Result<(), BusError>> {
///         Box::pin(async { Ok(()) })
///     }
///     fn term(self: Box<Self>) -> BoxFuture<'static, Result<(), BusError>> {
///         Box::pin(async { Ok(()) })
///     }
///     fn extend(&mut self) -> BoxFuture<'_, Result<(), BusError>> {
///         Box::pin(async { Ok(()) })
///     }
///     fn abandon(self: Box<Self>) {}
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// Delivery::new(Message::new("m1", "emails", ""), 1, Nowhere).ack().await?;
/// # Ok(()) }
/// ```
pub trait Settle: Send + Sync + 'static {
    /// It is done.
    fn ack(self: Box<Self>) -> BoxFuture<'static, Result<(), BusError>>;

    /// It is to come again, after `delay`.
    fn retry_in(self: Box<Self>, delay: Duration) -> BoxFuture<'static, Result<(), BusError>>;

    /// It is given up.
    fn term(self: Box<Self>) -> BoxFuture<'static, Result<(), BusError>>;

    /// It takes longer.
    fn extend(&mut self) -> BoxFuture<'_, Result<(), BusError>>;

    /// It was dropped unsettled. May do nothing: then it comes again when its time is over.
    fn abandon(self: Box<Self>);
}

/// A question, to be [answered](Self::reply). Dropped unanswered, the one who asks waits in vain.
pub struct Request {
    /// The question.
    pub message: Message,
    /// How long the one who asks still waits, at the time it was received.
    pub within: Duration,
    reply: Box<dyn Reply>,
}

impl Request {
    /// For buses: a question that is answered by `reply`.
    pub fn new(message: Message, within: Duration, reply: impl Reply) -> Self {
        Self { message, within, reply: Box::new(reply) }
    }

    /// The context in which it is answered: the message's own, and the time that is left as its deadline.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::context;
    /// use resilience_core::time::SharedTimer;
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Message, Requests};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (bus, timer) = (MemoryBus::new(), SharedTimer::default());
    /// let mut answers = bus.answer("stock", "stock.*").await?;
    /// let asked = bus.request(Message::new("q1", "stock.left", ""), Duration::from_secs(2));
    /// let answered = async {
    ///     let request = answers.next().await?;
    ///     // What the answer takes is what the one who asks still waits, whatever is called for it.
    ///     let left = request.context(&timer).scope(async { context::deadline(&timer)?.remaining(timer.now()) }).await;
    ///     request.reply(format!("{left:?}")).await
    /// };
    /// let (left, _) = tokio::try_join!(asked, answered)?;
    /// assert_eq!(&left[..], b"Some(2s)");
    /// # Ok(()) }
    /// ```
    pub fn context(&self, timer: &SharedTimer) -> Context {
        self.message.context().with_deadline(timer.now() + self.within)
    }

    /// Answers it.
    ///
    /// # Errors
    /// See [`BusError`]. Success does not mean that somebody still waited.
    pub async fn reply(self, payload: impl Into<Bytes>) -> Result<(), BusError> {
        self.reply.reply(payload.into()).await
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("message", &self.message).field("within", &self.within).finish_non_exhaustive()
    }
}

/// For buses: how a request is answered.
pub trait Reply: Send + Sync + 'static {
    /// Sends the answer.
    fn reply(self: Box<Self>, payload: Bytes) -> BoxFuture<'static, Result<(), BusError>>;
}
