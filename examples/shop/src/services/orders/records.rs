//! The orders service's stores, read when it is not running: for the audit.

use std::collections::BTreeMap;
use std::path::Path;

use resilience_cqrs::{BoxError, EventStore, Position, Query, Recorded, SqliteStore, StreamId};

use super::book::{Entry, Happened, PAGE, Standing};
use super::{CHECKOUTS, ORDERS};
use crate::domain::Order;
use crate::problem::Problem;

/// What the two stores say.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Each order and how it stands.
    pub(crate) orders: BTreeMap<String, (Order, Standing)>,
    /// What each order's saga came to last, as its log calls it: `saga.completed`, `saga.compensated`, ...
    pub(crate) sagas: BTreeMap<String, String>,
    /// What is wrong with a file, by file.
    pub(crate) damage: Vec<(&'static str, String)>,
}

/// Reads both logs to their ends, and has each checked for gaps.
pub(crate) async fn read(dir: &Path) -> Result<Records, Problem> {
    let mut records = Records::default();
    let mut entries: BTreeMap<StreamId, Entry> = BTreeMap::new();
    let damage = each(dir, ORDERS, |recorded| {
        let happened = Happened::read(recorded)?;
        let stream = recorded.stream.clone();
        if let Some(entry) = Entry::evolve(entries.remove(&stream), happened) {
            entries.insert(stream, entry);
        }
        Ok(())
    });
    records.damage.extend(damage.await?.map(|damage| (ORDERS, damage)));
    let of_entry = |entry: Entry| (entry.order.order_id.clone(), (entry.order, entry.standing));
    records.orders = entries.into_values().map(of_entry).collect();

    let sagas = &mut records.sagas;
    let damage = each(dir, CHECKOUTS, |recorded| {
        let stream = recorded.stream.as_str();
        let order = stream.strip_prefix("checkout/").unwrap_or(stream);
        sagas.insert(order.to_owned(), recorded.kind.as_str().to_owned());
        Ok(())
    });
    records.damage.extend(damage.await?.map(|damage| (CHECKOUTS, damage)));
    Ok(records)
}

/// Hands every event of a log to `take`; what is wrong with the log, if anything is.
async fn each(
    dir: &Path,
    file: &str,
    mut take: impl FnMut(&Recorded) -> Result<(), BoxError>,
) -> Result<Option<String>, Problem> {
    let path = dir.join(file);
    // Opening would make the file.
    if !path.exists() {
        return Err(Problem::file("read", &path, "no such file"));
    }
    let store = SqliteStore::open(&path).await.map_err(|why| Problem::file("read", &path, why))?;
    let read = async {
        store.verify().await?;
        let mut after = Position::ORIGIN;
        loop {
            let page = store.read(after, &Query::all(), PAGE).await?;
            page.events.iter().try_for_each(&mut take)?;
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
