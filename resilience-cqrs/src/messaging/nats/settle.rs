//! A delivery's way back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::runtime::Handle;

use super::lane::Lane;
use super::link::question;
use super::shared::Ticket;
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
    async fn say(&self, subject: impl Into<String>, word: String) -> Result<(), BusError> {
        if !self.lane.holds(&self.ticket) {
            // Said now it would be of the delivery of somebody else.
            return Err(BusError::Late);
        }
        let link = &self.lane.link;
        link.ask(subject.into(), question(None, Bytes::from(word)), link.limit()?).await.map(drop)
    }

    /// For good.
    async fn settle(self: Box<Self>, word: &str) -> Result<(), BusError> {
        let said = self.say(for_good(&self.ticket.reply), word.into()).await;
        self.lane.released(&self.ticket);
        self.lane.link.stirred.notify_one();
        said
    }
}

/// Where a delivery is settled for good: at its reply subject, without its number among the consumer's deliveries.
///
/// `$JS.ACK.<stream>.<consumer>.<attempt>.<place in the stream>.<number>.<time>.<left>`, from some servers with an account and
/// a domain before the stream. The place says which message it is. The number counts only where the server does not know
/// that it was given to anybody, as after it was killed, when it has forgotten the last ones: it has given the same number to
/// another message by then, and would take that one, and all before it, for settled. No message has the number 0.
fn for_good(reply: &str) -> String {
    let mut words: Vec<&str> = reply.split('.').collect();
    let number = match words.len() {
        9 => Some(6),
        11.. => Some(8),
        _ => None,
    };
    if let (["$JS", "ACK", ..], Some(number)) = (&*words, number) {
        words[number] = "0";
    }
    words.join(".")
}

impl Settle for Held {
    fn ack(self: Box<Self>) -> BoxFuture<'static, Result<(), BusError>> {
        self.settle("+ACK").boxed()
    }

    fn retry_in(self: Box<Self>, delay: Duration) -> BoxFuture<'static, Result<(), BusError>> {
        let word = if delay.is_zero() { "-NAK".into() } else { format!(r#"-NAK {{"delay": {}}}"#, delay.as_nanos()) };
        async move {
            let said = self.say(&*self.ticket.reply, word).await;
            self.lane.released(&self.ticket);
            said
        }
        .boxed()
    }

    fn term(self: Box<Self>) -> BoxFuture<'static, Result<(), BusError>> {
        self.settle("+TERM").boxed()
    }

    fn extend(&mut self) -> BoxFuture<'_, Result<(), BusError>> {
        async {
            let before = self.lane.link.timer.now();
            self.say(&*self.ticket.reply, "+WPI".into()).await?;
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
            runtime.spawn(async move { self.lane.link.tell(&self.ticket.reply, "-NAK").await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::for_good;

    #[test]
    fn what_is_settled_for_good_names_its_message_and_no_delivery_of_another_one() {
        assert_eq!(for_good("$JS.ACK.s.g-g-n.1.17.23.1700000000.4"), "$JS.ACK.s.g-g-n.1.17.0.1700000000.4");
        let long = "$JS.ACK.domain.account.s.g-g-n.1.17.23.1700000000.4";
        assert_eq!(for_good(long), long.replace(".23.", ".0."));
        assert_eq!(for_good(&format!("{long}.token")), format!("{long}.token").replace(".23.", ".0."));
        for other in ["", "_INBOX.a.b", "a.b.c.d.e.f.g.h.i"] {
            assert_eq!(for_good(other), other);
        }
    }
}
