//! Setting up a bus on NATS.

use std::time::Duration;

use async_nats::ConnectOptions;
use resilience_core::Name;
use resilience_core::time::SharedTimer;

use super::NatsBus;
use super::wire::BITS;
use crate::messaging::error::{BusError, InvalidMessage};
use crate::messaging::subject::Subject;

/// What streams and consumers are made with.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) prefix: String,
    pub(super) key_lanes: u32,
    pub(super) replicas: usize,
    pub(super) max_messages: u64,
    pub(super) max_bytes: u64,
    pub(super) duplicate_window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prefix: "bus".into(),
            key_lanes: 16,
            replicas: 1,
            max_messages: 1_000_000,
            max_bytes: 1 << 30,
            duplicate_window: Duration::from_secs(120),
        }
    }
}

/// Sets up a [`NatsBus`]. What is asked for must be what the streams have: see [Mismatch](BusError::Mismatch).
///
/// ```no_run
/// use std::time::Duration;
/// use resilience_cqrs::messaging::nats::NatsBus;
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = NatsBus::builder("nats://10.0.0.1:4222,nats://10.0.0.2:4222")
///     .prefix("shop")
///     .replicas(3)
///     .answer_within(Duration::from_secs(2))
///     .open()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until `open`"]
pub struct NatsBusBuilder {
    address: String,
    options: ConnectOptions,
    settings: Settings,
    name: Name,
    timer: SharedTimer,
    answer_within: Duration,
    unanswered: usize,
}

impl NatsBusBuilder {
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            // A server that hangs is noticed after three of them, not after the client's three minutes.
            options: ConnectOptions::new().ping_interval(Duration::from_secs(5)),
            settings: Settings::default(),
            name: Name::from_static("bus"),
            timer: SharedTimer::default(),
            answer_within: Duration::from_secs(5),
            unanswered: 1_024,
        }
    }

    /// What all its subjects begin with, and what its streams are called by. Default: `bus`. Programs on one prefix are on
    /// one bus.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    /// Credentials, TLS and whatever else the client has. Its event callback is replaced by the bus's.
    ///
    /// They replace those of the builder, of which there is one: a ping every 5 s, so that a server that hangs is
    /// noticed after 15 s. Options of yours have the client's 60 s unless they say otherwise.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use async_nats::ConnectOptions;
    /// use resilience_cqrs::messaging::nats::NatsBus;
    ///
    /// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
    /// let options = ConnectOptions::with_credentials_file("/etc/shop/nats.creds").await?;
    /// let options = options.require_tls(true).ping_interval(Duration::from_secs(5));
    /// let bus = NatsBus::builder("tls://nats.example.org").connect_options(options).open().await?;
    /// # Ok(()) }
    /// ```
    pub fn connect_options(mut self, options: ConnectOptions) -> Self {
        self.options = options;
        self
    }

    /// How many messages with a key each group or queue may have under way, over all programs: 1, 2, 4, ... 64. Default: 16.
    ///
    /// Keys are spread over as many lanes by their digest, and a lane has one message under way: so a key that waits
    /// holds up one key of so many others. Each lane is a consumer of the server. A group keeps the number it was made
    /// with, and refuses programs that have another.
    ///
    /// ```no_run
    /// use resilience_cqrs::messaging::nats::NatsBus;
    ///
    /// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
    /// // Handlers of 50 ms: a lane does 20 messages a second, 64 lanes 1,280 if the keys are many.
    /// let bus = NatsBus::builder("nats://localhost:4222").key_lanes(64).open().await?;
    /// # Ok(()) }
    /// ```
    pub fn key_lanes(mut self, lanes: u32) -> Self {
        self.settings.key_lanes = lanes;
        self
    }

    /// On how many servers of a cluster a message is stored. Default: 1.
    pub fn replicas(mut self, servers: usize) -> Self {
        self.settings.replicas = servers;
        self
    }

    /// The most messages that are kept, of all topics together and of all queues together, at least 2. Default: 1,000,000.
    /// More are refused, as [full](resilience_core::Reason::Full), if clearing what is settled makes no room. One of them may
    /// be settled and stay: the last, by which the server knows how far it has counted.
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.settings.max_messages = messages;
        self
    }

    /// The same in bytes, at least 2 MiB, which is room for two. Default: 1 GiB, which the server must have to spare.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.settings.max_bytes = bytes;
        self
    }

    /// How long the server remembers the ids of messages. Default: 2 minutes.
    pub fn duplicate_window(mut self, window: Duration) -> Self {
        self.settings.duplicate_window = window;
        self
    }

    /// How long the server may take to answer, a connection that must be made again included. Default: 5 s; the deadline
    /// of the call in progress, where it is earlier.
    pub fn answer_within(mut self, limit: Duration) -> Self {
        self.answer_within = limit;
        self
    }

    /// How many messages may be sent and not yet acknowledged by the server. Default: 1,024; more wait.
    pub fn unanswered(mut self, messages: usize) -> Self {
        self.unanswered = messages;
        self
    }

    /// What its refusals go by. Default: `bus`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// What limits are measured by. Default: tokio's clock. The client and the server have clocks of their own.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// Connects, makes the streams that are not there, and compares them with what was asked.
    ///
    /// ```
    /// use resilience_cqrs::messaging::BusError;
    /// use resilience_cqrs::messaging::nats::NatsBus;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // What cannot be is found before anybody is asked.
    /// let three = NatsBus::builder("nats://localhost:4222").key_lanes(3).open().await;
    /// assert!(matches!(three, Err(BusError::Invalid(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Unavailable`](BusError::Unavailable) if the server cannot be reached, [`Invalid`](BusError::Invalid) for a setting
    /// that cannot be, [`Mismatch`](BusError::Mismatch) if a stream is not what was asked.
    pub async fn open(self) -> Result<NatsBus, BusError> {
        Subject::from(self.settings.prefix.as_str()).validate()?;
        let lanes = self.settings.key_lanes;
        if !lanes.is_power_of_two() || lanes > 1 << BITS {
            return Err(InvalidMessage::Grammar { what: "key_lanes", why: "is not 1, 2, 4, 8, 16, 32 or 64" }.into());
        }
        let least = [
            ("replicas", self.settings.replicas == 0),
            ("duplicate_window", self.settings.duplicate_window.is_zero()),
            ("answer_within", self.answer_within.is_zero()),
            ("unanswered", self.unanswered == 0),
        ];
        if let Some((what, _)) = least.into_iter().find(|(_, is_none)| *is_none) {
            return Err(InvalidMessage::Empty { what }.into());
        }
        // The last message stays though it is settled, and the next one needs room beside it.
        let Settings { max_messages, max_bytes, .. } = self.settings;
        let small = [
            ("max_messages", "is less than 2", max_messages < 2),
            ("max_bytes", "is less than 2 MiB", max_bytes < 2 << 20),
        ];
        if let Some((what, why, _)) = small.into_iter().find(|(.., is_small)| *is_small) {
            return Err(InvalidMessage::Grammar { what, why }.into());
        }
        let room = self.unanswered.min(tokio::sync::Semaphore::MAX_PERMITS);
        NatsBus::connect(&self.address, self.options, self.settings, self.name, self.timer, self.answer_within, room)
            .await
    }
}

impl std::fmt::Debug for NatsBusBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the address and the options: there may be a password in them.
        f.debug_struct("NatsBusBuilder")
            .field("settings", &self.settings)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
