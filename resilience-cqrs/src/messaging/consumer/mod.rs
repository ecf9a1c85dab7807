//! Messages are handled, tried again, and in the end laid aside; none is lost, and none stops the others.
//!
//! # Why
//!
//! The loop that takes a message, handles it and acknowledges it is four lines long, and wrong: it acknowledges what was not
//! done or does twice what was, it gives up for good after a deadlock of a second or never gives up a message that nobody can
//! handle, it empties a queue into the dead letters while the database is down, and it forgets what it had in hand when it
//! is stopped.
//!
//! # Behaviour
//!
//! A [`Consumer`] hands each message of a group or queue to a handler: a `tower` service, so that layers go around it. What
//! comes of that decides:
//!
//! | the handler | the message |
//! |---|---|
//! | succeeds | is acknowledged, after that |
//! | fails, panics, or takes too long | comes again, [later each time](ConsumerBuilder::backoff); its key waits for it |
//! | has failed too [often](ConsumerBuilder::max_attempts), or with [`Poison`] | is written among the [dead letters](super::DeadLetters), then acknowledged |
//! | is refused by a policy around it, or by the [breaker](ConsumerBuilder::breaker), or finds that [somebody else](super::RunError::Busy) works on it | stays in hand, is extended, and tried when that is over; no attempt is counted |
//!
//! ```text
//! bus ─▶ in hand (16) ─▶ breaker ─▶ timeout ─▶ your layers ─▶ handler ─▶ ack
//!    ◀── again, later ───────────────────────────────────┘ │
//!                                        dead letters ◀────┘ too often, or poison
//! ```
//!
//! A handler runs in the message's [context](super::Message::context): its deadline is what it may take, its idempotency key
//! the message's id, its correlation and trace those of the message.
//!
//! Attempts are deliveries, which the bus counts, so they outlive the consumer: a message whose handler takes the process with
//! it is given up too, without being handled once more. Less those of which a consumer that was [stopped](ConsumerHandle::stop)
//! has noted in the store that nobody tried the message: that it waited for the breaker, or had only been fetched ahead. Deploys
//! use up no attempts.
//!
//! # Dead letters
//!
//! They are rows of a store: whole messages, with attempts and error, for as long as somebody needs to mend what is wrong.
//! As long as a key has a dead letter, its later messages get behind it, in order, in every process that consumes the same
//! group under the same name ([unless told otherwise](AfterDeath)). [`redrive`](ConsumerHandle::redrive) handles them, first to
//! last; [`discard`](super::DeadLetters::discard) gives one up.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::bulkhead::Bulkhead;
//! use resilience_core::LiftLayer;
//! use resilience_cqrs::messaging::consumer::Health;
//! use resilience_cqrs::messaging::{Bus, Consumer, Inbox, MemoryBus, Message, Subscribe};
//! use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
//! use tower::{ServiceBuilder, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (store, bus) = (MemoryStore::new(), MemoryBus::new());
//! let inbox = Inbox::new(store.clone(), "billing");
//! let bulkhead = Bulkhead::builder().name("billing").limit(4).build()?;
//! let handler = ServiceBuilder::new().layer(bulkhead.layer()).layer(LiftLayer).service(service_fn(move |message: Message| {
//!     let inbox = inbox.clone();
//!     async move {
//!         let billed = Append::new().events("bills", Expected::Any, [NewEvent::new("Billed", message.payload().clone())]);
//!         inbox.append(&message, billed).await.map(drop) // once, however often it is delivered
//!     }
//! }));
//! let to = Subscribe::group("billing", "orders.placed");
//! let running = Consumer::builder(store.clone(), bus.clone(), "billing", to, handler).start()?;
//! running.wait_until(|status| status.health == Health::Good).await; // it has subscribed
//! bus.publish(Message::new("m1", "orders.placed", "17").with_key("order-17")).await?;
//! running.wait_until(|status| status.handled == 1).await;
//! assert_eq!(store.head().get(), 1);
//! running.stop().await?;
//! # Ok(()) }
//! ```
//!
//! # Tests
//!
//! A test of a handler needs no server: a [`MemoryBus`](super::MemoryBus), a [`MemoryStore`](crate::MemoryStore), and tokio's
//! clock stopped, by which waits take no time. Here the mail server is down at first, and one mail has no address.
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use std::sync::Arc;
//! use resilience_cqrs::messaging::{Bus, Consumer, Inbox, MemoryBus, Message, Poison, Ran, Subscribe};
//! use resilience_cqrs::{BoxError, MemoryStore};
//! use tower::service_fn;
//!
//! # /*
//! #[tokio::test(start_paused = true)]
//! # */
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # mails_are_sent_once().await
//! # }
//! async fn mails_are_sent_once() -> Result<(), Box<dyn std::error::Error>> {
//!     let (store, bus, attempts) = (MemoryStore::new(), MemoryBus::new(), Arc::new(AtomicU32::new(0)));
//!     let inbox = Inbox::new(store.clone(), "mailer");
//!     let handler = service_fn({
//!         let attempts = attempts.clone();
//!         move |message: Message| {
//!             let (inbox, attempts) = (inbox.clone(), attempts.clone());
//!             async move {
//!                 let mail = async || match (message.payload().is_empty(), attempts.fetch_add(1, Ordering::Relaxed)) {
//!                     (true, _) => Err(BoxError::from(Poison::new("no address"))),
//!                     (_, 0..3) => Err("the mail server is down".into()),
//!                     _ => Ok(()),
//!                 };
//!                 inbox.run(&message, mail).await.map(|_: Ran<()>| ())
//!             }
//!         }
//!     });
//!     let running = Consumer::builder(store, bus.clone(), "mailer", Subscribe::queue("mails"), handler).start()?;
//!     bus.send(Message::new("m1", "mails", "ann@example.org")).await?;
//!     bus.send(Message::new("m2", "mails", "")).await?;
//!     let status = running.wait_until(|status| status.handled + status.dead == 2).await;
//!     assert_eq!((status.handled, status.dead), (1, 1));
//!     // Nothing in it: given up, with its lane called by its id, as it has no key.
//!     let letters = running.dead_letters();
//!     let letter = letters.of_key("m2", None, 1).await?.pop().ok_or("no letter")?;
//!     assert!(letter.error.ends_with("no address"));
//!     letters.discard(&letter).await?;
//!     Ok(running.stop().await?)
//! }
//! ```
//!
//! What happens when the store fails in between is asked with a [`FaultyStore`](crate::testing::FaultyStore).
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | concurrency | 16 messages | enough to hide a database's answer, few enough not to be its load |
//! | attempts | 20 | with the back-off, six minutes on average: a restart of a database is over by then, and what is not needs somebody |
//! | back-off | 200 ms, doubled up to 60 s, drawn | |
//! | time for a message | 60 s | a handler that hangs is one that has failed |
//! | breaker | opens after 20 failures in a row, for 5 s | a database that is down is no reason to give messages up |
//! | after a dead letter | its key waits | the order of a key is what it has a key for |
//! | dead letters | 10,000 | a handler that can do nothing is broken as a whole, and is not fed any more |
//!
//! # Events and errors
//!
//! [`Event`] says what happened, under the consumer's name; [`Status`] how it is doing. [`ConsumerError`] is why a consumer has
//! ended by itself.
//!
//! # Do and don't
//!
//! - Do make effects idempotent: [`Inbox`](super::Inbox) does, or the message's id as a key for whoever is called.
//! - Do say [`Poison`] where no attempt will help. It is laid aside at once, and says nothing against the database.
//! - Don't retry for long within the handler: the message is in hand meanwhile, and so is its key.
//!
//! # Limits
//!
//! Messages are handled on the consumer's own task, in turns; a handler that computes for long spawns. A redrive delivers by
//! itself and is not counted by the bus. A delivery counts although nobody tried the message where that cannot be noted: when
//! the process is killed or the consumer dropped, when the store does not take the note within a second, and what a NATS server
//! has sent at the moment of the stop, or to a program that then wants nothing for an ack wait. A bus that has forgotten what
//! it counted gives a message as many more attempts as were noted. Two redrives of one key at the same time, in two processes, are two who handle it:
//! its order is then theirs. A message without a key is among the dead letters by its id, so a key that is called like an id
//! waits behind it.

mod classify;
mod config;
mod event;
mod handle;
mod handler;
mod runner;
#[cfg(test)]
mod tests;
mod untried;
mod worker;

pub use self::classify::{ByHandling, Poison};
pub use self::config::{AfterDeath, ConsumerBuilder};
pub use self::event::Event;
pub use self::handle::{ConsumerError, ConsumerHandle, Health, Status};
pub use self::handler::Handler;
pub use self::runner::Consumer;
