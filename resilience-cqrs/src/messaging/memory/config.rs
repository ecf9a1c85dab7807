//! Setting up a bus in memory.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use resilience_core::Name;
use resilience_core::time::SharedTimer;

use super::MemoryBus;
use super::hub::Hub;

/// What happens to a message for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits until there is, or until the deadline of the call in progress.
    #[default]
    Wait,
    /// It is refused at once, as [full](resilience_core::Reason::Full).
    Refuse,
}

/// Sets up a [`MemoryBus`].
///
/// ```
/// use std::num::NonZeroUsize;
/// use resilience_cqrs::messaging::{Bus, BusError, MemoryBus, Message, WhenFull};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = MemoryBus::builder().capacity(NonZeroUsize::MIN).when_full(WhenFull::Refuse).build();
/// bus.send(Message::new("m1", "emails", "")).await?;
/// assert!(matches!(bus.send(Message::new("m2", "emails", "")).await, Err(BusError::Rejected(_))));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryBusBuilder {
    name: Name,
    capacity: NonZeroUsize,
    when_full: WhenFull,
    window: Duration,
    timer: SharedTimer,
}

impl Default for MemoryBusBuilder {
    fn default() -> Self {
        Self {
            name: Name::from_static("bus"),
            capacity: NonZeroUsize::MIN.saturating_add(16_383),
            when_full: WhenFull::Wait,
            window: Duration::from_secs(120),
            timer: SharedTimer::default(),
        }
    }
}

impl MemoryBusBuilder {
    /// What its refusals go by. Default: `bus`.
    #[must_use]
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// The most unsettled messages of each group and each queue. Default: 16,384.
    #[must_use]
    pub fn capacity(mut self, messages: NonZeroUsize) -> Self {
        self.capacity = messages;
        self
    }

    /// What happens to more. Default: it waits.
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use std::time::Duration;
    /// use resilience_core::context::Context;
    /// use resilience_core::time::SharedTimer;
    /// use resilience_core::time::Timer as _;
    /// use resilience_cqrs::messaging::{Bus, BusError, MemoryBus, Message};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bus = MemoryBus::builder().capacity(NonZeroUsize::MIN).build();
    /// bus.send(Message::new("m1", "emails", "")).await?;
    /// // Waits for room as long as the call in progress may take, and without one for ever.
    /// let call = Context::new().with_deadline(SharedTimer::default().now() + Duration::from_secs(2));
    /// let sent = call.scope(bus.send(Message::new("m2", "emails", ""))).await;
    /// assert!(matches!(sent, Err(BusError::Rejected(_))));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn when_full(mut self, policy: WhenFull) -> Self {
        self.when_full = policy;
        self
    }

    /// How long a message's id is remembered. Default: 2 minutes, as by NATS; of the last 100,000 messages at most.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::time::ManualTimer;
    /// use resilience_cqrs::messaging::{Bus, MemoryBus, Message};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let timer = ManualTimer::new();
    /// let bus = MemoryBus::builder().duplicate_window(Duration::from_secs(10)).timer(timer.clone()).build();
    /// let again = || bus.send(Message::new("m1", "emails", ""));
    /// again().await?;
    /// timer.advance(Duration::from_secs(9));
    /// assert!(again().await?.duplicate);
    /// // Measured from the first, not from the last: a second one is in the queue now.
    /// timer.advance(Duration::from_secs(1));
    /// assert!(!again().await?.duplicate);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn duplicate_window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// What waits are made of. Default: tokio's clock.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// The bus.
    pub fn build(self) -> MemoryBus {
        let hub = Hub::new(self.name, self.timer, self.capacity.get(), self.window);
        MemoryBus { hub: Arc::new(hub), when_full: self.when_full }
    }
}
