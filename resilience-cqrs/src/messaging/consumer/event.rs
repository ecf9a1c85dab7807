//! What happened in a consumer.

use std::time::Duration;

use resilience_core::event::{Fact, Severity};

use crate::messaging::message::MessageId;

/// What happened in a consumer.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::sync::{Arc, Mutex};
/// use resilience_core::event::{self, Sink};
/// use resilience_cqrs::messaging::{Bus, Consumer, MemoryBus, Message, Subscribe};
/// use resilience_cqrs::{BoxError, MemoryStore};
/// use tower::service_fn;
///
/// /// What happened, by name, and how bad that is.
/// #[derive(Default)]
/// struct Log(Mutex<Vec<String>>);
///
/// impl Sink for Log {
///     fn on_event(&self, event: &event::Event<'_>) {
///         self.0.lock().unwrap().push(format!("{} {:?}", event.fact.name(), event.fact.severity()));
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (bus, log, failed) = (MemoryBus::new(), Arc::new(Log::default()), Arc::new(AtomicBool::new(false)));
/// let handler = service_fn(move |_: Message| {
///     let failed = failed.swap(true, Ordering::Relaxed);
///     async move { if failed { Ok(()) } else { Err(BoxError::from("a deadlock")) } }
/// });
/// let to = Subscribe::queue("emails");
/// let running = Consumer::builder(MemoryStore::new(), bus.clone(), "mailer", to, handler);
/// let running = running.listener(log.clone()).start()?;
/// bus.send(Message::new("m1", "emails", "")).await?;
/// running.wait_until(|status| status.handled == 1).await;
/// running.stop().await?;
/// assert_eq!(*log.0.lock().unwrap(), ["retried Warn", "handled Debug", "stopped Info"]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message was handled and acknowledged.
    Handled {
        /// The message.
        id: MessageId,
        /// How often it was delivered.
        attempt: u32,
    },
    /// A message could not be handled, and comes again.
    Retried {
        /// The message.
        id: MessageId,
        /// How often it was delivered.
        attempt: u32,
        /// When it comes again.
        delay: Duration,
        /// Why.
        error: String,
    },
    /// A message is among the dead letters.
    Buried {
        /// The message.
        id: MessageId,
        /// What it is in order with: its key, or its id.
        lane: String,
        /// How often it was tried; 0 if it waits behind another one.
        attempts: u32,
        /// Why.
        error: String,
    },
    /// Dead letters were handled.
    Redriven {
        /// Their key, or id.
        lane: String,
        /// How many.
        letters: u64,
    },
    /// The breaker, or what is around the handler, refuses: the consumer waits, with its messages in hand.
    Paused {
        /// For how long.
        wait: Duration,
        /// Why.
        error: String,
    },
    /// A delivery was taken back while it was handled, or could not be acknowledged: it comes again.
    Lost {
        /// The message.
        id: MessageId,
        /// Why.
        error: String,
    },
    /// The bus or the store could not be reached; the consumer tries again.
    Retrying {
        /// Why.
        error: String,
    },
    /// There are too many dead letters: the consumer stands still until some are handled or discarded.
    Blocked {
        /// How many there are.
        dead: u64,
    },
    /// The consumer has ended.
    Stopped,
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "consumer"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Handled { .. } => "handled",
            Self::Retried { .. } => "retried",
            Self::Buried { .. } => "buried",
            Self::Redriven { .. } => "redriven",
            Self::Paused { .. } => "paused",
            Self::Lost { .. } => "lost",
            Self::Retrying { .. } => "retrying",
            Self::Blocked { .. } => "blocked",
            Self::Stopped => "stopped",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Handled { .. } => Severity::Debug,
            Self::Redriven { .. } | Self::Stopped => Severity::Info,
            Self::Retried { .. } | Self::Paused { .. } | Self::Lost { .. } | Self::Retrying { .. } => Severity::Warn,
            Self::Buried { .. } | Self::Blocked { .. } => Severity::Error,
        }
    }
}
