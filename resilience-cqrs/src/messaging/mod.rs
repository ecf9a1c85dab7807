//! Messages between programs, and between the parts of one: at least once, in order where order matters, and in effect
//! once.
//!
//! # Why
//!
//! What one part of a program has decided, others must hear of, though they are busy, down, or elsewhere. Whatever carries
//! it there loses it now and then, or brings it twice, or late; so a program that is to be right has to store what it
//! wants to say with what it decided, take up again what was not said, and know what it has heard already. Those three are
//! here, on a store that has them in one transaction, and with a bus that can be changed without changing the program.
//!
//! # Behaviour
//!
//! | part | does |
//! |---|---|
//! | [`Bus`] | carries a [`Message`] to every group that has subscribed, to one consumer of a queue, or there and back |
//! | [`MemoryBus`] | does so within one process, as fast and as durable as that |
//! | `nats::NatsBus` | does so between programs, on NATS JetStream (feature `nats`) |
//! | [`AnyBus`] | is the one that an address names, where the bus is a setting |
//! | [`outbox`] | sends what a log says is to be sent, under ids that stay the same |
//! | [`consumer`] | handles what comes, tries again, and lays aside what nobody can handle, as dead letters |
//! | [`Inbox`] | takes duplicates out: lets a message that comes five times take effect once |
//! | [`DeadLetters`] | keep what nobody could handle, until somebody [redrives](ConsumerHandle::redrive) it or gives it up |
//! | [`conformance`] | the promises of a bus as tests, for one of yours |
//!
//! ```text
//!  append ─▶ log ─▶ relay ─▶ bus ─▶ group ─▶ consumer ─▶ inbox ─▶ append
//!        once      again if       again if not          once
//!                  in doubt       settled
//! ```
//!
//! A message belongs to a [key](Outgoing::key) or to none. All parts keep the order of a key and no other: the relay sends
//! the next one when the one before has arrived, a bus delivers the next one when the one before is settled.
//!
//! A message carries who and what caused it. Handled in its [context](Message::context), whatever comes of it is caused by
//! it, and belongs to the same correlation and trace.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use resilience_cqrs::messaging::{Bus, MemoryBus, Message, Requests, Subscribe, Subscription};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = MemoryBus::new();
//! // Published: each group hears of it.
//! let mut billing = bus.subscribe(Subscribe::group("billing", "orders.*")).await?;
//! let mut shipping = bus.subscribe(Subscribe::group("shipping", "orders.placed")).await?;
//! bus.publish(Message::new("m1", "orders.placed", "17").with_key("order-17")).await?;
//! for group in [&mut billing, &mut shipping] {
//!     let delivery = group.next().await?;
//!     assert_eq!(&delivery.message.payload()[..], b"17");
//!     delivery.ack().await?; // dropped instead, it would come again
//! }
//! // Asked: one of those that answer does.
//! let mut answers = bus.answer("stock", "stock.left").await?;
//! tokio::spawn(async move {
//!     while let Ok(request) = answers.next().await {
//!         let _ = request.reply("3").await;
//!     }
//! });
//! let left = bus.request(Message::new("q1", "stock.left", "socks"), Duration::from_secs(1)).await?;
//! assert_eq!(&left[..], b"3");
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`Subscribe::ack_wait`] | 30 s | longer than most handlers take, shorter than anybody wants to wait for a process that died |
//! | [`Subscribe::in_flight`] | 256 | what may have to be done again after a crash |
//! | [`MemoryBusBuilder::capacity`] | 16,384 messages a group or queue | then senders wait, or are refused if that is the policy |
//! | [`MemoryBusBuilder::duplicate_window`] | 2 minutes | as by NATS |
//!
//! # Errors
//!
//! [`BusError`], told apart by what the caller may do: [`Rejected`](BusError::Rejected) was not sent, what is in doubt is sent
//! again under the same id. [`BySending`] tells that to breakers and retries, of which a
//! [`Dispatcher`] makes a stack.
//!
//! # Do and don't
//!
//! - Do choose a message's id before the first attempt, and keep it.
//! - Do give what must be in order one key, and what need not be none: a key has one message under way at a time.
//! - Do test without a server, as [here](consumer#tests).
//! - Don't publish what was just appended; let the [outbox](mod@outbox) do it.
//!
//! # Limits
//!
//! Sizes are in [`limits`]. Order is per key, not between keys, and not between subjects of different groups. A duplicate
//! that comes after the bus's window is delivered; an [`Inbox`] knows it.

mod any;
mod bus;
mod codec;
pub mod conformance;
pub mod consumer;
mod dead;
mod delivery;
mod error;
mod inbox;
mod letter;
pub mod limits;
mod memory;
mod message;
#[cfg(feature = "nats")]
pub mod nats;
pub mod outbox;
mod service;
mod shelf;
mod subject;
#[cfg(test)]
mod tests;

pub use self::any::{AnyBus, AnyRequests, AnySubscription, BusAddressError};
pub use self::bus::{Bus, Requests, Sent, Subscribe, Subscription};
pub use self::consumer::{AfterDeath, ByHandling, Consumer, ConsumerHandle, Poison};
pub use self::dead::{DeadLetter, DeadLetterError, DeadLetters};
pub use self::delivery::{Delivery, Reply, Request, Settle};
pub use self::error::{BusError, BySending, InvalidMessage};
pub use self::inbox::{Inbox, Ran, RunError};
pub use self::letter::StoredLetter;
pub use self::memory::{Load as MemoryLoad, Snapshot as MemorySnapshot};
pub use self::memory::{MemoryBus, MemoryBusBuilder, MemoryRequests, MemorySubscription, WhenFull};
pub use self::message::{Message, MessageId, Outgoing, Way};
pub use self::outbox::{Outbox, Relay, RelayHandle};
pub use self::service::Dispatcher;
pub use self::subject::{Filter, Subject};
