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
