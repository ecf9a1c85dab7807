//! A bus on NATS JetStream, for many programs (feature `nats`).
//!
//! # Why
//!
//! JetStream keeps messages until they are settled, and knows who has what: everything of a [`Bus`] but the order of a key
//! when several programs consume, and the assurance that an older server does what a newer one was asked. Both are here.
//!
//! # Behaviour
//!
//! | of the bus | in NATS |
//! |---|---|
//! | [publish](Bus::publish) | the stream `<prefix>-topics`, from which the bus clears what every group that hears it has settled |
//! | [send](Bus::send) | the stream `<prefix>-queues`, from which it clears what a consumer has settled |
//! | [request](Bus::request) | a request of core NATS, which is stored nowhere |
//! | a group, a queue | durable consumers, from which all programs pull: one for messages without key, [`key_lanes`] for keys |
//! | a message's id | `Nats-Msg-Id`, by which the server knows duplicates |
//! | key, metadata | headers: `Message-Key`, `Correlation-Id`, `Causation-Id`, `Actor`, `Tenant`, `traceparent`, escaped as in URLs |
//! | ack, retry, term, extend | `+ACK`, `-NAK`, `+TERM`, `+WPI`, each confirmed by the server |
//!
//! **Order.** The digest of a key is part of its messages' subjects, `shop.t.k.0.1.1.0.1.0.orders.placed`; each lane of a
//! group or queue is a consumer that hears its part of the digests and has `max_ack_pending` 1. So the server itself keeps
//! one message of a key under way at a time, in all programs together, also while it is held back by
//! [`retry_in`](super::Delivery::retry_in). The price: keys of one lane wait for each other, and a lane goes as fast as one
//! message after the other does.
//!
//! **What was granted.** Streams and consumers are compared with what was asked, field by field. A server passes over fields
//! that it does not know, and a stream may be there from before with other limits; either is a
//! [`Mismatch`](BusError::Mismatch) that names the field, and no surprise later. Works from server 2.9 on.
//!
//! **Not by interest.** Both streams are kept by limits; they refuse what has no room, and the bus clears them, about a second
//! after something was settled and at once for a publication that has no room. JetStream has retentions that clear by
//! themselves, `interest` and `workqueue`; they lose acknowledged messages when a server of 2.9 is killed:
//! - When it starts, 2.9.10 clears streams of interest up to the lowest place of a consumer, and takes 0, the place of one
//!   that has settled nothing or whose state was being written, for "not known" (`checkForOrphanMsgs`). In the shop, four of
//!   twenty runs in which it was killed twice lost orders by that; with a second group that had settled nothing, all were.
//! - When the last message of a stream is settled, its file is truncated before the last number is noted in another
//!   (`closeAndKeepIndex`). A server killed at that call counted from a lower number on, and consumers skipped what came.
//!
//! Asking again after publishing would not help: such a message was stored, and is lost later. Several programs may clear at
//! once. The connection needs the rights to `STREAM.PURGE` and `CONSUMER.LIST`; without them streams only grow, and a warning
//! says so.
//!
//! **A connection that is lost** is made again, for as long as it takes, and subscriptions go on by themselves. Whatever is
//! sent meanwhile waits for it until its deadline, at most [`answer_within`](NatsBusBuilder::answer_within), and is then
//! [rejected](BusError::Rejected): it was not sent. What was under way when the connection was lost is
//! [in doubt](BusError::Unavailable) at once. Nothing is kept on this side, so nothing piles up.
//!
//! # Example
//!
//! ```no_run
//! use resilience_cqrs::messaging::nats::NatsBus;
//! use resilience_cqrs::messaging::{Bus, Message, Subscribe, Subscription};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = NatsBus::builder("nats://localhost:4222").prefix("shop").open().await?;
//! let mut billing = bus.subscribe(Subscribe::group("billing", "orders.>")).await?;
//! bus.publish(Message::new("m1", "orders.placed", "17").with_key("order-17")).await?;
//! billing.next().await?.ack().await?;
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`prefix`](NatsBusBuilder::prefix) | `bus` | |
//! | [`key_lanes`] | 16 | keys under way at once; 17 consumers for each group are nothing to a server |
//! | [`replicas`](NatsBusBuilder::replicas) | 1 | more need a cluster |
//! | [`max_messages`](NatsBusBuilder::max_messages), [`max_bytes`](NatsBusBuilder::max_bytes) | 1,000,000, 1 GiB | then senders are refused; the outbox keeps what is to be sent |
//! | [`duplicate_window`](NatsBusBuilder::duplicate_window) | 2 minutes | as by NATS |
//! | [`answer_within`](NatsBusBuilder::answer_within) | 5 s | longer than a reconnect takes |
//! | [`unanswered`](NatsBusBuilder::unanswered) | 1,024 | what one program may have in doubt |
//! | reconnects | no end; 4 s apart at most | |
//!
//! # Limits
//!
//! - What is acknowledged survives the death of the server's process. It survives the machine's only with
//!   [`replicas`](NatsBusBuilder::replicas) on others, or `sync_interval: always` (the server's own is 2 minutes).
//! - A server that is killed may have forgotten settlings and attempts of the last tenth of a second, or, if it was writing
//!   them down, all whose messages are still there: what was done comes again, counted anew, in the order of its key.
//!   Somebody who still has such a delivery then has it beside another one.
//! - [`in_flight`](super::Subscribe::in_flight) is exact within a program. Over several, messages without key keep it, and
//!   those with one are as many as lanes at most. Up to one message of each lane and one for each waiting consumer is
//!   fetched ahead, and given back if nobody takes it for half an ack wait.
//! - A delivery is late by the clock of the program that has it. One that is settled within the last moments of its time, as
//!   long as a message takes to the server, may be in other hands already.
//! - The ids of topics and of queues are told apart: one id may be both published and sent.
//! - A question that several groups answer is put to each of them, and the first answer counts.
//! - A group that is not wanted any more is removed on the server (`nats consumer rm`), or its messages stay. Streams of earlier
//!   versions, kept by interest, are a mismatch: drain them, and remove them (`nats stream rm`).
//!
//! [`key_lanes`]: NatsBusBuilder::key_lanes

