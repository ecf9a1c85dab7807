use std::sync::atomic::{AtomicBool, Ordering};

/// Faults a test can ask for.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) fail_commit: AtomicBool,
}

impl Faults {
    pub(super) fn at_commit(&self) -> rusqlite::Result<()> {
        if !self.fail_commit.load(Ordering::SeqCst) {
            return Ok(());
        }
        let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        Err(rusqlite::Error::SqliteFailure(error, None))
    }
}
