//! A delivery's way back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::runtime::Handle;

use super::lane::{Lane, Ticket};
use super::link::question;
use crate::messaging::delivery::Settle;
use crate::messaging::error::BusError;

/// Gives the message back if it is dropped before it was settled.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lane: Arc<Lane>,
    pub(super) ticket: Ticket,
}

impl Held {
    /// Says what became of it, and waits until the server knows.
    async fn say(&self, word: String) -> Result<(), BusError> {
        if !self.lane.holds(&self.ticket) {
            // Said now it would be of the delivery of somebody else.
            return Err(BusError::Late);
        }
        let link = &self.lane.link;
        link.ask(self.ticket.reply.clone(), question(None, Bytes::from(word)), link.limit()?).await.map(drop)
    }

    async fn settle(self: Box<Self>, word: String) -> Result<(), BusError> {
        let said = self.say(word).await;
        self.lane.released(&self.ticket);
        said
    }
}

impl Settle for Held {
    fn ack(self: Box<Self>) -> BoxFuture<'static, Result<(), BusError>> {
        self.settle("+ACK".into()).boxed()
    }

    fn retry_in(self: Box<Self>, delay: Duration) -> BoxFuture<'static, Result<(), BusError>> {
        let word = if delay.is_zero() { "-NAK".into() } else { format!(r#"-NAK {{"delay": {}}}"#, delay.as_nanos()) };
        self.settle(word).boxed()
    }

    fn term(self: Box<Self>) -> BoxFuture<'static, Result<(), BusError>> {
        self.settle("+TERM".into()).boxed()
    }

    fn extend(&mut self) -> BoxFuture<'_, Result<(), BusError>> {
        async {
            let before = self.lane.link.timer.now();
            self.say("+WPI".into()).await?;
            self.lane.extended(self.ticket.number, before);
            Ok(())
        }
        .boxed()
    }

    fn abandon(self: Box<Self>) {
        let is_held = self.lane.holds(&self.ticket);
        self.lane.released(&self.ticket);
        // Outside a runtime, or late: it comes again when its time is over, or has.
        if let (true, Ok(runtime)) = (is_held, Handle::try_current()) {
            runtime.spawn(async move { self.lane.link.tell(self.ticket.reply.clone(), "-NAK").await });
        }
    }
}