mod config;
mod granted;
mod lane;
mod link;
mod prune;
mod settle;
mod shared;
mod wire;

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_nats::jetstream::context::Context;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{ConnectOptions, Subscriber};
use bytes::Bytes;
use futures::future::{BoxFuture, Either, select};
use futures::{FutureExt as _, StreamExt as _};
use resilience_core::time::SharedTimer;
use resilience_core::{Name, Reason};
use tokio::task::JoinHandle;

pub use self::config::NatsBusBuilder;
use self::config::Settings;
use self::lane::Lane;
use self::link::{Limit, Link, question, unavailable};
use self::prune::Pruner;
use self::settle::Held;
use self::shared::Taken;
use super::bus::{Bus, Requests, Sent, Subscribe, Subscription};
use super::delivery::{Delivery, Reply, Request};
use super::error::BusError;
use super::limits;
use super::message::{Message, Way};
use super::subject::Filter;

/// A bus on NATS JetStream. Clones are one connection.
///
/// See [the module](self) for what it does, and the [builder](Self::builder) for its settings.
#[derive(Clone)]
pub struct NatsBus {
    inner: Arc<Inner>,
}

struct Inner {
    link: Arc<Link>,
    context: Context,
    settings: Settings,
    /// The groups and queues this program takes part in, by the name of their first consumer.
    lanes: Mutex<Vec<Known>>,
    pruner: Arc<Pruner>,
}

/// A lane that somebody serves.
struct Known {
    name: String,
    lane: Weak<Lane>,
    served: JoinHandle<()>,
}

impl NatsBus {
    /// Sets up a bus on the servers at `address`: `nats://host:4222`, several of one cluster joined by commas.
    pub fn builder(address: impl Into<String>) -> NatsBusBuilder {
        NatsBusBuilder::new(address.into())
    }

    /// Whether there is a connection at the moment.
    pub fn is_connected(&self) -> bool {
        self.inner.link.is_up()
    }

    /// Ends the connection in good order, for all clones and subscriptions.
    ///
    /// Nothing new begins, and subscriptions are [closed](BusError::Closed). What was fetched ahead is given back to the server,
    /// and so is what is in somebody's hands: it comes to others at once, and settling it here is [late](BusError::Late).
    /// Publications and questions under way are waited for. A call that is dropped leaves what is left undone to the
    /// server's time: deliveries come again after their ack wait.
    ///
    /// # Errors
    /// [`Closed`](BusError::Closed) if it is closed already; [`Elapsed`](BusError::Elapsed) if that took longer than
    /// [`answer_within`](NatsBusBuilder::answer_within), as without a connection: then it is closed all the same.
    pub async fn close(&self) -> Result<(), BusError> {
        let Inner { link, lanes, .. } = &*self.inner;
        if !link.close() {
            return Err(BusError::Closed);
        }
        let known = std::mem::take(&mut *lanes.lock().unwrap_or_else(PoisonError::into_inner));
        link.in_time(async {
            for Known { served, .. } in known {
                let _ = served.await;
            }
            link.end().await
        })
        .await?
    }

