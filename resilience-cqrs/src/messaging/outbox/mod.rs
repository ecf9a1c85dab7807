//! What a log says is to be sent is sent: at least once, in order, whatever crashes when.
//!
//! # Why
//!
//! A program that stores what it decided and then tells others dies, some day, between the two; one that tells first tells
//! what did not happen. Two systems have no common commit. So the decision and the intention to tell are one append, and
//! something else, that may crash as often as it likes, sees to it that what was intended is done.
//!
//! # Behaviour
//!
//! The log is the outbox. A [`Relay`] reads it from its checkpoint on, makes messages of what it finds, sends them, and
//! moves the checkpoint when the bus has taken them. There are two kinds:
//!
//! - Most messages say what an event says: [`events`](RelayBuilder::events) makes them, and nothing is stored twice.
//! - What no event says is put into an [`Outbox`] beside the events of the append: a row, and a mark in the log that gives it
//!   its place. The row is removed in the transaction that moves the checkpoint past the mark.
//!
//! ```text
//! append ─▶ log  #7 Deposited  #8 mark ─▶ row m1: an e-mail       (one transaction)
//! relay  ─▶ read after #6 ─▶ send "bank-7", "m1" ─▶ checkpoint #8, row m1 gone   (one transaction)
//!                                  └─ dies here: sends both again, under the same ids
//! ```
//!
//! Ids are the same however often a message is sent: the relay's name and the event's position, or what the program has
//! chosen. A bus drops the second one if it comes soon, an [`Inbox`](super::Inbox) whenever it comes.
//!
//! Messages of one key leave in the order of the log, each when the one before has arrived; keys do not wait for each
//! other. The checkpoint is fenced by its former value: of two relays who both think the outbox is theirs, the one that
//! took it over last has it, and the other one is told at its next commit. Until then both may send the same, under the same
//! ids. A [lease](crate::lease) keeps two from trying.
//!
//! # When a message cannot be sent
//!
//! | what | then |
//! |---|---|
//! | the bus is down, full, or does not answer | tried again for ever, through [retry](RelayBuilder::retry) and [breaker](RelayBuilder::breaker); appends notice nothing, the backlog stays in the log |
//! | no message can be made of the event, or the bus refuses this one | its key is *parked* from there on, all other keys go on; [`replay`](RelayHandle::replay) sends what waits, in order, [`discard`](RelayHandle::discard) gives it up |
//! | the store is down | the relay tries again |
//!
//! # Example
//!
//! ```
//! use resilience_cqrs::messaging::{Bus, MemoryBus, Outbox, Outgoing, Relay, Subscribe, Subscription};
//! use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent, Query};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (store, bus) = (MemoryStore::new(), MemoryBus::new());
//! let relay = Relay::builder(store.clone(), bus.clone(), "shop")
//!     .events(Query::types(["Placed"]), |event| Ok(Some(Outgoing::new("orders.placed", event.payload.clone()))))
//!     .start()?;
//!
//! let mut billing = bus.subscribe(Subscribe::group("billing", "orders.>")).await?;
//! let mut emails = bus.subscribe(Subscribe::queue("emails")).await?;
//! let placed = Append::new().events("order-17", Expected::NoStream, [NewEvent::new("Placed", "socks")]);
//! let thanks = Outgoing::for_queue("emails", "thank you").with_id("order-17-thanks");
//! store.append(Outbox::new("shop").put(placed, &thanks)).await?;
//!
//! let message = billing.next().await?;
//! assert_eq!((message.message.id.as_str(), message.message.key()), ("shop-1", Some("order-17")));
//! message.ack().await?;
//! assert_eq!(emails.next().await?.message, thanks);
//! relay.stop().await?;
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | batch | 256 events | what a crash sends again, at most |
//! | window | 32 keys | a broker's answer takes a while; it is spread over many |
//! | one attempt | 10 s | a broker that hangs is a broker that is down |
//! | retry | 3 attempts, up to 100 and 200 ms apart, drawn | then the relay says that it stumbles, waits up to 10 s, and begins anew |
//! | breaker | opens after 5 failures in a row, for 5 s | a broker that comes back is not met by all that waited |
//! | parked messages | 10,000 | an outbox that parks everything is broken as a whole, and stops instead |
//!
//! # Events and errors
//!
//! [`Event`] says what happened, under the relay's name, to [listeners](RelayBuilder::listener); breaker and retry tell
//! theirs to the listeners they were built with. [`RelayError`] is why a relay has ended by itself.
//!
//! # Limits
//!
//! Marks stay in the log, some 40 bytes each; only the rows go. One batch waits for its slowest key. A mapping must make the
//! same of an event each time, or ids do not mean what they say.

mod checkpoint;
mod config;
mod event;
mod handle;
mod put;
mod replay;
mod runner;
mod send;
#[cfg(test)]
mod tests;
mod work;

pub use self::config::RelayBuilder;
pub use self::event::Event;
pub use self::handle::{Behind, Health, RelayHandle, ReplayError, Status};
pub use self::put::Outbox;
pub use self::runner::{Relay, RelayError};
