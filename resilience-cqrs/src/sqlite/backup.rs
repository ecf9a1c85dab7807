//! A copy of the whole file while it is in use.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use thiserror::Error;
use tokio::sync::oneshot;

use super::error::Fault;
use super::{SqliteStore, open};
use crate::log::{Corrupt, Position};

/// A backup that is complete and on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The last event in it.
    pub head: Position,
    /// Its size.
    pub bytes: u64,
}

/// A backup was not made. What it had written is gone; of a program that was killed meanwhile it lies beside the target as
/// `….partial`, until the next backup to the same target.
///
/// ```
/// use resilience_cqrs::SqliteStore;
/// use resilience_cqrs::sqlite::BackupError;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let store = SqliteStore::open(directory.path().join("bank.db")).await?;
/// let target = directory.path().join("bank-monday.db");
/// store.backup(&target).await?;
/// // Monday's is Monday's.
/// assert!(matches!(store.backup(&target).await, Err(BackupError::Exists { .. })));
/// # Ok(()) }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is something at the target: a backup is never written over.
    #[error("{} is there already", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The copy does not fit together: the file itself is damaged, or the medium of the copy.
    #[error("the copy is corrupt")]
    Corrupt(#[source] Corrupt),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite refused: no room, in most cases.
    #[error("cannot copy the log")]
    Sqlite(#[from] rusqlite::Error),
    /// The thread that copies could not be started, or panicked.
    #[error("the copy was cut short")]
    CutShort,
}

impl From<Fault> for BackupError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sqlite(error) => Self::Sqlite(error),
            Fault::Corrupt(corrupt) => Self::Corrupt(corrupt),
            // Of a transaction, of which a copy has none.
            Fault::Undone => Self::CutShort,
        }
    }
}

impl SqliteStore {
    /// Copies the whole file to `target` while appends go on: events, rows and your own tables, as they were at one moment.
    ///
    /// The copy is read back and [verified](Self::verify), brought to the medium, and only then gets its name; so what is
    /// at `target` is a whole backup or nothing. It is compact (SQLite's `VACUUM INTO`). While it is made, the
    /// write-ahead log is not brought over and grows by what is appended.
    ///
    /// To restore, close the store, remove its file with `-wal` and `-shm`, put the backup in its place, and open it.
    /// Checkpoints are rows of the same file, so projections in it go on where the backup has them. What reads the log
    /// from outside (a relay, a cache, a replica) may have seen events that the restored log has not: their positions
    /// will be given out again.
    ///
    /// ```
    /// use resilience_cqrs::{Append, EventStore, Expected, NewEvent, SqliteStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// let store = SqliteStore::open(directory.path().join("bank.db")).await?;
    /// let done = store.append(Append::new().events("a", Expected::Any, [NewEvent::new("Opened", "")])).await?;
    /// let backup = store.backup(directory.path().join("bank-monday.db")).await?;
    /// assert_eq!(backup.head, done.last);
    ///
    /// let restored = SqliteStore::open(directory.path().join("bank-monday.db")).await?;
    /// assert_eq!(restored.head(), done.last);
    /// # Ok(()) }
    /// ```
    ///
    /// Dropped before it completes, the copy is finished all the same. Backups of one program take turns.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub async fn backup(&self, target: impl Into<PathBuf>) -> Result<Backup, BackupError> {
        let (source, target) = (self.path().to_owned(), target.into());
        let (answer, answered) = oneshot::channel();
        // A thread of its own: the readers are for reads that take microseconds.
        let copy = move || drop(answer.send(copy(&source, &target)));
        std::thread::Builder::new().name("cqrs-backup".into()).spawn(copy).map_err(|_| BackupError::CutShort)?;
        answered.await.unwrap_or(Err(BackupError::CutShort))
    }
}

/// Copies take turns: two to one target would write into one another's half.
static TURN: Mutex<()> = Mutex::new(());

fn copy(source: &Path, target: &Path) -> Result<Backup, BackupError> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::Io { path, source }
    };
    if target.try_exists().map_err(io(target))? {
        return Err(BackupError::Exists { path: target.to_owned() });
    }
    let mut partial = OsString::from(target);
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(&partial)(error)),
        // Nothing, or what is left of one that was cut short.
        _ => {}
    }
    let result = copy_to(source, &partial).and_then(|head| {
        let file = File::open(&partial).map_err(io(&partial))?;
        file.sync_all().map_err(io(&partial))?;
        let bytes = file.metadata().map_err(io(&partial))?.len();
        name(&partial, target)?;
        // The name is in the directory, which is written for itself.
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(io(directory))?;
        Ok(Backup { head, bytes })
    });
    if result.is_err() {
        let _ = fs::remove_file(&partial);
    }
    result
}

/// Gives the copy its name, unless somebody was faster: a rename would put it in the other's place.
fn name(partial: &Path, target: &Path) -> Result<(), BackupError> {
    match fs::hard_link(partial, target) {
        // Two names; if this one stays, the next backup removes it.
        Ok(()) => {
            let _ = fs::remove_file(partial);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(BackupError::Exists { path: target.to_owned() }),
        // A medium where a file has one name.
        Err(_) => fs::rename(partial, target).map_err(|source| BackupError::Io { path: target.to_owned(), source }),
    }
}

fn copy_to(source: &Path, partial: &Path) -> Result<Position, BackupError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let from = Connection::open_with_flags(source, flags)?;
    from.busy_timeout(Duration::from_secs(5))?;
    let into = partial.to_str().ok_or_else(|| BackupError::Io {
        path: partial.to_owned(),
        source: std::io::Error::new(ErrorKind::InvalidInput, "the name is not UTF-8"),
    })?;
    from.execute("VACUUM INTO ?1", [into])?;
    drop(from);
    let copied = Connection::open_with_flags(partial, flags)?;
    open::verify(&copied)?;
    let head: i64 = copied.query_row("SELECT coalesce(max(position), 0) FROM log_event", [], |row| row.get(0))?;
    Ok(Position::new(head.unsigned_abs()))
}
