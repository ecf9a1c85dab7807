//! The bus that an address names.

use std::time::Duration;

use bytes::Bytes;
use resilience_core::Name;
use thiserror::Error;

use super::bus::{Bus, Requests, Sent, Subscribe, Subscription};
use super::delivery::{Delivery, Request};
use super::error::BusError;
use super::memory::{MemoryBus, MemoryRequests, MemorySubscription};
use super::message::Message;
#[cfg(feature = "nats")]
use super::nats::{NatsBus, NatsRequests, NatsSubscription};
use super::subject::Filter;

/// A bus of the kind that its address names, for programs whose setting it is.
///
/// | address | bus |
/// |---|---|
/// | `memory:` | [`MemoryBus`], empty and new at each opening |
/// | `nats://host:4222?prefix=shop`, or `tls://` for the same with TLS | `NatsBus` (feature `nats`), as its client reads the address; `prefix` is `bus` if not said |
///
/// ```
/// use resilience_cqrs::messaging::{AnyBus, Bus, Message};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = AnyBus::open(&std::env::var("BUS").unwrap_or("memory:".into())).await?;
/// bus.send(Message::new("m1", "emails", "")).await?;
///
/// let wrong = AnyBus::open("amqp://localhost").await.unwrap_err();
/// assert_eq!(wrong.to_string(), "no bus is called `amqp`; an address begins with memory: or nats:");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AnyBus {
    /// In memory.
    Memory(MemoryBus),
    /// On NATS.
    #[cfg(feature = "nats")]
    Nats(NatsBus),
}

/// No bus could be opened at an address. The text has no more of the address than its scheme: there may be a password in it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BusAddressError {
    /// The address names no bus.
    #[error("no bus is called `{scheme}`; an address begins with memory: or nats:")]
    Unknown {
        /// What stands before the colon, or nothing.
        scheme: String,
    },
    /// The bus is there, but not in this program.
    #[error("{scheme} needs the feature `{scheme}` of resilience-cqrs, without which this program was built")]
    NotBuilt {
        /// The kind and the feature.
        scheme: &'static str,
    },
    /// There are options in the address, and they are not the one there is. Passed over, a misspelt one would put the
    /// program among another's messages.
    #[error("the only option in an address of {scheme} is `prefix=`, with a name")]
    Option {
        /// The kind.
        scheme: &'static str,
    },
    /// It could not be opened.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl AnyBus {
    /// Opens the bus at `address` with its kind's defaults.
    ///
    /// # Errors
    /// See [`BusAddressError`].
    pub async fn open(address: &str) -> Result<Self, BusAddressError> {
        let (scheme, _) = address.split_once(':').unwrap_or(("", address));
        match scheme {
            "memory" => Ok(Self::Memory(MemoryBus::new())),
            "nats" | "tls" => on_nats(address).await,
            _ => Err(BusAddressError::Unknown { scheme: scheme.into() }),
        }
    }
}

#[cfg(feature = "nats")]
async fn on_nats(address: &str) -> Result<AnyBus, BusAddressError> {
    let (server, prefix) = split(address)?;
    let builder = NatsBus::builder(server);
    let builder = match prefix {
        Some(prefix) => builder.prefix(prefix),
        None => builder,
    };
    Ok(AnyBus::Nats(builder.open().await?))
}

/// The server, and the prefix of what is made there.
#[cfg(feature = "nats")]
fn split(address: &str) -> Result<(&str, Option<&str>), BusAddressError> {
    let Some((server, options)) = address.split_once('?') else { return Ok((address, None)) };
    match options.strip_prefix("prefix=") {
        Some(prefix) if !prefix.is_empty() && !prefix.contains('&') => Ok((server, Some(prefix))),
        _ => Err(BusAddressError::Option { scheme: "nats" }),
    }
}

#[cfg(not(feature = "nats"))]
async fn on_nats(_: &str) -> Result<AnyBus, BusAddressError> {
    Err(BusAddressError::NotBuilt { scheme: "nats" })
}

macro_rules! each {
    ($kind:ident: $any:expr, $bus:ident => $answer:expr) => {
        match $any {
            $kind::Memory($bus) => $answer,
            #[cfg(feature = "nats")]
            $kind::Nats($bus) => $answer,
        }
    };
}

impl Bus for AnyBus {
    type Subscription = AnySubscription;
    type Requests = AnyRequests;

    async fn publish(&self, message: Message) -> Result<Sent, BusError> {
        each!(Self: self, bus => bus.publish(message).await)
    }

    async fn send(&self, message: Message) -> Result<Sent, BusError> {
        each!(Self: self, bus => bus.send(message).await)
    }

    async fn request(&self, message: Message, within: Duration) -> Result<Bytes, BusError> {
        each!(Self: self, bus => bus.request(message, within).await)
    }

    async fn subscribe(&self, to: Subscribe) -> Result<AnySubscription, BusError> {
        match self {
            Self::Memory(bus) => bus.subscribe(to).await.map(AnySubscription::Memory),
            #[cfg(feature = "nats")]
            Self::Nats(bus) => bus.subscribe(to).await.map(AnySubscription::Nats),
        }
    }

    async fn answer(
        &self,
        group: impl Into<Name> + Send,
        filter: impl Into<Filter> + Send,
    ) -> Result<AnyRequests, BusError> {
        match self {
            Self::Memory(bus) => bus.answer(group, filter).await.map(AnyRequests::Memory),
            #[cfg(feature = "nats")]
            Self::Nats(bus) => bus.answer(group, filter).await.map(AnyRequests::Nats),
        }
    }
}

/// Deliveries of one group or queue of an [`AnyBus`].
#[derive(Debug)]
#[non_exhaustive]
pub enum AnySubscription {
    /// In memory.
    Memory(MemorySubscription),
    /// On NATS.
    #[cfg(feature = "nats")]
    Nats(NatsSubscription),
}

impl Subscription for AnySubscription {
    async fn next(&mut self) -> Result<Delivery, BusError> {
        each!(Self: self, subscription => subscription.next().await)
    }

    async fn close(self) -> Vec<Delivery> {
        each!(Self: self, subscription => subscription.close().await)
    }
}

/// Requests to one that answers on an [`AnyBus`].
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyRequests {
    /// In memory.
    Memory(MemoryRequests),
    /// On NATS.
    #[cfg(feature = "nats")]
    Nats(NatsRequests),
}

impl Requests for AnyRequests {
    async fn next(&mut self) -> Result<Request, BusError> {
        each!(Self: self, requests => requests.next().await)
    }
}

#[cfg(all(test, feature = "nats"))]
mod tests {
    use super::*;

    /// A misspelt `prefix` that is passed over puts a program's messages among another's.
    #[test]
    fn an_option_that_nobody_knows_is_refused() {
        assert_eq!(split("nats://u:p@host:4222").unwrap(), ("nats://u:p@host:4222", None));
        assert_eq!(split("nats://host?prefix=shop").unwrap(), ("nats://host", Some("shop")));
        for wrong in ["nats://u:secret@host?prefx=shop", "nats://host?prefix=shop&tls=1", "nats://host?prefix="] {
            let error = split(wrong).unwrap_err();
            assert!(matches!(error, BusAddressError::Option { .. }), "{wrong}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
