//! The other side: one sample of one store, or what a freshly opened store holds.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use super::loads::From;
use super::ours::Work;
use super::sample::Load;
use super::{catch_up, file, redb, rusqlite_floor, sqlite, umadb};

/// One sample of one store.
#[derive(Debug, Parser)]
pub struct Child {
    /// Which store, and what is asked of it.
    #[arg(long)]
    store: Subject,
    /// Where its files go.
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    load: Load,
    /// Events in the log, for catching up.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Do not append; print what a freshly opened store holds.
    #[arg(long)]
    verify: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Subject {
    File,
    Rusqlite,
    Umadb,
    UmadbCached,
    RedbAppend,
    RedbRead,
    RedbKept,
    RedbDecision,
    SqliteAppend,
    SqliteRead,
    SqliteKept,
    SqliteTagged,
    SqliteDecision,
    SqliteKeptDecision,
    SqliteLoadStored,
    SqliteLoadEvents,
    SqliteLoadSnapshot,
    SqliteCatchUp,
}

/// Runs it and prints one JSON line.
pub fn run_child(child: &Child) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let line = runtime.block_on(async { if child.verify { held(child).await } else { sample(child).await } })?;
    println!("{line}");
    Ok(())
}

async fn sample(child: &Child) -> Result<String, String> {
    let (dir, load) = (&*child.dir, child.load);
    match child.store {
        Subject::File => json(file::sample(dir, load).await?),
        Subject::Rusqlite => json(rusqlite_floor::sample(dir, load).await?),
        Subject::Umadb => json(umadb::sample(dir, load, 0).await?),
        Subject::UmadbCached => json(umadb::sample(dir, load, 256).await?),
        Subject::RedbAppend => json(redb::sample(dir, load, Work::Append).await?),
        Subject::RedbRead => json(redb::sample(dir, load, Work::Read).await?),
        Subject::RedbKept => json(redb::sample(dir, load, Work::Kept).await?),
        Subject::RedbDecision => json(redb::sample(dir, load, Work::KeptDecision).await?),
        Subject::SqliteAppend => json(sqlite::sample(dir, load, Work::Append).await?),
        Subject::SqliteRead => json(sqlite::sample(dir, load, Work::Read).await?),
        Subject::SqliteKept => json(sqlite::sample(dir, load, Work::Kept).await?),
        Subject::SqliteTagged => json(sqlite::sample(dir, load, Work::Tagged).await?),
        Subject::SqliteDecision => json(sqlite::sample(dir, load, Work::Decision).await?),
        Subject::SqliteKeptDecision => json(sqlite::sample(dir, load, Work::KeptDecision).await?),
        Subject::SqliteLoadStored => json(sqlite::loads(dir, load, From::Stored).await?),
        Subject::SqliteLoadEvents => json(sqlite::loads(dir, load, From::Events).await?),
        Subject::SqliteLoadSnapshot => json(sqlite::loads(dir, load, From::Snapshot).await?),
        Subject::SqliteCatchUp => json(catch_up::sample(dir, child.events).await?),
    }
}

async fn held(child: &Child) -> Result<String, String> {
    match child.store {
        Subject::File => json(file::held(&child.dir)?),
        Subject::Rusqlite => json(rusqlite_floor::held(&child.dir)?),
        Subject::Umadb | Subject::UmadbCached => json(umadb::held(&child.dir)?),
        Subject::RedbAppend | Subject::RedbRead | Subject::RedbKept | Subject::RedbDecision => {
            json(redb::held(&child.dir).await?)
        }
        _ => json(sqlite::held(&child.dir).await?),
    }
}

fn json(value: impl Serialize) -> Result<String, String> {
    serde_json::to_string(&value).map_err(|error| error.to_string())
}
