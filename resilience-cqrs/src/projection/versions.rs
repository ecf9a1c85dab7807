//! Which version of a read model serves its readers.

use bytes::Bytes;

use super::checkpoint::{self, Checkpoint};
use super::share::Share;
use super::take;
use crate::log::{Append, AppendError, Condition, Corrupt, Position, ReadError, RowChange, Space};
use crate::store::EventStore;

/// The space of the rows that say who serves, keyed by model.
const SERVING: Space = Space::from_static("projection.serving");

/// Says which version of a model readers are to ask: `orders` is served by `orders@2` until `orders@3` has been
/// [built](super::ProjectionRunnerBuilder::rebuild) beside it.
///
/// One row of the store says so, so all processes agree from one moment on. Ask for each question: it is one read by key.
///
/// ```
/// use resilience_cqrs::MemoryStore;
/// use resilience_cqrs::projection::Versions;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let versions = Versions::new(MemoryStore::new());
/// assert_eq!(versions.serving("orders").await?, None);
/// versions.serve("orders@2").await?; // by hand: the first, or back to the one before
/// assert_eq!(versions.serving("orders").await?.as_deref(), Some("orders@2"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Versions<S> {
    store: S,
}

impl<S: EventStore> Versions<S> {
    /// The versions in a store.
    pub const fn new(store: S) -> Self {
        Self { store }
    }

    /// The version that serves a model; `None` if none was ever said to.
    ///
    /// # Errors
    /// The store's.
    pub async fn serving(&self, model: &str) -> Result<Option<String>, ReadError> {
        let row = self.store.row(SERVING.as_str(), model.as_bytes()).await?;
        let name = row.map(|row| String::from_utf8(row.to_vec())).transpose();
        name.map_err(|_| ReadError::Corrupt(Corrupt::new("the name of a serving version cannot be read")))
    }

    /// Lets a version serve its model from now on, whatever served it before. Nobody checks that it is built and kept up
    /// to date: a [rebuild](super::ProjectionRunnerBuilder::rebuild) does.
    ///
    /// ```
    /// use resilience_cqrs::MemoryStore;
    /// use resilience_cqrs::projection::Versions;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let versions = Versions::new(MemoryStore::new());
    /// versions.serve("eu@orders@3").await?;
    /// // What stands before the last `@` is the model; a name without one is a model of one version.
    /// assert_eq!(versions.serving("eu@orders").await?.as_deref(), Some("eu@orders@3"));
    /// assert_eq!(versions.serving("orders").await?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's.
    pub async fn serve(&self, version: &str) -> Result<(), AppendError> {
        self.store.append(Append::new().row(put(version))).await.map(|_| ())
    }

    /// Up to where a version is known by its checkpoints to have got.
    pub(super) async fn saved(&self, version: &str) -> Result<Position, ReadError> {
        let shares = match take::division(&self.store, version).await? {
            Some(parts) => Share::all(parts).map(Some).collect(),
            None => vec![None],
        };
        let mut least = None;
        for share in shares {
            let saved = Checkpoint::load(&self.store, &checkpoint::key(version, share)).await?;
            let at = saved.map_or(Position::ORIGIN, |saved| saved.position);
            least = Some(least.map_or(at, |least: Position| least.min(at)));
        }
        Ok(least.unwrap_or(Position::ORIGIN))
    }

    /// The same, if `before` still serves.
    pub(super) async fn replace(&self, before: Option<&str>, version: &str) -> Result<(), AppendError> {
        let equals = before.map(|before| Bytes::copy_from_slice(before.as_bytes()));
        let still = Condition::Row { space: SERVING, key: key(version), equals };
        self.store.append(Append::new().require(still).row(put(version))).await.map(|_| ())
    }
}

/// The model that a version is of: its name up to the last `@`.
pub(super) fn model(version: &str) -> &str {
    version.rsplit_once('@').map_or(version, |(model, _)| model)
}

fn key(version: &str) -> Bytes {
    Bytes::copy_from_slice(model(version).as_bytes())
}

fn put(version: &str) -> RowChange {
    RowChange::put(SERVING, key(version), version.to_owned())
}
