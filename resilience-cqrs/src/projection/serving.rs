//! How far the version of a model has got that serves at the moment, whichever that is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use resilience_core::time::SharedTimer;
use thiserror::Error;

use super::handle::{Health, Progress, StaleRead};
use super::versions::Versions;
use crate::log::{Position, ReadError};
use crate::store::EventStore;

/// How often it is looked who serves and how far that version is, while somebody waits.
const LOOK: Duration = Duration::from_millis(20);

/// Follows a model through its [versions](Versions): waits for the one that serves, and for its successor as soon as that has
/// taken over.
///
/// A version that runs in this program is [told](Self::runs) and then followed as it goes. Of one that runs elsewhere it is
/// known what is saved, which is up to a second behind while nothing comes. Clones follow together.
///
/// ```
/// use std::time::Duration;
/// use resilience_cqrs::projection::{Serving, ServingError, Versions};
/// use resilience_cqrs::{EventStore, MemoryStore, Position};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let versions = Versions::new(MemoryStore::new());
/// let orders = Serving::new(versions.clone(), "orders");
/// let nobody = orders.at_least(Position::ORIGIN, Duration::ZERO).await;
/// assert!(matches!(nobody, Err(ServingError::Nobody { .. })));
/// versions.serve("orders@2").await?;
/// assert_eq!(orders.at_least(Position::ORIGIN, Duration::ZERO).await?.0, "orders@2");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Serving<S> {
    versions: Versions<S>,
    model: String,
    here: Arc<Mutex<BTreeMap<String, Progress>>>,
    timer: SharedTimer,
}

/// No version that serves shows what was asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServingError {
    /// It did not get there in time.
    #[error(transparent)]
    Stale(StaleRead),
    /// Nobody was ever said to serve the model.
    #[error("no version of {model} serves")]
    Nobody {
        /// The model.
        model: String,
    },
    /// The store cannot say who serves.
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
}

impl<S: EventStore> Serving<S> {
    /// Follows a model: `orders`, of which `orders@2` is a version.
    pub fn new(versions: Versions<S>, model: impl Into<String>) -> Self {
        Self { versions, model: model.into(), here: Arc::default(), timer: SharedTimer::default() }
    }

    /// What waits are made of. Default: tokio's clock.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = timer.into();
        self
    }

    /// A version runs in this program. May be told before it serves; one that has ended is found to.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_cqrs::projection::{ProjectionRunner, Serving, ServingError, Versions};
    /// use resilience_cqrs::{Append, EventStore, Expected, MemoryStore, NewEvent};
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/projection/doc/picky.rs"));
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::new();
    /// let versions = Versions::new(store.clone());
    /// versions.serve("picky@1").await?;
    /// let running = ProjectionRunner::builder(store.clone(), Picky).start();
    /// let picky = Serving::new(versions, "picky");
    /// picky.runs("picky@1", running.progress()); // followed as it goes, not by what is saved
    /// let done = store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Good", "")])).await?;
    /// assert_eq!(picky.at_least(done.last, Duration::from_secs(1)).await?.1, done.last);
    /// let late = picky.at_least(done.last.next(), Duration::from_secs(1)).await;
    /// assert!(matches!(late, Err(ServingError::Stale(_))));
    /// # Ok(()) }
    /// ```
    pub fn runs(&self, version: impl Into<String>, progress: Progress) {
        self.here.lock().unwrap_or_else(PoisonError::into_inner).insert(version.into(), progress);
    }

    /// The version that serves, once it shows everything up to `position`, and where it is. Dropped, it leaves nothing.
    ///
    /// # Errors
    /// See [`ServingError`].
    pub async fn at_least(&self, position: Position, within: Duration) -> Result<(String, Position), ServingError> {
        let until = self.timer.now() + within;
        loop {
            let version = self.versions.serving(&self.model).await?;
            let version = version.ok_or_else(|| ServingError::Nobody { model: self.model.clone() })?;
            let progress = self.running(&version);
            // For who wants nothing in particular, what is saved would be asked for in vain.
            let at = match &progress {
                Some(progress) => progress.position(),
                None if position == Position::ORIGIN => position,
                None => self.versions.saved(&version).await?,
            };
            if at >= position {
                return Ok((version, at));
            }
            let left = until.since(self.timer.now());
            if left.is_zero() {
                return Err(ServingError::Stale(StaleRead { at, wanted: position }));
            }
            // Not longer: another may serve by then.
            let look = left.min(LOOK);
            match progress {
                Some(progress) => drop(progress.at_least(position, look).await),
                None => self.timer.sleep(look).await,
            }
        }
    }

    /// The progress of a version that runs here, if it does.
    fn running(&self, version: &str) -> Option<Progress> {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        if here.get(version).is_some_and(|progress| progress.status().health == Health::Stopped) {
            here.remove(version); // It may run elsewhere.
        }
        here.get(version).cloned()
    }

    pub(crate) const fn clock(&self) -> &SharedTimer {
        &self.timer
    }
}

impl<S: fmt::Debug> fmt::Debug for Serving<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("versions", &self.versions).field("model", &self.model).finish_non_exhaustive()
    }
}
