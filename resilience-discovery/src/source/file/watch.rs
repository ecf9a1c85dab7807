//! One look at a file: what changed, and its content if that is safe to read.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::SystemTime;

use super::Seen;

/// The largest file that is read: 16 MiB is more than 100,000 endpoints.
const MAX_BYTES: u64 = 16 << 20;

/// What tells two states of a file apart without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    size: u64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self { modified: metadata.modified().ok(), size: metadata.len(), inode }
    }
}

/// The result of one look.
#[derive(Debug)]
pub(super) enum Read {
    /// Nothing changed since it was read.
    Same,
    /// It is being rewritten in place: reading it now could see half of it.
    Moving(Stamp),
    /// It was read. `settled` if it stood still for one interval before; otherwise it is read once more when it has.
    Content { stamp: Stamp, settled: bool, content: Vec<u8> },
    /// It cannot be read.
    Failed(io::Error),
}

/// Looks at `path` on a thread for blocking work.
pub(super) async fn look(path: &Path, seen: &Seen) -> Read {
    let path = path.to_owned();
    let seen = *seen;
    let looked = tokio::task::spawn_blocking(move || read(&path, seen).unwrap_or_else(Read::Failed));
    looked.await.unwrap_or_else(|stopped| Read::Failed(io::Error::other(stopped)))
}

fn read(path: &Path, seen: Seen) -> io::Result<Read> {
    let stamp = Stamp::of(&std::fs::metadata(path)?);
    let settled = match seen {
        // Nothing is in use that a half-written file could spoil, and start-up should not wait.
        Seen::Nothing => false,
        Seen::Settled(last) if last == stamp => return Ok(Read::Same),
        Seen::Moving(last) if last == stamp => true,
        // A new inode is no proof of a rename: the file may have been deleted and be written anew.
        Seen::Absent | Seen::Moving(_) | Seen::Settled(_) => return Ok(Read::Moving(stamp)),
    };
    if stamp.size > MAX_BYTES {
        return Err(io::Error::other(format!("{} bytes, more than {MAX_BYTES}", stamp.size)));
    }
    let mut file = File::open(path)?;
    let mut content = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or(0));
    file.by_ref().take(MAX_BYTES).read_to_end(&mut content)?;
    let after = Stamp::of(&file.metadata()?);
    // Changed while it was read: what was read may be of two minds.
    if after == stamp { Ok(Read::Content { stamp, settled, content }) } else { Ok(Read::Moving(after)) }
}
