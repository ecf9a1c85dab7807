//! The orders service's stores, read when it is not running: for the audit.

use std::collections::BTreeMap;
use std::path::Path;

use resilience_cqrs::{AnyStore, BoxError, EventStore, Position, Query, Recorded, StreamId};

use super::book::{Entry, Happened, PAGE, Standing};
use crate::domain::Order;
use crate::problem::Problem;
use crate::stores::{self, Stores};

/// What the two stores say.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Each order and how it stands.
    pub(crate) orders: BTreeMap<String, (Order, Standing)>,
    /// What each order's saga came to last, as its log calls it: `saga.completed`, `saga.compensated`, ...
    pub(crate) sagas: BTreeMap<String, String>,
    /// The logs that were read.
    pub(crate) logs: Vec<String>,
    /// What is wrong with a log, by log.
    pub(crate) damage: Vec<(String, String)>,
}

/// Reads both logs to their ends, and has each checked for gaps.
pub(crate) async fn read(dir: &Path) -> Result<Records, Problem> {
    let Stores { orders, checkouts, .. } = Stores::of(dir)?;
    let mut records = Records { logs: [&orders, &checkouts].map(|log| name(log)).into(), ..Records::default() };
    let mut entries: BTreeMap<StreamId, Entry> = BTreeMap::new();
    let damage = each(&orders, |recorded| {
        let happened = Happened::read(recorded)?;
        let stream = recorded.stream.clone();
        if let Some(entry) = Entry::evolve(entries.remove(&stream), happened) {
            entries.insert(stream, entry);
        }
        Ok(())
    });
    records.damage.extend(damage.await?.map(|damage| (name(&orders), damage)));
    let of_entry = |entry: Entry| (entry.order.order_id.clone(), (entry.order, entry.standing));
    records.orders = entries.into_values().map(of_entry).collect();

    let sagas = &mut records.sagas;
    let damage = each(&checkouts, |recorded| {
        let stream = recorded.stream.as_str();
        let order = stream.strip_prefix("checkout/").unwrap_or(stream);
        sagas.insert(order.to_owned(), recorded.kind.as_str().to_owned());
        Ok(())
    });
    records.damage.extend(damage.await?.map(|damage| (name(&checkouts), damage)));
    Ok(records)
}

/// Hands every event of a log to `take`; what is wrong with the log, if anything is.
async fn each(
    address: &str,
    mut take: impl FnMut(&Recorded) -> Result<(), BoxError>,
) -> Result<Option<String>, Problem> {
    // Opening would make the file.
    if let Some(path) = stores::file(address).filter(|path| !path.exists()) {
        return Err(Problem::file("read", path, "no such file"));
    }
    let store = stores::open(address).await?;
    let read = async {
        if let AnyStore::Sqlite(store) = &store {
            store.verify().await?;
        }
        let (mut after, mut last) = (Position::ORIGIN, Position::ORIGIN);
        loop {
            let page = store.read(after, &Query::all(), PAGE).await?;
            for recorded in &page.events {
                if recorded.position != last.next() {
                    return Err(format!("after event {last} comes {}", recorded.position).into());
                }
                last = recorded.position;
                take(recorded)?;
            }
            if page.is_last() {
                return Ok::<(), BoxError>(());
            }
            after = page.next;
        }
    };
    let damage = read.await.err().map(|error| chain(&*error));
    store.close().await;
    Ok(damage)
}

/// What a log is called in the audit.
fn name(address: &str) -> String {
    let file = stores::file(address).and_then(Path::file_name);
    file.map_or_else(|| stores::shown(address), |name| name.to_string_lossy().into_owned())
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
