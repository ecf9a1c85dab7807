//! Publishes where each service listens, in files that discovery watches.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::domain::ServiceName;
use crate::problem::Problem;

/// The directory of endpoints files.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    dir: PathBuf,
}

impl Endpoints {
    /// Starts with nobody anywhere.
    pub(crate) fn create(dir: PathBuf) -> Result<Self, Problem> {
        std::fs::create_dir_all(&dir).map_err(|why| Problem::file("create", &dir, why))?;
        let endpoints = Self { dir };
        for name in ServiceName::ALL {
            endpoints.write(name, &[])?;
        }
        Ok(endpoints)
    }

    /// Publishes a service's only process: a new address under the identity it always had.
    pub(crate) fn publish(&self, name: ServiceName, address: SocketAddr) -> Result<(), Problem> {
        self.write(name, &[address])
    }

    /// By a rename, so that nobody reads half a file.
    fn write(&self, name: ServiceName, addresses: &[SocketAddr]) -> Result<(), Problem> {
        let entry =
            |(at, address): (usize, &SocketAddr)| json!({ "id": format!("{name}-{}", at + 1), "address": address });
        let list: Vec<_> = addresses.iter().enumerate().map(entry).collect();
        let path = file(&self.dir, name);
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, format!("{}\n", json!({ "endpoints": list })))
            .and_then(|()| std::fs::rename(&fresh, &path))
            .map_err(|why| Problem::file("write", &path, why))
    }
}

/// The file that lists a service's processes.
pub(crate) fn file(dir: &Path, name: ServiceName) -> PathBuf {
    dir.join(format!("{name}.json"))
}
