//! What a caller runs inside an append's transaction, and what it sees there.

use bytes::Bytes;
use rusqlite::Transaction;

use super::decode::Names;
use super::read;
use crate::log::limits::PAGE_EVENTS;
use crate::log::{BoxError, Position, Query, ReadError, RowChange, Space};
use crate::store::Page;

/// What a caller runs inside the append's transaction; what it returns is changed along with the append's own rows.
pub(super) enum Inside {
    /// Once the append's conditions hold.
    Before(Box<dyn FnOnce(&Transaction<'_>) -> Changes + Send>),
    /// Once its events are written.
    Then(Box<dyn FnOnce(&mut Within<'_>) -> Changes + Send>),
}

pub(super) type Changes = Result<Vec<RowChange>, BoxError>;

/// What can be seen from within an append's transaction, after its events.
pub(crate) struct Within<'t> {
    pub(crate) tx: &'t Transaction<'t>,
    pub(crate) before: Position,
    pub(crate) head: Position,
    pub(super) names: &'t mut Names,
}

impl Within<'_> {
    pub(crate) fn row(&self, space: &Space, key: &[u8]) -> Result<Option<Bytes>, BoxError> {
        Ok(read::row(self.tx, space.as_str(), key)?)
    }

    pub(crate) fn page(&mut self, after: Position, query: &Query) -> Result<Page, BoxError> {
        read::page(self.tx, self.names, after, query, PAGE_EVENTS, self.head)
            .map_err(|fault| ReadError::from(fault).into())
    }
}
