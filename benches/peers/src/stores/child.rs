//! The other side: one sample of one store, or what a freshly opened store holds.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};

use super::sample::{Held, Load, Sample};
use super::{file, ours, rusqlite_floor};

/// One sample of one store.
#[derive(Debug, Parser)]
pub struct Child {
    /// Which store.
    #[arg(long)]
    store: Store,
    /// Where its files go.
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    load: Load,
    /// Do not append; print what a freshly opened store holds.
    #[arg(long)]
    verify: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Store {
    File,
    Rusqlite,
    OursAppend,
    OursCommand,
}

/// Runs it and prints one JSON line.
pub fn run_child(child: &Child) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let line = if child.verify {
        serde_json::to_string(&runtime.block_on(held(child.store, &child.dir))?)
    } else {
        serde_json::to_string(&runtime.block_on(sample(child.store, &child.dir, child.load))?)
    };
    println!("{}", line.map_err(|error| error.to_string())?);
    Ok(())
}

async fn sample(store: Store, dir: &Path, load: Load) -> Result<Sample, String> {
    match store {
        Store::File => file::sample(dir, load).await,
        Store::Rusqlite => rusqlite_floor::sample(dir, load).await,
        Store::OursAppend => ours::sample(dir, load, false).await,
        Store::OursCommand => ours::sample(dir, load, true).await,
    }
}

async fn held(store: Store, dir: &Path) -> Result<Held, String> {
    match store {
        Store::File => file::held(dir),
        Store::Rusqlite => rusqlite_floor::held(dir),
        Store::OursAppend | Store::OursCommand => ours::held(dir).await,
    }
}
