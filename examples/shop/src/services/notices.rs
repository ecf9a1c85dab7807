//! What shipping does when it hears of a completed order: it tells the customer, once.
//!
//! A message may come twice (its sender could not know that it had arrived), and again after a crash between the effect and
//! the acknowledgement. The inbox here is a table in the file that has the effect, written in the same transaction.

use std::path::Path;
use std::time::Duration;

use resilience_cqrs::messaging::consumer::ConsumerHandle;
use resilience_cqrs::messaging::nats::NatsBus;
use resilience_cqrs::messaging::{Consumer, Message, Poison, Subscribe};
use resilience_cqrs::{AnyStore, BoxError};
use rusqlite::Transaction;
use tower::service_fn;

use super::orders::COMPLETED;
use super::store::Store;
use crate::problem::Problem;
use crate::stats::Stats;
use crate::stores;

/// No unique key on the order: that nobody is told twice is the inbox's doing, and the audit counts.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS inbox (message TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notice (id INTEGER PRIMARY KEY, order_id TEXT NOT NULL);
";

/// How long a message may take before it comes again.
const ACK_WAIT: Duration = Duration::from_secs(2);

/// What shipping subscribes to. The runner does it, too, before anything is published: a group hears of what comes after its
/// first subscription.
pub(crate) fn subscription() -> Subscribe {
    Subscribe::group("shipping", COMPLETED).ack_wait(ACK_WAIT)
}

/// Takes in messages until the handle is stopped. What cannot be handled is laid aside in a file of its own.
pub(super) async fn start(
    bus: NatsBus,
    store: Store,
    stats: Stats,
    dir: &Path,
) -> Result<ConsumerHandle<AnyStore>, Problem> {
    let letters = stores::open(&format!("sqlite:{}", dir.join("letters.db").display())).await?;
    let figures = stats.clone();
    let handler = service_fn(move |message: Message| {
        let (store, stats) = (store.clone(), figures.clone());
        async move {
            let told = tell(message, &store).await?;
            stats.count(if told.new { "notice.told" } else { "notice.repeated" });
            stats.gauge("told", told.all);
            Ok::<(), BoxError>(())
        }
    });
    let consumer = Consumer::builder(letters, bus, "shipping", subscription(), handler).listener(stats);
    consumer.start().map_err(|why| Problem::new(format!("cannot hear of orders: {why}")))
}

struct Told {
    /// Whether it was done just now.
    new: bool,
    /// How many there are by now.
    all: i64,
}

async fn tell(message: Message, store: &Store) -> Result<Told, BoxError> {
    let order = std::str::from_utf8(message.payload()).map_err(Poison::new)?.to_owned();
    Ok(store.run(move |tx| once(tx, message.id.as_str(), &order)).await?)
}

fn once(tx: &Transaction<'_>, message: &str, order: &str) -> rusqlite::Result<Told> {
    let new = tx.prepare_cached("INSERT OR IGNORE INTO inbox VALUES (?1)")?.execute([message])? > 0;
    if new {
        tx.prepare_cached("INSERT INTO notice (order_id) VALUES (?1)")?.execute([order])?;
    }
    let all = tx.prepare_cached("SELECT count(*) FROM notice")?.query_row([], |row| row.get(0))?;
    Ok(Told { new, all })
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_customer_is_told_once_however_often_the_message_comes() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        for (round, (message, new, all)) in [("m1", true, 1), ("m1", false, 1), ("m2", true, 2)].into_iter().enumerate()
        {
            let tx = connection.transaction().unwrap();
            let told = once(&tx, message, "o-1").unwrap();
            assert_eq!((told.new, told.all), (new, all), "round {round}");
            tx.commit().unwrap();
        }
    }
}
