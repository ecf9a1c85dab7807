//! Where the order book and the checkouts are kept (files of the run's directory, or a server), and by which bus others
//! hear of orders, if there is one.

use std::path::Path;
use std::time::Duration;

use resilience_core::time::{SharedTimer, WallTime};
use resilience_cqrs::messaging::nats::NatsBus;
use resilience_cqrs::{AnyStore, Append, BoxError, EventStore, Expected, NewEvent, Position, Query, Recorded};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// The file that says so; without it, the stores are files beside it.
const FILE: &str = "stores.json";

/// Longest time a server may be away when a process opens its log.
const PATIENCE: Duration = Duration::from_secs(15);

/// The addresses of the two logs that the orders service writes, and of the bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stores {
    pub(crate) orders: String,
    /// A log of its own, since every unfinished saga in it belongs to the engine.
    pub(crate) checkouts: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bus: Option<BusAt>,
}

/// A bus, and what tells this run's messages from another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BusAt {
    pub(crate) url: String,
    pub(crate) prefix: String,
}

impl Stores {
    /// Files of the run's directory, wherever that is moved to.
    pub(crate) fn in_files() -> Self {
        Self { orders: "sqlite:orders.db".into(), checkouts: "sqlite:checkouts.db".into(), bus: None }
    }

    fn resolved(self, dir: &Path) -> Self {
        let resolve = |address: String| match file(&address) {
            Some(path) => format!("sqlite:{}", dir.join(path).display()),
            None => address,
        };
        Self { orders: resolve(self.orders), checkouts: resolve(self.checkouts), bus: self.bus }
    }

    /// Schemas of the database at `url` that no other run has.
    pub(crate) fn on_server(url: &str, now: WallTime) -> Self {
        let option = if url.contains('?') { '&' } else { '?' };
        let schema = |log: &str| format!("{url}{option}schema=shop_{}_{log}", now.as_unix_millis());
        Self { orders: schema("orders"), checkouts: schema("checkouts"), bus: None }
    }

    /// What the run in `dir` uses.
    pub(crate) fn of(dir: &Path) -> Result<Self, Problem> {
        let path = dir.join(FILE);
        let stores = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|why| Problem::file("use", &path, why))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::in_files(),
            Err(error) => return Err(Problem::file("read", &path, error)),
        };
        Ok(stores.resolved(dir))
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), Problem> {
        let path = dir.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(|why| Problem::file("write", &path, why))?;
        std::fs::write(&path, text + "\n").map_err(|why| Problem::file("write", &path, why))
    }
}

/// Copies the logs of the run in `dir` into files of its directory, and has it use those from now on: a server that was
/// started for the run ends with it.
pub(crate) async fn bring_home(dir: &Path) -> Result<(), Problem> {
    let server = Stores::of(dir)?;
    Stores { bus: server.bus, ..Stores::in_files() }.write(dir)?;
    let here = Stores::of(dir)?;
    for (from, to) in [(server.orders, here.orders), (server.checkouts, here.checkouts)] {
        let copied = copy(&open(&from).await?, &open(&to).await?).await;
        copied.map_err(|why| Problem::new(format!("cannot copy {}: {why}", shown(&from))))?;
    }
    Ok(())
}

/// Every event, in the order of the log.
async fn copy(from: &AnyStore, to: &AnyStore) -> Result<(), BoxError> {
    let mut after = Position::ORIGIN;
    loop {
        let page = from.read(after, &Query::all(), 1_000).await?;
        for events in page.events.chunk_by(|one, next| one.stream == next.stream) {
            let again = |event: &Recorded| {
                let tags = event.tags.iter().cloned();
                NewEvent::new(event.kind.clone(), event.payload.clone()).tags(tags).metadata(event.metadata.clone())
            };
            let stream = &events[0].stream;
            to.append(Append::new().events(stream, Expected::Any, events.iter().map(again))).await?;
        }
        after = page.next;
        if page.is_last() {
            to.close().await;
            return Ok(());
        }
    }
}

/// The file of a log that is one.
pub(crate) fn file(address: &str) -> Option<&Path> {
    address.strip_prefix("sqlite:").map(Path::new)
}

/// What a log is called in a sentence: its address may have a password in it.
pub(crate) fn shown(address: &str) -> String {
    match (file(address), address.rsplit_once("schema=")) {
        (Some(path), _) => path.display().to_string(),
        (None, Some((_, schema))) => format!("the schema {schema}"),
        (None, None) => "the server".to_owned(),
    }
}

/// Opens a log. One that is on a server is waited for: the server may be on its way back, too.
pub(crate) async fn open(address: &str) -> Result<AnyStore, Problem> {
    let timer = SharedTimer::default();
    let until = timer.now() + PATIENCE;
    loop {
        match AnyStore::open(address).await {
            Ok(store) => return Ok(store),
            Err(why) if file(address).is_some() || timer.now() >= until => {
                return Err(Problem::new(format!("cannot open the store in {}: {why}", shown(address))));
            }
            Err(_) => timer.sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Joins the bus, which is waited for like a server.
pub(crate) async fn bus(at: &BusAt) -> Result<NatsBus, Problem> {
    let timer = SharedTimer::default();
    let until = timer.now() + PATIENCE;
    loop {
        match NatsBus::builder(&*at.url).prefix(&*at.prefix).open().await {
            Ok(bus) => return Ok(bus),
            Err(why) if timer.now() >= until => return Err(Problem::new(format!("cannot join the bus: {why}"))),
            Err(_) => timer.sleep(Duration::from_millis(200)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_a_server_keeps_its_logs_in_its_directory_and_one_with_it_in_schemas_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let here = Stores::of(dir.path()).unwrap();
        assert_eq!(file(&here.orders), Some(dir.path().join("orders.db").as_path()));
        let there = Stores::on_server("postgres://ann:secret@host/shop?sslmode=disable", WallTime::from_unix_millis(7));
        assert_eq!(there.orders, "postgres://ann:secret@host/shop?sslmode=disable&schema=shop_7_orders");
        assert_eq!(shown(&there.checkouts), "the schema shop_7_checkouts");
        there.write(dir.path()).unwrap();
        assert_eq!(Stores::of(dir.path()).unwrap(), there);
        Stores::in_files().write(dir.path()).unwrap();
        assert_eq!(Stores::of(dir.path()).unwrap(), here);
    }
}
