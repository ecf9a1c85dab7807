//! Where endpoints come from.

#[cfg(feature = "tokio")]
mod file;
mod fixed;

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use resilience_core::time::SharedTimer;

#[cfg(feature = "tokio")]
pub use self::file::{FileSource, FileSourceBuilder, Format, ParseError};
pub use self::fixed::StaticSource;
use crate::Endpoint;

/// Says who may answer, again and again.
///
/// A source is thin: it speaks a registry's protocol and states what the registry says. It does not keep, smooth or
/// doubt; those rules are the same for every registry and live in [`EndpointSet`](crate::EndpointSet). The contract:
///
/// - [`next`](Self::next) completes when the source has something to say. It waits for its registry, never in a loop
///   that spins; a source with nothing more to say stays pending.
/// - An error means that this attempt failed. The next call tries anew, from wherever the protocol says: the driver calls it
///   after a backoff, for ever. There is no end of the stream and no fatal error.
/// - Dropping the future abandons the attempt, and nothing the registry said before may be lost by that: the next call
///   subscribes or asks again. The driver does this when a source has been silent for too long.
/// - All waiting goes through the timer that is handed in, so that a test's clock drives every source.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::time::SharedTimer;
/// use resilience_discovery::{Endpoint, Source, SourceError, Update};
///
/// /// Asks a function every ten seconds.
/// struct Polled<F> {
///     ask: F,
///     asked: bool,
/// }
///
/// impl<F> Source for Polled<F>
/// where
///     F: FnMut() -> Result<Vec<Endpoint>, std::io::Error> + Send + 'static,
/// {
///     async fn next(&mut self, timer: &SharedTimer) -> Result<Update, SourceError> {
///         if self.asked {
///             timer.sleep(Duration::from_secs(10)).await;
///         }
///         self.asked = true;
///         (self.ask)().map(Update::Endpoints).map_err(SourceError::new)
///     }
/// }
/// ```
pub trait Source: Send + 'static {
    /// The next thing the source has to say.
    ///
    /// # Errors
    ///
    /// When the registry cannot be asked or understood. What was known stays in use.
    fn next(&mut self, timer: &SharedTimer) -> impl Future<Output = Result<Update, SourceError>> + Send;

    /// How often the source says something at the least, if it promises that.
    ///
    /// A source that has been silent for twice this long is taken to be dead, though its connection may look open: the
    /// pending `next` is dropped, counted as a failure and called again. `None`, the default, promises nothing.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::time::SharedTimer;
    /// use resilience_discovery::{Discovery, Freshness, Source, SourceError, Update};
    ///
    /// /// Speaks once, promises to go on, and hangs: a connection that died without a word.
    /// struct Hung(Option<Update>);
    ///
    /// impl Source for Hung {
    ///     async fn next(&mut self, _: &SharedTimer) -> Result<Update, SourceError> {
    ///         match self.0.take() {
    ///             Some(update) => Ok(update),
    ///             None => std::future::pending().await,
    ///         }
    ///     }
    ///
    ///     fn heartbeat(&self) -> Option<Duration> {
    ///         Some(Duration::from_secs(5))
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let discovery = Discovery::builder().build(Hung(Some(Update::Endpoints(vec![]))))?;
    /// assert_eq!(discovery.first().await.freshness(), Freshness::Empty);
    /// tokio::time::sleep(Duration::from_secs(11)).await;
    /// assert!(discovery.snapshot().freshness().is_stale());
    /// # Ok(())
    /// # }
    /// ```
    fn heartbeat(&self) -> Option<Duration> {
        None
    }
}

/// What a source says.
///
/// ```
/// use resilience_core::time::Timestamp;
/// use resilience_discovery::{Address, Endpoint, EndpointSet, Rules, Update};
///
/// let mut set = EndpointSet::new(Rules::default(), Timestamp::ORIGIN);
/// // Nothing was said that could be unchanged.
/// assert!(set.apply(Update::Unchanged, Timestamp::ORIGIN).is_empty());
///
/// let [old, new] = ["10.0.0.7:80", "10.0.0.8:80"].map(|at| Endpoint::new("a", Address::try_from(at).unwrap()));
/// let changes = set.apply(Update::Endpoints(vec![old.clone(), new]), Timestamp::ORIGIN);
/// assert_eq!(changes.added, [old], "one identity, one endpoint");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// All the endpoints there are. None at all is a claim of its own: the service exists nowhere.
    ///
    /// Of several endpoints with one identity the first counts.
    Endpoints(Vec<Endpoint>),
    /// What was said last still holds. Confirms a claim that was in doubt, and shows that the source is alive.
    Unchanged,
}

/// An attempt to hear from a source failed. What was known stays in use.
///
/// ```
/// use std::time::Duration;
/// use resilience_discovery::SourceError;
///
/// // By default the discovery's backoff says when to try again; a registry that says so itself is obeyed.
/// assert_eq!(SourceError::new("no leader").retry_after(), None);
/// let error = SourceError::new("too many requests").with_retry_after(Duration::from_secs(7));
/// assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
/// assert_eq!(error.to_string(), "too many requests");
/// ```
pub struct SourceError {
    cause: Box<dyn StdError + Send + Sync>,
    retry_after: Option<Duration>,
}

impl SourceError {
    /// The attempt failed because of `cause`, an error or a message.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { cause: cause.into(), retry_after: None }
    }

    /// Sets when to try again in place of the driver's backoff. Zero is for sources that pace themselves.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// When to try again, if the source knows better than the driver's backoff.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What went wrong.
    pub fn cause(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.cause
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl fmt::Debug for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceError").field("cause", &self.cause).field("retry_after", &self.retry_after).finish()
    }
}

impl StdError for SourceError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // `Display` is the cause's own text; what comes next is the cause's cause.
        self.cause.source()
    }
}