    async fn connect(
        address: &str,
        options: ConnectOptions,
        settings: Settings,
        name: Name,
        timer: SharedTimer,
        answer_within: Duration,
        room: usize,
    ) -> Result<Self, BusError> {
        let link = Link::connect(address, options, name, timer, answer_within, room).await?;
        let mut context = async_nats::jetstream::new(link.client.clone());
        context.set_timeout(answer_within);
        granted::streams(&link, &context, &settings).await?;
        let (link, pruner) = (Arc::new(link), Arc::new(Pruner::new(context.clone(), &settings.prefix)));
        tokio::spawn(pruner.clone().run(Arc::downgrade(&link), link.stirred.clone(), link.timer.clone()));
        let inner = Inner { link, context, settings, lanes: Mutex::default(), pruner };
        Ok(Self { inner: Arc::new(inner) })
    }

    async fn store(&self, message: Message) -> Result<Sent, BusError> {
        message.validate()?;
        let Inner { link, pruner, .. } = &*self.inner;
        let limit = link.limit()?;
        if let Some(sent) = self.put(&message, limit).await? {
            return Ok(sent);
        }
        // What is settled may be there still.
        let cleared = pin!(pruner.make_room(link, message.content.way));
        let again = match select(cleared, pin!(link.timer.sleep_until(limit.until))).await {
            Either::Left((Ok(()), _)) => self.put(&message, limit).await?,
            Either::Left((Err(_), _)) | Either::Right(_) => None,
        };
        let limit = u32::try_from(self.inner.settings.max_messages).unwrap_or(u32::MAX);
        again.ok_or_else(|| link.rejected(Reason::Full { limit, queued: 0 }))
    }

    /// Has the server store a message; `None` if it has no room.
    async fn put(&self, message: &Message, limit: Limit) -> Result<Option<Sent>, BusError> {
        let Inner { link, settings, .. } = &*self.inner;
        let subject = wire::subject_of(&settings.prefix, message);
        let question = question(Some(wire::headers_of(message, None)), message.content.payload.clone());
        let answer = link.ask_in_turn(subject, question, limit).await?;
        match serde_json::from_slice::<Response<PublishAck>>(&answer.payload) {
            Ok(Response::Ok(stored)) => {
                link.stirred.notify_one();
                Ok(Some(Sent { duplicate: stored.duplicate }))
            }
            Ok(Response::Err { error }) if error.to_string().contains("maximum") => Ok(None),
            Ok(Response::Err { error }) if error.code() >= 500 => Err(unavailable("JetStream cannot do it", error)),
            Ok(Response::Err { error }) => Err(BusError::Refused { why: error.to_string() }),
            Err(error) => Err(unavailable("the answer cannot be read", error)),
        }
    }

    async fn take_part(&self, to: Subscribe) -> Result<NatsSubscription, BusError> {
        to.validate()?;
        let Inner { link, context, settings, lanes, .. } = &*self.inner;
        if link.is_closed() {
            return Err(BusError::Closed);
        }
        let consumers = granted::consumers(link, context, settings, &to).await?;
        let name = wire::consumer_name(&to.source, None);
        let known = || lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = |known: &Vec<Known>| {
            let lanes = known.iter().filter(|known| known.name == name);
            lanes.filter_map(|known| known.lane.upgrade()).find(|lane| lane.join(&to, false))
        };
        if let Some(lane) = joined(&known()) {
            return Ok(NatsSubscription { lane });
        }
        let inbox = link.client.new_inbox();
        let messages = link.client.subscribe(format!("{inbox}.*")).await;
        let messages = messages.map_err(|error| unavailable("it cannot be subscribed to", error))?;
        let mut known = known();
        // Somebody else may have been faster.
        if let Some(lane) = joined(&known) {
            return Ok(NatsSubscription { lane });
        }
        let lane = Arc::new(Lane::new(link.clone(), &settings.prefix, consumers, &to));
        lane.join(&to, true);
        known.retain(|known| known.lane.strong_count() > 0);
        let served = tokio::spawn(lane.clone().serve(context.clone(), inbox, messages));
        known.push(Known { name, lane: Arc::downgrade(&lane), served });
        Ok(NatsSubscription { lane })
    }
}

