//! Taking over what the last owner left.

use std::sync::Arc;

use resilience_cqrs::EventStore;

use super::log::{Head, HeadState, OPEN};
use super::shared::Shared;
use crate::{Error, SagaId};

/// Rows read at once.
const PAGE: usize = 1_000;

/// What an engine found when it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Unfinished sagas that go on.
    pub resumed: u64,
    /// Sagas that wait for an operator, as before. They are not in memory.
    pub stuck: u64,
    /// Sagas this engine cannot continue: their definition is not registered, or their row is unreadable. See the events
    /// `Parked`; they are left alone.
    pub parked: u64,
}

/// Looks at every unfinished saga once.
pub(super) async fn recover<S: EventStore>(shared: Arc<Shared<S>>) {
    let recovery = tokio::select! {
        biased;
        () = shared.draining() => Err(Error::Stopped),
        recovery = look(&shared) => recovery,
    };
    shared.runs.recovery.send_replace(Some(recovery));
}

async fn look<S: EventStore>(shared: &Arc<Shared<S>>) -> Result<Recovery, Error> {
    let mut recovery = Recovery::default();
    let mut after = None;
    loop {
        let rows = shared.log.store.rows(OPEN, after.as_deref(), PAGE).await?;
        let last = rows.len() < PAGE;
        for (key, row) in rows {
            match read(&key, &row) {
                Some((_, head)) if head.epoch >= shared.log.epoch => {}
                Some((_, head)) if head.state == HeadState::Stuck => recovery.stuck += 1,
                Some((id, head)) => {
                    let known = shared.registered(&head.definition.clone().into(), head.version).is_ok();
                    recovery.parked += u64::from(!known);
                    recovery.resumed += u64::from(known);
                    // One that cannot go on says so by itself, and nothing else waits for it.
                    shared.adopt(&id).await?;
                }
                None => recovery.parked += 1,
            }
            after = Some(key);
        }
        if last {
            return Ok(recovery);
        }
    }
}

/// A row of an unfinished saga, if it can be read.
pub(super) fn read(key: &[u8], row: &[u8]) -> Option<(SagaId, Head)> {
    let id = std::str::from_utf8(key).ok()?.parse().ok()?;
    Some((id, serde_json::from_slice(row).ok()?))
}
