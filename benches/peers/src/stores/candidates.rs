//! The rows, and how a sample of each is had.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::de::DeserializeOwned;

/// A row.
pub struct Candidate {
    pub name: &'static str,
    pub program: Program,
    pub ours: bool,
}

/// Which program takes the samples.
pub enum Program {
    /// This program, with this `--store`.
    Own(&'static str),
    /// The program of cqrs-es, with these arguments.
    CqrsEs(&'static [&'static str]),
}

/// What our rows are compared with.
pub const APPEND: &str = "SqliteStore, append with expected version";
/// The durable rival.
pub const RIVAL: &str = "cqrs-es + sqlite-es, command, synchronous=FULL";
/// What SQLite itself can do.
pub const FLOOR: &str = "floor: rusqlite, one writer, group commit, WAL, FULL";

const fn own(name: &'static str, store: &'static str, ours: bool) -> Candidate {
    Candidate { name, program: Program::Own(store), ours }
}

const fn cqrs_es(name: &'static str, args: &'static [&'static str]) -> Candidate {
    Candidate { name, program: Program::CqrsEs(args), ours: false }
}

/// Who appends.
pub const APPENDS: &[Candidate] = &[
    own("floor: file, one writer, group commit, fdatasync", "file", false),
    own(FLOOR, "rusqlite", false),
    own(APPEND, "sqlite-append", true),
    own("SqliteStore, command: read stream, then append", "sqlite-read", true),
    own("SqliteStore, command on a kept state", "sqlite-kept", true),
    own("SqliteStore, append unless its own tag has news (DCB)", "sqlite-tagged", true),
    own("SqliteStore, decision on a tag of its own (DCB)", "sqlite-decision", true),
    own("SqliteStore, decision on a kept model (DCB)", "sqlite-kept-decision", true),
    own("RedbStore, append with expected version", "redb-append", true),
    own("RedbStore, command: read stream, then append", "redb-read", true),
    own("RedbStore, command on a kept state", "redb-kept", true),
    own("RedbStore, decision on a kept model (DCB)", "redb-decision", true),
    own("umadb-core, append unless its own tag has news (DCB)", "umadb", false),
    own("umadb-core, the same with a page cache of 256 MB", "umadb-cached", false),
    cqrs_es(RIVAL, &[]),
    cqrs_es("cqrs-es + sqlite-es, command, its default NORMAL (not durable)", &["--normal"]),
];

/// Who loads.
pub const LOADS: &[Candidate] = &[
    own("SqliteStore, the events as they are stored", "sqlite-load-stored", true),
    own("SqliteStore, the account from all its events", "sqlite-load-events", true),
    own("SqliteStore, the account from a snapshot at event 40", "sqlite-load-snapshot", true),
    cqrs_es("cqrs-es + sqlite-es, the account from all its events", &["--loads", "events"]),
    cqrs_es("cqrs-es + sqlite-es, the account from a snapshot at event 40", &["--loads", "snapshot"]),
];

/// Who catches up.
pub const CATCH_UP: Candidate = own("SqliteStore", "sqlite-catch-up", true);

/// Starts the candidate's program on a folder, and reads the last line it writes.
pub fn ask<T: DeserializeOwned>(candidate: &Candidate, cqrs_es: &Path, dir: &Path, args: &[&str]) -> Result<T, String> {
    let mut command = match candidate.program {
        Program::Own(store) => {
            let own = std::env::current_exe().map_err(|error| error.to_string())?;
            let mut command = Command::new(own);
            command.args(["store", "--store", store]);
            command
        }
        Program::CqrsEs(args) => {
            let mut command = Command::new(cqrs_es);
            command.args(args);
            command
        }
    };
    let output = command.arg("--dir").arg(dir).args(args).output().map_err(|error| error.to_string())?;
    // The last line: umadb-core writes there too.
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .map_err(|error| format!("{}: {error}; {}", candidate.name, String::from_utf8_lossy(&output.stderr)))
}

/// Builds the rival's program, into this workspace's target folder.
pub fn build_cqrs_es() -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("target"), PathBuf::from);
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--quiet", "--locked"])
        .current_dir(here.join("cqrs-es"))
        .env("CARGO_TARGET_DIR", &target)
        .status();
    match built {
        Ok(status) if status.success() => Ok(target.join("release/peer-cqrs-es")),
        Ok(status) => Err(format!("cargo could not build benches/peers/cqrs-es: {status}")),
        Err(error) => Err(format!("cargo did not start: {error}")),
    }
}
