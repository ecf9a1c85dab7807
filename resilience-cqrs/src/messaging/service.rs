//! A bus as a service of messages, for layers to go around.

use std::fmt;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tower_service::Service;

use super::bus::{Bus, Sent};
use super::error::BusError;
use super::message::Message;

/// A bus as a `tower` service of [`Message`]s: each is published or sent, as it [says](super::Outgoing::way).
///
/// For messages that belong to no append; those that do are better [sent by a relay](super::outbox).
///
/// ```
/// use resilience_core::circuit_breaker::CircuitBreaker;
/// use resilience_core::retry::Retry;
/// use resilience_cqrs::messaging::{BySending, Dispatcher, MemoryBus, Message};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Sent again under its id, a message is one message: whatever is in doubt may be repeated.
/// let retry = Retry::builder().name("bus").build()?;
/// let breaker = CircuitBreaker::builder().name("bus").build()?;
/// let bus = ServiceBuilder::new()
///     .layer(retry.layer().classify(BySending))
///     .layer(breaker.layer().classify(BySending))
///     .service(Dispatcher::new(MemoryBus::new()));
/// assert!(!bus.oneshot(Message::new("m1", "orders.placed", "17")).await?.duplicate);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Dispatcher<B> {
    bus: B,
}

impl<B> Dispatcher<B> {
    /// The service of this bus.
    pub const fn new(bus: B) -> Self {
        Self { bus }
    }
}

impl<B: Bus> Service<Message> for Dispatcher<B> {
    type Response = Sent;
    type Error = BusError;
    /// In a box: beside a broker's answer an allocation is nothing.
    type Future = BoxFuture<'static, Result<Sent, BusError>>;

    /// Always ready: a bus that has no room says so when it is called.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BusError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, message: Message) -> Self::Future {
        let bus = self.bus.clone();
        Box::pin(async move { bus.dispatch(message).await })
    }
}

impl<B> fmt::Debug for Dispatcher<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}