impl Bus for NatsBus {
    type Subscription = NatsSubscription;
    type Requests = NatsRequests;

    async fn publish(&self, message: Message) -> Result<Sent, BusError> {
        self.store(message.by(Way::Publish)).await
    }

    async fn send(&self, message: Message) -> Result<Sent, BusError> {
        self.store(message.by(Way::Send)).await
    }

    async fn request(&self, message: Message, within: Duration) -> Result<Bytes, BusError> {
        message.validate()?;
        let Inner { link, settings, .. } = &*self.inner;
        let limit = link.limit_of(within)?;
        let subject = wire::question_subject(&settings.prefix, message.subject().as_str());
        let headers = wire::headers_of(&message, Some(limit.within));
        let answer = link.ask_in_turn(subject, question(Some(headers), message.content.payload), limit).await?;
        Ok(answer.payload)
    }

    async fn subscribe(&self, to: Subscribe) -> Result<NatsSubscription, BusError> {
        self.take_part(to).await
    }

    async fn answer(
        &self,
        group: impl Into<Name> + Send,
        filter: impl Into<Filter> + Send,
    ) -> Result<NatsRequests, BusError> {
        let (group, filter) = (group.into(), filter.into());
        limits::name("group", group.as_str())?;
        filter.validate()?;
        let Inner { link, settings, .. } = &*self.inner;
        if link.is_closed() {
            return Err(BusError::Closed);
        }
        let subject = wire::answer_filter(&settings.prefix, &filter);
        let questions = link.client.queue_subscribe(subject, wire::plain(group.as_str())).await;
        let questions = questions.map_err(|error| unavailable("it cannot be subscribed to", error))?;
        link.settle().await?;
        Ok(NatsRequests { link: link.clone(), prefix: settings.prefix.clone(), questions })
    }
}

impl fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { link, settings, .. } = &*self.inner;
        f.debug_struct("NatsBus").field("settings", settings).field("is_up", &link.is_up()).finish_non_exhaustive()
    }
}

/// Deliveries of one group or queue of a [`NatsBus`].
#[derive(Debug)]
pub struct NatsSubscription {
    lane: Arc<Lane>,
}

impl Subscription for NatsSubscription {
    async fn next(&mut self) -> Result<Delivery, BusError> {
        let Taken { message, attempt, ticket, is_old } = self.lane.next().await?;
        let (reply, now) = (ticket.reply.clone(), self.lane.link.timer.now());
        let delivery = Delivery::new(message, attempt, Held { lane: self.lane.clone(), ticket });
        if let Some(number) = is_old {
            self.lane.link.tell(&reply, "+WPI").await;
            self.lane.extended(number, now);
        }
        Ok(delivery)
    }

    async fn close(self) -> Vec<Delivery> {
        let lane = self.lane.clone();
        // Nothing between the two waits, so nobody sees a lane without subscription that is not kept.
        lane.keep();
        drop(self);
        let held = |ticket| Held { lane: lane.clone(), ticket };
        let ahead = lane.rest().await.into_iter();
        ahead.map(|Taken { message, attempt, ticket, .. }| Delivery::new(message, attempt, held(ticket))).collect()
    }
}

impl Drop for NatsSubscription {
    fn drop(&mut self) {
        self.lane.leave();
    }
}

/// Requests to one that answers on a [`NatsBus`].
#[derive(Debug)]
pub struct NatsRequests {
    link: Arc<Link>,
    prefix: String,
    questions: Subscriber,
}

impl Requests for NatsRequests {
    async fn next(&mut self) -> Result<Request, BusError> {
        loop {
            let raw = self.questions.next().await.ok_or(BusError::Closed)?;
            // Without it nobody waits for an answer.
            let Some(reply) = raw.reply else { continue };
            let within = wire::within_of(raw.headers.as_ref()).unwrap_or(Duration::MAX);
            let id = || reply.to_string();
            let message = wire::message_of(&self.prefix, None, &raw.subject, raw.headers.as_ref(), raw.payload, id);
            let answer = Answer { link: self.link.clone(), reply: reply.to_string() };
            return Ok(Request::new(message, within, answer));
        }
    }
}

struct Answer {
    link: Arc<Link>,
    reply: String,
}

impl Reply for Answer {
    fn reply(self: Box<Self>, payload: Bytes) -> BoxFuture<'static, Result<(), BusError>> {
        async move {
            let published = self.link.client.publish(self.reply, payload).await;
            published.map_err(|error| BusError::Refused { why: error.to_string() })
        }
        .boxed()
    }
}
